//! Opening a log's file, and reading it to its end; it may be written meanwhile.

use crate::cli::failure::Failure;
use crate::cli::output::count;
use handfast::clients::mirrored_log::area::RING_OFFSET;
use handfast::clients::mirrored_log::record::Kind;
use handfast::clients::mirrored_log::{Entry, Generation, LogError, LogHeader, Records, StoppedAt};
use serde_json::{Value, json};
use std::fs::File;
use std::path::Path;

/// How often it is begun anew because its writer freed what was to be read next.
const ATTEMPTS_MAX: u32 = 10;

/// Opens the file, if it is one: nobody is waited for at the other end of a pipe.
pub(crate) fn file(path: &Path) -> Result<File, Failure> {
    let opened = std::fs::metadata(path).and_then(|metadata| {
        if metadata.is_file() { File::open(path) } else { Err(std::io::Error::other("it is not a regular file")) }
    });
    opened.map_err(|error| Failure::of(path.display(), error))
}

/// Its records, from the tail on.
pub(crate) fn open(path: &Path) -> Result<Records<File>, Failure> {
    Records::open(file(path)?).map_err(|error| failure(path, &error))
}

/// An error of the log, with what to do about it.
pub(crate) fn failure(path: &Path, error: &LogError) -> Failure {
    let path = path.display();
    match error {
        LogError::Short { bytes, .. } if *bytes <= RING_OFFSET => Failure::new(format!(
            "{path}: {bytes} bytes are no log: its headers alone take {RING_OFFSET}. There is no record to be read"
        )),
        LogError::Short { needed, .. } => Failure::new(format!(
            "{path}: {error} To look into what is left, copy the file, make the copy longer with `truncate --size={needed} COPY`, and look into that"
        )),
        _ => Failure::of(path, error),
    }
}

/// What was counted on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) data: u64,
    pub(crate) aborts: u64,
    pub(crate) paddings: u64,
    pub(crate) payload_bytes: u64,
    /// Payloads by the number of bits that their length takes.
    pub(crate) sizes: [u64; 33],
    /// The first and the last record's.
    pub(crate) generations: Option<(Generation, Generation)>,
}

impl Default for Tally {
    fn default() -> Self {
        Self { data: 0, aborts: 0, paddings: 0, payload_bytes: 0, sizes: [0; 33], generations: None }
    }
}

impl Tally {
    fn add(&mut self, entry: &Entry<'_>) {
        match entry.kind {
            Kind::Data => {
                self.data += 1;
                self.payload_bytes += u64::from(entry.length);
                self.sizes[(u32::BITS - entry.length.leading_zeros()) as usize] += 1;
            }
            Kind::Abort => self.aborts += 1,
            _ => self.paddings += 1,
        }
        let first = self.generations.map_or(entry.generation, |(first, _)| first);
        self.generations = Some((first, entry.generation));
    }

    pub(crate) fn records(&self) -> u64 {
        self.data + self.aborts + self.paddings
    }

    /// Each class of lengths that has a record: shortest, longest, how many.
    pub(crate) fn classes(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        let bounds = |bits: usize| if bits == 0 { (0, 0) } else { (1 << (bits - 1), (1 << bits) - 1) };
        let sizes = self.sizes.iter().enumerate().filter(|(_, count)| **count != 0);
        sizes.map(move |(bits, count)| (bounds(bits).0, bounds(bits).1, *count))
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (records, payload) = (count(self.data, "record"), count(self.payload_bytes, "byte"));
        let (holes, paddings) = (count(self.aborts, "hole"), count(self.paddings, "padding"));
        write!(f, "{records} with {payload} of payload, {holes}, {paddings}")
    }
}

/// A log that was read to its end.
pub(crate) struct Walked {
    pub(crate) header: LogHeader,
    pub(crate) stopped: StoppedAt,
    pub(crate) tally: Tally,
}

/// Reads all of it.
pub(crate) fn walk(path: &Path) -> Result<Walked, Failure> {
    let mut records = open(path)?;
    for _ in 0..ATTEMPTS_MAX {
        let mut tally = Tally::default();
        let stopped = visit(&mut records, |entry| {
            tally.add(entry);
            true
        });
        match stopped {
            Ok(Some(stopped)) => return Ok(Walked { header: *records.header(), stopped, tally }),
            Ok(None) | Err(LogError::Overrun { .. }) => records = open(path)?,
            Err(error) => return Err(failure(path, &error)),
        }
    }
    Err(Failure::new(format!(
        "{}: its writer frees records faster than they can be read here: read it when it is written less, or a copy of it",
        path.display()
    )))
}

/// Visits records until a visit says that it is enough (none then), or to the end. Where that comes before what was acknowledged, the header
/// is read again before it counts as damage: a writer may have gone on meanwhile.
pub(crate) fn visit(
    records: &mut Records<File>,
    mut each: impl FnMut(&Entry<'_>) -> bool,
) -> Result<Option<StoppedAt>, LogError> {
    let mut again = true;
    loop {
        while let Some(entry) = records.next_entry()? {
            if !each(&entry) {
                return Ok(None);
            }
            again = true;
        }
        let stopped = records.stopped();
        if !again || stopped.is_none_or(|stopped| stopped.lsn >= records.header().acknowledged) {
            return Ok(stopped);
        }
        records.resume()?;
        again = false;
    }
}

/// What to say where records are missing that were acknowledged; none where all are there.
pub(crate) fn missing(path: &Path, header: &LogHeader, stopped: &StoppedAt) -> Option<String> {
    let bytes = header.acknowledged.bytes_since(stopped.lsn).filter(|bytes| *bytes != 0)?;
    Some(format!(
        "{}: acknowledged records are missing: everything before lsn {} was durable once, and what is whole ends {} before that, at {stopped}. Change nothing here, and look into the partner's copy; `handfast log dump` gives what is whole",
        path.display(),
        header.acknowledged,
        count(bytes, "byte")
    ))
}

/// The end as an object.
pub(crate) fn end(stopped: &StoppedAt) -> Value {
    json!({
        "lsn": stopped.lsn.0,
        "generation": stopped.generation.0,
        "reason": stopped.why.name(),
        "text": stopped.why.to_string(),
    })
}

/// The counts as an object.
pub(crate) fn counts(tally: &Tally) -> Value {
    json!({
        "records": tally.records(),
        "data": tally.data,
        "aborts": tally.aborts,
        "paddings": tally.paddings,
        "payload_bytes": tally.payload_bytes,
    })
}

/// The header as an object.
pub(crate) fn header(header: &LogHeader) -> Value {
    json!({
        "state": header.state.name(),
        "sequence": header.sequence,
        "history": header.history.to_string(),
        "term": header.term.0,
        "generation": header.generation.0,
        "tail": header.tail.0,
        "ring_bytes": header.ring_bytes.get(),
        "acknowledged": header.acknowledged.0,
    })
}
