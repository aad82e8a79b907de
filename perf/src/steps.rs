//! The four steps on an open link: handfast's own, and the same four operations of 64 bytes by bare atomics.

use crate::bare::{Arena, LINE_WORDS, load_line, store_line};
use crate::control::{Command, Control, Stalled, lines, spin};
use crate::machine::ticks_ordered;
use crate::nodes::{address, listening};
use handfast::fabric::shm::{Shm, ShmEndpoint};
use handfast::fabric::{
    Completion, Dial, DialPurpose, Domain, Endpoint, EndpointEvent, Fabric, Link, LinkSlot, PageSizes, Port,
    WorkRequest,
};
use handfast::handshake::{Action, Handshake, Parties, Phase, PreSharedKey};
use handfast::memory::{Buffer, Region};
use handfast::page::mailbox::{self, CONFIRMATION_OFFSET, GREETING_OFFSET, MAILBOX_BYTES};
use handfast::page::status::{self, STATUS_BYTES};
use handfast::page::{Incarnation, VersionRange};
use std::error::Error;
use std::time::{Duration, Instant};

/// The accepting side's. The dialling side counts its lives from 1, and a partner of the same
/// incarnation would be taken for a reflection of one's own page.
const INCARNATION_THERE: Incarnation = Incarnation(u64::MAX / 2);

/// Whether the two have a key in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keyed {
    /// They have none.
    No,
    /// They have one.
    Yes,
}

impl Keyed {
    fn port(self) -> u16 {
        match self {
            Self::No => listening::STEPS.0,
            Self::Yes => listening::STEPS.1,
        }
    }
}

fn parties(node: &str, partner: &str, keyed: Keyed) -> Result<Parties, Box<dyn Error>> {
    let key = match keyed {
        Keyed::No => None,
        Keyed::Yes => Some(PreSharedKey::new(&[0x5a; 32])?),
    };
    let (cluster, node, partner) = ("perf".parse()?, node.parse()?, partner.parse()?);
    Ok(Parties { cluster, node, partner, versions: VersionRange::CURRENT, key })
}

/// The dialling side.
pub(crate) struct Dialler {
    link: Link<Shm>,
    slot: LinkSlot,
    parties: Parties,
    read: Option<Buffer>,
    completions: [Completion; 1],
    lives: u64,
}

impl Dialler {
    /// Opens the link. The peer must be waiting for a command: it accepts links then.
    pub(crate) fn open(run: u32, keyed: Keyed) -> Result<Self, Box<dyn Error>> {
        let (mut dial, began) = (Shm::new().dial(&address(run, keyed.port())?, DialPurpose::Session)?, Instant::now());
        let link = loop {
            if let Some(link) = dial.poll()? {
                break link;
            }
            if began.elapsed() > Duration::from_secs(10) {
                return Err(Stalled.into());
            }
        };
        let slot = link.mailbox.as_ref().ok_or("the link has no mailbox")?.0;
        let region = Region::builder(status::HANDSHAKE_BYTES).pinned(false).build()?;
        let (read, _) = link.domain.buffer(region)?.split_at(status::HANDSHAKE_BYTES);
        let (parties, completions) = (parties("a", "b", keyed)?, Default::default());
        Ok(Self { link, slot, parties, read: Some(read), completions, lives: 0 })
    }

    /// Runs the four steps so many times, each time as a node that has just started; ticks of each.
    #[inline(never)]
    pub(crate) fn run(&mut self, turns: u64) -> Result<Vec<u64>, Box<dyn Error>> {
        let mut ticks = Vec::with_capacity(turns as usize);
        for _ in 0..turns {
            self.lives += 1;
            let mut seed = [7; 32];
            seed[..8].copy_from_slice(&self.lives.to_ne_bytes());
            let mut handshake = Handshake::new(self.parties.clone(), Incarnation(self.lives), seed);
            handshake.link_up(self.slot);
            let from = ticks_ordered();
            let outcome = spin(|| self.step(&mut handshake).is_none_or(|phase| phase == Phase::Watch));
            outcome.map_err(|stalled| {
                let (phase, obstacle) = (handshake.phase(), handshake.obstacle());
                format!("life {} stays in {phase:?}, obstacle {obstacle:?}: {stalled}", self.lives)
            })?;
            ticks.push(ticks_ordered().wrapping_sub(from));
            if handshake.phase() != Some(Phase::Watch) {
                return Err("an operation of the four steps failed".into());
            }
        }
        Ok(ticks)
    }

