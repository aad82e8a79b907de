//! A stretch of private pinned memory with exactly one owner, registered for local use with a fabric.

use crate::memory::registered::{LocalKey, Registered, Registration};
use crate::memory::{Backing, MemoryError, Region};
use std::sync::Arc;

/// One owner's stretch of private pinned memory.
///
/// A handle of 32 bytes: a counted reference and three numbers. It moves into an operation and comes back with the completion: while the
/// device may touch the bytes nobody holds the handle. The memory lives for as long as any handle cut from it does; a forgotten handle
/// ([`std::mem::forget`]) keeps it for ever, so it is never freed under an operation.
#[derive(Debug)]
pub struct Buffer {
    block: Arc<Registered<Region>>,
    offset: usize,
    /// What is visible, and what an operation moves.
    length: usize,
    /// What this handle owns: `length` or more.
    capacity: usize,
}

impl Buffer {
    /// The whole of a private region as one buffer, registered in the protection domain `domain` of a fabric.
    ///
    /// # Errors
    /// [`MemoryError::Backing`] where the region is not [`Backing::Private`]: somebody else might write what a slice shows.
    pub(crate) fn new(
        region: Region,
        domain: u64,
        key: LocalKey,
        registration: Option<Box<dyn Registration>>,
    ) -> Result<Self, MemoryError> {
        let length = region.len();
        // Made first: however this ends, the registration goes before the memory.
        let block = Registered::new(region, domain, key, registration);
        if *block.backing() != Backing::Private {
            let backing = block.backing().describe();
            return Err(MemoryError::Backing { what: "a buffer", needed: "private memory", backing });
        }
        Ok(Self { block: Arc::new(block), offset: 0, length, capacity: length })
    }

    /// Length in bytes: what an operation moves.
    #[inline]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it has no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Cuts it in two at `at` bytes of its visible part; bytes hidden by [`Buffer::truncate`] go to the second. No allocation; counts one
    /// reference.
    ///
    /// # Panics
    /// Where `at` lies past [`Buffer::len`], as a slice does.
    pub fn split_at(self, at: usize) -> (Buffer, Buffer) {
        assert!(at <= self.length, "split at {at} of a buffer of {} bytes", self.length);
        let first = Buffer { block: Arc::clone(&self.block), offset: self.offset, length: at, capacity: at };
        let second = Buffer {
            block: self.block,
            offset: self.offset + at,
            length: self.length - at,
            capacity: self.capacity - at,
        };
        (first, second)
    }

    /// Cuts its visible part into buffers of `each` bytes; the last may be shorter, and gets the bytes hidden by [`Buffer::truncate`]. Allocates
    /// the vector.
    ///
    /// # Panics
    /// Where `each` is zero.
    pub fn split_into(self, each: usize) -> Vec<Buffer> {
        assert!(each != 0, "split into buffers of no bytes");
        let mut buffers = Vec::with_capacity(self.length.div_ceil(each));
        let mut rest = self;
        while rest.length > each {
            let (buffer, after) = rest.split_at(each);
            buffers.push(buffer);
            rest = after;
        }
        buffers.push(rest);
        buffers
    }

    /// Shows only its first `length` bytes, for the next operation; [`Buffer::restore`] undoes it. The hidden bytes stay this handle's. A
    /// `length` past the end changes nothing.
    #[inline]
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// Shows all of its bytes again.
    #[inline]
    pub fn restore(&mut self) {
        self.length = self.capacity;
    }

    /// Its bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY:
        // - live: `block` keeps the mapping, and we hold `block`.
        // - bounds: `offset + length <= offset + capacity <= region length`, kept by `new` and `split_at`.
        // - alias: the region is private, has no references of its own, and handles never overlap; `&self` forbids writing through this one.
        // - device: a device touches these bytes only while a port holds the handle, and then nobody can call this.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.length) }
    }

    /// Its bytes, to change.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY:
        // - live: `block` keeps the mapping, and we hold `block`.
        // - bounds: `offset + length <= offset + capacity <= region length`, kept by `new` and `split_at`.
        // - alias: the region is private, has no references of its own, and handles never overlap; `&mut self` makes this one unique.
        // - device: a device touches these bytes only while a port holds the handle, and then nobody can call this.
        unsafe { std::slice::from_raw_parts_mut(self.as_ptr(), self.length) }
    }

    /// The protection domain it is registered in.
    #[inline]
    pub(crate) fn domain(&self) -> u64 {
        self.block.domain()
    }

    /// The key the device knows it by.
    #[cfg(feature = "verbs")]
    #[inline]
    pub(crate) fn local_key(&self) -> LocalKey {
        self.block.key()
    }

    /// Where it starts in this process.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        // `offset` is within the region, so the sum stays within its mapping.
        self.block.as_ptr().wrapping_add(self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(bytes: usize) -> Result<Buffer, MemoryError> {
        Buffer::new(Region::builder(bytes).pinned(false).build()?, 1, LocalKey(0), None)
    }

    #[test]
    fn parts_never_overlap_and_nothing_is_lost() -> Result<(), MemoryError> {
        let mut parts = buffer(4096)?.split_into(1000);
        assert_eq!(parts.iter().map(Buffer::len).collect::<Vec<_>>(), [1000, 1000, 1000, 1000, 96]);
        for (number, part) in parts.iter_mut().enumerate() {
            part.as_mut_slice().fill(number as u8 + 1);
        }
        for (number, part) in parts.iter().enumerate() {
            assert!(part.as_slice().iter().all(|byte| *byte == number as u8 + 1));
        }
        Ok(())
    }

    #[test]
    fn truncated_bytes_come_back() -> Result<(), MemoryError> {
        let (mut buffer, _) = buffer(4096)?.split_at(100);
        buffer.as_mut_slice().fill(9);
        buffer.truncate(10);
        buffer.truncate(50);
        assert_eq!(buffer.as_slice(), [9; 10]);
        let (first, mut second) = buffer.split_at(4);
        assert_eq!((first.len(), second.len()), (4, 6));
        second.restore();
        assert_eq!(second.as_slice(), [9; 96]);
        Ok(())
    }

    #[test]
    fn memory_that_others_can_map_makes_no_buffer() -> Result<(), MemoryError> {
        let region = Region::builder(4096).backing(Backing::Shared { read_only_elsewhere: true }).build()?;
        assert!(matches!(Buffer::new(region, 1, LocalKey(0), None), Err(MemoryError::Backing { .. })));
        Ok(())
    }

    #[test]
    fn the_last_handle_keeps_the_memory() -> Result<(), MemoryError> {
        let (first, mut second) = buffer(8192)?.split_at(4096);
        drop(first);
        second.as_mut_slice().fill(1);
        assert_eq!(size_of::<Buffer>(), 32);
        Ok(())
    }
}
