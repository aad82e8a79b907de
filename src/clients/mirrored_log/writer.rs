//! The log of this node once it is open: its ring, its header, what is freed.

use super::area::{EVIDENCE_OFFSET, HEADER_OFFSETS, RING_OFFSET, RingBytes};
use super::config::Acknowledge;
use super::decide::Restored;
use super::error::LogError;
use super::evidence::{Boot, Doubt, Seen, Standing};
use super::header::{HeaderFault, HeaderState, LogHeader};
use super::lsn::{Generation, History, Lsn, Term};
use super::numbers::Numbers;
use super::own::OwnSource;
use super::prepared::RingFile;
use super::reader::Records;
use super::shared::{Opened, Shared};
use super::stop::StoppedAt;
use super::syncer::Syncer;
use crate::fabric::Timestamp;
use crate::memory::{InPlace, Region, Ring, RingReader};
use crate::storage::{Name, StorageError};
use std::sync::Arc;
use std::time::Duration;

/// Between two headers that differ in what they call acknowledged alone.
pub(super) const HEADER_INTERVAL: Duration = Duration::from_millis(10);

/// Between two looks at whether the ring's name still means its file.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// What an area holds: its header, and where its valid prefix ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) header: LogHeader,
    pub(super) end: StoppedAt,
    /// Why acknowledged records may be missing all the same.
    pub(super) doubt: Option<Doubt>,
    /// There was such a doubt, and a person has given up what is missing here and at the partner.
    pub(super) is_given_up: bool,
}

impl Held {
    /// What `source` holds; none where there never was a log.
    ///
    /// # Errors
    /// There is something, and it cannot be read.
    pub(super) fn of<S: super::Source>(source: S) -> Result<Option<Self>, LogError> {
        let mut records = match Records::open(source) {
            Ok(records) => records,
            Err(LogError::Headers { copy0: HeaderFault::Empty, copy1: HeaderFault::Empty }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let end = records.skip_to_end()?;
        Ok(Some(Self { header: *records.header(), end, doubt: None, is_given_up: false }))
    }

    /// `gives_up`: a person has decided to go on without what is gone.
    ///
    /// # Errors
    /// [`LogError::Damaged`]: something is gone that its writer knew to be there; [`LogError::MayLack`]: it may be.
    pub(super) fn check(&self, gives_up: bool) -> Result<(), LogError> {
        let (end, acknowledged) = (self.end.lsn, self.header.acknowledged);
        if self.is_damaged() && !gives_up {
            return Err(LogError::Damaged { end, acknowledged, why: self.end.why.to_string() });
        }
        match self.doubt {
            Some(doubt) => Err(LogError::MayLack { end, doubt }),
            None => Ok(()),
        }
    }

    /// Whether everything is there that its writer knew to be, beyond doubt.
    pub(super) fn is_sound(&self) -> bool {
        !self.is_damaged() && self.doubt.is_none()
    }

    /// Whether something is gone that its writer knew to be there.
    pub(super) fn is_damaged(&self) -> bool {
        self.end.lsn < self.header.acknowledged
    }

    /// How far it reaches.
    pub(super) fn reach(&self) -> Seen {
        Seen { generation: self.header.generation, end: self.end.lsn }
    }
}

/// The log of this node once it is open.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) reader: RingReader,
    ring_bytes: RingBytes,
    history: History,
    generation: Generation,
    /// Of the last header made for the partner.
    sequence: u64,
    /// Of the last header in the local area. Each place's headers alternate between its two copies by a count of their own.
    kept_sequence: u64,
    /// What that calls acknowledged, and when it may be told again.
    kept_acknowledged: Lsn,
    next_kept: Timestamp,
    /// As producers and headers know it.
    tail: Lsn,
    /// Drawn for this writer.
    id: u64,
    /// Of the partner's copy.
    lineage: u64,
    restored: Restored,
    file: Option<RingFile>,
    /// By which another process finds the ring; none where none does.
    name: Option<Name>,
    next_look: Timestamp,
    /// Brings that to the disk while the log is alone, where acknowledgements wait for it.
    syncer: Option<Syncer>,
    /// The asking after the header with the present tail.
    tail_asked: u64,
    /// See [`LogHeader::persistent`].
    persistent: bool,
}

/// How a log is opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beginning {
    pub(super) history: History,
    pub(super) term: Term,
    pub(super) generation: Generation,
    pub(super) sequence: u64,
    /// Of the newest header in the local area.
    pub(super) kept_sequence: u64,
    /// Drawn for this writer.
    pub(super) writer: u64,
    /// What the region holds of it already, and by whose header.
    pub(super) tail: Lsn,
    pub(super) end: Lsn,
    pub(super) restored_writer: u64,
    pub(super) restored_term: Term,
}

