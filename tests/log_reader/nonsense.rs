//! What is sealed and still wrong: leftovers of other writers and other logs, lengths that cannot be; and what is not even sealed.

use crate::image::{Image, Seeded, read_all};
use handfast::clients::mirrored_log::area::RING_OFFSET;
use handfast::clients::mirrored_log::record::{self, RECORD_HEADER_BYTES, size_of_record};
use handfast::clients::mirrored_log::{Generation, History, LogError, LogHeader, Lsn, Records, StopReason, valid_end};
use proptest::prelude::*;

const RING: u64 = 64 << 10;

/// 200 records of one writer, all of these sizes.
fn first_writer(lengths: &[usize]) -> Image {
    let mut image = Image::new(RING, 3 * RING + 4096);
    for (number, length) in lengths.iter().enumerate() {
        assert!(image.data(&vec![number as u8; *length]));
    }
    image
}

/// A second writer goes on after `kept` records, with records of the same sizes: its leftovers are whole, and where they should be.
fn second_writer(first: &Image, kept: usize, more: usize) -> Image {
    let mut image = first.clone();
    image.written.truncate(kept);
    image.head = first.written[kept].lsn;
    image.next_generation();
    for number in kept..kept + more {
        assert!(image.data(&vec![0x80; first.written[number].payload.len()]));
    }
    image
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn leftovers_of_an_older_writer_are_never_given_out(
        lengths in prop::collection::vec(0usize..400, 100),
        kept in 0usize..60,
        more in 1usize..39,
        torn in prop::option::of((0usize..432, 1u8..=255)),
    ) {
        let first = first_writer(&lengths);
        let mut image = second_writer(&first, kept, more);
        let last = image.written.last().expect("one at least").clone();
        let mut whole = image.written.len();
        if let Some((offset, flip)) = torn {
            let place = image.place(last.lsn) + offset % last.covered();
            image.area[place] ^= flip;
            whole -= 1;
        }
        let (read, stopped) = read_all(&image.area).expect("it can be read");
        prop_assert!(read == image.written[..whole]);
        if torn.is_none() {
            let fell = StopReason::GenerationFell { found: Generation(1), before: Generation(2) };
            prop_assert_eq!((stopped.lsn, stopped.generation, stopped.why), (last.end, Generation(2), fell));
        } else {
            prop_assert_eq!(stopped.lsn, last.lsn);
        }
        // From a place that is known, as from the start.
        let from = &image.written[kept];
        let resumed = valid_end(&image.area, &image.header, from.lsn, Generation(if kept == 0 { 0 } else { 1 }));
        prop_assert_eq!(resumed, Ok(stopped));
    }

    #[test]
    fn damage_of_any_kind_leaves_exactly_what_is_intact(
        lengths in prop::collection::vec(0usize..400, 100),
        damage in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 1..200)), 1..4),
    ) {
        let image = first_writer(&lengths);
        let mut area = image.area.clone();
        for (index, bytes) in damage {
            let place = RING_OFFSET as usize + index.index(RING as usize - bytes.len());
            area[place..place + bytes.len()].copy_from_slice(&bytes);
        }
        let (read, _) = read_all(&area).expect("it can be read");
        prop_assert!(read == image.written[..image.intact(&area)]);
    }

    #[test]
    fn garbage_is_never_a_record(seed in any::<u64>(), sealed_until in 0usize..RECORD_HEADER_BYTES) {
        let mut image = Image::new(RING, 0);
        let garbage = Seeded(seed).bytes(RING as usize);
        image.area[RING_OFFSET as usize..].copy_from_slice(&garbage);
        // As much of a true header as comes before this byte, from behind the checksum on.
        let mut header = [0; RECORD_HEADER_BYTES];
        prop_assert!(record::seal_abort(&mut header, Lsn(0), Generation(1), image.header.history, 40));
        let place = RING_OFFSET as usize;
        image.area[place + 4..place + 4.max(sealed_until)].copy_from_slice(&header[4..4.max(sealed_until)]);
        prop_assert_eq!(read_all(&image.area).map(|(read, _)| read.len()), Ok(0));
        image.area[..RING_OFFSET as usize].copy_from_slice(&garbage[..RING_OFFSET as usize]);
        let lost = matches!(Records::open(&image.area), Err(LogError::Headers { .. }));
        prop_assert!(lost);
    }
}

