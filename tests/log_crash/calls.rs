//! The calls by which a process reaches its disk, as this test program has them: each is a point at which the process may end, and what a sync
//! brings to the disk is noted beside.
//!
//! They take the place of the C library's, which the standard library calls by name. Only a process that is told to by [`watch`] does more
//! than pass them on. What is noted in the folder `disk`: of each file its bytes as of its last sync, by its inode, and of the folder its names
//! as of its last sync. A file that loses its name keeps another one there, so that its inode is nobody else's.
#![allow(unsafe_code)]

use crate::process::sys::kill_self;
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The folder of this node's files, where it is watched, and its boot's name in place of the machine's.
static WATCHED: OnceLock<Watched> = OnceLock::new();

static POINTS: Counter = Counter::new();
static STEPS: Counter = Counter::new();

struct Watched {
    folder: PathBuf,
    boot: CString,
}

/// Counts, and ends the process at one of them.
struct Counter {
    at: AtomicU64,
    dies_at: AtomicU64,
}

impl Counter {
    const fn new() -> Self {
        Self { at: AtomicU64::new(0), dies_at: AtomicU64::new(u64::MAX) }
    }

    fn pass(&self) {
        if self.at.fetch_add(1, Ordering::SeqCst) == self.dies_at.load(Ordering::SeqCst) {
            kill_self();
        }
    }

    fn arm(&self, at: u64) {
        self.at.store(0, Ordering::SeqCst);
        self.dies_at.store(at, Ordering::SeqCst);
    }
}

/// Where a process is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Before this call that reaches the disk.
    Call(u64),
    /// After this turn in which something was done.
    Step(u64),
    /// Nowhere.
    Never,
}

/// Counts from here on, and ends the process at that moment.
pub(crate) fn arm(moment: Moment) {
    let (call, step) = match moment {
        Moment::Call(at) => (at, u64::MAX),
        Moment::Step(at) => (u64::MAX, at),
        Moment::Never => (u64::MAX, u64::MAX),
    };
    POINTS.arm(call);
    STEPS.arm(step);
}

/// Something was done.
pub(crate) fn step() {
    STEPS.pass();
}

/// Calls and steps since it was armed.
pub(crate) fn counted() -> (u64, u64) {
    (POINTS.at.load(Ordering::SeqCst), STEPS.at.load(Ordering::SeqCst))
}

/// From here on this process is of a node with these files. `boot`: a file that names its machine's boot.
pub(crate) fn watch(folder: &Path, boot: &Path) {
    let boot = CString::new(boot.as_os_str().as_bytes()).expect("a path");
    let watched = Watched { folder: folder.canonicalize().expect("the node's folder"), boot };
    assert!(WATCHED.set(watched).is_ok(), "watched twice");
}

/// Where it is noted what is on the disk of a node.
pub(crate) fn disk_of(folder: &Path) -> PathBuf {
    folder.with_extension("disk")
}

/// The node's file behind a descriptor; none where it is another's.
fn of(descriptor: i32) -> Option<&'static Watched> {
    let watched = WATCHED.get()?;
    let path = std::fs::read_link(format!("/proc/self/fd/{descriptor}")).ok()?;
    path.starts_with(&watched.folder).then_some(watched)
}

fn of_path(path: &CStr) -> Option<&'static Watched> {
    let watched = WATCHED.get()?;
    Path::new(OsStr::from_bytes(path.to_bytes())).starts_with(&watched.folder).then_some(watched)
}

/// A raw system call.
fn raw(number: i64, arguments: [u64; 4]) -> i64 {
    let [one, two, three, four] = arguments;
    // SAFETY:
    // - live, bounds: the arguments are those of the call that this one takes the place of, or of memory that the caller holds meanwhile.
    unsafe { libc::syscall(number, one, two, three, four) }
}

fn path_argument(path: &CStr) -> u64 {
    path.as_ptr() as u64
}

/// Writes a small file at one stroke: a process that ends meanwhile leaves the one before.
fn put(path: &Path, bytes: &[u8]) {
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    let beside = path.with_extension(format!("tmp{}", NUMBERS.fetch_add(1, Ordering::Relaxed)));
    let name = |path: &Path| CString::new(path.as_os_str().as_bytes()).expect("a path");
    let (from, to) = (name(&beside), name(path));
    let flags = (libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY | libc::O_CLOEXEC) as u64;
    let file = raw(libc::SYS_openat, [libc::AT_FDCWD as u64, path_argument(&from), flags, 0o600]);
    let mut at = 0;
    while file >= 0 && at < bytes.len() {
        let wrote = raw(libc::SYS_write, [file as u64, bytes[at..].as_ptr() as u64, (bytes.len() - at) as u64, 0]);
        assert!(wrote > 0, "writing {}: {}", beside.display(), std::io::Error::last_os_error());
        at += wrote as usize;
    }
    raw(libc::SYS_close, [file as u64, 0, 0, 0]);
    let (here, from, to) = (libc::AT_FDCWD as u64, path_argument(&from), path_argument(&to));
    let renamed = raw(libc::SYS_renameat, [here, from, here, to]);
    assert_eq!(renamed, 0, "noting {}: {}", path.display(), std::io::Error::last_os_error());
}

/// A write that is no point, for the test's own files.
pub(crate) fn write_uncounted(descriptor: i32, bytes: &[u8], at: usize) {
    let wrote = raw(libc::SYS_pwrite64, [descriptor as u64, bytes.as_ptr() as u64, bytes.len() as u64, at as u64]);
    assert_eq!(wrote, bytes.len() as i64, "the test's own file: {}", std::io::Error::last_os_error());
}

