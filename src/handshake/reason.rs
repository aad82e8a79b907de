//! Why there is no session yet, and why there is none any more.

use crate::page::{ClusterName, Incarnation, NodeId, PageError, VersionRange};

/// What stands in the way of a session, as seen in the last round. None of these is final: the partner may be mended or restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Obstacle {
    /// The partner's status block could not be used.
    #[error("the partner's status block cannot be used: {0}")]
    Page(#[from] PageError),
    /// Somebody of another cluster answers at the partner's address.
    #[error(
        "the partner's address belongs to cluster `{found}`, and this node is of cluster `{expected}`: correct the address or the cluster's name"
    )]
    WrongCluster {
        /// Its cluster.
        found: ClusterName,
        /// Ours.
        expected: ClusterName,
    },
    /// Somebody else of our cluster answers at the partner's address.
    #[error(
        "the partner's address belongs to node `{found}`, and the partner is to be `{expected}`: correct the address or the partner's name"
    )]
    WrongNode {
        /// Its name.
        found: NodeId,
        /// The partner's.
        expected: NodeId,
    },
    /// The partner has a pre-shared key, and we have none.
    #[error("the partner has a pre-shared key and this node has none: give this node the same key")]
    KeyMissingHere,
    /// We have a pre-shared key, and the partner has none.
    #[error("this node has a pre-shared key and the partner has none: give the partner the same key")]
    KeyMissingThere,
    /// The two keys differ.
    #[error("the two nodes' pre-shared keys differ: give both the same key")]
    KeysDiffer,
    /// No protocol version is spoken by both.
    #[error("no common protocol version: this node speaks {ours}, the partner {theirs}")]
    Versions {
        /// What we speak.
        ours: VersionRange,
        /// What it speaks.
        theirs: VersionRange,
    },
    /// The partner takes us for another node, or for one of another cluster.
    #[error("the partner expects another node here: correct the partner's name or cluster in its configuration")]
    NotExpected,
    /// The partner is about to end.
    #[error("the partner is leaving")]
    Leaving,
    /// The partner has not answered our greeting yet.
    #[error("waiting for the partner to acknowledge")]
    NotAcknowledged,
    /// The partner has not confirmed yet.
    #[error("waiting for the partner to confirm")]
    NotConfirmed,
}

impl Obstacle {
    /// Whether it belongs to any handshake that goes well: the partner just has not answered yet.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::NotAcknowledged | Self::NotConfirmed)
    }
}

/// Why an established session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum EndReason {
    /// The link that we dialled failed.
    #[error("the link to the partner failed")]
    LinkLost,
    /// The link that the partner dialled ended.
    #[error("the partner's link to this node ended")]
    PartnerLinkLost,
    /// The partner is another process now.
    #[error("the partner was restarted: its incarnation is now {incarnation}")]
    Restarted {
        /// The new one.
        incarnation: Incarnation,
    },
    /// The partner gave the session up and began anew.
    #[error("the partner gave the session up and begins anew")]
    Reopened,
    /// The partner no longer names this session as its own, or never did, past the deadline.
    #[error("the partner does not hold this session")]
    Absent,
    /// The partner ends in order.
    #[error("the partner left")]
    PartnerLeft,
    /// This node ends in order.
    #[error("this node left")]
    Left,
    /// A client of this node gave it up: its port or memory was of no use any more.
    #[error("a client of this node gave the session up")]
    GivenUp,
    /// A client of this node could not be served for want of something that is there now: the session begins anew, with it.
    #[error("a client of this node lacked something that is there now: the session begins anew")]
    Retried,
    /// What the partner sent after the handshake could not be used, or it did not send it in time.
    #[error("the exchange after the handshake failed")]
    Exchange,
}
