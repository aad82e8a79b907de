//! The status block: what a node publishes for its partner to READ.

use crate::fabric::{LINK_SLOTS, LinkSlot};
use crate::page::checksum;
use crate::page::identity::ClientName;
use crate::page::{
    Attempt, ClusterName, Incarnation, LAYOUT, NodeId, Nonce, PageError, Proof, SessionId, VersionRange, Word,
};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const MAGIC: [u8; 4] = *b"HFSB";

/// Bytes of the whole block.
pub const STATUS_BYTES: usize = 16384;
/// Where the core begins.
pub const CORE_OFFSET: usize = 128;
/// Where the acknowledgements begin.
pub const ACK_OFFSET: usize = 192;
/// Bytes of one acknowledgement.
pub const ACK_BYTES: usize = 64;
/// What the READs of steps 1 and 3 fetch, from offset 0: identity, core, acknowledgements.
pub const HANDSHAKE_BYTES: usize = ACK_OFFSET + LINK_SLOTS * ACK_BYTES;
/// The heartbeat word.
pub const HEARTBEAT_OFFSET: usize = 448;
/// The number of the boot stage.
pub const STAGE_OFFSET: usize = 512;
/// The progress within it: done in the low half, total in the high half.
pub const PROGRESS_OFFSET: usize = 576;
/// The stage's name.
pub const STAGE_NAME_OFFSET: usize = 640;
/// The roster of clients.
pub const ROSTER_OFFSET: usize = 704;
/// Bytes of one client in the roster.
pub const ROSTER_ENTRY_BYTES: usize = 48;
/// Clients of one node, at most.
pub const CLIENTS_MAX: usize = 256;

