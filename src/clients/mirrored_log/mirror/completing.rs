//! What follows from completions: what the partner has, whether it lives, what is acknowledged, freed and told.

use super::super::area::PERSISTED_OFFSET;
use super::super::config::Acknowledge;
use super::super::error::LogError;
use super::super::header::HeaderState;
use super::super::lsn::Lsn;
use super::super::shared::Shared;
use super::super::wire::Purpose;
use super::super::writer::Writer;
use super::{Mirror, Sending, TELLINGS, Told};
use crate::fabric::Fabric;
use crate::memory::Buffer;
use std::sync::atomic::Ordering;

impl<F: Fabric> Mirror<F> {
    /// Takes in what is done, and acknowledges.
    #[inline]
    pub(in super::super) fn complete(
        &mut self,
        writer: Option<&mut Writer>,
        shared: &Shared,
        level: Acknowledge,
    ) -> Result<bool, LogError> {
        let Self { wire, sending, headers, restore, scrub, lease, listening, .. } = self;
        let (before, mut heartbeats) = (*sending, 0);
        let count = wire.poll(|purpose, buffer| match purpose {
            Purpose::Records(end) => sending.received = end,
            Purpose::Heartbeat(posted) => {
                heartbeats += 1;
                *listening = false;
                lease.read(beats(buffer), posted);
            }
            Purpose::Probe(posted) => {
                lease.read(beats(buffer), posted);
                sending.placed = sending.received;
                if let Some((header, true)) = &headers.posted {
                    headers.placed = Some(*header);
                    headers.posted = None;
                }
            }
            Purpose::Header(_) => {
                if let Some((_, arrived)) = &mut headers.posted {
                    *arrived = true;
                }
            }
            Purpose::Piece => {
                if let (Some(restore), Some(piece)) = (&mut *restore, buffer.take()) {
                    restore.arrived(piece);
                }
            }
            Purpose::Scrub => {
                if let (Some(scrub), Some(piece)) = (&mut *scrub, buffer.take()) {
                    scrub.done(piece);
                }
            }
            Purpose::Part | Purpose::Reply => {}
        })?;
        if count != 0
            && let Some(writer) = writer
        {
            self.acknowledge_alive(writer, shared, level);
            self.after(writer, shared, before);
        }
        // The partner's heartbeat alone is no work: a thread may go on to sleep. Not while something waits for it: readings that are further apart
        // than the lease lasts would never prove anything.
        Ok(count > heartbeats || self.lease.is_withheld())
    }

    /// Acknowledges what the partner has, if its heartbeat has moved lately: else the acknowledgement waits.
    #[inline]
    fn acknowledge_alive(&mut self, writer: &Writer, shared: &Shared, level: Acknowledge) {
        // After the READ came back: what it says of the partner's life is no younger than this look.
        if self.ticker.is_spent() && !self.renew() {
            if self.is_whole() {
                self.lease.withhold(self.now);
            }
            return;
        }
        self.acknowledge(writer, shared, level);
    }

    /// Looks at the clock, and whether the lease holds; while it does, for a millisecond at most, the counter tells.
    #[cold]
    fn renew(&mut self) -> bool {
        let lease = &self.lease;
        self.now = self.fabric.look(&mut self.ticker, |now| lease.remaining(now));
        let holds = self.lease.holds(self.now);
        if !holds {
            self.ticker.end();
        } else if self.lease.is_withheld() {
            self.to_hear = self.lease.release(self.now).or(self.to_hear);
        }
        holds
    }

    /// Reads the partner's heartbeat where nothing else did lately; what waited for it is acknowledged by the completion.
    pub(in super::super) fn listen(&mut self) -> Result<(), LogError> {
        if !self.ticker.is_spent() {
            // Records flow, or the lease was looked at within the last millisecond.
            return Ok(());
        }
        self.renew();
        self.to_hear = self.lease.tell(self.now).or(self.to_hear);
        let is_heard = self.listening || self.wire.probes != 0;
        if is_heard || !self.wire.can_probe() || self.now < self.lease.next_reading(self.now) {
            return Ok(());
        }
        self.wire.listen(self.now)?;
        self.listening = true;
        Ok(())
    }

    /// Acknowledges what the partner has, once its copy is whole.
    #[inline]
    fn acknowledge(&self, writer: &Writer, shared: &Shared, level: Acknowledge) {
        if !self.is_whole() || self.is_withheld || self.is_unnoted {
            return;
        }
        let to = match level {
            Acknowledge::Received => self.sending.received,
            Acknowledge::Placed => self.sending.placed,
            Acknowledge::Persistent => {
                // The partner's word: no more than it was sent, and whole records.
                let persisted = self.exposed.load(PERSISTED_OFFSET as usize, Ordering::Acquire);
                let persisted = Lsn(persisted.map(u64::from_le).unwrap_or(0)).min(self.sending.received);
                if !writer.is_boundary(persisted) || (persisted > shared.durable() && !writer.hands_over()) {
                    return;
                }
                persisted
            }
        };
        shared.acknowledge(to, true);
    }

    /// What else follows from completions: room is free, a refill is further, the copy is whole.
    #[inline]
    fn after(&mut self, writer: &mut Writer, shared: &Shared, before: Sending) {
        let Some(placed) = &self.headers.placed else { return };
        writer.free(placed.tail, placed.term, shared.durable());
        if self.refill.told != u64::MAX {
            self.refilled(before);
        }
    }

    #[cold]
    fn refilled(&mut self, before: Sending) {
        let Some(placed) = &self.headers.placed else { return };
        let total = self.refill.to.0 - self.refill.from.0;
        if placed.state == HeaderState::Whole {
            self.refill.told = u64::MAX;
            self.to_tell = Some(Told::Whole(placed.tail, total));
        } else if self.sending.received > before.received {
            let done = self.sending.received.min(self.refill.to).0 - self.refill.from.0;
            if done.saturating_sub(self.refill.told) > total / TELLINGS {
                self.refill.told = done;
                self.to_tell = Some(Told::Refilled(done, total));
            }
        }
    }
}

/// The heartbeat that a READ brought.
#[inline]
fn beats(buffer: &Option<Buffer>) -> u64 {
    let word = buffer.as_ref().and_then(|word| word.as_slice().first_chunk());
    word.map_or(0, |word| u64::from_le_bytes(*word))
}