/// Notes what a sync has brought to the disk.
fn note(watched: &Watched, descriptor: i32) {
    use std::os::unix::fs::MetadataExt;
    let through = PathBuf::from(format!("/proc/self/fd/{descriptor}"));
    let Ok(found) = std::fs::metadata(&through) else { return };
    let disk = disk_of(&watched.folder);
    if found.is_dir() {
        put(&disk.join("names"), names(&watched.folder).as_bytes());
    } else if let Ok(bytes) = std::fs::read(&through) {
        put(&disk.join(found.ino().to_string()), &bytes);
    }
}

/// `INODE NAME`, one a line.
pub(crate) fn names(folder: &Path) -> String {
    use std::os::unix::fs::DirEntryExt;
    let entries = std::fs::read_dir(folder).expect("the node's folder").flatten();
    entries.map(|entry| format!("{} {}\n", entry.ino(), entry.file_name().display())).collect()
}

/// A file that is about to lose its name keeps one.
fn hold(watched: &Watched, path: &CStr) {
    use std::os::unix::fs::MetadataExt;
    let path = Path::new(OsStr::from_bytes(path.to_bytes()));
    if let Ok(found) = std::fs::metadata(path) {
        let _ = std::fs::hard_link(path, disk_of(&watched.folder).join(format!("{}.held", found.ino())));
    }
}

// SAFETY:
// - live, bounds: it takes the place of `fdatasync(2)`, does as that, and has its arguments and outcome.
#[unsafe(no_mangle)]
extern "C" fn fdatasync(descriptor: i32) -> i32 {
    synced(libc::SYS_fdatasync, descriptor)
}

// SAFETY:
// - live, bounds: it takes the place of `fsync(2)`, does as that, and has its arguments and outcome.
#[unsafe(no_mangle)]
extern "C" fn fsync(descriptor: i32) -> i32 {
    synced(libc::SYS_fsync, descriptor)
}

fn synced(number: i64, descriptor: i32) -> i32 {
    let watched = of(descriptor);
    if watched.is_some() {
        POINTS.pass();
    }
    let outcome = raw(number, [descriptor as u64, 0, 0, 0]) as i32;
    if let (Some(watched), 0) = (watched, outcome) {
        note(watched, descriptor);
    }
    outcome
}

// SAFETY:
// - live, bounds: it takes the place of `pwrite(2)`, does as that, and has its arguments and outcome.
#[unsafe(no_mangle)]
extern "C" fn pwrite64(descriptor: i32, bytes: *const libc::c_void, length: usize, offset: i64) -> isize {
    if of(descriptor).is_some() {
        POINTS.pass();
    }
    raw(libc::SYS_pwrite64, [descriptor as u64, bytes as u64, length as u64, offset as u64]) as isize
}

// SAFETY:
// - live, bounds: it takes the place of `ftruncate(2)`, does as that, and has its arguments and outcome.
#[unsafe(no_mangle)]
extern "C" fn ftruncate64(descriptor: i32, length: i64) -> i32 {
    if of(descriptor).is_some() {
        POINTS.pass();
    }
    raw(libc::SYS_ftruncate, [descriptor as u64, length as u64, 0, 0]) as i32
}

// SAFETY:
// - live, bounds: it takes the place of `posix_fallocate(3)`, does as that, and has its arguments and outcome.
#[unsafe(no_mangle)]
extern "C" fn posix_fallocate(descriptor: i32, offset: i64, length: i64) -> i32 {
    if of(descriptor).is_some() {
        POINTS.pass();
    }
    match raw(libc::SYS_fallocate, [descriptor as u64, 0, offset as u64, length as u64]) {
        0 => 0,
        _ => std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO),
    }
}

// SAFETY:
// - live, bounds: it takes the place of `open(2)`, does as that, and has its arguments and outcome.
#[unsafe(no_mangle)]
extern "C" fn open64(path: *const libc::c_char, flags: i32, mode: u32) -> i32 {
    // SAFETY:
    // - live, bounds: the caller's path ends with a zero, as for `open(2)`.
    let mut name = unsafe { CStr::from_ptr(path) };
    if let Some(watched) = WATCHED.get()
        && name.to_bytes() == b"/proc/sys/kernel/random/boot_id"
    {
        name = &watched.boot;
    } else if flags & (libc::O_CREAT | libc::O_TRUNC) != 0 && of_path(name).is_some() {
        POINTS.pass();
    }
    raw(libc::SYS_openat, [libc::AT_FDCWD as u64, path_argument(name), flags as u64, u64::from(mode)]) as i32
}

// SAFETY:
// - live, bounds: it takes the place of `rename(2)`, does as that, and has its arguments and outcome.
#[unsafe(no_mangle)]
extern "C" fn rename(from: *const libc::c_char, to: *const libc::c_char) -> i32 {
    // SAFETY:
    // - live, bounds: the caller's paths end with a zero, as for `rename(2)`.
    let target = unsafe { CStr::from_ptr(to) };
    if let Some(watched) = of_path(target) {
        POINTS.pass();
        hold(watched, target);
    }
    let here = libc::AT_FDCWD as u64;
    raw(libc::SYS_renameat, [here, from as u64, here, to as u64]) as i32
}

// SAFETY:
// - live, bounds: it takes the place of `unlink(2)`, does as that, and has its arguments and outcome.
#[unsafe(no_mangle)]
extern "C" fn unlink(path: *const libc::c_char) -> i32 {
    // SAFETY:
    // - live, bounds: the caller's path ends with a zero, as for `unlink(2)`.
    let name = unsafe { CStr::from_ptr(path) };
    if let Some(watched) = of_path(name) {
        POINTS.pass();
        hold(watched, name);
    }
    raw(libc::SYS_unlinkat, [libc::AT_FDCWD as u64, path_argument(name), 0, 0]) as i32
}
