//! A ring of bytes that many threads fill in place and one reader sends.
//!
//! Imports its siblings. A [`RingSpan`] is a stretch of it with one owner; once published it is the
//! [`RingReader`]'s, who lends it to ports until it frees it. All the words that decide who owns what are in
//! `index` and in the table of loans, and nothing outside of this module can move them: that is what makes the
//! slices sound.
//!
//! Memory with a name (a file, a segment in /dev/shm) can be mapped or written by anybody else, safe code of this
//! process included. A ring over it gives no slices, only copies in and loans out, unless somebody vouches for
//! it: see [`InPlace`].

mod index;

use crate::memory::loan::{LOANS_MAX, LoanTable, LoanWindow};
use crate::memory::{Backing, Loan, MemoryError, Region, RingSource, copy_to_shared};
use index::Index;
#[cfg(loom)]
use loom::sync::atomic as checked;
use std::ptr::NonNull;
use std::sync::Arc;

pub(crate) use index::{ALIGN, GRAIN};

/// Positions above this are refused: 4 EiB, so that no sum of position and length overflows.
const POSITION_MAX: u64 = 1 << 62;

/// The promise that lets a ring over memory with a name hand out slices of it.
#[derive(Debug, Clone, Copy)]
pub struct InPlace(());

impl InPlace {
    /// Vouches for the file or segment behind a ring.
    ///
    /// # Safety
    /// For as long as the ring lives nobody else writes or shrinks the file: no second mapping or handle of this
    /// process is used to write it, and no other process does. A lock held by everybody who opens it will do.
    pub const unsafe fn promise() -> Self {
        Self(())
    }
}

/// A ring of bytes in pinned memory, behind an area of `base` bytes that is nobody's ring.
///
/// Any number of threads claim stretches of it, write them in place and publish them; one reader takes what is published, in order.
/// Lock-free; claims, publishing and reading allocate nothing and enter no kernel.
///
/// ```
/// use handfast::memory::{Region, Ring};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (ring, mut reader) = Ring::new(Region::builder(4096).build()?, 0, 4096, (0, 0), None)?;
/// let (_, mut span) = ring.claim(64, 0)?;
/// span.write(0, b"a record")?;
/// let start = span.start();
/// span.publish();
/// assert_eq!(reader.collect(start, 10, 4096), 64);
/// assert_eq!(reader.free(64), 64); // no loan is out
/// # Ok(())
/// # }
/// ```
pub struct Ring {
    region: Region,
    base: usize,
    index: Index,
    loans: LoanTable,
    /// Whether its owners get slices.
    in_place: bool,
}

/// No room in the ring until its reader frees some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ring is full: free what is no longer needed, or let loans come back")]
pub struct RingFull;

/// A claimed stretch of a ring: its owner's alone until it is published. One that is dropped unpublished stays claimed for ever.
#[derive(Debug)]
pub struct RingSpan<'a> {
    ring: &'a Ring,
    start: u64,
    end: u64,
}

impl Ring {
    /// A ring of `bytes` bytes (a power of two, 256 or more) behind the first `base` bytes (a multiple of 32) of a region, holding
    /// `tail..end` as published, with its reader. `promise`: lets owners have slices where the region's memory has a name.
    ///
    /// # Errors
    /// [`MemoryError`]: the region is too short or is written by others, or the numbers do not belong together.
    pub fn new(
        region: Region,
        base: usize,
        bytes: u64,
        (tail, end): (u64, u64),
        promise: Option<InPlace>,
    ) -> Result<(Arc<Self>, RingReader), MemoryError> {
        if let Backing::Shared { .. } = region.backing() {
            let backing = region.backing().describe();
            return Err(MemoryError::Backing { what: "a ring", needed: "memory of this process alone", backing });
        }
        let aligned = |position: u64| position.is_multiple_of(ALIGN);
        let rules = [
            (bytes.is_power_of_two() && bytes >= 4 * GRAIN, "its length is a power of two, 256 or more"),
            (
                (base as u64).checked_add(bytes).is_some_and(|sum| sum <= region.len() as u64),
                "it lies within the region",
            ),
            (aligned(base as u64), "it begins at a multiple of 32"),
            (aligned(tail) && aligned(end), "its positions are multiples of 32"),
            (
                end.checked_sub(tail).is_some_and(|held| held <= bytes),
                "it holds no less than nothing and no more than its length",
            ),
            (end <= POSITION_MAX, "its positions leave room to count on"),
        ];
        if let Some((_, rule)) = rules.into_iter().find(|(holds, _)| !holds) {
            let (base, region) = (base as u64, region.len() as u64);
            return Err(MemoryError::Ring { bytes, base, region, tail, end, rule });
        }
        let in_place = *region.backing() == Backing::Private || promise.is_some();
        let (index, loans) = (Index::new(bytes, tail, end), LoanTable::new(LOANS_MAX));
        let ring = Arc::new(Self { region, base, index, loans, in_place });
        let reader = RingReader { ring: Arc::clone(&ring), collected: end, window: LoanWindow::default() };
        Ok((ring, reader))
    }

