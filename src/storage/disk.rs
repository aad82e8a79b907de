//! What the system does for durable files, as tests can put something else in its place.

use crate::sys;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Which file a name means, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileStat {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) length: u64,
    pub(crate) is_regular: bool,
    /// Whether a file system is mounted on the very name.
    pub(crate) is_mount_point: bool,
}

impl FileStat {
    /// Whether it is the same file, whatever its length.
    pub(crate) fn is(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

impl From<sys::file::Found> for FileStat {
    fn from(found: sys::file::Found) -> Self {
        let sys::file::Found { device, inode, length, is_regular, is_mount_point } = found;
        Self { device, inode, length, is_regular, is_mount_point }
    }
}

fn error(errno: sys::Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.number())
}

/// An open file.
#[cfg_attr(not(feature = "redb"), allow(dead_code, reason = "folders are what redb's images need"))]
pub(crate) trait DiskFile: Debug + Send {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()>;
    /// Bytes, and what is needed to find them again (fdatasync(2)).
    fn sync(&mut self) -> io::Result<()>;
    /// Room for so many bytes, from the beginning: a full disk is an error here.
    fn reserve(&mut self, bytes: u64) -> io::Result<()>;
    /// Makes it so long: what is cut off is gone, what comes anew is zero.
    fn set_length(&mut self, bytes: u64) -> io::Result<()>;
    fn stat(&self) -> io::Result<FileStat>;
    /// All of its bytes go.
    fn clear(&mut self) -> io::Result<()>;
    /// The same open file once more, with its lock: that goes with the last of them.
    fn again(&self) -> io::Result<Box<dyn DiskFile>>;
    /// Its file system's name, where that keeps files in memory: a sync means nothing there.
    fn memory(&self) -> io::Result<Option<&'static str>>;
    /// Takes the write lock over the file; false where somebody else has it.
    fn lock(&self) -> io::Result<bool>;
    /// Whether somebody else has it.
    fn is_locked(&self) -> io::Result<bool>;
}

/// Names of files.
#[cfg_attr(not(feature = "redb"), allow(dead_code, reason = "folders are what redb's images need"))]
pub(crate) trait Disk: Debug + Send + Sync {
    /// Opens for reading and writing a file that is there.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// The same; one that is not there is made.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Names in the folder.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Of what the name means, symbolic links followed.
    fn stat(&self, path: &Path) -> io::Result<FileStat>;
    /// Whether files can be made in the folder; an error where not.
    fn may_write(&self, folder: &Path) -> io::Result<()>;
    /// The name of the folder's file system, where that keeps files in memory.
    fn memory_of(&self, folder: &Path) -> io::Result<Option<&'static str>>;
    /// The name behind symbolic links, whether or not there is a file; its folder must be there.
    fn resolve(&self, path: &Path) -> io::Result<std::path::PathBuf>;
    /// A folder in one that is there; it may be there already.
    fn make_folder(&self, path: &Path) -> io::Result<()>;
    /// The names of everything in a folder, each with the folder before it.
    fn list(&self, folder: &Path) -> io::Result<Vec<std::path::PathBuf>>;
    /// Removes a file's name.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The operating system's.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct System;

/// Symbolic links that are followed one after the other, as path_resolution(7) has it.
const LINKS_MAX: u32 = 40;

impl DiskFile for File {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        sys::file::write_all_at(self, bytes, offset)
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(into, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        sys::file::reserve(self, bytes).map_err(error)
    }

    fn set_length(&mut self, bytes: u64) -> io::Result<()> {
        sys::file::set_length(self, bytes)
    }

    fn stat(&self) -> io::Result<FileStat> {
        sys::file::look_at(self.as_fd()).map(FileStat::from).map_err(error)
    }

    fn clear(&mut self) -> io::Result<()> {
        self.set_len(0)
    }

    fn again(&self) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(self.try_clone()?))
    }

    fn memory(&self) -> io::Result<Option<&'static str>> {
        sys::file::memory_of_open(self.as_fd()).map_err(error)
    }

    fn lock(&self) -> io::Result<bool> {
        sys::file::lock_soon(self.as_fd()).map_err(error)
    }

    fn is_locked(&self) -> io::Result<bool> {
        sys::file::stays_locked(self.as_fd()).map_err(error)
    }
}

impl Disk for System {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        Ok(Box::new(options.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        sys::file::look(path).map(FileStat::from).map_err(error)
    }

    fn may_write(&self, folder: &Path) -> io::Result<()> {
        sys::file::may_write(folder).map_err(error)
    }

    fn memory_of(&self, folder: &Path) -> io::Result<Option<&'static str>> {
        sys::file::memory_of(folder).map_err(error)
    }

    fn resolve(&self, path: &Path) -> io::Result<std::path::PathBuf> {
        let mut path = path.to_owned();
        for _ in 0..LINKS_MAX {
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_symlink() => {
                    let target = fs::read_link(&path)?;
                    path = super::place::folder_of(&path).join(target);
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {
                    let folder = fs::canonicalize(super::place::folder_of(&path))?;
                    let name = path.file_name().ok_or_else(|| io::Error::from_raw_os_error(libc::EISDIR))?;
                    return Ok(folder.join(name));
                }
            }
        }
        Err(io::Error::from_raw_os_error(libc::ELOOP))
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            made => made,
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<std::path::PathBuf>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}
