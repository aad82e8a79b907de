//! Reads the file that keeps a copy when a process begins.

use super::super::copy::CopySource;
use super::super::error::LogError;
use super::super::evidence;
use super::super::header::LogHeader;
use super::super::lsn::{History, Term};
use super::super::source::Source;
use super::PIECE_BYTES;
use crate::memory::{Errno, Region};
use crate::storage::beside;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The log and term of a copy that was on its way to a file when its process ended; none where none was, or it had not come so far as a header.
///
/// # Errors
/// [`LogError::File`], [`LogError::Read`]: it cannot be read now. Its term may be the one by which the kept file is an old one.
pub(in super::super) fn on_its_way(path: &Path) -> Result<Option<(History, Term)>, LogError> {
    let beside = beside(path);
    let file = match File::open(&beside) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("opening", &beside, &error)),
    };
    match LogHeader::read(&file) {
        Ok(header) => Ok(Some((header.history, header.term))),
        Err(LogError::Headers { .. } | LogError::Short { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Loads what a file holds into memory, and whether it may lack acknowledged records; none where there is no file yet.
///
/// # Errors
/// [`LogError::File`], [`LogError::Headers`], [`LogError::Short`]: it is there, and is no log.
pub(in super::super) fn load(path: &Path) -> Result<Option<(CopySource, bool)>, LogError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("opening", path, &error)),
    };
    let header = LogHeader::read(&file)?;
    let bytes = header.ring_bytes.area_bytes();
    if Source::length(&file)? < bytes {
        return Err(LogError::Short { bytes: Source::length(&file)?, needed: bytes });
    }
    let wrong = |error: crate::memory::MemoryError| LogError::Session(error.to_string());
    let region = Region::builder(bytes as usize).pinned(false).build().map_err(wrong)?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    while at < bytes {
        let length = (bytes - at).min(PIECE_BYTES as u64) as usize;
        let Some(piece) = piece.get_mut(..length) else { break };
        file.read_exact_at(piece, at).map_err(|error| failed("reading", path, &error))?;
        // New memory holds zeroes. A file that is long and empty takes none of it.
        if piece.iter().any(|byte| *byte != 0) {
            region.write(at as usize, piece).map_err(wrong)?;
        }
        at += length as u64;
    }
    Ok(Some((CopySource::loaded(region), evidence::may_lack(&file)?)))
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> LogError {
    LogError::File {
        tried: format!("{what} {}, which keeps the partner's log", path.display()),
        errno: Errno::from(error),
    }
}
