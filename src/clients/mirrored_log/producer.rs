//! Appending: space in the ring, in place.

use super::error::LogError;
use super::lsn::Lsn;
use super::record::{self, RECORD_HEADER_BYTES};
use super::shared::{Opened, Shared};
use crate::memory::{RingFull, Span};
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
        let Some(opened) = self.shared.opened.get() else { return Err(self.not_open()) };
        if self.shared.ended.get().is_some() {
            return Err(self.not_open());
        }
        let length = match u32::try_from(bytes) {
            Ok(length) if bytes <= record_bytes_max(opened) => length,
            _ => return Err(ReserveError::TooLong { bytes, max: record_bytes_max(opened) }),
        };
        let claimed = opened.ring.claim(record::size_of_record(length), self.number);
        let (gap, span) = claimed.map_err(|RingFull| ReserveError::Full)?;
        if let Some(gap) = gap {
            pad(gap, opened);
        }
        Ok(Reservation { span: Some(span), opened, length })
    }

    /// Reserves a record of `bytes` bytes, and waits for room and for the log to open until `deadline`. Spins, then sleeps.
    ///
    /// # Errors
    /// [`ReserveError`]: [`ReserveError::Full`] or [`ReserveError::NotOpen`] where that has not changed by the deadline.
    pub fn reserve_until(&self, bytes: usize, deadline: Instant) -> Result<Reservation<'_>, ReserveError> {
        let mut last = ReserveError::Full;
        let reserved = self.shared.sleepers.wait(Some(deadline), || match self.reserve(bytes) {
            Err(error @ (ReserveError::Full | ReserveError::NotOpen)) => {
                last = error;
                None
            }
            other => Some(other),
        });
        reserved.unwrap_or(Err(last))
    }

    /// Appends a copy of `bytes`: reserve, copy, commit.
    ///
    /// # Errors
    /// [`ReserveError`].
    #[inline]
    pub fn append(&self, bytes: &[u8]) -> Result<Lsn, ReserveError> {
        let mut reservation = self.reserve(bytes.len())?;
        reservation.copy_from_slice(bytes);
        Ok(reservation.commit())
    }

    #[cold]
    fn not_open(&self) -> ReserveError {
        self.shared.ended.get().map_or(ReserveError::NotOpen, |why| ReserveError::Ended(why.clone()))
    }
}

/// The longest record.
#[inline]
fn record_bytes_max(opened: &Opened) -> usize {
    (opened.ring.bytes() / 4) as usize - RECORD_HEADER_BYTES
}

/// Fills the end of a lap.
#[cold]
fn pad(mut gap: Span<'_>, opened: &Opened) {
    let (lsn, bytes) = (Lsn(gap.start()), gap.bytes_mut());
    let length = bytes.len().saturating_sub(RECORD_HEADER_BYTES) as u32;
    let sealed = record::seal_padding(bytes, lsn, opened.generation, opened.history, length);
    debug_assert!(sealed, "a gap holds a header");
    gap.publish();
}

/// A record's space in the ring, to be written in place. What it holds at first is left over from earlier records.
///
/// Dropping it leaves a hole that readers skip, as [`Reservation::abort`] does. One that is forgotten ([`std::mem::forget`]) holds up every
/// record behind it, and is reported by the poller: [`LogEvent::Stalled`](super::LogEvent::Stalled).
#[derive(Debug)]
pub struct Reservation<'a> {
    /// None once it is published.
    span: Option<Span<'a>>,
    opened: &'a Opened,
    length: u32,
}

impl Reservation<'_> {
    /// Where the record begins.
    #[inline]
    pub fn lsn(&self) -> Lsn {
        Lsn(self.span.as_ref().map_or(0, Span::start))
    }

    /// Publishes it; it is durable when [`MirroredLog::durable`](super::MirroredLog::durable) is greater than what this returns. One pass over
    /// the bytes, for the checksum.
    #[inline]
    pub fn commit(mut self) -> Lsn {
        let lsn = self.lsn();
        if let Some(mut span) = self.span.take() {
            let (opened, length) = (self.opened, self.length);
            let sealed = record::seal(span.bytes_mut(), lsn, opened.generation, opened.history, length);
            debug_assert!(sealed, "a span holds what was reserved");
            span.publish();
        }
        lsn
    }

    /// Gives it up: readers skip the hole.
    pub fn abort(self) {}
}

impl Drop for Reservation<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(mut span) = self.span.take() {
            let (lsn, opened) = (Lsn(span.start()), self.opened);
            let sealed = record::seal_abort(span.bytes_mut(), lsn, opened.generation, opened.history, self.length);
            debug_assert!(sealed, "a span holds a header");
            span.publish();
        }
    }
}

impl Deref for Reservation<'_> {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        let bytes = self.span.as_ref().map(Span::bytes).unwrap_or_default();
        bytes.get(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + self.length as usize).unwrap_or_default()
    }
}

impl DerefMut for Reservation<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let bytes = self.span.as_mut().map(Span::bytes_mut).unwrap_or_default();
        bytes.get_mut(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + self.length as usize).unwrap_or_default()
    }
}
