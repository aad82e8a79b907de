//! Complete handshakes, one after the other, on two open links.

use crate::hot::Linked;
use handfast::fabric::shm::Shm;
use handfast::fabric::{Completion, Domain, Endpoint, Link, LinkSlot, Port, WorkRequest};
use handfast::handshake::{Action, EndReason, Handshake, Parties, PreSharedKey};
use handfast::memory::{Buffer, Region};
use handfast::page::mailbox::{CONFIRMATION_OFFSET, GREETING_BYTES, GREETING_OFFSET, HANDSHAKE_BYTES as MAILBOX_PART};
use handfast::page::status::HANDSHAKE_BYTES;
use handfast::page::{Incarnation, VersionRange};

/// One node's half.
struct Half {
    handshake: Handshake,
    /// The slot of the link that the partner dialled.
    slot: LinkSlot,
    read: Option<Buffer>,
    write: Option<Buffer>,
}

/// Two nodes that open sessions with each other, again and again.
pub(crate) struct Steps {
    linked: Linked,
    halves: [Half; 2],
}

fn parties(index: usize, key: bool) -> Parties {
    let node = |index: usize| ["a", "b"][index].parse().expect("a node's name");
    Parties {
        cluster: "hot".parse().expect("a cluster's name"),
        node: node(index),
        partner: node(1 - index),
        versions: VersionRange::CURRENT,
        key: key.then(|| PreSharedKey::new(&[9; 32]).expect("a key")),
    }
}

fn buffer(link: &Link<Shm>, bytes: usize) -> Option<Buffer> {
    let region = Region::builder(bytes).pinned(false).build().expect("memory");
    Some(link.domain.buffer(region).expect("a buffer").split_at(bytes).0)
}

impl Steps {
    pub(crate) fn new(key: bool) -> Self {
        let linked = Linked::new();
        let halves = [0, 1].map(|index| {
            let mut handshake = Handshake::new(parties(index, key), Incarnation(index as u64 + 1), [index as u8; 32]);
            let slot = linked.links[1 - index].1;
            handshake.accepted(slot);
            handshake.link_up(linked.links[index].1);
            let link = &linked.links[index].0;
            Half { handshake, slot, read: buffer(link, HANDSHAKE_BYTES), write: buffer(link, GREETING_BYTES) }
        });
        Self { linked, halves }
    }

    /// One complete handshake: from two nodes that have given the last session up to one that both hold. Returns the rounds it took.
    pub(crate) fn once(&mut self) -> u32 {
        for half in &mut self.halves {
            half.handshake.end(EndReason::Exchange);
        }
        for round in 1..=64 {
            for index in 0..2 {
                self.advance(index);
            }
            let [a, b] = [0, 1].map(|index| self.halves[index].handshake.established());
            if let (Some(a), Some(b)) = (a, b) {
                assert!(a.id == b.id, "two sessions");
                return round;
            }
        }
        panic!("no session in 64 rounds");
    }

    fn advance(&mut self, index: usize) {
        let (half, endpoint) = (&mut self.halves[index], &mut self.linked.endpoints[index]);
        let mut mail = [0; MAILBOX_PART];
        let mailbox = endpoint.mailbox(half.slot).expect("a mailbox");
        assert!(mailbox.read(0, &mut mail).is_ok());
        assert!(half.handshake.mailbox(half.slot, &mail).close.is_none());
        assert!(endpoint.status().write(0, &half.handshake.encode()).is_ok());
        half.complete(&mut self.linked.links[index].0);
        half.post(&mut self.linked.links[index].0);
        half.complete(&mut self.linked.links[index].0);
    }
}

impl Half {
    fn complete(&mut self, link: &mut Link<Shm>) {
        let mut completions = [Completion::default(), Completion::default()];
        let count = link.port.poll(&mut completions);
        for completion in completions.iter_mut().take(count) {
            assert!(completion.is_success(), "a step failed");
            let buffer = completion.buffer.take();
            if completion.id == 1 {
                let bytes = buffer.as_ref().and_then(|buffer| buffer.as_slice().first_chunk());
                self.handshake.read_done(bytes.expect("the bytes of the status block"));
                self.read = buffer;
            } else {
                self.handshake.write_done();
                self.write = buffer;
            }
        }
    }

    fn post(&mut self, link: &mut Link<Shm>) {
        let Some((_, mailbox)) = &link.mailbox else { return };
        let posted = match self.handshake.action() {
            Action::Read { .. } => {
                let buffer = self.read.take().expect("the buffer of READs");
                link.port.post_read(WorkRequest::signalled(1), buffer, &link.status, 0)
            }
            Action::WriteGreeting => {
                let buffer = filled(&mut self.write, &self.handshake.greeting());
                link.port.post_write(WorkRequest::signalled(2), buffer, mailbox, GREETING_OFFSET as u64)
            }
            Action::WriteConfirmation => {
                let buffer = filled(&mut self.write, &self.handshake.confirmation());
                link.port.post_write(WorkRequest::signalled(2), buffer, mailbox, CONFIRMATION_OFFSET as u64)
            }
            Action::Dial | Action::Wait => return,
        };
        assert!(posted.is_ok(), "a step was refused");
        self.handshake.posted();
    }
}

fn filled(place: &mut Option<Buffer>, bytes: &[u8]) -> Buffer {
    let mut buffer = place.take().expect("the buffer of WRITEs");
    buffer.restore();
    buffer.truncate(bytes.len());
    buffer.as_mut_slice().copy_from_slice(bytes);
    buffer
}
