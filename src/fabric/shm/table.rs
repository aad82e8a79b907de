//! The table of a domain: what its owner exposes, and how its ports are, in memory that only the owner can write.
//!
//! Imports `memory`, `mapping`, `peer`, `words`. The kernel keeps others from writing it (F_SEAL_FUTURE_WRITE), so a partner's port state
//! and keys are as its fabric set them. Still nothing in it is trusted for more than it says: indexes, lengths and descriptors that come
//! from it are checked against what is really mapped.
//!
//! ```text
//! 0    magic, token, ports | exposures << 32, where the life word is
//! 64   ports:     128 bytes each: state word; on the next line, count of posted receives
//! ...  exposures:  32 bytes each: key, length, access | descriptor << 32, spare
//! ```

use super::life::{self, LifeName, LifeWord};
use super::mapping::{Mapping, SharedWord, Span};
use super::peer::{Denied, Peer, Wanted};
use super::words::Word;
use crate::fabric::{AccessFlags, FabricError, system};
use crate::memory::{Backing, MemoryError, Region};
use std::os::fd::AsRawFd;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

const MAGIC: u64 = u64::from_le_bytes(*b"hfTable1");
const HEADER_BYTES: usize = 64;
const PORT_BYTES: usize = 128;
const RECEIVES_AT: usize = 64;
const EXPOSURE_BYTES: usize = 32;

/// How many ports and exposures a table holds. Exposures: at most 65536, since a key carries its index in 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Ports at most.
    pub(crate) ports: u32,
    /// Exposures at most.
    pub(crate) exposures: u32,
}

impl Geometry {
    /// For one link: one port, a status block and a mailbox.
    pub(crate) const LINK: Self = Self { ports: 1, exposures: 2 };
    /// For clients.
    pub(crate) const CLIENTS: Self = Self { ports: 512, exposures: 2048 };

    fn bytes(self) -> usize {
        self.exposure_at(self.exposures)
    }
    fn port_at(self, index: u32) -> usize {
        HEADER_BYTES + index as usize * PORT_BYTES
    }
    fn exposure_at(self, index: u32) -> usize {
        self.port_at(self.ports) + index as usize * EXPOSURE_BYTES
    }
}

/// How a port is, as the low byte of its state word; the rest of the word is the port's own number, so that a later port in the same place
/// is never taken for it.
pub(crate) mod phase {
    /// It can be used.
    pub(crate) const READY: u64 = 1;
    /// It failed or was closed.
    pub(crate) const CLOSED: u64 = 2;
    /// Its owner fenced the session: nothing that is not known to have come before may be called done.
    #[allow(dead_code, reason = "set by the fence of a later change; the other side looks for it already")]
    pub(crate) const FENCED: u64 = 3;
}

/// One row of the exposures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    /// Bytes exposed.
    pub(crate) length: u64,
    /// What the owner allows.
    pub(crate) access: AccessFlags,
    /// The descriptor of the memory file in the owner's process.
    pub(crate) file: i32,
}

/// Index of the row a key belongs to.
pub(crate) fn row_of(key: u64) -> u32 {
    (key & 0xffff) as u32
}

/// Where a port's two words lie in its owner's table.
#[derive(Debug, Clone)]
pub(crate) struct PortWords {
    /// How it is.
    pub(crate) state: SharedWord,
    /// How many receives it has posted since it was made.
    pub(crate) receives_posted: SharedWord,
    /// What `state` holds while the port can be used.
    pub(crate) ready: u64,
}

impl PortWords {
    fn at(span: &Span, geometry: Geometry, index: u32, number: u64) -> Option<Self> {
        if index >= geometry.ports {
            return None;
        }
        let at = geometry.port_at(index);
        let (state, receives_posted) = (span.shared_word(at)?, span.shared_word(at + RECEIVES_AT)?);
        Some(Self { state, receives_posted, ready: number << 8 | phase::READY })
    }
    /// Whether the port can be used. One load.
    #[inline]
    pub(crate) fn is_ready(&self) -> bool {
        self.state.load_relaxed() == self.ready
    }
    /// The number that tells the port from others in its place, 56 bits.
    pub(crate) fn number(&self) -> u64 {
        self.ready >> 8
    }
    /// Sets the state word, as the owner of the port. Sequentially consistent.
    pub(crate) fn become_phase(&self, phase: u64) {
        self.state.store(self.number() << 8 | phase, Ordering::SeqCst);
    }
}

