//! A file that is written piece by piece, and what of it is on the disk.

use super::disk::{Disk, DiskFile, FileStat};
#[cfg(feature = "redb")]
use super::error::RESIZING;
use super::error::{SYNCING, StorageError, WRITING};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// That everything which was written through one handle before is on the disk, under its name. Made
/// by [`Durable::sync`] alone.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) struct OnDisk {
    position: u64,
}

impl OnDisk {
    /// What the writer called the end of what it had written.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }
}

/// An open file whose writes are to become durable.
#[derive(Debug)]
pub(crate) struct Durable {
    disk: Arc<dyn Disk>,
    file: Box<dyn DiskFile>,
    /// Its present name.
    path: PathBuf,
    stat: FileStat,
    /// It has so many bytes at least, or somebody has cut it short.
    length_min: u64,
    /// It is so long, where nobody else changes it.
    length: u64,
    has_failed: bool,
    /// Its file system's name, where that is memory: no sync counts there.
    memory: Option<&'static str>,
}

impl Durable {
    /// # Errors
    /// [`StorageError::NoDisk`].
    pub(super) fn new(
        (disk, file): (Arc<dyn Disk>, Box<dyn DiskFile>),
        path: PathBuf,
        length_min: u64,
    ) -> Result<Self, StorageError> {
        let made = Self::anywhere((disk, file), path, length_min)?;
        made.check_disk().map(|()| made)
    }

    /// One that need not be durable: it may be in memory, and every [`Durable::sync`] fails then.
    pub(super) fn anywhere(
        (disk, file): (Arc<dyn Disk>, Box<dyn DiskFile>),
        path: PathBuf,
        length_min: u64,
    ) -> Result<Self, StorageError> {
        let stat = file.stat().map_err(StorageError::system("looking at", &path))?;
        // Of the very file: another file system may be mounted there since its folder was looked at.
        let memory = file.memory().map_err(StorageError::system("looking at", &path))?;
        Ok(Self { disk, file, path, stat, length_min, length: stat.length, has_failed: false, memory })
    }

    /// Whether a sync means something.
    #[cfg(feature = "redb")]
    pub(crate) fn is_on_disk(&self) -> bool {
        self.memory.is_none()
    }

    fn check_disk(&self) -> Result<(), StorageError> {
        match self.memory {
            Some(file_system) => Err(StorageError::NoDisk { path: self.path.clone(), file_system }),
            None => Ok(()),
        }
    }

    /// Its length now, bytes.
    pub(crate) fn length(&self) -> Result<u64, StorageError> {
        self.file.stat().map(|stat| stat.length).map_err(StorageError::system("looking at", &self.path))
    }

    /// Writes; a system call. Durable after the next [`Durable::sync`].
    pub(crate) fn write_at(&mut self, bytes: &[u8], offset: u64) -> Result<(), StorageError> {
        self.check()?;
        self.check_length(offset.saturating_add(bytes.len() as u64))?;
        self.file.write_at(bytes, offset).map_err(|error| {
            self.has_failed = true;
            StorageError::system(WRITING, &self.path)(error)
        })
    }

    /// Whether nobody has cut it short, where it is to reach up to `end`: what brings it to its whole
    /// length again leaves a hole that no later look at the length finds.
    fn check_length(&mut self, end: u64) -> Result<(), StorageError> {
        if end < self.length {
            return Ok(());
        }
        let is_cut = self.length > 0 && self.length().inspect_err(|_| self.has_failed = true)? < self.length;
        if is_cut {
            self.has_failed = true;
            return Err(StorageError::Gone { path: self.path.clone(), what: "cut short" });
        }
        self.length = end;
        Ok(())
    }

    /// Makes it so long: what is cut off is gone, what comes anew is zero. Durable after the next
    /// [`Durable::sync`].
    #[cfg(feature = "redb")]
    pub(crate) fn set_length(&mut self, bytes: u64) -> Result<(), StorageError> {
        self.check()?;
        self.check_length(self.length.max(bytes))?;
        let changed = self.file.set_length(bytes);
        self.has_failed |= changed.is_err();
        (self.length_min, self.length) = (bytes, bytes);
        changed.map_err(StorageError::system(RESIZING, &self.path))
    }

    pub(crate) fn read_at(&self, into: &mut [u8], offset: u64) -> Result<(), StorageError> {
        self.file.read_at(into, offset).map_err(StorageError::system("reading", &self.path))
    }

    /// Brings what was written to the disk, and looks whether the name still means it. `position`:
    /// the end of what was written, as the caller counts. Waits for the disk.
    pub(crate) fn sync(&mut self, position: u64) -> Result<OnDisk, StorageError> {
        self.check()?;
        self.check_disk()?;
        let synced = self.file.sync().map_err(StorageError::system(SYNCING, &self.path));
        let found = synced.and_then(|()| self.look());
        self.has_failed |= found.is_err();
        found.map(|()| OnDisk { position })
    }