/// One record at the tail, sealed with whatever is asked for: the reason to stop there, none where it is read.
fn judged(tail: u64, seal: impl FnOnce(&mut [u8], &Image) -> bool) -> Option<StopReason> {
    let mut image = Image::new(RING, tail);
    let place = image.place(Lsn(tail));
    let mut span = vec![0; 2 * RING as usize];
    assert!(seal(&mut span, &image));
    let length = span.len().min(image.area.len() - place);
    image.area[place..].copy_from_slice(&span[..length]);
    let mut records = Records::open(&image.area).expect("a log");
    let read = records.next_entry().expect("it can be read").is_some();
    assert_eq!(read, records.stopped().is_none());
    records.stopped().map(|stopped| stopped.why)
}

#[test]
fn sealed_lengths_that_cannot_be_are_refused() {
    // 1 KiB before the ring's end, and at its last 32 bytes; the lap is the third.
    for (to_end, tail) in [(1024, 4 * RING - 1024), (32, 4 * RING - 32), (RING, 4 * RING)] {
        let lengths = [
            0,
            1,
            31,
            32,
            33,
            to_end.saturating_sub(33),
            to_end - 32,
            to_end - 31,
            to_end,
            RING / 4 - 33,
            RING / 4 - 32,
            RING / 4 - 31,
            RING,
            1 << 31,
            u64::from(u32::MAX),
        ];
        for length in lengths.into_iter().filter_map(|length| u32::try_from(length).ok()) {
            let refused = Some(StopReason::Length { found: length });
            // No writer makes a record longer than a quarter of the ring.
            let fits = if size_of_record(length) <= to_end.min(RING / 4) { None } else { refused };
            if u64::from(length) < RING {
                let why = judged(tail, |span, image| {
                    record::seal(span, Lsn(tail), Generation(1), image.header.history, length)
                });
                assert_eq!(why, fits, "data of {length} bytes, {to_end} before the end");
            }
            let why = judged(tail, |span, image| {
                record::seal_abort(span, Lsn(tail), Generation(1), image.header.history, length)
            });
            assert_eq!(why, fits, "a hole of {length} bytes, {to_end} before the end");
            let why = judged(tail, |span, image| {
                record::seal_padding(span, Lsn(tail), Generation(1), image.header.history, length)
            });
            let fits = if u64::from(length) + 32 == to_end { None } else { refused };
            assert_eq!(why, fits, "padding of {length} bytes, {to_end} before the end");
        }
    }
}

#[test]
fn sealed_names_that_are_not_these_are_refused() {
    let (at, one, log) = (Lsn(RING), Generation(1), Image::new(RING, RING).header.history);
    let why = |lsn, generation, history| judged(RING, |span, _| record::seal(span, lsn, generation, history, 5));
    assert_eq!(why(at, one, log), None);
    for lsn in [Lsn(0), Lsn(RING - 32), Lsn(RING + 32), Lsn(2 * RING), Lsn(u64::MAX)] {
        assert_eq!(why(lsn, one, log), Some(StopReason::NothingThere { found: lsn }));
    }
    assert_eq!(why(at, one, History(log.0 + 1)), Some(StopReason::History { found: log.low() + 1 }));
    let ahead = StopReason::GenerationAhead { found: Generation(2), header: one };
    assert_eq!(why(at, Generation(2), log), Some(ahead));
    for kind in [0u32, 4, 0x0100_0001, u32::MAX] {
        let why = judged(RING, |span, _| {
            let sealed = record::seal(span, at, one, log, 5);
            span[20..24].copy_from_slice(&kind.to_le_bytes());
            let checksum = record::checksum(&span[..37]);
            span[..4].copy_from_slice(&checksum.to_le_bytes());
            sealed
        });
        assert_eq!(why, Some(StopReason::Kind { found: kind }));
    }
}

