//! Why a durable file is not to be had, or not durable any more.

use crate::sys::Errno;
use std::path::PathBuf;

/// A durable file could not be opened, written or relied on. One that another has, or that is
/// refused, is left as it was; after a failed write or sync nothing is known of what it holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The system refused something.
    #[error("{tried} {}: {errno}", path.display())]
    System {
        /// What was tried.
        tried: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system answered.
        errno: Errno,
    },
    /// Somebody else keeps a file under this name.
    #[error(
        "{} is in use by {by}: end that, or give this one a file of its own",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
        /// Who has it, by the lock file's word.
        by: String,
    },
    /// The file is there, and says that it is somebody else's.
    #[error(
        "{} belongs to {found}, and this is {wanted}: it is left as it is. Give this one a file of its own, or move the other away",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it says it is.
        found: String,
        /// Who wanted it.
        wanted: String,
    },
    /// A folder, a device or a pipe.
    #[error("{} is no regular file: give the path of a file, or of one that is not there yet", path.display())]
    NoFile {
        /// What is there.
        path: PathBuf,
    },
    /// A file that is mounted by itself: it cannot be replaced by rename(2).
    #[error(
        "{} is a mount point: a file that is mounted by itself cannot be replaced by a newer one (EBUSY). Mount the folder it lies in",
        path.display()
    )]
    MountPoint {
        /// The file.
        path: PathBuf,
    },
    /// A sync succeeds there, and brings nothing to a disk.
    #[error(
        "{} is on {file_system}, which is memory: a sync there brings nothing to a disk (fdatasync succeeds all the same). Give a path on a disk",
        path.display()
    )]
    NoDisk {
        /// The file, or what was to be one.
        path: PathBuf,
        /// What holds it.
        file_system: &'static str,
    },
    /// While it was written the file was removed, or another one was put in its place.
    #[error(
        "{} was {what} while it was in use: what was written since is in no file of this name",
        path.display()
    )]
    Gone {
        /// The name.
        path: PathBuf,
        /// What happened to the file.
        what: &'static str,
    },
    /// A write or sync through this handle failed before.
    #[error(
        "{} has failed before, and what of it is on the disk is not known: a new file takes its place",
        path.display()
    )]
    Failed {
        /// The file.
        path: PathBuf,
    },
}

/// What is tried with the content of a file.
pub(super) const WRITING: &str = "writing";
pub(super) const SYNCING: &str = "syncing";
pub(super) const RESIZING: &str = "changing the length of";

/// After a failure of these nothing is known of what the file holds.
const TOUCHING: [&str; 3] = [WRITING, SYNCING, RESIZING];

impl StorageError {
    /// Whether it tells of a shortage that can pass while nobody does anything about it.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, StorageError::System { errno, .. } if errno.is_passing())
    }

    /// Whether what a file holds is not known any more: a write or a sync of it failed, or others took it away. Whoever could not open a file, or
    /// look at it, for a shortage that passes has lost nothing of it.
    pub(crate) fn spoils(&self) -> bool {
        match self {
            StorageError::System { tried, errno, .. } => TOUCHING.contains(tried) || !errno.is_passing(),
            _ => true,
        }
    }

    /// Makes an error of the system one of ours.
    pub(crate) fn system<'a>(
        tried: &'static str,
        path: &'a std::path::Path,
    ) -> impl Fn(std::io::Error) -> StorageError + 'a {
        move |error| StorageError::System { tried, path: path.to_owned(), errno: Errno::from(&error) }
    }
}
