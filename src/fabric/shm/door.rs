//! An endpoint's door: memory that any process of its user may write, where diallers leave requests and the owner leaves answers.
//!
//! Imports `cell`, `mapping`, `words`. Whatever somebody scribbles over it costs at worst dials: the owner copies a request out once and then checks
//! it, and nothing in the door says where anything else is but by descriptors that are checked in turn.
//!
//! ```text
//! 0        magic, token, 1 while open
//! 64       8 cells of 384 bytes: state word; request at 64: port's address, version; answer at 192: descriptors, port's address, slot
//! ```

use super::cell;
use super::mapping::{Mapping, Span};
use super::words::Word;
use crate::fabric::descriptor::{PORT_ADDRESS_BYTES, REMOTE_DESCRIPTOR_BYTES};
use crate::fabric::{LinkSlot, PortAddress, RemoteDescriptor};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// How many dials can be under way at once.
pub(crate) const CELLS: usize = 8;
/// Bytes of a door.
pub(crate) const DOOR_BYTES: usize = CELLS_AT + CELLS * CELL_BYTES;

const MAGIC: u64 = u64::from_le_bytes(*b"hfDoor01");
const OPEN: u64 = 1;
const CELLS_AT: usize = 64;
const CELL_BYTES: usize = 384;
const REQUEST_AT: usize = 64;
const ANSWER_AT: usize = 192;
const REQUEST_BYTES: usize = PORT_ADDRESS_BYTES + 8;
const ANSWER_BYTES: usize = 2 * REMOTE_DESCRIPTOR_BYTES + PORT_ADDRESS_BYTES + 8;
/// The version of requests and answers.
const VERSION: u64 = 1;

const _: () = assert!(REQUEST_AT + REQUEST_BYTES <= ANSWER_AT && ANSWER_AT + ANSWER_BYTES <= CELL_BYTES);

/// A door, mapped.
#[derive(Debug, Clone)]
pub(crate) struct Door(Span);

/// What a dialler asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    /// Its port.
    pub(crate) port: PortAddress,
}

/// What the owner answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status block.
    pub(crate) status: RemoteDescriptor,
    /// The dialler's mailbox.
    pub(crate) mailbox: RemoteDescriptor,
    /// The owner's port of the link.
    pub(crate) port: PortAddress,
    /// The link's slot.
    pub(crate) slot: LinkSlot,
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

impl Request {
    fn encode(&self) -> [u8; REQUEST_BYTES] {
        let mut bytes = [0; REQUEST_BYTES];
        bytes[..PORT_ADDRESS_BYTES].copy_from_slice(&self.port.0);
        bytes[PORT_ADDRESS_BYTES..].copy_from_slice(&VERSION.to_le_bytes());
        bytes
    }
    fn decode(bytes: &[u8; REQUEST_BYTES]) -> Option<Self> {
        let version = u64::from_le_bytes(field(bytes, PORT_ADDRESS_BYTES)?);
        (version == VERSION).then_some(Self { port: PortAddress(field(bytes, 0)?) })
    }
}

impl Answer {
    fn encode(&self) -> [u8; ANSWER_BYTES] {
        const MAILBOX_AT: usize = REMOTE_DESCRIPTOR_BYTES;
        const PORT_AT: usize = 2 * REMOTE_DESCRIPTOR_BYTES;
        const SLOT_AT: usize = PORT_AT + PORT_ADDRESS_BYTES;
        let mut bytes = [0; ANSWER_BYTES];
        bytes[..MAILBOX_AT].copy_from_slice(&self.status.encode());
        bytes[MAILBOX_AT..PORT_AT].copy_from_slice(&self.mailbox.encode());
        bytes[PORT_AT..SLOT_AT].copy_from_slice(&self.port.0);
        bytes[SLOT_AT..].copy_from_slice(&(self.slot.number() as u64).to_le_bytes());
        bytes
    }
    fn decode(bytes: &[u8; ANSWER_BYTES]) -> Option<Self> {
        let port_at = 2 * REMOTE_DESCRIPTOR_BYTES;
        let slot = u64::from_le_bytes(field(bytes, port_at + PORT_ADDRESS_BYTES)?);
        Some(Self {
            status: RemoteDescriptor::decode(&field(bytes, 0)?),
            mailbox: RemoteDescriptor::decode(&field(bytes, REMOTE_DESCRIPTOR_BYTES)?),
            port: PortAddress(field(bytes, port_at)?),
            slot: LinkSlot::new(u8::try_from(slot).ok()?)?,
        })
    }
}

