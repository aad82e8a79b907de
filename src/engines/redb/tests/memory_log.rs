//! A log in plain memory, with the real bytes: what the backend appends, the real reader reads.

use crate::clients::mirrored_log::area::RING_OFFSET;
use crate::clients::mirrored_log::header::HeaderState;
use crate::clients::mirrored_log::{Generation, History, Late, LogError, LogHeader, Lsn, RingBytes, Term, record};
use crate::engines::redb::log::{AppendError, Fill, Log};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What is in it.
#[derive(Debug)]
pub(super) struct Inside {
    pub(super) header: LogHeader,
    pub(super) area: Vec<u8>,
    pub(super) head: Lsn,
    /// Starts of records of data.
    pub(super) records: Vec<Lsn>,
    /// Records for which a sync was answered, with how many records there were then.
    pub(super) synced: Vec<(Lsn, usize)>,
    pub(super) applied: Option<Lsn>,
    pub(super) needs_image: bool,
    /// Records may be appended until there are so many.
    pub(super) records_max: usize,
    /// Whether anything is acknowledged.
    pub(super) acknowledges: bool,
    /// Whether it does so without a partner.
    pub(super) alone: bool,
}

/// It, shared.
#[derive(Debug, Clone)]
pub(super) struct MemoryLog(Arc<Mutex<Inside>>);

impl MemoryLog {
    pub(super) fn new(ring_bytes: u64, history: u128) -> Result<Self, LogError> {
        let header = LogHeader {
            state: HeaderState::Whole,
            sequence: 1,
            history: History(history),
            term: Term(1),
            generation: Generation(1),
            tail: Lsn::ZERO,
            ring_bytes: RingBytes::new(ring_bytes)?,
            acknowledged: Lsn::ZERO,
            writer: 1,
            lineage: 1,
            persistent: false,
        };
        let area = vec![0; header.ring_bytes.area_bytes() as usize];
        let inside = Inside {
            header,
            area,
            head: Lsn::ZERO,
            records: Vec::new(),
            synced: Vec::new(),
            applied: None,
            needs_image: false,
            records_max: usize::MAX,
            acknowledges: true,
            alone: false,
        };
        Ok(Self(Arc::new(Mutex::new(inside))))
    }

    pub(super) fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The area as the partner would have it, with nothing from `end` on.
    pub(super) fn cut(&self, end: Lsn) -> (LogHeader, Vec<u8>) {
        let inside = self.inside();
        let mut area = inside.area.clone();
        let place = (RING_OFFSET + inside.header.ring_bytes.offset_of(end)) as usize;
        if end < inside.head {
            area[place..place + 32].fill(0);
        }
        (inside.header, area)
    }

    pub(super) fn whole(&self) -> (LogHeader, Vec<u8>) {
        let head = self.inside().head;
        self.cut(head)
    }

    /// A new writer goes on at `at`.
    pub(super) fn restart(&self, at: Lsn) {
        let mut inside = self.inside();
        inside.header.generation = Generation(inside.header.generation.0 + 1);
        inside.head = at;
        inside.records.retain(|lsn| *lsn < at);
    }
}

impl Inside {
    fn room(&self, bytes: u64) -> bool {
        self.head.0 + bytes <= self.header.tail.0 + self.header.ring_bytes.get()
            && self.records.len() < self.records_max
    }

    fn place(&mut self, lsn: Lsn) -> &mut [u8] {
        let offset = RING_OFFSET + self.header.ring_bytes.offset_of(lsn);
        &mut self.area[offset as usize..]
    }

    pub(super) fn append(&mut self, bytes: usize, fill: Fill<'_>) -> Result<Lsn, AppendError> {
        let max = (self.header.ring_bytes.get() / 4) as usize - record::RECORD_HEADER_BYTES;
        if bytes > max {
            return Err(AppendError::TooLong { max });
        }
        let size = record::size_of_record(bytes as u32);
        let (generation, history, left) =
            (self.header.generation, self.header.history, self.header.ring_bytes.bytes_to_end(self.head));
        let gap = if size > left { left } else { 0 };
        if !self.room(size + gap) {
            return Err(AppendError::Full);
        }
        if gap > 0 {
            let lsn = self.head;
            assert!(record::seal_padding(self.place(lsn), lsn, generation, history, gap as u32 - 32));
            self.head = Lsn(lsn.0 + gap);
        }
        let lsn = self.head;
        let span = &mut self.place(lsn)[..size as usize];
        fill(&mut span[32..32 + bytes]).map_err(AppendError::Source)?;
        assert!(record::seal(span, lsn, generation, history, bytes as u32));
        self.head = Lsn(lsn.0 + size);
        self.records.push(lsn);
        Ok(lsn)
    }
}

impl Log for MemoryLog {
    fn append(&self, bytes: usize, deadline: Option<Instant>, fill: Fill<'_>) -> Result<Lsn, AppendError> {
        loop {
            match self.inside().append(bytes, fill) {
                Err(AppendError::Full) if deadline.is_some_and(|deadline| Instant::now() < deadline) => {}
                other => return other,
            }
            std::thread::yield_now();
        }
    }

    fn wait(&self, lsn: Lsn, deadline: Option<Instant>) -> Result<bool, LogError> {
        loop {
            let mut inside = self.inside();
            if inside.acknowledges {
                let count = inside.records.len();
                inside.synced.push((lsn, count));
                return Ok(!inside.alone);
            }
            drop(inside);
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(LogError::Late { late: Late::NotAcknowledged, lsn, waited_ms: 1 });
            }
            std::thread::yield_now();
        }
    }

    fn free(&self) {
        let mut inside = self.inside();
        if let Some(applied) = inside.applied {
            inside.header.tail = applied.max(inside.header.tail);
        }
    }

    fn needs_image(&self) -> bool {
        self.inside().needs_image
    }

    fn tail(&self) -> Lsn {
        self.inside().header.tail
    }

    fn applied(&self) -> Option<Lsn> {
        self.inside().applied
    }
}
