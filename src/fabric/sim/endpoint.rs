//! The listening half of a simulated node.

use super::world::{Shared, lock};
use crate::fabric::{Address, Endpoint, EndpointEvent, FabricError, Incoming, LINK_SLOTS, LinkSlot, PageSizes};
use crate::memory::Region;
use std::sync::Arc;

/// The listening half of a simulated node.
#[derive(Debug)]
pub struct SimEndpoint {
    world: Shared,
    id: u64,
    address: Address,
    sizes: PageSizes,
    status: Arc<Region>,
    mailboxes: [Option<Arc<Region>>; LINK_SLOTS],
}

impl SimEndpoint {
    pub(super) fn new(world: &Shared, id: u64, address: Address, sizes: PageSizes, status: Arc<Region>) -> Self {
        Self { world: Arc::clone(world), id, address, sizes, status, mailboxes: [const { None }; LINK_SLOTS] }
    }
}

impl Endpoint for SimEndpoint {
    fn address(&self) -> &Address {
        &self.address
    }

    fn status(&self) -> &Region {
        &self.status
    }

    fn poll(&mut self) -> Option<EndpointEvent> {
        lock(&self.world).endpoint_event(self.id)
    }

    fn accept(&mut self, incoming: Incoming, slot: LinkSlot) -> Result<(), FabricError> {
        let mailbox = Arc::new(Region::builder(self.sizes.mailbox).pinned(false).build()?);
        lock(&self.world).accept(self.id, incoming, slot, &mailbox)?;
        if let Some(place) = self.mailboxes.get_mut(slot.number()) {
            *place = Some(mailbox);
        }
        Ok(())
    }

    fn mailbox(&self, slot: LinkSlot) -> Option<&Region> {
        self.mailboxes.get(slot.number())?.as_deref()
    }

    fn close(&mut self, slot: LinkSlot) {
        lock(&self.world).close_slot(self.id, slot);
        if let Some(place) = self.mailboxes.get_mut(slot.number()) {
            *place = None;
        }
    }
}

impl Drop for SimEndpoint {
    fn drop(&mut self) {
        lock(&self.world).end_endpoint(self.id);
    }
}
