//! The lock beside a file, and who says to hold it.
//!
//! The whole name and `.lock`. A file of that name may be there already and be no lock at all
//! (`Cargo.lock` beside `Cargo`): what does not look like one is refused and left as it is.

use super::disk::{Disk, DiskFile};
use super::error::StorageError;
use super::owner::Owner;
use super::place::check_disk;
use super::small::with_suffix;
use std::io;
use std::path::{Path, PathBuf};

/// What a lock file begins with.
const FIRST_LINE: &str = "handfast lock\n";

/// Bytes of a lock file: the first line, who holds it, blanks, a line's end.
const TEXT_BYTES: usize = 256;

/// Blanks that follow the words of an owner at least: they take fewer bytes than there are.
const BLANKS_MIN: usize = 16;

/// A lock file that others remove just then is made again so often.
const TRIES_MAX: u32 = 16;

/// A name, held until this is dropped, by the death of the process too.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    /// Of the lock file.
    name: PathBuf,
    owner: Owner,
    file: Box<dyn DiskFile>,
}

impl Lock {
    /// Takes the lock of a name. Symbolic links are followed. A name in memory has none.
    ///
    /// # Errors
    /// [`StorageError::InUse`], [`StorageError::Foreign`]: what lies there is no lock file;
    /// [`StorageError::NoDisk`], [`StorageError::NoFile`], [`StorageError::System`].
    pub(crate) fn take(disk: &dyn Disk, path: &Path, owner: &Owner) -> Result<Self, StorageError> {
        let path = disk.resolve(path).map_err(StorageError::system("looking for", path))?;
        check_disk(disk, &path)?;
        Self::take_named(disk, &with_suffix(&path, ".lock"), path, owner)
    }

    /// Takes a lock file of this name, which stands for `path`.
    ///
    /// # Errors
    /// Those of [`Lock::take`], but for the disk.
    pub(super) fn take_named(disk: &dyn Disk, name: &Path, path: PathBuf, owner: &Owner) -> Result<Self, StorageError> {
        for _ in 0..TRIES_MAX {
            let mut file = disk.create(name).map_err(StorageError::system("opening", name))?;
            let wrong = StorageError::system("looking at", name);
            let stat = file.stat().map_err(&wrong)?;
            if !stat.is_regular {
                return Err(StorageError::NoFile { path: name.to_owned() });
            }
            let is_ours = file.lock().map_err(StorageError::system("locking", name))?;
            let text = read(&*file, name)?;
            if !is_ours {
                return Err(StorageError::InUse { path, by: holder(text.as_deref()) });
            }
            match disk.stat(name) {
                Ok(found) if found.is(&stat) => {}
                // It was removed before it was locked: whoever comes next locks another file.
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(wrong(error)),
            }
            if !text.as_deref().is_some_and(is_lock) {
                let found = "somebody else (it holds what no lock file does)".to_owned();
                return Err(StorageError::Foreign {
                    found,
                    wanted: format!("the lock of `{owner}`"),
                    path: name.to_owned(),
                });
            }
            file.write_at(&encode(owner), 0).map_err(StorageError::system("writing", name))?;
            return Ok(Self { path, name: name.to_owned(), owner: owner.clone(), file });
        }
        Err(StorageError::InUse { path, by: "somebody who removes its lock file again and again".to_owned() })
    }

