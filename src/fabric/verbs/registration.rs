//! Memory registered with a device for as long as somebody holds it.

use crate::memory::{Errno, Region, Registration};
use crate::sys::verbs::MemoryRegion;
use std::sync::{Arc, Mutex, PoisonError};

/// The registration of a buffer.
#[derive(Debug)]
pub(super) struct LocalRegistration(pub(super) MemoryRegion);

impl Registration for LocalRegistration {
    fn release(&mut self) -> bool {
        self.0.deregister().is_ok()
    }
}

/// The registration of exposed memory, which the domain may end before its holder does.
#[derive(Debug)]
pub(super) struct Exposure {
    registered: Mutex<MemoryRegion>,
    region: Arc<Region>,
}

impl Exposure {
    pub(super) fn new(registered: MemoryRegion, region: Arc<Region>) -> Arc<Self> {
        Arc::new(Self { registered: Mutex::new(registered), region })
    }

    /// Ends the other side's access.
    ///
    /// # Errors
    /// The device holds on to the memory, which is leaked; the log says so.
    pub(super) fn end(&self) -> Result<(), Errno> {
        let mut registered = self.registered.lock().unwrap_or_else(PoisonError::into_inner);
        registered.deregister().inspect_err(|_| std::mem::forget(Arc::clone(&self.region)))
    }
}

/// What an [`Exposed`](crate::fabric::Exposed) holds.
#[derive(Debug)]
pub(super) struct ExposedRegistration(pub(super) Arc<Exposure>);

impl Registration for ExposedRegistration {
    fn release(&mut self) -> bool {
        // What could not be ended has leaked its own count of the region.
        let _ = self.0.end();
        true
    }
}