impl Beginning {
    /// The header of a ring that holds what the log begins with, before its writer writes one.
    pub(super) fn header(&self, ring_bytes: RingBytes) -> LogHeader {
        LogHeader {
            state: HeaderState::Whole,
            sequence: self.kept_sequence,
            history: self.history,
            term: self.term,
            generation: self.generation,
            tail: self.tail,
            ring_bytes,
            acknowledged: self.end,
            writer: self.writer,
            lineage: 0,
            persistent: false,
        }
    }
}

impl Writer {
    /// Opens the log: from here on producers append.
    pub(super) fn open(
        (region, in_place): (Region, Option<InPlace>),
        ring_bytes: RingBytes,
        with: Beginning,
        (spans, file, name): (Vec<(u64, u64)>, Option<RingFile>, Option<Name>),
        shared: &Shared,
    ) -> Result<Self, LogError> {
        let held = (with.tail.0, with.end.0);
        let made = Ring::new(region, RING_OFFSET as usize, ring_bytes.get(), held, in_place);
        let (_, reader) = made.map_err(|error| LogError::Session(error.to_string()))?;
        for (start, end) in spans {
            reader.note(start, end);
        }
        let Beginning { history, term, generation, sequence, tail, .. } = with;
        let mut writer = Self {
            reader,
            ring_bytes,
            history,
            generation,
            sequence,
            kept_sequence: behind(sequence, with.kept_sequence),
            kept_acknowledged: Lsn::ZERO,
            next_kept: Timestamp(0),
            tail,
            id: with.writer,
            lineage: 0,
            restored: Restored { writer: with.restored_writer, term: with.restored_term, end: with.end },
            file,
            name,
            next_look: Timestamp(0),
            syncer: None,
            tail_asked: 0,
            persistent: shared.acknowledge == Acknowledge::Persistent,
        };
        // What was restored may have been acknowledged: a valid prefix that ends before its end is damage.
        writer.keep_header(HeaderState::Whole, term, tail, with.end);
        shared.set_term(term);
        shared.ask_to_truncate(tail);
        // Nothing restored is acknowledged anew before the partner has it.
        shared.acknowledge(tail, false);
        let _ = shared.opened.set(Opened { ring: Arc::clone(writer.reader.ring()), history, generation });
        Ok(writer)
    }

    pub(super) fn history(&self) -> History {
        self.history
    }

    pub(super) fn tail(&self) -> Lsn {
        self.tail
    }

    /// How far it has counted.
    pub(super) fn numbers(&self, term: Term) -> Numbers {
        let end = Lsn(self.reader.collected());
        Numbers { term, generation: self.generation, sequence: self.sequence, end }
    }

    pub(super) fn generation(&self) -> Generation {
        self.generation
    }

    /// Drawn for this writer.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// What it was opened with.
    pub(super) fn restored(&self) -> Restored {
        self.restored
    }

    pub(super) fn lineage(&self) -> u64 {
        self.lineage
    }

    /// The partner's copy goes on under this lineage.
    pub(super) fn set_lineage(&mut self, lineage: u64) {
        self.lineage = lineage;
    }

    /// The generation of the record that ends here; none where none does. Reads the log up to there.
    pub(super) fn generation_at(&self, end: Lsn) -> Result<Option<Generation>, LogError> {
        let mut records = Records::open(OwnSource::new(&self.reader))?;
        while let Some(entry) = records.next_entry()? {
            if entry.end >= end {
                return Ok(Some(entry.generation).filter(|_| entry.end == end));
            }
        }
        Ok(None)
    }