    /// Whether the lock file is still there: whoever comes next locks another one where not.
    pub(crate) fn stands(&self, disk: &dyn Disk) -> Result<bool, StorageError> {
        let wrong = StorageError::system("looking at", &self.name);
        let held = self.file.stat().map_err(&wrong)?;
        match disk.stat(&self.name) {
            Ok(found) => Ok(found.is(&held)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(wrong(error)),
        }
    }

    /// Takes the lock anew whose file others removed.
    ///
    /// # Errors
    /// Those of [`Lock::take`]. [`StorageError::InUse`]: somebody else has it by now.
    pub(crate) fn take_again(&mut self, disk: &dyn Disk) -> Result<(), StorageError> {
        *self = Self::take_named(disk, &self.name.clone(), self.path.clone(), &self.owner.clone())?;
        Ok(())
    }

    /// Whether nobody holds the lock of a name: for who takes it by another lock, and must not touch the
    /// file before. A name that cannot be looked at is free: whoever opens it says what is wrong.
    ///
    /// # Errors
    /// [`StorageError::InUse`].
    pub(crate) fn check_free(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
        let Ok(path) = disk.resolve(path) else { return Ok(()) };
        let name = with_suffix(&path, ".lock");
        let Ok(file) = disk.open(&name) else { return Ok(()) };
        if !file.is_locked().map_err(StorageError::system("looking for a lock on", &name))? {
            return Ok(());
        }
        let text = read(&*file, &name)?;
        Err(StorageError::InUse { path, by: holder(text.as_deref()) })
    }

    /// The name, behind symbolic links.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// What it holds; none where that is longer than any lock file.
fn read(file: &dyn DiskFile, name: &Path) -> Result<Option<Vec<u8>>, StorageError> {
    let wrong = StorageError::system("reading", name);
    let length = usize::try_from(file.stat().map_err(&wrong)?.length).unwrap_or(usize::MAX);
    if length > TEXT_BYTES {
        return Ok(None);
    }
    let mut text = vec![0; length];
    file.read_at(&mut text, 0).map_err(&wrong)?;
    Ok(Some(text))
}

/// For whoever finds it locked. As long as any other, since another may have stood there.
fn encode(owner: &Owner) -> Vec<u8> {
    let mut text = format!("{FIRST_LINE}{owner}").into_bytes();
    text.resize(TEXT_BYTES - 1, b' ');
    text.push(b'\n');
    text
}

/// Whether this is the text of a lock file: of one that was just made, of one of ours, of one from
/// before they had a first line, or of one whose power was cut, of which some file systems keep the
/// length and no bytes.
fn is_lock(text: &[u8]) -> bool {
    text.iter().all(|byte| *byte == 0) || text.starts_with(FIRST_LINE.as_bytes()) || is_early_lock(text)
}

/// Words, blanks up to the length, a line's end.
fn is_early_lock(text: &[u8]) -> bool {
    let Some((b'\n', line)) = text.split_last() else { return false };
    let is_line = std::str::from_utf8(line).is_ok_and(|line| !line.contains(char::is_control));
    text.len() == TEXT_BYTES && is_line && !line.starts_with(b" ") && line.ends_with(&[b' '; BLANKS_MIN])
}

/// Who has it, by its text.
fn holder(text: Option<&[u8]>) -> String {
    let text = String::from_utf8_lossy(text.filter(|text| is_lock(text)).unwrap_or_default());
    let words = text.strip_prefix(FIRST_LINE).unwrap_or(&text).trim_matches(['\n', ' ', '\0']);
    if words.is_empty() { "another process".to_owned() } else { format!("`{words}`") }
}

#[cfg(test)]
mod tests {
    use super::super::disk::System;
    use super::super::simulated::Simulated;
    use super::*;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    fn owner() -> Owner {
        Owner::new("the copy of log wal held by node b of cluster pair".to_owned())
    }

    /// As they were before they had a first line.
    fn early() -> Vec<u8> {
        format!("{:<width$}\n", owner().to_string(), width = TEXT_BYTES - 1).into_bytes()
    }

    /// Whether a file with this content becomes a lock; it is left as it is where not.
    fn becomes_lock(content: &[u8]) -> Result<bool, Box<dyn std::error::Error>> {
        let (disk, path) = (Simulated::default(), Path::new("/kept"));
        disk.put(Path::new("/kept.lock"), content);
        let taken = Lock::take(&disk, path, &owner());
        let now = disk.content(Path::new("/kept.lock"));
        match taken {
            Ok(_) => assert_eq!(now, Some(encode(&owner()))),
            Err(StorageError::Foreign { path, .. }) => {
                assert_eq!((path, now.as_deref()), (PathBuf::from("/kept.lock"), Some(content)));
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }

    #[test]
    fn what_is_no_lock_file_is_left_as_it_is() -> Outcome {
        let long = Owner::new("x".repeat(400));
        for ours in [Vec::new(), vec![0; TEXT_BYTES], early(), encode(&owner()), encode(&long)] {
            assert!(becomes_lock(&ours)?, "{:?}", String::from_utf8_lossy(&ours));
        }
        let cargo = b"# This file is automatically @generated by Cargo.\nversion = 4\n".to_vec();
        let padded = [cargo.clone(), vec![b' '; TEXT_BYTES - cargo.len() - 1], b"\n".to_vec()].concat();
        let longer = [early(), b"\n".to_vec()].concat();
        for foreign in [cargo, padded, longer, b"1234\n".to_vec(), vec![b' '; TEXT_BYTES], vec![0; TEXT_BYTES + 1]] {
            assert!(!becomes_lock(&foreign)?, "{:?}", String::from_utf8_lossy(&foreign));
        }
        Ok(())
    }

    #[test]
    fn who_has_it_is_told_of_old_and_new_files() {
        let told = format!("`{}`", owner());
        assert_eq!((holder(Some(&early())), holder(Some(&encode(&owner())))), (told.clone(), told));
        for nothing in [None, Some(&b""[..]), Some(&[0; 9]), Some(b"something else\n")] {
            assert_eq!(holder(nothing), "another process");
        }
    }

    /// Else two would hold it: the file that is locked is not the one that the next one finds.
    #[test]
    fn a_lock_file_that_is_removed_just_then_is_made_again() -> Outcome {
        let (disk, path) = (Simulated::default(), Path::new("/kept"));
        disk.remove_when_locked(Path::new("/kept.lock"), 1);
        let lock = Lock::take(&disk, path, &owner())?;
        let second = Lock::take(&disk, path, &owner());
        assert!(matches!(second, Err(StorageError::InUse { .. })), "{second:?}");
        assert!(matches!(Lock::check_free(&disk, path), Err(StorageError::InUse { .. })));
        drop(lock);
        assert_eq!(Lock::check_free(&disk, path), Ok(()));
        disk.remove_when_locked(Path::new("/kept.lock"), u32::MAX);
        let never = Lock::take(&disk, path, &owner());
        assert!(matches!(&never, Err(StorageError::InUse { by, .. }) if by.contains("removes")), "{never:?}");
        Ok(())
    }

    #[test]
    fn the_system_keeps_it_as_the_simulated_disk_does() -> Outcome {
        let folder = tempfile::tempdir_in("/var/tmp")?;
        let (path, name) = (folder.path().join("Cargo"), folder.path().join("Cargo.lock"));
        std::fs::write(&name, b"version = 4\n")?;
        let foreign = Lock::take(&System, &path, &owner());
        assert!(
            matches!(&foreign, Err(StorageError::Foreign { path, .. }) if *path == name.canonicalize()?),
            "{foreign:?}"
        );
        assert_eq!(std::fs::read(&name)?, b"version = 4\n");
        std::fs::write(&name, early())?;
        let lock = Lock::take(&System, &path, &owner())?;
        assert_eq!(lock.path(), path.canonicalize().unwrap_or(path.clone()));
        let second = Lock::take(&System, &path, &owner());
        assert!(matches!(&second, Err(StorageError::InUse { by, .. }) if by.contains("node b")), "{second:?}");
        drop(lock);
        std::fs::remove_file(&name)?;
        std::fs::create_dir(&name)?;
        let no_file = Lock::take(&System, &path, &owner()).err().ok_or("a folder was locked")?;
        assert!(no_file.to_string().contains("Cargo.lock") && no_file.to_string().contains("EISDIR"), "{no_file}");
        Ok(())
    }
}
