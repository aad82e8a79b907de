//! The world that is explored: two nodes with their real handshakes and mailboxes, and what is under way between them.

use handfast::fabric::{LINK_SLOTS, LinkSlot};
use handfast::handshake::{Established, Handshake, Phase};
use handfast::page::SessionId;
use handfast::page::mailbox::{self, CONFIRMATION_BYTES, CONFIRMATION_OFFSET, GREETING_BYTES};
use handfast::page::status::{self, ACK_OFFSET, CORE_OFFSET, Core};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Bytes of a status block as the partner READs it.
pub(crate) type Page = [u8; status::HANDSHAKE_BYTES];
/// Bytes of a mailbox as its owner looks at it.
pub(crate) type Mailbox = [u8; mailbox::HANDSHAKE_BYTES];

/// Node 0 or 1.
pub(crate) type Side = usize;

/// The incarnation of a node's process number `lives`.
pub(crate) fn incarnation(side: Side, lives: u8) -> u64 {
    (side as u64 + 1) * 100 + u64::from(lives)
}

/// A WRITE, bytes and all.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Write {
    Greeting([u8; GREETING_BYTES]),
    Confirmation([u8; CONFIRMATION_BYTES]),
}

impl Write {
    /// Lands in a mailbox.
    pub(crate) fn land(&self, mailbox: &mut Mailbox) {
        match self {
            Self::Greeting(bytes) => mailbox[..GREETING_BYTES].copy_from_slice(bytes),
            Self::Confirmation(bytes) => mailbox[CONFIRMATION_OFFSET..].copy_from_slice(bytes),
        }
    }

    /// Whether it lies in the mailbox already.
    pub(crate) fn lies_in(&self, mailbox: &Mailbox) -> bool {
        match self {
            Self::Greeting(bytes) => mailbox[..GREETING_BYTES] == bytes[..],
            Self::Confirmation(bytes) => mailbox[CONFIRMATION_OFFSET..] == bytes[..],
        }
    }
}

impl fmt::Debug for Write {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Greeting(bytes) => write!(formatter, "{:?}", mailbox::Greeting::decode(bytes)),
            Self::Confirmation(bytes) => write!(formatter, "{:?}", mailbox::Confirmation::decode(bytes)),
        }
    }
}

/// A link at its accepting end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Accepted {
    /// A stranger dialled it, and not the partner.
    pub stranger: bool,
    /// The dialling end still stands.
    pub live: bool,
    pub mailbox: Mailbox,
    /// Posted by a dialler that has gone since, and may still land.
    pub late: Option<Write>,
    /// What was written over this link: any of it may be repeated.
    pub past: Vec<Write>,
}

/// A link at its dialling end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Dialled {
    pub slot: LinkSlot,
    /// The accepting end still stands.
    pub live: bool,
}

/// An operation that was carried out and whose completion is still under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    /// A READ; `alive` is the incarnation that ran at the partner at that moment.
    Read { bytes: Box<Page>, alive: u64 },
    /// The first half of a READ: names and core, or only the acknowledgements.
    HalfRead { bytes: Box<Page>, core_first: bool },
    /// The WRITE of the confirmation.
    Confirmation,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub handshake: Handshake,
    /// Processes so far, this one counted.
    pub lives: u8,
    pub dialled: Option<Dialled>,
    pub operation: Option<Operation>,
    pub slots: [Option<Box<Accepted>>; LINK_SLOTS],
    /// What the partner still READs while the newest status is not published yet.
    pub published: Option<Box<Page>>,
    /// The incarnation that ran at the partner when the READ of step 3 was carried out.
    pub checked: u64,
    /// The session it confirmed last.
    pub said: Option<SessionId>,
}

impl Node {
    pub(crate) fn established(&self) -> Option<&Established> {
        self.handshake.established()
    }

    pub(crate) fn phase(&self) -> Option<Phase> {
        self.handshake.phase()
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.handshake.own().incarnation.0
    }

    pub(crate) fn is_held(&self) -> bool {
        self.handshake.is_held_by_partner()
    }

    pub(crate) fn attempt(&self) -> u64 {
        self.handshake.own().attempt.0
    }

    /// What a READ finds here now.
    pub(crate) fn page(&self) -> Box<Page> {
        self.published.clone().unwrap_or_else(|| Box::new(self.handshake.encode()))
    }

