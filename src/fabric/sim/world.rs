//! The simulated world: every node, port and wire, the clock, and the queue of what happens next.
//!
//! One value behind one mutex. Its parts: `queue` (what a port was given and gives back), `wire` (operations on their way), `flight` (one at
//! its target), `links` (listening, dialling, accepting), `endings` (of links), `fate` (crashes, cuts, chosen faults). Handles lock it, call one method, and unlock; nothing in here calls out.

use super::fate::NodeRecord;
use super::faults::{Faults, Stats};
use super::flight::{Exposure, Flight};
use super::links::{DialAnswer, DialRecord, EndpointRecord};
use super::queue::PortRecord;
use super::rng::Rng;
use super::wire::Orphans;
use crate::fabric::{FabricError, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The world, shared by all handles.
pub(super) type Shared = Arc<Mutex<World>>;

/// The world, for one call. A test that panicked while it held the lock left nothing half done that matters to the next.
pub(super) fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What happens at a moment. Each names its subject by id, and does nothing if that is gone by then.
#[derive(Debug)]
pub(super) enum Event {
    /// The oldest operation of a port that was not carried out yet may be due.
    Run(u64),
    /// The answer to an operation (port, serial number) comes back.
    Finish(u64, u64),
    /// Operations without a port any more may be due.
    Orphan(u64),
    /// A WRITE is carried out again.
    Repeat(Box<Flight>),
    /// A dial reaches its target.
    DialArrives(u64),
    /// The answer to a dial comes back.
    DialAnswered(u64, Result<DialAnswer, FabricError>),
    /// A dial waited too long.
    DialExpires(u64),
    /// A port's owner learns that the other side ended the link: (port, node that says so, what it says).
    Notice(u64, usize, String),
}

/// Everything.
#[derive(Debug)]
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) rng: Rng,
    pub(super) faults: Faults,
    pub(super) stats: Stats,
    pub(super) now: u64,
    pub(super) nodes: Vec<NodeRecord>,
    /// One-way cuts, (from, to), by name: a cut wire outlives a restart.
    pub(super) cuts: BTreeSet<(Arc<str>, Arc<str>)>,
    pub(super) ports: BTreeMap<u64, PortRecord>,
    pub(super) orphans: BTreeMap<u64, Orphans>,
    /// By node and key. A restarted node hands out the same keys again, as real adapters do.
    pub(super) exposures: BTreeMap<(usize, u64), Exposure>,
    pub(super) endpoints: BTreeMap<u64, EndpointRecord>,
    /// Where live endpoints listen: (name, port) to endpoint.
    pub(super) listening: BTreeMap<(Arc<str>, u16), u64>,
    pub(super) dials: BTreeMap<u64, DialRecord>,
    // Ordered maps everywhere: iteration must be the same in every run.
    events: BTreeMap<(u64, u64), Event>,
    last_id: u64,
    last_event: u64,
    digest: Digest,
    trace: VecDeque<String>,
    trace_lines_max: usize,
}

impl World {
    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        Self {
            seed,
            rng: Rng::derived(seed, "the world", 0),
            faults,
            stats: Stats::default(),
            now: 0,
            nodes: Vec::new(),
            cuts: BTreeSet::new(),
            ports: BTreeMap::new(),
            orphans: BTreeMap::new(),
            exposures: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            listening: BTreeMap::new(),
            dials: BTreeMap::new(),
            events: BTreeMap::new(),
            last_id: 0,
            last_event: 0,
            digest: Digest(seed),
            trace: VecDeque::new(),
            trace_lines_max: 0,
        }
    }

    /// A number nobody has had in this world.
    pub(super) fn fresh_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// A random time for one way over the wire, nanoseconds.
    pub(super) fn latency(&mut self) -> u64 {
        let faults = self.faults;
        self.rng.between(faults.latency_ns_min, faults.latency_ns_max.max(faults.latency_ns_min))
    }

    /// Puts an event into the queue, `delay` nanoseconds from now, behind all others of that moment.
    pub(super) fn after(&mut self, delay: u64, event: Event) {
        self.at(self.now.saturating_add(delay), event);
    }

    /// Puts an event into the queue at a moment (now, if that has passed).
    pub(super) fn at(&mut self, time: u64, event: Event) {
        self.last_event += 1;
        self.events.insert((time.max(self.now), self.last_event), event);
    }

    /// When the next event is due.
    pub(super) fn next_event(&self) -> Option<Timestamp> {
        self.events.first_key_value().map(|((time, _), _)| Timestamp(*time))
    }

    /// Processes the next event; false where there is none.
    pub(super) fn step(&mut self) -> bool {
        let Some(((time, _), event)) = self.events.pop_first() else { return false };
        self.now = time;
        self.stats.events += 1;
        match event {
            Event::Run(port) => self.run_port(port),
            Event::Finish(port, serial) => self.finish(port, serial),
            Event::Orphan(orphans) => self.run_orphans(orphans),
            Event::Repeat(flight) => self.repeat(&flight),
            Event::DialArrives(dial) => self.dial_arrives(dial),
            Event::DialAnswered(dial, answer) => self.dial_answered(dial, answer),
            Event::DialExpires(dial) => self.dial_expires(dial),
            Event::Notice(port, from, detail) => self.notice(port, from, detail),
        }
        true
    }

    /// Processes everything due in the next `nanoseconds`, and moves the clock by them.
    pub(super) fn advance(&mut self, nanoseconds: u64) {
        let until = self.now.saturating_add(nanoseconds);
        while self.next_event().is_some_and(|time| time.0 <= until) {
            self.step();
        }
        self.now = until;
    }

    /// Adds a line to the digest, and to the trace if one is kept.
    pub(super) fn note(&mut self, line: fmt::Arguments<'_>) {
        self.digest.line(self.now, line);
        if self.trace_lines_max == 0 {
            return;
        }
        while self.trace.len() >= self.trace_lines_max {
            self.trace.pop_front();
        }
        self.trace.push_back(format!("{:>12} ns  {line}", self.now));
    }

    /// Keeps the last `lines_max` lines of the trace from now on.
    pub(super) fn keep_trace(&mut self, lines_max: usize) {
        self.trace_lines_max = lines_max;
        while self.trace.len() > lines_max {
            self.trace.pop_front();
        }
    }

    /// The kept lines.
    pub(super) fn trace(&self) -> Vec<String> {
        self.trace.iter().cloned().collect()
    }

    /// A hash of all that happened.
    pub(super) fn digest(&self) -> u64 {
        self.digest.0
    }
}

/// A running hash of what was noted (FNV-1a): equal runs have equal digests.
#[derive(Debug)]
struct Digest(u64);

impl Digest {
    fn line(&mut self, time: u64, line: fmt::Arguments<'_>) {
        self.bytes(&time.to_le_bytes());
        // `write_str` below never fails, so neither does this.
        let _ = fmt::write(self, line);
    }
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }
}

impl fmt::Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}
