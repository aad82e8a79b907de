//! A name under which one user keeps a durable file.

use super::disk::{Disk, DiskFile, FileStat};
use super::durable::Durable;
use super::error::StorageError;
use super::lock::Lock;
use super::owner::{OWNER_BYTES, Owner, Said};
use super::small::beside;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes that are looked at at once.
const PIECE_BYTES: usize = 64 << 10;

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

/// A name, held by locks until it is dropped, by the death of the process too.
///
/// One lock lies beside the file and not in it, since the file is replaced. Another is on the very
/// file: that has more names than one where there are hard links, and each of them its own lock.
#[derive(Debug)]
pub(crate) struct Place {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    owner: Owner,
    /// Where in the file its owner is named.
    owner_offset: u64,
    /// The file that had the name when it was taken, or was put there since.
    known: Option<Held>,
    /// The file that is to have the name.
    beside: Option<Held>,
    _lock: Lock,
}

/// A file that is locked as long as this is there.
#[derive(Debug)]
struct Held {
    file: Box<dyn DiskFile>,
    stat: FileStat,
}

impl Place {
    /// Takes a name. Symbolic links are followed: what they lead to is the file, and lies where it
    /// lay.
    ///
    /// # Errors
    /// [`StorageError::InUse`], [`StorageError::Foreign`], [`StorageError::NoFile`],
    /// [`StorageError::MountPoint`], [`StorageError::NoDisk`], [`StorageError::System`]: the folder
    /// is not there, or cannot be written.
    pub(crate) fn take(
        disk: Arc<dyn Disk>,
        path: &Path,
        owner: Owner,
        owner_offset: u64,
    ) -> Result<Self, StorageError> {
        let path = disk.resolve(path).map_err(StorageError::system("looking for", path))?;
        match disk.stat(&path) {
            Ok(stat) if !stat.is_regular => return Err(StorageError::NoFile { path }),
            Ok(stat) if stat.is_mount_point => return Err(StorageError::MountPoint { path }),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StorageError::system("looking at", &path)(error));
            }
            _ => {}
        }
        let lock = Lock::take(&*disk, &path, &owner)?;
        let path = lock.path().to_owned();
        let mut place = Self { disk, path, owner, owner_offset, known: None, beside: None, _lock: lock };
        place.known = match place.disk.open(&place.path) {
            Ok(file) => Some(place.hold(file, &place.path)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(StorageError::system("opening", &place.path)(error)),
        };
        place.check_owner()?;
        Ok(place)
    }

    /// The name, behind symbolic links.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file that is there, to write on in it; none where there is none. It vouches for nothing
    /// before it is written: see the module.
    pub(crate) fn open(&mut self, length_min: u64) -> Result<Option<Durable>, StorageError> {
        self.check_owner()?;
        let file = match self.disk.open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StorageError::system("opening", &self.path)(error)),
        };
        let stat = file.stat().map_err(StorageError::system("looking at", &self.path))?;
        let file = match &self.known {
            Some(known) if known.stat.is(&stat) => file,
            // It was put there since, and is ours.
            _ => {
                let held = self.hold(file, &self.path)?;
                let file = held.file.again().map_err(StorageError::system("opening", &self.path))?;
                self.known = Some(held);
                file
            }
        };
        let mut file = Durable::new((Arc::clone(&self.disk), file), self.path.clone(), length_min)?;
        file.write_at(&self.owner.encode(), self.owner_offset)?;
        // The name too may be in a cache alone, where its process ended just after a rename.
        let folder = folder_of(&self.path);
        self.disk.sync_folder(folder).map_err(StorageError::system("syncing the folder", folder))?;
        Ok(Some(file))
    }

    /// A new file beside, of so many bytes, all zero but for its owner. What an earlier try left there
    /// is gone then.
    ///
    /// # Errors
    /// [`StorageError::Foreign`]: another's file has the name, so that nothing is written that could
    /// not take its place; or one lies beside. [`StorageError::InUse`], [`StorageError::System`].
    pub(crate) fn create_beside(&mut self, bytes: u64) -> Result<Durable, StorageError> {
        self.check_owner()?;
        let path = beside(&self.path);
        // That of an earlier try.
        self.beside = None;
        let file = self.disk.create(&path).map_err(StorageError::system("creating", &path))?;
        let mut held = self.hold(file, &path)?;
        self.check_beside(&held, &path)?;
        let file = &mut held.file;
        file.clear().map_err(StorageError::system("emptying", &path))?;
        // On the disk before anything else of it is: a power cut leaves a file that is ours to empty.
        file.write_at(&self.owner.encode(), self.owner_offset).map_err(StorageError::system("writing", &path))?;
        file.sync().map_err(StorageError::system("syncing", &path))?;
        if let Err(error) = file.reserve(bytes) {
            // The room that it got is of use to others. Where this fails too, the next try does it.
            let _ = file.clear();
            return Err(StorageError::system("reserving room for", &path)(error));
        }
        let file = file.again().map_err(StorageError::system("opening", &path))?;
        let file = Durable::new((Arc::clone(&self.disk), file), path, bytes)?;
        self.beside = Some(held);
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
        self.known = self.beside.take();
        Ok(())
    }

    /// Locks the very file.
    fn hold(&self, file: Box<dyn DiskFile>, path: &Path) -> Result<Held, StorageError> {
        let stat = file.stat().map_err(StorageError::system("looking at", path))?;
        if file.lock().map_err(StorageError::system("locking", path))? {
            return Ok(Held { file, stat });
        }
        let by = match self.said(&*file, path)? {
            Said::Owner(owner) => format!("`{owner}`"),
            _ => "another log or process, maybe by another name".to_owned(),
        };
        Err(StorageError::InUse { path: path.to_owned(), by })
    }

    /// Whose a file says it is.
    fn said(&self, file: &dyn DiskFile, path: &Path) -> Result<Said, StorageError> {
        let length = file.stat().map_err(StorageError::system("looking at", path))?.length;
        let mut bytes = [0; OWNER_BYTES];
        // Too short for what it should be: whoever reads it says so.
        if length >= self.owner_offset + OWNER_BYTES as u64 {
            file.read_at(&mut bytes, self.owner_offset).map_err(StorageError::system("reading", path))?;
        }
        Ok(Owner::decode(&bytes))
    }

    fn foreign(&self, path: &Path, found: String) -> StorageError {
        StorageError::Foreign { path: path.to_owned(), found, wanted: format!("`{}`", self.owner) }
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
        let is_strange = self.known.as_ref().is_none_or(|known| !known.stat.is(&stat)) && stat.length > 0;
        let accepted = match self.said(&*file, path)? {
            Said::Nothing if is_strange => {
                Err("somebody else (it was put there while this name was in use)".to_owned())
            }
            said => self.owner.accepts(&said),
        };
        accepted.map_err(|found| self.foreign(path, found))
    }

    /// Whether what lies beside may be emptied: it is ours, or there is nothing in it.
    fn check_beside(&self, held: &Held, path: &Path) -> Result<(), StorageError> {
        if !held.stat.is_regular {
            return Err(StorageError::NoFile { path: path.to_owned() });
        }
        let said = self.said(&*held.file, path)?;
        if said == Said::Nothing && !is_zero(&*held.file, path)? {
            return Err(self.foreign(path, "somebody else (it names no owner)".to_owned()));
        }
        self.owner.accepts(&said).map_err(|found| self.foreign(path, found))
    }
}

