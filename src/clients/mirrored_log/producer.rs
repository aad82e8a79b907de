//! Appending: space in the ring, in place.

use super::error::LogError;
use super::lsn::Lsn;
use super::record::{self, RECORD_HEADER_BYTES};
use super::shared::{Opened, Shared};
use crate::memory::RingSpan;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Instant;

/// Appends to a log. One for each thread, or one shared by many: appending is lock-free.
#[derive(Debug, Clone)]
pub struct Producer {
    shared: Arc<Shared>,
    number: u32,
}

/// No record was reserved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReserveError {
    /// The ring is full: truncate the log, wait for the partner, or take a larger ring.
    #[error(
        "the log's ring is full: records are acknowledged or truncated too slowly, or the ring is too small for what comes at once"
    )]
    Full,
    /// The record is longer than a ring takes.
    #[error("a record of {bytes} bytes is too long: this log takes {max}; a larger ring takes a quarter of it")]
    TooLong {
        /// What was asked for.
        bytes: usize,
        /// The most.
        max: usize,
    },
    /// The log's ring lies in a file or a named segment, which anybody of this user can map and write: nothing is handed out in place there.
    /// Use [`Producer::append`], or vouch for it: [`LogConfig::in_place`](super::LogConfig::in_place).
    #[error(
        "the log's ring lies in a file or a named segment, so nothing is reserved in place: use `append`, or `LogConfig::in_place`"
    )]
    NamedMemory,
    /// The log is not open yet: it waits for the partner, to know what to go on with.
    #[error("the log is not open yet: it waits for the partner, to know what to go on with")]
    NotOpen,
    /// The log has ended.
    #[error("the log has ended: {0}")]
    Ended(LogError),
}

impl Producer {
    pub(super) fn new(shared: Arc<Shared>, name: &str) -> Self {
        let number = shared.add_producer(name);
        Self { shared, number }
    }

    /// Reserves a record of `bytes` bytes. No allocation, no lock, no system call.
    ///
    /// # Errors
    /// [`ReserveError`].
    #[inline]
    pub fn reserve(&self, bytes: usize) -> Result<Reservation<'_>, ReserveError> {
        if self.shared.opened.get().is_some_and(|opened| !opened.ring.is_in_place()) {
            return Err(self.not_in_place(bytes));
        }
        match self.claim(bytes) {
            Some(Claimed { span, opened, length }) => Ok(Reservation { span: Some(span), opened, length }),
            None => Err(self.refused(bytes)),
        }
    }

    /// Claims a record's space, if a record can be had. Small, so that it stays in registers: an error that is carried along does not.
    #[inline]
    fn claim(&self, bytes: usize) -> Option<Claimed<'_>> {
        let opened = self.shared.opened.get()?;
        let length = u32::try_from(bytes).ok().filter(|_| bytes <= record_bytes_max(opened))?;
        if self.shared.ended.get().is_some() {
            return None;
        }
        let (gap, span) = opened.ring.claim(record::size_of_record(length), self.number).ok()?;
        if let Some(gap) = gap {
            pad(gap, opened);
        }
        Some(Claimed { span, opened, length })
    }

    /// What holds whatever the memory is comes first.
    #[cold]
    fn not_in_place(&self, bytes: usize) -> ReserveError {
        match self.refused(bytes) {
            ReserveError::Full => ReserveError::NamedMemory,
            other => other,
        }
    }

    /// Why none could be had.
    #[cold]
    fn refused(&self, bytes: usize) -> ReserveError {
        if let Some(why) = self.shared.ended.get() {
            return ReserveError::Ended(why.clone());
        }
        match self.shared.opened.get() {
            None => ReserveError::NotOpen,
            Some(opened) if bytes > record_bytes_max(opened) => {
                ReserveError::TooLong { bytes, max: record_bytes_max(opened) }
            }
            Some(_) => ReserveError::Full,
        }
    }

    /// Reserves a record of `bytes` bytes, and waits for room and for the log to open until `deadline`. Spins, then sleeps.
    ///
    /// # Errors
    /// [`ReserveError`]: [`ReserveError::Full`] or [`ReserveError::NotOpen`] where that has not changed by the deadline.
    pub fn reserve_until(&self, bytes: usize, deadline: Instant) -> Result<Reservation<'_>, ReserveError> {
        self.until(deadline, || self.reserve(bytes))
    }

    /// Tries until it succeeds, fails for good, or the deadline has passed.
    fn until<T>(
        &self,
        deadline: Instant,
        mut attempt: impl FnMut() -> Result<T, ReserveError>,
    ) -> Result<T, ReserveError> {
        let mut last = ReserveError::Full;
        let reserved = self.shared.sleepers.wait(Some(deadline), || match attempt() {
            Err(error @ (ReserveError::Full | ReserveError::NotOpen)) => {
                last = error;
                None
            }
            other => Some(other),
        });
        reserved.unwrap_or(Err(last))
    }

    /// Appends a copy of `bytes`: reserve, copy, commit. Whatever memory the ring lies in. No allocation, no lock, no system call.
    ///
    /// # Errors
    /// [`ReserveError`].
    #[inline]
    pub fn append(&self, bytes: &[u8]) -> Result<Lsn, ReserveError> {
        let Some(mut claimed) = self.claim(bytes.len()) else { return Err(self.refused(bytes.len())) };
        match claimed.payload() {
            Some(payload) => {
                payload.copy_from_slice(bytes);
                Ok(claimed.seal())
            }
            None => Ok(claimed.copy_in(bytes)),
        }
    }

    /// Appends a copy of `bytes`, and waits for room and for the log to open until `deadline`. Spins, then sleeps.
    ///
    /// # Errors
    /// As [`Producer::reserve_until`].
    pub fn append_until(&self, bytes: &[u8], deadline: Instant) -> Result<Lsn, ReserveError> {
        self.until(deadline, || self.append(bytes))
    }
}

