//! Every single-byte corruption, and every truncation, of a log of 1,000 records.
//!
//! For each, the reader starts at the record that is hit: those before it are read from the same bytes with or without the damage, and a
//! sample that is read from the start shows as much.

use crate::image::{Image, Seeded, Written, read_all, thousand};
use handfast::clients::mirrored_log::area::{HEADER_OFFSETS, RING_OFFSET};
use handfast::clients::mirrored_log::header::HEADER_BYTES;
use handfast::clients::mirrored_log::{
    Generation, LogError, LogHeader, Records, Source, StopReason, StoppedAt, valid_end,
};
use std::cell::RefCell;

/// An area that is changed between reads, and how many of its bytes are there.
struct Shared {
    area: RefCell<Vec<u8>>,
    bytes: usize,
}

impl Shared {
    fn of(image: &Image) -> Self {
        Self { area: RefCell::new(image.area.clone()), bytes: image.area.len() }
    }
}

impl Source for Shared {
    fn length(&self) -> Result<u64, LogError> {
        Ok(self.area.borrow().len() as u64)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), LogError> {
        self.area.borrow()[..self.bytes].read(offset, into)
    }
}

fn generation_before(image: &Image, record: usize) -> Generation {
    record.checked_sub(1).map_or(Generation(0), |before| image.written[before].generation)
}

/// Reads two records from this one on: as long as they are intact they come, and as they were written; then it stops, and where it should.
fn check_from(image: &Image, records: &mut Records<&Shared>, first: usize, intact: impl Fn(usize) -> bool) {
    records.seek(image.written[first].lsn, generation_before(image, first)).expect("a record begins there");
    for (number, record) in image.written.iter().enumerate().skip(first).take(2) {
        let entry = records.next_entry().expect("its bytes can be read");
        if intact(number) {
            assert!(entry.is_some_and(|entry| record.is(&entry)), "record {number} is whole, and came as {entry:?}");
            continue;
        }
        assert_eq!(entry, None, "a wrong record in place of {number}");
        let stopped = records.stopped().expect("it says where");
        assert_eq!((stopped.lsn, stopped.generation), (record.lsn, generation_before(image, number)));
        return;
    }
}

/// Every byte of every second record, to every other value.
fn corrupt_every_byte(first: usize) {
    let image = thousand();
    let shared = Shared::of(&image);
    let mut records = Records::open(&shared).expect("a log");
    let (mut hits, mut harmless) = (0u64, 0u64);
    for (number, record) in image.written.iter().enumerate().skip(first).step_by(2) {
        let (place, size) = (image.place(record.lsn), (record.end.0 - record.lsn.0) as usize);
        for offset in 0..size {
            // What rounds its size up, and what lies in a hole, counts for nothing.
            let counts = offset < record.covered();
            for flip in 1..=255 {
                shared.area.borrow_mut()[place + offset] ^= flip;
                check_from(&image, &mut records, number, |other| other != number || !counts);
                shared.area.borrow_mut()[place + offset] ^= flip;
                if counts { hits += 1 } else { harmless += 1 }
            }
        }
    }
    assert_eq!(shared.area.into_inner(), image.area, "each was taken back");
    assert!(hits > 500 * 64 * 255 && harmless > 100_000, "{hits} hits, {harmless} harmless");
}

#[test]
fn no_corruption_of_a_single_byte_yields_a_wrong_record_even_ones() {
    corrupt_every_byte(0);
}

#[test]
fn no_corruption_of_a_single_byte_yields_a_wrong_record_odd_ones() {
    corrupt_every_byte(1);
}

#[test]
fn a_sample_of_corruptions_read_from_the_start_yields_exactly_what_is_intact() {
    let image = thousand();
    let mut area = image.area.clone();
    let mut numbers = Seeded(11);
    let ring = RING_OFFSET as usize;
    for _ in 0..2000 {
        let (place, flip) = (ring + numbers.below((area.len() - ring) as u64) as usize, 1 + numbers.below(255) as u8);
        area[place] ^= flip;
        let intact = image.intact(&area);
        let (read, stopped) = read_all(&area).expect("it can be read");
        assert!(read == image.written[..intact], "byte {place}, flip {flip}: {} of {intact} records", read.len());
        assert_eq!(stopped.lsn, image.written.get(intact).map_or(image.head, |record| record.lsn));
        assert_eq!(valid_end(&area, &image.header, image.header.tail, Generation(0)), Ok(stopped));
        area[place] ^= flip;
    }
}

