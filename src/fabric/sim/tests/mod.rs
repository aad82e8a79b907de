//! Tests of the simulator itself: what it moves, how it fails, and that it does so the same way every time.

mod determinism;
mod faults;
mod links;
mod nodes;
mod storm;
mod transfer;

use super::*;
use crate::fabric::{
    AccessFlags, Address, Completion, Dial, DialPurpose, Domain, Endpoint, EndpointEvent, Exposed, Fabric, Link,
    LinkMonitor, LinkSlot, PageSizes, PendingPort, Port, PortOptions, PortState, PostError, Remote, RemoteDescriptor,
    WorkCompletionStatus, WorkRequest,
};
use crate::memory::{Buffer, Region};
use std::sync::atomic::Ordering;

type Outcome = Result<(), Box<dyn std::error::Error>>;
type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

const SIZES: PageSizes = PageSizes { status: 4096, mailbox: 4096 };
const SECOND: Duration = Duration::from_secs(1);
const MICROS: fn(u64) -> Duration = Duration::from_micros;

/// One node with its endpoint, and the link it dialled.
struct Side {
    node: SimNode,
    endpoint: SimEndpoint,
    link: Link<SimNode>,
}

impl Side {
    fn mailbox(&self) -> Fallible<SimRemote> {
        Ok(self.link.mailbox.clone().ok_or("no mailbox")?.1)
    }
}

/// Two nodes, `a` and `b`, each with a link to the other in the other's slot 0.
struct Pair {
    sim: Sim,
    a: Side,
    b: Side,
}

fn slot(number: u8) -> Fallible<LinkSlot> {
    Ok(LinkSlot::new(number).ok_or("no such slot")?)
}

fn address(name: &str) -> Fallible<Address> {
    Ok(format!("sim://{name}:1").parse()?)
}

/// Dials and accepts.
fn connect(sim: &Sim, from: &SimNode, to: &mut SimEndpoint, into: LinkSlot) -> Fallible<Link<SimNode>> {
    let mut dial = from.dial(to.address(), DialPurpose::Session)?;
    for _ in 0..1000 {
        if let Some(EndpointEvent::Incoming(incoming)) = to.poll() {
            to.accept(incoming, into)?;
        }
        if let Some(link) = dial.poll()? {
            return Ok(link);
        }
        sim.step();
    }
    Err("the dial never came through".into())
}

fn pair(seed: u64, faults: Faults) -> Fallible<Pair> {
    let sim = Sim::new(seed, faults);
    let (a, b) = (sim.node("a"), sim.node("b"));
    let (mut at_a, mut at_b) = (a.listen(&address("a")?, SIZES)?, b.listen(&address("b")?, SIZES)?);
    let from_a = connect(&sim, &a, &mut at_b, slot(0)?)?;
    let from_b = connect(&sim, &b, &mut at_a, slot(0)?)?;
    let (a, b) = (Side { node: a, endpoint: at_a, link: from_a }, Side { node: b, endpoint: at_b, link: from_b });
    Ok(Pair { sim, a, b })
}

/// A client's port and domain on one node.
struct Client {
    port: SimPort,
    domain: SimDomain,
}

/// A port on each node, wired to each other.
fn clients(pair: &Pair, options: &PortOptions) -> Fallible<(Client, Client)> {
    let (of_a, of_b) = (pair.a.node.domain(&pair.a.link)?, pair.b.node.domain(&pair.b.link)?);
    let (port_a, port_b) = (of_a.port(options)?, of_b.port(options)?);
    let (at_a, at_b) = (port_a.address(), port_b.address());
    let a = Client { port: port_a.connect(&at_b)?, domain: of_a };
    let b = Client { port: port_b.connect(&at_a)?, domain: of_b };
    Ok((a, b))
}

fn region() -> Fallible<Region> {
    Ok(Region::builder(4096).pinned(false).build()?)
}

fn buffer(domain: &SimDomain, bytes: &[u8]) -> Fallible<Buffer> {
    let mut buffer = domain.buffer(region()?)?;
    buffer.truncate(bytes.len());
    buffer.as_mut_slice().copy_from_slice(bytes);
    Ok(buffer)
}

/// Exposes a page of the other side's, imported here.
fn expose(owner: &Client, user: &Client, access: AccessFlags) -> Fallible<(Exposed, SimRemote)> {
    let exposed = owner.domain.expose(region()?, access)?;
    let remote = user.domain.import(exposed.descriptor())?;
    Ok((exposed, remote))
}

fn poll_one(port: &mut SimPort) -> Option<Completion> {
    let mut completions = [Completion::default()];
    (port.poll(&mut completions) == 1).then(|| std::mem::take(&mut completions[0]))
}

/// Steps until the port has a completion.
fn complete(sim: &Sim, port: &mut SimPort) -> Fallible<Completion> {
    for _ in 0..100_000 {
        if let Some(completion) = poll_one(port) {
            return Ok(completion);
        }
        if !sim.step() {
            break;
        }
    }
    Err("nothing completes".into())
}

/// Steps until the port has a completion; its status.
fn status(sim: &Sim, port: &mut SimPort) -> Fallible<WorkCompletionStatus> {
    Ok(complete(sim, port)?.status)
}

fn bytes_at(region: &Region, offset: usize, length: usize) -> Fallible<Vec<u8>> {
    let mut bytes = vec![0; length];
    region.read(offset, &mut bytes)?;
    Ok(bytes)
}
