//! Who owns which stretch of a ring: claimed by a producer, published, freed. Words alone, no memory.
//!
//! Positions are bytes of an endless stream; `position % bytes` is the place in the ring. Imports nothing of the crate but, under `cfg(loom)`, the
//! words that its parent chooses: so the same code runs on the model checker's, and on weakened ones that it must reject (tests/loom_log.rs).
//!
//! ```text
//!      tail                collected           head         tail + bytes
//!  ─────┼───────────────────────┼─────────────────┼───────────────┼─────
//!  free │ published, one reader │ claimed, one    │     free      │
//!       │ may lend it           │ producer each   │               │
//! ```
//!
//! Each start of a stretch has a word of its own: since no stretch is shorter than [`GRAIN`] bytes, no two starts of one lap fall into one grain.
//! The word holds the end of the stretch once that is published, and which half of the grain it starts in. A word left from an earlier lap
//! holds an end that is not past the start, so nothing ever needs to be cleared.

#[cfg(loom)]
use super::checked::{AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering};

/// The shortest stretch, bytes: starts of two stretches are at least so far apart.
pub(crate) const GRAIN: u64 = 64;

/// Starts and ends are multiples of this.
pub(crate) const ALIGN: u64 = 32;

/// In a word: claimed and not published, by the producer of the number in the low half. As an end it would be far past every ring's.
const CLAIMED: u64 = 1 << 63;

/// Which half of its grain a stretch starts in; goes into the low bits of its word, which no end needs.
#[inline]
fn half(start: u64) -> u64 {
    (start / ALIGN) % (GRAIN / ALIGN)
}

/// Keeps a word that many threads write on a cache line of its own (two: processors fetch lines in pairs).
#[repr(align(128))]
struct Apart(AtomicU64);

/// Who owns which stretch of a ring.
pub(crate) struct Index {
    head: Apart,
    tail: Apart,
    ends: Box<[AtomicU64]>,
    bytes: u64,
}

/// Two stretches that were claimed at once: the rest of the lap where what was asked for did not fit into it, and what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Start of the first stretch: of the gap where `start` differs from it.
    pub(crate) from: u64,
    /// Start of the stretch that was asked for.
    pub(crate) start: u64,
    /// Its end.
    pub(crate) end: u64,
}

impl Index {
    /// A ring of `bytes` bytes (a power of two, [`GRAIN`] or more) that holds `tail..end` as published already.
    pub(crate) fn new(bytes: u64, tail: u64, end: u64) -> Self {
        let ends = (0..bytes / GRAIN).map(|_| AtomicU64::new(0)).collect();
        Self { head: Apart(AtomicU64::new(end)), tail: Apart(AtomicU64::new(tail)), ends, bytes }
    }

    /// Bytes of the ring.
    #[inline]
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    #[inline]
    fn word(&self, position: u64) -> &AtomicU64 {
        // `bytes` is a power of two, so the remainder is below `bytes / GRAIN`.
        &self.ends[((position & (self.bytes - 1)) / GRAIN) as usize]
    }

    /// Claims `bytes` bytes in one piece (a multiple of [`ALIGN`], [`GRAIN`] at least, a quarter of the ring at most), and before them the rest
    /// of the lap where they would cross its end. None: there is no room until more is freed.
    #[inline]
    pub(crate) fn claim(&self, bytes: u64, producer: u32) -> Option<Claim> {
        let mut from = self.head.0.load(Ordering::Relaxed);
        loop {
            let left = self.bytes - (from & (self.bytes - 1));
            let start = if bytes <= left { from } else { from + left };
            let end = start + bytes;
            // Acquire: whoever used the room before is done with it.
            let tail = self.tail.0.load(Ordering::Acquire);
            if tail > from {
                // What we saw of the head is older than this tail, which never passes it.
                from = self.head.0.load(Ordering::Relaxed);
                continue;
            }
            if end - tail > self.bytes {
                return None;
            }
            // Relaxed: a claim says nothing about other memory. The tail only rises, so there is room still if the head has not moved.
            match self.head.0.compare_exchange_weak(from, end, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    self.word(from).store(CLAIMED | u64::from(producer), Ordering::Relaxed);
                    if start != from {
                        self.word(start).store(CLAIMED | u64::from(producer), Ordering::Relaxed);
                    }
                    return Some(Claim { from, start, end });
                }
                Err(found) => from = found,
            }
        }
    }

    /// Gives a claimed stretch to the reader. Once, by whoever claimed it.
    #[inline]
    pub(crate) fn publish(&self, start: u64, end: u64) {
        self.word(start).store(end | half(start), Ordering::Release);
    }

    /// The end of the stretch that starts at `start`, once it is published. None too where none starts there. `start`: not before the tail.
    #[inline]
    pub(crate) fn published(&self, start: u64) -> Option<u64> {
        let word = self.word(start).load(Ordering::Acquire);
        let end = word & !(ALIGN - 1);
        (end > start && end - start <= self.bytes && word & (ALIGN - 1) == half(start)).then_some(end)
    }

    /// The producer that holds the stretch at `start`. None: published, or not claimed (or claimed this very moment).
    pub(crate) fn claimant(&self, start: u64) -> Option<u32> {
        let word = self.word(start).load(Ordering::Relaxed);
        (word & CLAIMED != 0 && self.head() > start).then_some(word as u32)
    }

    /// Where the next claim begins.
    #[inline]
    pub(crate) fn head(&self) -> u64 {
        self.head.0.load(Ordering::Relaxed)
    }

    /// Where what is kept begins.
    #[inline]
    pub(crate) fn tail(&self) -> u64 {
        self.tail.0.load(Ordering::Acquire)
    }

    /// Frees what lies before `to`. By the one reader; `to` lies in what it has seen published.
    pub(crate) fn free(&self, to: u64) {
        self.tail.0.store(to, Ordering::Release);
    }
}