    /// Whether a record begins here, or everything that was ever looked at ends.
    pub(super) fn is_boundary(&self, lsn: Lsn) -> bool {
        lsn.0 == self.reader.collected() || self.reader.ring().is_start(lsn.0)
    }

    /// The partner has headers up to this sequence: the next one is later, and in the other place.
    pub(super) fn follow(&mut self, sequence: u64) {
        self.sequence = behind(self.sequence, sequence);
    }

    /// The next header for the partner.
    pub(super) fn header(&mut self, state: HeaderState, term: Term, tail: Lsn, acknowledged: Lsn) -> LogHeader {
        self.sequence += 1;
        self.header_of(self.sequence, state, term, tail, acknowledged)
    }

    fn header_of(&self, sequence: u64, state: HeaderState, term: Term, tail: Lsn, acknowledged: Lsn) -> LogHeader {
        LogHeader {
            state,
            sequence,
            history: self.history,
            term,
            generation: self.generation,
            tail,
            ring_bytes: self.ring_bytes,
            acknowledged,
            writer: self.id,
            lineage: self.lineage,
            persistent: self.persistent,
        }
    }

    /// Writes the next header into the local area, for who reads that after this process.
    pub(super) fn keep_header(&mut self, state: HeaderState, term: Term, tail: Lsn, acknowledged: Lsn) {
        self.kept_sequence += 1;
        let header = self.header_of(self.kept_sequence, state, term, tail, acknowledged);
        self.kept_acknowledged = acknowledged;
        let offset = HEADER_OFFSETS[(header.sequence % 2) as usize] as usize;
        let kept = self.reader.ring().write_area(offset, &header.encode());
        debug_assert!(kept.is_ok(), "the area before the ring holds both headers");
    }

    /// Has the local header say what is acknowledged, every 10 ms while that grows: who reads the ring after this process finds by it that
    /// something is gone.
    pub(super) fn keep_acknowledged(&mut self, term: Term, durable: Lsn, now: Timestamp) {
        if durable > self.kept_acknowledged && now >= self.next_kept {
            self.next_kept = now.after(HEADER_INTERVAL);
            self.keep_header(HeaderState::Whole, term, self.tail, durable);
        }
    }

    /// The log goes on alone. Where acknowledgements are to wait for a disk, and the ring is on one, they wait for this one.
    ///
    /// # Errors
    /// [`LogError::File`]: no thread is to be had. [`LogError::Storage`]: the name does not mean that file any more.
    pub(super) fn go_alone(&mut self) -> Result<(), LogError> {
        let (true, Some(file), Some(name)) = (self.persistent, &self.file, &self.name) else { return Ok(()) };
        name.look()?;
        if self.syncer.is_none() {
            self.syncer = Some(file.syncer(name.clone())?);
        }
        Ok(())
    }

    /// Whether what is acknowledged alone rests on the file of the ring.
    pub(super) fn rests_on_its_file(&self) -> bool {
        self.persistent && self.file.is_some()
    }

    /// Where acknowledgements alone rest on the file of the ring: its header is on the disk when this returns, so that a power cut leaves no
    /// term in the term file that the ring does not know.
    ///
    /// # Errors
    /// [`LogError::Unsynced`]: nothing is believed of the file any more.
    pub(super) fn sync_if_relied_on(&mut self) -> Result<(), LogError> {
        let Some(file) = self.file.as_ref().filter(|_| self.persistent) else { return Ok(()) };
        file.sync().inspect_err(|_| (self.syncer, self.file) = (None, None))
    }

    /// Every 0.5 s, whether the ring is still found by its name.
    ///
    /// # Errors
    /// [`StorageError::Gone`], [`StorageError::System`].
    pub(super) fn look_if_due(&mut self, now: Timestamp) -> Result<(), StorageError> {
        let Some(name) = self.name.as_ref().filter(|_| now >= self.next_look) else { return Ok(()) };
        self.next_look = now.after(LOOK_INTERVAL);
        name.look()
    }