/// Memory for the other side of links, locked in memory where the limit allows it, and resident in any case. Where it does not, that is told
/// once in a process.
pub(crate) fn shared_region(bytes: usize, read_only_elsewhere: bool) -> Result<Region, MemoryError> {
    let builder = Region::builder(bytes).backing(Backing::Shared { read_only_elsewhere });
    match builder.clone().build() {
        Ok(region) => Ok(region),
        // Over the limit, most likely; whatever else it is shows itself again.
        Err(error) => {
            let region = builder.pinned(false).build()?;
            static TOLD: Once = Once::new();
            TOLD.call_once(|| tracing::info!(%error, "session memory is not locked"));
            Ok(region)
        }
    }
}

/// The descriptor number by which other processes find a region.
pub(crate) fn file_number(region: &Region) -> i32 {
    region.file().map_or(-1, |file| file.as_raw_fd())
}

/// The table of a domain of this process.
#[derive(Debug)]
pub(crate) struct Table {
    span: Span,
    geometry: Geometry,
    token: u64,
    file: i32,
    free: Mutex<Free>,
}

/// What of a table is not in use.
#[derive(Debug)]
struct Free {
    ports: Vec<u32>,
    rows: Vec<u32>,
    live_ports: Vec<(u32, u64)>,
    revoked: bool,
}

impl Table {
    /// A table with nothing in it.
    pub(crate) fn new(geometry: Geometry) -> Result<Self, FabricError> {
        let region = Arc::new(shared_region(geometry.bytes(), true)?);
        let file = file_number(&region);
        let token = random_word()?;
        let span = Mapping::own(region).map(|mapping| Span::whole(&mapping));
        let span = span.ok_or_else(|| no_place("a domain's table"))?;
        let sizes = u64::from(geometry.ports) | u64::from(geometry.exposures) << 32;
        let header = [(8, token), (16, sizes), (24, LifeName::encode(life::own())), (0, MAGIC)];
        for (at, value) in header {
            if let Some(word) = span.word(at) {
                word.store_release(value);
            }
        }
        let free = Free {
            ports: (0..geometry.ports).rev().collect(),
            rows: (0..geometry.exposures).rev().collect(),
            live_ports: Vec::new(),
            revoked: false,
        };
        Ok(Self { span, geometry, token, file, free: Mutex::new(free) })
    }

    /// The number that tells it from every other table.
    pub(crate) fn token(&self) -> u64 {
        self.token
    }

