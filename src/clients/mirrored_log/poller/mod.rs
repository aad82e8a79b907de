//! The one thread's part: takes what is committed, sends it, acknowledges it; and serves the partner's log.

mod beginning;
mod ends;

use super::area::RingBytes;
use super::config::{Acknowledge, LogConfig};
use super::decide;
use super::error::LogError;
use super::event::LogEvent;
use super::events::Events;
use super::inbox::Inbox;
use super::keeper::{KeepNews, Keeper};
use super::lease::Heard;
use super::lsn::Lsn;
use super::mirror::{Mirror, Told};
use super::notes::Notes;
use super::own::OwnSource;
use super::prepared::Prepared;
use super::reader::Records;
use super::replica::Replica;
use super::shared::Shared;
use super::stall::Stall;
use super::writer::Writer;
use crate::fabric::{Fabric, Timestamp};
use crate::storage::StorageError;
use crate::sys::panic::contain;
use ends::Retry;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks at what need not be looked at each time.
const HOUSEKEEPING: u32 = 32;

/// How long the partner's file may take to be marked before that is told.
const WITHHELD_TOLD: Duration = Duration::from_secs(1);

/// Records looked at in one poll while alone.
const RECORDS_MAX: usize = 8192;

/// Called with the watermark when it has risen, and whether the partner has everything before it.
pub type OnDurable = Box<dyn FnMut(Lsn, bool) + Send>;

/// Sends the log of this node, and serves the partner's. Belongs to one thread, which polls it.
///
/// [`LogPoller::poll`] neither blocks nor, while records flow, allocates, locks or enters the kernel (what a device's driver does at a doorbell
/// is its own). What happens at the beginning and end of a session does all of these. Every 100 ms it looks whether a state file and a term file
/// are still as they were (some 20 µs for both), and writes them again where not.
pub struct LogPoller<F: Fabric> {
    config: LogConfig,
    ring_bytes: RingBytes,
    fabric: F,
    shared: Arc<Shared>,
    inbox: Arc<Inbox<F>>,
    prepared: Option<Prepared>,
    writer: Option<Writer>,
    mirror: Option<Mirror<F>>,
    replica: Replica,
    events: Events,
    on_durable: Option<OnDurable>,
    stall: Stall,
    alone: Alone,
    /// It is to go on alone, and could not yet.
    retry: Option<Retry>,
    /// A session stands, and the log could not begin with it yet.
    begins_later: Option<Retry>,
    /// What is wrong with the name of the ring, as it was told.
    ring_told: Option<StorageError>,
    /// No session will begin any more.
    is_deserted: bool,
    /// Durable and tail when sleepers were woken last.
    woken_at: (Lsn, Lsn, bool),
    told: Lsn,
    /// In this session.
    told_not_kept: bool,
    /// Since when the partner's file has kept everything from being acknowledged.
    withheld_since: Option<Timestamp>,
    idle: u32,
    /// These are this log's, as long as it is polled.
    notes: Notes,
}

/// Whether the log goes on without a partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alone {
    No,
    /// What is committed is acknowledged at once.
    Yes,
    /// The partner's copy has caught up and may be called whole any moment: nothing is acknowledged but by the partner. Lost now, it takes another
    /// term to go on alone, since that copy may have been called whole under this one.
    Joining,
}

/// What a poller is made of.
pub(super) struct Parts<F: Fabric> {
    pub(super) config: LogConfig,
    pub(super) ring_bytes: RingBytes,
    pub(super) fabric: F,
    pub(super) shared: Arc<Shared>,
    pub(super) inbox: Arc<Inbox<F>>,
    pub(super) prepared: Prepared,
    pub(super) replica: Replica,
    pub(super) notes: Notes,
}

impl<F: Fabric> LogPoller<F> {
    pub(super) fn new(parts: Parts<F>) -> Self {
        let Parts { config, ring_bytes, fabric, shared, inbox, prepared, replica, notes } = parts;
        let stall = Stall::new(config.stalled_after);
        Self {
            config,
            ring_bytes,
            fabric,
            shared,
            inbox,
            prepared: Some(prepared),
            writer: None,
            mirror: None,
            replica,
            events: Events::default(),
            on_durable: None,
            stall,
            alone: Alone::No,
            retry: None,
            begins_later: None,
            ring_told: None,
            is_deserted: false,
            woken_at: (Lsn::ZERO, Lsn::ZERO, false),
            told: Lsn::ZERO,
            told_not_kept: false,
            withheld_since: None,
            idle: 0,
            notes,
        }
    }

    /// Does everything that is due; whether there was anything. Never blocks.
    #[inline]
    pub fn poll(&mut self) -> bool {
        if let Some(delivery) = self.inbox.take() {
            self.take(delivery);
        }
        let mut worked = match self.advance() {
            Ok(worked) => worked,
            Err(error) => self.broken(error),
        };
        self.idle = self.idle.wrapping_add(1);
        if self.idle.is_multiple_of(HOUSEKEEPING) {
            worked |= self.keep_house();
        }
        self.tell();
        worked
    }

