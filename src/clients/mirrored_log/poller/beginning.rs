//! The beginning of a session: what the partner holds, what is restored from it, how the log is opened, from where on it is sent.

use super::LogPoller;
use super::ends::Retry;
use crate::clients::mirrored_log::config::{Acknowledge, Start};
use crate::clients::mirrored_log::decide::{self, Drawn, Opening, Resume};
use crate::clients::mirrored_log::error::LogError;
use crate::clients::mirrored_log::event::LogEvent;
use crate::clients::mirrored_log::header::HeaderState;
use crate::clients::mirrored_log::lsn::{History, Lsn};
use crate::clients::mirrored_log::mirror::Origin;
use crate::clients::mirrored_log::note::{Begun, Note, Number};
use crate::clients::mirrored_log::numbers::Numbers;
use crate::clients::mirrored_log::prepared::Prepared;
use crate::clients::mirrored_log::report::CopyReport;
use crate::clients::mirrored_log::restore::Restore;
use crate::clients::mirrored_log::writer::{Beginning, Writer, spans};
use crate::fabric::{Fabric, Timestamp};

/// A note that says something, and that.
fn with_value<N: Number>(note: &mut Note<N>) -> Option<(&mut Note<N>, N)> {
    let value = note.value()?;
    Some((note, value))
}

/// Whether nothing may be acknowledged yet: the partner's file vouches for what is, and would not have it.
pub(super) fn withholds(level: Acknowledge, report: &CopyReport) -> bool {
    report.vouches && level != Acknowledge::Persistent
}

