//! Remote memory as a device addresses it.

use crate::fabric::{Remote, RemoteDescriptor};
use crate::sys::verbs::Place;

/// Remote memory as a device addresses it: an address and a key.
#[derive(Debug, Clone)]
pub struct VerbsRemote {
    descriptor: RemoteDescriptor,
    /// Where it starts; an address that no registration holds where the key is none a device could have given.
    start: u64,
    key: u32,
}

impl VerbsRemote {
    pub(super) fn new(descriptor: RemoteDescriptor) -> Self {
        match u32::try_from(descriptor.key) {
            Ok(key) => Self { descriptor, start: descriptor.address, key },
            // The end of the address space is the kernel's.
            Err(_) => Self { descriptor, start: 1 << 63, key: descriptor.key as u32 },
        }
    }

    /// Where `length` bytes at `offset` lie, if they are within.
    #[inline(always)]
    pub(super) fn place(&self, offset: u64, length: u64) -> Option<Place> {
        let end = offset.checked_add(length)?;
        (end <= self.descriptor.length).then(|| Place { address: self.start.wrapping_add(offset), key: self.key })
    }
}

impl Remote for VerbsRemote {
    fn descriptor(&self) -> &RemoteDescriptor {
        &self.descriptor
    }
}
