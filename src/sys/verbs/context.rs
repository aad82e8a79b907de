//! A device opened for use: what everything made on it keeps alive.
//!
//! librdmacm opens devices too, and shows its contexts in its ids; but it closes one when the device was removed and the last id that used it
//! is gone, under whatever else was made from it. So nothing is made from those.

use crate::sys::Errno;
use crate::sys::verbs::device::{DeviceAttributes, Gid, OpenDevice, PortAttributes, open_device};
use rdma_sys::ibv_context;
use std::sync::Arc;

/// A device opened for use. Closed when the last thing made on it is gone.
#[derive(Debug)]
pub(crate) struct Context {
    device: OpenDevice,
    /// They do not change while it is open: asked once.
    attributes: DeviceAttributes,
    name: String,
}

impl Context {
    /// Opens the device of this name.
    ///
    /// # Errors
    /// ENODEV where there is none, EOPNOTSUPP where libibverbs is missing, and what opening and asking for its attributes say.
    pub(crate) fn open(name: &str) -> Result<Arc<Self>, Errno> {
        let device = open_device(name)?;
        let attributes = device.attributes()?;
        Ok(Arc::new(Self { device, attributes, name: name.to_owned() }))
    }

    pub(super) fn raw(&self) -> *mut ibv_context {
        self.device.raw()
    }

    /// As `ibv_devices` prints it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What the device can do, as it said when it was opened.
    pub(crate) fn attributes(&self) -> &DeviceAttributes {
        &self.attributes
    }

    /// How one of its ports is. A system call.
    pub(crate) fn port(&self, port: u8) -> Result<PortAttributes, Errno> {
        self.device.port(port)
    }

    /// One entry of a port's table of GIDs; None where it is empty.
    pub(crate) fn gid(&self, port: u8, index: u32) -> Result<Option<Gid>, Errno> {
        self.device.gid(port, index)
    }
}
