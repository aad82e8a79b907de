//! Listening at an address, also again after its device went and came back.

use super::failure::{device_error, no_rdma};
use super::host;
use super::watch::{self, Watch};
use crate::fabric::{Address, FabricError};
use crate::sys::Errno;
use crate::sys::random::monotonic_ns;
use crate::sys::verbs::{CmEvent, CmId, EventChannel};
use std::net::SocketAddr;
use std::sync::Arc;

/// Requests the kernel holds for us.
const BACKLOG: i32 = 16;

/// How often listening is tried again after the device went.
const RETRY_NS: u64 = 250_000_000;

/// Listens at an address; without a device it waits for one.
#[derive(Debug)]
pub(super) struct Listener {
    address: Address,
    at: SocketAddr,
    wanted_device: Option<String>,
    gid: Option<u8>,
    device: String,
    /// Its device, open for as long as we listen on it.
    watch: Option<Arc<Watch>>,
    // The id before its channel.
    id: Option<CmId>,
    channel: Arc<EventChannel>,
    retry_at: u64,
    /// Why it does not listen at present.
    told: Option<FabricError>,
}

impl Listener {
    pub(super) fn new(address: &Address) -> Result<Self, FabricError> {
        let Address::Rdma { device, gid, .. } = address else {
            return Err(FabricError::Scheme { address: address.clone(), fabric: "rdma" });
        };
        let at = host::of(address)?;
        let channel = EventChannel::new().map_err(no_rdma)?;
        let mut listener = Self {
            address: address.clone(),
            at,
            wanted_device: device.clone(),
            gid: *gid,
            device: String::new(),
            watch: None,
            id: None,
            channel,
            retry_at: 0,
            told: None,
        };
        listener.listen()?;
        Ok(listener)
    }

    pub(super) fn device(&self) -> &str {
        &self.device
    }

    pub(super) fn gid(&self) -> Option<u8> {
        self.gid
    }

    fn listen(&mut self) -> Result<(), FabricError> {
        let id = CmId::new(&self.channel).map_err(no_rdma)?;
        id.bind(self.at).map_err(|errno| self.refused(errno))?;
        let Some(device) = id.device() else {
            return Err(self.no_device(Errno::new(libc::ENODEV)));
        };
        self.device = device;
        if let Some(wanted) = self.wanted_device.as_ref().filter(|wanted| **wanted != self.device) {
            let missing = format!("{} belongs to the device {}, not to {wanted}", self.at.ip(), self.device);
            let remedy = "Leave `?device=` out, or listen at an address of that device (`handfast devices`)".to_owned();
            return Err(FabricError::NoRdma { missing, remedy });
        }
        id.listen(BACKLOG).map_err(|errno| self.refused(errno))?;
        self.watch = Some(watch::of(&id)?);
        tracing::info!(device = self.device, "listening at {}", self.address);
        self.id = Some(id);
        Ok(())
    }

    fn refused(&self, errno: Errno) -> FabricError {
        match errno.number() {
            libc::EADDRINUSE => FabricError::AddressInUse { address: self.address.clone(), process: None },
            libc::EADDRNOTAVAIL | libc::ENODEV => self.no_device(errno),
            _ => device_error(&format!("listening at {}", self.address), "-", errno),
        }
    }

    fn no_device(&self, errno: Errno) -> FabricError {
        FabricError::NoRdma {
            missing: format!("no RDMA device of this machine has the address {} ({errno})", self.at.ip()),
            remedy: "See `handfast devices` for those that have one, and `ip address` for the interfaces".to_owned(),
        }
    }

    /// The next event of the listener or of a link it brought. Enters the kernel.
    pub(super) fn poll(&mut self) -> Result<Option<CmEvent>, FabricError> {
        if self.id.is_none() {
            let now = monotonic_ns();
            if now < self.retry_at {
                return Ok(None);
            }
            self.retry_at = now.saturating_add(RETRY_NS);
            if let Err(error) = self.listen() {
                // Told where it is another reason than before.
                let is_news = self.told.as_ref() != Some(&error);
                self.told = Some(error.clone());
                return if is_news { Err(error) } else { Ok(None) };
            }
            self.told = None;
        }
        self.channel.poll().map_err(|errno| device_error("asking librdmacm for events", &self.device, errno))
    }

    /// The device went: gives the place up, to take it again once it is back. What to tell, the first time.
    pub(super) fn removed(&mut self) -> Option<FabricError> {
        self.retry_at = monotonic_ns().saturating_add(RETRY_NS);
        if let Some(watch) = self.watch.take() {
            watch.removed();
        }
        self.id.take()?;
        Some(FabricError::NoRdma {
            missing: format!("the device {} was removed", self.device),
            remedy: "Listening goes on by itself once a device has the address again".to_owned(),
        })
    }
}
