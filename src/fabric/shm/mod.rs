//! Shared memory of one machine as a fabric: the embedded default, and a real transport between processes.
//!
//! Imports `memory` and `sys`. All registered memory is in sealed memory files (`memfd_create(2)`) that both processes map; the initiator's CPU does the copy when
//! it posts, so an operation needs nothing of the other process, which may even be stopped.
//!
//! **Needs.** Linux 5.6 or later; both processes on one machine, in one PID namespace, of one user (or the dialling one root). The dialler opens the
//! other's memory files through `/proc/PID/fd`, for which the kernel asks PTRACE_MODE_READ rights: the other process must be *dumpable*
//! (`prctl(2)`, PR_SET_DUMPABLE), which it is unless it runs a set-uid program or says otherwise. Both must see the same `/dev/shm`,
//! where an endpoint has one small file of mode 0600, locked while its process lives and removed when it ends well. What a dead
//! process left is cleaned by the next one that listens there. A child made by `fork` without `exec` shares the lock: the address stays
//! taken while such a child lives.
//!
//! **What is checked.** As a NIC would: key, range, right, and that the memory belongs to the domain of the port's partner. Keys live in a table
//! that only the owner can write (F_SEAL_FUTURE_WRITE). The checks are made by the initiator: they keep mistakes and stale keys out, and a process of the same
//! user that means harm is kept from what it has no writable mapping of (the status block, the tables) by the kernel, from the rest not.
//! Whatever it scribbles, no process comes to harm but by wrong bytes: sizes are sealed, and nothing read from shared memory
//! is used unchecked. (An exception in part: whoever may write a memory file can punch holes into it, or offer one without pages. Who touches such a
//! page has the kernel find a new one, at its own expense; where none can be had, as with huge pages, the process ends.)
//!
//! **Differences** from an adapter, within the contract:
//! - Operations are carried out while they are posted, so a completion can be polled at once. A SEND or WRITE with immediate waits for the other
//!   side's receive, and what is posted behind it on the port waits too.
//! - A SEND longer than the receive that it meets ends that receive as `LocalLength` and its port; the sender learns it by `RetryExceeded` at its next completion.
//! - A port reports the end of the other side's port and of its process (`RetryExceeded`; receives are flushed) before it hands out a good
//!   completion: by a word that the kernel marks when the process ends (a robust futex, `set_robust_list(2)`, tried at the start). Not while it is
//!   stopped, nor before the end of a core dump: memory takes WRITEs meanwhile, and only a heartbeat that stands still tells.
//! - Deregistered memory is refused from then on; an operation under way at that moment may still be reported as done, and lands in
//!   memory its owner has given up.
//! - Atomics are atomic with the owner's CPU too.

#![allow(unsafe_code)]

mod cell;
mod dial;
mod discovery;
mod domain;
mod door;
mod endpoint;
mod life;
mod mapping;
mod peer;
mod pending;
mod port;
mod queue;
mod receives;
mod reclaim;
mod remote;
mod ring;
mod table;
mod wire;
mod words;

pub use dial::{ShmDial, ShmMonitor};
pub use domain::ShmDomain;
pub use endpoint::ShmEndpoint;
pub use pending::ShmPendingPort;
pub use port::ShmPort;
pub use remote::ShmRemote;

use crate::fabric::{
    Address, DialPurpose, Fabric, FabricError, Link, PageSizes, PortOptions, Ticker, Timestamp, system,
};
use table::Geometry;

/// Ports of links carry READs and WRITEs only.
const LINK_PORT: PortOptions = PortOptions {
    send_work_requests_max: 64,
    receive_work_requests_max: 8,
    message_bytes_max: 48,
    receiver_not_ready_ms_max: 1000,
};

/// The shared-memory fabric. It has no state: everything belongs to endpoints, links and domains.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shm {
    _private: (),
}

/// Lets processes of the same user, and with the same capabilities, reach this one's memory again. The kernel takes that away from a
/// program that is started with more rights than its user has (`setcap`, set-uid): two such nodes are strangers to each other until both have
/// called this. One system call; call it before the node boots. Whoever may debug this process may read all of its memory, keys too
/// (`PR_SET_DUMPABLE`, prctl(2); ptrace(2), "Ptrace access mode checking").
///
/// # Errors
/// [`FabricError::System`]: a filter refuses the call.
///
/// ```
/// handfast::fabric::shm::make_dumpable()?;
/// # Ok::<(), handfast::fabric::FabricError>(())
/// ```
pub fn make_dumpable() -> Result<(), FabricError> {
    let tried = || "letting the partner reach this process's memory (prctl, PR_SET_DUMPABLE)".to_owned();
    crate::sys::process::make_dumpable().map_err(|errno| FabricError::System { tried: tried(), errno })
}

impl Shm {
    /// The fabric.
    pub fn new() -> Self {
        Self::default()
    }
}

// SAFETY:
// - live, alias, device: domains and ports are this backend's own, which keep theirs; a link's are made for it.
unsafe impl Fabric for Shm {
    type Endpoint = ShmEndpoint;
    type Dial = ShmDial;
    type LinkMonitor = ShmMonitor;
    type Domain = ShmDomain;
    type PendingPort = ShmPendingPort;
    type Port = ShmPort;
    type Remote = ShmRemote;

    fn name(&self) -> &'static str {
        "shm"
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

    fn listen(&self, address: &Address, sizes: PageSizes) -> Result<ShmEndpoint, FabricError> {
        ShmEndpoint::listen(address, sizes)
    }

    fn dial(&self, to: &Address, purpose: DialPurpose) -> Result<ShmDial, FabricError> {
        ShmDial::new(to, purpose)
    }

    fn domain(&self, link: &Link<Self>) -> Result<ShmDomain, FabricError> {
        ShmDomain::new(Geometry::CLIENTS, link.domain.partner(), link.domain.process())
    }
}
