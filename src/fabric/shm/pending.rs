//! A port before it is wired, and the bytes by which the other side finds it.
//!
//! Imports `domain`, `table`, `mapping`, `ring`, `port`.

use super::domain::{Named, ShmDomain};
use super::life::LifeWord;
use super::mapping::{Mapping, Span};
use super::peer::{Denied, Wanted};
use super::port::{Granted, Parts, ShmPort};
use super::ring::{LINE_BYTES, SLOT_HEADER_BYTES, stride};
use super::table::{PortWords, file_number, no_place, shared_region};
use super::words::Word;
use crate::fabric::descriptor::PORT_ADDRESS_BYTES;
use crate::fabric::{FabricError, PendingPort, PortAddress, PortOptions};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

const MAGIC: u32 = u32::from_le_bytes(*b"hfP1");

/// A port's place in its domain's table, held.
#[derive(Debug)]
pub(crate) struct Place {
    domain: ShmDomain,
    index: u32,
    words: PortWords,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.domain.table().remove_port(self.index, &self.words);
    }
}

/// Slots for messages, in this process's memory or in the partner's.
#[derive(Debug)]
pub(crate) struct Slots {
    span: Span,
    count: u64,
    stride: usize,
    message_bytes_max: usize,
}

impl Slots {
    fn bytes(count: u64, message_bytes_max: usize) -> usize {
        LINE_BYTES + count as usize * stride(message_bytes_max)
    }

    fn new(mapping: &Arc<Mapping>, count: u64, message_bytes_max: usize) -> Option<Self> {
        let sane = count.is_power_of_two() && count <= 1 << 15 && (8..=1 << 16).contains(&message_bytes_max);
        let whole = Span::whole(mapping);
        if !sane || !whole.holds(0, Self::bytes(count, message_bytes_max)) {
            return None;
        }
        Some(Self { span: whole, count, stride: stride(message_bytes_max), message_bytes_max })
    }

    /// How many.
    #[inline]
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Longest message.
    #[inline]
    pub(crate) fn message_bytes_max(&self) -> usize {
        self.message_bytes_max
    }

    #[inline]
    fn at(&self, number: u64) -> usize {
        LINE_BYTES + (number & (self.count - 1)) as usize * self.stride
    }

    /// The two words of the slot of a message: its sequence, and what it is.
    #[inline]
    pub(crate) fn words(&self, number: u64) -> Option<(&AtomicU64, &AtomicU64)> {
        let at = self.at(number);
        Some((self.span.word(at)?, self.span.word(at + 8)?))
    }

    /// Copies a message's payload in; false where it is too long.
    #[inline]
    pub(crate) fn write(&self, number: u64, bytes: &[u8]) -> bool {
        bytes.len() <= self.message_bytes_max && self.span.write(self.at(number) + SLOT_HEADER_BYTES, bytes)
    }

    /// Copies a message's payload out; false where it is too long.
    #[inline]
    pub(crate) fn read(&self, number: u64, into: &mut [u8]) -> bool {
        into.len() <= self.message_bytes_max && self.span.read(self.at(number) + SLOT_HEADER_BYTES, into)
    }
}

/// A port of the partner, as the other side of it sees it: its words, and whether its process lives.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    /// The port's words.
    pub(crate) words: PortWords,
    /// Its process's word.
    pub(crate) life: LifeWord,
}

impl Watched {
    /// Whether the port can be used and its process has not ended. Two loads.
    #[inline]
    pub(crate) fn is_ready(&self) -> bool {
        self.words.is_ready() && self.life.is_alive()
    }
}

/// A port's address, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// Where its domain's table is.
    pub(crate) table: Named,
    /// The number of that table.
    pub(crate) token: u64,
    /// Its place in the table.
    pub(crate) index: u32,
    /// Its own number.
    pub(crate) number: u64,
    ring_file: i32,
    ring_slots: u32,
    message_bytes_max: u32,
}

impl Parsed {
    fn encode(&self) -> PortAddress {
        let words = [
            MAGIC,
            self.table.process,
            self.table.file as u32,
            self.ring_file as u32,
            self.index,
            self.ring_slots,
            self.message_bytes_max,
            0,
            self.number as u32,
            (self.number >> 32) as u32,
            self.token as u32,
            (self.token >> 32) as u32,
        ];
        let mut bytes = [0; PORT_ADDRESS_BYTES];
        for (into, word) in bytes.chunks_exact_mut(4).zip(words) {
            into.copy_from_slice(&word.to_le_bytes());
        }
        PortAddress(bytes)
    }