const _: () = assert!(HANDSHAKE_BYTES == HEARTBEAT_OFFSET);
const _: () = assert!(ROSTER_OFFSET + 64 + CLIENTS_MAX * ROSTER_ENTRY_BYTES <= STATUS_BYTES);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct IdentityBytes {
    magic: [u8; 4],
    layout: U16,
    flags: U16,
    protocol_min: U16,
    protocol_max: U16,
    reserved: U32,
    cluster: [u8; 32],
    node: [u8; 16],
    padding: [u8; 60],
    checksum: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct CoreBytes {
    incarnation: U64,
    attempt: U64,
    nonce: [u8; 16],
    session: [u8; 16],
    flags: U32,
    padding: [u8; 8],
    checksum: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct AckBytes {
    link_nonce: [u8; 16],
    incarnation: U64,
    attempt: U64,
    own_attempt: U64,
    proof: [u8; 16],
    verdict: U32,
    checksum: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct StageNameBytes {
    number: U64,
    name: [u8; 48],
    padding: [u8; 4],
    checksum: U32,
}

const _: () = assert!(size_of::<IdentityBytes>() == CORE_OFFSET);
const _: () = assert!(size_of::<CoreBytes>() == ACK_OFFSET - CORE_OFFSET);
const _: () = assert!(size_of::<AckBytes>() == ACK_BYTES);
const _: () = assert!(size_of::<StageNameBytes>() == 64);

const FLAG_KEY: u16 = 1;
const FLAG_LEAVING: u32 = 1;

/// Who publishes the block: does not change while the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its node.
    pub node: NodeId,
    /// What it speaks.
    pub versions: VersionRange,
    /// Whether it has a pre-shared key, and so accepts nobody without one.
    pub has_key: bool,
}

impl Identity {
    /// Its 128 bytes.
    pub fn encode(&self) -> [u8; CORE_OFFSET] {
        let fields = IdentityBytes {
            magic: MAGIC,
            layout: LAYOUT.into(),
            flags: (if self.has_key { FLAG_KEY } else { 0 }).into(),
            protocol_min: self.versions.min.into(),
            protocol_max: self.versions.max.into(),
            reserved: 0.into(),
            cluster: *self.cluster.as_bytes(),
            node: *self.node.as_bytes(),
            padding: [0; 60],
            checksum: 0.into(),
        };
        sealed(&fields)
    }

    /// From copied-out bytes.
    pub fn decode(bytes: &[u8; CORE_OFFSET]) -> Result<Self, PageError> {
        let fields: IdentityBytes = zerocopy::transmute!(*bytes);
        // Magic and layout first: another version may keep its checksum elsewhere, and its operator wants to be told so.
        if fields.magic != MAGIC {
            return Err(if *bytes == [0; CORE_OFFSET] {
                PageError::Empty
            } else {
                PageError::Magic { found: fields.magic }
            });
        }
        if fields.layout.get() != LAYOUT {
            return Err(PageError::Layout { found: fields.layout.get(), known: LAYOUT });
        }
        checksum::check(bytes)?;
        let versions = VersionRange { min: fields.protocol_min.get(), max: fields.protocol_max.get() };
        if versions.min > versions.max {
            return Err(PageError::Field { field: "protocol versions" });
        }
        Ok(Self {
            cluster: ClusterName::from_bytes(fields.cluster).ok_or(PageError::Field { field: "cluster" })?,
            node: NodeId::from_bytes(fields.node).ok_or(PageError::Field { field: "node" })?,
            versions,
            has_key: fields.flags.get() & FLAG_KEY != 0,
        })
    }
}

/// What changes with each try: who is alive there, and which session it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Core {
    /// Its word.
    pub word: Word,
    /// The session it holds, or [`SessionId::NONE`].
    pub session: SessionId,
    /// It is about to end, in order.
    pub leaving: bool,
}

impl Core {
    /// Its 64 bytes.
    pub fn encode(&self) -> [u8; ACK_OFFSET - CORE_OFFSET] {
        sealed(&CoreBytes {
            incarnation: self.word.incarnation.0.into(),
            attempt: self.word.attempt.0.into(),
            nonce: self.word.nonce.0,
            session: self.session.0,
            flags: (if self.leaving { FLAG_LEAVING } else { 0 }).into(),
            padding: [0; 8],
            checksum: 0.into(),
        })
    }

    /// From copied-out bytes.
    pub fn decode(bytes: &[u8; ACK_OFFSET - CORE_OFFSET]) -> Result<Self, PageError> {
        checksum::check(bytes)?;
        let fields: CoreBytes = zerocopy::transmute!(*bytes);
        if fields.incarnation.get() == 0 {
            return Err(PageError::Field { field: "incarnation" });
        }
        Ok(Self {
            word: Word {
                incarnation: Incarnation(fields.incarnation.get()),
                attempt: Attempt(fields.attempt.get()),
                nonce: Nonce(fields.nonce),
            },
            session: SessionId(fields.session),
            leaving: fields.flags.get() & FLAG_LEAVING != 0,
        })
    }
}

/// What the owner thinks of the greeting in a link's mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// It has seen none.
    None,
    /// Good: acknowledged.
    Acknowledged,
    /// The proof is wrong: the keys differ.
    WrongProof,
    /// It came without a proof, and the owner has a key.
    NoProof,
    /// It is meant for another cluster or node, or comes from one.
    WrongNode,
    /// It names an incarnation or attempt of the owner that is no longer current.
    Stale,
    /// The versions do not meet.
    Versions,
}

impl Verdict {
    const ALL: [Verdict; 7] =
        [Self::None, Self::Acknowledged, Self::WrongProof, Self::NoProof, Self::WrongNode, Self::Stale, Self::Versions];

    fn code(self) -> u32 {
        Self::ALL.iter().position(|verdict| *verdict == self).unwrap_or(0) as u32
    }

    fn from_code(code: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }
}

/// The owner's answer to one accepted link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ack {
    /// Fresh for this link; [`Nonce::NONE`] where the slot is closed.
    pub link_nonce: Nonce,
    /// Whose greeting is meant.
    pub incarnation: Incarnation,
    /// Which of its attempts.
    pub attempt: Attempt,
    /// The owner's own attempt when it said so.
    pub own_attempt: Attempt,
    /// That the owner has the key.
    pub proof: Proof,
    /// What it thinks of the greeting.
    pub verdict: Verdict,
}

