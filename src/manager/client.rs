//! A user of the session inside this process: what it asks for, and what it is told.

use crate::error::{Error, Recovery};
use crate::fabric::{Address, Fabric, FabricError, PortOptions};
use crate::handshake::EndReason;
use crate::manager::Event;
use crate::page::NodeId;
use crate::page::identity::ClientName;
use crate::session::Session;
use crate::sys::panic::contain;
use std::fmt;

/// Ports of one session in all, at most.
pub(crate) const PORTS_MAX: u16 = 512;

/// A user of the session inside this process. Called by whoever polls the manager: return soon, and hand the ports to the threads that
/// use them.
///
/// A call that blocks holds up the whole manager. This node's heartbeat stands still meanwhile: whoever
/// watches it takes the node for one that is stuck, and the partner's log acknowledges nothing in this
/// node's name (see [`LogConfig::heartbeat_age_max`](crate::clients::mirrored_log::LogConfig::heartbeat_age_max)).
/// The node answers no letter of its partner, and its other clients are told nothing, neither of a loss
/// nor of a new session. Ports of a session that stands go on.
///
/// A call that panics costs the others nothing. The client is dropped, with what it holds of the
/// session. It is not called again, and has no part in later sessions;
/// [`Event::ClientPanicked`](super::Event::ClientPanicked) tells so.
pub trait Client<F: Fabric>: Send {
    /// The session is wired on both sides: here are ports, grant and memory. Called once per session.
    fn on_ready(&mut self, session: Session<F>);
    /// The session it was given is gone: its ports refuse every request from now on. [`Client::on_ready`] follows when there is a new one.
    fn on_lost(&mut self, reason: &LostReason);
    /// There is a session, and this client has no part in it.
    fn on_unavailable(&mut self, reason: &Unavailable);
    /// Port `index` of its session was asked for anew, here or at the partner
    /// ([`Session::renew_port`](crate::session::Session::renew_port)): here it is, wired to the
    /// counterpart's new one, or why there is none. Drop the one before it. A client that does not
    /// implement this drops what it is given, which ends the counterpart's new port too.
    fn on_port(&mut self, index: u16, port: Result<F::Port, Unavailable>) {
        drop((index, port));
    }
}

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct ClientSpec {
    pub(crate) name: ClientName,
    pub(crate) ports: u16,
    pub(crate) memory: u64,
    pub(crate) options: PortOptions,
}

impl ClientSpec {
    /// A client of this name; 1 port, no memory.
    pub fn new(name: ClientName) -> Self {
        Self { name, ports: 1, memory: 0, options: PortOptions::default() }
    }

    /// Ports wanted: 1 to 512. Where the counterpart wants more, both get as many.
    pub fn ports(mut self, ports: u16) -> Self {
        self.ports = ports;
        self
    }

    /// Memory wanted at the partner, bytes.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// Queue sizes of its ports.
    pub fn port_options(mut self, options: PortOptions) -> Self {
        self.options = options;
        self
    }

    pub(crate) fn check(&self) -> Result<(), ManagerError> {
        if self.ports == 0 || self.ports > PORTS_MAX {
            return Err(ManagerError::Ports { name: self.name, ports: self.ports, max: PORTS_MAX });
        }
        Ok(())
    }
}

/// A client with its handler.
pub(crate) struct Entry<F: Fabric> {
    pub(crate) spec: ClientSpec,
    /// None once it has panicked.
    client: Option<Box<dyn Client<F>>>,
}

impl<F: Fabric> Entry<F> {
    pub(crate) fn new(spec: ClientSpec, client: Box<dyn Client<F>>) -> Self {
        Self { spec, client: Some(client) }
    }

    /// Whether it is called still.
    pub(crate) fn is_there(&self) -> bool {
        self.client.is_some()
    }

    /// Calls it, if it is there. One that panics is taken out; the event that tells of it then.
    pub(crate) fn call(&mut self, with: impl FnOnce(&mut dyn Client<F>)) -> Option<Event> {
        let client = self.client.as_deref_mut()?;
        let message = contain(|| with(client)).err()?;
        let client = self.client.take();
        // Its own end may panic in turn, which adds nothing.
        let _ = contain(|| drop(client));
        Some(Event::ClientPanicked { client: self.spec.name, message })
    }
}

/// A client cannot be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManagerError {
    /// The name is taken.
    #[error("there is a client `{name}` already: client names are unique within a node")]
    Duplicate {
        /// The name.
        name: ClientName,
    },
    /// There are as many as there may be.
    #[error("a node has at most {max} clients")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// Node and partner have one name: neither could tell the other from itself.
    #[error("this node and its partner are both named `{node}`: give them two names")]
    PartnerIsNode {
        /// The name.
        node: NodeId,
    },
    /// Node and partner are of two fabrics, which never meet.
    #[error("{at} and {partner_at} are of two fabrics, which never meet: give the partner an address that begins with `{}://`", .at.scheme())]
    PartnerFabric {
        /// Where this node listens.
        at: Address,
        /// Where the partner is sought.
        partner_at: Address,
    },
    /// The partner is sought where this node listens.
    #[error("the partner is sought at this node's own address, {at}: give it the partner's")]
    PartnerIsHere {
        /// The address.
        at: Address,
    },
    /// The number of ports is out of range.
    #[error("client `{name}` asks for {ports} ports: allowed are 1 to {max}")]
    Ports {
        /// The client.
        name: ClientName,
        /// What it asks for.
        ports: u16,
        /// The limit.
        max: u16,
    },
    /// Clients were declared complete.
    #[error("client `{name}` comes too late: register every client before `open`")]
    AlreadyOpen {
        /// The client.
        name: ClientName,
    },
}

/// Why a session was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostReason {
    /// What ended it.
    pub reason: EndReason,
    /// What the fabric said, where it was the cause.
    pub detail: Option<FabricError>,
}

impl fmt::Display for LostReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.reason)?;
        match &self.detail {
            Some(detail) => write!(formatter, " ({detail})"),
            None => Ok(()),
        }
    }
}

impl Unavailable {
    /// What the client can do about it, where it asks for a port anew: the manager tries again by itself to serve it.
    pub fn recovery(&self) -> Recovery {
        match self {
            Self::FailedHere(error) => error.recovery(),
            Self::FailedThere => Recovery::RetryAfter,
            Self::NotAtPartner | Self::TooManyPorts { .. } | Self::TooMuchMemory { .. } => Recovery::Fatal,
        }
    }
}

/// Why a client has no part in the session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// The partner has no client of this name.
    #[error("the partner has no client of this name: start one there, or correct the name")]
    NotAtPartner,
    /// All ports of the session are given out.
    #[error("the session's {max} ports are given out to clients before it: ask for fewer")]
    TooManyPorts {
        /// The limit.
        max: u16,
    },
    /// The partner's clients ask for more memory than this node gives.
    #[error(
        "its counterpart asks for {bytes} bytes here, which takes the partner's clients over this node's limit of {max}: raise NodeConfig::memory_bytes_max"
    )]
    TooMuchMemory {
        /// What the counterpart asks for.
        bytes: u64,
        /// The limit in all.
        max: u64,
    },
    /// Ports or memory could not be made here. The manager tries to make them again: after 1 s, then after twice as long each
    /// time, at most 30 s. When it can, the session ends with [`EndReason::Retried`], and the next one begins at once.
    #[error("its ports or memory could not be made here: {0}")]
    FailedHere(Error),
    /// Ports or memory could not be made at the partner.
    #[error("its ports or memory could not be made at the partner: its log says why")]
    FailedThere,
}
