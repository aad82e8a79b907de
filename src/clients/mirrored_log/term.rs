//! Small files of numbers: the term under which a node writes alone, which log was begun, what was taken over.

use super::error::LogError;
use super::lsn::{History, TAKEN_MAX, Term};
use crate::memory::Errno;
use crate::storage::{Disk, Lock, Owner, Small, StorageError, System, is_numbers};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// More than the longest of these files: a history and a term.
const TEXT_BYTES_MAX: usize = 128;

fn small(path: &Path) -> Small {
    Small::new(Arc::new(System), path.to_owned(), is_numbers)
}

/// What a small file holds; of a longer one its beginning, so that nobody makes us allocate much.
fn read(path: &Path) -> Result<Option<String>, LogError> {
    let bytes = small(path).read(TEXT_BYTES_MAX)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn nonsense(what: &str, path: &Path) -> LogError {
    let tried = format!("reading {}: it holds no {what}", path.display());
    LogError::File { tried, errno: Errno::new(libc::EINVAL) }
}

/// Takes the term file for one log, as long as the lock is held; its path lies behind symbolic links.
///
/// It can be read then, and its folder be written: a node that goes alone needs both, and that is no
/// time to find out.
///
/// # Errors
/// Those of [`load`], and [`LogError::Storage`]: another log has it, it is in memory, or the folder
/// cannot be written.
pub(super) fn take(path: &Path, log: &str, node: &str, cluster: &str) -> Result<Lock, LogError> {
    let path = System.resolve(path).map_err(StorageError::system("looking for", path))?;
    load(&path)?;
    hold(&path, format!("the term of log {log} of node {node} of cluster {cluster}"))
}

/// Takes the state file for one log, as [`take`] does the term file.
///
/// # Errors
/// Those of [`take`].
pub(super) fn take_state(path: &Path, log: &str, node: &str, cluster: &str) -> Result<Lock, LogError> {
    let path = System.resolve(path).map_err(StorageError::system("looking for", path))?;
    load_state(&path)?;
    hold(&path, format!("the state of log {log} of node {node} of cluster {cluster}"))
}

fn hold(path: &Path, owner: String) -> Result<Lock, LogError> {
    small(path).check()?;
    Ok(Lock::take(&System, path, &Owner::new(owner))?)
}

/// The log that was begun, by the state file; none where none was.
///
/// # Errors
/// [`LogError::Storage`]: it cannot be read; [`LogError::File`]: it holds something else.
pub(super) fn load_state(path: &Path) -> Result<Option<History>, LogError> {
    let Some(text) = read(path)? else { return Ok(None) };
    let history = u128::from_str_radix(text.trim(), 16).ok().filter(|_| text.trim().len() == 32);
    history.map(|history| Some(History(history))).ok_or_else(|| nonsense("history of a log", path))
}

/// Notes which log was begun; it is on the disk when this returns.
///
/// # Errors
/// [`LogError::Storage`].
pub(super) fn store_state(path: &Path, history: History) -> Result<(), LogError> {
    Ok(small(path).replace(format!("{:032x}\n", history.0).as_bytes())?)
}

/// The term in the file; zero where there is none yet.
///
/// # Errors
/// [`LogError::Storage`]: it cannot be read; [`LogError::File`]: it holds no term that a log can be written under.
pub(super) fn load(path: &Path) -> Result<Term, LogError> {
    let Some(text) = read(path)? else { return Ok(Term(0)) };
    let term = text.trim().parse().ok().map(Term).filter(|term| term.is_valid());
    term.ok_or_else(|| nonsense("term", path))
}

/// Replaces the term in the file; it is on the disk when this returns.
///
/// # Errors
/// [`LogError::Storage`]. [`LogError::Exhausted`], and nothing written: [`load`] would refuse it.
pub(super) fn store(path: &Path, term: Term) -> Result<(), LogError> {
    if !term.is_valid() {
        return Err(LogError::Exhausted { what: "term", found: term.0 });
    }
    Ok(small(path).replace(format!("{}\n", term.0).as_bytes())?)
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
/// [`LogError::Storage`]: it cannot be read; [`LogError::File`]: it holds something else.
pub(super) fn load_taken(path: &Path) -> Result<Option<(History, Term)>, LogError> {
    let Some(text) = read(path)? else { return Ok(None) };
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
/// [`LogError::Storage`]. [`LogError::Exhausted`], and nothing written: [`load_taken`] would refuse it.
pub(super) fn store_taken(path: &Path, history: History, term: Term) -> Result<(), LogError> {
    if term.0 > TAKEN_MAX {
        return Err(LogError::Exhausted { what: "term", found: term.0 });
    }
    Ok(small(path).replace(format!("{:032x} {}\n", history.0, term.0).as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::super::lsn::NUMBER_MAX;
    use super::*;
    use std::fs;

    #[test]
    fn a_term_comes_back_and_nonsense_is_refused() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir_in("/var/tmp")?;
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
        let state = path.with_extension("state");
        assert_eq!(load_state(&state)?, None);
        for history in [History(1), History(u128::MAX)] {
            store_state(&state, history)?;
            assert_eq!(load_state(&state)?, Some(history));
        }
        for nonsense in ["", "7", "g", &"0".repeat(33)] {
            fs::write(&state, nonsense)?;
            assert!(load_state(&state).is_err(), "{nonsense}");
        }
        fs::write(&path, "7".repeat(1 << 20))?;
        assert!(load(&path).is_err(), "and it was not read to its end");
        fs::write(&path, "seven")?;
        assert!(load_taken(&path).is_err());
        assert!(matches!(load(&path), Err(LogError::File { .. })));
        Ok(())
    }
}
