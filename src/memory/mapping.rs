//! Making the mapping behind a region: anonymous, memory file, file; page sizes; NUMA node; reserved space; seals; pins.
//!
//! Imports `sys` and `memmap2`. The order is what matters here: a NUMA node is preferred before the first page exists, space is reserved before
//! the first byte is touched, and seals come after our own mapping.

use crate::memory::{Backing, HugePages, MemoryError, RegionBuilder};
use crate::sys::{self, Errno};
use memmap2::{MmapOptions, MmapRaw};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

/// A region that takes no more new memory than this is made without asking whether the machine has it.
const UNASKED_BYTES: u64 = 1 << 20;

/// The mapping of a region.
#[derive(Debug)]
pub(crate) struct Mapped {
    map: MmapRaw,
    page_bytes: usize,
}

impl Mapped {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.map.as_mut_ptr()
    }

    #[inline]
    pub(crate) fn start(&self) -> NonNull<u8> {
        start(&self.map)
    }

    pub(crate) fn page_bytes(&self) -> usize {
        self.page_bytes
    }
}

/// What one try works with: a length in whole pages of one size, and what else the builder wants.
struct Plan<'a> {
    builder: &'a RegionBuilder,
    /// Base-2 logarithm of the huge page size; none stands for ordinary pages.
    shift: Option<u32>,
    page_bytes: usize,
    bytes: usize,
}

/// The page sizes to try in order.
fn page_sizes(pages: HugePages) -> &'static [Option<u32>] {
    match pages {
        HugePages::None => &[None],
        HugePages::Need2MiB => &[Some(21)],
        HugePages::Need1GiB => &[Some(30)],
        HugePages::Prefer2MiB => &[Some(21), None],
        HugePages::Prefer1GiB => &[Some(30), Some(21), None],
    }
}

/// Maps what the builder asks for, with the best page size that can be had.
pub(crate) fn map(builder: &RegionBuilder) -> Result<(Mapped, Option<File>), MemoryError> {
    let sizes = page_sizes(builder.huge_pages);
    for (number, shift) in sizes.iter().enumerate() {
        let made = Plan::new(builder, *shift).and_then(|plan| plan.run());
        match made {
            // What has no huge pages of this size, or too few of them, falls back to the next.
            Err(MemoryError::HugePages { .. } | MemoryError::Backing { .. }) if number + 1 < sizes.len() => {}
            Ok((mapped, file)) => {
                if number > 0 {
                    let (wanted, page_bytes, bytes) = (builder.huge_pages, mapped.page_bytes, mapped.len());
                    tracing::info!(?wanted, page_bytes, bytes, "no huge pages of the wanted size, using smaller ones");
                }
                return Ok((mapped, file));
            }
            Err(error) => return Err(error),
        }
    }
    // Not reached: the last size returns, whatever comes of it.
    Err(MemoryError::Length { bytes: builder.bytes as u64, max: isize::MAX as u64 })
}

impl<'a> Plan<'a> {
    fn new(builder: &'a RegionBuilder, shift: Option<u32>) -> Result<Self, MemoryError> {
        let page_bytes = shift.map_or_else(sys::memory::page_bytes, |shift| 1 << shift);
        let max = (isize::MAX as usize) & !(page_bytes - 1);
        if builder.bytes == 0 || builder.bytes > max {
            return Err(MemoryError::Length { bytes: builder.bytes as u64, max: max as u64 });
        }
        Ok(Self { builder, shift, page_bytes, bytes: builder.bytes.next_multiple_of(page_bytes) })
    }

    fn run(&self) -> Result<(Mapped, Option<File>), MemoryError> {
        let backing = &self.builder.backing;
        let (map, file) = match backing {
            Backing::Private => (self.anonymous()?, None),
            Backing::Shared { read_only_elsewhere } => self.memory_file(*read_only_elsewhere)?,
            Backing::SharedMemory(_) | Backing::File(_) if self.shift.is_some() => {
                let (needed, backing) = ("private or sealed shared memory", backing.describe());
                return Err(MemoryError::Backing { what: "huge pages", needed, backing });
            }
            Backing::SharedMemory(name) => self.named_file(&shared_memory_path(name)?)?,
            Backing::File(path) => self.named_file(path)?,
        };
        sys::memory::keep_private(start(&map), map.len())
            .map_err(|errno| self.failed("keeping from children (MADV_DONTFORK)", "memory", errno))?;
        Ok((Mapped { map, page_bytes: self.page_bytes }, file))
    }

