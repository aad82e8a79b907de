//! The file that has a ring's name: what is to be known of it before it is mapped, locked, removed or replaced.

use super::area::{OWNER_OFFSET, RING_OFFSET, RingBytes};
use super::error::LogError;
use super::header::LogHeader;
use crate::memory::{Backing, Errno, Region};
use crate::storage::{self, Owner, StorageError};
use crate::sys;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes before the ring: where a file says what it is.
const START_BYTES: usize = RING_OFFSET as usize;

/// The name under which another process finds a ring.
pub(super) fn path_of(backing: &Backing) -> Option<PathBuf> {
    match backing {
        Backing::File(path) => Some(path.clone()),
        Backing::SharedMemory(name) => Some(Path::new("/dev/shm").join(name)),
        Backing::Private | Backing::Shared { .. } => None,
    }
}

/// What a file is by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// There are zeroes.
    Zero,
    /// It bears the mark of this owner, or holds a log and says nothing of its owner.
    Ours,
    /// It says nothing that a ring says.
    Strange,
}

/// What a file with these first bytes is.
///
/// # Errors
/// [`StorageError::Foreign`]: it says that it is somebody else's.
pub(super) fn start_of(bytes: &[u8; START_BYTES], owner: &Owner, path: &Path) -> Result<Content, LogError> {
    let mut said = [0; storage::OWNER_BYTES];
    said.copy_from_slice(&bytes[OWNER_OFFSET as usize..][..storage::OWNER_BYTES]);
    owner.check(&said, path)?;
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(Content::Zero);
    }
    // An earlier release named no owner.
    let is_log = || Ok::<_, LogError>(LogHeader::copies(&bytes[..])?.iter().any(Result::is_ok));
    let is_ours = said.iter().any(|byte| *byte != 0) || is_log()?;
    Ok(if is_ours { Content::Ours } else { Content::Strange })
}

/// Whether the file that has the ring's name may be mapped as a ring. Mapping makes it longer, so that it is looked at
/// before, and only read. A name that cannot be looked at passes: who maps it says what is wrong.
///
/// # Errors
/// [`StorageError::Foreign`]: it is something else. [`LogError::RingInUse`].
pub(super) fn look(backing: &Backing, ring_bytes: RingBytes, owner: &Owner) -> Result<(), LogError> {
    let Some(path) = path_of(backing) else { return Ok(()) };
    let mut options = OpenOptions::new();
    let Ok(file) = options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&path) else {
        return Ok(());
    };
    let wrong = |error: io::Error| LogError::from(StorageError::system("looking at", &path)(error));
    let metadata = file.metadata().map_err(wrong)?;
    if !metadata.is_file() {
        return Ok(());
    }
    let is_locked = sys::file::stays_locked(file.as_fd());
    if is_locked.map_err(|errno| wrong(io::Error::from_raw_os_error(errno.number())))? {
        return Err(LogError::RingInUse { backing: backing.clone() });
    }
    let is_ours = match start_of(&first_bytes(&file).map_err(wrong)?, owner, &path)? {
        Content::Ours => true,
        Content::Strange => false,
        // A ring that is being filled for the first time begins with zeroes too, and is as long as a ring.
        Content::Zero => metadata.len() == mapped_bytes(ring_bytes) || is_zero(&file).map_err(wrong)?,
    };
    if is_ours { Ok(()) } else { Err(strange(&path, owner).into()) }
}

/// Bytes of the file of a ring.
fn mapped_bytes(ring_bytes: RingBytes) -> u64 {
    ring_bytes.area_bytes().next_multiple_of(sys::memory::page_bytes() as u64)
}

/// Why a file that says nothing that a ring says is left alone.
pub(super) fn strange(path: &Path, owner: &Owner) -> StorageError {
    let found = "somebody else (it holds something, and no log)".to_owned();
    StorageError::Foreign { path: path.to_owned(), found, wanted: format!("`{owner}`") }
}

/// The bytes before the ring. A shorter file has zeroes after its end here.
pub(super) fn first_bytes(file: &File) -> io::Result<[u8; START_BYTES]> {
    let mut start = [0; START_BYTES];
    read_up_to(file, 0, &mut start)?;
    Ok(start)
}

/// Reads until the buffer is full or the file ends; how many bytes there were.
fn read_up_to(file: &File, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < into.len() {
        match file.read_at(&mut into[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(bytes) => read += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// Whether nothing but zeroes is in a file.
fn is_zero(file: &File) -> io::Result<bool> {
    let mut piece = vec![0; 64 << 10];
    let mut at = 0;
    loop {
        let read = read_up_to(file, at, &mut piece)?;
        if piece.iter().take(read).any(|byte| *byte != 0) {
            return Ok(false);
        }
        if read < piece.len() {
            return Ok(true);
        }
        at += read as u64;
    }
}

/// Takes the lock over a ring's file; true too where it has none.
///
/// # Errors
/// [`StorageError::Gone`]: while the file was opened and locked, another one was put in its place. The lock is on a
/// file that nobody finds then.
pub(super) fn lock(ring: &Region) -> Result<bool, LogError> {
    let Some(file) = ring.file() else { return Ok(true) };
    let tried = || format!("locking the log's ring ({:?})", ring.backing());
    let is_ours = sys::file::lock_soon(file).map_err(|errno| LogError::File { tried: tried(), errno })?;
    if is_ours {
        check_still(ring)?;
    }
    Ok(is_ours)
}

/// Whether the name of a ring still means its file.
///
/// # Errors
/// [`StorageError::Gone`].
pub(super) fn check_still(ring: &Region) -> Result<(), LogError> {
    match (path_of(ring.backing()), ring.file()) {
        (Some(path), Some(file)) => Ok(storage::check_still(&path, file)?),
        _ => Ok(()),
    }
}

/// Removes what an earlier process left of a ring beside. Another file of this name is none of ours.
pub(super) fn remove_ours(path: &Path, owner: &Owner) -> Result<(), LogError> {
    let wrong = |what: &str, error: &io::Error| LogError::File {
        tried: format!("{what} {}, the place of a new ring for the log", path.display()),
        errno: Errno::from(error),
    };
    let file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(wrong("opening", &error)),
    };
    let start = first_bytes(&file).map_err(|error| wrong("reading", &error))?;
    let unusable = |why: &str| {
        let what = format!("{}, where a new ring of the log would be made,", path.display());
        Err(LogError::Unusable { what, why: why.to_owned() })
    };
    if !sys::file::try_lock(file.as_fd())
        .map_err(|errno| wrong("locking", &io::Error::from_raw_os_error(errno.number())))?
    {
        return unusable("it is in use by another log");
    }
    if start_of(&start, owner, path)? == Content::Strange {
        return unusable("it is a file of something else");
    }
    std::fs::remove_file(path).map_err(|error| wrong("removing", &error))
}
