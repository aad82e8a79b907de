//! The term under which a node writes alone, kept in a small file.

use super::error::LogError;
use super::lsn::Term;
use crate::memory::Errno;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

fn failed(what: &str, path: &Path, error: &std::io::Error) -> LogError {
    LogError::File { tried: format!("{what} the term file {}", path.display()), errno: Errno::from(error) }
}

/// The term in the file; zero where there is none yet.
///
/// # Errors
/// [`LogError::File`]: it cannot be read, or holds something else.
pub(super) fn load(path: &Path) -> Result<Term, LogError> {
    match fs::read_to_string(path) {
        Ok(text) => text.trim().parse().map(Term).map_err(|_| {
            let tried = format!("reading the term file {}: it holds no number", path.display());
            LogError::File { tried, errno: Errno::new(libc::EINVAL) }
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Term(0)),
        Err(error) => Err(failed("reading", path, &error)),
    }
}

/// Replaces the term in the file; it is on the disk when this returns. Writes beside it, syncs, renames, syncs the folder (rename(2), fsync(2)).
///
/// # Errors
/// [`LogError::File`].
pub(super) fn store(path: &Path, term: Term) -> Result<(), LogError> {
    let beside = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&beside)?;
        writeln!(file, "{}", term.0)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        sync_folder(path)
    };
    write().map_err(|error| failed("writing", path, &error))
}

/// Syncs the folder a file lies in, so that its name is on the disk as well.
pub(super) fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_comes_back_and_nonsense_is_refused() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("term");
        assert_eq!(load(&path)?, Term(0));
        for term in [1, 7, u64::MAX] {
            store(&path, Term(term))?;
            assert_eq!(load(&path)?, Term(term));
        }
        fs::write(&path, "seven")?;
        assert!(matches!(load(&path), Err(LogError::File { .. })));
        Ok(())
    }
}
