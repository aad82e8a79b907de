//! What befalls nodes and wires: crashes, restarts, cuts, and faults for chosen operations.

use super::faults::Fault;
use super::flight::{Fate, Verb};
use super::rng::Rng;
use super::world::World;
use crate::fabric::FabricError;
use std::sync::Arc;
use std::time::Duration;

/// One life of a node. A restart makes a new record; the old one stays, dead.
#[derive(Debug)]
pub(super) struct NodeRecord {
    pub(super) name: Arc<str>,
    pub(super) alive: bool,
    pub(super) paused: bool,
    pub(super) restarts: u64,
    pub(super) rng: Rng,
    pub(super) exposures_made: u64,
    strikes: Vec<Strike>,
}

/// A fault for one operation to come.
#[derive(Debug)]
struct Strike {
    skip: u64,
    fault: Fault,
}

/// Nanoseconds, as far as 64 bits go.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl World {
    /// The live node of this name, if there is one.
    pub(super) fn live_node(&self, name: &str) -> Option<usize> {
        self.nodes.iter().rposition(|node| node.alive && *node.name == *name)
    }

    /// The live node of this name; a new life of it where there is none.
    pub(super) fn node(&mut self, name: &str) -> usize {
        if let Some(index) = self.live_node(name) {
            return index;
        }
        let restarts = self.nodes.iter().filter(|node| *node.name == *name).count() as u64;
        self.stats.restarts += u64::from(restarts > 0);
        self.note(format_args!("node {name} starts, restart {restarts}"));
        self.nodes.push(NodeRecord {
            name: Arc::from(name),
            alive: true,
            paused: false,
            restarts,
            rng: Rng::derived(self.seed, name, restarts),
            exposures_made: 0,
            strikes: Vec::new(),
        });
        self.nodes.len() - 1
    }

    /// An error if this life of the node is over.
    pub(super) fn check_alive(&self, node: usize) -> Result<(), FabricError> {
        match self.nodes.get(node) {
            Some(record) if record.alive => Ok(()),
            Some(record) => Err(self.lost(&record.name, "the simulated node crashed")),
            None => Err(self.lost("?", "no such simulated node")),
        }
    }

    /// The error for a link to a node that is gone.
    pub(super) fn lost(&self, name: &str, detail: &str) -> FabricError {
        FabricError::LinkLost { address: format!("sim://{name}"), detail: detail.to_owned() }
    }

    /// A node's name.
    pub(super) fn name_of(&self, node: usize) -> Arc<str> {
        self.nodes.get(node).map_or_else(|| Arc::from("?"), |record| Arc::clone(&record.name))
    }

    /// Whether a packet gets from one node to another now. Counts it if not.
    pub(super) fn passes(&mut self, from: usize, to: usize) -> bool {
        if self.cuts.is_empty() {
            return true;
        }
        let open = !self.cuts.contains(&(self.name_of(from), self.name_of(to)));
        self.stats.packets_cut += u64::from(!open);
        open
    }

    /// Ends a node's life: its endpoints, links, ports and memory vanish. `told`: whether anybody is told of it.
    pub(super) fn crash(&mut self, name: &str, told: bool) -> bool {
        let Some(node) = self.live_node(name) else { return false };
        let how = if told { "crashes" } else { "loses power" };
        self.note(format_args!("node {name} {how}"));
        self.stats.crashes += 1;
        let ports: Vec<u64> = self.ports.iter().filter(|(_, port)| port.node == node).map(|(id, _)| *id).collect();
        for port in ports {
            if told {
                self.tell_peer(port, "its process ended");
            } else if let Some(record) = self.ports.get_mut(&port) {
                record.told = true;
            }
            self.fail_port(port, "the simulated node crashed");
        }
        self.exposures.retain(|(owner, _), _| *owner != node);
        if let Some(record) = self.nodes.get_mut(node) {
            record.alive = false;
        }
        self.end_endpoints_of(node, told);
        self.end_dials_of(node);
        true
    }

    /// Marks a node as paused, or no longer so.
    pub(super) fn pause(&mut self, name: &str, paused: bool) -> bool {
        let record = self.live_node(name).and_then(|node| self.nodes.get_mut(node));
        let Some(record) = record else { return false };
        record.paused = paused;
        let what = if paused { "pauses" } else { "goes on" };
        self.note(format_args!("node {name} {what}"));
        true
    }

    /// Whether the live node of this name is paused.
    pub(super) fn is_paused(&self, name: &str) -> bool {
        self.live_node(name).and_then(|node| self.nodes.get(node)).is_some_and(|node| node.paused)
    }

    /// Plans a fault for the operation a node posts after `skip` others that the fault could strike.
    pub(super) fn strike(&mut self, name: &str, skip: u64, fault: Fault) -> bool {
        let Some(node) = self.live_node(name) else { return false };
        let Some(record) = self.nodes.get_mut(node) else { return false };
        record.strikes.push(Strike { skip, fault });
        true
    }

    /// Decides what will go wrong with an operation that `node` posts.
    pub(super) fn fate(&mut self, node: usize, verb: Verb) -> Fate {
        let (faults, mut fate) = (self.faults, Fate::default());
        let plain_write = verb == Verb::Write;
        let any_write = plain_write || matches!(verb, Verb::WriteWithImmediate(_));
        let rng = &mut self.rng;
        fate.lost = rng.chance(faults.lose_operation_ppm);
        fate.acknowledgement_lost = rng.chance(faults.lose_acknowledgement_ppm);
        if rng.chance(faults.delay_ppm) {
            let most = faults.delay_ns_max >> rng.below(16);
            fate.delay = Some(rng.between(most / 2, most));
        }
        if plain_write && rng.chance(faults.repeat_write_ppm) {
            fate.repeat_after = Some(rng.between(1, faults.repeat_after_ns_max));
        }
        let tear = if any_write { faults.tear_write_ppm } else { faults.tear_read_ppm };
        if (any_write || verb == Verb::Read) && rng.chance(tear) {
            fate.tear_gap = Some(rng.between(1, faults.tear_gap_ns_max));
        }
        let Some(record) = self.nodes.get_mut(node) else { return fate };
        record.strikes.retain_mut(|strike| {
            let strikes = match strike.fault {
                Fault::RepeatWrite(_) => plain_write,
                Fault::TearWrite(_) => any_write,
                Fault::TearRead(_) => verb == Verb::Read,
                _ => true,
            };
            if !strikes || strike.skip > 0 {
                strike.skip -= u64::from(strikes);
                return true;
            }
            match strike.fault {
                Fault::LoseOperation => fate.lost = true,
                Fault::LoseAcknowledgement => fate.acknowledgement_lost = true,
                Fault::Delay(delay) => fate.delay = Some(nanoseconds(delay)),
                Fault::RepeatWrite(delay) => fate.repeat_after = Some(nanoseconds(delay)),
                Fault::TearRead(gap) | Fault::TearWrite(gap) => fate.tear_gap = Some(nanoseconds(gap)),
            }
            false
        });
        fate
    }
}