    /// The next thing that happened.
    pub fn next_event(&mut self) -> Option<LogEvent> {
        self.events.next()
    }

    /// Calls `each` from [`LogPoller::poll`] whenever the watermark has risen: every record whose lsn is below it is acknowledged; true where the
    /// partner has it, false where this node is alone. Return soon, and do not wait for the log here.
    ///
    /// A callback that panics ends the log, with [`LogError::Callback`]: whoever relies on it is told so.
    pub fn on_durable(&mut self, each: OnDurable) {
        self.on_durable = Some(each);
    }

    /// Reads this node's own log from its tail to the end of what was sent or restored: what an engine replays when it starts. None before
    /// the log is open.
    ///
    /// # Errors
    /// Those of [`Records::open`].
    pub fn records(&self) -> Result<Option<Records<OwnSource<'_>>>, LogError> {
        self.writer.as_ref().map(|writer| Records::open(OwnSource::new(&writer.reader))).transpose()
    }

    /// Opens the log without a partner and goes on alone, under a higher term, which is persisted first: with the local ring where it has a
    /// log, else with a new one. For a node that starts alone, and is known to be the one that may. Blocks for the disk.
    ///
    /// # Errors
    /// [`LogError::Storage`]: the term cannot be persisted. [`LogError::Alone`]: the log is not set up with [`OnLoss::GoOnAlone`](super::OnLoss::GoOnAlone).
    /// [`LogError::PartnerThere`]: a session stands. [`LogError::Damaged`]: the local ring has lost records. After an error nothing is opened.
    /// What ended the log, if something has: [`LogError::ManagerGone`] where the manager was dropped before.
    pub fn begin_alone(&mut self) -> Result<(), LogError> {
        if let Some(why) = self.shared.ended.get() {
            return Err(why.clone());
        }
        if self.mirror.is_some() {
            return Err(LogError::PartnerThere);
        }
        if self.alone == Alone::Yes {
            return Ok(());
        }
        if self.writer.is_none() {
            self.open_alone()?;
        }
        self.go_on_alone()
    }

    /// Whether the log goes on without a partner.
    pub fn is_alone(&self) -> bool {
        self.alone != Alone::No
    }

    #[inline]
    fn advance(&mut self) -> Result<bool, LogError> {
        let level = self.config.acknowledge;
        let Some(mirror) = &mut self.mirror else { return Ok(self.advance_alone()) };
        if !mirror.is_streaming() {
            let began = self.begin()?;
            return Ok(self.advance_alone() || began);
        }
        let Some(writer) = &mut self.writer else { return Ok(false) };
        let mut worked = mirror.send(writer, &self.config)?;
        if !mirror.wire.is_idle() || self.idle.is_multiple_of(HOUSEKEEPING) {
            worked |= mirror.complete(Some(writer), &self.shared, level)?;
            match mirror.to_tell.take() {
                None => {}
                Some(Told::Refilled(done, total)) => self.events.put(LogEvent::Refilling { done, total }),
                Some(Told::Whole(tail, refilled)) => {
                    self.alone = Alone::No;
                    self.events.put(LogEvent::Mirrored { tail, refilled });
                }
            }
        }
        if self.alone == Alone::Yes {
            // A ring that vouches does so on, until the partner's disk has what it vouches for.
            match mirror.has_caught_up() {
                true => self.alone = Alone::Joining,
                false => worked |= self.advance_alone(),
            }
        }
        Ok(worked)
    }

    /// Without a partner: everything that is committed is acknowledged at once, where the log goes on alone; under `Persistent`, and with a ring in a
    /// file, once that is on the disk.
    fn advance_alone(&mut self) -> bool {
        if self.alone != Alone::Yes || !self.notes.stand() {
            return false;
        }
        let Some(writer) = &mut self.writer else { return false };
        let durable = self.shared.durable();
        let from = durable.max(writer.asked());
        let end = Lsn(writer.reader.collect(from.0, RECORDS_MAX, u64::MAX));
        match writer.alone_up_to(end) {
            Ok(to) => {
                self.shared.acknowledge(to, false);
                to > durable
            }
            Err(error) => {
                self.finish(error);
                true
            }
        }
    }

    /// What need not be looked at each time.
    #[cold]
    fn keep_house(&mut self) -> bool {
        let mut worked = false;
        match self.replica.keeper.as_ref().and_then(Keeper::take_news) {
            None => {}
            Some(KeepNews::Failed(failure)) => self.events.put(LogEvent::KeepFailed(failure)),
            Some(KeepNews::Again) => self.events.put(LogEvent::KeptAgain),
        }
        if let Some(header) = self.replica.shared.settle() {
            self.events.put(LogEvent::CopyWhole { history: header.history, tail: header.tail });
        }
        let now = self.fabric.now();
        match self.keep_session(now) {
            Ok(moved) => worked |= moved,
            Err(error) => worked |= self.broken(error),
        }
        self.look_at_ring(now);
        self.look_at_notes(now);
        self.try_alone_if_due(now);
        let on_disk = self.writer.as_mut().map_or(Ok(()), Writer::check_disk);
        if let Err(error) = on_disk {
            self.finish(error);
            return true;
        }
        if let Some(writer) = &mut self.writer {
            writer.keep_acknowledged(self.shared.term(), self.shared.durable(), now);
            if self.mirror.is_none() {
                let durable = self.shared.durable();
                let bound = if self.alone == Alone::Yes { durable } else { self.shared.applied().unwrap_or(durable) };
                let tail = writer.free_up_to(&self.shared, bound);
                writer.free(tail, self.shared.term(), self.shared.durable());
            }
            if let Some((number, lsn, age)) = self.stall.look(&writer.reader) {
                let producer = self.shared.producer(number);
                self.events.put(LogEvent::Stalled { producer, lsn, age });
            }
        }
        worked
    }

    fn keep_session(&mut self, now: Timestamp) -> Result<bool, LogError> {
        let Some(mirror) = &mut self.mirror else { return Ok(false) };
        let mut worked = self.replica.tell(&mut mirror.wire)?;
        mirror.listen()?;
        match mirror.to_hear.take() {
            None => {}
            Some(Heard::Silent) => self.events.put(LogEvent::PartnerSilent),
            Some(Heard::Again(silent)) => self.events.put(LogEvent::PartnerHeard { silent }),
        }
        if self.writer.is_none() || !mirror.is_streaming() {
            return Ok(worked);
        }
        if mirror.is_unnoted && mirror.is_whole() && !self.note_copy(now) {
            return Ok(worked);
        }
        let (Some(mirror), Some(writer)) = (&mut self.mirror, &mut self.writer) else { return Ok(worked) };
        let known = writer.numbers(self.shared.term());
        if let Some(report) = mirror.report(|| Ok(known))? {
            let says = report.applies && !report.needs_base && report.applied_history == writer.history().low();
            if self.config.applied_bounds_truncation && says {
                // No more than there is: the highest position would read as none.
                self.shared.set_applied(Some(report.applied.min(known.end)));
            }
            self.shared.set_needs_base(report.needs_base);
            mirror.is_withheld = beginning::withholds(self.config.acknowledge, &report);
            match (mirror.is_withheld && mirror.is_whole(), self.withheld_since) {
                (false, _) => self.withheld_since = None,
                (true, None) => self.withheld_since = Some(now),
                (true, Some(since)) if now < since.after(WITHHELD_TOLD) || self.told_not_kept => {}
                (true, Some(_)) => {
                    self.told_not_kept = true;
                    self.events.put(LogEvent::NotMarked);
                }
            }
            let is_asked = self.config.acknowledge == Acknowledge::Persistent;
            self.told_not_kept &= !report.persists || mirror.is_withheld;
            if is_asked && !report.persists && mirror.is_whole() && !std::mem::replace(&mut self.told_not_kept, true) {
                self.events.put(LogEvent::NotKept);
            }
            if let Err(error) = decide::superseded((writer.history(), self.shared.term()), &report) {
                self.finish(error);
                return Ok(true);
            }
        }
        worked |= mirror.send_header(writer, &self.shared, self.alone == Alone::Yes, now)?;
        Ok(worked)
    }

    /// Whoever waits for what has moved hears of it.
    #[inline]
    fn tell(&mut self) {
        let durable = self.shared.durable();
        if durable > self.told {
            self.told = durable;
            if let Some(each) = &mut self.on_durable {
                let by_partner = self.shared.mirrored() >= durable;
                if let Err(message) = contain(|| each(durable, by_partner)) {
                    self.panicked(message);
                }
            }
        }
        if self.shared.sleepers.any() {
            let tail = self.writer.as_ref().map_or(Lsn::ZERO, Writer::tail);
            let now = (durable, tail, self.writer.is_some());
            if now != self.woken_at {
                self.woken_at = now;
                self.shared.sleepers.wake();
            }
        }
    }
}

impl<F: Fabric> Drop for LogPoller<F> {
    fn drop(&mut self) {
        // What could not be stored does not count: it never went alone under that.
        if let Some(note) = &mut self.notes.term {
            note.revert();
        }
        self.retry = None;
        let now = self.fabric.now();
        self.look_at_notes(now);
        // The copy held here is one of no session from now on: who takes it over is not refused for a partner that is there.
        self.let_go();
        if let Some(writer) = &mut self.writer {
            // Where that fails the ring is as after a crash: the next process finds out.
            if let Err(error) = writer.end(self.shared.term(), self.shared.durable()) {
                tracing::error!(%error, "the log's ring did not end in order");
            }
        }
        self.shared.end(LogError::Closed);
    }
}

impl<F: Fabric> std::fmt::Debug for LogPoller<F> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, durable) = (self.shared.name, self.shared.durable());
        formatter.debug_struct("LogPoller").field("name", &name).field("durable", &durable).finish_non_exhaustive()
    }
}
