//! What a log can be read from: memory that the partner may be writing, a file, plain bytes.
//!
//! Imports `memory` and `storage` alone.

use crate::clients::mirrored_log::LogError;
use crate::memory::{Errno, Region};
use crate::storage::Durable;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Bytes that can be copied out. Somebody else may be writing them: two reads of one place may differ.
pub trait Source {
    /// How many bytes there are. May enter the kernel.
    ///
    /// # Errors
    /// [`LogError::Read`] where that cannot be told.
    fn length(&self) -> Result<u64, LogError>;

    /// Copies `into.len()` bytes out, from `offset` on. May enter the kernel and wait for a disk, never for another process.
    ///
    /// # Errors
    /// [`LogError::Short`] where they are not all there, [`LogError::Read`] where they cannot be read.
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), LogError>;
}

impl Source for [u8] {
    fn length(&self) -> Result<u64, LogError> {
        Ok(self.len() as u64)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), LogError> {
        let from = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)?.get(..into.len()));
        let Some(from) = from else {
            return Err(short(self.len() as u64, offset, into.len()));
        };
        into.copy_from_slice(from);
        Ok(())
    }
}

impl Source for Vec<u8> {
    fn length(&self) -> Result<u64, LogError> {
        self.as_slice().length()
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), LogError> {
        self.as_slice().read(offset, into)
    }
}

impl Source for Region {
    fn length(&self) -> Result<u64, LogError> {
        Ok(self.len() as u64)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), LogError> {
        let (bytes, wanted) = (self.len() as u64, into.len());
        let start = usize::try_from(offset).map_err(|_| short(bytes, offset, wanted))?;
        Region::read(self, start, into).map_err(|_| short(bytes, offset, wanted))
    }
}

impl Source for File {
    fn length(&self) -> Result<u64, LogError> {
        let metadata = self.metadata();
        metadata.map(|metadata| metadata.len()).map_err(|error| failed("telling the length of the log's file", &error))
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), LogError> {
        self.read_exact_at(into, offset).map_err(|error| {
            if error.kind() == std::io::ErrorKind::UnexpectedEof {
                short(self.length().unwrap_or(0), offset, into.len())
            } else {
                failed(&format!("reading {} bytes of the log's file at offset {offset}", into.len()), &error)
            }
        })
    }
}

impl Source for Durable {
    fn length(&self) -> Result<u64, LogError> {
        Ok(Durable::length(self)?)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), LogError> {
        let bytes = Durable::length(self)?;
        if offset.checked_add(into.len() as u64).is_none_or(|end| end > bytes) {
            return Err(short(bytes, offset, into.len()));
        }
        Ok(self.read_at(into, offset)?)
    }
}

impl<T: Source + ?Sized> Source for &T {
    fn length(&self) -> Result<u64, LogError> {
        (**self).length()
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), LogError> {
        (**self).read(offset, into)
    }
}

impl<T: Source + ?Sized> Source for Arc<T> {
    fn length(&self) -> Result<u64, LogError> {
        (**self).length()
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), LogError> {
        (**self).read(offset, into)
    }
}

fn short(bytes: u64, offset: u64, length: usize) -> LogError {
    LogError::Short { bytes, needed: offset.saturating_add(length as u64) }
}

fn failed(tried: &str, error: &std::io::Error) -> LogError {
    LogError::Read { tried: tried.to_owned(), errno: Errno::new(error.raw_os_error().unwrap_or(0)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// Every kind of source gives the same bytes, and refuses the same reads.
    fn check(source: &impl Source, length: u64) {
        assert_eq!(source.length(), Ok(length));
        let mut bytes = [0; 3];
        assert_eq!((source.read(5, &mut bytes), bytes), (Ok(()), [5, 6, 7]));
        assert_eq!(source.read(length, &mut []), Ok(()));
        let past = LogError::Short { bytes: length, needed: length + 1 };
        assert_eq!(source.read(length - 2, &mut bytes), Err(past));
        for offset in [length + 1, 1 << 40, u64::MAX - 2, u64::MAX] {
            assert!(source.read(offset, &mut bytes).is_err(), "{offset}");
        }
    }

    #[test]
    fn all_sources_agree() -> Result<(), Box<dyn std::error::Error>> {
        let bytes: Vec<u8> = (0..4096).map(|index| (index % 251) as u8).collect();
        check(&bytes, 4096);
        check(&bytes.as_slice(), 4096);
        check(&Arc::new(bytes.clone()), 4096);
        let region = Region::builder(4096).pinned(false).build()?;
        region.write(0, &bytes)?;
        let length = region.len() as u64;
        check(&region, length);
        let mut file = tempfile::tempfile()?;
        file.write_all(&bytes)?;
        check(&file, 4096);
        Ok(())
    }

    #[test]
    fn a_file_that_cannot_be_read_says_why() -> Result<(), Box<dyn std::error::Error>> {
        let error = Source::read(&File::open("/")?, 0, &mut [0; 8]);
        assert!(matches!(&error, Err(LogError::Read { errno, .. }) if errno.name() == "EISDIR"), "{error:?}");
        Ok(())
    }
}