    /// Claims `bytes` bytes in one piece, rounded up to a multiple of 32 and 64 at least; and where they would cross the ring's end, the
    /// gap up to there too. Both must be published. `producer`: a number to name a span by that is held up.
    ///
    /// # Errors
    /// [`RingFull`], also for more than a quarter of the ring.
    #[inline]
    pub fn claim(&self, bytes: u64, producer: u32) -> Result<(Option<RingSpan<'_>>, RingSpan<'_>), RingFull> {
        if bytes > self.index.bytes() / 4 {
            return Err(RingFull);
        }
        let bytes = bytes.next_multiple_of(ALIGN).max(GRAIN);
        let claim = self.index.claim(bytes, producer).ok_or(RingFull)?;
        let gap = (claim.from != claim.start).then_some(RingSpan { ring: self, start: claim.from, end: claim.start });
        Ok((gap, RingSpan { ring: self, start: claim.start, end: claim.end }))
    }

    /// Bytes of the ring.
    #[inline]
    pub fn bytes(&self) -> u64 {
        self.index.bytes()
    }

    /// Where the next claim begins.
    #[inline]
    pub fn head(&self) -> u64 {
        self.index.head()
    }

    /// Where what is kept begins.
    #[inline]
    pub fn tail(&self) -> u64 {
        self.index.tail()
    }

    /// The producer that holds the stretch at `position` unpublished.
    pub(crate) fn claimant(&self, position: u64) -> Option<u32> {
        self.index.claimant(position)
    }

    /// Whether a published span starts at `position`.
    pub(crate) fn is_start(&self, position: u64) -> bool {
        position >= self.tail() && position.is_multiple_of(ALIGN) && self.index.published(position).is_some()
    }

    /// Copies into the area before the ring.
    ///
    /// # Errors
    /// [`MemoryError::OutOfRange`]: it reaches into the ring.
    pub(crate) fn write_area(&self, offset: usize, bytes: &[u8]) -> Result<(), MemoryError> {
        if offset.checked_add(bytes.len()).is_none_or(|end| end > self.base) {
            let (offset, length, region) = (offset as u64, bytes.len() as u64, self.base as u64);
            return Err(MemoryError::OutOfRange { offset, length, region });
        }
        self.region.write(offset, bytes)
    }

    /// Whether owners of spans get slices; else they copy in.
    #[inline]
    pub fn is_in_place(&self) -> bool {
        self.in_place
    }

    /// Start and length of all its memory, for a device to know. Nothing is to be written through it.
    #[inline]
    pub(crate) fn memory(&self) -> (NonNull<u8>, usize) {
        (self.region.start(), self.region.len())
    }

    /// The loans that are out.
    #[inline]
    pub(crate) fn loans(&self) -> &LoanTable {
        &self.loans
    }

    /// Place of a position in the region.
    #[inline]
    fn offset(&self, position: u64) -> usize {
        self.base + (position & (self.index.bytes() - 1)) as usize
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (bytes, tail, head) = (self.bytes(), self.tail(), self.head());
        formatter.debug_struct("Ring").field("bytes", &bytes).field("tail", &tail).field("head", &head).finish()
    }
}

