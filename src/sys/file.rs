//! Memory files, seals, reserved space and locks.

use crate::sys::{Errno, checked};
use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// Seals of a memory file (`fcntl(2)`, F_ADD_SEALS).
pub(crate) mod seals {
    /// It cannot shrink.
    pub(crate) const SHRINK: i32 = libc::F_SEAL_SHRINK;
    /// It cannot grow.
    pub(crate) const GROW: i32 = libc::F_SEAL_GROW;
    /// No new writable mapping; those that exist stay.
    pub(crate) const FUTURE_WRITE: i32 = 0x0010;
    /// No more seals.
    pub(crate) const SEAL: i32 = libc::F_SEAL_SEAL;
}

/// An anonymous memory file that can be sealed. `huge_page_shift` is the base-2 logarithm of a huge page size (21, 30).
pub(crate) fn memory_file(name: &CStr, huge_page_shift: Option<u32>) -> Result<File, Errno> {
    let mut flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    if let Some(shift) = huge_page_shift {
        flags |= libc::MFD_HUGETLB | (shift << libc::MFD_HUGE_SHIFT);
    }
    // SAFETY:
    // - live: `name` is a C string for the whole call.
    let descriptor = checked(unsafe { libc::memfd_create(name.as_ptr(), flags) })?;
    // SAFETY:
    // - live: the kernel just gave us this descriptor, and nobody else knows it.
    let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
    Ok(File::from(owned))
}

/// Adds seals.
pub(crate) fn add_seals(file: &File, seals: i32) -> Result<(), Errno> {
    // SAFETY:
    // - live: the descriptor is open while `file` is borrowed; the call takes no pointer.
    checked(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) }).map(|_| ())
}

/// The seals a file has.
pub(crate) fn seals_of(file: &File) -> Result<i32, Errno> {
    // SAFETY:
    // - live: the descriptor is open while `file` is borrowed; the call takes no pointer.
    checked(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) })
}

/// Makes calls on a descriptor that a C library keeps open return EAGAIN where they would wait.
#[cfg(feature = "verbs")]
pub(crate) fn set_nonblocking(descriptor: std::os::fd::RawFd) -> Result<(), Errno> {
    // SAFETY:
    // - live: the call takes no pointer; a closed descriptor is an error.
    let flags = checked(unsafe { libc::fcntl(descriptor, libc::F_GETFL) })?;
    // SAFETY:
    // - live: the call takes no pointer; a closed descriptor is an error.
    checked(unsafe { libc::fcntl(descriptor, libc::F_SETFL, flags | libc::O_NONBLOCK) }).map(|_| ())
}

/// The limit of the size of a file that this process may make, bytes; none where there is none.
pub(crate) fn size_limit() -> Option<u64> {
    crate::sys::memory::limit(libc::RLIMIT_FSIZE)
}

/// Whether a file may reach so far. Beyond the limit the kernel answers with SIGXFSZ, which ends a process that does not expect it
/// (setrlimit(2)): so it is looked at before. One system call.
pub(crate) fn check_size(end: u64) -> Result<(), Errno> {
    if size_limit().is_some_and(|limit| end > limit) { Err(Errno::new(libc::EFBIG)) } else { Ok(()) }
}

/// Makes a file so long.
pub(crate) fn set_length(file: &File, bytes: u64) -> std::io::Result<()> {
    if bytes > 0 && file.metadata()?.len() < bytes {
        check_size(bytes).map_err(|errno| std::io::Error::from_raw_os_error(errno.number()))?;
    }
    file.set_len(bytes)
}

/// Writes all of it.
pub(crate) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt;
    let end = offset.saturating_add(bytes.len() as u64);
    check_size(end).map_err(|errno| std::io::Error::from_raw_os_error(errno.number()))?;
    file.write_all_at(bytes, offset)
}

/// Bytes that are reserved by one call after a signal broke one off. That undid what it had done (on tmpfs), so that a timer's signals could
/// keep it from ever ending.
const RESERVED_AT_ONCE: u64 = 64 << 20;

