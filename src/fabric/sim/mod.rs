//! A simulated fabric for tests of handfast and of engines built on it: seeded faults, virtual time, any number of nodes in one process.
//!
//! Imports `memory` and the fabric contract. No unsafe code. Everything that happens follows from the seed and from the calls a test makes, in
//! their order: the same test has the same history ([`Sim::digest`]) every time, so a failure is one seed. (Calls from several threads
//! have no fixed order; a test that wants determinism makes them from one.)
//!
//! Nothing happens by itself. Calls of a node only queue and observe; [`Sim::step`] processes the next event and moves the clock to
//! it, [`Sim::advance`] all events of a stretch of time. An operation travels to its target, is checked and carried out there, and its answer
//! travels back, each way in a random time; operations of one port keep their order. Waiting costs no real time.
//!
//! What it waives of the fabric contract: posting and polling lock and allocate. What it adds are the faults of [`Faults`], at random,
//! and at will: [`Sim::strike`], [`Sim::cut`], [`Sim::crash`], [`Sim::power_off`], [`Sim::pause`]. What really happened is in [`Sim::stats`].
//!
//! Addresses are `sim://NODE:PORT`; a node listens under its own name only.
//!
//! What its wire is like, where the contract leaves room:
//! - A node that is cut off or powered off says nothing: operations end as `RetryExceeded` after [`Faults::retry_timeout_ns`], dials as
//!   `Timeout`. A closed link and a crashed process send one notice, which [`EndpointEvent::Closed`](crate::fabric::EndpointEvent::Closed) and
//!   [`LinkMonitor::check`](crate::fabric::LinkMonitor::check) report, if it arrives. Clients' ports send none.
//! - An operation that the target refuses puts both ports in error, as on a real adapter.
//! - An operation that failed or was flushed may have been carried out, or with [`Faults::land_after_teardown_ppm`] may still be.
//! - Keys and addresses of exposed memory repeat after a restart, as on a real adapter: a stale one opens whatever now has its number.
//! - An operation on 0 bytes checks no key. Inline WRITEs carry 256 bytes at most.
//! - A dial that reaches a node which never accepts it waits for [`Faults::dial_timeout_ns`]. A dial to observe is answered without the node's calls.
//!
//! ```
//! use handfast::fabric::sim::{Faults, Sim};
//! use handfast::fabric::{Completion, Dial, DialPurpose, Domain, Endpoint, EndpointEvent, Fabric, LinkSlot, PageSizes, Port, WorkRequest};
//! use handfast::memory::Region;
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sim = Sim::new(7, Faults::none());
//! let (left, right) = (sim.node("left"), sim.node("right"));
//! let mut endpoint = right.listen(&"sim://right:1".parse()?, PageSizes { status: 4096, mailbox: 4096 })?;
//! let mut dial = left.dial(endpoint.address(), DialPurpose::Session)?;
//!
//! sim.advance(Duration::from_micros(10)); // the dial arrives
//! let Some(EndpointEvent::Incoming(incoming)) = endpoint.poll() else { return Err("no dial".into()) };
//! let slot = LinkSlot::new(0).ok_or("no slot 0")?;
//! endpoint.accept(incoming, slot)?;
//! sim.advance(Duration::from_micros(10)); // the answer arrives
//! let mut link = dial.poll()?.ok_or("no link")?;
//! let (_, mailbox) = link.mailbox.ok_or("no mailbox")?;
//!
//! let mut buffer = link.domain.buffer(Region::builder(4096).pinned(false).build()?)?;
//! buffer.truncate(5);
//! buffer.as_mut_slice().copy_from_slice(b"hello");
//! link.port.post_write(WorkRequest::signalled(1), buffer, &mailbox, 64)?;
//! sim.advance(Duration::from_micros(10)); // there and back
//!
//! let mut completions = [Completion::default()];
//! assert_eq!(link.port.poll(&mut completions), 1);
//! assert!(completions[0].is_success());
//! let mut seen = [0; 5];
//! endpoint.mailbox(slot).ok_or("no mailbox")?.read(64, &mut seen)?;
//! assert_eq!(&seen, b"hello");
//! # Ok(())
//! # }
//! ```

mod dial;
mod domain;
mod endings;
mod endpoint;
mod fate;
mod faults;
mod flight;
mod links;
mod node;
mod port;
mod queue;
mod rng;
#[cfg(test)]
mod tests;
mod wire;
mod world;

pub use dial::{SimDial, SimLinkMonitor};
pub use domain::{SimDomain, SimRemote};
pub use endpoint::SimEndpoint;
pub use faults::{Fault, Faults, Stats};
pub use node::SimNode;
pub use port::{SimPendingPort, SimPort};

use crate::fabric::Timestamp;
use fate::nanoseconds;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use world::{Shared, World, lock};

/// A simulated world: its nodes, its wires, its clock. Clones are the same world.
#[derive(Debug, Clone)]
pub struct Sim {
    world: Shared,
}

