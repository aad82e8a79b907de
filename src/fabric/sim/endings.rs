//! The end of links: closed, revoked, crashed, and how the other side learns of it.

use super::links::Role;
use super::queue::PortRecord;
use super::world::{Event, World};
use crate::fabric::{EndpointEvent, LinkSlot};

impl World {
    /// Ends everything a domain gave out: its ports and its exposures.
    pub(super) fn revoke_domain(&mut self, domain: u64) {
        self.unexpose_domain(domain);
        let ports: Vec<u64> = self.ports.iter().filter(|(_, port)| port.domain == domain).map(|(id, _)| *id).collect();
        for port in ports {
            self.close_port(port);
        }
    }

    /// Takes back all access that a domain gave.
    fn unexpose_domain(&mut self, domain: u64) {
        self.exposures.retain(|_, exposure| exposure.domain != domain);
    }

    /// Closes an accepted link. Returns what its port held.
    pub(super) fn close_slot(&mut self, endpoint: u64, slot: LinkSlot) -> Option<PortRecord> {
        let port = self.endpoints.get_mut(&endpoint)?.slots.get_mut(slot.number())?.take()?;
        self.note(format_args!("endpoint {endpoint} closes slot {slot}"));
        let record = self.remove_port(port)?;
        self.unexpose_domain(record.domain);
        if let Some(endpoint) = self.endpoints.get_mut(&endpoint) {
            endpoint.events.retain(|event| !matches!(event, EndpointEvent::Closed(other, _) if *other == slot));
        }
        Some(record)
    }

    /// Ends an endpoint: its links are closed, and those that wait are refused.
    pub(super) fn end_endpoint(&mut self, id: u64) {
        for slot in LinkSlot::all() {
            self.close_slot(id, slot);
        }
        let observed: Vec<u64> = self
            .ports
            .iter()
            .filter(|(_, port)| port.role == Role::Observed { endpoint: id })
            .map(|(id, _)| *id)
            .collect();
        for port in observed {
            self.end_observed(port);
        }
        let Some(record) = self.endpoints.remove(&id) else { return };
        self.listening.retain(|_, endpoint| *endpoint != id);
        if self.check_alive(record.node).is_ok() {
            for dial in record.waiting {
                self.refuse(dial, record.node);
            }
        }
    }

    fn end_observed(&mut self, port: u64) {
        if let Some(record) = self.remove_port(port) {
            self.unexpose_domain(record.domain);
        }
    }

    /// A crashed node's endpoints listen no more. Their owner, should it look, is told why.
    pub(super) fn end_endpoints_of(&mut self, node: usize, told: bool) {
        let error = self.check_alive(node).err();
        let mut refused = Vec::new();
        for (id, endpoint) in self.endpoints.iter_mut().filter(|(_, endpoint)| endpoint.node == node) {
            endpoint.events.clear();
            endpoint.events.extend(error.clone().map(EndpointEvent::Trouble));
            refused.extend(std::mem::take(&mut endpoint.waiting));
            self.listening.retain(|_, listening| listening != id);
        }
        for dial in refused {
            if told {
                self.refuse(dial, node);
            }
        }
    }

    /// A crashed node's dials are over. Endpoints on which they wait find out when they accept.
    pub(super) fn end_dials_of(&mut self, node: usize) {
        let error = self.check_alive(node).err();
        for dial in self.dials.values_mut().filter(|dial| dial.node == node) {
            dial.answer = error.clone().map(Err);
        }
    }

    /// Sends the other side of a link the notice that this side is gone, once. Clients' ports have no such service.
    pub(super) fn tell_peer(&mut self, id: u64, detail: &str) {
        let Some(port) = self.ports.get_mut(&id).filter(|port| port.role != Role::Client && !port.told) else { return };
        port.told = true;
        let (node, Some(peer)) = (port.node, port.peer) else { return };
        if self.rng.chance(self.faults.lose_notice_ppm) {
            self.stats.notices_lost += 1;
            self.note(format_args!("port {id}: the notice to port {peer} is lost"));
            return;
        }
        let travel = self.latency();
        self.after(travel, Event::Notice(peer, node, detail.to_owned()));
    }

    /// A port's owner learns that the other side is gone, unless a cut stops the notice.
    pub(super) fn notice(&mut self, id: u64, from: usize, detail: String) {
        let Some(port) = self.ports.get(&id) else { return };
        let (node, role) = (port.node, port.role);
        if !self.passes(from, node) {
            self.stats.notices_lost += 1;
            return;
        }
        self.note(format_args!("port {id} learns: {detail}"));
        if let Role::Observed { .. } = role {
            return self.end_observed(id);
        }
        self.report_gone(id, &detail);
    }

    /// A port failed on its own: an endpoint reports it as the end of that link.
    pub(super) fn report_failed(&mut self, id: u64, why: &str) {
        if self.ports.get(&id).is_some_and(|port| matches!(port.role, Role::Accepted { .. })) {
            self.report_gone(id, why);
        }
    }

    /// Records the end of a port's link, and reports it once.
    fn report_gone(&mut self, id: u64, detail: &str) {
        let Some(port) = self.ports.get_mut(&id).filter(|port| port.gone.is_none()) else { return };
        port.gone = Some(detail.to_owned());
        let Role::Accepted { endpoint, slot, dialler } = port.role else { return };
        let error = self.lost(&self.name_of(dialler), detail);
        if let Some(record) = self.endpoints.get_mut(&endpoint) {
            record.events.push_back(EndpointEvent::Closed(slot, error));
        }
    }
}