    fn anonymous(&self) -> Result<MmapRaw, MemoryError> {
        let mut options = MmapOptions::new();
        options.len(self.bytes);
        if let Some(shift) = self.shift {
            options.huge(u8::try_from(shift).ok());
        }
        let map = options.map_anon().map_err(|error| self.failed("mapping", "memory", Errno::from(&error)))?;
        let map = MmapRaw::from(map);
        self.place(&map)?;
        self.pin(&map)?;
        Ok(map)
    }

    fn memory_file(&self, read_only_elsewhere: bool) -> Result<(MmapRaw, Option<File>), MemoryError> {
        let wrong = |errno| self.failed("making a memory file", "memory", errno);
        self.check_room(0, "memory")?;
        let file = sys::file::memory_file(c"handfast", self.shift).map_err(wrong)?;
        sys::file::set_length(&file, self.bytes as u64).map_err(|error| wrong(Errno::from(&error)))?;
        let map = self.map_file(&file, "memory")?;
        self.place(&map)?;
        sys::file::reserve(&file, self.bytes as u64).map_err(wrong)?;
        let mut seals = sys::file::seals::SHRINK | sys::file::seals::GROW | sys::file::seals::SEAL;
        if read_only_elsewhere {
            // After our own mapping, which stays writable.
            seals |= sys::file::seals::FUTURE_WRITE;
        }
        sys::file::add_seals(&file, seals).map_err(wrong)?;
        // Until it was sealed, another process of this user could have found it and cut it short. Nobody touched its pages yet.
        if file.metadata().map_err(|error| wrong(Errno::from(&error)))?.len() != self.bytes as u64 {
            return Err(wrong(Errno::new(libc::EBUSY)));
        }
        self.pin(&map)?;
        Ok((map, Some(file)))
    }

    fn named_file(&self, path: &Path) -> Result<(MmapRaw, Option<File>), MemoryError> {
        let place = path.display().to_string();
        let (file, created) = open_own(path).map_err(|refused| match refused {
            Refused::System(errno) => self.failed("opening a file", &place, errno),
            Refused::NotOurs => {
                let tried = format!("mapping {place}: it must be a regular file of this user, writable by nobody else");
                MemoryError::System { tried, errno: Errno::new(libc::EACCES) }
            }
        })?;
        let mapped = self.fill_named_file(&file, &place);
        if mapped.is_err() && created {
            // Nobody is owed a file that has just failed to become a region; where even this fails, the first error says more.
            let _ = std::fs::remove_file(path);
        }
        Ok((mapped?, Some(file)))
    }

    fn fill_named_file(&self, file: &File, place: &str) -> Result<MmapRaw, MemoryError> {
        let wrong = |errno| self.failed("reserving space", place, errno);
        if matches!(self.builder.backing, Backing::SharedMemory(_)) {
            let present = file.metadata().map_err(|error| wrong(Errno::from(&error)))?.blocks().saturating_mul(512);
            self.check_room(present, place)?;
        }
        let map = self.map_file(file, place)?;
        self.place(&map)?;
        sys::file::reserve(file, self.bytes as u64).map_err(wrong)?;
        self.pin(&map)?;
        Ok(map)
    }

    fn map_file(&self, file: &File, place: &str) -> Result<MmapRaw, MemoryError> {
        let map = MmapOptions::new().len(self.bytes).map_raw(file);
        map.map_err(|error| self.failed("mapping a file", place, Errno::from(&error)))
    }

    /// Prefers the NUMA node asked for, while no page exists.
    fn place(&self, map: &MmapRaw) -> Result<(), MemoryError> {
        let Some(node) = self.builder.numa_node else { return Ok(()) };
        sys::memory::prefer_node(start(map), map.len(), node).map_err(|errno| {
            let hint = match errno.number() {
                libc::EINVAL => {
                    "there is no such node, or this process may not use it (Mems_allowed_list in /proc/self/status)"
                }
                libc::ENOSYS => "this kernel is built without NUMA",
                libc::EPERM => {
                    "the call is refused, by a container's seccomp profile most likely: allow mbind there, or ask for no NUMA node"
                }
                _ => "",
            };
            let tried = format!("placing {} bytes on NUMA node {node} (mbind): {hint}", self.bytes);
            MemoryError::System { tried, errno }
        })
    }

