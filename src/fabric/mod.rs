//! A transport with one-sided operations, as one trait: what `shm` (this machine), `verbs` (RDMA) and `sim` (tests) all offer.
//!
//! Imports `memory` and `sys`. Posting and polling never allocate, block, lock or enter the kernel; everything else may.
//!
//! ```text
//! listen ──► Endpoint: the status block it publishes, a mailbox for each accepted link
//! dial   ──► Dial ──► Link: a port to the partner's status block (READ) and to our mailbox there (WRITE)
//! domain ──► Domain ──► buffers (local), exposed memory (remote), ports wired from exchanged addresses
//! ```

mod address;
mod completion;
pub mod descriptor;
mod error;
mod exposed;
mod kept;
mod port;
pub mod shm;
pub mod sim;
mod system;
#[cfg(feature = "verbs")]
pub mod verbs;

use std::fmt;
use std::sync::Arc;

pub use address::{Address, AddressError};
pub use completion::{Completion, Operation, WorkCompletionStatus};
pub use descriptor::{AccessFlags, PortAddress, RemoteDescriptor};
pub use error::FabricError;
pub use exposed::Exposed;
pub(crate) use kept::Kept;
pub use port::{PendingPort, Port, PortLimits, PortOptions, PortState, PostError, Refused, Remote, WorkRequest};
pub use system::Ticker;

use crate::memory::{Buffer, Region, Ring, RingSource};

/// How many links of its partner a node serves at once. Small and fixed: one that counts, one that replaces it, two for strangers and observers.
pub const LINK_SLOTS: usize = 4;

/// Which of a node's accepted links; comes with the accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkSlot(u8);

impl LinkSlot {
    /// The slot of this number, if there is one.
    pub const fn new(number: u8) -> Option<Self> {
        if (number as usize) < LINK_SLOTS { Some(Self(number)) } else { None }
    }
    /// All slots in order.
    pub fn all() -> impl Iterator<Item = LinkSlot> {
        (0..LINK_SLOTS as u8).map(LinkSlot)
    }
    /// Its number, 0 to `LINK_SLOTS - 1`.
    pub const fn number(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for LinkSlot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

/// Nanoseconds on a fabric's own monotonic clock. Never compared between machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This moment plus a duration, saturating.
    #[must_use]
    pub fn after(self, delay: std::time::Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX)))
    }
    /// Time since `earlier`; zero if that lies in the future.
    pub fn since(self, earlier: Timestamp) -> std::time::Duration {
        std::time::Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Sizes of the two halves of a node's session page, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSizes {
    /// The status block: the partner may only READ it.
    pub status: usize,
    /// One mailbox; each accepted link gets one of its own, which that partner may only WRITE.
    pub mailbox: usize,
}

/// Why a link is dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DialPurpose {
    /// To open a session: the other side gives it a slot and a mailbox.
    Session,
    /// To read the status block and nothing else. On shm this needs nothing of the other process, which may even be stopped.
    Observe,
}

/// A transport.
///
/// # Safety
/// Its domains and ports keep what [`Domain`] and [`Port`] ask for, and a link's port and domain belong together.
#[allow(unsafe_code, reason = "a promise, and no unsafe block")]
pub unsafe trait Fabric: Clone + Send + Sync + 'static {
    /// The listening half.
    type Endpoint: Endpoint;
    /// A link being opened.
    type Dial: Dial<Fabric = Self>;
    /// Watches a dialled link.
    type LinkMonitor: LinkMonitor;
    /// A protection domain.
    type Domain: Domain<Fabric = Self>;
    /// A port made, and not yet wired.
    type PendingPort: PendingPort<Port = Self::Port>;
    /// A wired queue pair with its completion queue.
    type Port: Port<Remote = Self::Remote>;
    /// Remote memory, ready to be addressed.
    type Remote: Remote;

    /// Its name as in addresses: `shm`, `rdma`, `sim`.
    fn name(&self) -> &'static str;

    /// Now, on this fabric's clock. No system call on shm (the vDSO answers).
    fn now(&self) -> Timestamp;

    /// Now; and where the machine has a counter for it, `ticker` is granted a stretch as long as `remaining` says, in nanoseconds.
    fn look(&self, ticker: &mut Ticker, remaining: impl FnOnce(Timestamp) -> u64) -> Timestamp {
        let _ = (ticker, remaining);
        self.now()
    }

    /// Fills `bytes` with random bytes fit for keys and nonces (in `sim`: from its seed).
    fn random(&self, bytes: &mut [u8]) -> Result<(), FabricError>;

    /// Publishes a session page at `address` and listens there. From its return on the page can be read.
    fn listen(&self, address: &Address, sizes: PageSizes) -> Result<Self::Endpoint, FabricError>;

    /// Begins to open a link. Never blocks.
    fn dial(&self, to: &Address, purpose: DialPurpose) -> Result<Self::Dial, FabricError>;

    /// A protection domain for clients' memory and ports, on the device and towards the partner of `link`.
    fn domain(&self, link: &Link<Self>) -> Result<Self::Domain, FabricError>;
}

