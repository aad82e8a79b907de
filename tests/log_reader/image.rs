//! Logs as bytes, written record by record through the public functions, with what was written kept beside them.
#![allow(dead_code, reason = "each of the tests that share it uses a part")]

use handfast::clients::mirrored_log::area::RING_OFFSET;
use handfast::clients::mirrored_log::header::HeaderState;
use handfast::clients::mirrored_log::record::{self, Kind, RECORD_HEADER_BYTES};
use handfast::clients::mirrored_log::{
    Entry, Generation, History, LogError, LogHeader, Lsn, Records, RingBytes, Source, StoppedAt, Term,
};
use handfast::memory::Region;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

/// A record that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) lsn: Lsn,
    pub(crate) end: Lsn,
    pub(crate) generation: Generation,
    pub(crate) kind: Kind,
    pub(crate) length: u32,
    pub(crate) payload: Vec<u8>,
}

impl Written {
    pub(crate) fn of(entry: &Entry<'_>) -> Self {
        let Entry { lsn, end, generation, kind, length, payload } = *entry;
        Self { lsn, end, generation, kind, length, payload: payload.to_vec() }
    }

    pub(crate) fn is(&self, entry: &Entry<'_>) -> bool {
        let Entry { lsn, end, generation, kind, length, payload } = *entry;
        (self.lsn, self.end, self.generation, self.kind, self.length) == (lsn, end, generation, kind, length)
            && self.payload == payload
    }

    /// How many of its bytes count, from its start on.
    pub(crate) fn covered(&self) -> usize {
        RECORD_HEADER_BYTES + self.payload.len()
    }
}

/// A log being written.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) header: LogHeader,
    pub(crate) area: Vec<u8>,
    /// The area before the first record was written.
    pub(crate) before: Vec<u8>,
    pub(crate) head: Lsn,
    pub(crate) written: Vec<Written>,
}

impl Image {
    pub(crate) fn new(ring_bytes: u64, tail: u64) -> Self {
        let header = LogHeader {
            state: HeaderState::Whole,
            sequence: 8,
            history: History(0x1111_2222_3333_4444_5555_6666_7777_8888),
            term: Term(3),
            generation: Generation(1),
            tail: Lsn(tail),
            ring_bytes: RingBytes::new(ring_bytes).expect("a ring"),
            acknowledged: Lsn(tail),
            writer: 1,
            lineage: 1,
            persistent: false,
        };
        let area = vec![0; header.ring_bytes.area_bytes() as usize];
        let before = area.clone();
        let mut image = Self { header, area, before, head: Lsn(tail), written: Vec::new() };
        image.write_headers();
        image
    }

    /// Writes both copies of the header, the other one of the sequence before.
    pub(crate) fn write_headers(&mut self) {
        let older = LogHeader { sequence: self.header.sequence - 1, ..self.header };
        for header in [older, self.header] {
            let offset = header.offset() as usize;
            self.area[offset..offset + 128].copy_from_slice(&header.encode());
        }
    }

    pub(crate) fn next_generation(&mut self) {
        self.header.generation = self.header.generation.next().expect("a number");
        self.write_headers();
    }

    /// Where a position lies in the area.
    pub(crate) fn place(&self, lsn: Lsn) -> usize {
        (RING_OFFSET + self.header.ring_bytes.offset_of(lsn)) as usize
    }

    pub(crate) fn room(&self) -> u64 {
        self.header.limit().0 - self.head.0
    }

    pub(crate) fn data(&mut self, payload: &[u8]) -> bool {
        self.append(Kind::Data, payload.len() as u32, payload)
    }

    pub(crate) fn abort(&mut self, length: u32) -> bool {
        self.append(Kind::Abort, length, &[])
    }

    /// Appends a record, after a padding where it does not fit before the ring's end. False where the ring has no room.
    pub(crate) fn append(&mut self, kind: Kind, length: u32, payload: &[u8]) -> bool {
        let (size, to_end) = (record::size_of_record(length), self.header.ring_bytes.bytes_to_end(self.head));
        let padding = if size > to_end { to_end } else { 0 };
        if padding + size > self.room() {
            return false;
        }
        if padding != 0 {
            self.put(Kind::Padding, padding as u32 - 32, padding, &[]);
        }
        self.put(kind, length, size, payload);
        true
    }