    /// Locks the pages where that is asked for, and says what to do where the limit is too low.
    fn pin(&self, map: &MmapRaw) -> Result<(), MemoryError> {
        if !self.builder.pinned {
            return Ok(());
        }
        if self.builder.backing == Backing::Private {
            self.check_room(0, "memory")?;
        }
        sys::memory::lock(start(map), map.len()).map_err(|errno| {
            let (bytes, locked) = (self.bytes as u64, sys::memory::locked());
            let is_within = |limit| locked.is_some_and(|locked| bytes.saturating_add(locked) <= limit);
            match (errno.number(), sys::memory::lock_limit()) {
                // ENOMEM has other causes too.
                (libc::ENOMEM | libc::EAGAIN, Some(limit)) if is_within(limit) => {
                    self.failed("pinning (mlock)", "memory", errno)
                }
                (libc::ENOMEM | libc::EPERM, Some(limit)) => {
                    MemoryError::LockLimit { bytes, limit, locked: locked.unwrap_or(0) }
                }
                _ => self.failed("pinning (mlock)", "memory", errno),
            }
        })
    }

    /// Refuses what the machine cannot hold: touching or reserving memory that there is not enough of returns no error, it calls the kernel's
    /// killer. `present` bytes are there already. Huge pages are set aside beforehand, and are counted by the kernel itself. A small region is
    /// not worth the question, which takes longer than making it.
    fn check_room(&self, present: u64, place: &str) -> Result<(), MemoryError> {
        let wanted = (self.bytes as u64).saturating_sub(present);
        if wanted <= UNASKED_BYTES {
            return Ok(());
        }
        match sys::memory::available() {
            Some(available) if self.shift.is_none() && wanted > available => {
                Err(self.failed("reserving", place, Errno::new(libc::ENOMEM)))
            }
            _ => Ok(()),
        }
    }

    /// The error of a failed step: of huge pages where some were asked for, of room where that ran out.
    fn failed(&self, what: &str, place: &str, errno: Errno) -> MemoryError {
        let bytes = self.bytes as u64;
        let limit = sys::file::size_limit().filter(|limit| errno.number() == libc::EFBIG && *limit < bytes);
        if let Some(limit) = limit {
            return MemoryError::FileLimit { place: place.to_owned(), bytes, limit };
        }
        match (errno.number(), self.shift) {
            (libc::ENOMEM | libc::ENOSPC | libc::EINVAL | libc::ENODEV | libc::ENOENT | libc::EAGAIN, Some(shift)) => {
                MemoryError::HugePages { bytes, page_bytes: 1 << shift, page_kib: 1 << (shift - 10), errno }
            }
            (libc::ENOMEM | libc::ENOSPC | libc::EDQUOT | libc::EAGAIN, None) => {
                MemoryError::NoRoom { place: place.to_owned(), bytes, errno }
            }
            (number, _) => {
                let hint = match number {
                    libc::EPERM | libc::ENOSYS => " (a container's seccomp profile may refuse the call)",
                    _ => "",
                };
                MemoryError::System { tried: format!("{what}: {bytes} bytes in {place}{hint}"), errno }
            }
        }
    }
}

/// Where a mapping starts; none starts at zero.
fn start(map: &MmapRaw) -> NonNull<u8> {
    NonNull::new(map.as_mut_ptr()).unwrap_or(NonNull::dangling())
}

fn shared_memory_path(name: &str) -> Result<PathBuf, MemoryError> {
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
        let tried = format!("opening {name:?} in /dev/shm: a name has 1 byte or more, no `/`, and no `.` in front");
        return Err(MemoryError::System { tried, errno: Errno::new(libc::EINVAL) });
    }
    Ok(Path::new("/dev/shm").join(name))
}

/// Why a file by name is none of ours to map.
enum Refused {
    System(Errno),
    NotOurs,
}

impl From<std::io::Error> for Refused {
    fn from(error: std::io::Error) -> Self {
        Self::System(Errno::from(&error))
    }
}

/// Opens a file or creates it; true where it was created. Only a regular file of this user that nobody else may write: others could shrink it.
fn open_own(path: &Path) -> Result<(File, bool), Refused> {
    // Between the two tries another process may create or remove the file: a few rounds settle that.
    const ROUNDS: usize = 8;
    let mut options = OpenOptions::new();
    // Without O_NONBLOCK the open of a pipe would wait for its other end.
    options.read(true).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK);
    for _ in 0..ROUNDS {
        match options.clone().create_new(true).open(path) {
            Ok(file) => return Ok((file, true)),
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        match options.open(path) {
            Ok(file) => {
                let metadata = file.metadata()?;
                let ours = metadata.is_file()
                    && metadata.uid() == sys::process::effective_user()
                    && metadata.mode() & 0o022 == 0;
                return if ours { Ok((file, false)) } else { Err(Refused::NotOurs) };
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refused::System(Errno::new(libc::EBUSY)))
}
