//! What was read of a log, written to a file by the one that read it.

use handfast::clients::mirrored_log::{Generation, LogError, Lsn, OwnedRecord, Records, Source};
use std::path::Path;

/// The records that were read, from the tail on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dump {
    pub(crate) tail: Lsn,
    pub(crate) end: Lsn,
    pub(crate) records: Vec<OwnedRecord>,
    /// Why the reader stopped.
    pub(crate) stopped: String,
}

impl Dump {
    pub(crate) fn empty() -> Self {
        Self { tail: Lsn(0), end: Lsn(0), records: Vec::new(), stopped: "there is no copy".to_owned() }
    }

    /// Reads all there is.
    pub(crate) fn of<S: Source>(mut reader: Records<S>) -> Result<Self, LogError> {
        let tail = reader.header().tail;
        let mut records = Vec::new();
        for record in reader.by_ref() {
            records.push(record?);
        }
        let stopped = reader.stopped().map(|stopped| stopped.to_string()).unwrap_or_default();
        Ok(Self { tail, end: reader.position(), records, stopped })
    }

    /// In one line: tail, end, how many records, and a digest of them.
    pub(crate) fn line(&self) -> String {
        let mut digest = 0xcbf2_9ce4_8422_2325_u64;
        let mut take = |bytes: &[u8]| {
            for byte in bytes {
                digest = (digest ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
            }
        };
        for record in &self.records {
            take(&record.lsn.0.to_le_bytes());
            take(&record.generation.0.to_le_bytes());
            take(&record.payload);
        }
        format!("{} {} {} {digest:016x}", self.tail, self.end, self.records.len())
    }

    pub(crate) fn store(&self, path: &Path) {
        let mut bytes = Vec::new();
        let mut put = |number: u64| bytes.extend_from_slice(&number.to_le_bytes());
        put(self.tail.0);
        put(self.end.0);
        put(self.stopped.len() as u64);
        bytes.extend_from_slice(self.stopped.as_bytes());
        for record in &self.records {
            for number in [record.lsn.0, record.end.0, u64::from(record.generation.0), record.payload.len() as u64] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            bytes.extend_from_slice(&record.payload);
        }
        std::fs::write(path, bytes).expect("a file for what was read");
    }

    pub(crate) fn load(path: &Path) -> Self {
        let bytes = std::fs::read(path).expect("what was read");
        let mut rest = bytes.as_slice();
        let (tail, end, length) = (number(&mut rest), number(&mut rest), number(&mut rest));
        let stopped = String::from_utf8_lossy(take(&mut rest, length as usize)).into_owned();
        let mut records = Vec::new();
        while !rest.is_empty() {
            let (lsn, end) = (Lsn(number(&mut rest)), Lsn(number(&mut rest)));
            let generation = Generation(number(&mut rest) as u32);
            let length = number(&mut rest) as usize;
            records.push(OwnedRecord { lsn, end, generation, payload: take(&mut rest, length).to_vec() });
        }
        Self { tail: Lsn(tail), end: Lsn(end), records, stopped }
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at(length);
    *rest = left;
    taken
}

fn number(rest: &mut &[u8]) -> u64 {
    u64::from_le_bytes(take(rest, 8).try_into().expect("8 bytes"))
}
