//! The listening half of a node.

use super::accepted::{Accepted, Page};
use super::greeting::{self, Refusal};
use super::listener::Listener;
use super::options::VerbsOptions;
use crate::fabric::{
    Address, DialPurpose, Endpoint, EndpointEvent, FabricError, Incoming, LINK_SLOTS, LinkSlot, PageSizes,
};
use crate::memory::Region;
use crate::sys::verbs::{CmEvent, CmEventKind, CmId, IdKey};
use std::collections::VecDeque;
use std::sync::Arc;

/// Requests that wait to be accepted; those beyond are refused.
const WAITING_MAX: usize = 8;

/// Observers served at once; the longest-served makes room for a newcomer.
const OBSERVERS_MAX: usize = 4;

/// Events of librdmacm handled in one call.
const EVENTS_MAX: usize = 32;

/// The listening half of a node: a status block that every accepted link may READ, and a mailbox for each.
#[derive(Debug)]
pub struct VerbsEndpoint {
    address: Address,
    sizes: PageSizes,
    options: VerbsOptions,
    // Links before the listener, whose channel theirs is; and the listener before the memory.
    slots: [Option<Accepted>; LINK_SLOTS],
    observers: VecDeque<Accepted>,
    waiting: VecDeque<Waiting>,
    listener: Listener,
    status: Arc<Region>,
    events: VecDeque<EndpointEvent>,
    next_incoming: u64,
    /// Whether an observer was served in this round.
    observed: bool,
}

/// A request that waits to be accepted.
#[derive(Debug)]
struct Waiting {
    number: u64,
    id: CmId,
    initiator_depth: u8,
}

impl VerbsEndpoint {
    pub(super) fn listen(address: &Address, sizes: PageSizes, options: VerbsOptions) -> Result<Self, FabricError> {
        // Registering pins it: locking it besides would count twice against the limit.
        let status = Arc::new(Region::builder(sizes.status).pinned(false).build()?);
        Ok(Self {
            address: address.clone(),
            sizes,
            options,
            slots: [const { None }; LINK_SLOTS],
            observers: VecDeque::new(),
            waiting: VecDeque::new(),
            listener: Listener::new(address)?,
            status,
            events: VecDeque::new(),
            next_incoming: 1,
            observed: false,
        })
    }

    /// Takes in what librdmacm has to tell.
    fn take_events(&mut self) {
        self.observed = false;
        for _ in 0..EVENTS_MAX {
            match self.listener.poll() {
                Ok(Some(event)) => self.take(event),
                Ok(None) => return,
                Err(trouble) => {
                    self.events.push_back(EndpointEvent::Trouble(trouble));
                    return;
                }
            }
        }
    }

    fn take(&mut self, event: CmEvent) {
        let private = event.private_data();
        match event.kind {
            CmEventKind::ConnectRequest(_) => match greeting::purpose(private) {
                Ok(purpose) => self.request(purpose, event),
                Err(unfit) => {
                    tracing::debug!("refused a request that is none of this version of handfast: {unfit:?}");
                    refuse(event, Refusal::Version);
                }
            },
            CmEventKind::DeviceRemoval => self.device_removed(),
            CmEventKind::Disconnected | CmEventKind::Rejected | CmEventKind::Unreachable(_) => {
                let detail = match event.kind {
                    CmEventKind::Disconnected => "the other side closed it, or its process ended".to_owned(),
                    CmEventKind::Rejected => "the other side gave up".to_owned(),
                    _ => format!("the other side did not confirm it ({})", event.status),
                };
                self.gone(event.id, detail);
            }
            _ => {}
        }
    }

    fn request(&mut self, purpose: DialPurpose, event: CmEvent) {
        // Making an observer's link takes a dozen calls: one in each round, so that strangers cannot hold the control thread.
        let busy = match purpose {
            DialPurpose::Session => self.waiting.len() >= WAITING_MAX,
            DialPurpose::Observe => std::mem::replace(&mut self.observed, true),
        };
        if busy {
            refuse(event, Refusal::Busy);
            return;
        }
        let initiator_depth = event.responder_resources;
        let CmEventKind::ConnectRequest(id) = event.kind else { return };
        match purpose {
            DialPurpose::Session => {
                let number = self.next_incoming;
                self.next_incoming += 1;
                self.waiting.push_back(Waiting { number, id, initiator_depth });
                self.events.push_back(EndpointEvent::Incoming(Incoming(number)));
            }
            DialPurpose::Observe => {
                let page = Page { status: &self.status, status_bytes: self.sizes.status, mailbox: None };
                match Accepted::new(id, initiator_depth, page, &self.options, self.listener.gid()) {
                    Ok(link) => {
                        if self.observers.len() >= OBSERVERS_MAX {
                            self.observers.pop_front();
                        }
                        self.observers.push_back(link);
                    }
                    Err(error) => tracing::debug!("an observer could not be served: {error}"),
                }
            }
        }
    }

