//! The same bank without a mirror: what redb does alone, for comparison.

use crate::cli::demo::bank::ledger;
use crate::cli::demo::bank::tally::Acknowledged;
use crate::cli::failure::Failure;
use redb::backends::FileBackend;
use redb::{Database, StorageBackend};
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// No run takes longer: disks that take milliseconds for a sync would make it minutes.
const TIME_MAX: Duration = Duration::from_secs(3);

/// A file that is never synced.
#[derive(Debug)]
struct Unsynced(FileBackend);

impl StorageBackend for Unsynced {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, len: usize) -> std::io::Result<Vec<u8>> {
        self.0.read(offset, len)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self, _eventual: bool) -> std::io::Result<()> {
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, data)
    }
}

/// Makes so many transfers on a file of its own, or as many as there is time for.
pub(crate) fn run(
    path: &Path,
    synced: bool,
    seed: u64,
    transactions: u64,
    interrupted: &AtomicBool,
) -> Result<Acknowledged, Failure> {
    let file = File::options().create_new(true).read(true).write(true).open(path);
    let file = file.map_err(|error| Failure::of(format!("making {}", path.display()), error))?;
    let backend = FileBackend::new(file)?;
    let database = match synced {
        true => Database::builder().create_with_backend(backend)?,
        false => Database::builder().create_with_backend(Unsynced(backend))?,
    };
    ledger::open(&database)?;
    let began = Instant::now();
    let mut made = Acknowledged::default();
    while made.transactions < transactions && made.took < TIME_MAX {
        if interrupted.load(Ordering::Relaxed) {
            return Err(Failure::new("interrupted"));
        }
        ledger::transfer(&database, seed, made.transactions + 1)?;
        made = Acknowledged { transactions: made.transactions + 1, took: began.elapsed() };
    }
    Ok(made)
}
