//! One file in place of another.

use super::disk::Disk;
use super::error::StorageError;
use super::place::folder_of;
use std::path::Path;

/// Gives a file that is whole and on the disk the name of another, which is gone then. Its new name is on the disk when this returns.
/// Waits for the disk.
pub(crate) fn put_in_place(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), StorageError> {
    disk.rename(from, to).map_err(StorageError::system("putting in place", to))?;
    sync_name(disk, to)
}

/// Has the folder's disk know what this name means by now. Waits for the disk.
pub(crate) fn sync_name(disk: &dyn Disk, name: &Path) -> Result<(), StorageError> {
    let folder = folder_of(name);
    disk.sync_folder(folder).map_err(StorageError::system("syncing the folder", folder))
}
