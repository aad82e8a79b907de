//! A name under which one user keeps a durable file.

use super::disk::{Disk, DiskFile, FileStat};
use super::durable::Durable;
use super::error::StorageError;
use super::owner::{OWNER_BYTES, Owner, Said};
use super::small::{beside, with_suffix};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder a file lies in.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether a sync means something in the folder of this file.
pub(super) fn check_disk(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    let folder = folder_of(path);
    match disk.memory_of(folder).map_err(StorageError::system("looking at the file system of", folder))? {
        Some(file_system) => Err(StorageError::NoDisk { path: path.to_owned(), file_system }),
        None => Ok(()),
    }
}

/// Bytes of a lock file that are read at most.
const LOCK_TEXT_MAX: usize = 256;

/// A name, held by a lock until it is dropped, by the death of the process too.
///
/// The lock lies beside the file and not in it, since the file is replaced.
#[derive(Debug)]
pub(crate) struct Place {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    owner: Owner,
    /// Where in the file its owner is named.
    owner_offset: u64,
    /// The file that had the name when it was taken, or was put there since.
    known: Option<FileStat>,
    _lock: Box<dyn DiskFile>,
}

impl Place {
    /// Takes a name. Symbolic links are followed: what they lead to is the file, and lies where it
    /// lay.
    ///
    /// # Errors
    /// [`StorageError::InUse`], [`StorageError::Foreign`], [`StorageError::NoFile`],
    /// [`StorageError::MountPoint`], [`StorageError::NoDisk`], [`StorageError::System`]: the folder is not there, or cannot be
    /// written.
    pub(crate) fn take(
        disk: Arc<dyn Disk>,
        path: &Path,
        owner: Owner,
        owner_offset: u64,
    ) -> Result<Self, StorageError> {
        let path = disk.resolve(path).map_err(StorageError::system("looking for", path))?;
        let known = match disk.stat(&path) {
            Ok(stat) if !stat.is_regular => return Err(StorageError::NoFile { path }),
            Ok(stat) if stat.is_mount_point => return Err(StorageError::MountPoint { path }),
            Ok(stat) => Some(stat),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(StorageError::system("looking at", &path)(error)),
        };
        check_disk(&*disk, &path)?;
        let lock = lock(&*disk, &path, &owner)?;
        let place = Self { disk, path, owner, owner_offset, known, _lock: lock };
        place.check_owner()?;
        Ok(place)
    }

    /// The name, behind symbolic links.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file that is there, to write on in it; none where there is none. It vouches for nothing
    /// before it is written: see the module.
    pub(crate) fn open(&self, length_min: u64) -> Result<Option<Durable>, StorageError> {
        self.check_owner()?;
        match self.disk.open(&self.path) {
            Ok(file) => {
                let mut file = Durable::new((Arc::clone(&self.disk), file), self.path.clone(), length_min)?;
                self.mark(&mut file)?;
                // The name too may be in a cache alone, where its process ended just after a rename.
                let folder = folder_of(&self.path);
                self.disk.sync_folder(folder).map_err(StorageError::system("syncing the folder", folder))?;
                Ok(Some(file))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StorageError::system("opening", &self.path)(error)),
        }
    }

    /// A new file beside, of so many bytes, all zero but for its owner.
    ///
    /// # Errors
    /// [`StorageError::Foreign`]: another's file has the name, so that nothing is written that could
    /// not take its place. [`StorageError::System`].
    pub(crate) fn create_beside(&self, bytes: u64) -> Result<Durable, StorageError> {
        self.check_owner()?;
        let path = beside(&self.path);
        let wrong = StorageError::system("creating", &path);
        let mut file = self.disk.create(&path, true).map_err(&wrong)?;
        file.reserve(bytes).map_err(StorageError::system("reserving room for", &path))?;
        let mut file = Durable::new((Arc::clone(&self.disk), file), path.clone(), bytes)?;
        self.mark(&mut file)?;
        Ok(file)
    }

    /// Puts a file that was made beside in place of the one that is there. What was there is gone
    /// then: the new one is whole and on the disk before.
    ///
    /// # Errors
    /// [`StorageError::Foreign`]: somebody put another's file there meanwhile.
    pub(crate) fn put_in_place(&mut self, file: &mut Durable) -> Result<(), StorageError> {
        self.check_owner()?;
        file.rename(&self.path)?;
        self.known = Some(file.stat());
        Ok(())
    }

    fn mark(&self, file: &mut Durable) -> Result<(), StorageError> {
        file.write_at(&self.owner.encode(), self.owner_offset)
    }

    /// Whether what has the name is ours, or nobody's; nothing is there, and it is well.
    fn check_owner(&self) -> Result<(), StorageError> {
        let path = &self.path;
        let file = match self.disk.open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StorageError::system("opening", path)(error)),
        };
        let stat = file.stat().map_err(StorageError::system("looking at", path))?;
        let mut bytes = [0; OWNER_BYTES];
        // Too short for what it should be: whoever reads it says so.
        if stat.length >= self.owner_offset + OWNER_BYTES as u64 {
            file.read_at(&mut bytes, self.owner_offset).map_err(StorageError::system("reading", path))?;
        }
        let said = Owner::decode(&bytes);
        let is_strange = self.known.is_none_or(|known| !known.is(&stat)) && stat.length > 0;
        let accepted = match said {
            Said::Nothing if is_strange => {
                Err("somebody else (it was put there while this name was in use)".to_owned())
            }
            said => self.owner.accepts(&said),
        };
        accepted.map_err(|found| {
            let (path, wanted) = (path.clone(), format!("`{}`", self.owner));
            StorageError::Foreign { path, found, wanted }
        })
    }
}

/// Takes the lock beside a file.
fn lock(disk: &dyn Disk, path: &Path, owner: &Owner) -> Result<Box<dyn DiskFile>, StorageError> {
    let name = with_suffix(path, ".lock");
    let wrong = StorageError::system("opening", &name);
    let mut file = disk.create(&name, false).map_err(&wrong)?;
    let length = file.stat().map_err(&wrong)?.length;
    if !file.lock().map_err(StorageError::system("locking", &name))? {
        let mut text = vec![0; usize::try_from(length).unwrap_or(LOCK_TEXT_MAX).min(LOCK_TEXT_MAX)];
        let read = file.read_at(&mut text, 0).is_ok();
        let text = String::from_utf8_lossy(&text);
        let by = text.trim_matches(['\n', ' ', '\0']);
        let by = if read && !by.is_empty() { format!("`{by}`") } else { "another process".to_owned() };
        return Err(StorageError::InUse { path: path.to_owned(), by });
    }
    // For whoever finds it locked. Spaces, since a longer text may have stood there.
    let text = format!("{:<width$}\n", owner.to_string(), width = LOCK_TEXT_MAX - 1);
    file.write_at(text.as_bytes(), 0).map_err(StorageError::system("writing", &name))?;
    Ok(file)
}
