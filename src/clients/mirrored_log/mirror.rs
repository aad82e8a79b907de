//! The log's part in one session: finds out what the partner holds, restores from it or fills it, then sends what is committed.
//!
//! ```text
//! await the report ──► restore (READs) ──► open ─┐
//!        │                                       ▼
//!        └────────────────────────────────► header ──► records … ──► header: whole ──► acknowledged
//! ```

mod completing;

use super::area::{REPORT_OFFSET, RING_OFFSET, RingBytes};
use super::config::{Acknowledge, LogConfig};
use super::error::LogError;
use super::header::{HeaderFault, HeaderState, LogHeader};
use super::lease::{Heard, Lease};
use super::lsn::Lsn;
use super::numbers::Numbers;
use super::report::{CopyReport, REPORT_BYTES, ReportState};
use super::restore::Restore;
use super::scrub::Scrub;
use super::shared::Shared;
use super::wire::{Purpose, Wire};
use super::writer::{HEADER_INTERVAL, Writer};
use crate::fabric::{Exposed, Fabric, Ticker, Timestamp};
use crate::memory::RingSource;
use crate::session::Session;
use std::sync::Arc;

/// Records looked at for one batch.
const RECORDS_MAX: usize = 8192;

/// Requests kept free for headers, reports and probes.
const ROOM: usize = 8;

/// Progress is told so many times in one refill.
const TELLINGS: u64 = 64;

/// The log's part in one session.
pub(super) struct Mirror<F: Fabric> {
    session: Session<F>,
    pub(super) wire: Wire<F>,
    exposed: Arc<Exposed>,
    fabric: F,
    ticker: Ticker,
    /// The clock, as last looked at.
    now: Timestamp,
    lease: Lease,
    /// A READ of the heartbeat for its own sake is on its way.
    listening: bool,
    ring_bytes: RingBytes,
    source: Option<RingSource>,
    /// Nothing of this log is sent in this session.
    is_refused: bool,
    /// The partner's file says, or may say, that it has all that is acknowledged, and acknowledgements are not to wait for it: none is made.
    pub(super) is_withheld: bool,
    /// The state file does not say yet that this copy alone counts: nothing is acknowledged by it.
    pub(super) is_unnoted: bool,
    pub(super) restore: Option<Restore>,
    scrub: Option<Scrub>,
    sending: Sending,
    headers: Headers,
    /// What the partner lacked when this session began is sent once this is.
    refill: Refill,
    /// News of that, until it is taken.
    pub(super) to_tell: Option<Told>,
    /// News of the partner's heartbeat, until it is taken.
    pub(super) to_hear: Option<Heard>,
}

/// Records on their way.
#[derive(Debug, Default, Clone, Copy)]
struct Sending {
    /// Posted up to here, and the end of the batch that this is in.
    at: Lsn,
    batch_end: Lsn,
    /// Received and placed by the partner up to here.
    received: Lsn,
    placed: Lsn,
}

/// The ring's header at the partner.
#[derive(Debug, Default)]
struct Headers {
    /// On its way; whether its WRITE is complete.
    posted: Option<(LogHeader, bool)>,
    /// In the partner's memory.
    placed: Option<LogHeader>,
    /// When it is due again though nothing but the watermark has moved.
    next: Timestamp,
}

/// What the partner lacks.
#[derive(Debug, Default, Clone, Copy)]
struct Refill {
    from: Lsn,
    to: Lsn,
    /// Whether it is to be called whole only once it is filled.
    lacking: bool,
    told: u64,
}

/// How a copy is gone on with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin<'a> {
    /// It holds this log up to here.
    Resumed(Lsn),
    /// It is filled from the log's tail, whatever it holds by this report.
    Anew(&'a CopyReport),
}

/// What is to be told of a refill.
#[derive(Debug, Clone, Copy)]
pub(super) enum Told {
    /// The copy became whole: from where on, and how much it lacked.
    Whole(Lsn, u64),
    /// Bytes done and in all.
    Refilled(u64, u64),
}