/// Whether there is nothing but zeroes in it.
fn is_zero(file: &dyn DiskFile, path: &Path) -> Result<bool, StorageError> {
    let wrong = StorageError::system("reading", path);
    let length = file.stat().map_err(&wrong)?.length;
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    while at < length {
        let left = (length - at).min(PIECE_BYTES as u64);
        let Some(piece) = piece.get_mut(..left as usize) else { break };
        file.read_at(piece, at).map_err(&wrong)?;
        if piece.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += left;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::super::disk::System;
    use super::super::simulated::Simulated;
    use super::*;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    const OFFSET: u64 = 64;

    fn owner(node: &str) -> Owner {
        Owner::new(format!("the copy of log wal held by node {node}"))
    }

    fn take(disk: &(impl Disk + Clone + 'static), path: &Path) -> Result<Place, StorageError> {
        Place::take(Arc::new(disk.clone()), path, owner("b"), OFFSET)
    }

    /// A place with a file in it.
    fn filled(disk: &(impl Disk + Clone + 'static), path: &Path) -> Result<Place, StorageError> {
        let mut place = take(disk, path)?;
        let mut file = place.create_beside(1000)?;
        let _ = file.sync(0)?;
        place.put_in_place(&mut file)?;
        Ok(place)
    }

    /// One file, two names, a lock beside each.
    fn by_another_name(disk: &(impl Disk + Clone + 'static), folder: &Path, link: &dyn Fn(&Path, &Path)) -> Outcome {
        let (one, other) = (folder.join("one"), folder.join("other"));
        let place = filled(disk, &one)?;
        link(&one, &other);
        let in_use = take(disk, &other).err().ok_or("taken twice")?;
        assert!(matches!(&in_use, StorageError::InUse { by, .. } if by.contains("node b")), "{in_use}");
        drop(place);
        // Nor the other way round, with a file that was found.
        let place = take(disk, &other)?;
        assert!(matches!(take(disk, &one), Err(StorageError::InUse { .. })));
        drop(place);
        drop(take(disk, &one)?);
        Ok(())
    }

    #[test]
    fn a_file_of_two_names_is_one_users() -> Outcome {
        let disk = Simulated::default();
        by_another_name(&disk, Path::new("/"), &|from, to| disk.link(from, to))?;
        let folder = tempfile::tempdir_in("/var/tmp")?;
        let mut failed = None;
        let link = std::cell::RefCell::new(&mut failed);
        by_another_name(&System, folder.path(), &|from, to| **link.borrow_mut() = std::fs::hard_link(from, to).err())?;
        assert!(failed.is_none(), "{failed:?}");
        Ok(())
    }

    /// The lock beside went with its name; the file's own does not.
    #[test]
    fn a_lock_file_that_is_removed_costs_nobody_the_file() -> Outcome {
        let disk = Simulated::default();
        let place = filled(&disk, Path::new("/one"))?;
        disk.remove(Path::new("/one.lock"));
        assert!(matches!(take(&disk, Path::new("/one")), Err(StorageError::InUse { .. })));
        drop(place);
        let folder = tempfile::tempdir_in("/var/tmp")?;
        let path = folder.path().join("one");
        let mut place = take(&System, &path)?;
        let mut file = place.create_beside(1000)?;
        std::fs::remove_file(folder.path().join("one.lock"))?;
        // The name is free, and what grows beside it is not.
        let mut second = take(&System, &path)?;
        let in_use = second.create_beside(1000).err().ok_or("two files beside")?;
        assert!(matches!(&in_use, StorageError::InUse { path, .. } if path.ends_with("one.new")), "{in_use}");
        let _ = file.sync(0)?;
        place.put_in_place(&mut file)?;
        Ok(())
    }

    #[test]
    fn what_lies_beside_is_emptied_where_it_is_ours_alone() -> Outcome {
        let mut ours = vec![7; 2000];
        ours[OFFSET as usize..][..OWNER_BYTES].copy_from_slice(&owner("b").encode());
        let mut theirs = ours.clone();
        theirs[OFFSET as usize..][..OWNER_BYTES].copy_from_slice(&owner("d").encode());
        let mut late = vec![0; 3 * PIECE_BYTES];
        late[3 * PIECE_BYTES - 1] = 1;
        for (content, is_ours) in [
            (ours, true),
            (Vec::new(), true),
            (vec![0; 3 * PIECE_BYTES], true),
            (theirs, false),
            (late, false),
            (b"a letter".to_vec(), false),
            (vec![7; 2000], false),
        ] {
            let disk = Simulated::default();
            disk.put(Path::new("/one.new"), &content);
            let made = take(&disk, Path::new("/one"))?.create_beside(1000).map(|_| ());
            let now = disk.content(Path::new("/one.new"));
            if is_ours {
                assert_eq!((made, now.map(|bytes| bytes.len())), (Ok(()), Some(1000)));
            } else {
                assert!(
                    matches!(&made, Err(StorageError::Foreign { path, .. }) if path.ends_with("one.new")),
                    "{made:?}"
                );
                assert_eq!(now, Some(content), "it is left as it is");
            }
        }
        let folder = tempfile::tempdir_in("/var/tmp")?;
        let (path, name) = (folder.path().join("one"), folder.path().join("one.new"));
        let mut place = take(&System, &path)?;
        std::fs::write(&name, b"a letter")?;
        assert!(matches!(place.create_beside(1000), Err(StorageError::Foreign { .. })));
        assert_eq!(std::fs::read(&name)?, b"a letter");
        std::fs::write(&name, [0; 5000])?;
        drop(place.create_beside(1000)?);
        assert_eq!(std::fs::metadata(&name)?.len(), 1000);
        Ok(())
    }

    /// A power cut at any call of making one leaves what the next process takes for its own.
    #[test]
    fn a_file_beside_that_a_power_cut_left_is_made_again() -> Outcome {
        use super::super::simulated::Fault;
        for call in 0..12 {
            let disk = Simulated::default();
            disk.fail_in(call, Fault::PowerCut);
            let made = take(&disk, Path::new("/one")).and_then(|mut place| {
                let mut file = place.create_beside(1000)?;
                file.write_at(&[7; 8], 0)?;
                let _ = file.sync(0)?;
                place.put_in_place(&mut file)
            });
            for names in [false, true] {
                let disk = disk.boot(names);
                drop(filled(&disk, Path::new("/one")).map_err(|error| format!("{call}, {made:?}: {error}"))?);
            }
        }
        Ok(())
    }
}