impl RingSpan<'_> {
    /// Where it starts.
    #[inline]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Where it ends.
    #[inline]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Its bytes. None where the ring's memory has a name and nobody vouches for it.
    #[inline]
    pub fn bytes(&self) -> Option<&[u8]> {
        if !self.ring.in_place {
            return None;
        }
        // SAFETY:
        // - live: the ring keeps its region, and is borrowed.
        // - bounds: `claim` keeps spans within one lap of the ring, and `new` the ring within the region.
        // - alias: between claim and publication a span is its owner's alone, since claims never overlap while neither is freed; `&self`
        //   forbids writing through this one. The memory has no name, or somebody vouched for it (`in_place`).
        // - device: ports are lent published stretches only, and room is not freed past a loan that is out.
        Some(unsafe { std::slice::from_raw_parts(self.pointer(), self.length()) })
    }

    /// Its bytes, to write; none where [`RingSpan::bytes`] gives none. What they hold before is left over from an earlier lap.
    #[inline]
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        if !self.ring.in_place {
            return None;
        }
        // SAFETY:
        // - live, bounds, device: as in `bytes`.
        // - alias: as in `bytes`; `&mut self` makes this the only slice of it.
        Some(unsafe { std::slice::from_raw_parts_mut(self.pointer(), self.length()) })
    }

    /// Copies `bytes` in, from `at` on: whatever memory the ring lies in.
    ///
    /// # Errors
    /// [`MemoryError::OutOfRange`].
    #[inline]
    pub fn write(&mut self, at: usize, bytes: &[u8]) -> Result<(), MemoryError> {
        if at.checked_add(bytes.len()).is_none_or(|end| end > self.length()) {
            let (length, region) = (bytes.len() as u64, self.length() as u64);
            return Err(MemoryError::OutOfRange { offset: at as u64, length, region });
        }
        // SAFETY:
        // - live: the ring keeps its region, and is borrowed.
        // - bounds: checked above; the span lies within the region, as in `bytes`.
        // - alias: `bytes` is borrowed, and no slice of this span, which is borrowed mutably. Where the memory has a name others may touch it,
        //   which the copy allows.
        unsafe { copy_to_shared(bytes.as_ptr(), self.pointer().wrapping_add(at), bytes.len()) };
        Ok(())
    }

    /// Gives it to the reader.
    #[inline]
    pub fn publish(self) {
        self.ring.index.publish(self.start, self.end);
    }

    #[inline]
    fn length(&self) -> usize {
        (self.end - self.start) as usize
    }

    #[inline]
    fn pointer(&self) -> *mut u8 {
        self.ring.region.as_ptr().wrapping_add(self.ring.offset(self.start))
    }
}

/// The one reader of a ring: takes what is published, lends it to ports, frees it.
#[derive(Debug)]
pub struct RingReader {
    ring: Arc<Ring>,
    /// Everything before this is published.
    collected: u64,
    /// Where the loans that are out are noted.
    window: LoanWindow,
}

impl RingReader {
    /// The ring.
    #[inline]
    pub fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    /// The end of what is published from `from` on, the start of a span that is collected or the next to be: of so many spans, or of so many
    /// bytes, at most (one span at least). `from` itself where none starts there.
    #[inline]
    pub fn collect(&mut self, from: u64, spans_max: usize, bytes_max: u64) -> u64 {
        let mut at = from;
        // Nothing is passed over: what lies before the end of what is collected is published.
        if from < self.ring.tail() || from > self.collected {
            return from;
        }
        for _ in 0..spans_max {
            match self.ring.index.published(at) {
                Some(end) if at == from || end - from <= bytes_max => at = end,
                _ => break,
            }
        }
        self.collected = self.collected.max(at);
        at
    }

    /// The most that was ever collected.
    #[inline]
    pub fn collected(&self) -> u64 {
        self.collected
    }

