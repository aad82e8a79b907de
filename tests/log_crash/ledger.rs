//! What was promised of each record, in a file that outlives whoever writes it.
//!
//! A record's content follows from its number and from the life that wrote it, so that one of another life, or out of place, is seen.

use handfast::clients::mirrored_log::{Acknowledgement, Lsn, OwnedRecord};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::Path;

const ROW_BYTES: usize = 4;

/// What an acknowledgement stood on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoodOn {
    Partner,
    PartnersDisk,
    Alone,
}

/// One record's row; zeroes where nothing was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    /// The last life that began to write it.
    pub(crate) begun: u8,
    /// The life whose record was acknowledged, and on what.
    pub(crate) acknowledged: Option<(u8, StoodOn)>,
}

#[derive(Debug)]
pub(crate) struct Ledger(File);

impl Ledger {
    pub(crate) fn open(path: &Path) -> Self {
        let mut options = OpenOptions::new();
        Self(options.read(true).write(true).create(true).truncate(false).open(path).expect("the ledger"))
    }

    /// Told before it is written.
    pub(crate) fn begin(&self, number: usize, life: u8) {
        self.write(number * ROW_BYTES, &[life]);
    }

    /// Told after it was acknowledged.
    pub(crate) fn acknowledge(&self, number: usize, life: u8, by: Acknowledgement) {
        let on = match by {
            Acknowledgement::Persistent => 2,
            Acknowledgement::Alone => 3,
            _ => 1,
        };
        self.write(number * ROW_BYTES + 1, &[life, on]);
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        crate::calls::write_uncounted(self.0.as_raw_fd(), bytes, at);
    }

    /// Every row that was told of.
    pub(crate) fn rows(path: &Path) -> Vec<Row> {
        let mut bytes = Vec::new();
        if let Ok(mut file) = File::open(path) {
            file.read_to_end(&mut bytes).expect("the ledger");
        }
        let row = |row: &[u8]| Row {
            begun: row[0],
            acknowledged: match row.get(2) {
                Some(1) => Some((row[1], StoodOn::Partner)),
                Some(2) => Some((row[1], StoodOn::PartnersDisk)),
                Some(3) => Some((row[1], StoodOn::Alone)),
                _ => None,
            },
        };
        bytes.chunks(ROW_BYTES).map(row).collect()
    }
}

/// The content of a record.
pub(crate) fn payload(number: usize, life: u8) -> Vec<u8> {
    let length = 9 + number * 7919 % 700;
    let byte = |at: usize| (number * 31 + usize::from(life) * 101 + at) as u8;
    [&(number as u64).to_le_bytes()[..], &[life], &(9..length).map(byte).collect::<Vec<u8>>()].concat()
}

/// The lives that wrote these records, which are the first, the second and so on.
///
/// # Errors
/// One is none of these.
pub(crate) fn lives<E: std::fmt::Display>(
    records: impl Iterator<Item = Result<OwnedRecord, E>>,
) -> Result<Vec<u8>, String> {
    let mut lives = Vec::new();
    let mut at = Lsn::ZERO;
    for (number, record) in records.enumerate() {
        let record = record.map_err(|error| error.to_string())?;
        let life = record.payload.get(8).copied().unwrap_or(0);
        if record.payload != payload(number, life) || record.lsn < at {
            return Err(format!("the record at {} is not number {number}", record.lsn));
        }
        at = record.lsn;
        lives.push(life);
    }
    Ok(lives)
}
