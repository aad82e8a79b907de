//! Links: listening, dialling, accepting, and learning that the other side is gone.

use super::flight::Exposure;
use super::queue::PortRecord;
use super::world::{Event, World};
use crate::fabric::{
    AccessFlags, Address, DialPurpose, EndpointEvent, FabricError, Incoming, LINK_SLOTS, LinkSlot, PageSizes,
    PortOptions, RemoteDescriptor,
};
use crate::memory::{Errno, Region};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Our side of a link we dialled.
    Dialled,
    /// An endpoint's side of an accepted link.
    Accepted { endpoint: u64, slot: LinkSlot, dialler: usize },
    /// An endpoint's side of an observing link.
    Observed { endpoint: u64 },
    /// A client's.
    Client,
}

/// A listening endpoint.
#[derive(Debug)]
pub(super) struct EndpointRecord {
    pub(super) node: usize,
    pub(super) sizes: PageSizes,
    pub(super) status: Arc<Region>,
    pub(super) events: VecDeque<EndpointEvent>,
    pub(super) waiting: BTreeSet<u64>,
    pub(super) slots: [Option<u64>; LINK_SLOTS],
}

/// A dial under way.
#[derive(Debug)]
pub(super) struct DialRecord {
    pub(super) node: usize,
    to: Address,
    purpose: DialPurpose,
    port: u64,
    begun: u64,
    pub(super) answer: Option<Result<DialAnswer, FabricError>>,
}

/// What an endpoint answers to a dial.
#[derive(Debug, Clone)]
pub(super) struct DialAnswer {
    from: usize,
    pub(super) status: RemoteDescriptor,
    pub(super) mailbox: Option<(LinkSlot, RemoteDescriptor)>,
}

/// A dial that was begun: its number, and the port and domain of the link to be.
pub(super) struct Begun {
    pub(super) dial: u64,
    pub(super) port: u64,
    pub(super) domain: u64,
}

impl World {
    /// Makes a port.
    pub(super) fn make_port(&mut self, node: usize, domain: u64, options: &PortOptions, role: Role) -> u64 {
        let id = self.fresh_id();
        self.ports.insert(id, PortRecord::new(node, domain, options, role));
        id
    }

    /// Gives the other side access to the first `length` bytes of a region.
    pub(super) fn expose(
        &mut self,
        node: usize,
        domain: u64,
        region: &Arc<Region>,
        length: usize,
        access: AccessFlags,
    ) -> RemoteDescriptor {
        let (mut key, mut address) = (0, 0);
        if let Some(record) = self.nodes.get_mut(node) {
            record.exposures_made += 1;
            // The same numbers after every restart, but never those of another node: a stale key is a trap, a mistaken one is an error.
            let salt = record.name.bytes().fold(0x5D, |salt: u64, byte| salt.wrapping_mul(31) + u64::from(byte));
            key = ((salt & 0xFFFF) << 32) | (record.exposures_made << 8) | 0x5D;
            address = record.exposures_made << 40;
        }
        let (region, length) = (Arc::clone(region), length.min(region.len()) as u64);
        self.exposures.insert((node, key), Exposure { domain, address, length, access, region });
        RemoteDescriptor { address, length, key, access, context: 0 }
    }

    /// Opens an endpoint.
    pub(super) fn listen(
        &mut self,
        node: usize,
        address: &Address,
        sizes: PageSizes,
        status: Arc<Region>,
    ) -> Result<u64, FabricError> {
        self.check_alive(node)?;
        let Address::Sim { name, port } = address else {
            return Err(FabricError::Scheme { address: address.clone(), fabric: "sim" });
        };
        let own = self.name_of(node);
        if **name != *own {
            let tried = format!("cannot listen at {address} on the node {own}");
            return Err(FabricError::System { tried, errno: Errno::new(libc::EADDRNOTAVAIL) });
        }
        if self.listening.contains_key(&(Arc::clone(&own), *port)) {
            return Err(FabricError::AddressInUse { address: address.clone(), process: Some(node as u32) });
        }
        let id = self.fresh_id();
        self.listening.insert((own, *port), id);
        self.note(format_args!("endpoint {id} listens at {address}"));
        let (events, waiting) = (VecDeque::new(), BTreeSet::new());
        let record = EndpointRecord { node, sizes, status, events, waiting, slots: [None; LINK_SLOTS] };
        self.endpoints.insert(id, record);
        Ok(id)
    }

