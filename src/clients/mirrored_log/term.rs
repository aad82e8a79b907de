//! The term under which a node writes alone, kept in a small file.

use super::error::LogError;
use super::lsn::{History, TAKEN_MAX, Term};
use crate::memory::Errno;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

fn failed(what: &str, path: &Path, error: &std::io::Error) -> LogError {
    LogError::File { tried: format!("{what} the term file {}", path.display()), errno: Errno::from(error) }
}

/// More than the longest of these files: a history and a term.
const TEXT_BYTES_MAX: u64 = 128;

/// What a small file holds; of a longer one its beginning, so that nobody makes us allocate much.
fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(TEXT_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn nonsense(what: &str, path: &Path) -> LogError {
    let tried = format!("reading {}: it holds no {what}", path.display());
    LogError::File { tried, errno: Errno::new(libc::EINVAL) }
}

/// The term in the file; zero where there is none yet.
///
/// # Errors
/// [`LogError::File`]: it cannot be read, or holds no term that a log can be written under.
pub(super) fn load(path: &Path) -> Result<Term, LogError> {
    match read(path) {
        Ok(text) => {
            let term = text.trim().parse().ok().map(Term).filter(|term| term.is_valid());
            term.ok_or_else(|| nonsense("term", path))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Term(0)),
        Err(error) => Err(failed("reading", path, &error)),
    }
}

/// Replaces the term in the file; it is on the disk when this returns.
///
/// # Errors
/// [`LogError::File`]. [`LogError::Exhausted`], and nothing written: [`load`] would refuse it.
pub(super) fn store(path: &Path, term: Term) -> Result<(), LogError> {
    if !term.is_valid() {
        return Err(LogError::Exhausted { what: "term", found: term.0 });
    }
    replace(path, &format!("{}\n", term.0)).map_err(|error| failed("writing", path, &error))
}

/// Replaces a small file as a whole: writes beside it, syncs, renames, syncs the folder (rename(2), fsync(2)).
pub(super) fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let beside = beside(path);
    let mut file = File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_folder(path)
}

/// Where it is kept that the log whose copy is in `keep` was taken over.
pub(super) fn taken_file(keep: &Path) -> PathBuf {
    let mut name = keep.as_os_str().to_owned();
    name.push(".taken");
    PathBuf::from(name)
}

/// What was taken over, as a small file says; none where there is no such file.
///
/// # Errors
/// [`LogError::File`]: it cannot be read, or holds something else.
pub(super) fn load_taken(path: &Path) -> Result<Option<(History, Term)>, LogError> {
    let text = match read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("reading", path, &error)),
    };
    let parsed = text
        .trim()
        .split_once(' ')
        .and_then(|(history, term)| Some((History(u128::from_str_radix(history, 16).ok()?), Term(term.parse().ok()?))))
        .filter(|(_, term)| term.0 <= TAKEN_MAX);
    parsed.map(Some).ok_or_else(|| nonsense("history and term", path))
}

/// Keeps what was taken over; it is on the disk when this returns.
///
/// # Errors
/// [`LogError::File`]. [`LogError::Exhausted`], and nothing written: [`load_taken`] would refuse it.
pub(super) fn store_taken(path: &Path, history: History, term: Term) -> Result<(), LogError> {
    if term.0 > TAKEN_MAX {
        return Err(LogError::Exhausted { what: "term", found: term.0 });
    }
    replace(path, &format!("{:032x} {}\n", history.0, term.0)).map_err(|error| failed("writing", path, &error))
}

/// Where the next state of a file grows: its whole name, and `.new`.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

/// The folder a file lies in.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Syncs the folder a file lies in, so that its name is on the disk as well.
pub(super) fn sync_folder(path: &Path) -> std::io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::lsn::NUMBER_MAX;
    use super::*;

    #[test]
    fn a_term_comes_back_and_nonsense_is_refused() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("term");
        assert_eq!(load(&path)?, Term(0));
        for term in [1, 7, NUMBER_MAX] {
            store(&path, Term(term))?;
            assert_eq!(load(&path)?, Term(term));
        }
        for term in [NUMBER_MAX + 1, 1 << 63, u64::MAX] {
            let exhausted = Err(LogError::Exhausted { what: "term", found: term });
            assert_eq!(store(&path, Term(term)), exhausted);
            assert_eq!(load(&path)?, Term(NUMBER_MAX), "what was there before still is");
            fs::write(path.with_extension("high"), term.to_string())?;
            assert!(load(&path.with_extension("high")).is_err());
        }
        assert_eq!(load_taken(&path.with_extension("taken"))?, None);
        store_taken(&path.with_extension("taken"), History(u128::MAX - 1), Term(9))?;
        assert_eq!(load_taken(&path.with_extension("taken"))?, Some((History(u128::MAX - 1), Term(9))));
        let taken = path.with_extension("taken");
        store_taken(&taken, History(1), Term(TAKEN_MAX))?;
        assert!(store_taken(&taken, History(1), Term(TAKEN_MAX + 1)).is_err());
        assert_eq!(load_taken(&taken)?, Some((History(1), Term(TAKEN_MAX))));
        fs::write(&taken, format!("1 {}", u64::MAX))?;
        assert!(load_taken(&taken).is_err());
        fs::write(&path, "7".repeat(1 << 20))?;
        assert!(load(&path).is_err(), "and it was not read to its end");
        fs::write(&path, "seven")?;
        assert!(load_taken(&path).is_err());
        assert!(matches!(load(&path), Err(LogError::File { .. })));
        Ok(())
    }
}
