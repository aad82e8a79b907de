//! Protection domains, and memory registered in them.

use crate::sys::Errno;
use crate::sys::verbs::{Context, answered, made};
use rdma_sys::{ibv_access_flags, ibv_alloc_pd, ibv_dealloc_pd, ibv_dereg_mr, ibv_mr, ibv_pd, ibv_reg_mr_iova2};
use std::ptr::NonNull;
use std::sync::Arc;

/// Rights to memory, or of a queue pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access(u32);

impl Access {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const LOCAL_WRITE: Self = Self(ibv_access_flags::IBV_ACCESS_LOCAL_WRITE.0);
    pub(crate) const REMOTE_WRITE: Self = Self(ibv_access_flags::IBV_ACCESS_REMOTE_WRITE.0);
    pub(crate) const REMOTE_READ: Self = Self(ibv_access_flags::IBV_ACCESS_REMOTE_READ.0);
    pub(crate) const REMOTE_ATOMIC: Self = Self(ibv_access_flags::IBV_ACCESS_REMOTE_ATOMIC.0);
    pub(crate) const ON_DEMAND: Self = Self(ibv_access_flags::IBV_ACCESS_ON_DEMAND.0);
    pub(crate) const RELAXED_ORDERING: Self = Self(ibv_access_flags::IBV_ACCESS_RELAXED_ORDERING.0);

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    pub(super) const fn bits(self) -> u32 {
        self.0
    }
}

/// A protection domain. Dropped last: what is made in it holds it.
#[derive(Debug)]
pub(crate) struct ProtectionDomain {
    raw: NonNull<ibv_pd>,
    context: Arc<Context>,
}

// SAFETY:
// - thread: libibverbs lets any thread use a protection domain.
unsafe impl Send for ProtectionDomain {}
// SAFETY:
// - thread: as for Send.
unsafe impl Sync for ProtectionDomain {}

impl ProtectionDomain {
    pub(crate) fn new(context: &Arc<Context>) -> Result<Arc<Self>, Errno> {
        // SAFETY:
        // - live: the context by the count we keep.
        let raw = made(unsafe { ibv_alloc_pd(context.raw()) })?;
        Ok(Arc::new(Self { raw, context: Arc::clone(context) }))
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    pub(super) fn raw(&self) -> *mut ibv_pd {
        self.raw.as_ptr()
    }
}

impl Drop for ProtectionDomain {
    fn drop(&mut self) {
        // SAFETY:
        // - live: made by us, freed once, after everything made in it: those things hold a count.
        let freed = answered(unsafe { ibv_dealloc_pd(self.raw.as_ptr()) });
        if let Err(errno) = freed {
            tracing::warn!(device = self.context.name(), "a protection domain could not be freed: {errno}");
        }
    }
}

/// Memory registered with a device.
#[derive(Debug)]
pub(crate) struct MemoryRegion {
    /// None once it is deregistered.
    raw: Option<NonNull<ibv_mr>>,
    keys: (u32, u32),
    domain: Arc<ProtectionDomain>,
}

// SAFETY:
// - thread: libibverbs lets any thread use or end a registration.
unsafe impl Send for MemoryRegion {}
// SAFETY:
// - thread: as for Send.
unsafe impl Sync for MemoryRegion {}

impl MemoryRegion {
    /// Registers `length` bytes at `address`.
    ///
    /// # Safety
    /// The bytes stay mapped until [`MemoryRegion::deregister`] has returned `Ok`; where it never does, for ever. While registered,
    /// the device may read them at any time, and write them as `access` says: nobody holds references that this would break.
    pub(crate) unsafe fn register(
        domain: &Arc<ProtectionDomain>,
        address: *mut u8,
        length: usize,
        access: Access,
    ) -> Result<Self, Errno> {
        let start = address as u64;
        // The call the header's own `ibv_reg_mr` ends in: it drops optional rights that the device does not know.
        // SAFETY:
        // - live: the domain by the count we hold; the memory by the caller's word.
        // - device: by the caller's word.
        let raw = unsafe { ibv_reg_mr_iova2(domain.raw(), address.cast(), length, start, access.bits()) };
        let raw = made(raw)?;
        // SAFETY:
        // - live: just made.
        let local = unsafe { (*raw.as_ptr()).lkey };
        // SAFETY:
        // - live: just made.
        let remote = unsafe { (*raw.as_ptr()).rkey };
        Ok(Self { raw: Some(raw), keys: (local, remote), domain: Arc::clone(domain) })
    }

    /// The key for local use.
    pub(crate) fn local_key(&self) -> u32 {
        self.keys.0
    }

    /// The key for the other side.
    pub(crate) fn remote_key(&self) -> u32 {
        self.keys.1
    }

    /// Ends the registration: once this is `Ok`, the device does not touch the memory any more. A system call.
    ///
    /// # Errors
    /// The registration is still in force, and stays so: the memory must never be freed.
    pub(crate) fn deregister(&mut self) -> Result<(), Errno> {
        let Some(raw) = self.raw else { return Ok(()) };
        // SAFETY:
        // - live: registered by us; `raw` is None once this was done.
        let outcome = answered(unsafe { ibv_dereg_mr(raw.as_ptr()) });
        if outcome.is_ok() {
            self.raw = None;
        }
        if let Err(errno) = outcome {
            let device = self.domain.context().name();
            tracing::error!(device, key = self.keys.1, "memory could not be deregistered and is leaked: {errno}");
        }
        outcome
    }
}
