//! Small files that are replaced as a whole.

use super::disk::{Disk, DiskFile};
use super::durable::Durable;
use super::error::StorageError;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The whole name, and more.
pub(crate) fn with_suffix(path: &Path, suffix: impl AsRef<OsStr>) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Where the next state of a file grows: its whole name, and `.new`.
pub(crate) fn beside(path: &Path) -> PathBuf {
    with_suffix(path, ".new")
}

/// Bytes of a small file: no more than that is one.
const SMALL_BYTES_MAX: u64 = 128;

/// Whether bytes are numbers and blanks, or what a power cut left of them.
pub(crate) fn is_numbers(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b' ' | b'\n' | 0))
}

/// Whether a file may be replaced by a small one.
fn is_small(file: &dyn DiskFile, is_ours: fn(&[u8]) -> bool) -> io::Result<bool> {
    let length = file.stat()?.length;
    if length > SMALL_BYTES_MAX {
        return Ok(false);
    }
    let mut bytes = vec![0; length as usize];
    file.read_at(&mut bytes, 0)?;
    Ok(is_ours(&bytes))
}

/// A small file: read whole, and replaced whole. Who finds it finds what was there before, or what is there now.
#[derive(Debug, Clone)]
pub(crate) struct Small {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    is_ours: fn(&[u8]) -> bool,
}

impl Small {
    /// `is_ours`: whether what a file of this name holds may be replaced; another's is left as it is.
    pub(crate) fn new(disk: Arc<dyn Disk>, path: PathBuf, is_ours: fn(&[u8]) -> bool) -> Self {
        Self { disk, path, is_ours }
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

    /// An error where it is somebody else's: it is left as it is.
    fn check_content(&self, file: &dyn DiskFile, path: &Path) -> Result<(), StorageError> {
        if is_small(file, self.is_ours).map_err(StorageError::system("reading", path))? {
            return Ok(());
        }
        let found = "somebody else (it holds something else)".to_owned();
        let wanted = format!("the small file {}", self.path.display());
        Err(StorageError::Foreign { path: path.to_owned(), found, wanted })
    }

    /// An empty file beside, where neither name is another's.
    fn begin(&self, beside: &Path) -> Result<Box<dyn DiskFile>, StorageError> {
        match self.disk.open(&self.path) {
            Ok(file) => self.check_content(&*file, &self.path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StorageError::system("opening", &self.path)(error)),
        }
        let mut file = self.disk.create(beside).map_err(StorageError::system("creating", beside))?;
        self.check_content(&*file, beside)?;
        file.clear().map_err(StorageError::system("emptying", beside))?;
        Ok(file)
    }

    /// Replaces it; the new content is on the disk under its name when this returns. Waits for the disk.
    pub(crate) fn replace(&self, bytes: &[u8]) -> Result<(), StorageError> {
        let beside = beside(&self.path);
        let file = self.begin(&beside)?;
        let mut file = Durable::new((Arc::clone(&self.disk), file), beside, bytes.len() as u64)?;
        file.write_at(bytes, 0)?;
        let _ = file.sync(bytes.len() as u64)?;
        file.rename(&self.path)
    }

    /// Removes it where it is there and ours; it is gone from the disk when this returns. Waits for the disk.
    pub(crate) fn remove(&self) -> Result<(), StorageError> {
        match self.disk.open(&self.path) {
            Ok(file) => self.check_content(&*file, &self.path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StorageError::system("opening", &self.path)(error)),
        }
        self.disk.remove(&self.path).map_err(StorageError::system("removing", &self.path))?;
        let folder = super::place::folder_of(&self.path);
        self.disk.sync_folder(folder).map_err(StorageError::system("syncing the folder of", &self.path))
    }

    /// Replaces it for whoever reads it on this machine. Nothing goes to the disk by that, and a power
    /// cut may leave anything.
    #[cfg(feature = "redb")]
    pub(crate) fn replace_in_cache(&self, bytes: &[u8]) -> Result<(), StorageError> {
        let beside = beside(&self.path);
        let mut file = self.begin(&beside)?;
        file.write_at(bytes, 0).map_err(StorageError::system("writing", &beside))?;
        self.disk.rename(&beside, &self.path).map_err(StorageError::system("putting in place", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::System;
    use super::super::simulated::Simulated;
    use super::*;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn what_holds_more_than_numbers_is_never_replaced() -> Outcome {
        let disk = Simulated::default();
        let path = PathBuf::from("/term");
        let small = Small::new(Arc::new(disk.clone()), path.clone(), is_numbers);
        for ours in [&b""[..], b"7\n", b"00c0ffee 9\n", &[0; 9], b"12\0\0"] {
            for name in [path.clone(), beside(&path)] {
                disk.put(&name, ours);
                small.replace(b"8\n")?;
                assert_eq!((small.read(9)?, disk.content(&beside(&path))), (Some(b"8\n".to_vec()), None));
            }
        }
        for foreign in [&b"a letter"[..], &[b'7'; 129], &[0; 129], b"{}"] {
            for name in [path.clone(), beside(&path)] {
                let disk = Simulated::default();
                let small = Small::new(Arc::new(disk.clone()), path.clone(), is_numbers);
                disk.put(&name, foreign);
                let refused = small.replace(b"8\n");
                assert!(matches!(&refused, Err(StorageError::Foreign { path, .. }) if *path == name), "{refused:?}");
                assert_eq!(disk.content(&name).as_deref(), Some(foreign), "it is left as it is");
            }
        }
        let folder = tempfile::tempdir_in("/var/tmp")?;
        let path = folder.path().join("term");
        let small = Small::new(Arc::new(System), path.clone(), is_numbers);
        std::fs::write(beside(&path), b"a letter")?;
        assert!(matches!(small.replace(b"8\n"), Err(StorageError::Foreign { .. })));
        assert_eq!(std::fs::read(beside(&path))?, b"a letter");
        std::fs::write(beside(&path), b"a longer number than that 8\n".map(|_| b'7'))?;
        small.replace(b"8\n")?;
        assert_eq!(std::fs::read(&path)?, b"8\n");
        Ok(())
    }
}
