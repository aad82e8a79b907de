//! What the demo streams: a file that can be read twice, and whose length is known.

use crate::cli::failure::Failure;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Something to stream.
pub(crate) struct Source {
    /// As people call it.
    pub(crate) name: String,
    /// Where the sender opens it.
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    /// Keeps standard input's copy while the demo runs.
    _spooled: Option<std::fs::File>,
}

/// The file, standard input for `-`, or this program itself.
pub(crate) fn open(file: Option<&Path>) -> Result<Source, Failure> {
    match file {
        Some(path) if path == Path::new("-") => spool(),
        Some(path) => regular(path),
        None => regular(&std::env::current_exe()?),
    }
}

fn regular(path: &Path) -> Result<Source, Failure> {
    let doing = || format!("opening {}", path.display());
    let metadata = std::fs::metadata(path).map_err(|error| Failure::of(doing(), error))?;
    if !metadata.is_file() {
        return Err(Failure::of(doing(), "not a regular file, and it is read twice; pipe it in and name it `-`"));
    }
    std::fs::File::open(path).map_err(|error| Failure::of(doing(), error))?;
    let path = path.canonicalize().map_err(|error| Failure::of(doing(), error))?;
    Ok(Source { name: path.display().to_string(), path, bytes: metadata.len(), _spooled: None })
}

/// Standard input can be read once, and the demo reads it more often: it is kept in a temporary file meanwhile. That has no name, so that
/// nothing is left of it however this process ends; the sender opens it through this process's table of files.
fn spool() -> Result<Source, Failure> {
    let doing = "keeping standard input in a temporary file";
    let mut file = tempfile::tempfile().map_err(|error| Failure::of(doing, error))?;
    let bytes = std::io::copy(&mut std::io::stdin().lock(), &mut file).map_err(|error| Failure::of(doing, error))?;
    let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
    Ok(Source { name: "standard input".to_owned(), path, bytes, _spooled: Some(file) })
}
