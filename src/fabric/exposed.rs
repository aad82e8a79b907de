//! Memory the other side was given access to.

use crate::fabric::RemoteDescriptor;
use crate::memory::{Region, Registration};
use std::ops::Deref;
use std::sync::Arc;

/// Memory the other side was given access to. Reads as its [`Region`]: copies and words, never references.
///
/// The access ends when it is dropped; the memory itself lives until no port of its domain can touch it.
#[derive(Debug)]
pub struct Exposed {
    registration: Box<dyn Registration>,
    region: Arc<Region>,
    descriptor: RemoteDescriptor,
}

impl Exposed {
    /// What backends build.
    pub(crate) fn new(region: Arc<Region>, descriptor: RemoteDescriptor, registration: Box<dyn Registration>) -> Self {
        Self { registration, region, descriptor }
    }
    /// What the other side needs to address it.
    pub fn descriptor(&self) -> &RemoteDescriptor {
        &self.descriptor
    }
    /// The region itself.
    pub fn region(&self) -> &Region {
        &self.region
    }
}

impl Drop for Exposed {
    fn drop(&mut self) {
        if !self.registration.release() {
            std::mem::forget(Arc::clone(&self.region));
        }
    }
}

impl Deref for Exposed {
    type Target = Region;
    fn deref(&self) -> &Region {
        &self.region
    }
}
