//! From a partner's image and its copy of the log, a database file that opens.

use crate::clients::mirrored_log::{Lsn, Records, Source, StoppedAt};
use crate::engines::redb::follower::{FollowError, Follower, FollowerOptions};
use crate::engines::redb::image::{Claim, ImageError, Images, failed, is_of_images};
use crate::storage::{StorageError, System};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where and from what a database file was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RebuildReport {
    /// The image it is built from, and what that held before.
    pub image: Claim,
    /// Operations of the log that were applied on top.
    pub operations: u64,
    /// Everything before this is in the file.
    pub reached: Lsn,
    /// Where the log's valid prefix ends, and why; none where no log was given.
    pub stopped: Option<StoppedAt>,
    /// The file's length, bytes.
    pub length: u64,
}

/// No database file could be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RebuildError {
    /// There is no image to build from, or none is whole.
    #[error("{} holds no whole image: the partner never sent its file to the end", folder.display())]
    NoImage {
        /// The folder of images.
        folder: PathBuf,
    },
    /// The log does not go on from the image: it is another log, begins too late, or was written anew from an earlier place on.
    #[error(
        "the log does not go on from the image, which holds everything before lsn {} of the log {}: build from the image alone, if that is what is wanted",
        image.applied,
        image.history
    )]
    NotItsLog {
        /// What the image holds.
        image: Claim,
    },
    /// Images or log could not be read, or the file not be written.
    #[error(transparent)]
    Follow(#[from] FollowError),
}

impl From<ImageError> for RebuildError {
    fn from(error: ImageError) -> Self {
        Self::Follow(error.into())
    }
}

/// Builds a database file at `target`, in place of what may be there, from the images in `folder` and, on top of that, the valid prefix of `log`. The images
/// stay as they are, and no follower may be at work on them. Where `target` is on a disk, the file is on it when this
/// returns.
///
/// It holds everything that the primary had acknowledged as mirrored, if `log` is the newest copy. What the engine was in the middle of is in there as
/// it would be after a crash: `redb` repairs that when it opens the file.
///
/// # Errors
/// [`RebuildError`]. Nothing is at `target` then but what was there before.
pub fn rebuild<S: Source>(
    folder: impl AsRef<Path>,
    log: Option<&mut Records<S>>,
    target: impl AsRef<Path>,
) -> Result<RebuildReport, RebuildError> {
    let (folder, target) = (folder.as_ref(), target.as_ref());
    let mut name = target.as_os_str().to_owned();
    name.push(".rebuild");
    let work = PathBuf::from(name);
    remove_ours(&work)?;
    let built = copy(folder, &work).map_err(RebuildError::from).and_then(|()| build(folder, &work, log, target));
    let removed = std::fs::remove_dir_all(&work).map_err(failed("removing", &work));
    let report = built?;
    removed?;
    Ok(report)
}

/// Removes what an earlier rebuild left. Another folder of this name, or a file, is none of ours.
fn remove_ours(work: &Path) -> Result<(), ImageError> {
    let looking = failed("looking at", work);
    match std::fs::symlink_metadata(work) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err(foreign(work)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(looking(error)),
    }
    let mut names = Vec::new();
    for entry in std::fs::read_dir(work).map_err(&looking)? {
        let entry = entry.map_err(&looking)?;
        if !entry.file_type().map_err(&looking)?.is_file() {
            return Err(foreign(work));
        }
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    if !is_of_images(&names) {
        return Err(foreign(work));
    }
    std::fs::remove_dir_all(work).map_err(failed("removing", work))
}

fn foreign(work: &Path) -> ImageError {
    let found = "somebody else (it holds what no rebuild puts there)".to_owned();
    StorageError::Foreign { path: work.to_owned(), found, wanted: "the folder in which a rebuild works".to_owned() }
        .into()
}

/// Copies side file and images.
fn copy(folder: &Path, work: &Path) -> Result<(), ImageError> {
    let (source, claims) = Images::open(Arc::new(System), folder, false, "a rebuild")?;
    let (there, _) = Images::open(Arc::new(System), work, false, "a rebuild")?;
    for claim in [claims.whole, claims.incoming].iter().flatten() {
        let path = source.image_path(claim);
        let copied = File::open(&path).and_then(|mut image| {
            let mut copy = File::create(there.image_path(claim))?;
            io::copy(&mut image, &mut copy)?;
            // By the handle that wrote: a later one may not be told that something was not written back.
            copy.sync_all()
        });
        copied.map_err(failed("copying", &path))?;
    }
    there.claim(&claims)
}

fn build<S: Source>(
    folder: &Path,
    work: &Path,
    log: Option<&mut Records<S>>,
    target: &Path,
) -> Result<RebuildReport, RebuildError> {
    let none = || RebuildError::NoImage { folder: folder.to_owned() };
    let mut follower = Follower::open(work, FollowerOptions::new())?;
    let before = follower.incoming().or(follower.whole().map(|(_, claim)| claim));
    let (mut operations, mut stopped) = (0, None);
    if let Some(records) = log {
        let followed = follower.follow(records, u64::MAX)?;
        (operations, stopped) = (followed.operations, followed.stopped);
        follower.log_is_whole();
        if let (true, Some(image)) = (follower.needs_image(), before) {
            return Err(RebuildError::NotItsLog { image });
        }
    }
    let (claim, mut file) = follower.into_whole().ok_or_else(none)?;
    let image = before.unwrap_or(claim);
    if file.is_on_disk() {
        let _ = file.sync(claim.applied.0).map_err(ImageError::from)?;
    }
    let length = file.length().map_err(ImageError::from)?;
    file.rename(target).map_err(ImageError::from)?;
    Ok(RebuildReport { image, operations, reached: claim.applied, stopped, length })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_others_beside_the_target_stays() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let (target, work) = (folder.path().join("db"), folder.path().join("db.rebuild"));
        let rebuilt = || rebuild::<Vec<u8>>(folder.path().join("images"), None, &target);
        let is_foreign = |error: RebuildError| error.to_string().contains("somebody else");
        std::fs::write(&work, b"a letter")?;
        assert!(is_foreign(rebuilt().err().ok_or("a file was taken for ours")?));
        assert_eq!(std::fs::read(&work)?, b"a letter");
        std::fs::remove_file(&work)?;
        for name in ["notes", "state", "lock"] {
            // A side file alone is none without the lock; with the lock, what else there is counts.
            std::fs::create_dir(&work)?;
            std::fs::write(work.join(name), b"")?;
            std::fs::write(work.join("image-of-my-house"), b"a picture")?;
            assert!(is_foreign(rebuilt().err().ok_or("a folder was taken for ours")?), "{name}");
            assert_eq!(std::fs::read(work.join("image-of-my-house"))?, b"a picture");
            std::fs::remove_dir_all(&work)?;
        }
        // What an earlier rebuild left at any time.
        drop(Images::open(Arc::new(System), &work, false, "a rebuild")?);
        assert!(matches!(rebuilt(), Err(RebuildError::NoImage { .. })));
        assert!(!work.exists());
        Ok(())
    }
}