    /// Of what is committed up to `end`, up to where it may be acknowledged alone. The ring vouches for it.
    ///
    /// # Errors
    /// [`LogError::File`]: the ring does not come to the disk.
    pub(super) fn alone_up_to(&mut self, end: Lsn) -> Result<Lsn, LogError> {
        let Some(syncer) = &self.syncer else { return Ok(end) };
        syncer.set_vouch(true);
        self.check_disk()?;
        let Some(syncer) = &self.syncer else { return Ok(end) };
        if end > syncer.asked() {
            syncer.ask(end);
        }
        // What is on the disk counts once the file says that it does: it may have said less since.
        Ok(if syncer.is_vouching() { end.min(syncer.done()) } else { Lsn::ZERO })
    }

    /// Whether the partner may acknowledge more than is acknowledged already, all of which is on its disk now: the ring has to vouch no more
    /// before. Asked for it, it does so soon.
    #[inline]
    pub(super) fn hands_over(&self) -> bool {
        let Some(syncer) = &self.syncer else { return true };
        syncer.set_vouch(false);
        !syncer.vouches()
    }

    /// # Errors
    /// [`LogError::File`]: a ring that vouches, or is to, does not come to the disk. Nothing is believed of it any more.
    pub(super) fn check_disk(&mut self) -> Result<(), LogError> {
        let vouching = self.syncer.as_ref().filter(|syncer| syncer.vouches());
        let Some(error) = vouching.and_then(Syncer::failure) else { return Ok(()) };
        let error = error.clone();
        // It is not called clean at the end either.
        (self.syncer, self.file) = (None, None);
        Err(error)
    }

    /// Up to where the disk was asked for what is committed; zero where nobody asks it.
    pub(super) fn asked(&self) -> Lsn {
        self.syncer.as_ref().map_or(Lsn::ZERO, Syncer::asked)
    }

    /// The log ends in order: its header says all that is acknowledged, and a ring in a file is brought to the disk and says so. Waits
    /// for the disk.
    pub(super) fn end(&mut self, term: Term, durable: Lsn) -> Result<(), LogError> {
        self.next_kept = Timestamp(0);
        self.keep_acknowledged(term, durable, Timestamp(0));
        if self.syncer.as_ref().is_some_and(|syncer| syncer.failure().is_some()) {
            self.file = None;
        }
        self.syncer = None;
        let Some(file) = &self.file else { return Ok(()) };
        file.sync()?;
        let mark = Boot::here()?.encode(Standing::Ended, Seen::default());
        let marked = self.reader.ring().write_area(EVIDENCE_OFFSET as usize, &mark);
        marked.map_err(|error| LogError::Session(error.to_string()))?;
        file.sync()
    }

    /// Frees what lies before `tail`: after the partner has the header that says so, or while there is none.
    pub(super) fn free(&mut self, tail: Lsn, term: Term, durable: Lsn) {
        if tail > self.tail {
            // Before the room is used anew: a header with the old tail would then lead into the middle of something.
            self.keep_header(HeaderState::Whole, term, tail, durable);
            self.tail = tail;
            self.tail_asked = self.syncer.as_ref().map_or(0, |syncer| syncer.ask(durable));
        }
        // A ring that vouches leads to what it holds at any time: the header is on the disk before its room is used anew.
        if self.syncer.as_ref().is_some_and(|syncer| syncer.vouches() && !syncer.has_answered(self.tail_asked)) {
            return;
        }
        // What is lent still is freed by a later call.
        if self.reader.ring().tail() < self.tail.0 {
            self.reader.free(self.tail.0);
        }
    }

    /// Up to where the log may be freed now: what its owner asked for, no more than is acknowledged, and sent.
    pub(super) fn free_up_to(&self, shared: &Shared, bound: Lsn) -> Lsn {
        let wanted = shared.truncate_to().min(shared.durable()).min(bound);
        if wanted > self.tail && self.is_boundary(wanted) { wanted } else { self.tail }
    }
}

/// The sequence from which the next header is later than `newest`, and does not go where that lies: while it is being written the other must be good.
/// Both are at most what a log opens with, or its own: see `numbers`. So no sum overflows.
fn behind(sequence: u64, newest: u64) -> u64 {
    let sequence = sequence.max(newest);
    if (sequence + 1) % 2 == newest % 2 { sequence + 1 } else { sequence }
}

