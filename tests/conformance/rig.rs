//! Two nodes with links and domains both ways, and the small steps every test needs.

use crate::harness::{Harness, Side};
use handfast::fabric::{
    AccessFlags, Completion, Dial, DialPurpose, Domain, Endpoint, EndpointEvent, Exposed, Fabric, FabricError, Link,
    LinkSlot, PageSizes, PendingPort, Port, PortOptions,
};
use handfast::memory::{Buffer, Region};
use std::time::Duration;

pub(crate) type Outcome = Result<(), Box<dyn std::error::Error>>;
pub(crate) type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// Fabric, endpoint, domain, port and remote memory of a harness.
pub(crate) type FabricOf<H> = <H as Harness>::Fabric;
pub(crate) type EndpointOf<H> = <FabricOf<H> as Fabric>::Endpoint;
pub(crate) type DomainOf<H> = <FabricOf<H> as Fabric>::Domain;
pub(crate) type PortOf<H> = <FabricOf<H> as Fabric>::Port;
pub(crate) type RemoteOf<H> = <FabricOf<H> as Fabric>::Remote;

/// Not a multiple of a page, so that rounding shows.
pub(crate) const SIZES: PageSizes = PageSizes { status: 1000, mailbox: 600 };
/// Long enough for anything that is to happen at all.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// Lets time pass until `done` yields something.
pub(crate) fn until<H: Harness, T>(
    harness: &mut H,
    what: &str,
    mut done: impl FnMut() -> Fallible<Option<T>>,
) -> Fallible<T> {
    let node = harness.node(Side::Left);
    let deadline = node.now().after(LIMIT);
    loop {
        if let Some(value) = done()? {
            return Ok(value);
        }
        if node.now() > deadline {
            return Err(format!("waited {LIMIT:?} in vain: {what}").into());
        }
        harness.pump();
    }
}

/// Lets about this much time pass.
pub(crate) fn wait<H: Harness>(harness: &mut H, time: Duration) {
    let node = harness.node(Side::Left);
    let until = node.now().after(time);
    while node.now() < until {
        harness.pump();
    }
}

/// A node's endpoint.
pub(crate) fn listen<H: Harness>(harness: &H, side: Side, port: u16) -> Fallible<EndpointOf<H>> {
    Ok(harness.node(side).listen(&harness.address(side, port), SIZES)?)
}

/// The next thing that happens at an endpoint.
pub(crate) fn event<H: Harness>(harness: &mut H, endpoint: &mut EndpointOf<H>) -> Fallible<EndpointEvent> {
    until(harness, "an event of the endpoint", || Ok(endpoint.poll()))
}

/// A dial begun, and the request seen at the other side.
pub(crate) fn knock<H: Harness>(
    harness: &mut H,
    from: Side,
    endpoint: &mut EndpointOf<H>,
) -> Fallible<(<FabricOf<H> as Fabric>::Dial, handfast::fabric::Incoming)> {
    let mut dial = harness.node(from).dial(endpoint.address(), DialPurpose::Session)?;
    let incoming = until(harness, "a dial to arrive", || {
        if dial.poll()?.is_some() {
            return Err("a link without an accept".into());
        }
        match endpoint.poll() {
            Some(EndpointEvent::Incoming(incoming)) => Ok(Some(incoming)),
            Some(other) => Err(format!("unexpected: {other:?}").into()),
            None => Ok(None),
        }
    })?;
    Ok((dial, incoming))
}

/// A link of a dial that was accepted (or observes).
pub(crate) fn answered<H: Harness>(
    harness: &mut H,
    mut dial: <FabricOf<H> as Fabric>::Dial,
) -> Fallible<Link<FabricOf<H>>> {
    until(harness, "the answer to a dial", || Ok(dial.poll()?))
}

/// A link into a slot of an endpoint.
pub(crate) fn link<H: Harness>(
    harness: &mut H,
    from: Side,
    endpoint: &mut EndpointOf<H>,
    slot: u8,
) -> Fallible<Link<FabricOf<H>>> {
    let (dial, incoming) = knock(harness, from, endpoint)?;
    endpoint.accept(incoming, LinkSlot::new(slot).ok_or("no such slot")?)?;
    answered(harness, dial)
}

/// Two nodes with links both ways, and a clients' domain on each.
pub(crate) struct Rig<H: Harness> {
    pub(crate) harness: H,
    pub(crate) left: DomainOf<H>,
    pub(crate) right: DomainOf<H>,
    pub(crate) links: [Link<FabricOf<H>>; 2],
    pub(crate) endpoints: [EndpointOf<H>; 2],
}