    /// Notes that the span `start..end` was there when the ring was made, for [`RingReader::collect`] to find.
    pub(crate) fn note(&self, start: u64, end: u64) {
        let fits =
            start >= self.ring.tail() && start < end && end <= self.collected && end - start <= self.ring.bytes();
        if fits && start.is_multiple_of(ALIGN) && end.is_multiple_of(ALIGN) {
            self.ring.index.publish(start, end);
        }
    }

    /// Frees what lies before `to`, for producers to write anew: no more than is collected, never back, and not past the oldest loan that is
    /// out. Returns up to where the ring is free now: ask again once more loans came back.
    pub fn free(&mut self, to: u64) -> u64 {
        let to = to.min(self.collected).min(self.ring.loans.oldest(&mut self.window)) / ALIGN * ALIGN;
        if to > self.ring.tail() {
            self.ring.index.free(to);
        }
        self.ring.tail()
    }

    /// Lends `start..end` to a port, or as much of it as lies in one piece. None where nothing of it is collected and kept, where `source` is
    /// another ring's, and where 1024 loans are out.
    #[inline]
    pub fn lend(&mut self, source: &RingSource, start: u64, end: u64) -> Option<Loan> {
        let lap = self.ring.bytes() - (start & (self.ring.bytes() - 1));
        let end = end.min(self.collected).min(start.saturating_add(lap));
        if start < self.ring.tail() || start >= end || !source.is_of(&self.ring) {
            return None;
        }
        let number = self.ring.loans.note(&mut self.window, start)?;
        Some(source.lend(self.ring.offset(start), (end - start) as usize, number))
    }

    /// The bytes of `start..end`, where all of it is collected, kept and in one piece, and the ring gives slices: for ports that copy what they
    /// are given at once.
    #[inline]
    pub(crate) fn bytes(&self, start: u64, end: u64) -> Option<&[u8]> {
        let lap = self.ring.bytes() - (start & (self.ring.bytes() - 1));
        let fits = start >= self.ring.tail() && end <= self.collected && end.checked_sub(start)? <= lap;
        let pointer = self.ring.region.as_ptr().wrapping_add(self.ring.offset(start));
        // SAFETY:
        // - live: the ring keeps its region, and `self` the ring.
        // - bounds: `start` lies in the ring, `end` at most a lap's rest behind it.
        // - alias: what is published is written by nobody until it is freed, and only this reader frees, which is borrowed. The memory has no
        //   name, or somebody vouched for it.
        // - device: ports read what they were lent, and write none of it.
        (fits && self.ring.in_place).then(|| unsafe { std::slice::from_raw_parts(pointer, (end - start) as usize) })
    }

    /// Copies out of the area before the ring, and of the ring what is kept and collected; elsewhere there are zeroes. False where the place
    /// lies outside of both.
    pub(crate) fn copy_out(&self, place: usize, into: &mut [u8]) -> bool {
        let (base, bytes) = (self.ring.base, self.ring.bytes());
        if place.checked_add(into.len()).is_none_or(|end| end as u64 > base as u64 + bytes) {
            return false;
        }
        let (area, ring) = into.split_at_mut(base.saturating_sub(place).min(into.len()));
        if !area.is_empty() && self.ring.region.read(place, area).is_err() {
            return false;
        }
        ring.fill(0);
        let (tail, first) = (self.ring.tail(), place.max(base) - base);
        // The position within one lap from the tail that lies at the first place, and the one a lap before it, which may end among the places.
        let position = tail + ((first as u64).wrapping_sub(tail) & (bytes - 1));
        for lap in [position.checked_sub(bytes), Some(position)].into_iter().flatten() {
            let from = lap.max(tail);
            let to = lap.saturating_add(ring.len() as u64).min(self.collected);
            if from < to {
                let (start, end) = ((from - lap) as usize, (to - lap) as usize);
                let copied = ring.get_mut(start..end).is_some_and(|part| {
                    // A stretch of places is one of positions too, since it does not pass the ring's end.
                    self.ring.region.read(self.ring.offset(from), part).is_ok()
                });
                if !copied {
                    return false;
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