    /// Whether the name still means this file.
    pub(crate) fn look(&self) -> Result<(), StorageError> {
        let gone = |what| Err(StorageError::Gone { path: self.path.clone(), what });
        match self.disk.stat(&self.path) {
            Ok(stat) if !stat.is(&self.stat) => gone("replaced by another file"),
            Ok(stat) if stat.length < self.length_min => gone("cut short"),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => gone("removed"),
            Err(error) => Err(StorageError::system("looking for", &self.path)(error)),
        }
    }

    /// Gives it another name, in place of the file that had it; durable when this returns.
    pub(crate) fn rename(&mut self, to: &Path) -> Result<(), StorageError> {
        self.check()?;
        let renamed = self.disk.rename(&self.path, to).map_err(StorageError::system("putting in place", to));
        let synced = renamed.and_then(|()| {
            self.path = to.to_owned();
            let folder = super::place::folder_of(to);
            self.disk.sync_folder(folder).map_err(StorageError::system("syncing the folder", folder))
        });
        let found = synced.and_then(|()| self.look());
        self.has_failed |= found.is_err();
        found
    }

    fn check(&self) -> Result<(), StorageError> {
        if self.has_failed { Err(StorageError::Failed { path: self.path.clone() }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::simulated::{Fault, Simulated};
    use super::*;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    fn file(disk: &Simulated) -> Result<Durable, Box<dyn std::error::Error>> {
        let path = PathBuf::from("/file");
        let file = disk.create(&path)?;
        disk.sync_folder(Path::new("/"))?;
        Ok(Durable::new((Arc::new(disk.clone()), file), path, 0)?)
    }

    /// The next sync would succeed, with nothing on the disk.
    #[test]
    fn after_one_failure_nothing_is_called_durable_any_more() -> Outcome {
        for (fault, at) in [(Fault::SyncFails, 1), (Fault::WriteFails(libc::ENOSPC), 0)] {
            let disk = Simulated::default();
            let mut file = file(&disk)?;
            disk.fail_in(at, fault);
            let written = file.write_at(b"one", 0);
            assert_eq!((written.is_err(), file.sync(3).is_err()), (at == 0, true));
            let failed = StorageError::Failed { path: PathBuf::from("/file") };
            assert_eq!(file.write_at(b"two", 3), Err(failed.clone()));
            #[cfg(feature = "redb")]
            assert_eq!(file.set_length(0), Err(failed.clone()));
            assert_eq!(file.sync(6), Err(failed.clone()));
            assert_eq!(file.rename(Path::new("/other")), Err(failed));
            assert_ne!(disk.boot(true).content(Path::new("/file")), Some(b"onetwo".to_vec()));
        }
        Ok(())
    }

    /// The next write would make it as long again, and zeroes would stand for what was synced.
    #[test]
    fn a_file_that_was_cut_short_is_not_grown_over() -> Outcome {
        let disk = Simulated::default();
        let mut file = file(&disk)?;
        file.write_at(b"onetwo", 0)?;
        let _ = file.sync(6)?;
        disk.cut_short(Path::new("/file"), 0);
        let gone = StorageError::Gone { path: PathBuf::from("/file"), what: "cut short" };
        assert_eq!(file.write_at(b"more", 6), Err(gone));
        assert_eq!(file.sync(10), Err(StorageError::Failed { path: PathBuf::from("/file") }));
        Ok(())
    }

    #[test]
    fn what_was_synced_is_there_after_a_power_cut() -> Outcome {
        let disk = Simulated::default();
        let mut file = file(&disk)?;
        file.write_at(b"one", 0)?;
        assert_eq!(file.sync(3)?.position(), 3);
        file.write_at(b"two", 3)?;
        assert_eq!(disk.boot(false).content(Path::new("/file")), Some(b"one".to_vec()));
        file.rename(Path::new("/other"))?;
        assert_eq!(
            disk.boot(false).content(Path::new("/other")),
            Some(b"one".to_vec()),
            "the name is, the rest is not"
        );
        Ok(())
    }

    /// Every call succeeds there.
    #[test]
    fn memory_is_no_disk() -> Outcome {
        let disk = Simulated::default();
        disk.become_memory("ramfs");
        let (path, refused) = (PathBuf::from("/file"), "/file is on ramfs, which is memory");
        let open = disk.create(&path)?;
        let error = Durable::new((Arc::new(disk.clone()), open), path.clone(), 0).err().ok_or("taken")?;
        assert!(error.to_string().starts_with(refused), "{error}");
        let small = super::super::Small::new(Arc::new(disk.clone()), path.clone(), super::super::is_numbers);
        assert_eq!(
            (small.check(), small.replace(b"1")),
            (Err(error.clone()), Err(StorageError::NoDisk { path: super::super::beside(&path), file_system: "ramfs" }))
        );
        let owner = super::super::Owner::new("its owner".to_owned());
        let place = super::super::Place::take(Arc::new(disk.clone()), &path, owner, 0);
        assert_eq!(place.err(), Some(error));
        assert_eq!(disk.content(Path::new("/file.lock")), None, "nothing is left beside it");
        Ok(())
    }
}
