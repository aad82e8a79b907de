//! Sessions that come and go, going on alone, and the end of the log.

use super::{Alone, LogPoller};
use crate::clients::mirrored_log::config::{OnLoss, Start};
use crate::clients::mirrored_log::decide::{self, Opening};
use crate::clients::mirrored_log::error::LogError;
use crate::clients::mirrored_log::event::LogEvent;
use crate::clients::mirrored_log::header::HeaderState;
use crate::clients::mirrored_log::inbox::Delivery;
use crate::clients::mirrored_log::lsn::Term;
use crate::clients::mirrored_log::mirror::Mirror;
use crate::clients::mirrored_log::note::Mended;
use crate::clients::mirrored_log::numbers::next_term;
use crate::error::Recovery;
use crate::fabric::{Fabric, Timestamp};
use crate::handshake::EndReason;
use crate::manager::LostReason;
use crate::session::Session;
use crate::storage::StorageError;
use crate::sys::panic::contain;
use std::time::Duration;

/// From a failure to go on alone to the next try, at first; twice as long after each.
const RETRY_MIN: Duration = Duration::from_millis(100);

/// And at most.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// The next try of something that failed, and may pass.
#[derive(Debug)]
pub(super) struct Retry {
    next: Timestamp,
    pause: Duration,
    /// Why the last one failed, which was told.
    told: LogError,
}

impl Retry {
    /// The try after one that failed with `error`, and whether that is news.
    pub(super) fn after(before: Option<Retry>, error: LogError, now: Timestamp) -> (Self, bool) {
        let (pause, told) = match before {
            Some(retry) => ((retry.pause * 2).min(RETRY_MAX), Some(retry.told)),
            None => (RETRY_MIN, None),
        };
        let is_news = told.as_ref() != Some(&error);
        (Self { next: now.after(pause), pause, told: error }, is_news)
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        now >= self.next
    }
}

impl<F: Fabric> LogPoller<F> {
    #[cold]
    pub(super) fn take(&mut self, delivery: Delivery<F>) {
        match delivery {
            Delivery::Ready(session) => self.ready(*session),
            Delivery::Unavailable(reason) => self.events.put(LogEvent::Unavailable(reason)),
            Delivery::Lost(reason) => {
                self.let_go();
                self.events.put(LogEvent::Lost { reason });
                self.on_loss();
            }
            Delivery::Closed => self.deserted(),
        }
    }

    /// No session will begin any more: the log goes on alone, or it ends, so that nobody waits for ever.
    fn deserted(&mut self) {
        if self.mirror.is_some() {
            self.let_go();
            let reason = LostReason { reason: EndReason::Left, detail: None };
            self.events.put(LogEvent::Lost { reason });
        }
        if self.shared.ended.get().is_some() {
            return;
        }
        self.is_deserted = true;
        self.on_loss();
        if self.alone != Alone::Yes && self.retry.is_none() && self.shared.ended.get().is_none() {
            self.finish(LogError::ManagerGone);
        }
    }

    fn ready(&mut self, session: Session<F>) {
        self.let_go();
        match Mirror::new(session, self.ring_bytes, self.fabric.clone(), &self.config) {
            Ok(mirror) => {
                self.replica.begin(mirror.exposed(), mirror.session_number());
                self.mirror = Some(mirror);
                (self.retry, self.begins_later) = (None, None);
                self.told_not_kept = false;
            }
            Err(refused) => {
                let (session, error) = *refused;
                // The next one may be of use.
                session.give_up();
                self.events.put(LogEvent::Broken(error));
                self.on_loss();
            }
        }
    }

    /// The session is of no use any more.
    pub(super) fn let_go(&mut self) {
        if let Some(mut mirror) = self.mirror.take() {
            mirror.wire.close();
            self.replica.end();
        }
    }

    #[cold]
    pub(super) fn broken(&mut self, error: LogError) -> bool {
        if let Some(mirror) = &self.mirror {
            // The session is of no use to the log: the next one may be.
            mirror.session().give_up();
        }
        self.let_go();
        self.events.put(LogEvent::Broken(error));
        self.on_loss();
        true
    }

    pub(super) fn on_loss(&mut self) {
        if self.writer.is_none() || self.alone == Alone::Yes || matches!(self.config.on_loss, OnLoss::Stop) {
            return;
        }
        self.try_alone();
    }

    /// The log is to go on alone, and could not yet: it is tried again while no partner is there.
    pub(super) fn try_alone_if_due(&mut self, now: Timestamp) {
        let is_due = self.retry.as_ref().is_some_and(|retry| retry.is_due(now));
        if is_due && self.mirror.is_none() && self.shared.ended.get().is_none() {
            self.try_alone();
        }
    }

    /// A disk gets room again, and a folder is mounted again: whoever waits is served then, though no partner comes.
    fn try_alone(&mut self) {
        let Err(error) = self.go_on_alone() else { return };
        if self.shared.ended.get().is_some() {
            return;
        }
        let (retry, is_news) = Retry::after(self.retry.take(), error.clone(), self.fabric.now());
        if is_news && self.notes.told() != Some(&error) {
            tracing::error!(%error, "the log cannot go on alone yet: tried again within 5 s, while no partner is there");
            self.events.put(LogEvent::Broken(error.clone()));
        }
        if self.is_deserted && error.recovery() == Recovery::Fatal {
            // No partner will come, and nothing of this passes by itself.
            return self.finish(LogError::NotAlone { why: Box::new(error) });
        }
        self.retry = Some(retry);
    }