/// Reserves the file's first `bytes` bytes, growing it where it is shorter: a full file system is an error here and not a SIGBUS later.
pub(crate) fn reserve(file: &File, bytes: u64) -> Result<(), Errno> {
    if file.metadata().map_err(|error| Errno::from(&error))?.len() < bytes {
        check_size(bytes)?;
    }
    let (mut at, mut at_once) = (0, bytes);
    while at < bytes {
        let piece = (bytes - at).min(at_once);
        let range = libc::off_t::try_from(at).and_then(|at| Ok((at, libc::off_t::try_from(piece)?)));
        let (start, length) = range.map_err(|_| Errno::new(libc::EFBIG))?;
        // SAFETY:
        // - live: the descriptor is open while `file` is borrowed; the call takes no pointer.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), start, length) } {
            0 => at += piece,
            // The whole of it first, so that what cannot be had takes no room from others.
            libc::EINTR => at_once = RESERVED_AT_ONCE,
            number => return Err(Errno::new(number)),
        }
    }
    Ok(())
}

/// A write lock over a whole file, held by the open file description (`fcntl_locking(2)`): gone when the last descriptor of it is
/// closed, by death too.
fn whole_file(kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Takes the write lock without waiting; false where somebody else has it.
pub(crate) fn try_lock(file: BorrowedFd<'_>) -> Result<bool, Errno> {
    let lock = whole_file(libc::F_WRLCK);
    // SAFETY:
    // - live: the descriptor is borrowed and `lock` outlives the call.
    match checked(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) }) {
        Ok(_) => Ok(true),
        Err(errno) if matches!(errno.number(), libc::EAGAIN | libc::EACCES) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// The same, for who may wait a moment where somebody has it. Between `fork` and `exec` a child has every lock of its process: one that another thread is
/// just starting holds, for as long, those that this one has given back.
pub(crate) fn lock_soon(file: BorrowedFd<'_>) -> Result<bool, Errno> {
    soon(|| try_lock(file))
}

/// Whether somebody else holds a lock, and does so after such a moment.
pub(crate) fn stays_locked(file: BorrowedFd<'_>) -> Result<bool, Errno> {
    soon(|| Ok(!is_locked(file)?)).map(|is_free| !is_free)
}

/// Asks until it is so, or a moment has passed.
fn soon(mut is_so: impl FnMut() -> Result<bool, Errno>) -> Result<bool, Errno> {
    const PATIENCE: std::time::Duration = std::time::Duration::from_millis(200);
    let began = std::time::Instant::now();
    loop {
        if is_so()? {
            return Ok(true);
        }
        if began.elapsed() >= PATIENCE {
            return Ok(false);
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Whether somebody else holds a lock.
pub(crate) fn is_locked(file: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut lock = whole_file(libc::F_WRLCK);
    // SAFETY:
    // - live: the descriptor is borrowed and `lock` outlives the call.
    // - alias: `lock` is ours alone while the kernel writes it.
    checked(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) })?;
    Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
}

/// Whether this process may make files in a folder (access(2), W_OK and X_OK by its effective user).
pub(crate) fn may_write(folder: &std::path::Path) -> Result<(), Errno> {
    let name = std::ffi::CString::new(folder.as_os_str().as_bytes()).map_err(|_| Errno::new(libc::EINVAL))?;
    // SAFETY:
    // - live: `name` is a C string for the whole call.
    let allowed = unsafe { libc::faccessat(libc::AT_FDCWD, name.as_ptr(), libc::W_OK | libc::X_OK, libc::AT_EACCESS) };
    checked(allowed).map(|_| ())
}

/// What a name or a descriptor means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) length: u64,
    pub(crate) is_regular: bool,
    /// Whether a file system is mounted on the very name. False where the kernel cannot tell (before Linux 5.8).
    pub(crate) is_mount_point: bool,
}

/// What the name means; symbolic links are followed. No times are asked for: a file system with fine
/// time stamps would note that they were seen, and write the inode at the next change (statx(2)).
pub(crate) fn look(path: &std::path::Path) -> Result<Found, Errno> {
    let name = std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::new(libc::EINVAL))?;
    statx(libc::AT_FDCWD, &name, 0)
}

