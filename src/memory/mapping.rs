//! Making the mapping behind a region: anonymous, memory file, file; page sizes; seals; pins.

use crate::memory::{Backing, HugePages, MemoryError, RegionBuilder};
use crate::sys::{self, Errno};
use memmap2::{MmapOptions, MmapRaw};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::ptr::NonNull;

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

    pub(crate) fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    /// Where it starts; a mapping never starts at zero.
    pub(crate) fn start(&self) -> NonNull<u8> {
        NonNull::new(self.map.as_mut_ptr()).unwrap_or(NonNull::dangling())
    }
}

const KIB_4: usize = 4 << 10;

/// The page sizes to try in order, as base-2 logarithms; none stands for ordinary pages.
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
    let mut last = None;
    for shift in sizes {
        match map_with(builder, *shift) {
            Ok(made) => {
                if last.is_some() {
                    let (wanted, page_bytes) = (builder.huge_pages, made.0.page_bytes);
                    tracing::info!(?wanted, page_bytes, bytes = made.0.len(), "huge pages not to be had, falling back");
                }
                return Ok(made);
            }
            Err(error @ MemoryError::HugePages { .. }) => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    let (bytes, max) = (builder.bytes as u64, 0);
    Err(last.unwrap_or(MemoryError::Length { bytes, max }))
}

fn map_with(builder: &RegionBuilder, shift: Option<u32>) -> Result<(Mapped, Option<File>), MemoryError> {
    let page_bytes = shift.map_or(KIB_4, |shift| 1 << shift);
    let max = (isize::MAX as usize) & !(page_bytes - 1);
    if builder.bytes == 0 || builder.bytes > max {
        return Err(MemoryError::Length { bytes: builder.bytes as u64, max: max as u64 });
    }
    let bytes = builder.bytes.next_multiple_of(page_bytes);
    let (map, file) = match &builder.backing {
        Backing::Private => (anonymous(bytes, shift)?, None),
        Backing::Shared { read_only_elsewhere } => {
            let (map, file) = memory_file(bytes, shift, *read_only_elsewhere)?;
            (map, Some(file))
        }
        Backing::SharedMemory(_) | Backing::File(_) if shift.is_some() => {
            let (needed, backing) = ("private or sealed shared memory", builder.backing.describe());
            return Err(MemoryError::Backing { what: "huge pages", needed, backing });
        }
        Backing::SharedMemory(name) => {
            let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
            if !plain {
                let tried = format!("opening `{name}` in /dev/shm: a name has no `/` and does not begin with `.`");
                return Err(MemoryError::System { tried, errno: Errno::new(libc::EINVAL) });
            }
            let (map, file) = named_file(&Path::new("/dev/shm").join(name), bytes)?;
            (map, Some(file))
        }
        Backing::File(path) => {
            let (map, file) = named_file(path, bytes)?;
            (map, Some(file))
        }
    };
    Ok((Mapped { map, page_bytes }, file))
}

/// The error of a failed mapping: of huge pages where some were asked for, of room where that ran out.
fn failed(what: &str, place: &str, bytes: usize, shift: Option<u32>, errno: Errno) -> MemoryError {
    let bytes = bytes as u64;
    match (errno.number(), shift) {
        (libc::ENOMEM | libc::ENOSPC | libc::EINVAL | libc::ENODEV | libc::ENOENT, Some(shift)) => {
            MemoryError::HugePages { bytes, page_bytes: 1 << shift, page_kib: 1 << (shift - 10), errno }
        }
        (libc::ENOMEM | libc::ENOSPC | libc::EDQUOT | libc::EFBIG, None) => {
            MemoryError::NoRoom { place: place.to_owned(), bytes, errno }
        }
        _ => MemoryError::System { tried: format!("{what} of {bytes} bytes in {place}"), errno },
    }
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::new(error.raw_os_error().unwrap_or(libc::EIO))
}

fn anonymous(bytes: usize, shift: Option<u32>) -> Result<MmapRaw, MemoryError> {
    let mut options = MmapOptions::new();
    options.len(bytes);
    if let Some(shift) = shift {
        options.huge(u8::try_from(shift).ok());
    }
    let map = options.map_anon().map_err(|error| failed("mapping", "memory", bytes, shift, errno_of(&error)))?;
    Ok(MmapRaw::from(map))
}

fn memory_file(bytes: usize, shift: Option<u32>, read_only_elsewhere: bool) -> Result<(MmapRaw, File), MemoryError> {
    let wrong = |errno| failed("making a memory file", "memory", bytes, shift, errno);
    // A memory file has no file system to be full: reserving more than there is would call the kernel's killer and not return an error.
    if shift.is_none() && sys::memory::available().is_some_and(|available| bytes as u64 > available) {
        return Err(wrong(Errno::new(libc::ENOMEM)));
    }
    let file = sys::file::memory_file(c"handfast", shift).map_err(wrong)?;
    file.set_len(bytes as u64).map_err(|error| wrong(errno_of(&error)))?;
    sys::file::reserve(&file, bytes as u64).map_err(wrong)?;
    let map = map_file(&file, bytes).map_err(wrong)?;
    let mut seals = sys::file::seals::SHRINK | sys::file::seals::GROW | sys::file::seals::SEAL;
    if read_only_elsewhere {
        // After our own mapping, which stays writable.
        seals |= sys::file::seals::FUTURE_WRITE;
    }
    sys::file::add_seals(&file, seals).map_err(wrong)?;
    Ok((map, file))
}

fn named_file(path: &Path, bytes: usize) -> Result<(MmapRaw, File), MemoryError> {
    let place = path.display().to_string();
    let wrong = |errno| failed("mapping", &place, bytes, None, errno);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| wrong(errno_of(&error)))?;
    let metadata = file.metadata().map_err(|error| wrong(errno_of(&error)))?;
    let own = File::open("/proc/self").and_then(|own| own.metadata()).map(|own| own.uid());
    if !metadata.is_file() || metadata.mode() & 0o022 != 0 || own.is_ok_and(|own| own != metadata.uid()) {
        let tried = format!("mapping {place}: it must be a regular file of this user, writable by nobody else");
        return Err(MemoryError::System { tried, errno: Errno::new(libc::EACCES) });
    }
    sys::file::reserve(&file, bytes as u64).map_err(wrong)?;
    Ok((map_file(&file, bytes).map_err(wrong)?, file))
}

fn map_file(file: &File, bytes: usize) -> Result<MmapRaw, Errno> {
    MmapOptions::new().len(bytes).map_raw(file).map_err(|error| errno_of(&error))
}

/// Locks the pages, and says what to do where the limit is too low.
pub(crate) fn pin(mapped: &Mapped) -> Result<(), MemoryError> {
    sys::memory::lock(mapped.start(), mapped.len()).map_err(|errno| {
        let bytes = mapped.len() as u64;
        match (errno.number(), sys::memory::lock_limit()) {
            (libc::ENOMEM | libc::EPERM | libc::EAGAIN, Some(limit)) => MemoryError::LockLimit { bytes, limit },
            (libc::ENOMEM, None) => MemoryError::NoRoom { place: "memory".to_owned(), bytes, errno },
            _ => MemoryError::System { tried: format!("pinning {bytes} bytes (mlock)"), errno },
        }
    })
}