    pub(crate) fn is_leaving(&self) -> bool {
        let mut core = [0; ACK_OFFSET - CORE_OFFSET];
        core.copy_from_slice(&self.handshake.encode()[CORE_OFFSET..ACK_OFFSET]);
        Core::decode(&core).is_ok_and(|core| core.leaving)
    }

    pub(crate) fn link(&self, slot: LinkSlot) -> Option<&Accepted> {
        self.slots[slot.number()].as_deref()
    }

    pub(crate) fn link_mut(&mut self, slot: LinkSlot) -> Option<&mut Accepted> {
        self.slots[slot.number()].as_deref_mut()
    }
}

/// A node and the hash of it: most steps change one node of two.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Hashed {
    pub node: Node,
    pub hash: u64,
}

impl Hashed {
    pub(crate) fn new(node: Node) -> Arc<Self> {
        let hash = hash_of(&node);
        Arc::new(Self { node, hash })
    }
}

impl fmt::Debug for Hashed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = &self.node;
        let link = match &node.dialled {
            None => "no link",
            Some(dialled) if !dialled.live => "dead link",
            Some(_) => "link",
        };
        let session = if node.established().is_some() { "ESTABLISHED" } else { "no session" };
        let operation = if node.operation.is_some() { ", operation under way" } else { "" };
        let (life, attempt, phase) = (node.lives, node.attempt(), node.phase());
        write!(formatter, "life {life}, attempt {attempt}, {link}, {phase:?}, {session}{operation}")
    }
}

/// 64 bits in, 64 bits out, by a folded multiplication: hashing states is most of the work, and nobody attacks it.
#[derive(Default)]
pub(crate) struct Folded(u64);

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word) ^ (chunk.len() as u64) << 56);
        }
    }
    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product as u64 ^ (product >> 64) as u64).rotate_left(23).wrapping_add(0x2545_f491_4f6c_dd1d);
    }
    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }
    fn finish(&self) -> u64 {
        let mut last = Self(self.0);
        last.write_u64(0xa076_1d64_78bd_642f);
        last.0
    }
}

pub(crate) fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = Folded(0x1656_67b1_9e37_79f9);
    value.hash(&mut hasher);
    hasher.finish()
}

/// What somebody who sees the wire has kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Captured {
    Letter { from: Side, write: Write },
    Page { of: Side, bytes: Box<Page> },
}

/// How often each fault may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Budget {
    /// A process dies.
    pub crash: u8,
    /// A link, or an operation on it, fails at its dialling end.
    pub cut: u8,
    /// A link is lost at its accepting end.
    pub drop: u8,
    /// An old WRITE is carried out again.
    pub repeat: u8,
    /// A READ or a look at a mailbox is torn.
    pub torn: u8,
    /// A stranger dials.
    pub dial: u8,
    /// A stranger writes into its mailbox.
    pub letter: u8,
    /// A READ is answered with an old page.
    pub old_page: u8,
    /// A node leaves in order.
    pub leave: u8,
    /// A node ends its session of its own accord.
    pub end: u8,
}

/// One state.
#[derive(Clone)]
pub(crate) struct World {
    pub nodes: [Arc<Hashed>; 2],
    pub budget: Budget,
    pub captured: Arc<Vec<Captured>>,
    /// Which of the noteworthy things have happened.
    pub marks: u8,
}

impl World {
    /// A confirmation landed, and its writer was told that it failed.
    pub(crate) const LANDED: u8 = 1;
    /// An old greeting was carried out again.
    pub(crate) const REPEATED: u8 = 2;
    /// A node learned that its partner left.
    pub(crate) const LEFT: u8 = 4;
    /// A status changed, and the edition did not: it would never be published.
    pub(crate) const UNTOLD: u8 = 8;

    pub(crate) fn node(&self, side: Side) -> &Node {
        &self.nodes[side].node
    }

    /// To be changed; the model hashes it again.
    pub(crate) fn node_mut(&mut self, side: Side) -> &mut Node {
        &mut Arc::make_mut(&mut self.nodes[side]).node
    }

    /// Identifies the two nodes, whatever may still go wrong.
    pub(crate) fn nodes_key(&self) -> (u64, u64) {
        (self.nodes[0].hash, self.nodes[1].hash)
    }
}

impl fmt::Debug for World {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a: {:?} | b: {:?}", self.nodes[0], self.nodes[1])
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        let key = |world: &Self| (world.nodes_key(), world.budget, world.marks);
        key(self) == key(other) && self.captured == other.captured
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.nodes_key(), self.budget, self.marks).hash(hasher);
        self.captured.hash(hasher);
    }
}
