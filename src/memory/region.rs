//! A mapped, optionally pinned stretch of memory that the partner may be given access to.

use crate::memory::mapping::{self, Mapped};
use crate::memory::{MemoryError, copy_from_shared, copy_to_shared};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// What holds a region's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backing {
    /// Private anonymous memory: no other process can map it. The only backing a [`Buffer`](crate::memory::Buffer) is cut from.
    Private,
    /// An anonymous memory file (`memfd_create(2)`), sealed against shrinking and growing, so that no process can take pages away
    /// under another's feet. What the shm fabric needs to give a partner access. `read_only_elsewhere` seals it against new writable
    /// mappings too (`F_SEAL_FUTURE_WRITE`): only this process can write it.
    Shared {
        /// Nobody but this process may write.
        read_only_elsewhere: bool,
    },
    /// A file under /dev/shm, by name, created with mode 0600 or opened if it exists; space reserved. Whoever may write the file can also
    /// shrink it, which ends this process by SIGBUS at the next access: keep it to its owner.
    SharedMemory(String),
    /// A file by path, created with mode 0600 or opened if it exists; space reserved. As to shrinking, see [`Backing::SharedMemory`].
    File(PathBuf),
}

impl Backing {
    /// For messages.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::Private => "private memory",
            Self::Shared { .. } => "sealed shared memory",
            Self::SharedMemory(_) => "a file in /dev/shm",
            Self::File(_) => "a file",
        }
    }
}

/// Page size of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum HugePages {
    /// Ordinary pages.
    #[default]
    None,
    /// 2 MiB pages, or an error where none are free. For [`Backing::Private`] and [`Backing::Shared`].
    Need2MiB,
    /// 1 GiB pages, or an error where none are free. For [`Backing::Private`] and [`Backing::Shared`].
    Need1GiB,
    /// 2 MiB pages where enough are free, else ordinary ones (said by one `tracing` event at level INFO); files have ordinary ones always.
    Prefer2MiB,
    /// 1 GiB pages where enough are free, else 2 MiB, else ordinary ones (said by one `tracing` event at level INFO); files have ordinary ones
    /// always. The length is rounded up to whole pages of the size that is used.
    Prefer1GiB,
}

/// A mapped stretch of memory that somebody else may write at any time: it hands out copies and words, never references.
///
/// Each aligned 8-byte word moves in one access in copies of up to 256 bytes; longer copies promise nothing about tearing, nor about the order
/// in which their bytes appear. Copies have no ordering of their own: order them by a word that is loaded with `Acquire` or stored with
/// `Release`. Copies and words cost what they cost in ordinary memory, and neither allocate nor enter the kernel.
///
/// A child made by `fork` without `exec` does not have it (`madvise(2)`, MADV_DONTFORK): touching it there ends the child. Nor is it in core dumps.
///
/// It may be shared and sent between threads: every access is atomic or opaque to the compiler. Dropping it unmaps it; a named file stays.
#[derive(Debug)]
pub struct Region {
    mapped: Mapped,
    file: Option<File>,
    backing: Backing,
    pinned: bool,
}

/// Builds a [`Region`].
#[derive(Debug, Clone)]
#[must_use]
pub struct RegionBuilder {
    pub(crate) bytes: usize,
    pub(crate) backing: Backing,
    pub(crate) huge_pages: HugePages,
    pub(crate) numa_node: Option<u32>,
    pub(crate) pinned: bool,
}

impl Region {
    /// Starts a region of `bytes` bytes: private anonymous memory, pinned, ordinary pages, any NUMA node.
    ///
    /// ```
    /// use handfast::memory::Region;
    ///
    /// # fn main() -> Result<(), handfast::memory::MemoryError> {
    /// let region = Region::builder(64 << 10).build()?;
    /// region.write(100, b"copied in")?;
    /// let mut bytes = [0; 9];
    /// region.read(100, &mut bytes)?;
    /// assert_eq!(&bytes, b"copied in");
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(bytes: usize) -> RegionBuilder {
        RegionBuilder { bytes, backing: Backing::Private, huge_pages: HugePages::None, numa_node: None, pinned: true }
    }

    /// Length in bytes: what was asked for, rounded up to whole pages.
    #[inline]
    pub fn len(&self) -> usize {
        self.mapped.len()
    }

    /// Never: a region has at least one page.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// What holds its bytes.
    pub fn backing(&self) -> &Backing {
        &self.backing
    }

    /// Its file has another name now.
    pub(crate) fn set_backing(&mut self, backing: Backing) {
        self.backing = backing;
    }

    /// Whether its pages are locked in memory.
    pub fn is_pinned(&self) -> bool {
        self.pinned
    }

    /// Size of one of its pages, bytes.
    pub fn page_bytes(&self) -> usize {
        self.mapped.page_bytes()
    }

    /// The file behind it, where it has one.
    pub fn file(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(File::as_fd)
    }

