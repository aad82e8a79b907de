//! Reading a log's records in order, up to the end of its valid prefix.
//!
//! Everything is copied out, then checked, then parsed: the source may be written at any moment. Whatever is written there, a record that
//! comes out is one that was sealed with exactly these bytes for exactly this place of this log (as far as CRC-32C tells), and comes once.

use crate::clients::mirrored_log::area::RING_OFFSET;
use crate::clients::mirrored_log::record::{self, Kind, RECORD_HEADER_BYTES, RecordHeader};
use crate::clients::mirrored_log::stop::judge;
use crate::clients::mirrored_log::window::{PIECE_BYTES_MAX, Window};
use crate::clients::mirrored_log::{Generation, LogError, LogHeader, Lsn, Source, StopReason, StoppedAt};

/// A record of data whose payload was copied out elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Record {
    /// Where it begins.
    pub lsn: Lsn,
    /// Where the next one begins.
    pub end: Lsn,
    /// Who wrote it.
    pub generation: Generation,
}

/// A record of data with its payload.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OwnedRecord {
    /// Where it begins.
    pub lsn: Lsn,
    /// Where the next one begins.
    pub end: Lsn,
    /// Who wrote it.
    pub generation: Generation,
    /// What was written.
    pub payload: Vec<u8>,
}

/// A record of any kind, holes and padding among them, as it stands in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entry<'a> {
    /// Where it begins.
    pub lsn: Lsn,
    /// Where the next one begins.
    pub end: Lsn,
    /// Who wrote it.
    pub generation: Generation,
    /// What it is.
    pub kind: Kind,
    /// Bytes of payload; of a hole or padding the bytes to skip after the header.
    pub length: u32,
    /// The payload of data; nothing of the others.
    pub payload: &'a [u8],
}

/// Reads records in order, until there is no whole one.
///
/// As an iterator it gives records of data, each with a payload of its own; after an error it gives nothing more. [`Records::next_into`]
/// allocates nothing once its buffers are large enough.
///
/// On a log that is being written it stops at what is not whole yet; [`Records::resume`] goes on from there.
///
/// ```
/// use handfast::clients::mirrored_log::{area, header::HeaderState, record, Generation, History, LogHeader, Lsn, Records, RingBytes, Term};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let header = LogHeader {
///     state: HeaderState::Whole,
///     sequence: 1,
///     history: History(7),
///     term: Term(1),
///     generation: Generation(1),
///     tail: Lsn::ZERO,
///     ring_bytes: RingBytes::new(64 << 10)?,
///     acknowledged: Lsn::ZERO,
///     writer: 1,
///     lineage: 1,
///     persistent: false,
/// };
/// let mut area = vec![0; header.ring_bytes.area_bytes() as usize];
/// area[4096..4224].copy_from_slice(&header.encode());
/// let ring = &mut area[area::RING_OFFSET as usize..];
/// ring[32..37].copy_from_slice(b"hello");
/// assert!(record::seal(ring, Lsn::ZERO, header.generation, header.history, 5));
///
/// let mut records = Records::open(&area)?;
/// let (mut payload, mut seen) = (Vec::new(), 0);
/// while let Some(record) = records.next_into(&mut payload)? {
///     assert_eq!((record.lsn, record.end, payload.as_slice()), (Lsn(0), Lsn(64), b"hello".as_slice()));
///     seen += 1;
/// }
/// assert_eq!((seen, records.stopped().map(|stopped| stopped.lsn)), (1, Some(Lsn(64))));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Records<S> {
    source: S,
    header: LogHeader,
    at: Lsn,
    generation: Generation,
    window: Window,
    stopped: Option<StopReason>,
    failed: bool,
}

/// A whole record, its covered bytes held by the window where they were asked for.
struct Found {
    header: RecordHeader,
    kind: Kind,
    lsn: Lsn,
    end: Lsn,
}

impl<S: Source> Records<S> {
    /// Reads the header, and starts at its tail. Two small reads.
    ///
    /// # Errors
    /// [`LogError::Headers`] where neither copy of it is good, [`LogError::Short`] where the source ends before the ring does, and what the
    /// source says.
    pub fn open(source: S) -> Result<Self, LogError> {
        let header = LogHeader::read(&source)?;
        Self::with_header(source, header)
    }

