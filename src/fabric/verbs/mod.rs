//! RDMA devices as a fabric: RoCE v2 and InfiniBand, through libibverbs and librdmacm.
//!
//! Imports `memory` and `sys`. Reliable connected queue pairs. The two sides of a link meet through librdmacm at an address and port fixed in
//! advance (`rdma://ADDRESS:PORT`); its private data says where status block and mailbox lie. Ports beside a link are wired by
//! hand, from numbers the session exchanges.
//!
//! **Needs.** Linux with in-tree RDMA drivers; libibverbs and librdmacm when the program runs (not when it is built), rights to
//! /dev/infiniband, and a limit of locked memory (`ulimit -l`) that holds the registered regions. [`devices()`] tells what is missing.
//!
//! **Rights.** The device checks keys, ranges, rights and protection domains. Each accepted link has a protection domain of its own, with the status
//! block for READ and one mailbox for WRITE; queue pairs that we dialled with grant nothing. Packets are neither authenticated nor encrypted: whoever
//! can send on the wire can forge them. Use a private wire, or MACsec or IPsec below.
//!
//! **Differences** from shared memory, within the contract:
//! - A dial, also of an observer, needs the other side's control thread ([`Endpoint::poll`](crate::fabric::Endpoint::poll)) to be accepted; READs of a link that stands need nothing of it.
//! - A process that is killed is told within milliseconds (its kernel disconnects); a machine without power, or a cut wire, is not told at all: operations fail after the retries
//!   of [`VerbsOptions`], and a failed READ of the session's own heartbeat says so.
//! - Atomics are atomic with other remote atomics of the same device, not with the owner's CPU.
//! - READ and WRITE move at most [`PortLimits::transfer_bytes_max`](crate::fabric::PortLimits::transfer_bytes_max) bytes.
//! - An access that the device refuses ends both queue pairs, without an event at the owner's side: keep a receive posted, which is then flushed. Links do.
//! - Dropping a port waits for what is outstanding, at most a second.
//! - A child made by `fork(2)` must not use registered memory; kernels before 5.12 may even move the parent's pages from under the device.
#![allow(unsafe_code)]

mod accepted;
mod batch;
mod completing;
mod devices;
mod dial;
mod domain;
mod endpoint;
mod failure;
mod greeting;
mod host;
mod listener;
mod monitor;
mod options;
mod outstanding;
mod pending;
mod port;
mod queue;
mod registration;
mod remote;
mod route;
mod sending;
mod teardown;
mod waiting;
mod watch;

pub use devices::{Device, DeviceGid, DevicePort, Problem, Verdict, devices};
pub use dial::VerbsDial;
pub use domain::VerbsDomain;
pub use endpoint::VerbsEndpoint;
pub use monitor::VerbsLinkMonitor;
pub use options::VerbsOptions;
pub use pending::VerbsPendingPort;
pub use port::VerbsPort;
pub use remote::VerbsRemote;

use crate::fabric::{Address, DialPurpose, Fabric, FabricError, Link, PageSizes, Ticker, Timestamp, system};
use crate::sys::verbs::EventChannel;

/// RDMA devices as a fabric. Holds nothing but its settings: everything belongs to endpoints, links and domains.
#[derive(Debug, Clone, Copy)]
pub struct Verbs {
    options: VerbsOptions,
}

impl Verbs {
    /// The fabric, with default settings.
    ///
    /// # Errors
    /// [`FabricError::NoRdma`] where libibverbs, librdmacm or the kernel's connection manager is missing: the message says what to install or load.
    pub fn new() -> Result<Self, FabricError> {
        Self::with(VerbsOptions::new())
    }

    /// The fabric, with these settings.
    ///
    /// # Errors
    /// As for [`Verbs::new`], and [`FabricError::Option`].
    pub fn with(options: VerbsOptions) -> Result<Self, FabricError> {
        options.check()?;
        EventChannel::new().map_err(failure::no_rdma)?;
        Ok(Self { options })
    }
}

// SAFETY:
// - live, alias, device: domains and ports are this backend's own, which keep theirs; a link's are made for it.
unsafe impl Fabric for Verbs {
    type Endpoint = VerbsEndpoint;
    type Dial = VerbsDial;
    type LinkMonitor = VerbsLinkMonitor;
    type Domain = VerbsDomain;
    type PendingPort = VerbsPendingPort;
    type Port = VerbsPort;
    type Remote = VerbsRemote;

    fn name(&self) -> &'static str {
        "rdma"
    }

    #[inline]
    fn now(&self) -> Timestamp {
        system::now()
    }

    fn look(&self, ticker: &mut Ticker, remaining: impl FnOnce(Timestamp) -> u64) -> Timestamp {
        ticker.look(remaining)
    }

    fn random(&self, bytes: &mut [u8]) -> Result<(), FabricError> {
        system::fill_random(bytes)
    }

    fn listen(&self, address: &Address, sizes: PageSizes) -> Result<VerbsEndpoint, FabricError> {
        VerbsEndpoint::listen(address, sizes, self.options)
    }

    fn dial(&self, to: &Address, purpose: DialPurpose) -> Result<VerbsDial, FabricError> {
        VerbsDial::new(to, purpose, self.options)
    }

    fn domain(&self, link: &Link<Self>) -> Result<VerbsDomain, FabricError> {
        link.domain.beside()
    }
}