    /// Copies `into.len()` bytes out, from `offset`.
    ///
    /// # Errors
    /// [`MemoryError::OutOfRange`].
    #[inline]
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), MemoryError> {
        let from = self.range(offset, into.len())?;
        // SAFETY:
        // - live: the mapping lives as long as `self`.
        // - bounds: checked by `range`; `into` by its own length.
        // - alias: `into` is borrowed mutably, and a region has no references into it.
        // - device: others may write the region meanwhile, which the copy allows.
        unsafe { copy_from_shared(from, into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    /// Copies `bytes` in, at `offset`.
    ///
    /// # Errors
    /// [`MemoryError::OutOfRange`].
    #[inline]
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), MemoryError> {
        let into = self.range(offset, bytes.len())?;
        // SAFETY:
        // - live: the mapping lives as long as `self`.
        // - bounds: checked by `range`; `bytes` by its own length.
        // - alias: `bytes` is borrowed, and cannot lie in the region, which has no references into it.
        // - device: others may read and write the region meanwhile, which the copy allows.
        unsafe { copy_to_shared(bytes.as_ptr(), into, bytes.len()) };
        Ok(())
    }

    /// One aligned 8-byte word, in the machine's byte order. `ordering`: `Relaxed`, `Acquire` or `SeqCst`.
    ///
    /// # Errors
    /// [`MemoryError::OutOfRange`], also where `offset` is no multiple of 8.
    ///
    /// # Panics
    /// With another `ordering`, as [`AtomicU64::load`] does.
    #[inline]
    pub fn load(&self, offset: usize, ordering: Ordering) -> Result<u64, MemoryError> {
        Ok(self.word(offset)?.load(ordering))
    }

    /// Stores one aligned 8-byte word. `ordering`: `Relaxed`, `Release` or `SeqCst`.
    ///
    /// # Errors
    /// [`MemoryError::OutOfRange`], also where `offset` is no multiple of 8.
    ///
    /// # Panics
    /// With another `ordering`, as [`AtomicU64::store`] does.
    #[inline]
    pub fn store(&self, offset: usize, value: u64, ordering: Ordering) -> Result<(), MemoryError> {
        self.word(offset)?.store(value, ordering);
        Ok(())
    }

    /// Adds to one aligned 8-byte word, wrapping, and returns what it held. On shared memory this is atomic with the partner's atomics
    /// too; a device's atomics it need not be atomic with.
    ///
    /// # Errors
    /// [`MemoryError::OutOfRange`], also where `offset` is no multiple of 8.
    #[inline]
    pub fn fetch_add(&self, offset: usize, add: u64, ordering: Ordering) -> Result<u64, MemoryError> {
        Ok(self.word(offset)?.fetch_add(add, ordering))
    }

    /// Replaces one aligned 8-byte word if it holds `expected` (sequentially consistent); returns what it held. As to devices, see
    /// [`Region::fetch_add`].
    ///
    /// # Errors
    /// [`MemoryError::OutOfRange`], also where `offset` is no multiple of 8.
    #[inline]
    pub fn compare_exchange(&self, offset: usize, expected: u64, desired: u64) -> Result<u64, MemoryError> {
        let word = self.word(offset)?;
        let outcome = word.compare_exchange(expected, desired, Ordering::SeqCst, Ordering::SeqCst);
        Ok(outcome.unwrap_or_else(|held| held))
    }

    /// Where it starts in this process. Only raw, atomic or opaque access goes through it, within `len()`.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.mapped.as_ptr()
    }

    /// The same, as a pointer that is never null.
    #[inline]
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.mapped.start()
    }

    fn out_of_range(&self, offset: usize, length: usize) -> MemoryError {
        MemoryError::OutOfRange { offset: offset as u64, length: length as u64, region: self.len() as u64 }
    }

    #[inline]
    fn range(&self, offset: usize, length: usize) -> Result<*mut u8, MemoryError> {
        match offset.checked_add(length) {
            Some(end) if end <= self.len() => Ok(self.as_ptr().wrapping_add(offset)),
            _ => Err(self.out_of_range(offset, length)),
        }
    }

    #[inline]
    fn word(&self, offset: usize) -> Result<&AtomicU64, MemoryError> {
        if !offset.is_multiple_of(size_of::<u64>()) {
            return Err(self.out_of_range(offset, size_of::<u64>()));
        }
        let word = self.range(offset, size_of::<u64>())?.cast::<AtomicU64>();
        // SAFETY:
        // - live: the mapping lives as long as `self`, and so does the reference.
        // - bounds: checked by `range`; aligned, since mappings begin on a page and `offset` is a multiple of 8.
        // - alias: an atomic may be shared; nobody has a plain reference to it.
        // - device: others may write the word at any time, which an atomic allows.
        Ok(unsafe { &*word })
    }
}

impl RegionBuilder {
    /// What holds the bytes. Default: [`Backing::Private`].
    pub fn backing(mut self, backing: Backing) -> Self {
        self.backing = backing;
        self
    }

    /// Page size. Default: ordinary.
    pub fn huge_pages(mut self, pages: HugePages) -> Self {
        self.huge_pages = pages;
        self
    }

    /// Prefer memory of this NUMA node (`mbind(2)`, MPOL_PREFERRED), for pages that do not exist yet: those of a file that is opened again stay
    /// where they are. Default: the kernel's choice.
    pub fn numa_node(mut self, node: u32) -> Self {
        self.numa_node = Some(node);
        self
    }

    /// Lock the pages in memory (`mlock(2)`), which makes them resident too. Default: true.
    pub fn pinned(mut self, pinned: bool) -> Self {
        self.pinned = pinned;
        self
    }

    /// Maps it. Enters the kernel, once for each property asked for; pinning, and reserving shared memory, touch every page.
    ///
    /// Memory to be pinned or shared is refused where it is more than `MemAvailable` in /proc/meminfo, or than this process's control groups
    /// (a container's) leave: past that the kernel ends a process. Others may take the room between the look and the touch.
    ///
    /// # Errors
    /// [`MemoryError`]: the length, the limit of locked memory, huge pages, room, rights. Nothing is left behind, but that a file which was
    /// there before may have grown.
    pub fn build(self) -> Result<Region, MemoryError> {
        let (mapped, file) = mapping::map(&self)?;
        Ok(Region { mapped, file, backing: self.backing, pinned: self.pinned })
    }
}

#[cfg(test)]
mod tests;
