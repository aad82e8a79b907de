//! A folder whose files are one user's.

use super::disk::Disk;
use super::durable::Durable;
use super::error::StorageError;
use super::lock::Lock;
use super::owner::Owner;
use super::place::{check_disk, folder_of};
use super::small::Small;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The lock's name in it.
pub(crate) const LOCK: &str = "lock";

/// A folder, held by a lock in it until it is dropped, by the death of the process too.
#[derive(Debug)]
pub(crate) struct Folder {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    _lock: Lock,
}

impl Folder {
    /// Takes a folder, or makes it, with those above it. `sync`: its own name is on the disk when
    /// this returns; waits for the disk then. `owner` is said to whoever finds it taken.
    ///
    /// # Errors
    /// [`StorageError::InUse`]; [`StorageError::NoDisk`], with `sync`; [`StorageError::System`]: it cannot be made or written.
    pub(crate) fn take(disk: Arc<dyn Disk>, path: &Path, owner: &Owner, sync: bool) -> Result<Self, StorageError> {
        make(&*disk, path, sync)?;
        let name = path.join(LOCK);
        if sync {
            check_disk(&*disk, &name)?;
        }
        let lock = Lock::take_named(&*disk, &name, path.to_owned(), owner)?;
        Ok(Self { disk, path: path.to_owned(), _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The small file of this name; see [`Small::new`].
    pub(crate) fn small(&self, name: &str, is_ours: fn(&[u8]) -> bool) -> Small {
        Small::new(Arc::clone(&self.disk), self.path.join(name), is_ours)
    }

    /// A new file of so many bytes, all zero, in place of whatever has its name. Its name is durable
    /// after [`Folder::sync`], its bytes after [`Durable::sync`].
    pub(crate) fn create(&self, name: &str, bytes: u64) -> Result<Durable, StorageError> {
        let path = self.path.join(name);
        let file = self.disk.create(&path).map_err(StorageError::system("creating", &path))?;
        let mut file = Durable::anywhere((Arc::clone(&self.disk), file), path, 0)?;
        // What it held goes.
        file.set_length(0)?;
        file.set_length(bytes)?;
        Ok(file)
    }

    /// A file that is there. It vouches for nothing before it is written: see the module.
    pub(crate) fn open(&self, name: &str) -> Result<Durable, StorageError> {
        let path = self.path.join(name);
        let file = self.disk.open(&path).map_err(StorageError::system("opening", &path))?;
        Durable::anywhere((Arc::clone(&self.disk), file), path, 0)
    }

    /// The names in it.
    pub(crate) fn list(&self) -> Result<Vec<PathBuf>, StorageError> {
        self.disk.list(&self.path).map_err(StorageError::system("reading the folder", &self.path))
    }

    /// Whether what has this name is a regular file.
    pub(crate) fn is_file(&self, path: &Path) -> bool {
        self.disk.stat(path).is_ok_and(|stat| stat.is_regular)
    }

    /// Removes a file; one that is not there is well. Durable at any time from here on.
    pub(crate) fn remove(&self, path: &Path) -> Result<(), StorageError> {
        match self.disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StorageError::system("removing", path)(error)),
            _ => Ok(()),
        }
    }

    /// Brings its names to the disk. Waits for it.
    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        self.disk.sync_folder(&self.path).map_err(StorageError::system("syncing the folder", &self.path))
    }
}

/// Makes what is not there of a folder and those above it.
fn make(disk: &dyn Disk, path: &Path, sync: bool) -> Result<(), StorageError> {
    let mut missing = Vec::new();
    let mut at = path;
    loop {
        match disk.stat(at) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && at != folder_of(at) => missing.push(at),
            Err(error) => return Err(StorageError::system("looking for the folder", at)(error)),
            Ok(_) => break,
        }
        at = folder_of(at);
    }
    if sync && folder_of(at) != at && at != Path::new("/") {
        // Who made it may have ended before its name was on the disk. Where the folder above cannot
        // even be read, somebody else made this one there.
        match sync_name(disk, at) {
            Err(StorageError::System { errno, .. }) if errno.number() == libc::EACCES => {}
            synced => synced?,
        }
    }
    for folder in missing.iter().rev() {
        disk.make_folder(folder).map_err(StorageError::system("making the folder", folder))?;
        if sync {
            sync_name(disk, folder)?;
        }
    }
    Ok(())
}

/// Brings a folder's own name to the disk.
fn sync_name(disk: &dyn Disk, folder: &Path) -> Result<(), StorageError> {
    let above = folder_of(folder);
    disk.sync_folder(above).map_err(StorageError::system("syncing the folder", above))
}