    fn put(&mut self, kind: Kind, length: u32, size: u64, payload: &[u8]) {
        let (lsn, generation, history) = (self.head, self.header.generation, self.header.history);
        let place = self.place(lsn);
        let span = &mut self.area[place..place + size as usize];
        let sealed = match kind {
            Kind::Data => {
                span[32..32 + payload.len()].copy_from_slice(payload);
                record::seal(span, lsn, generation, history, length)
            }
            Kind::Abort => record::seal_abort(span, lsn, generation, history, length),
            _ => record::seal_padding(span, lsn, generation, history, length),
        };
        assert!(sealed, "a span of {size} bytes has room for {length}");
        let end = lsn.checked_add(size).expect("a position");
        self.written.push(Written { lsn, end, generation, kind, length, payload: payload.to_vec() });
        self.head = end;
    }

    /// How many records, from the first on, still have every byte that counts in this other area of the same log.
    pub(crate) fn intact(&self, area: &[u8]) -> usize {
        let same = |record: &Written| {
            let place = self.place(record.lsn);
            area[place..place + record.covered()] == self.area[place..place + record.covered()]
        };
        self.written.iter().take_while(|record| same(record)).count()
    }
}

/// All that a log gives out, and where it ends.
pub(crate) fn read_all<S: Source>(source: S) -> Result<(Vec<Written>, StoppedAt), LogError> {
    let mut records = Records::open(source)?;
    let mut read = Vec::new();
    while let Some(entry) = records.next_entry()? {
        read.push(Written::of(&entry));
    }
    Ok((read, records.stopped().expect("it stopped somewhere")))
}

/// Small random numbers from a seed (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// A log of exactly 1,000 records, its ring nearly full and with the leavings of earlier laps in it: data of mixed sizes, holes, one
/// padding in the middle and three generations.
pub(crate) fn thousand() -> Image {
    let ring: u64 = 128 << 10;
    let mut numbers = Seeded(4);
    // The lap before: other records at other places.
    let mut image = Image::new(ring, 4 * ring + 7 * 32);
    while image.data(&numbers.bytes(100)) {}
    let leavings = std::mem::take(&mut image.area);
    let mut image = Image::new(ring, 5 * ring + 70_016);
    image.area[RING_OFFSET as usize..].copy_from_slice(&leavings[RING_OFFSET as usize..]);
    image.before.clone_from(&image.area);
    while image.written.len() < 1000 {
        let number = image.written.len();
        if number == 400 || number == 700 {
            image.next_generation();
        }
        let length = match number {
            50 | 500 | 999 => 4500,
            _ if number.is_multiple_of(7) => 0,
            _ => numbers.below(120),
        };
        let wrote =
            if number % 13 == 5 { image.abort(length as u32) } else { image.data(&numbers.bytes(length as usize)) };
        assert!(wrote, "no room for record {number}");
    }
    image.header.acknowledged = image.head;
    image.write_headers();
    let paddings = image.written.iter().filter(|record| record.kind == Kind::Padding).count();
    assert_eq!((image.written.len(), paddings), (1000, 1));
    image
}

/// The payload that belongs at a place.
pub(crate) fn payload_at(lsn: Lsn) -> Vec<u8> {
    let mut numbers = Seeded(lsn.0);
    let length = numbers.below(600) as usize;
    numbers.bytes(length)
}

/// Writes an empty log round and round as its owner does, until it is told to stop or has written so many records: the header that frees
/// room goes first, and at most half of the ring is kept. Where it ends.
pub(crate) fn write_round(region: &Region, mut header: LogHeader, records: u64, stop: &AtomicBool) -> Lsn {
    let mut head = header.tail;
    let mut ends = VecDeque::new();
    let (ring, generation, history) = (header.ring_bytes, header.generation, header.history);
    for number in 0..records {
        let payload = payload_at(head);
        let (length, to_end) = (payload.len() as u32, ring.bytes_to_end(head));
        let mut size = record::size_of_record(length);
        let mut span = vec![0; size as usize];
        span[32..32 + payload.len()].copy_from_slice(&payload);
        if size > to_end {
            size = to_end;
            span.truncate(32);
            assert!(record::seal_padding(&mut span, head, generation, history, to_end as u32 - 32));
        } else {
            assert!(record::seal(&mut span, head, generation, history, length));
        }
        let end = Lsn(head.0 + size);
        if end > header.limit() {
            while header.tail.0 + ring.get() / 2 < end.0 {
                header.tail = ends.pop_front().expect("a record to free");
            }
            (header.sequence, header.acknowledged) = (header.sequence + 1, head);
            region.write(header.offset() as usize, &header.encode()).expect("within it");
        }
        region.write((RING_OFFSET + ring.offset_of(head)) as usize, &span).expect("within it");
        ends.push_back(end);
        head = end;
        if number.is_multiple_of(50) {
            std::thread::yield_now();
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
    }
    head
}
