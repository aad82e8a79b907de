//! Memory that a fabric knows, for as long as anybody holds it: the registration goes before the memory.
//!
//! Imports nothing of its siblings.

use std::mem::ManuallyDrop;
use std::ops::Deref;

/// What a fabric keeps for as long as memory is registered with it. Backends alone make some.
pub(crate) trait Registration: Send + Sync + std::fmt::Debug {
    /// Takes the registration back, before the memory goes. False: a device may still touch the memory, which is then leaked and never freed.
    fn release(&mut self) -> bool;
}

/// The key a device knows a local buffer's memory by (`lkey`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LocalKey(pub(crate) u32);

/// Memory with its registration in one protection domain. Reads as the memory.
#[derive(Debug)]
pub(crate) struct Registered<T> {
    registration: Option<Box<dyn Registration>>,
    memory: ManuallyDrop<T>,
    domain: u64,
    #[cfg_attr(not(feature = "verbs"), allow(dead_code, reason = "for fabrics with a device; shared memory has none"))]
    key: LocalKey,
}

impl<T> Registered<T> {
    pub(crate) fn new(memory: T, domain: u64, key: LocalKey, registration: Option<Box<dyn Registration>>) -> Self {
        Self { registration, memory: ManuallyDrop::new(memory), domain, key }
    }

    /// The protection domain.
    #[inline]
    pub(crate) fn domain(&self) -> u64 {
        self.domain
    }

    /// The key the device knows it by.
    #[cfg(feature = "verbs")]
    #[inline]
    pub(crate) fn key(&self) -> LocalKey {
        self.key
    }
}

impl<T> Deref for Registered<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.memory
    }
}

impl<T> Drop for Registered<T> {
    fn drop(&mut self) {
        if self.registration.as_mut().is_none_or(|registration| registration.release()) {
            // SAFETY:
            // - live: dropped here and nowhere else, and not used after.
            // - device: the registration is gone; without one no device knows the memory.
            unsafe { ManuallyDrop::drop(&mut self.memory) };
        }
    }
}