/// A link we dialled: what the four steps run on.
pub struct Link<F: Fabric> {
    /// Posts to the partner.
    pub port: F::Port,
    /// The partner's status block: READ only.
    pub status: F::Remote,
    /// Our mailbox at the partner and its slot number there: WRITE only. None on an observing link.
    pub mailbox: Option<(LinkSlot, F::Remote)>,
    /// For the local buffers of this link.
    pub domain: F::Domain,
    /// Tells when it is gone.
    pub monitor: F::LinkMonitor,
}

/// The listening half of a node.
pub trait Endpoint: Send {
    /// Where it listens.
    fn address(&self) -> &Address;
    /// The status block this node publishes.
    fn status(&self) -> &Region;
    /// The next thing that happened. Never blocks; may enter the kernel.
    fn poll(&mut self) -> Option<EndpointEvent>;
    /// Gives a waiting link a slot, which must be free, with a fresh zeroed mailbox.
    fn accept(&mut self, incoming: Incoming, slot: LinkSlot) -> Result<(), FabricError>;
    /// The mailbox of an accepted link.
    fn mailbox(&self, slot: LinkSlot) -> Option<&Region>;
    /// Closes an accepted link, if it is open: what its partner posts from now on fails, and its mailbox is gone.
    fn close(&mut self, slot: LinkSlot);
}

/// A link that waits to be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Incoming(pub u64);

/// What an endpoint reports.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointEvent {
    /// Somebody dials.
    Incoming(Incoming),
    /// An accepted link ended from the other side. Its mailbox may still be read until [`Endpoint::close`].
    Closed(LinkSlot, FabricError),
    /// Something went wrong that concerns no accepted link.
    Trouble(FabricError),
}

/// A link being opened.
pub trait Dial: Send {
    /// Its fabric.
    type Fabric: Fabric;
    /// Advances; the link once it stands. Never blocks; may enter the kernel. Dropping it gives up.
    fn poll(&mut self) -> Result<Option<Link<Self::Fabric>>, FabricError>;
}

/// Watches a dialled link.
pub trait LinkMonitor: Send {
    /// An error once the link is known to be gone. May enter the kernel: call it at intervals, off the hot path.
    fn check(&mut self) -> Result<(), FabricError>;
    /// Whether the partner's process is known to have ended, at the cost of a load: [`LinkMonitor::check`] says more. Always false on a fabric that
    /// has no such word.
    fn has_ended(&self) -> bool {
        false
    }
    /// Sleeps for `patience`, or until the partner's process ends where the fabric can tell. One system call.
    fn sleep(&self, patience: std::time::Duration) {
        std::thread::sleep(patience);
    }
}

/// A protection domain: memory and ports that may be used together.
///
/// Memory registered in a domain stays mapped for as long as any port of the domain lives.
///
/// # Safety
/// - memory that was registered is not unmapped, nor handed on, while a device or the partner may touch it;
/// - [`Domain::expose`] gives the other side the rights it was asked for and no others, and [`Domain::buffer`] and [`Domain::ring`] none;
/// - what they return is of the region or ring they were given.
///
/// A domain that wraps another one and passes on what it is given keeps all of it.
#[allow(unsafe_code, reason = "a promise, and no unsafe block")]
pub unsafe trait Domain: Clone + Send + Sync {
    /// Its fabric.
    type Fabric: Fabric;
    /// Registers private memory for use as the local side of operations, as one buffer (cut it with [`Buffer::split_into`]).
    fn buffer(&self, region: Region) -> Result<Buffer, FabricError>;
    /// Registers a ring's memory as the local side of WRITEs, for its reader to lend from.
    fn ring(&self, ring: &Arc<Ring>) -> Result<RingSource, FabricError>;
    /// Registers memory for use by the other side, with the rights in `access`.
    fn expose(&self, region: Region, access: AccessFlags) -> Result<Exposed, FabricError>;
    /// The backing that `expose` needs for these rights.
    fn backing(&self, access: AccessFlags) -> crate::memory::Backing;
    /// Makes the partner's exposed memory addressable. A descriptor that names nothing is no error here: operations on it fail, as on a NIC.
    fn import(&self, descriptor: &RemoteDescriptor) -> Result<<Self::Fabric as Fabric>::Remote, FabricError>;
    /// Ends every port and every exposure of the domain, wherever they are held: ports report [`PortState::Error`], what is outstanding
    /// comes back flushed, and the partner's operations on the exposed memory fail. For when the session is gone. Enters the kernel on a device.
    ///
    /// `Ok`: what the partner posts from now on reaches no memory of the domain (on shm, what it had begun may still land). A refusal keeps nothing
    /// else from being ended; asked again, it is tried again, and told again.
    ///
    /// # Errors
    /// [`FabricError::Device`]: the device refused to end a port or an exposure. The partner may still write into that memory, which is leaked and
    /// never freed: do not take the partner for shut out.
    fn revoke(&self) -> Result<(), FabricError>;
    /// Makes a port, to be wired when the partner's address for it is known.
    fn port(&self, options: &PortOptions) -> Result<<Self::Fabric as Fabric>::PendingPort, FabricError>;
}