impl<H: Harness> Rig<H> {
    pub(crate) fn new() -> Fallible<Self> {
        let mut harness = H::new();
        let (mut here, mut there) = (listen(&harness, Side::Left, 1)?, listen(&harness, Side::Right, 1)?);
        let out = link(&mut harness, Side::Left, &mut there, 0)?;
        let back = link(&mut harness, Side::Right, &mut here, 0)?;
        let left = harness.node(Side::Left).domain(&out)?;
        let right = harness.node(Side::Right).domain(&back)?;
        Ok(Self { harness, left, right, links: [out, back], endpoints: [here, there] })
    }

    /// Two wired ports, of the left and of the right domain.
    pub(crate) fn ports(&self, options: &PortOptions) -> Fallible<(PortOf<H>, PortOf<H>)> {
        self.ports_with(options, options)
    }

    pub(crate) fn ports_with(&self, left: &PortOptions, right: &PortOptions) -> Fallible<(PortOf<H>, PortOf<H>)> {
        wired::<H>(&self.left, left, &self.right, right)
    }

    /// Memory of the right node, as the left one addresses it.
    pub(crate) fn exposed(&self, bytes: usize, access: AccessFlags) -> Fallible<(Exposed, RemoteOf<H>)> {
        let exposed = expose::<H>(&self.right, bytes, access)?;
        let remote = self.left.import(exposed.descriptor())?;
        Ok((exposed, remote))
    }

    /// A buffer of the left domain, filled with a pattern.
    pub(crate) fn buffer(&self, bytes: usize) -> Fallible<Buffer> {
        buffer::<H>(&self.left, bytes)
    }

    /// The next `count` completions of a port, with the checks that every completion must pass.
    pub(crate) fn complete(&mut self, port: &mut PortOf<H>, count: usize) -> Fallible<Vec<Completion>> {
        complete(&mut self.harness, port, count)
    }

    /// The next completion of a port, which must be good.
    pub(crate) fn good(&mut self, port: &mut PortOf<H>, id: u64) -> Fallible<Completion> {
        let completion = self.complete(port, 1)?.pop().ok_or("no completion")?;
        if completion.id != id || !completion.is_success() {
            return Err(format!("expected id {id} good, got {completion:?}").into());
        }
        Ok(completion)
    }
}

pub(crate) fn expose<H: Harness>(domain: &DomainOf<H>, bytes: usize, access: AccessFlags) -> Fallible<Exposed> {
    let region = Region::builder(bytes).pinned(false).backing(domain.backing(access)).build()?;
    Ok(domain.expose(region, access)?)
}

/// A buffer of exactly `bytes` bytes (none too), with byte `i` being `i * 7 + 1`.
pub(crate) fn buffer<H: Harness>(domain: &DomainOf<H>, bytes: usize) -> Fallible<Buffer> {
    let mut buffer = domain.buffer(Region::builder(bytes.max(1)).pinned(false).build()?)?;
    buffer.truncate(bytes);
    let (mut buffer, _) = buffer.split_at(bytes);
    for (index, byte) in buffer.as_mut_slice().iter_mut().enumerate() {
        *byte = (index * 7 + 1) as u8;
    }
    Ok(buffer)
}

pub(crate) fn wired<H: Harness>(
    left: &DomainOf<H>,
    left_options: &PortOptions,
    right: &DomainOf<H>,
    right_options: &PortOptions,
) -> Fallible<(PortOf<H>, PortOf<H>)> {
    let (one, other) = (left.port(left_options)?, right.port(right_options)?);
    let (at_one, at_other) = (one.address(), other.address());
    Ok((one.connect(&at_other)?, other.connect(&at_one)?))
}

/// The next `count` completions of a port.
pub(crate) fn complete<H: Harness>(harness: &mut H, port: &mut PortOf<H>, count: usize) -> Fallible<Vec<Completion>> {
    let mut all = Vec::new();
    until(harness, &format!("{count} completions"), || {
        let mut some: Vec<Completion> = (0..(count - all.len()).min(16)).map(|_| Completion::default()).collect();
        let got = port.poll(&mut some);
        all.extend(some.into_iter().take(got));
        Ok((all.len() == count).then_some(()))
    })?;
    Ok(all)
}

/// Checks that nothing (more) completes for a while.
pub(crate) fn quiet<H: Harness>(harness: &mut H, port: &mut PortOf<H>) -> Outcome {
    for _ in 0..50 {
        harness.pump();
        let mut some = [Completion::default()];
        if port.poll(&mut some) != 0 {
            return Err(format!("a completion that nothing was posted for: {some:?}").into());
        }
    }
    Ok(())
}

/// Whether an error is that a link is gone.
pub(crate) fn is_lost(error: &FabricError) -> bool {
    matches!(error, FabricError::LinkLost { .. })
}
