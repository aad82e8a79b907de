//! A mapped, optionally pinned stretch of memory that the partner may be given access to.

use crate::memory::MemoryError;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

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
    /// A file under /dev/shm, by name, created with mode 0600 or opened if it exists; space reserved.
    SharedMemory(String),
    /// A file by path, created with mode 0600 or opened if it exists; space reserved.
    File(PathBuf),
}

/// Page size of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum HugePages {
    /// Ordinary pages.
    #[default]
    None,
    /// 2 MiB pages, or an error where none are free.
    Need2MiB,
    /// 1 GiB pages, or an error where none are free.
    Need1GiB,
    /// 2 MiB pages where some are free, else ordinary ones (said by one `tracing` event at level INFO).
    Prefer2MiB,
    /// 1 GiB pages where some are free, else ordinary ones (said by one `tracing` event at level INFO).
    Prefer1GiB,
}

/// A mapped stretch of memory.
#[derive(Debug)]
pub struct Region {}

/// Builds a [`Region`].
#[derive(Debug, Clone)]
#[must_use]
pub struct RegionBuilder {}

impl Region {
    /// Starts a region of `bytes` bytes: private anonymous memory, pinned, ordinary pages, any NUMA node.
    pub fn builder(bytes: usize) -> RegionBuilder {
        let _ = bytes;
        todo!()
    }
    /// Length in bytes. Always a whole number of 8-byte words; may be rounded up to the page size.
    pub fn len(&self) -> usize {
        todo!()
    }
    /// Never: a region has at least one byte.
    pub fn is_empty(&self) -> bool {
        todo!()
    }
    /// What holds its bytes.
    pub fn backing(&self) -> &Backing {
        todo!()
    }
    /// Whether its pages are locked in memory.
    pub fn is_pinned(&self) -> bool {
        todo!()
    }
    /// Size of one of its pages, bytes.
    pub fn page_bytes(&self) -> usize {
        todo!()
    }
    /// The file descriptor behind it, where it has one.
    pub fn file(&self) -> Option<BorrowedFd<'_>> {
        todo!()
    }
    /// Copies `into.len()` bytes out, from `offset`. 8-byte aligned words of it are each copied in one load (no tearing within a word).
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), MemoryError> {
        let _ = (offset, into);
        todo!()
    }
    /// Copies `bytes` in, at `offset`. 8-byte aligned words of it are each stored in one store.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), MemoryError> {
        let _ = (offset, bytes);
        todo!()
    }
    /// One aligned 8-byte word, in the machine's byte order.
    pub fn load(&self, offset: usize, ordering: Ordering) -> Result<u64, MemoryError> {
        let _ = (offset, ordering);
        todo!()
    }
    /// Stores one aligned 8-byte word.
    pub fn store(&self, offset: usize, value: u64, ordering: Ordering) -> Result<(), MemoryError> {
        let _ = (offset, value, ordering);
        todo!()
    }
    /// Adds to one aligned 8-byte word, wrapping, and returns what it held.
    pub fn fetch_add(&self, offset: usize, add: u64, ordering: Ordering) -> Result<u64, MemoryError> {
        let _ = (offset, add, ordering);
        todo!()
    }
    /// Replaces one aligned 8-byte word if it holds `expected` (sequentially consistent); returns what it held.
    pub fn compare_exchange(&self, offset: usize, expected: u64, desired: u64) -> Result<u64, MemoryError> {
        let _ = (offset, expected, desired);
        todo!()
    }
    /// Where it starts in this process. Nothing may be read or written through it but by raw, volatile or atomic access within `len()`.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        todo!()
    }
}

impl RegionBuilder {
    /// What holds the bytes. Default: [`Backing::Private`].
    pub fn backing(self, backing: Backing) -> Self {
        let _ = backing;
        todo!()
    }
    /// Page size. Default: ordinary.
    pub fn huge_pages(self, pages: HugePages) -> Self {
        let _ = pages;
        todo!()
    }
    /// Prefer memory of this NUMA node (`mbind(2)`, MPOL_PREFERRED). Default: the kernel's choice.
    pub fn numa_node(self, node: u32) -> Self {
        let _ = node;
        todo!()
    }
    /// Lock the pages in memory (`mlock(2)`). Default: true.
    pub fn pinned(self, pinned: bool) -> Self {
        let _ = pinned;
        todo!()
    }
    /// Maps it.
    pub fn build(self) -> Result<Region, MemoryError> {
        todo!()
    }
}