impl Ack {
    /// What stands in a closed slot.
    pub const CLOSED: Self = Self {
        link_nonce: Nonce::NONE,
        incarnation: Incarnation(0),
        attempt: Attempt(0),
        own_attempt: Attempt(0),
        proof: Proof::NONE,
        verdict: Verdict::None,
    };

    /// Its 64 bytes.
    pub fn encode(&self) -> [u8; ACK_BYTES] {
        sealed(&AckBytes {
            link_nonce: self.link_nonce.0,
            incarnation: self.incarnation.0.into(),
            attempt: self.attempt.0.into(),
            own_attempt: self.own_attempt.0.into(),
            proof: self.proof.0,
            verdict: self.verdict.code().into(),
            checksum: 0.into(),
        })
    }

    /// From copied-out bytes.
    pub fn decode(bytes: &[u8; ACK_BYTES]) -> Result<Self, PageError> {
        checksum::check(bytes)?;
        let fields: AckBytes = zerocopy::transmute!(*bytes);
        Ok(Self {
            link_nonce: Nonce(fields.link_nonce),
            incarnation: Incarnation(fields.incarnation.get()),
            attempt: Attempt(fields.attempt.get()),
            own_attempt: Attempt(fields.own_attempt.get()),
            proof: Proof(fields.proof),
            verdict: Verdict::from_code(fields.verdict.get()).ok_or(PageError::Field { field: "verdict" })?,
        })
    }
}

/// What the READ of step 1 or 3 fetched, validated and parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// Who publishes it.
    pub identity: Identity,
    /// Its word and session.
    pub core: Core,
    /// Its answer to our link.
    pub ack: Ack,
}

impl Snapshot {
    /// From copied-out bytes, for the link in `slot`.
    pub fn decode(bytes: &[u8; HANDSHAKE_BYTES], slot: LinkSlot) -> Result<Self, PageError> {
        Ok(Self {
            identity: Identity::decode(part(bytes, 0))?,
            core: Core::decode(part(bytes, CORE_OFFSET))?,
            ack: Ack::decode(part(bytes, ACK_OFFSET + slot.number() * ACK_BYTES))?,
        })
    }
}

/// Progress within a boot stage, as one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Progress {
    /// How much is done.
    pub done: u32,
    /// Of how much; 0 where nobody knows.
    pub total: u32,
}

impl Progress {
    /// `done` of `total`, scaled down together until both fit.
    pub fn new(done: u64, total: u64) -> Self {
        let shift = (64 - done.max(total).leading_zeros()).saturating_sub(32);
        Self { done: (done >> shift) as u32, total: (total >> shift) as u32 }
    }
    /// As the word in the page.
    pub fn to_word(self) -> u64 {
        u64::from(self.done) | u64::from(self.total) << 32
    }
    /// From the word in the page.
    pub fn from_word(word: u64) -> Self {
        Self { done: word as u32, total: (word >> 32) as u32 }
    }
    /// In percent, 0 to 100; none where the total is unknown.
    pub fn percent(self) -> Option<u32> {
        (self.total != 0).then(|| (u64::from(self.done) * 100 / u64::from(self.total)).min(100) as u32)
    }
}

/// The name of a boot stage, with the number that the stage word carries while it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StageName {
    /// Its number.
    pub number: u64,
    name: [u8; 48],
}

impl StageName {
    /// Longest name, bytes of UTF-8.
    pub const BYTES_MAX: usize = 48;

