//! What a node tells its engine and its operator.

use crate::error::Error;
use crate::fabric::{Address, FabricError};
use crate::handshake::Obstacle;
use crate::manager::{LostReason, Unavailable};
use crate::page::identity::ClientName;
use crate::page::status::Progress;
use crate::page::{Incarnation, NodeId, SessionId};
use crate::session::Step;
use std::fmt;

/// How the partner proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Authentication {
    /// It did not: whoever reaches the address may be the partner.
    None,
    /// By the pre-shared key.
    PreSharedKey,
}

impl fmt::Display for Authentication {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "none",
            Self::PreSharedKey => "pre-shared key",
        })
    }
}

/// What one client was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GrantSummary {
    /// The client.
    pub client: ClientName,
    /// Its ports.
    pub ports: u16,
    /// Memory here that its counterpart may address, bytes.
    pub memory_here_bytes: u64,
    /// Memory at the partner that it may address, bytes.
    pub memory_there_bytes: u64,
}

/// What happened. Its `Display` is one line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// This node's page can be read.
    Listening {
        /// Where.
        address: Address,
        /// This process.
        incarnation: Incarnation,
    },
    /// The link to the partner stands.
    Linked {
        /// The partner's address.
        address: Address,
        /// From the dial on, nanoseconds.
        ns: u64,
    },
    /// The partner's boot stage or progress changed.
    PartnerStage {
        /// The stage.
        name: String,
        /// Progress within it.
        progress: Progress,
    },
    /// What stands in the way of a session changed.
    Obstacle(Obstacle),
    /// There is no link to the partner, for another reason than before.
    Unreachable(FabricError),
    /// A session stands; clients follow.
    Established {
        /// The session.
        session: SessionId,
        /// The partner.
        partner: NodeId,
        /// Its process.
        incarnation: Incarnation,
        /// The protocol version both speak.
        version: u16,
        /// How it proved who it is.
        authentication: Authentication,
        /// The four steps with their times.
        steps: [Step; 4],
        /// From this node's boot on, nanoseconds.
        since_boot_ns: u64,
    },
    /// Every client that can be served is.
    Ready {
        /// The session.
        session: SessionId,
        /// What each was granted.
        grants: Vec<GrantSummary>,
    },
    /// A client has no part in the session.
    Unavailable {
        /// The client.
        client: ClientName,
        /// Why.
        reason: Unavailable,
    },
    /// A client's port was asked for anew, here or at the partner.
    PortRenewed {
        /// The client.
        client: ClientName,
        /// Which of its ports.
        index: u16,
        /// Whether there is a new one, or why not.
        outcome: Result<(), Unavailable>,
    },
    /// A client panicked when it was told something. It was dropped, and is not called again.
    ClientPanicked {
        /// The client.
        client: ClientName,
        /// The panic's message.
        message: String,
    },
    /// The session is gone.
    Lost {
        /// The session.
        session: SessionId,
        /// Why.
        reason: LostReason,
    },
    /// Something failed that ends nothing by itself. The same is told once a second at most.
    Trouble(Error),
    /// The same failed again and again.
    TroubleAgain {
        /// What.
        error: Error,
        /// How often since it was told last.
        times: u64,
    },
    /// The listener of a control thread fell behind: so many events were not kept.
    Skipped {
        /// How many.
        count: u64,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listening { address, incarnation } => {
                write!(formatter, "listening at {address}, incarnation {incarnation}")
            }
            Self::Linked { address, ns } => write!(formatter, "linked to {address} in {} us", ns / 1000),
            Self::PartnerStage { name, progress } => match progress.percent() {
                Some(percent) => write!(formatter, "the partner is at \"{name}\", {percent} %"),
                None => write!(formatter, "the partner is at \"{name}\""),
            },
            Self::Obstacle(obstacle) => write!(formatter, "no session yet: {obstacle}"),
            Self::Unreachable(error) => write!(formatter, "no link yet: {error}"),
            Self::Established { session, partner, incarnation, version, authentication, since_boot_ns, .. } => write!(
                formatter,
                "session {session} with {partner} (incarnation {incarnation}), protocol {version}, authentication: {authentication}, {} us after boot",
                since_boot_ns / 1000
            ),
            Self::Ready { grants, .. } => {
                write!(formatter, "ready: {} clients", grants.len())?;
                for grant in grants {
                    write!(
                        formatter,
                        "; {}: {} ports, {} bytes there, {} bytes here",
                        grant.client, grant.ports, grant.memory_there_bytes, grant.memory_here_bytes
                    )?;
                }
                Ok(())
            }
            Self::Unavailable { client, reason } => write!(formatter, "client {client} is not served: {reason}"),
            Self::PortRenewed { client, index, outcome: Ok(()) } => {
                write!(formatter, "client {client} has a new port {index}")
            }
            Self::PortRenewed { client, index, outcome: Err(reason) } => {
                write!(formatter, "client {client} gets no new port {index}: {reason}")
            }
            Self::ClientPanicked { client, message } => {
                write!(formatter, "client {client} panicked and was taken out: {message}")
            }
            Self::Lost { session, reason } => write!(formatter, "session {session} is lost: {reason}"),
            Self::Trouble(error) => write!(formatter, "trouble: {error}"),
            Self::TroubleAgain { error, times } => {
                write!(formatter, "trouble: {error} ({times} times more since it was told last)")
            }
            Self::Skipped { count } => write!(formatter, "{count} events were not kept: nobody read them"),
        }
    }
}