    /// Starts at the tail of a header that is known already: of the one to be believed, where the source's own may be damaged.
    ///
    /// # Errors
    /// [`LogError::Short`] where the source ends before the ring does, [`LogError::Position`] where no log has such a tail, and what the
    /// source says.
    pub fn with_header(source: S, header: LogHeader) -> Result<Self, LogError> {
        let tail = header.tail;
        if !tail.is_aligned() || tail.checked_add(header.ring_bytes.get()).is_none() {
            return Err(LogError::Position { lsn: tail, tail, limit: header.limit() });
        }
        let (bytes, needed) = (source.length()?, header.ring_bytes.area_bytes());
        if bytes < needed {
            return Err(LogError::Short { bytes, needed });
        }
        let (at, generation) = (header.tail, Generation(0));
        Ok(Self { source, header, at, generation, window: Window::new(), stopped: None, failed: false })
    }

    /// The header that it goes by.
    pub fn header(&self) -> &LogHeader {
        &self.header
    }

    /// What it reads from.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// Where the next record would begin.
    pub fn position(&self) -> Lsn {
        self.at
    }

    /// The generation of the last record; the next has no lower one.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Where and why it stopped; none while it has not.
    pub fn stopped(&self) -> Option<StoppedAt> {
        self.stopped.map(|why| StoppedAt { lsn: self.at, generation: self.generation, why })
    }

    /// Goes to a place where a record is known to begin, or the log to end: the `end` of an earlier one, and its generation.
    ///
    /// # Errors
    /// [`LogError::Position`] where the header says that no record can begin there.
    pub fn seek(&mut self, lsn: Lsn, generation: Generation) -> Result<(), LogError> {
        let (tail, limit) = (self.header.tail, self.header.limit());
        if !lsn.is_aligned() || lsn < tail || lsn > limit {
            return Err(LogError::Position { lsn, tail, limit });
        }
        (self.at, self.generation) = (lsn, generation);
        (self.stopped, self.failed) = (None, false);
        self.window.clear();
        Ok(())
    }

    /// Reads the header again and goes on where it stands: for a log that is being written.
    ///
    /// # Errors
    /// [`LogError::Overrun`] where the writer has freed what comes next, [`LogError::Replaced`] where another log is there, and the errors of
    /// [`Records::open`]. It stays as it was then.
    pub fn resume(&mut self) -> Result<(), LogError> {
        let mut header = LogHeader::read(&self.source)?;
        if header.history != self.header.history || header.ring_bytes != self.header.ring_bytes {
            return Err(LogError::Replaced { known: self.header.history, found: header.history });
        }
        // While the newest copy is being written, the one that can be read may be older than the one that is known.
        if header.sequence < self.header.sequence {
            header = self.header;
        }
        if header.tail > self.at {
            return Err(LogError::Overrun { lsn: self.at, tail: header.tail });
        }
        let known = std::mem::replace(&mut self.header, header);
        let sought = self.seek(self.at, self.generation);
        if sought.is_err() {
            self.header = known;
        }
        sought
    }

    /// The next record of data: its payload replaces what `payload` held. None at the end: see [`Records::stopped`].
    ///
    /// # Errors
    /// What the source says; the same record is tried again next time.
    pub fn next_into(&mut self, payload: &mut Vec<u8>) -> Result<Option<Record>, LogError> {
        while let Some(entry) = self.next_entry()? {
            if entry.kind == Kind::Data {
                payload.clear();
                payload.extend_from_slice(entry.payload);
                return Ok(Some(Record { lsn: entry.lsn, end: entry.end, generation: entry.generation }));
            }
        }
        Ok(None)
    }