    /// One operation and its completion; the phase after it, none where it failed.
    #[inline]
    fn step(&mut self, handshake: &mut Handshake) -> Option<Phase> {
        let (_, mailbox) = self.link.mailbox.as_ref()?;
        let (port, request) = (&mut self.link.port, WorkRequest::signalled(0));
        let posted = match handshake.action() {
            Action::Read { .. } => port.post_read(request, self.read.take()?, &self.link.status, 0).is_ok(),
            Action::WriteGreeting => {
                port.post_write_inline(request, &handshake.greeting(), mailbox, GREETING_OFFSET as u64).is_ok()
            }
            Action::WriteConfirmation => {
                port.post_write_inline(request, &handshake.confirmation(), mailbox, CONFIRMATION_OFFSET as u64).is_ok()
            }
            _ => false,
        };
        handshake.posted();
        let polled = posted && port.poll(&mut self.completions) == 1;
        let [completion] = &mut self.completions;
        if !polled || !completion.is_success() {
            return None;
        }
        match completion.buffer.take() {
            Some(buffer) => {
                handshake.read_done(buffer.as_slice().first_chunk()?);
                self.read = Some(buffer);
            }
            None => handshake.write_done(),
        }
        handshake.phase()
    }
}

/// The accepting side.
pub(crate) struct Acceptor {
    endpoint: ShmEndpoint,
    handshake: Handshake,
    slot: Option<LinkSlot>,
    published: [u8; status::HANDSHAKE_BYTES],
}

impl Acceptor {
    /// Listens.
    pub(crate) fn listen(run: u32, keyed: Keyed) -> Result<Self, Box<dyn Error>> {
        let sizes = PageSizes { status: STATUS_BYTES, mailbox: MAILBOX_BYTES };
        let endpoint = Shm::new().listen(&address(run, keyed.port())?, sizes)?;
        let handshake = Handshake::new(parties("b", "a", keyed)?, INCARNATION_THERE, [9; 32]);
        let mut acceptor = Self { endpoint, handshake, slot: None, published: [0; status::HANDSHAKE_BYTES] };
        acceptor.publish()?;
        Ok(acceptor)
    }

    /// Takes in a link that waits. Enters the kernel: not while it is measured.
    pub(crate) fn accept(&mut self) -> Result<(), Box<dyn Error>> {
        if let (None, Some(EndpointEvent::Incoming(incoming))) = (self.slot, self.endpoint.poll()) {
            let slot = self.handshake.slot_for_newcomer().ok_or("no link slot is free")?;
            self.endpoint.accept(incoming, slot)?;
            self.handshake.accepted(slot);
            self.slot = Some(slot);
            self.publish()?;
        }
        Ok(())
    }

    /// Answers greetings until stopped.
    #[inline(never)]
    pub(crate) fn serve(&mut self, control: &Control<'_>, command: &Command) -> Result<(), Box<dyn Error>> {
        let slot = self.slot.ok_or("no link was accepted")?;
        let (mut bytes, mut seen) = ([0; mailbox::HANDSHAKE_BYTES], [0; mailbox::HANDSHAKE_BYTES]);
        while !control.is_stopped(command) {
            self.endpoint.mailbox(slot).ok_or("the mailbox is gone")?.read(0, &mut bytes)?;
            if bytes == seen {
                continue;
            }
            let edition = self.handshake.edition();
            let _ = self.handshake.mailbox(slot, &bytes);
            seen = bytes;
            if self.handshake.edition() != edition {
                self.publish()?;
            }
        }
        Ok(())
    }

    /// Writes the lines that changed, as a session does.
    fn publish(&mut self) -> Result<(), Box<dyn Error>> {
        let bytes = self.handshake.encode();
        for (number, (old, new)) in self.published.chunks_exact_mut(64).zip(bytes.chunks_exact(64)).enumerate() {
            if old != new {
                self.endpoint.status().write(number * 64, new)?;
                old.copy_from_slice(new);
            }
        }
        Ok(())
    }
}

/// The four operations by bare atomics, so many times.
#[inline(never)]
pub(crate) fn bare_steps(arena: &Arena, turns: u64, base: u64) -> Result<Vec<u64>, Box<dyn Error>> {
    let (status, greeting) = (arena.line(lines::STATUS)?, arena.line(lines::GREETING)?);
    let confirmation = arena.line(lines::CONFIRMATION)?;
    let mut ticks = Vec::with_capacity(turns as usize);
    for word in base + 1..=base + turns {
        let from = ticks_ordered();
        let first = load_line(status);
        store_line(greeting, &[word, first[1], 0, 0, 0, 0, 0, 0]);
        let mut answer = [0; LINE_WORDS];
        spin(|| {
            answer = load_line(status);
            answer[0] == word
        })?;
        store_line(confirmation, &[word, answer[1], 0, 0, 0, 0, 0, 0]);
        ticks.push(ticks_ordered().wrapping_sub(from));
    }
    Ok(ticks)
}

/// Acknowledges bare greetings until stopped.
#[inline(never)]
pub(crate) fn acknowledge_bare(arena: &Arena, control: &Control<'_>, command: &Command) -> Result<(), Box<dyn Error>> {
    let (status, greeting) = (arena.line(lines::STATUS)?, arena.line(lines::GREETING)?);
    // Words rise from command to command, so what lies there from earlier ones is never taken for new.
    let mut seen = command.base;
    while !control.is_stopped(command) {
        let word = greeting[0].load(std::sync::atomic::Ordering::Acquire);
        if word > seen {
            let words = load_line(greeting);
            store_line(status, &[word, words[1] + 1, words[2], 0, 0, 0, 0, 0]);
            seen = word;
        }
    }
    Ok(())
}