#[test]
fn an_empty_log_has_nothing_there() {
    for tail in [0, RING, 5 * RING - 32] {
        let image = Image::new(RING, tail);
        let (read, stopped) = read_all(&image.area).expect("a log");
        assert_eq!((read.len(), stopped.lsn, stopped.generation), (0, Lsn(tail), Generation(0)));
        assert_eq!(stopped.why, StopReason::NothingThere { found: Lsn(0) });
    }
}

#[test]
fn a_full_ring_is_read_once_round() {
    for tail in [0, 7 * RING + 96, 8 * RING - 32] {
        let mut image = Image::new(RING, tail);
        while image.data(&[7; 100]) {}
        while image.room() >= 64 {
            assert!(image.data(&[8; 20]));
        }
        if image.room() == 32 {
            continue;
        }
        let (read, stopped) = read_all(&image.area).expect("a log");
        assert!(read == image.written);
        assert_eq!((stopped.lsn, stopped.why), (Lsn(tail + RING), StopReason::RingFull));
    }
}

#[test]
fn a_record_past_what_the_ring_can_hold_is_refused() {
    let mut image = Image::new(RING, 320);
    while image.data(&[1; 32]) {}
    assert_eq!(image.room(), 0);
    // The tail moves back, as a hostile header may have it: the last record would lie over the first.
    image.header.tail = Lsn(288);
    let mut records = Records::with_header(&image.area, image.header).expect("a log");
    let (last, limit) = (image.written.last().expect("many").lsn, image.header.limit());
    assert_eq!(limit, Lsn(last.0 + 32));
    assert_eq!(records.seek(last, Generation(1)), Ok(()));
    assert_eq!(records.skip_to_end().map(|stopped| stopped.why), Ok(StopReason::Length { found: 32 }));
    assert_eq!(records.seek(limit, Generation(1)), Ok(()));
    assert_eq!(records.skip_to_end().map(|stopped| stopped.why), Ok(StopReason::RingFull));
    for lsn in [Lsn(limit.0 + 32), Lsn(256), Lsn(289)] {
        assert_eq!(records.seek(lsn, Generation(1)), Err(LogError::Position { lsn, tail: Lsn(288), limit }));
    }
}

#[test]
fn long_records_are_checked_in_pieces() {
    let mut image = Image::new(4 << 20, 0);
    let mut numbers = Seeded(9);
    for length in [300 << 10, 10, (256 << 10) - 32, (256 << 10) - 31, (1 << 20) - 32] {
        assert!(image.data(&numbers.bytes(length)));
    }
    assert!(image.abort((1 << 20) - 32));
    let (read, stopped) = read_all(&image.area).expect("a log");
    assert!(read == image.written);
    assert_eq!(valid_end(&image.area, &image.header, Lsn(0), Generation(0)), Ok(stopped));
    for (number, record) in image.written.iter().enumerate() {
        for offset in [0, 4, 33, 200 << 10, (256 << 10) - 1, 256 << 10, record.covered() - 1] {
            let mut area = image.area.clone();
            area[image.place(record.lsn) + offset.min(record.covered() - 1)] ^= 1;
            let (read, stopped) = read_all(&area).expect("a log");
            assert!(read == image.written[..number]);
            assert_eq!(valid_end(&area, &image.header, Lsn(0), Generation(0)), Ok(stopped));
        }
    }
}

#[test]
fn a_header_made_by_hand_reads_nothing_out_of_bounds() {
    let image = first_writer(&[100; 100]);
    let with = |tail| Records::with_header(&image.area, LogHeader { tail: Lsn(tail), ..image.header });
    for tail in [0, RING - 32, u64::MAX - 2 * RING + 1] {
        let mut records = with(tail).expect("a tail that can be");
        assert!(records.next_entry().is_ok_and(|entry| entry.is_none()), "tail {tail}");
    }
    for tail in [1, 33, RING - 1, u64::MAX, u64::MAX - 31, u64::MAX - RING + 1] {
        assert!(matches!(with(tail), Err(LogError::Position { .. })), "tail {tail}");
    }
}