    /// A name cut at the last whole character that fits; control characters become spaces.
    pub fn new(number: u64, text: &str) -> Self {
        let mut name = [0; 48];
        let mut used = 0;
        for character in text.chars() {
            let character = if character.is_control() { ' ' } else { character };
            let Some(place) = name.get_mut(used..used + character.len_utf8()) else { break };
            character.encode_utf8(place);
            used += character.len_utf8();
        }
        Self { number, name }
    }
    /// As text.
    pub fn as_str(&self) -> &str {
        let length = self.name.iter().position(|byte| *byte == 0).unwrap_or(48);
        std::str::from_utf8(&self.name[..length]).unwrap_or("?")
    }
    /// Its 64 bytes.
    pub fn encode(&self) -> [u8; 64] {
        sealed(&StageNameBytes { number: self.number.into(), name: self.name, padding: [0; 4], checksum: 0.into() })
    }
    /// From copied-out bytes.
    pub fn decode(bytes: &[u8; 64]) -> Result<Self, PageError> {
        checksum::check(bytes)?;
        let fields: StageNameBytes = zerocopy::transmute!(*bytes);
        let length = fields.name.iter().position(|byte| *byte == 0).unwrap_or(48);
        match std::str::from_utf8(&fields.name[..length]) {
            Ok(text) if !text.chars().any(char::is_control) => {
                Ok(Self { number: fields.number.get(), name: fields.name })
            }
            _ => Err(PageError::Field { field: "stage name" }),
        }
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct RosterEntryBytes {
    name: [u8; 32],
    memory: U64,
    ports: U16,
    state: U16,
    checksum: U32,
}

const _: () = assert!(size_of::<RosterEntryBytes>() == ROSTER_ENTRY_BYTES);

/// One client as the roster shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RosterEntry {
    /// Its name.
    pub name: ClientName,
    /// Bytes of memory it offers to its counterpart.
    pub memory: u64,
    /// Ports it wants.
    pub ports: u16,
    /// Whether it is in a session now.
    pub ready: bool,
}

impl RosterEntry {
    /// Where entry `index` stands in the status block.
    pub const fn offset(index: usize) -> usize {
        ROSTER_OFFSET + 64 + index * ROSTER_ENTRY_BYTES
    }
    /// Its 48 bytes.
    pub fn encode(&self) -> [u8; ROSTER_ENTRY_BYTES] {
        sealed(&RosterEntryBytes {
            name: *self.name.as_bytes(),
            memory: self.memory.into(),
            ports: self.ports.into(),
            state: u16::from(self.ready).into(),
            checksum: 0.into(),
        })
    }
    /// From copied-out bytes.
    pub fn decode(bytes: &[u8; ROSTER_ENTRY_BYTES]) -> Result<Self, PageError> {
        checksum::check(bytes)?;
        let fields: RosterEntryBytes = zerocopy::transmute!(*bytes);
        Ok(Self {
            name: ClientName::from_bytes(fields.name).ok_or(PageError::Field { field: "client name" })?,
            memory: fields.memory.get(),
            ports: fields.ports.get(),
            ready: fields.state.get() & 1 != 0,
        })
    }
}

/// The number of clients in the roster, as the first word of its header.
pub fn roster_count(word: u64) -> usize {
    usize::try_from(word).unwrap_or(CLIENTS_MAX).min(CLIENTS_MAX)
}

/// The bytes of a section with its checksum filled in.
pub(crate) fn sealed<T: IntoBytes + Immutable, const N: usize>(fields: &T) -> [u8; N] {
    const { assert!(size_of::<T>() == N) };
    let mut bytes = [0; N];
    bytes.copy_from_slice(fields.as_bytes());
    checksum::seal(&mut bytes);
    bytes
}

/// `N` bytes of a page from `offset`. Both are constants of the layout or a checked slot number.
pub(crate) fn part<const N: usize>(bytes: &[u8], offset: usize) -> &[u8; N] {
    const EMPTY: &[u8] = &[];
    match bytes.get(offset..offset + N).unwrap_or(EMPTY).try_into() {
        Ok(part) => part,
        Err(_) => const { &[0; N] },
    }
}

#[cfg(test)]
mod tests;