/// What the descriptor means.
pub(crate) fn look_at(file: BorrowedFd<'_>) -> Result<Found, Errno> {
    statx(file.as_raw_fd(), c"", libc::AT_EMPTY_PATH)
}

/// File systems whose files are in memory, by the numbers of statfs(2). devtmpfs has that of tmpfs.
const IN_MEMORY: [(u32, &str); 3] = [(0x0102_1994, "tmpfs"), (0x8584_58f6, "ramfs"), (0x9584_58f6, "hugetlbfs")];

/// The file system that the name is on, where that keeps its files in memory: fdatasync(2) succeeds
/// there and brings nothing to a disk.
pub(crate) fn memory_of(path: &std::path::Path) -> Result<Option<&'static str>, Errno> {
    let name = std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::new(libc::EINVAL))?;
    let mut found = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY:
    // - live: `name` is a C string and `found` has room for the answer, both for the whole call.
    // - alias: `found` is ours alone while the kernel writes it.
    checked(unsafe { libc::statfs(name.as_ptr(), found.as_mut_ptr()) })?;
    // SAFETY:
    // - live: all of it is initialized: zero, which every field may be, before the kernel wrote.
    Ok(memory_by_number(&unsafe { found.assume_init() }))
}

/// The same of an open file.
pub(crate) fn memory_of_open(file: BorrowedFd<'_>) -> Result<Option<&'static str>, Errno> {
    let mut found = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY:
    // - live: the descriptor is borrowed and `found` has room for the answer, both for the whole call.
    // - alias: `found` is ours alone while the kernel writes it.
    checked(unsafe { libc::fstatfs(file.as_raw_fd(), found.as_mut_ptr()) })?;
    // SAFETY:
    // - live: all of it is initialized: zero, which every field may be, before the kernel wrote.
    Ok(memory_by_number(&unsafe { found.assume_init() }))
}

fn memory_by_number(found: &libc::statfs) -> Option<&'static str> {
    // The field's type differs between C libraries; the number has 32 bits.
    let number = found.f_type as u32;
    IN_MEMORY.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

fn statx(folder: libc::c_int, name: &CStr, flags: libc::c_int) -> Result<Found, Errno> {
    let mut found = std::mem::MaybeUninit::<libc::statx>::zeroed();
    let wanted = libc::STATX_TYPE | libc::STATX_INO | libc::STATX_SIZE;
    // SAFETY:
    // - live: `name` is a C string and `found` has room for the answer, both for the whole call; a closed descriptor is an error.
    // - alias: `found` is ours alone while the kernel writes it.
    checked(unsafe { libc::statx(folder, name.as_ptr(), flags, wanted, found.as_mut_ptr()) })?;
    // SAFETY:
    // - live: all of it is initialized: zero, which every field may be, before the kernel wrote.
    let found = unsafe { found.assume_init() };
    let root = libc::STATX_ATTR_MOUNT_ROOT as u64;
    Ok(Found {
        device: libc::makedev(found.stx_dev_major, found.stx_dev_minor),
        inode: found.stx_ino,
        length: found.stx_size,
        is_regular: u32::from(found.stx_mode) & libc::S_IFMT == libc::S_IFREG,
        is_mount_point: found.stx_attributes_mask & root != 0 && found.stx_attributes & root != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io;
    use std::os::fd::AsFd;

    /// The same file by a second open file description, as another process would have it.
    fn again(file: &File) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(format!("/proc/self/fd/{}", file.as_raw_fd()))
    }

    #[test]
    fn a_lock_keeps_others_out_until_its_file_is_closed() -> Result<(), Box<dyn std::error::Error>> {
        let owner = tempfile::tempfile()?;
        let other = again(&owner)?;
        assert_eq!(is_locked(other.as_fd()), Ok(false));
        assert_eq!((try_lock(owner.as_fd()), try_lock(owner.as_fd())), (Ok(true), Ok(true)));
        assert_eq!((try_lock(other.as_fd()), is_locked(other.as_fd())), (Ok(false), Ok(true)));
        // The owner's own lock is nobody else's.
        assert_eq!(is_locked(owner.as_fd()), Ok(false));
        // A second descriptor of the same description holds the lock too.
        let same = owner.try_clone()?;
        drop(owner);
        assert_eq!(is_locked(other.as_fd()), Ok(true));
        drop(same);
        assert_eq!((is_locked(other.as_fd()), try_lock(other.as_fd())), (Ok(false), Ok(true)));
        Ok(())
    }

    #[test]
    fn a_name_and_a_descriptor_mean_the_same_file() -> io::Result<()> {
        use std::os::unix::fs::MetadataExt;
        let is_mount_point = |path: &std::path::Path| look(path).map(|found| found.is_mount_point);
        assert_eq!(is_mount_point(std::path::Path::new("/proc")), Ok(true));
        let folder = tempfile::tempdir()?;
        assert_eq!(is_mount_point(folder.path()), Ok(false));
        let nothing = folder.path().join("nothing");
        assert_eq!(is_mount_point(&nothing), Err(Errno::new(libc::ENOENT)));
        let path = folder.path().join("file");
        std::fs::write(&path, b"twelve bytes")?;
        let (file, metadata) = (File::open(&path)?, std::fs::metadata(&path)?);
        let (device, inode) = (metadata.dev(), metadata.ino());
        let wanted = Ok(Found { device, inode, length: 12, is_regular: true, is_mount_point: false });
        assert_eq!((look(&path), look_at(file.as_fd())), (wanted, wanted));
        assert_eq!((may_write(folder.path()), may_write(&nothing)), (Ok(()), Err(Errno::new(libc::ENOENT))));
        Ok(())
    }

    #[test]
    fn memory_is_told_from_a_disk() -> Result<(), Box<dyn std::error::Error>> {
        let shared = std::path::Path::new("/dev/shm");
        assert_eq!(memory_of(shared), Ok(Some("tmpfs")));
        assert_eq!(memory_of(&shared.join("handfast-nothing")), Err(Errno::new(libc::ENOENT)));
        assert_eq!(memory_of_open(tempfile::tempfile_in(shared)?.as_fd()), Ok(Some("tmpfs")));
        // /proc is no disk either, and nobody makes files there.
        assert_eq!(memory_of(std::path::Path::new("/proc")), Ok(None));
        let memory = memory_file(c"handfast-test", None).map_err(|errno| errno.to_string())?;
        assert_eq!(memory_of_open(memory.as_fd()), Ok(Some("tmpfs")));
        Ok(())
    }

    #[test]
    fn seals_are_kept_and_no_more_are_taken() -> Result<(), Box<dyn std::error::Error>> {
        let file = memory_file(c"handfast-test", None).map_err(|errno| errno.to_string())?;
        assert_eq!(seals_of(&file), Ok(0));
        assert_eq!(reserve(&file, 8192), Ok(()));
        assert_eq!(add_seals(&file, seals::SHRINK | seals::SEAL), Ok(()));
        assert_eq!(add_seals(&file, seals::GROW), Err(Errno::new(libc::EPERM)));
        assert_eq!(seals_of(&again(&file)?), Ok(seals::SHRINK | seals::SEAL));
        // Growing was not sealed, shrinking was.
        again(&file)?.set_len(16384)?;
        assert_eq!(again(&file)?.set_len(4096).map_err(|error| Errno::from(&error)), Err(Errno::new(libc::EPERM)));
        Ok(())
    }

    #[test]
    fn files_that_cannot_be_sealed_say_so() -> io::Result<()> {
        let file = tempfile::tempfile_in(std::env::temp_dir())?;
        // A file of a disk's file system has no seals at all; one of tmpfs has the seal against seals.
        assert!(
            matches!(add_seals(&file, seals::SHRINK), Err(errno) if [libc::EINVAL, libc::EPERM].contains(&errno.number()))
        );
        Ok(())
    }

    #[test]
    fn reserved_space_grows_a_file_and_never_shrinks_it() -> io::Result<()> {
        let file = tempfile::tempfile()?;
        for (bytes, length) in [(100, 100), (5000, 5000), (10, 5000)] {
            assert_eq!(reserve(&file, bytes), Ok(()));
            assert_eq!(file.metadata()?.len(), length);
        }
        assert_eq!(reserve(&file, u64::MAX), Err(Errno::new(libc::EFBIG)));
        Ok(())
    }
}
