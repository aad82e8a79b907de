//! A stretch of private pinned memory with exactly one owner, registered for local use with a fabric.

use crate::memory::{MemoryError, Region};
use std::sync::Arc;

/// What a fabric keeps for as long as memory is registered with it; dropping it takes the registration back.
pub trait Registration: Send + Sync + std::fmt::Debug {}

/// The key a device knows a local buffer's memory by (`lkey`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LocalKey(pub u32);

/// One owner's stretch of private pinned memory.
///
/// A handle of a pointer, an offset and a length. It moves into an operation and comes back with the completion: while the device may
/// touch the bytes nobody holds the handle, and the memory lives for as long as any handle does, forgotten ones included.
#[derive(Debug)]
pub struct Buffer {
    block: Arc<Block>,
    offset: usize,
    length: usize,
}

#[derive(Debug)]
struct Block {
    // Field order is drop order: the registration goes before the memory it covers.
    _registration: Option<Box<dyn Registration>>,
    region: Region,
    domain: u64,
    key: LocalKey,
}

impl Buffer {
    /// The whole of a private region as one buffer, registered in the protection domain `domain` of a fabric.
    ///
    /// # Errors
    /// [`MemoryError::Backing`] where the region is not [`Backing::Private`](crate::memory::Backing::Private).
    pub(crate) fn new(
        region: Region,
        domain: u64,
        key: LocalKey,
        registration: Option<Box<dyn Registration>>,
    ) -> Result<Self, MemoryError> {
        let length = region.len();
        Ok(Self { block: Arc::new(Block { _registration: registration, region, domain, key }), offset: 0, length })
    }
    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.length
    }
    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
    /// Cuts it in two at `at` bytes. Panics past its end, as a slice does. No allocation; one reference count.
    pub fn split_at(self, at: usize) -> (Buffer, Buffer) {
        let _ = at;
        todo!()
    }
    /// Cuts it into buffers of `each` bytes; the last may be shorter. Allocates the vector.
    pub fn split_into(self, each: usize) -> Vec<Buffer> {
        let _ = each;
        todo!()
    }
    /// Shortens it to its first `length` bytes for the next operation; [`Buffer::restore`] undoes it. The cut-off bytes stay owned by this handle.
    pub fn truncate(&mut self, length: usize) {
        let _ = length;
        todo!()
    }
    /// Gives a truncated buffer its full length back.
    pub fn restore(&mut self) {
        todo!()
    }
    /// Its bytes.
    pub fn as_slice(&self) -> &[u8] {
        todo!()
    }
    /// Its bytes, to change.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        todo!()
    }
    /// The protection domain it is registered in.
    pub(crate) fn domain(&self) -> u64 {
        self.block.domain
    }
    /// The key the device knows it by.
    pub(crate) fn local_key(&self) -> LocalKey {
        self.block.key
    }
    /// Where it starts in this process.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        let _ = (&self.block.region, self.offset);
        todo!()
    }
}