    /// A link or request ended from the other side.
    fn gone(&mut self, key: IdKey, detail: String) {
        if let Some(at) = self.waiting.iter().position(|waiting| waiting.id.key() == key) {
            if let Some(waiting) = self.waiting.remove(at) {
                // Nobody needs to hear of it any more; and whoever dials and gives up without pause fills nothing.
                self.events.retain(|event| *event != EndpointEvent::Incoming(Incoming(waiting.number)));
            }
            return;
        }
        self.observers.retain(|link| link.key() != key);
        for (number, place) in self.slots.iter_mut().enumerate() {
            let Some(link) = place else { continue };
            if link.key() == key && !std::mem::replace(&mut link.told, true) {
                let Some(slot) = LinkSlot::new(number as u8) else { continue };
                self.events.push_back(EndpointEvent::Closed(slot, lost(detail)));
                return;
            }
        }
    }

    /// The device goes: everything on it must be given back, or its removal waits for us.
    fn device_removed(&mut self) {
        let device = self.listener.device().to_owned();
        self.waiting.clear();
        self.events.retain(|event| !matches!(event, EndpointEvent::Incoming(_)));
        self.observers.clear();
        for (number, place) in self.slots.iter_mut().enumerate() {
            let Some(link) = place.take() else { continue };
            let Some(slot) = LinkSlot::new(number as u8) else { continue };
            if !link.told {
                let detail = format!("our device {device} was removed");
                self.events.push_back(EndpointEvent::Closed(slot, lost(detail)));
            }
        }
        if let Some(trouble) = self.listener.removed() {
            self.events.push_back(EndpointEvent::Trouble(trouble));
        }
    }

    /// Looks for links that ended without an event.
    fn look_at_links(&mut self) {
        self.observers.retain(|link| link.ended().is_none());
        for (number, place) in self.slots.iter_mut().enumerate() {
            let Some(link) = place.as_mut().filter(|link| !link.told) else { continue };
            let (Some(detail), Some(slot)) = (link.ended(), LinkSlot::new(number as u8)) else { continue };
            link.told = true;
            self.events.push_back(EndpointEvent::Closed(slot, lost(detail)));
        }
    }
}

/// What is told of a link or request that ended.
fn lost(detail: impl Into<String>) -> FabricError {
    FabricError::LinkLost { address: "the dialling side".to_owned(), detail: detail.into() }
}

fn refuse(event: CmEvent, why: Refusal) {
    let CmEventKind::ConnectRequest(id) = event.kind else { return };
    if let Err(errno) = id.reject(&greeting::refusal(why)) {
        tracing::debug!("refusing a request: {errno}");
    }
}

impl Endpoint for VerbsEndpoint {
    fn address(&self) -> &Address {
        &self.address
    }

    fn status(&self) -> &Region {
        &self.status
    }

    fn poll(&mut self) -> Option<EndpointEvent> {
        if self.events.is_empty() {
            self.take_events();
            self.look_at_links();
        }
        self.events.pop_front()
    }

    fn accept(&mut self, incoming: Incoming, slot: LinkSlot) -> Result<(), FabricError> {
        // A request whose sender gave up meanwhile is known by its event.
        self.take_events();
        let gone = || lost("it gave up, or was accepted already");
        let at = self.waiting.iter().position(|waiting| waiting.number == incoming.0).ok_or_else(gone)?;
        if self.slots.get(slot.number()).is_none_or(Option::is_some) {
            return Err(FabricError::Exhausted { what: "links", max: 1, whole: "slot" });
        }
        let Some(waiting) = self.waiting.remove(at) else { return Err(gone()) };
        let mailbox = Arc::new(Region::builder(self.sizes.mailbox).pinned(false).build()?);
        let page = Page {
            status: &self.status,
            status_bytes: self.sizes.status,
            mailbox: Some((slot, mailbox, self.sizes.mailbox)),
        };
        let link = Accepted::new(waiting.id, waiting.initiator_depth, page, &self.options, self.listener.gid())?;
        if let Some(place) = self.slots.get_mut(slot.number()) {
            *place = Some(link);
        }
        Ok(())
    }

    fn mailbox(&self, slot: LinkSlot) -> Option<&Region> {
        self.slots.get(slot.number())?.as_ref()?.mailbox.as_deref()
    }

    fn close(&mut self, slot: LinkSlot) {
        if let Some(place) = self.slots.get_mut(slot.number()) {
            *place = None;
        }
        self.events.retain(|event| !matches!(event, EndpointEvent::Closed(closed, _) if *closed == slot));
    }
}
