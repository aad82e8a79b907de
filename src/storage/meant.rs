//! Whether two names mean one file, and whether a name still means the file it meant.

use super::disk::{Disk, FileStat, System};
use super::error::StorageError;
use crate::sys;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

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