    /// What an endpoint has to report.
    pub(super) fn endpoint_event(&mut self, id: u64) -> Option<EndpointEvent> {
        self.endpoints.get_mut(&id)?.events.pop_front()
    }

    /// Begins a dial.
    pub(super) fn dial(&mut self, node: usize, to: &Address, purpose: DialPurpose) -> Result<Begun, FabricError> {
        self.check_alive(node)?;
        if !matches!(to, Address::Sim { .. }) {
            return Err(FabricError::Scheme { address: to.clone(), fabric: "sim" });
        }
        let (dial, domain) = (self.fresh_id(), self.fresh_id());
        let port = self.make_port(node, domain, &PortOptions::default(), Role::Dialled);
        let record = DialRecord { node, to: to.clone(), purpose, port, begun: self.now, answer: None };
        self.dials.insert(dial, record);
        self.stats.dials += 1;
        let from = self.name_of(node);
        self.note(format_args!("{from} dials {to}: dial {dial}, {purpose:?}"));
        let travel = self.latency();
        self.after(travel, Event::DialArrives(dial));
        self.after(self.faults.dial_timeout_ns, Event::DialExpires(dial));
        Ok(Begun { dial, port, domain })
    }

    /// A dial reaches the node it was meant for, or a cut.
    pub(super) fn dial_arrives(&mut self, id: u64) {
        let Some(dial) = self.dials.get(&id).filter(|dial| dial.answer.is_none()) else { return };
        let (node, purpose, to) = (dial.node, dial.purpose, dial.to.clone());
        let Address::Sim { name, port } = &to else { return };
        let name: Arc<str> = Arc::from(name.as_str());
        let home = self.nodes.iter().rposition(|node| node.name == name);
        if home.is_some_and(|home| !self.passes(node, home)) {
            return self.after(self.faults.dial_interval_ns(), Event::DialArrives(id));
        }
        let Some(endpoint) = self.listening.get(&(name, *port)).copied() else {
            return self.refuse(id, home.unwrap_or(node));
        };
        match purpose {
            DialPurpose::Session => {
                let Some(record) = self.endpoints.get_mut(&endpoint) else { return };
                record.waiting.insert(id);
                record.events.push_back(EndpointEvent::Incoming(Incoming(id)));
            }
            DialPurpose::Observe => {
                if let Some((_, answer)) = self.answer(id, endpoint, None) {
                    let travel = self.latency();
                    self.after(travel, Event::DialAnswered(id, Ok(answer)));
                }
            }
        }
    }

    /// Answers that nobody listens.
    pub(super) fn refuse(&mut self, id: u64, from: usize) {
        let Some(dial) = self.dials.get(&id) else { return };
        let (node, address) = (dial.node, dial.to.clone());
        if !self.passes(from, node) {
            return;
        }
        let travel = self.latency();
        let error = FabricError::NotListening { address, detail: String::new() };
        self.after(travel, Event::DialAnswered(id, Err(error)));
    }

    /// Makes an endpoint's side of a link: a domain of its own, a port, and access to the status block and perhaps a mailbox.
    fn answer(
        &mut self,
        dial: u64,
        endpoint: u64,
        mailbox: Option<(LinkSlot, &Arc<Region>)>,
    ) -> Option<(u64, DialAnswer)> {
        let (theirs, dialler) = self.dials.get(&dial).map(|dial| (dial.port, dial.node))?;
        let record = self.endpoints.get(&endpoint)?;
        let (node, sizes, status) = (record.node, record.sizes, Arc::clone(&record.status));
        let role = match mailbox {
            Some((slot, _)) => Role::Accepted { endpoint, slot, dialler },
            None => Role::Observed { endpoint },
        };
        let domain = self.fresh_id();
        let ours = self.make_port(node, domain, &PortOptions::default(), role);
        if let Some(port) = self.ports.get_mut(&ours) {
            port.peer = Some(theirs);
        }
        if let Some(port) = self.ports.get_mut(&theirs) {
            port.peer = Some(ours);
        }
        let status = self.expose(node, domain, &status, sizes.status, AccessFlags::REMOTE_READ);
        let mailbox = mailbox
            .map(|(slot, region)| (slot, self.expose(node, domain, region, sizes.mailbox, AccessFlags::REMOTE_WRITE)));
        Some((ours, DialAnswer { from: node, status, mailbox }))
    }