impl<F: Fabric> Mirror<F> {
    /// # Errors
    /// Why the session is of no use, and the session.
    pub(super) fn new(
        mut session: Session<F>,
        ring_bytes: RingBytes,
        fabric: F,
        config: &LogConfig,
    ) -> Result<Self, Box<(Session<F>, LogError)>> {
        let wire = match Wire::new(&mut session) {
            Ok(wire) => wire,
            Err(error) => return Err(Box::new((session, error))),
        };
        let Some(exposed) = session.memory().cloned() else {
            return Err(Box::new((session, LogError::Session("the partner asked for no memory here".to_owned()))));
        };
        Ok(Self {
            session,
            wire,
            exposed,
            now: fabric.now(),
            fabric,
            ticker: Ticker::default(),
            lease: Lease::new(config.heartbeat_age_max),
            listening: false,
            ring_bytes,
            source: None,
            is_refused: false,
            is_withheld: false,
            is_unnoted: false,
            restore: None,
            scrub: None,
            sending: Sending::default(),
            headers: Headers::default(),
            refill: Refill::default(),
            to_tell: None,
            to_hear: None,
        })
    }

    /// Names the session in reports.
    pub(super) fn session_number(&self) -> u64 {
        let mut low = [0; 8];
        low.copy_from_slice(&self.session.id().0[..8]);
        u64::from_le_bytes(low)
    }

    /// Memory here that the partner fills.
    pub(super) fn exposed(&self) -> &Arc<Exposed> {
        &self.exposed
    }