#[test]
fn no_corruption_before_the_ring_yields_a_wrong_record() {
    let image = thousand();
    let older = LogHeader { sequence: image.header.sequence - 1, ..image.header };
    let mut area = image.area.clone();
    let newest = image.header.offset() as usize;
    for copy in HEADER_OFFSETS.map(|offset| offset as usize) {
        for place in copy..copy + HEADER_BYTES {
            for flip in 1..=255 {
                area[place] ^= flip;
                // One copy of the header is good, whichever is hit.
                let records = Records::open(&area).expect("the other copy is good");
                assert_eq!(*records.header(), if copy == newest { older } else { image.header });
                area[place] ^= flip;
            }
        }
    }
    // What lies elsewhere, as what the partner reports does, is none of the log.
    let headers = HEADER_OFFSETS.map(|offset| offset as usize..offset as usize + HEADER_BYTES);
    for place in (0..RING_OFFSET as usize).filter(|place| !headers.iter().any(|header| header.contains(place))) {
        area[place] = 0xa5;
    }
    assert!(read_all(&area).is_ok_and(|(read, _)| read == image.written));
    area[..RING_OFFSET as usize].fill(0);
    assert!(matches!(Records::open(&area), Err(LogError::Headers { .. })));
}

/// The log as it was when its first `bytes` bytes were written, for every number of bytes.
fn truncate_everywhere(image: &Image, before: &[u8]) {
    let shared = Shared::of(image);
    let mut records = Records::open(&shared).expect("a log");
    for (number, record) in image.written.iter().enumerate().rev() {
        let (place, size) = (image.place(record.lsn), (record.end.0 - record.lsn.0) as usize);
        for offset in (0..size).rev() {
            shared.area.borrow_mut()[place + offset] = before[place + offset];
            let covered = place..place + record.covered();
            let intact = shared.area.borrow()[covered.clone()] == image.area[covered];
            check_from(image, &mut records, number, |other| other < number || other == number && intact);
        }
    }
}

#[test]
fn no_truncation_yields_a_wrong_record() {
    let image = thousand();
    truncate_everywhere(&image, &vec![0; image.area.len()]);
    truncate_everywhere(&image, &image.before);
    // From the start, at every record's end and in the middle of every record.
    let mut area = image.area.clone();
    for (number, record) in image.written.iter().enumerate().rev() {
        let (place, size) = (image.place(record.lsn), (record.end.0 - record.lsn.0) as usize);
        for half in [place + record.covered() / 2, place] {
            area[half..place + size].copy_from_slice(&image.before[half..place + size]);
            if number.is_multiple_of(17) {
                // Half a record may be the same as half of what was there before it.
                let intact = image.intact(&area);
                let (read, _) = read_all(&area).expect("it can be read");
                assert!(read == image.written[..intact], "{} of {intact} records", read.len());
                assert!(intact == number || half != place && intact == number + 1);
            }
        }
    }
}

#[test]
fn a_source_that_was_cut_short_is_refused() {
    let image = thousand();
    let full = image.area.len() as u64;
    for bytes in 0..full {
        let error = Records::open(&image.area[..bytes as usize]).map(|_| ());
        let Err(LogError::Short { bytes: found, needed }) = error else {
            // Only the second copy of the header is missing: reading that far says so.
            panic!("{bytes} bytes: {error:?}");
        };
        assert!(found == bytes && needed > bytes && needed <= full);
        assert!(Records::with_header(&image.area[..bytes as usize], image.header).is_err());
    }
}

#[test]
fn a_source_that_shrinks_while_it_is_read_is_an_error_after_the_records_before() {
    let image = thousand();
    let mut numbers = Seeded(3);
    for _ in 0..500 {
        let shared =
            Shared { bytes: 4224 + numbers.below(image.area.len() as u64 - 4224) as usize, ..Shared::of(&image) };
        let mut records = Records::open(&shared).expect("its length was right when it was asked");
        let (mut read, mut end) = (0, Ok(()));
        while end.is_ok() {
            match records.next_entry() {
                Ok(Some(entry)) => assert!(image.written[read].is(&entry)),
                Ok(None) => break,
                Err(error) => end = Err(error),
            }
            read += 1;
        }
        assert!(matches!(end, Err(LogError::Short { .. })), "{} of 1000 records, then {end:?}", read);
        let mut records = Records::open(&shared).expect("as before");
        assert!(records.by_ref().any(|record| record.is_err()));
        assert!(records.next().is_none(), "after an error an iterator is at its end");
    }
}

#[test]
fn the_undamaged_log_is_read_to_its_end() {
    let image = thousand();
    let (read, stopped) = read_all(&image.area).expect("it can be read");
    assert!(read == image.written);
    let StoppedAt { lsn, generation, why } = stopped;
    assert_eq!((lsn, generation), (image.head, Generation(3)));
    assert!(matches!(why, StopReason::NothingThere { .. }), "{why:?}");
    let owned: Vec<_> = Records::open(&image.area).expect("a log").map(|record| record.expect("a record")).collect();
    let data: Vec<&Written> = image.written.iter().filter(|record| record.kind.name() == "data").collect();
    assert_eq!(owned.len(), data.len());
    let same = owned.iter().zip(data).all(|(owned, record)| {
        (owned.lsn, owned.end, owned.generation) == (record.lsn, record.end, record.generation)
            && owned.payload == record.payload
    });
    assert!(same);
}
