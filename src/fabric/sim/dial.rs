//! A simulated link being opened, and the watch over it once it stands.

use super::domain::{SimDomain, SimRemote};
use super::links::Begun;
use super::node::SimNode;
use super::port::{PortHandle, SimPort};
use super::world::{Shared, lock};
use crate::fabric::{Address, Dial, FabricError, Link, LinkMonitor, PortState};
use std::sync::Arc;

/// A simulated link being opened.
#[derive(Debug)]
pub struct SimDial {
    world: Shared,
    dial: u64,
    node: usize,
    domain: u64,
    to: Address,
    /// The port of the link to be; taken by the link.
    port: Option<PortHandle>,
}

impl SimDial {
    pub(super) fn new(world: &Shared, node: usize, to: Address, begun: Begun) -> Self {
        let port = Some(PortHandle::new(world, begun.port));
        Self { world: Arc::clone(world), dial: begun.dial, node, domain: begun.domain, to, port }
    }
}

impl Dial for SimDial {
    type Fabric = SimNode;

    /// After the link was taken: [`FabricError::LinkLost`].
    fn poll(&mut self) -> Result<Option<Link<SimNode>>, FabricError> {
        let answer = lock(&self.world).dial_state(self.dial)?;
        let Some(answer) = answer else { return Ok(None) };
        let Some(handle) = self.port.take() else { return Ok(None) };
        lock(&self.world).end_dial(self.dial);
        let monitor = SimLinkMonitor { world: Arc::clone(&self.world), port: handle.id(), to: self.to.clone() };
        Ok(Some(Link {
            port: SimPort::new(handle),
            status: SimRemote::new(answer.status),
            mailbox: answer.mailbox.map(|(slot, descriptor)| (slot, SimRemote::new(descriptor))),
            domain: SimDomain::new(&self.world, self.node, self.domain, self.to.clone()),
            monitor,
        }))
    }
}

impl Drop for SimDial {
    fn drop(&mut self) {
        lock(&self.world).end_dial(self.dial);
    }
}

/// Watches a simulated link: reports the partner's notice of its end, and a port in error.
#[derive(Debug)]
pub struct SimLinkMonitor {
    world: Shared,
    port: u64,
    to: Address,
}

impl LinkMonitor for SimLinkMonitor {
    fn check(&mut self) -> Result<(), FabricError> {
        let world = lock(&self.world);
        let detail = match world.ports.get(&self.port) {
            Some(port) => match (&port.gone, port.state) {
                (Some(detail), _) => detail.clone(),
                (None, PortState::Error) => "its port is in error".to_owned(),
                (None, PortState::Ready) => return Ok(()),
            },
            None => "its port was dropped".to_owned(),
        };
        Err(FabricError::LinkLost { address: self.to.to_string(), detail })
    }
}