impl<F: Fabric> LogPoller<F> {
    /// A session is there: finds out what the partner holds, restores from it, opens the log, begins to send.
    #[cold]
    pub(super) fn begin(&mut self) -> Result<bool, LogError> {
        let Some(mirror) = &mut self.mirror else { return Ok(false) };
        let mut worked = mirror.complete(None, &self.shared, self.config.acknowledge)?;
        worked |= self.replica.tell(&mut mirror.wire)?;
        if self.begins_later.as_ref().is_some_and(|retry| !retry.is_due(self.fabric.now())) {
            return Ok(worked);
        }
        match self.go_on_with() {
            Ok(began) => Ok(began || worked),
            Err(error) if error.is_passing() => {
                self.begin_later(error);
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// A shortage on this node is no reason to end the session, which other clients use as well: the log is begun in it a little later.
    fn begin_later(&mut self, error: LogError) {
        let (retry, is_news) = Retry::after(self.begins_later.take(), error.clone(), self.fabric.now());
        self.begins_later = Some(retry);
        if is_news {
            tracing::error!(%error, "the log cannot begin with this session yet: tried again within 5 s");
            self.events.put(LogEvent::Broken(error));
        }
    }

    /// The next step on the way from the partner's report to a log that is sent; whether there was one.
    fn go_on_with(&mut self) -> Result<bool, LogError> {
        let Some(mirror) = &mut self.mirror else { return Ok(false) };
        if let Some(restore) = &mut mirror.restore {
            let Some(prepared) = &self.prepared else { return Ok(false) };
            let complete = restore.advance(&mut mirror.wire, prepared.target())?;
            if let Some((done, total)) = restore.progress() {
                self.events.put(LogEvent::Restoring { done, total });
            }
            if !complete {
                return Ok(false);
            }
            let report = restore.report;
            mirror.restore = None;
            let opened = self.open(&Opening::Partner, Some(&report));
            let streaming = opened.and_then(|()| self.stream(Some(report.end), &report));
            return self.unless_fatal(streaming);
        }
        if mirror.is_refused() {
            return Ok(false);
        }
        let Some(report) = self.report()? else { return Ok(false) };
        if self.shared.ended.get().is_some() {
            return Ok(false);
        }
        let decided = self.decide(&report);
        self.unless_fatal(decided)
    }

    /// What cannot be helped ends the log; for the rest there is a later try, or the next session.
    fn unless_fatal(&mut self, outcome: Result<(), LogError>) -> Result<bool, LogError> {
        match outcome {
            Ok(()) => Ok(true),
            Err(error) if error.recovery() == crate::error::Recovery::Fatal => {
                self.finish(error);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn decide(&mut self, report: &CopyReport) -> Result<(), LogError> {
        if self.writer.is_none() {
            let local = self.prepared.as_ref().and_then(|prepared| prepared.held);
            let own = local.map(|held| held.header.history).or(self.notes.known_log());
            let report = &decide::heard(report, own);
            let kept = self.notes.kept_term();
            decide::known(self.notes.known_log(), self.config.start, local.as_ref(), Some(report))?;
            match decide::opening(self.config.start, local.as_ref(), report, self.ring_bytes, kept)? {
                Opening::Partner => {
                    decide::counts(self.notes.begun(), self.config.start, report)?;
                    // Known before the local ring is given up for it.
                    decide::beginning(
                        &Opening::Partner,
                        local.as_ref(),
                        Some(report),
                        kept,
                        self.notes.begun(),
                        self.draw()?,
                    )?;
                    let Some(mirror) = &mut self.mirror else { return Ok(()) };
                    if let Some(prepared) = &mut self.prepared {
                        prepared.make_room(report)?;
                    }
                    mirror.restore = Some(Restore::new(*report, self.ring_bytes, mirror.session())?);
                    return Ok(());
                }
                opening => self.open(&opening, Some(report))?,
            }
        }
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let term = self.shared.term();
        if let Some(tried) = self.notes.term.as_mut().and_then(Note::adopt).filter(|tried| *tried > term) {
            // The term file may say that this node went on alone. It did not, and goes on under that term all the same:
            // a copy of an earlier one would be taken for one that lacks records.
            let (tail, durable) = (writer.tail(), self.shared.durable());
            writer.keep_header(HeaderState::Whole, tried, tail, durable);
            self.shared.set_term(tried);
        }
        writer.follow(report.sequence);
        let open = decide::Open {
            history: writer.history(),
            term: self.shared.term(),
            generation: writer.generation(),
            writer: writer.id(),
            ring_bytes: self.ring_bytes,
            tail: writer.tail(),
            end: Lsn(writer.reader.collected()),
            restored: writer.restored(),
            replaces: self.config.start == Start::New,
        };
        let from = match decide::resume(&open, report, || writer.generation_at(report.end))? {
            Resume::Diverged => {
                self.diverged(&open, report);
                return Ok(());
            }
            Resume::From(from) => Some(from).filter(|from| writer.is_boundary(*from)),
            Resume::Anew => None,
        };
        self.stream(from, report)
    }

    /// The partner's copy stays as it is, and the log goes on as if there were no partner.
    fn diverged(&mut self, open: &decide::Open, report: &CopyReport) {
        let (here, there) = (open.history, report.history);
        tracing::error!(
            %here, %there, begun_at = %open.restored.end, generation = %open.generation, copy_ends_at = %report.end,
            copy_generation = %report.generation,
            "the partner's copy holds records that this log was begun without: nothing is sent to it"
        );
        if let Some(mirror) = &mut self.mirror {
            mirror.refuse();
        }
        self.events.put(LogEvent::Diverged { here, there });
        self.on_loss();
    }

    /// Opens the log; producers append from here on.
    pub(super) fn open(&mut self, opening: &Opening, report: Option<&CopyReport>) -> Result<(), LogError> {
        let kept = self.notes.kept_term();
        let Some(held) = self.prepared.as_ref().map(|prepared| prepared.held) else { return Ok(()) };
        let mut with = decide::beginning(opening, held.as_ref(), report, kept, self.notes.begun(), self.draw()?)?;
        let Some(prepared) = &mut self.prepared else { return Ok(()) };
        let spans = match opening {
            Opening::New => Vec::new(),
            Opening::Local => spans(prepared.ring(), self.ring_bytes, &with)?,
            Opening::Partner => spans(prepared.target(), self.ring_bytes, &with)?,
        };
        let settled = prepared.settle(opening, &with).and_then(|file| {
            let settled = (file, prepared.name()?);
            if let Some(note) = self.notes.term.as_mut().filter(|note| note.is_damaged()) {
                note.store(with.term)?;
            }
            let Some(note) = self.notes.state.as_mut() else { return Ok(settled) };
            let before = note.value().filter(|begun| begun.history == with.history);
            let lineages = before.map_or([0; 2], |begun| begun.lineages);
            let begun = Begun { history: with.history, generation: with.generation, lineages };
            if !note.says(begun) {
                note.store(begun)?;
            }
            Ok(settled)
        });
        if settled.is_err() {
            // The next try goes on with what has the ring's name by now.
            prepared.look_again()?;
        }
        let (file, name) = settled?;
        // A ring that is gone on with has one header more.
        with.kept_sequence += u64::from(*opening == Opening::Local);
        let Some(region) = self.prepared.take().map(Prepared::into_ring) else { return Ok(()) };
        // The ring's memory goes with the error: there is no second try.
        let opened =
            Writer::open((region, self.config.in_place), self.ring_bytes, with, (spans, file, name), &self.shared)
                .map_err(|error| LogError::Unusable { what: "the log's ring".to_owned(), why: error.to_string() });
        self.writer = Some(opened?);
        if self.config.applied_bounds_truncation {
            // Until a consumer says more nothing is freed, with a partner or without.
            self.shared.set_applied(Some(with.tail));
        }
        let restored = with.end > with.tail;
        let Beginning { history, generation, tail, end, .. } = with;
        self.events.put(LogEvent::Opened { history, generation, tail, end, restored });
        Ok(())
    }

    /// The partner's copy is whole: before anything is acknowledged by it the state file says that it alone counts. Whether it does; tried again
    /// where not. Waits for the disk.
    #[cold]
    pub(super) fn note_copy(&mut self, now: Timestamp) -> bool {
        if self.begins_later.as_ref().is_some_and(|retry| !retry.is_due(now)) {
            return false;
        }
        let (Some(mirror), Some(writer)) = (&mut self.mirror, &self.writer) else { return false };
        let note = self.notes.state.as_mut().and_then(with_value);
        match note.map_or(Ok(()), |(note, begun)| note.store(begun.filled(writer.lineage()))) {
            Ok(()) => {
                (mirror.is_unnoted, self.begins_later) = (false, None);
                true
            }
            Err(error) => {
                self.begin_later(error);
                false
            }
        }
    }

    /// What the partner reports in this session, where it is to be followed.
    fn report(&self) -> Result<Option<CopyReport>, LogError> {
        let Some(mirror) = &self.mirror else { return Ok(None) };
        mirror.report(|| match &self.writer {
            Some(writer) => Ok(writer.numbers(self.shared.term())),
            None => {
                let held = self.prepared.as_ref().and_then(|prepared| prepared.held);
                Ok(Numbers::held(held.as_ref(), self.notes.kept_term()))
            }
        })
    }

    fn draw(&self) -> Result<Drawn, LogError> {
        Ok(Drawn { history: History(self.random()?), writer: self.random()? as u64 })
    }

    fn random(&self) -> Result<u128, LogError> {
        let mut bytes = [0; 16];
        self.fabric.random(&mut bytes).map_err(|error| LogError::Session(error.to_string()))?;
        Ok(u128::from_le_bytes(bytes))
    }

    /// Begins to send: from `from` on into the copy that is reported, else from the tail into one that is filled anew.
    fn stream(&mut self, from: Option<Lsn>, report: &CopyReport) -> Result<(), LogError> {
        let lineage = match from {
            Some(_) => report.lineage,
            None => self.random()? as u64,
        };
        let (Some(mirror), Some(writer)) = (&mut self.mirror, &mut self.writer) else { return Ok(()) };
        writer.set_lineage(lineage);
        if let Some((note, begun)) = self.notes.state.as_mut().and_then(with_value) {
            // A copy that is begun anew counts beside the one before, until something is acknowledged by it alone.
            mirror.is_unnoted = !note.says(begun.filled(lineage));
            if mirror.is_unnoted && !note.says(begun.filling(lineage)) {
                note.store(begun.filling(lineage))?;
            }
        }
        mirror.is_withheld = withholds(self.config.acknowledge, report);
        mirror.stream(from.map_or(Origin::Anew(report), Origin::Resumed), writer, &self.shared)
    }
}
