//! Reading while somebody writes: the source is never the same twice, and what comes out is right all the same.

use crate::ending::{StopOnDrop, Wait};
use crate::image::{Image, Seeded, payload_at, thousand, write_round};
use handfast::clients::mirrored_log::area::RING_OFFSET;
use handfast::clients::mirrored_log::{
    Generation, History, LogError, LogHeader, Lsn, Records, Source, StopReason, StoppedAt,
};
use handfast::memory::Region;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const RING: u64 = 64 << 10;

/// Bytes that differ from read to read, here and there.
struct Flickering {
    area: Vec<u8>,
    numbers: RefCell<Seeded>,
    /// One flipped byte in so many that are read.
    one_in: u64,
}

impl Source for Flickering {
    fn length(&self) -> Result<u64, LogError> {
        self.area.length()
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), LogError> {
        self.area.read(offset, into)?;
        let mut numbers = self.numbers.borrow_mut();
        let mut place = numbers.below(2 * self.one_in);
        // The header stays: it is read anew until it is good.
        while offset >= RING_OFFSET && place < into.len() as u64 {
            into[place as usize] ^= 1 + numbers.below(255) as u8;
            place += 1 + numbers.below(2 * self.one_in);
        }
        Ok(())
    }
}

#[test]
fn bytes_that_change_between_the_reads_never_make_a_record() {
    let image = thousand();
    let (mut read, mut stops) = (0, 0);
    for seed in 0..400u64 {
        let one_in = if seed.is_multiple_of(2) { 3000 } else { 60_000 };
        let source = Flickering { area: image.area.clone(), numbers: RefCell::new(Seeded(seed)), one_in };
        let mut records = Records::open(&source).expect("a log");
        let mut next = 0;
        // It stops at a flicker, and goes on from there.
        for _ in 0..20 {
            while let Some(entry) = records.next_entry().expect("bytes") {
                assert!(image.written[next].is(&entry), "seed {seed}: a wrong record {next}: {entry:?}");
                next += 1;
            }
            records.resume().expect("the same log");
            stops += 1;
        }
        read += next;
    }
    assert!(read > 20_000 && stops > 1000, "{read} records, {stops} stops");
}

#[test]
fn a_log_that_is_written_round_and_round_is_read_rightly() {
    let image = Image::new(RING, 0);
    let region = Arc::new(Region::builder(image.area.len()).pinned(false).build().expect("memory"));
    region.write(0, &image.area).expect("within it");
    let done = Arc::new(AtomicBool::new(false));
    let writer = {
        let (region, done) = (Arc::clone(&region), Arc::clone(&done));
        std::thread::spawn(move || {
            // Also when it panics: the reader then comes to its end, and joins it.
            let _done = StopOnDrop(&done);
            write_round(&region, image.header, 60_000, &AtomicBool::new(false))
        })
    };
    let mut records = Records::open(Arc::clone(&region)).expect("a log");
    let (mut bytes, mut read, mut overrun) = (Vec::new(), 0u64, 0u64);
    let (mut last, mut wait) = (None, Wait::new("the log's end"));
    loop {
        let was_done = done.load(Ordering::Acquire);
        if was_done {
            wait.turn();
        }
        while let Some(record) = records.next_into(&mut bytes).expect("bytes") {
            assert!(last < Some(record.lsn), "each comes once, in order");
            assert_eq!(bytes, payload_at(record.lsn), "lsn {}", record.lsn);
            last = Some(record.lsn);
            read += 1;
        }
        match records.resume() {
            Ok(()) if was_done && records.next_entry().is_ok_and(|entry| entry.is_none()) => break,
            Ok(()) => {}
            Err(LogError::Overrun { .. }) => {
                overrun += 1;
                records = Records::open(Arc::clone(&region)).expect("a log");
            }
            Err(error) => panic!("{error}"),
        }
    }
    let head = writer.join().expect("it ended");
    println!("{read} records read of 60000, overrun {overrun} times, to lsn {head}");
    assert_eq!(records.position(), head);
    assert!(read >= 50, "{read}");
}

