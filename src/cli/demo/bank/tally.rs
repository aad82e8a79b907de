//! How many transactions were acknowledged, in a small file: a word that its writer leaves behind whatever kills it.

use crate::cli::failure::Failure;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

const BYTES: usize = 16;

/// What was acknowledged, and in what time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Acknowledged {
    pub(crate) transactions: u64,
    pub(crate) took: Duration,
}

impl Acknowledged {
    pub(crate) fn per_second(self) -> f64 {
        self.transactions as f64 / self.took.as_secs_f64().max(1e-9)
    }
}

/// The file.
pub(crate) struct TallyFile(File);

impl TallyFile {
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let file = File::options().create(true).truncate(false).read(true).write(true).open(path);
        let file = file.map_err(|error| Failure::of(format!("opening {}", path.display()), error))?;
        Ok(Self(file))
    }

    /// One system call: what is written stays when the process is killed.
    pub(crate) fn write(&self, acknowledged: Acknowledged) -> Result<(), Failure> {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&acknowledged.transactions.to_le_bytes());
        let ns = u64::try_from(acknowledged.took.as_nanos()).unwrap_or(u64::MAX);
        bytes[8..].copy_from_slice(&ns.to_le_bytes());
        Ok(self.0.write_all_at(&bytes, 0)?)
    }

    /// What was written last; nothing yet where the file is empty.
    pub(crate) fn read(&self) -> Result<Acknowledged, Failure> {
        let mut bytes = [0; BYTES];
        if self.0.read_at(&mut bytes, 0)? < BYTES {
            return Ok(Acknowledged::default());
        }
        let (transactions, ns) = bytes.split_at(8);
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
        Ok(Acknowledged { transactions: number(transactions), took: Duration::from_nanos(number(ns)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_is_read() -> Result<(), Failure> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("acknowledged");
        let (writer, reader) = (TallyFile::open(&path)?, TallyFile::open(&path)?);
        assert_eq!(reader.read()?, Acknowledged::default());
        for transactions in [1, 2, u64::MAX] {
            let acknowledged = Acknowledged { transactions, took: Duration::from_millis(250) };
            writer.write(acknowledged)?;
            assert_eq!(reader.read()?, acknowledged);
        }
        let eight = Acknowledged { transactions: 2, took: Duration::from_millis(250) };
        assert_eq!(eight.per_second(), 8.0);
        Ok(())
    }
}