    /// The descriptor by which other processes find it.
    pub(crate) fn file(&self) -> i32 {
        self.file
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a port.
    pub(crate) fn add_port(&self) -> Result<(u32, PortWords), FabricError> {
        let number = random_word()? >> 8;
        let mut free = self.free();
        if free.revoked {
            return Err(revoked());
        }
        let full = FabricError::Exhausted { what: "ports", max: self.geometry.ports.into(), whole: "domain" };
        let index = free.ports.pop().ok_or(full)?;
        let words = PortWords::at(&self.span, self.geometry, index, number);
        let words = words.ok_or_else(|| no_place("a port's state"))?;
        words.receives_posted.store_relaxed(0);
        words.state.store_release(words.ready);
        free.live_ports.push((index, number));
        Ok((index, words))
    }

    /// Closes a port and gives its place back.
    pub(crate) fn remove_port(&self, index: u32, words: &PortWords) {
        words.become_phase(phase::CLOSED);
        let mut free = self.free();
        let before = free.live_ports.len();
        free.live_ports.retain(|live| *live != (index, words.number()));
        if free.live_ports.len() != before {
            free.ports.push(index);
        }
    }

    /// Publishes a row; returns its key.
    pub(crate) fn add_row(&self, row: Row) -> Result<u64, FabricError> {
        let random = random_word()?;
        let mut free = self.free();
        if free.revoked {
            return Err(revoked());
        }
        let full = FabricError::Exhausted { what: "regions", max: self.geometry.exposures.into(), whole: "domain" };
        let index = free.rows.pop().ok_or(full)?;
        // 48 random bits tell this use of the row from all others; never zero, which means none.
        let key = (random & !0xffff).max(1 << 16) | u64::from(index);
        let at = self.geometry.exposure_at(index);
        // The row was emptied before; nobody may see new fields under an old key.
        fence(Ordering::SeqCst);
        let access = u64::from(row.access.bits()) | u64::from(row.file as u32) << 32;
        for (offset, value) in [(8, row.length), (16, access), (0, key)] {
            if let Some(word) = self.span.word(at + offset) {
                word.store_release(value);
            }
        }
        Ok(key)
    }

    /// Empties a row: whoever looks at it from now on is refused.
    pub(crate) fn remove_row(&self, key: u64) {
        let mut free = self.free();
        self.clear_row(key);
        free.rows.push(row_of(key));
    }

    fn clear_row(&self, key: u64) {
        let word = self.span.word(self.geometry.exposure_at(row_of(key)));
        if let Some(word) = word {
            // Not where a row was cleared already by `revoke`: there it is zero and stays so.
            let _ = word.compare_exchange(key, 0, Ordering::SeqCst, Ordering::SeqCst);
        }
    }

    /// Ends all ports and all rows, and takes no more.
    pub(crate) fn revoke(&self) {
        let mut free = self.free();
        free.revoked = true;
        for (index, number) in &free.live_ports {
            if let Some(words) = PortWords::at(&self.span, self.geometry, *index, *number) {
                words.become_phase(phase::CLOSED);
            }
        }
        for index in 0..self.geometry.exposures {
            if let Some(word) = self.span.word(self.geometry.exposure_at(index)) {
                word.store(0, Ordering::SeqCst);
            }
        }
    }
}

/// The table of a domain of another process, to be read.
#[derive(Debug)]
pub(crate) struct ForeignTable {
    peer: Peer,
    life: LifeWord,
    span: Span,
    geometry: Geometry,
    token: u64,
}

impl ForeignTable {
    /// Maps the table that a process holds as descriptor `file`.
    pub(crate) fn open(peer: &Peer, file: i32) -> Result<Self, Denied> {
        let wanted = Wanted { writable: false, bytes_min: Geometry::LINK.bytes() as u64 };
        let span = Span::whole(&peer.map(file, wanted)?);
        let word = |at| span.word(at).map_or(0, Word::load_acquire);
        let (magic, token, sizes) = (word(0), word(8), word(16));
        if magic != MAGIC || token == 0 {
            return Err(Denied::Unfit("its table is not one of this version"));
        }
        let geometry = Geometry { ports: sizes as u32, exposures: (sizes >> 32) as u32 };
        let largest = Geometry { ports: 1 << 16, exposures: 1 << 16 };
        let sane = geometry.ports <= largest.ports && geometry.exposures <= largest.exposures;
        if !sane || !span.holds(0, geometry.bytes()) {
            return Err(Denied::Unfit("its table is larger than its memory file"));
        }
        let life = LifeWord::open(peer, LifeName::decode(word(24)))?;
        Ok(Self { peer: peer.clone(), life, span, geometry, token })
    }

    /// The process.
    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Its process's life word.
    pub(crate) fn life(&self) -> &LifeWord {
        &self.life
    }

    /// The number that tells it from every other table.
    pub(crate) fn token(&self) -> u64 {
        self.token
    }

    /// The words of one of its ports.
    pub(crate) fn port(&self, index: u32, number: u64) -> Option<PortWords> {
        PortWords::at(&self.span, self.geometry, index, number)
    }

    /// The row of a key and the word that holds the key, if it is (still) there.
    pub(crate) fn row(&self, key: u64) -> Option<(Row, SharedWord)> {
        let index = row_of(key);
        if index >= self.geometry.exposures || key == 0 {
            return None;
        }
        let at = self.geometry.exposure_at(index);
        let (key_word, length) = (self.span.shared_word(at)?, self.span.word(at + 8)?);
        let access = self.span.word(at + 16)?;
        if key_word.load_acquire() != key {
            return None;
        }
        let (length, access) = (length.load_acquire(), access.load_acquire());
        if key_word.load_relaxed() != key {
            return None;
        }
        let row = Row { length, access: AccessFlags::from_bits(access as u32), file: (access >> 32) as i32 };
        Some((row, key_word))
    }
}

/// A random non-zero word.
pub(crate) fn random_word() -> Result<u64, FabricError> {
    loop {
        let mut bytes = [0; 8];
        system::fill_random(&mut bytes)?;
        let word = u64::from_ne_bytes(bytes);
        if word >> 8 != 0 {
            return Ok(word);
        }
    }
}

fn revoked() -> FabricError {
    FabricError::LinkLost { address: "the partner".to_owned(), detail: "its domain was revoked".to_owned() }
}

/// What cannot happen: a mapping at address zero, or a place outside of a table of our own making.
pub(crate) fn no_place(what: &'static str) -> FabricError {
    FabricError::System { tried: format!("mapping {what}"), errno: crate::memory::Errno::new(libc::EFAULT) }
}

#[cfg(test)]
mod tests;