    /// The next record of any kind, without another copy: its payload lies in the reader's own buffer. None at the end.
    ///
    /// # Errors
    /// What the source says; the same record is tried again next time.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_>>, LogError> {
        let Some(Found { header, kind, lsn, end }) = self.advance(true)? else { return Ok(None) };
        let payload = match kind {
            Kind::Data => self.window.held(self.place(lsn) + RECORD_HEADER_BYTES as u64, header.length as usize),
            _ => None,
        };
        let payload = payload.unwrap_or_default();
        Ok(Some(Entry { lsn, end, generation: header.generation, kind, length: header.length, payload }))
    }

    /// Reads on to the end of the valid prefix without giving the records out, nor copying long ones as a whole.
    ///
    /// # Errors
    /// What the source says.
    pub fn skip_to_end(&mut self) -> Result<StoppedAt, LogError> {
        while self.advance(false)?.is_some() {}
        // Where there was nothing more, the reason is there.
        let why = self.stopped.unwrap_or(StopReason::RingFull);
        Ok(StoppedAt { lsn: self.at, generation: self.generation, why })
    }

    /// Where a position lies in the area.
    #[inline]
    fn place(&self, lsn: Lsn) -> u64 {
        RING_OFFSET + self.header.ring_bytes.offset_of(lsn)
    }

    /// Over the next record, if it is whole; `keep`: the window is to hold it then.
    #[inline]
    fn advance(&mut self, keep: bool) -> Result<Option<Found>, LogError> {
        if self.stopped.is_some() {
            return Ok(None);
        }
        let mut outcome = self.examine(keep, false)?;
        if outcome.is_err() {
            // What the window holds may be older than the record.
            outcome = self.examine(keep, true)?;
        }
        match outcome {
            Ok(found) => {
                (self.at, self.generation) = (found.end, found.header.generation);
                Ok(Some(found))
            }
            Err(why) => {
                self.stopped = Some(why);
                Ok(None)
            }
        }
    }

    /// Copies out what is at the position and checks it.
    #[inline]
    fn examine(&mut self, keep: bool, fresh: bool) -> Result<Result<Found, StopReason>, LogError> {
        let lsn = self.at;
        if lsn >= self.header.limit() {
            return Ok(Err(StopReason::RingFull));
        }
        let (place, room) = (self.place(lsn), self.header.ring_bytes.bytes_to_end(lsn));
        self.window.fetch(&self.source, place, RECORD_HEADER_BYTES, room, fresh)?;
        let header = self.window.held(place, RECORD_HEADER_BYTES).and_then(RecordHeader::of);
        let Some(header) = header else { return Ok(Err(StopReason::NothingThere { found: Lsn::ZERO })) };
        let size = match judge(&header, &self.header, lsn, self.generation) {
            Ok(size) => size,
            Err(why) => return Ok(Err(why)),
        };
        let (Some(kind), Some(end)) = (Kind::from_number(header.kind), lsn.checked_add(size)) else {
            return Ok(Err(StopReason::Kind { found: header.kind }));
        };
        let found = Found { header, kind, lsn, end };
        let covered = header.covered_bytes();
        if covered > PIECE_BYTES_MAX as u64 {
            let (again, computed) = self.window.checksum(&self.source, place, covered)?;
            if let Err(why) = same(&header, again, computed) {
                return Ok(Err(why));
            }
            if !keep {
                return Ok(Ok(found));
            }
        }
        let covered = covered as usize;
        self.window.fetch(&self.source, place, covered, room, false)?;
        let span = self.window.held(place, covered).unwrap_or_default();
        Ok(same(&header, RecordHeader::of(span), record::checksum(span)).map(|()| found))
    }
}

/// Whether the bytes under the checksum are those of the header that was judged: they may have been copied out later than it.
#[inline]
fn same(judged: &RecordHeader, again: Option<RecordHeader>, computed: u32) -> Result<(), StopReason> {
    if again == Some(*judged) && computed == judged.checksum {
        Ok(())
    } else {
        Err(StopReason::Checksum { found: judged.checksum, computed })
    }
}

impl<S: Source> Iterator for Records<S> {
    type Item = Result<OwnedRecord, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let mut payload = Vec::new();
        match self.next_into(&mut payload) {
            Ok(record) => {
                record.map(|Record { lsn, end, generation }| Ok(OwnedRecord { lsn, end, generation, payload }))
            }
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}

impl<S: Source> std::iter::FusedIterator for Records<S> {}

/// Where the valid prefix of a log ends that is read from `from` on: the header's tail, or the end of an earlier record, and no record
/// before `from` has a higher generation than `generation` (0 at the tail).
///
/// # Errors
/// [`LogError::Position`] where no record can begin at `from`; else those of [`Records::with_header`].
pub fn valid_end<S: Source + ?Sized>(
    source: &S,
    header: &LogHeader,
    from: Lsn,
    generation: Generation,
) -> Result<StoppedAt, LogError> {
    let mut records = Records::with_header(source, *header)?;
    records.seek(from, generation)?;
    records.skip_to_end()
}
