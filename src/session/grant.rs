//! What a client gets when the session is wired.

use crate::error::Error;
use crate::fabric::{Domain, Exposed, Fabric};
use crate::memory::{Buffer, Region, Ring, RingSource};
use crate::page::identity::ClientName;
use crate::page::{Incarnation, NodeId, SessionId};
use crate::session::wishes::{PortName, RenewalError, Wishes};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// One client's part of a session: its ports, the memory it was granted at the partner, and the memory here that its counterpart may use.
///
/// It may be shared between threads, in an [`Arc`]; its ports are each one thread's.
///
/// It belongs to one session for good. When that ends the ports refuse every request, and the next session comes with a new one.
///
/// A request that the partner's side refuses (a misaligned atomic, a WRITE past the end of its memory)
/// puts its port in error for good, and the port wired to it. The session goes on, as do the other
/// ports: [`Session::renew_port`] brings a new pair of ports in place of the two.
pub struct Session<F: Fabric> {
    parts: SessionParts<F>,
}

/// What the manager puts together.
pub(crate) struct SessionParts<F: Fabric> {
    pub(crate) id: SessionId,
    pub(crate) client: ClientName,
    pub(crate) partner: NodeId,
    pub(crate) partner_incarnation: Incarnation,
    /// Behind a lock that nobody waits for: so that a session may be shared between threads, which a port may not.
    pub(crate) ports: Mutex<Vec<F::Port>>,
    pub(crate) memory: Option<Arc<Exposed>>,
    pub(crate) grant: Option<F::Remote>,
    pub(crate) heartbeat: F::Remote,
    pub(crate) domain: F::Domain,
    pub(crate) live: Arc<AtomicBool>,
    /// The client's number in the session, and how many ports it has.
    pub(crate) number: u16,
    pub(crate) port_count: u16,
    pub(crate) wishes: Arc<Wishes>,
}

impl<F: Fabric> Session<F> {
    pub(crate) fn new(parts: SessionParts<F>) -> Self {
        Self { parts }
    }

    /// The session; the same on both nodes.
    pub fn id(&self) -> SessionId {
        self.parts.id
    }

    /// The client this part belongs to.
    pub fn client(&self) -> ClientName {
        self.parts.client
    }

    /// The node at the other end.
    pub fn partner(&self) -> NodeId {
        self.parts.partner
    }

    /// Its process.
    pub fn partner_incarnation(&self) -> Incarnation {
        self.parts.partner_incarnation
    }

    /// The ports, to be given to the threads that own them; none left the second time. Port `n` here is wired to port `n` there.
    pub fn take_ports(&mut self) -> Vec<F::Port> {
        std::mem::take(self.parts.ports.get_mut().unwrap_or_else(PoisonError::into_inner))
    }

    /// Memory here that the counterpart may address: copies and words only. None where it asked for none.
    pub fn memory(&self) -> Option<&Arc<Exposed>> {
        self.parts.memory.as_ref()
    }

    /// Memory at the partner that this client may address. None where it asked for none.
    pub fn grant(&self) -> Option<&F::Remote> {
        self.parts.grant.as_ref()
    }

    /// The partner's heartbeat: one little-endian 8-byte word that its manager bumps each [`Timing::beat`](crate::session::Timing::beat), to be READ
    /// on this session's ports. It stands still while that process is stopped, dumps core, or does not poll its manager.
    pub fn heartbeat(&self) -> &F::Remote {
        &self.parts.heartbeat
    }

    /// Registers private memory as a buffer for this session's ports. Enters the kernel on some fabrics: not on the hot path.
    ///
    /// # Errors
    /// [`Error::Memory`] where the region is not [`Backing::Private`](crate::memory::Backing::Private).
    pub fn buffer(&self, region: Region) -> Result<Buffer, Error> {
        Ok(self.parts.domain.buffer(region)?)
    }

    /// Registers a ring, to be lent from to this session's ports. Enters the kernel on some fabrics: not on the hot path.
    ///
    /// # Errors
    /// [`Error::Fabric`]: the device refuses the memory.
    pub(crate) fn ring(&self, ring: &Arc<Ring>) -> Result<RingSource, Error> {
        Ok(self.parts.domain.ring(ring)?)
    }

    /// Asks for a new port `index` in place of the one that a bad request ended, on both nodes. From any
    /// thread; no system call. The new one comes by
    /// [`Client::on_port`](crate::manager::Client::on_port), here and at the partner, when both are wired.
    ///
    /// Either side may ask, and both at once: one pair comes of it. A port that is asked for again
    /// before it came comes once. The manager begins a round of renewals at most every 50
    /// [`Timing::retry_max`](crate::session::Timing::retry_max), and what is asked for meanwhile waits
    /// for the next. A round that takes longer than [`Timing::exchange`](crate::session::Timing::exchange)
    /// ends the session.
    ///
    /// The old port is still the client's. In error it refuses everything; a healthy one works until
    /// either side closes or drops it.
    ///
    /// # Errors
    /// - [`RenewalError::NoSuchPort`]: the client has fewer ports.
    /// - [`RenewalError::Ended`]: the session is over. New ports come with the next.
    pub fn renew_port(&self, index: u16) -> Result<(), RenewalError> {
        let ports = self.parts.port_count;
        if index >= ports {
            return Err(RenewalError::NoSuchPort { index, ports });
        }
        if !self.is_live() {
            return Err(RenewalError::Ended);
        }
        self.parts.wishes.ask(PortName { client: self.parts.number, port: index });
        Ok(())
    }

    /// Has the manager end the session, for all of its clients, and seek another: for a client whose
    /// part of it is of no use any more. Where only a port is in error, [`Session::renew_port`] costs the
    /// other clients nothing.
    pub fn give_up(&self) {
        self.parts.live.store(false, Ordering::Release);
    }

    /// Whether the session still stands as far as this node knows: one load.
    pub fn is_live(&self) -> bool {
        self.parts.live.load(Ordering::Acquire)
    }
}

impl<F: Fabric> std::fmt::Debug for Session<F> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Session")
            .field("id", &self.parts.id)
            .field("client", &self.parts.client)
            .field("partner", &self.parts.partner)
            .field("ports", &self.parts.port_count)
            .field("live", &self.is_live())
            .finish_non_exhaustive()
    }
}

/// Any thread may ask for a port, or give the session up: this compiles, or not.
#[allow(dead_code, reason = "its types are what it is about")]
const _: () = {
    const fn shared<T: Send + Sync>() {}
    const fn is_shared<F: Fabric>() {
        shared::<Session<F>>();
    }
};
