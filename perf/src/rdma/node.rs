//! One of our two processes: an endpoint, a link to the other's, a domain, and in it one port and memory both ways.
//!
//! Wired by hand over the pipes between the two, without a manager: nothing but what is measured runs while it is measured.

use crate::rdma::pipe::Pipe;
use handfast::fabric::verbs::{Verbs, VerbsEndpoint, VerbsPort, VerbsRemote};
use handfast::fabric::{
    AccessFlags, Address, Dial, DialPurpose, Domain, Endpoint, EndpointEvent, Exposed, Fabric, Link, LinkSlot,
    PageSizes, PendingPort, PortAddress, PortOptions, RemoteDescriptor, WorkRequest,
};
use handfast::memory::{Buffer, Region};
use std::error::Error;
use std::time::{Duration, Instant};

/// Longest transfer, bytes.
pub(crate) const TRANSFER_BYTES: usize = 64 << 10;
/// Requests in flight of a stream: the default depth of perftest.
pub(crate) const DEPTH: usize = 128;
/// Polled at once in a stream, as perftest does.
pub(crate) const POLL: usize = 16;

/// How long links may take to stand.
const PATIENCE: Duration = Duration::from_secs(20);

/// See the module.
pub(crate) struct Node {
    /// The port.
    pub(crate) port: VerbsPort,
    /// Memory here, which the other side reads and writes.
    pub(crate) memory: Exposed,
    /// Memory there.
    pub(crate) remote: VerbsRemote,
    /// Buffers of the longest transfer; taken while they are in use.
    pub(crate) buffers: Vec<Buffer>,
    // The port goes first, then what it was made from.
    _link: Link<Verbs>,
    _endpoint: VerbsEndpoint,
}

impl Node {
    /// Listens, dials, is dialled, and wires its port to the other side's.
    pub(crate) fn open(
        at: &Address,
        partner: &Address,
        buffers: usize,
        pipe: &mut Pipe,
    ) -> Result<Self, Box<dyn Error>> {
        let fabric = Verbs::new()?;
        let (endpoint, link) = meet(&fabric, at, partner)?;
        let domain = fabric.domain(&link)?;
        let access = AccessFlags::REMOTE_READ.union(AccessFlags::REMOTE_WRITE);
        let region = Region::builder(TRANSFER_BYTES).backing(domain.backing(access)).build()?;
        let memory = domain.expose(region, access)?;
        let pending = domain.port(&PortOptions::new().send_work_requests(DEPTH as u32))?;
        pipe.say(&format!("{} {}", hex(&pending.address().0), hex(&memory.descriptor().encode())))?;
        let line = pipe.hear()?;
        let (address, descriptor) = line.split_once(' ').ok_or("expected a port and a descriptor")?;
        let port = pending.connect(&PortAddress(from_hex(address)?))?;
        let remote = domain.import(&RemoteDescriptor::decode(&from_hex(descriptor)?))?;
        let region = Region::builder(TRANSFER_BYTES * buffers).build()?;
        let mut buffers = domain.buffer(region)?.split_into(TRANSFER_BYTES);
        buffers.iter_mut().for_each(|buffer| buffer.as_mut_slice().fill(0xA1));
        // The other side may post only once this one is wired.
        pipe.say("wired")?;
        pipe.hear()?;
        Ok(Self { port, memory, remote, buffers, _link: link, _endpoint: endpoint })
    }
}

/// A link there, and one from there.
fn meet(fabric: &Verbs, at: &Address, partner: &Address) -> Result<(VerbsEndpoint, Link<Verbs>), Box<dyn Error>> {
    let mut endpoint = fabric.listen(at, PageSizes { status: 4096, mailbox: 4096 })?;
    let slot = LinkSlot::new(0).ok_or("no slot")?;
    let (mut dial, mut link, mut accepted) = (None, None, false);
    let began = Instant::now();
    loop {
        match endpoint.poll() {
            Some(EndpointEvent::Incoming(incoming)) => {
                endpoint.accept(incoming, slot)?;
                accepted = true;
            }
            Some(event) => return Err(format!("while the processes met: {event:?}").into()),
            None => {}
        }
        if link.is_none() {
            let current = match dial.take() {
                Some(current) => current,
                None => fabric.dial(partner, DialPurpose::Session)?,
            };
            (dial, link) = advance(current)?;
        }
        match link {
            Some(link) if accepted => return Ok((endpoint, link)),
            other => link = other,
        }
        if began.elapsed() > PATIENCE {
            return Err(format!("no links within {PATIENCE:?}").into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

type Advanced = (Option<<Verbs as Fabric>::Dial>, Option<Link<Verbs>>);

/// Polls a dial; one that was refused, since the other process does not listen yet, is gone.
fn advance(mut dial: <Verbs as Fabric>::Dial) -> Result<Advanced, Box<dyn Error>> {
    match dial.poll() {
        Ok(Some(link)) => Ok((None, Some(link))),
        Ok(None) => Ok((Some(dial), None)),
        Err(_) => {
            std::thread::sleep(Duration::from_millis(20));
            Ok((None, None))
        }
    }
}

/// A request with a completion of its own.
pub(crate) const SIGNALLED: WorkRequest = WorkRequest::signalled(0);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex<const N: usize>(text: &str) -> Result<[u8; N], Box<dyn Error>> {
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return Err(format!("expected {N} bytes in hex, got `{text}`").into());
    }
    for (number, byte) in bytes.iter_mut().enumerate() {
        let digits = text.get(2 * number..2 * number + 2).ok_or("not hex")?;
        *byte = u8::from_str_radix(digits, 16)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_there_and_back() -> Result<(), Box<dyn Error>> {
        assert_eq!(from_hex::<3>(&hex(&[0, 0x7f, 0xff]))?, [0, 0x7f, 0xff]);
        assert!(from_hex::<2>("abc").is_err() && from_hex::<2>("zzzz").is_err());
        Ok(())
    }
}
