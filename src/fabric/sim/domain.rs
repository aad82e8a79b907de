//! A simulated protection domain, and what it imports and exposes.

use super::links::Role;
use super::node::SimNode;
use super::port::{PortHandle, SimPendingPort};
use super::world::{Shared, lock};
use crate::fabric::{AccessFlags, Address, Domain, Exposed, FabricError, PortOptions, Remote, RemoteDescriptor};
use crate::memory::{Backing, Buffer, LocalKey, Region, Registration, Ring, RingSource};
use std::sync::Arc;

/// A simulated protection domain.
#[derive(Debug, Clone)]
pub struct SimDomain {
    world: Shared,
    node: usize,
    id: u64,
    partner: Address,
}

impl SimDomain {
    pub(super) fn new(world: &Shared, node: usize, id: u64, partner: Address) -> Self {
        Self { world: Arc::clone(world), node, id, partner }
    }

    pub(super) fn partner(&self) -> &Address {
        &self.partner
    }
}

// SAFETY:
// - live: memory goes with the last handle cut from it, and behind its registration.
// - alias: buffers, loans and exposed memory are made of what was given, each once.
// - device: rights are the ones asked for: checked at each operation.
#[allow(unsafe_code, reason = "a promise, and no unsafe block")]
unsafe impl Domain for SimDomain {
    type Fabric = SimNode;

    fn buffer(&self, region: Region) -> Result<Buffer, FabricError> {
        lock(&self.world).check_alive(self.node)?;
        Ok(Buffer::new(region, self.id, LocalKey(self.id as u32), None)?)
    }

    fn ring(&self, ring: &Arc<Ring>) -> Result<RingSource, FabricError> {
        lock(&self.world).check_alive(self.node)?;
        Ok(RingSource::new(Arc::clone(ring), self.id, LocalKey(self.id as u32), None))
    }

    fn expose(&self, region: Region, access: AccessFlags) -> Result<Exposed, FabricError> {
        let region = Arc::new(region);
        let mut world = lock(&self.world);
        world.check_alive(self.node)?;
        let descriptor = world.expose(self.node, self.id, &region, region.len(), access);
        drop(world);
        let registration = SimRegistration { world: Arc::clone(&self.world), node: self.node, key: descriptor.key };
        Ok(Exposed::new(region, descriptor, Box::new(registration)))
    }

    fn backing(&self, _access: AccessFlags) -> Backing {
        Backing::Private
    }

    fn import(&self, descriptor: &RemoteDescriptor) -> Result<SimRemote, FabricError> {
        lock(&self.world).check_alive(self.node)?;
        Ok(SimRemote::new(*descriptor))
    }

    /// Never refused.
    fn revoke(&self) -> Result<(), FabricError> {
        lock(&self.world).revoke_domain(self.id);
        Ok(())
    }

    fn port(&self, options: &PortOptions) -> Result<SimPendingPort, FabricError> {
        options.check()?;
        let mut world = lock(&self.world);
        world.check_alive(self.node)?;
        let id = world.make_port(self.node, self.id, options, Role::Client);
        drop(world);
        Ok(SimPendingPort::new(PortHandle::new(&self.world, id), self.partner.clone()))
    }
}

/// Memory exposed by a simulated node, as long as this lives.
#[derive(Debug)]
struct SimRegistration {
    world: Shared,
    node: usize,
    key: u64,
}

impl Registration for SimRegistration {
    fn release(&mut self) -> bool {
        lock(&self.world).exposures.remove(&(self.node, self.key));
        true
    }
}

/// A simulated partner's memory, as named by a descriptor. Whether it opens anything the target decides, operation by operation.
#[derive(Debug, Clone)]
pub struct SimRemote {
    descriptor: RemoteDescriptor,
}

impl SimRemote {
    pub(super) fn new(descriptor: RemoteDescriptor) -> Self {
        Self { descriptor }
    }
}

impl Remote for SimRemote {
    fn descriptor(&self) -> &RemoteDescriptor {
        &self.descriptor
    }
}