    /// Opens the log without a partner. Whatever can be looked at before is: an open log cannot be restored any more.
    pub(super) fn open_alone(&mut self) -> Result<(), LogError> {
        if self.notes.term.is_none() {
            return Err(LogError::Alone);
        }
        let held = self.prepared.as_ref().and_then(|prepared| prepared.held);
        decide::known(self.notes.known_log(), self.config.start, held.as_ref(), None)?;
        let opening = match held {
            Some(held) if self.config.start != Start::New => {
                held.check(self.config.start == Start::GiveUpMissing)?;
                Opening::Local
            }
            _ => Opening::New,
        };
        // That it can be written is known then, and that there is a next one.
        let kept = self.notes.kept_term();
        match held {
            None if self.config.start == Start::Restore && kept > Term(0) => return Err(LogError::RingLost { kept }),
            // An older ring was brought back.
            Some(held) if self.config.start == Start::Restore && kept > held.header.term => {
                return Err(LogError::AloneLost { kept, theirs: held.header.term });
            }
            _ => {}
        }
        next_term(held.map_or(kept, |held| held.header.term.max(kept)))?;
        if let Some(note) = &mut self.notes.term {
            note.store(kept)?;
        }
        self.open(&opening, None)
    }

    /// Takes the next term and acknowledges alone from here on.
    pub(super) fn go_on_alone(&mut self) -> Result<(), LogError> {
        if self.notes.term.is_none() {
            return Err(LogError::Alone);
        }
        if self.shared.ended.get().is_some() {
            return Ok(());
        }
        if let Some(writer) = &mut self.writer {
            writer.go_alone()?;
        }
        // No session stands here, so that the last one's reports are in this node's own term already.
        let term = next_term(self.shared.term())?;
        // First the ring's header: a ring of an earlier term than that in the file is an older one.
        if let Some(writer) = &mut self.writer {
            let (tail, durable) = (writer.tail(), self.shared.durable());
            writer.keep_header(HeaderState::Whole, term, tail, durable);
            if let Err(error) = writer.sync_if_relied_on() {
                // What of the ring is on the disk is not known any more (fsync(2), errors): no later sync tells.
                self.finish(error.clone());
                return Err(error);
            }
        }
        if let Some(note) = &mut self.notes.term {
            note.store(term)?;
        }
        self.shared.set_term(term);
        self.alone = Alone::Yes;
        self.retry = None;
        self.events.put(LogEvent::Alone { term });
        Ok(())
    }

    /// Whether others took the ring away: said once, with what to do. A log that is alone, and whose acknowledgements rest on that file, ends.
    pub(super) fn look_at_ring(&mut self, now: Timestamp) {
        let Some(writer) = &mut self.writer else { return };
        let Err(error) = writer.look_if_due(now) else { return };
        let rests_on_it = writer.rests_on_its_file();
        if self.ring_told.as_ref() != Some(&error) {
            self.ring_told = Some(error.clone());
            match &error {
                StorageError::Gone { path, what } => {
                    tracing::error!(
                        ring = %path.display(),
                        what,
                        "others took the log's ring away: this process goes on with it, and a new one does not find it. Keep the partner running, \
                         and restart this process while it does. In /dev/shm systemd removes what a user has when they log out: \
                         `loginctl enable-linger USER`, or RemoveIPC=no in logind.conf"
                    );
                    self.events.put(LogEvent::RingGone { path: path.clone(), what });
                }
                _ => self.events.put(LogEvent::Broken(error.clone().into())),
            }
        }
        let is_gone = matches!(error, StorageError::Gone { .. });
        if is_gone && rests_on_it && self.alone != Alone::No && self.shared.ended.get().is_none() {
            self.finish(error.into());
        }
    }

    /// Whether others took away what the next process is to know: written again, and said.
    pub(super) fn look_at_notes(&mut self, now: Timestamp) {
        // Whoever tries to go on alone writes the term file, and tells what is wrong with it.
        let [term, state] = self.notes.look(now, self.retry.is_some());
        for looked in [term, state, self.replica.shared.look_at_taken(now)] {
            match looked {
                Ok(None) => {}
                Ok(Some(Mended { path, what })) => {
                    tracing::warn!(file = %path.display(), what, "others took a small file of the log away, which its next start needs: it is written again");
                    self.events.put(LogEvent::WrittenAgain { path, what });
                }
                Err(error) => {
                    tracing::error!(%error, "a small file of the log, which its next start needs, is not as it was: tried again every 100 ms");
                    self.events.put(LogEvent::Broken(error));
                }
            }
        }
    }

    /// The callback panicked: what it was to tell is lost, so the log ends.
    #[cold]
    pub(super) fn panicked(&mut self, message: String) {
        let callback = self.on_durable.take();
        // Its own end may panic in turn, which adds nothing.
        let _ = contain(|| drop(callback));
        if self.shared.ended.get().is_none() {
            self.finish(LogError::Callback { callback: "LogPoller::on_durable", message });
        }
    }

    /// It cannot go on.
    pub(super) fn finish(&mut self, error: LogError) {
        self.events.put(LogEvent::Ended(error.clone()));
        self.alone = Alone::No;
        if let Some(mirror) = &mut self.mirror {
            mirror.halt();
        }
        self.shared.end(error);
    }
}