#[test]
fn a_reader_goes_on_where_it_stopped() {
    let mut image = Image::new(RING, 2 * RING);
    assert!(image.data(b"one") && image.data(b"two"));
    let region = Region::builder(image.area.len()).pinned(false).build().expect("memory");
    let publish = |image: &Image| region.write(0, &image.area).expect("within it");
    publish(&image);
    let mut records = Records::open(&region).expect("a log");
    let mut next = |resume: bool| -> (Option<Vec<u8>>, Option<StoppedAt>) {
        if resume {
            records.resume().expect("the same log");
        }
        let mut bytes = Vec::new();
        let record = records.next_into(&mut bytes).expect("bytes");
        (record.map(|_| bytes), records.stopped())
    };
    assert_eq!(next(false), (Some(b"one".to_vec()), None));
    assert_eq!(next(true), (Some(b"two".to_vec()), None), "resuming in the middle loses nothing");
    let end = image.head;
    let stopped = |why| Some(StoppedAt { lsn: end, generation: Generation(1), why });
    let nothing = stopped(StopReason::NothingThere { found: Lsn(0) });
    assert_eq!(next(false), (None, nothing));
    image.next_generation();
    assert!(image.data(b"three"));
    publish(&image);
    assert_eq!(next(false), (None, nothing), "it stays where it stopped");
    assert_eq!(next(true), (Some(b"three".to_vec()), None));
}

#[test]
fn what_was_copied_out_too_early_is_copied_out_again() {
    let mut image = Image::new(RING, 0);
    assert!(image.data(b"one") && image.data(b"two"));
    let region = Region::builder(image.area.len()).pinned(false).build().expect("memory");
    region.write(0, &image.area).expect("within it");
    let mut records = Records::open(&region).expect("a log");
    assert!(records.next_entry().is_ok_and(|entry| entry.is_some()));
    // Its place was copied out together with the first one.
    assert!(image.data(b"three"));
    region.write(0, &image.area).expect("within it");
    let rest: Result<Vec<_>, _> = records.map(|record| record.map(|record| record.payload)).collect();
    assert_eq!(rest, Ok(vec![b"two".to_vec(), b"three".to_vec()]));
}

#[test]
fn what_is_newer_than_the_header_is_read_after_the_header_is_read_again() {
    let mut image = Image::new(RING, 0);
    assert!(image.data(b"one"));
    let header = image.header;
    image.next_generation();
    assert!(image.data(b"two"));
    let mut records = Records::with_header(&image.area, header).expect("a log");
    assert_eq!(records.by_ref().count(), 1);
    let ahead = StopReason::GenerationAhead { found: Generation(2), header: Generation(1) };
    assert_eq!(records.stopped().map(|stopped| stopped.why), Some(ahead));
    assert_eq!(records.resume(), Ok(()));
    assert_eq!(records.by_ref().count(), 1);
}

#[test]
fn a_log_that_is_gone_is_not_gone_on_with() {
    let mut image = Image::new(RING, 0);
    assert!(image.data(b"one") && image.data(b"two"));
    let region = Region::builder(image.area.len()).pinned(false).build().expect("memory");
    region.write(0, &image.area).expect("within it");
    let mut records = Records::open(&region).expect("a log");
    assert!(records.next_entry().is_ok_and(|entry| entry.is_some()));
    let mut put = |header: LogHeader| {
        let header = LogHeader { sequence: header.sequence + 2, ..header };
        region.write(header.offset() as usize, &header.encode()).expect("within it");
        let outcome = records.resume();
        (outcome, records.position(), records.header().tail)
    };
    let header = image.header;
    let other = History(header.history.0 ^ 1);
    let replaced = LogError::Replaced { known: header.history, found: other };
    assert_eq!(put(LogHeader { history: other, ..header }), (Err(replaced), Lsn(64), Lsn(0)));
    let overrun = LogError::Overrun { lsn: Lsn(64), tail: Lsn(128) };
    assert_eq!(put(LogHeader { tail: Lsn(128), ..header }), (Err(overrun), Lsn(64), Lsn(0)));
    assert_eq!(put(LogHeader { tail: Lsn(64), ..header }), (Ok(()), Lsn(64), Lsn(64)));
}

#[test]
fn a_header_that_is_being_written_never_takes_a_reader_back() {
    let mut image = Image::new(RING, 0);
    assert!(image.data(b"one") && image.data(b"two"));
    image.header = LogHeader { sequence: 10, tail: Lsn(64), ..image.header };
    image.write_headers();
    let older = LogHeader { sequence: 9, tail: Lsn(0), generation: Generation(0), ..image.header };
    image.area[older.offset() as usize..][..128].copy_from_slice(&older.encode());
    let region = Region::builder(image.area.len()).pinned(false).build().expect("memory");
    region.write(0, &image.area).expect("within it");
    let mut records = Records::open(&region).expect("a log");
    assert_eq!(records.by_ref().count(), 1);
    region.write(image.header.offset() as usize + 60, &[0xff]).expect("within it");
    assert_eq!(LogHeader::read(&region), Ok(older));
    assert_eq!((records.resume(), *records.header()), (Ok(()), image.header));
}