/// A record's space, and what its header needs.
struct Claimed<'a> {
    span: RingSpan<'a>,
    opened: &'a Opened,
    length: u32,
}

impl Claimed<'_> {
    #[inline]
    fn payload(&mut self) -> Option<&mut [u8]> {
        payload_mut(&mut self.span, self.length)
    }

    /// Copies the whole record in, header last, and publishes it. Where it begins.
    #[cold]
    fn copy_in(mut self, bytes: &[u8]) -> Lsn {
        let (lsn, opened) = (Lsn(self.span.start()), self.opened);
        let header = record::header_of(bytes, lsn, opened.generation, opened.history);
        let written = self.span.write(RECORD_HEADER_BYTES, bytes).and_then(|()| self.span.write(0, &header));
        debug_assert!(written.is_ok(), "a span holds what was reserved");
        self.span.publish();
        lsn
    }

    /// Seals the record and publishes it. Where it begins.
    #[inline]
    fn seal(mut self) -> Lsn {
        let (lsn, opened) = (Lsn(self.span.start()), self.opened);
        let sealed = self
            .span
            .bytes_mut()
            .is_some_and(|bytes| record::seal(bytes, lsn, opened.generation, opened.history, self.length));
        debug_assert!(sealed, "a span in place holds what was reserved");
        self.span.publish();
        lsn
    }
}

/// The payload in a record's space.
#[inline]
fn payload_mut<'a>(span: &'a mut RingSpan<'_>, length: u32) -> Option<&'a mut [u8]> {
    span.bytes_mut()?.get_mut(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + length as usize)
}

/// The longest record.
#[inline]
fn record_bytes_max(opened: &Opened) -> usize {
    (opened.ring.bytes() / 4) as usize - RECORD_HEADER_BYTES
}

/// Fills the end of a lap.
#[cold]
fn pad(mut gap: RingSpan<'_>, opened: &Opened) {
    let (lsn, bytes) = (Lsn(gap.start()), gap.end() - gap.start());
    let length = bytes.saturating_sub(RECORD_HEADER_BYTES as u64) as u32;
    let mut header = [0; RECORD_HEADER_BYTES];
    let sealed = record::seal_padding(&mut header, lsn, opened.generation, opened.history, length);
    let written = gap.write(0, &header);
    debug_assert!(sealed && written.is_ok(), "a gap holds a header");
    gap.publish();
}

/// A record's space in the ring, to be written in place. What it holds at first is left over from earlier records.
///
/// Dropping it leaves a hole that readers skip, as [`Reservation::abort`] does. One that is forgotten ([`std::mem::forget`]) holds up every
/// record behind it, and is reported by the poller: [`LogEvent::Stalled`](super::LogEvent::Stalled).
#[derive(Debug)]
pub struct Reservation<'a> {
    /// None once it is published.
    span: Option<RingSpan<'a>>,
    opened: &'a Opened,
    length: u32,
}

impl Reservation<'_> {
    /// Where the record begins.
    #[inline]
    pub fn lsn(&self) -> Lsn {
        Lsn(self.span.as_ref().map_or(0, RingSpan::start))
    }

    /// Publishes it; it is durable when [`MirroredLog::durable`](super::MirroredLog::durable) is greater than what this returns. One pass over
    /// the bytes, for the checksum.
    #[inline]
    pub fn commit(mut self) -> Lsn {
        match self.span.take() {
            Some(span) => Claimed { span, opened: self.opened, length: self.length }.seal(),
            None => self.lsn(),
        }
    }

    /// Gives it up: readers skip the hole.
    pub fn abort(self) {}
}

impl Drop for Reservation<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(mut span) = self.span.take() {
            let (lsn, opened) = (Lsn(span.start()), self.opened);
            let mut header = [0; RECORD_HEADER_BYTES];
            let sealed = record::seal_abort(&mut header, lsn, opened.generation, opened.history, self.length);
            let written = span.write(0, &header);
            debug_assert!(sealed && written.is_ok(), "a span holds a header");
            span.publish();
        }
    }
}

impl Deref for Reservation<'_> {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        let bytes = self.span.as_ref().and_then(RingSpan::bytes).unwrap_or_default();
        bytes.get(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + self.length as usize).unwrap_or_default()
    }
}

impl DerefMut for Reservation<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.span.as_mut().and_then(|span| payload_mut(span, self.length)).unwrap_or_default()
    }
}
