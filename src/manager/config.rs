//! Which node this is, and who its partner is.

use crate::fabric::Address;
use crate::handshake::{Parties, PreSharedKey};
use crate::page::{ClusterName, NodeId, VersionRange};
use crate::session::Timing;

/// Which node this is, where it listens, and who and where its partner is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct NodeConfig {
    pub(crate) cluster: ClusterName,
    pub(crate) node: NodeId,
    pub(crate) at: Address,
    pub(crate) partner: NodeId,
    pub(crate) partner_at: Address,
    pub(crate) key: Option<PreSharedKey>,
    pub(crate) versions: VersionRange,
    pub(crate) timing: Timing,
    pub(crate) memory_bytes_max: Option<u64>,
}

impl NodeConfig {
    /// Node `node` of `cluster`, listening at `at`, whose partner `partner` listens at `partner_at`. No key, default timing.
    pub fn new(cluster: ClusterName, node: NodeId, at: Address, partner: NodeId, partner_at: Address) -> Self {
        Self {
            cluster,
            node,
            at,
            partner,
            partner_at,
            key: None,
            versions: VersionRange::CURRENT,
            timing: Timing::default(),
            memory_bytes_max: None,
        }
    }

    /// Both nodes prove that they have this key; a node without it is never accepted.
    pub fn key(mut self, key: PreSharedKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Offers other protocol versions than this release's: for tests of mixed releases.
    pub fn versions(mut self, versions: VersionRange) -> Self {
        self.versions = versions;
        self
    }

    /// Other intervals and deadlines.
    pub fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// What the partner's clients may ask of this node's memory in all, bytes. Default: 1 GiB, or what this node's own clients ask for
    /// at the partner, where that is more.
    pub fn memory_bytes_max(mut self, bytes: u64) -> Self {
        self.memory_bytes_max = Some(bytes);
        self
    }

    pub(crate) fn parties(&self) -> Parties {
        Parties {
            cluster: self.cluster,
            node: self.node,
            partner: self.partner,
            versions: self.versions,
            key: self.key.clone(),
        }
    }
}