    /// None where the bytes are no shm port's.
    pub(crate) fn decode(address: &PortAddress) -> Option<Self> {
        let mut words = [0u32; PORT_ADDRESS_BYTES / 4];
        for (word, bytes) in words.iter_mut().zip(address.0.chunks_exact(4)) {
            *word = u32::from_le_bytes(bytes.try_into().ok()?);
        }
        let [magic, process, table, ring, index, ring_slots, message_bytes_max, _, n0, n1, t0, t1, ..] = words;
        let long = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        (magic == MAGIC).then_some(Self {
            table: Named { process, file: table as i32 },
            token: long(t0, t1),
            index,
            number: long(n0, n1) & (u64::MAX >> 8),
            ring_file: ring as i32,
            ring_slots,
            message_bytes_max,
        })
    }
}

/// A port made, and not yet wired. Dropping it gives its place back.
#[derive(Debug)]
pub struct ShmPendingPort {
    domain: ShmDomain,
    place: Place,
    own: Slots,
    ring_file: i32,
    options: PortOptions,
}

impl ShmPendingPort {
    pub(crate) fn new(domain: &ShmDomain, options: &PortOptions) -> Result<Self, FabricError> {
        let count = u64::from(options.receive_work_requests_max).next_power_of_two();
        let message_bytes_max = options.message_bytes_max as usize;
        let region = Arc::new(shared_region(Slots::bytes(count, message_bytes_max), false)?);
        let ring_file = file_number(&region);
        let own = Mapping::own(region).and_then(|mapping| Slots::new(&mapping, count, message_bytes_max));
        let own = own.ok_or_else(|| no_place("a port's messages"))?;
        let (index, words) = domain.table().add_port()?;
        let place = Place { domain: domain.clone(), index, words };
        if let Some(word) = own.span.word(0) {
            word.store_release(place.words.number());
        }
        Ok(Self { domain: domain.clone(), place, own, ring_file, options: *options })
    }

    /// Its words in the table, for whoever watches it.
    pub(crate) fn words(&self) -> &PortWords {
        &self.place.words
    }

    fn parsed(&self) -> Parsed {
        Parsed {
            table: self.domain.named(),
            token: self.domain.table().token(),
            index: self.place.index,
            number: self.place.words.number(),
            ring_file: self.ring_file,
            ring_slots: self.own.count as u32,
            message_bytes_max: self.own.message_bytes_max as u32,
        }
    }

    fn find(&self, partner: &Parsed) -> Result<Option<(Watched, Slots)>, Denied> {
        let table = self.domain.foreign(partner.table, |table| table.token() == partner.token)?;
        let Some(table) = table else { return Ok(None) };
        let Some(words) = table.port(partner.index, partner.number) else { return Ok(None) };
        let ring = table.peer().map(partner.ring_file, Wanted { writable: true, bytes_min: 1 })?;
        let slots = Slots::new(&ring, partner.ring_slots.into(), partner.message_bytes_max as usize);
        let slots = slots.filter(|slots| slots.span.word(0).is_some_and(|word| word.load_acquire() == partner.number));
        Ok(slots.map(|slots| (Watched { words, life: table.life().clone() }, slots)))
    }

    /// A port without a partner's port: it reads what the domain `token` exposes for as long as `watched` is ready.
    pub(crate) fn observe(self, watched: Watched, token: u64) -> ShmPort {
        self.into_port(watched, token, None)
    }

    fn into_port(self, peer: Watched, peer_domain: u64, peer_slots: Option<Slots>) -> ShmPort {
        let granted = Granted::from(&self.options);
        let own = self.place.words.clone();
        let domain = self.domain.number();
        ShmPort::new(Parts { place: self.place, own, peer, domain, peer_domain, slots: self.own, peer_slots, granted })
    }
}

impl PendingPort for ShmPendingPort {
    type Port = ShmPort;

    fn address(&self) -> PortAddress {
        self.parsed().encode()
    }

    /// Maps the other side's table and its ring of messages.
    ///
    /// # Errors
    /// [`FabricError::Protocol`] where the bytes name no port, [`FabricError::LinkLost`] where its process is gone,
    /// [`FabricError::System`] at a limit of this process.
    fn connect(self, partner: &PortAddress) -> Result<ShmPort, FabricError> {
        let wrong =
            |detail: &str| FabricError::Protocol { address: self.domain.partner().clone(), detail: detail.to_owned() };
        let Some(parsed) = Parsed::decode(partner) else {
            return Err(wrong("what it sent names no shm port"));
        };
        match self.find(&parsed) {
            Ok(Some((watched, slots))) => Ok(self.into_port(watched, parsed.token, Some(slots))),
            Ok(None) => Err(wrong("the port that it sent is not in its process's memory")),
            Err(Denied::Gone) => Err(self.domain.lost("its process is gone")),
            Err(Denied::Unfit(what)) => Err(wrong(what)),
            Err(denied @ (Denied::Call(..) | Denied::Kernel(_))) => {
                let tried = format!("wiring a port to process {}", parsed.table.process);
                let refused = denied.system(tried, parsed.table.process);
                Err(refused.unwrap_or_else(|| self.domain.lost(denied.to_string())))
            }
        }
    }
}
