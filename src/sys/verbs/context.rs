//! A device as librdmacm opened it.

use crate::sys::Errno;
use crate::sys::verbs::device::{self, DeviceAttributes, Gid, PortAttributes};
use rdma_sys::ibv_context;
use std::ptr::NonNull;

/// A device as librdmacm opened it; open until the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Context(NonNull<ibv_context>);

// SAFETY:
// - thread: libibverbs lets any thread use a context, at any time (ibv_open_device(3)).
// - live: librdmacm closes its contexts when the process ends.
unsafe impl Send for Context {}
// SAFETY:
// - thread: as for Send.
unsafe impl Sync for Context {}

impl Context {
    /// What an id of librdmacm is bound to.
    ///
    /// # Safety
    /// `context` is null or the `verbs` field of an id.
    pub(super) unsafe fn of_id(context: *mut ibv_context) -> Option<Self> {
        NonNull::new(context).map(Self)
    }

    pub(super) fn raw(self) -> *mut ibv_context {
        self.0.as_ptr()
    }

    /// As `ibv_devices` prints it.
    pub(crate) fn name(self) -> String {
        // SAFETY:
        // - live: contexts of librdmacm stay open.
        unsafe { device::name(self.raw()) }
    }

    /// What the device can do.
    pub(crate) fn attributes(self) -> Result<DeviceAttributes, Errno> {
        // SAFETY:
        // - live: contexts of librdmacm stay open.
        unsafe { device::attributes(self.raw()) }
    }

    /// How one of its ports is.
    pub(crate) fn port(self, port: u8) -> Result<PortAttributes, Errno> {
        // SAFETY:
        // - live: contexts of librdmacm stay open.
        unsafe { device::port(self.raw(), port) }
    }

    /// One entry of a port's table of GIDs; None where it is empty.
    pub(crate) fn gid(self, port: u8, index: u32) -> Result<Option<Gid>, Errno> {
        // SAFETY:
        // - live: contexts of librdmacm stay open.
        unsafe { device::gid(self.raw(), port, index) }
    }
}