/// Where each record of a restored log begins and ends.
pub(super) fn spans(region: &Region, ring_bytes: RingBytes, with: &Beginning) -> Result<Vec<(u64, u64)>, LogError> {
    let mut spans = Vec::new();
    if with.tail == with.end {
        return Ok(spans);
    }
    let header = LogHeader { acknowledged: with.tail, ..with.header(ring_bytes) };
    let mut records = Records::with_header(region, header)?;
    while let Some(entry) = records.next_entry()? {
        if entry.end > with.end {
            break;
        }
        spans.push((entry.lsn.0, entry.end.0));
    }
    match spans.last() {
        Some((_, end)) if *end == with.end.0 => Ok(spans),
        _ => {
            let why = records.stopped().map(|stopped| stopped.to_string()).unwrap_or_default();
            let found = Lsn(spans.last().map_or(with.tail.0, |(_, end)| *end));
            Err(LogError::Restored { wanted: with.end, found, why })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header that leads to what is written over already leads nowhere after a power cut.
    #[test]
    fn a_ring_that_vouches_frees_room_once_the_header_is_on_the_disk() -> Result<(), Box<dyn std::error::Error>> {
        let ring_bytes = RingBytes::new(64 << 10)?;
        let region = Region::builder(ring_bytes.area_bytes() as usize).pinned(false).build()?;
        let shared = Shared::new("wal".parse()?, Acknowledge::Persistent);
        let (history, term, generation) = (History(7), Term(2), Generation(1));
        let (tail, end) = (Lsn::ZERO, Lsn(192));
        let with = Beginning {
            history,
            term,
            generation,
            sequence: 0,
            kept_sequence: 0,
            writer: 5,
            tail,
            end,
            restored_writer: 5,
            restored_term: term,
        };
        let spans = vec![(0, 64), (64, 128), (128, 192)];
        let mut writer = Writer::open((region, None), ring_bytes, with, (spans, None, None), &shared)?;
        let freed = |writer: &Writer| Lsn(writer.reader.ring().tail());
        let told = |writer: &Writer| LogHeader::read(&OwnSource::new(&writer.reader)).map(|header| header.tail);
        writer.syncer = Some(Syncer::by_hand());
        let syncer = |writer: &Writer| writer.syncer.as_ref().map(|syncer| syncer.answer());
        assert_eq!(writer.alone_up_to(end)?, Lsn::ZERO, "nothing is on the disk yet");
        syncer(&writer);
        assert_eq!(writer.alone_up_to(end)?, end);
        writer.free(Lsn(64), term, end);
        assert_eq!((told(&writer)?, freed(&writer)), (Lsn(64), Lsn::ZERO));
        writer.free(Lsn(64), term, end);
        assert_eq!(freed(&writer), Lsn::ZERO, "the header is not on the disk");
        syncer(&writer);
        writer.free(Lsn(64), term, end);
        assert_eq!(freed(&writer), Lsn(64));
        // Asked to vouch for less and for all again: all of it is on the disk, and the file does not say so yet.
        if let Some(syncer) = &writer.syncer {
            syncer.set_vouch(false);
        }
        syncer(&writer);
        assert_eq!(writer.alone_up_to(end)?, Lsn::ZERO);
        syncer(&writer);
        assert_eq!(writer.alone_up_to(end)?, end);
        // One that vouches for nothing need not wait.
        if let Some(syncer) = &writer.syncer {
            syncer.set_vouch(false);
        }
        syncer(&writer);
        writer.free(Lsn(128), term, end);
        assert_eq!((told(&writer)?, freed(&writer)), (Lsn(128), Lsn(128)));
        Ok(())
    }

    #[test]
    fn the_next_header_never_goes_where_the_newest_one_lies() {
        for newest in 0..6_u64 {
            for sequence in 0..6 {
                let next = behind(sequence, newest) + 1;
                assert!(next > newest && next > sequence && next % 2 != newest % 2, "{sequence} {newest}");
            }
        }
    }
}
