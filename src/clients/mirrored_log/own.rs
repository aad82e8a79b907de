//! This node's own log as something to read from.

use super::error::LogError;
use super::source::Source;
use crate::memory::RingReader;

/// This node's own log, as far as it was sent or restored. Beyond that it reads as zeroes: producers own that.
#[derive(Debug)]
pub struct OwnSource<'a>(&'a RingReader);

impl<'a> OwnSource<'a> {
    pub(super) fn new(reader: &'a RingReader) -> Self {
        Self(reader)
    }
}

impl Source for OwnSource<'_> {
    fn length(&self) -> Result<u64, LogError> {
        Ok(super::area::RING_OFFSET + self.0.ring().bytes())
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), LogError> {
        let place = usize::try_from(offset).unwrap_or(usize::MAX);
        if self.0.copy_out(place, into) {
            return Ok(());
        }
        Err(LogError::Short { bytes: self.length()?, needed: offset.saturating_add(into.len() as u64) })
    }
}
