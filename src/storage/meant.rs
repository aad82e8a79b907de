//! Whether two names mean one file, and whether a name still means the file it meant.

use super::disk::{Disk, FileStat, System};
use super::error::StorageError;
use crate::sys;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Whether the name still means the file that was opened by it.
///
/// # Errors
/// [`StorageError::Gone`]: it was removed, or another one was put there. [`StorageError::System`].
pub(crate) fn check_still(path: &Path, file: BorrowedFd<'_>) -> Result<(), StorageError> {
    let gone = |what| Err(StorageError::Gone { path: path.to_owned(), what });
    let wrong = StorageError::system("looking at", path);
    let opened = sys::file::look_at(file).map_err(|errno| wrong(io::Error::from_raw_os_error(errno.number())))?;
    match System.stat(path) {
        Ok(found) if found.is(&opened.into()) => Ok(()),
        Ok(_) => gone("replaced"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => gone("removed"),
        Err(error) => Err(wrong(error)),
    }
}

/// A name, and the file that it is to mean for as long as somebody relies on that.
#[derive(Debug, Clone)]
pub(crate) struct Name {
    disk: Arc<dyn Disk>,
    /// From the root: whoever changes the working directory takes no file away.
    path: PathBuf,
    stat: FileStat,
}

impl Name {
    /// The name of this open file, which is as long as it has to be.
    pub(crate) fn of(path: &Path, file: BorrowedFd<'_>) -> Result<Self, StorageError> {
        let wrong = StorageError::system("looking at", path);
        let stat = sys::file::look_at(file).map_err(|errno| wrong(io::Error::from_raw_os_error(errno.number())))?;
        Ok(Self { disk: Arc::new(System), path: std::path::absolute(path).map_err(&wrong)?, stat: stat.into() })
    }

    #[cfg(test)]
    pub(crate) fn on(disk: Arc<dyn Disk>, path: &Path) -> io::Result<Self> {
        let stat = disk.stat(path)?;
        Ok(Self { disk, path: path.to_owned(), stat })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the name still means the file, and nobody has cut that short.
    ///
    /// # Errors
    /// [`StorageError::Gone`]. [`StorageError::System`]: it cannot be looked at.
    pub(crate) fn look(&self) -> Result<(), StorageError> {
        let gone = |what| Err(StorageError::Gone { path: self.path.clone(), what });
        match self.disk.stat(&self.path) {
            Ok(found) if !found.is(&self.stat) => gone("replaced by another file"),
            Ok(found) if found.length < self.stat.length => gone("cut short"),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => gone("removed"),
            Err(error) => Err(StorageError::system("looking at", &self.path)(error)),
        }
    }
}

/// What a name means: where it leads, and the file there, if there is one.
#[derive(Debug)]
pub(crate) struct Meant {
    path: PathBuf,
    stat: Option<FileStat>,
}

impl Meant {
    /// None where its folder is not there: whoever opens it says so.
    pub(crate) fn by(path: &Path) -> Option<Self> {
        let path = System.resolve(path).ok()?;
        let stat = System.stat(&path).ok();
        Some(Self { path, stat })
    }

    /// Behind symbolic links.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is the same file, or would be.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let same = |one: FileStat, other| one.is(&other);
        self.path == other.path || self.stat.zip(other.stat).is_some_and(|(one, other)| same(one, other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn links_of_both_kinds_are_seen_through() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir_in("/var/tmp")?;
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), b"")?;
        fs::hard_link(path("file"), path("second"))?;
        std::os::unix::fs::symlink(path("file"), path("link"))?;
        std::os::unix::fs::symlink(path("none"), path("leads-nowhere"))?;
        fs::create_dir(path("folder"))?;
        let meant = |name: &str| Meant::by(&path(name)).ok_or(format!("{name}: no folder"));
        for (one, other) in [
            ("file", "file"),
            ("file", "second"),
            ("second", "link"),
            ("none", "leads-nowhere"),
            ("none", "folder/../none"),
        ] {
            assert!(meant(one)?.is(&meant(other)?), "{one}, {other}");
        }
        for (one, other) in [("file", "none"), ("file", "other"), ("none", "other"), ("link", "leads-nowhere")] {
            assert!(!meant(one)?.is(&meant(other)?), "{one}, {other}");
        }
        assert_eq!(meant("link")?.path(), path("file").canonicalize()?);
        assert!(Meant::by(&path("nowhere/file")).is_none());
        Ok(())
    }
}
