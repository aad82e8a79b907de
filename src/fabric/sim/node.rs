//! A simulated node: the `Fabric` of one process.

use super::dial::{SimDial, SimLinkMonitor};
use super::domain::{SimDomain, SimRemote};
use super::endpoint::SimEndpoint;
use super::port::{SimPendingPort, SimPort};
use super::world::{Shared, lock};
use crate::fabric::{Address, DialPurpose, Fabric, FabricError, Link, PageSizes, Timestamp};
use crate::memory::Region;
use std::sync::Arc;

/// One life of a simulated node, from [`Sim::node`](super::Sim::node) to its crash.
///
/// After the crash all its calls fail with [`FabricError::LinkLost`], its ports are in error with everything outstanding flushed, and
/// the same name gets a new life from [`Sim::node`](super::Sim::node).
#[derive(Debug, Clone)]
pub struct SimNode {
    pub(super) world: Shared,
    pub(super) node: usize,
    name: Arc<str>,
}

impl SimNode {
    pub(super) fn new(world: &Shared, name: &str) -> Self {
        let node = lock(world).node(name);
        Self { world: Arc::clone(world), node, name: Arc::from(name) }
    }

    /// Its name, as in its addresses.
    pub fn node_name(&self) -> &str {
        &self.name
    }

    /// Whether this life goes on.
    pub fn is_alive(&self) -> bool {
        lock(&self.world).check_alive(self.node).is_ok()
    }

    /// How many lives of this name came before.
    pub fn restarts(&self) -> u64 {
        lock(&self.world).nodes.get(self.node).map_or(0, |node| node.restarts)
    }
}

// SAFETY:
// - live, alias, device: domains and ports are this backend's own, which keep theirs; a link's are made for it.
#[allow(unsafe_code, reason = "a promise, and no unsafe block")]
unsafe impl Fabric for SimNode {
    type Endpoint = SimEndpoint;
    type Dial = SimDial;
    type LinkMonitor = SimLinkMonitor;
    type Domain = SimDomain;
    type PendingPort = SimPendingPort;
    type Port = SimPort;
    type Remote = SimRemote;

    fn name(&self) -> &'static str {
        "sim"
    }

    fn now(&self) -> Timestamp {
        Timestamp(lock(&self.world).now)
    }

    fn random(&self, bytes: &mut [u8]) -> Result<(), FabricError> {
        let mut world = lock(&self.world);
        world.check_alive(self.node)?;
        if let Some(node) = world.nodes.get_mut(self.node) {
            node.rng.fill(bytes);
        }
        Ok(())
    }

    fn listen(&self, address: &Address, sizes: PageSizes) -> Result<SimEndpoint, FabricError> {
        // Ordinary memory: a simulation may have thousands of pages, and nothing of it has to be resident.
        let status = Arc::new(Region::builder(sizes.status).pinned(false).build()?);
        if sizes.mailbox == 0 {
            return Err(FabricError::Option { option: "the mailbox's size", value: 0, min: 1, max: u64::MAX });
        }
        let id = lock(&self.world).listen(self.node, address, sizes, Arc::clone(&status))?;
        Ok(SimEndpoint::new(&self.world, id, address.clone(), sizes, status))
    }

    fn dial(&self, to: &Address, purpose: DialPurpose) -> Result<SimDial, FabricError> {
        let begun = lock(&self.world).dial(self.node, to, purpose)?;
        Ok(SimDial::new(&self.world, self.node, to.clone(), begun))
    }

    fn domain(&self, link: &Link<Self>) -> Result<SimDomain, FabricError> {
        let mut world = lock(&self.world);
        world.check_alive(self.node)?;
        let id = world.fresh_id();
        drop(world);
        Ok(SimDomain::new(&self.world, self.node, id, link.domain.partner().clone()))
    }
}