    /// Accepts a waiting dial into a free slot.
    pub(super) fn accept(
        &mut self,
        endpoint: u64,
        incoming: Incoming,
        slot: LinkSlot,
        mailbox: &Arc<Region>,
    ) -> Result<(), FabricError> {
        let Some(record) = self.endpoints.get_mut(&endpoint) else { return Err(self.lost("?", "no such endpoint")) };
        let node = record.node;
        let taken = record.slots.get(slot.number()).is_some_and(Option::is_some);
        self.check_alive(node)?;
        if taken {
            return Err(FabricError::Exhausted { what: "links", max: 1, whole: "slot: close its link first" });
        }
        let dial = incoming.0;
        let waited = self.endpoints.get_mut(&endpoint).is_some_and(|record| record.waiting.remove(&dial))
            && self.dials.get(&dial).is_some_and(|dial| dial.answer.is_none());
        let Some((port, answer)) = waited.then(|| self.answer(dial, endpoint, Some((slot, mailbox)))).flatten() else {
            return Err(self.lost("?", "the link that was to be accepted is gone: its dialler gave up"));
        };
        if let Some(place) = self.endpoints.get_mut(&endpoint).and_then(|record| record.slots.get_mut(slot.number())) {
            *place = Some(port);
        }
        self.note(format_args!("endpoint {endpoint} accepts dial {dial} into slot {slot}"));
        let travel = self.latency();
        self.after(travel, Event::DialAnswered(dial, Ok(answer)));
        Ok(())
    }

    /// The answer to a dial comes back, or meets a cut.
    pub(super) fn dial_answered(&mut self, id: u64, answer: Result<DialAnswer, FabricError>) {
        let Some(dial) = self.dials.get(&id).filter(|dial| dial.answer.is_none()) else { return };
        let node = dial.node;
        if let Ok(answer) = &answer
            && !self.passes(answer.from, node)
        {
            return self.after(self.faults.dial_interval_ns(), Event::DialAnswered(id, Ok(answer.clone())));
        }
        self.stats.dials_refused += u64::from(answer.is_err());
        let what = if answer.is_ok() { "answered" } else { "refused" };
        self.note(format_args!("dial {id} is {what}"));
        if let Some(dial) = self.dials.get_mut(&id) {
            dial.answer = Some(answer);
        }
    }

    /// A dial waited too long: it fails, and whatever was accepted of it is told.
    pub(super) fn dial_expires(&mut self, id: u64) {
        let now = self.now;
        let Some(dial) = self.dials.get_mut(&id).filter(|dial| dial.answer.is_none()) else { return };
        let waited_ms = now.saturating_sub(dial.begun) / 1_000_000;
        dial.answer = Some(Err(FabricError::Timeout { address: dial.to.to_string(), waited_ms }));
        let port = dial.port;
        self.stats.dials_timed_out += 1;
        self.note(format_args!("dial {id} expires"));
        self.close_port(port);
        self.forget_waiting(id);
    }

    /// The state of a dial; its answer, once it has one.
    pub(super) fn dial_state(&self, id: u64) -> Result<Option<DialAnswer>, FabricError> {
        let Some(dial) = self.dials.get(&id) else { return Err(self.lost("?", "this dial's link was taken already")) };
        self.check_alive(dial.node)?;
        dial.answer.clone().transpose()
    }

    /// Forgets a dial: its link was taken, or its dialler gave up.
    pub(super) fn end_dial(&mut self, id: u64) {
        self.dials.remove(&id);
        self.forget_waiting(id);
    }

    pub(super) fn forget_waiting(&mut self, id: u64) {
        for endpoint in self.endpoints.values_mut() {
            if endpoint.waiting.remove(&id) {
                endpoint.events.retain(|event| *event != EndpointEvent::Incoming(Incoming(id)));
            }
        }
    }
}