    /// What the partner last reported in this session. `known`: how far this node has counted.
    pub(super) fn report(
        &self,
        known: impl FnOnce() -> Result<Numbers, LogError>,
    ) -> Result<Option<CopyReport>, LogError> {
        let mut bytes = [0; REPORT_BYTES];
        if self.exposed.read(REPORT_OFFSET as usize, &mut bytes).is_err() {
            return Ok(None);
        }
        match CopyReport::decode(&bytes) {
            Ok(report) if report.session == self.session_number() => {
                known()?.accept(&report)?;
                Ok(Some(report))
            }
            Err(fault @ HeaderFault::Field { .. }) => Err(LogError::Report { fault }),
            // Torn while it is being written: the next look finds it whole.
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// Registers a buffer of this session.
    pub(super) fn session(&self) -> &Session<F> {
        &self.session
    }

    /// Whether it was told what to send.
    pub(super) fn is_streaming(&self) -> bool {
        self.source.is_some()
    }

    /// The partner holds what must not be replaced: nothing is sent in this session. Its own log is served.
    pub(super) fn refuse(&mut self) {
        self.is_refused = true;
    }

    pub(super) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Begins to send.
    pub(super) fn stream(&mut self, origin: Origin<'_>, writer: &Writer, shared: &Shared) -> Result<(), LogError> {
        let source = self.session.ring(writer.reader.ring());
        self.source = Some(source.map_err(|error| LogError::Session(error.to_string()))?);
        let from = match origin {
            Origin::Resumed(from) => from,
            Origin::Anew(report) => {
                if report.end > report.tail {
                    let ring_bytes = RingBytes::new(report.ring_bytes)?;
                    self.scrub = Some(Scrub::new(ring_bytes, report.tail, report.end, &self.session)?);
                }
                writer.tail()
            }
        };
        self.sending = Sending { at: from, batch_end: from, received: from, placed: from };
        // What an earlier writer may have had acknowledged counts as much as what this one had.
        let to = shared.durable().max(writer.restored().end).max(from);
        // A new log lacks nothing at a partner that has nothing: were it called half filled first, and its owner to end, it could not begin again.
        let replaces = matches!(origin, Origin::Anew(report) if report.state != ReportState::Nothing);
        self.refill = Refill { from, to, lacking: replaces || to > from, told: 0 };
        Ok(())
    }

    /// Whether the partner has everything that it lacked when the session began.
    pub(super) fn has_caught_up(&self) -> bool {
        self.headers.placed.is_some() && self.scrub.is_none() && self.sending.received >= self.refill.to
    }

    /// Sends nothing more of its own; the partner's log is served on.
    pub(super) fn halt(&mut self) {
        (self.source, self.scrub) = (None, None);
        self.headers = Headers::default();
    }

    /// Whether the partner's copy is known to be whole.
    #[inline]
    pub(super) fn is_whole(&self) -> bool {
        self.headers.placed.as_ref().is_some_and(|header| header.state == HeaderState::Whole)
    }

    /// Posts what is due: the header where it has changed, and what is committed.
    #[inline]
    pub(super) fn send(&mut self, writer: &mut Writer, config: &LogConfig) -> Result<bool, LogError> {
        let Some(source) = &self.source else { return Ok(false) };
        if self.headers.placed.is_none() {
            return Ok(false);
        }
        if let Some(scrub) = &mut self.scrub {
            if !scrub.advance(&mut self.wire)? {
                return Ok(false);
            }
            self.scrub = None;
        }
        let placed_by_probe = config.acknowledge == Acknowledge::Placed;
        let mut held = false;
        loop {
            if self.sending.at == self.sending.batch_end {
                let on_their_way = if placed_by_probe { self.wire.probes } else { self.wire.batches };
                if on_their_way >= config.batches_max || self.wire.room() < ROOM {
                    break;
                }
                let from = self.sending.at.0;
                let end = writer.reader.collect(from, RECORDS_MAX, u64::from(config.batch_bytes_max));
                if end == from {
                    break;
                }
                self.sending.batch_end = Lsn(end);
            }
            if !held {
                self.wire.hold();
                held = true;
            }
            let Sending { at, batch_end, .. } = self.sending;
            if batch_end.0 - at.0 <= self.wire.inline_bytes_max()
                && let Some(bytes) = writer.reader.bytes(at.0, batch_end.0)
            {
                let offset = RING_OFFSET + self.ring_bytes.offset_of(at);
                self.wire.write_inline(bytes, offset, !placed_by_probe, Purpose::Records(batch_end))?;
                if placed_by_probe {
                    self.wire.probe(self.now)?;
                } else {
                    self.wire.batches += 1;
                }
                self.sending.at = batch_end;
                continue;
            }
            let longest = Lsn(at.0.saturating_add(self.wire.transfer_bytes_max()));
            let Some(loan) = writer.reader.lend(source, at.0, batch_end.min(longest).0) else { break };
            let (offset, next) = (RING_OFFSET + self.ring_bytes.offset_of(at), Lsn(at.0 + loan.len() as u64));
            if next < batch_end {
                if self.wire.room() < ROOM {
                    break;
                }
                self.wire.write(loan, offset, true, Purpose::Part)?;
            } else {
                self.wire.write(loan, offset, !placed_by_probe, Purpose::Records(next))?;
                if placed_by_probe {
                    self.wire.probe(self.now)?;
                } else {
                    self.wire.batches += 1;
                }
            }
            self.sending.at = next;
        }
        if held {
            self.wire.ring()?;
        }
        Ok(held)
    }

    /// Posts the header where what it should say has changed, and now and then while records are acknowledged, so that damage behind what it names is
    /// found. `open`: records are acknowledged meanwhile that the partner need not have, so that
    /// its copy must not be called whole.
    pub(super) fn send_header(
        &mut self,
        writer: &mut Writer,
        shared: &Shared,
        open: bool,
        now: Timestamp,
    ) -> Result<bool, LogError> {
        if self.source.is_none()
            || self.headers.posted.is_some()
            || !self.wire.can_write_block()
            || !self.wire.can_probe()
        {
            return Ok(false);
        }
        // A copy that is filled anew is called so before the first byte of it lands.
        let begins = self.headers.placed.is_none() && self.refill.lacking;
        let has_all = self.scrub.is_none() && self.sending.received >= self.refill.to.max(shared.durable());
        let filled = !begins && !open && has_all;
        let state = if filled { HeaderState::Whole } else { HeaderState::Refilling };
        let tail = writer.free_up_to(shared, self.bound(shared));
        let same = |placed: &LogHeader| placed.state == state && placed.tail == tail && placed.term == shared.term();
        let acknowledged = if filled { shared.durable().min(self.sending.received).max(tail) } else { tail };
        let is_due = |placed: &LogHeader| acknowledged > placed.acknowledged && now >= self.headers.next;
        if self.headers.placed.as_ref().is_some_and(|placed| same(placed) && !is_due(placed)) {
            return Ok(false);
        }
        self.headers.next = now.after(HEADER_INTERVAL);
        let header = writer.header(state, shared.term(), tail, acknowledged);
        let offset = super::area::HEADER_OFFSETS[(header.sequence % 2) as usize];
        self.wire.write_block(&header.encode(), offset, None, Purpose::Header(header.sequence))?;
        self.wire.probe(self.now)?;
        self.headers.posted = Some((header, false));
        Ok(true)
    }

    /// What must not be freed yet: what is not sent, or not applied where that counts.
    fn bound(&self, shared: &Shared) -> Lsn {
        match shared.applied() {
            Some(applied) => applied.min(self.sending.received),
            None => self.sending.received,
        }
    }
}