impl Door {
    /// The owner's: makes it a door with this number.
    pub(crate) fn make(mapping: &Arc<Mapping>, token: u64) -> Option<Self> {
        let door = Self(Span::new(mapping, 0, DOOR_BYTES)?);
        door.mend(token)?;
        Some(door)
    }

    /// As the owner, while it listens: puts back the words that tell diallers so, where somebody wrote over them; whether that was needed.
    pub(crate) fn mend(&self, token: u64) -> Option<bool> {
        let mut mended = false;
        for (at, value) in [(8, token), (16, OPEN), (0, MAGIC)] {
            let word = self.0.word(at)?;
            if word.load_relaxed() != value {
                word.store_release(value);
                mended = true;
            }
        }
        Some(mended)
    }

    /// A dialler's: none where it is not the door with this number.
    pub(crate) fn found(mapping: &Arc<Mapping>, token: u64) -> Option<Self> {
        let door = Self(Span::new(mapping, 0, DOOR_BYTES)?);
        let is = |at, value| door.0.word(at).is_some_and(|word| word.load_acquire() == value);
        (is(0, MAGIC) && is(8, token)).then_some(door)
    }

    /// Whether its endpoint still listens (or somebody says so).
    pub(crate) fn is_open(&self) -> bool {
        self.0.word(16).is_some_and(|word| word.load_acquire() == OPEN)
    }

    /// Says that the endpoint is gone.
    pub(crate) fn close(&self) {
        if let Some(word) = self.0.word(16) {
            word.store_release(0);
        }
    }

    /// The state word of a cell.
    pub(crate) fn state(&self, cell: usize) -> Option<&AtomicU64> {
        if cell < CELLS { self.0.word(CELLS_AT + cell * CELL_BYTES) } else { None }
    }

    fn at(cell: usize, block: usize) -> usize {
        CELLS_AT + cell * CELL_BYTES + block
    }

    /// As a dialler: fills the request block of a claimed cell.
    pub(crate) fn write_request(&self, cell: usize, request: &Request) -> bool {
        self.0.write(Self::at(cell, REQUEST_AT), &request.encode())
    }

    /// As the owner: copies the request of a cell out. The outer none: it changed meanwhile; the inner one: it makes no sense.
    pub(crate) fn read_request(&self, cell: usize, asked: cell::State) -> Option<Option<Request>> {
        let mut bytes = [0; REQUEST_BYTES];
        let copied = self.0.read(Self::at(cell, REQUEST_AT), &mut bytes);
        if !copied || !cell::unchanged(self.state(cell)?, asked) {
            return None;
        }
        Some(Request::decode(&bytes))
    }

    /// As the owner: fills the answer block of a cell.
    pub(crate) fn write_answer(&self, cell: usize, answer: &Answer) -> bool {
        self.0.write(Self::at(cell, ANSWER_AT), &answer.encode())
    }

    /// As the dialler: copies the answer out; none where it makes no sense.
    pub(crate) fn read_answer(&self, cell: usize) -> Option<Answer> {
        let mut bytes = [0; ANSWER_BYTES];
        let copied = self.0.read(Self::at(cell, ANSWER_AT), &mut bytes);
        if copied { Answer::decode(&bytes) } else { None }
    }
}