impl Sim {
    /// An empty world at time 0. All its randomness comes from `seed`.
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self { world: Arc::new(Mutex::new(World::new(seed, faults))) }
    }

    /// The live node of this name; starts one, or a crashed one again, where there is none.
    ///
    /// A name that no address can spell (see [`Address`](crate::fabric::Address)) makes a node that can dial and cannot listen.
    pub fn node(&self, name: &str) -> SimNode {
        SimNode::new(&self.world, name)
    }

    /// The clock.
    pub fn now(&self) -> Timestamp {
        Timestamp(lock(&self.world).now)
    }

    /// When the next event is due; `None` where nothing is on its way.
    pub fn next_event(&self) -> Option<Timestamp> {
        lock(&self.world).next_event()
    }

    /// Processes the next event, moving the clock to it. False where there is none; the clock stands still then.
    pub fn step(&self) -> bool {
        lock(&self.world).step()
    }

    /// Processes every event of the next `duration`, those they cause included, and moves the clock by exactly that.
    pub fn advance(&self, duration: Duration) {
        lock(&self.world).advance(nanoseconds(duration));
    }

    /// Steps until `done` says so, asking before each step. False where `limit` of virtual time passed or nothing was left to happen first.
    pub fn advance_until(&self, limit: Duration, mut done: impl FnMut() -> bool) -> bool {
        let until = self.now().after(limit);
        loop {
            if done() {
                return true;
            }
            if self.next_event().is_none_or(|next| next > until) {
                return false;
            }
            self.step();
        }
    }

    /// The seed it was made from.
    pub fn seed(&self) -> u64 {
        lock(&self.world).seed
    }

    /// The faults in force.
    pub fn faults(&self) -> Faults {
        lock(&self.world).faults
    }

    /// Puts other faults in force, for operations posted from now on. Strikes, cuts and crashes stay.
    pub fn replace_faults(&self, faults: Faults) {
        lock(&self.world).faults = faults;
    }

    /// Plans one fault for one operation to come: of those the live node `name` posts and `fault` can strike, the one after `skip` others.
    /// False where there is no such node.
    pub fn strike(&self, name: &str, skip: u64, fault: Fault) -> bool {
        lock(&self.world).strike(name, skip, fault)
    }

    /// Cuts the wire between two nodes, both ways, until it is healed. Restarts do not heal it.
    pub fn cut(&self, one: &str, other: &str) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    /// Cuts one direction of the wire: operations of `to` on `from` are carried out, and their answers do not arrive.
    pub fn cut_one_way(&self, from: &str, to: &str) {
        let mut world = lock(&self.world);
        world.note(format_args!("cut from {from} to {to}"));
        world.cuts.insert((Arc::from(from), Arc::from(to)));
    }

    /// Heals the wire between two nodes, both ways. What was tried again all the while arrives.
    pub fn heal(&self, one: &str, other: &str) {
        let mut world = lock(&self.world);
        world.note(format_args!("heal {one} and {other}"));
        for (from, to) in [(one, other), (other, one)] {
            world.cuts.remove(&(Arc::from(from), Arc::from(to)));
        }
    }

    /// Heals all wires.
    pub fn heal_all(&self) {
        let mut world = lock(&self.world);
        world.note(format_args!("heal all"));
        world.cuts.clear();
    }

    /// Marks a node as stopped (as by SIGSTOP). Its memory answers as ever, and so do dials to observe; a test makes none of its calls
    /// while [`Sim::is_paused`]. False where there is no live node of this name.
    pub fn pause(&self, name: &str) -> bool {
        lock(&self.world).pause(name, true)
    }

    /// Takes the mark back. False where there is no live node of this name.
    pub fn resume(&self, name: &str) -> bool {
        lock(&self.world).pause(name, false)
    }

    /// Whether the live node of this name is paused.
    pub fn is_paused(&self, name: &str) -> bool {
        lock(&self.world).is_paused(name)
    }

    /// Kills a node's process: its endpoints, links, ports and memory vanish. Partners of its links get a notice; operations on it fail after
    /// the retry timeout; what it had on its way may land ([`Faults::land_after_teardown_ppm`]). False where no such node lives.
    pub fn crash(&self, name: &str) -> bool {
        lock(&self.world).crash(name, true)
    }

    /// Cuts a node's power: as [`Sim::crash`], and nobody is told.
    pub fn power_off(&self, name: &str) -> bool {
        lock(&self.world).crash(name, false)
    }

    /// What happened so far, counted.
    pub fn stats(&self) -> Stats {
        lock(&self.world).stats
    }

    /// A hash of the whole history so far: equal for equal runs.
    pub fn digest(&self) -> u64 {
        lock(&self.world).digest()
    }

    /// Keeps the last `lines_max` lines of the history from now on (0, the default: none), for [`Sim::trace`].
    pub fn keep_trace(&self, lines_max: usize) {
        lock(&self.world).keep_trace(lines_max);
    }

    /// The kept lines of the history, oldest first, for a failing test to print.
    pub fn trace(&self) -> Vec<String> {
        lock(&self.world).trace()
    }
}
