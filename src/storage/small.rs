//! Small files that are replaced as a whole.

use super::disk::Disk;
use super::durable::Durable;
use super::error::StorageError;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The whole name, and more.
pub(super) fn with_suffix(path: &Path, suffix: impl AsRef<OsStr>) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Where the next state of a file grows: its whole name, and `.new`.
pub(crate) fn beside(path: &Path) -> PathBuf {
    with_suffix(path, ".new")
}

/// A small file: read whole, and replaced whole. Who finds it finds what was there before, or what is there now.
#[derive(Debug, Clone)]
pub(crate) struct Small {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl Small {
    pub(crate) fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { disk, path }
    }

    /// Whether its folder is there, takes new files, and is on a disk.
    pub(crate) fn check(&self) -> Result<(), StorageError> {
        let folder = super::place::folder_of(&self.path);
        self.disk.may_write(folder).map_err(StorageError::system("writing into", folder))?;
        super::place::check_disk(&*self.disk, &self.path)
    }

    /// What it holds, of a longer one its first `bytes_max`; none where there is no file. Its folder must be there.
    pub(crate) fn read(&self, bytes_max: usize) -> Result<Option<Vec<u8>>, StorageError> {
        let wrong = StorageError::system("reading", &self.path);
        match self.disk.stat(&self.path) {
            Ok(stat) => {
                let mut bytes = vec![0; usize::try_from(stat.length).unwrap_or(bytes_max).min(bytes_max)];
                self.disk.open(&self.path).map_err(&wrong)?.read_at(&mut bytes, 0).map_err(&wrong)?;
                Ok(Some(bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let folder = super::place::folder_of(&self.path);
                self.disk.stat(folder).map_err(StorageError::system("looking for the folder of", &self.path))?;
                Ok(None)
            }
            Err(error) => Err(wrong(error)),
        }
    }

    /// Replaces it; the new content is on the disk under its name when this returns. Waits for the disk.
    pub(crate) fn replace(&self, bytes: &[u8]) -> Result<(), StorageError> {
        let beside = beside(&self.path);
        let file = self.disk.create(&beside, true).map_err(StorageError::system("creating", &beside))?;
        let mut file = Durable::new((Arc::clone(&self.disk), file), beside, bytes.len() as u64)?;
        file.write_at(bytes, 0)?;
        let _ = file.sync(bytes.len() as u64)?;
        file.rename(&self.path)
    }
}
