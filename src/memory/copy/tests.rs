//! Copies against a plain model, at every alignment and around every change of method, and their words under a concurrent writer.

use super::*;
use crate::sys::ending::StopOnDrop;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const SPACE: usize = 3 * 4096;

#[repr(align(4096))]
struct Pages([u8; SPACE]);

impl Pages {
    fn filled(byte: u8) -> Box<Self> {
        Box::new(Self([byte; SPACE]))
    }
}

/// Copies in and out again at these places, and compares every byte of both sides with a plain copy's.
fn check(source: &Pages, place: &mut Pages, from: usize, into: usize, length: usize) {
    assert!(from + length <= SPACE && into + length <= SPACE);
    place.0.fill(0xee);
    let mut model = [0xee; SPACE];
    model[into..into + length].copy_from_slice(&source.0[from..from + length]);
    // SAFETY:
    // - bounds: asserted above.
    // - alias: `source` and `place` are this test's alone.
    unsafe {
        copy_to_shared(source.0.as_ptr().wrapping_add(from), place.0.as_mut_ptr().wrapping_add(into), length);
    }
    assert!(place.0 == model, "in: from {from} into {into}, {length} bytes");
    let mut back = Pages::filled(0xdd);
    let mut model = [0xdd; SPACE];
    model[from..from + length].copy_from_slice(&source.0[from..from + length]);
    // SAFETY:
    // - bounds: asserted above.
    // - alias: `place` and `back` are this test's alone.
    unsafe {
        copy_from_shared(place.0.as_ptr().wrapping_add(into), back.0.as_mut_ptr().wrapping_add(from), length);
    }
    assert!(back.0 == model, "out: from {into} into {from}, {length} bytes");
    let mut again = Pages::filled(0xdd);
    // SAFETY:
    // - bounds: asserted above.
    // - alias: `place` and `again` are this test's alone.
    unsafe {
        copy_between_shared(place.0.as_ptr().wrapping_add(into), again.0.as_mut_ptr().wrapping_add(from), length);
    }
    assert!(again.0 == model, "between: from {into} into {from}, {length} bytes");
}

fn pattern() -> Box<Pages> {
    let mut pages = Pages::filled(0);
    for (index, byte) in pages.0.iter_mut().enumerate() {
        *byte = (index * 7 % 251) as u8;
    }
    pages
}

#[test]
fn every_offset_and_short_length_copies_just_its_bytes() {
    let (source, mut place) = (pattern(), Pages::filled(0));
    for length in 0..=72 {
        for from in 0..8 {
            for into in 0..9 {
                check(&source, &mut place, from, into, length);
            }
        }
    }
}

#[test]
fn the_edges_between_the_methods_copy_just_their_bytes() {
    let (source, mut place) = (pattern(), Pages::filled(0));
    for edge in [256, 320, 512, 768, 1024, 4096] {
        for length in [edge - 1, edge, edge + 1, edge + 7] {
            // Distances within the page on both sides of where the string instruction is and is not taken.
            for (from, into) in [(0, 0), (0, 1), (3, 0), (0, 31), (0, 63), (0, 64), (5, 4096 + 5), (7, 4096), (100, 99)]
            {
                check(&source, &mut place, from, into, length);
            }
        }
    }
}

#[test]
fn words_are_never_torn_in_short_copies() {
    const WORDS: usize = WORDS_MAX / WORD;
    let shared: Vec<AtomicU64> = (0..=WORDS).map(|_| AtomicU64::new(0)).collect();
    let stop = AtomicBool::new(false);
    let start = shared.as_ptr().cast_mut().cast::<u8>();
    let address = start.expose_provenance();
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        scope.spawn(|| {
            let into = std::ptr::with_exposed_provenance_mut(address);
            for turn in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let bytes = [if turn % 2 == 0 { 0xff } else { 0 }; WORDS_MAX];
                // SAFETY:
                // - bounds: the vector holds one word more.
                // - device: the reader looks on meanwhile, by atomic words.
                unsafe { copy_to_shared(bytes.as_ptr(), into, bytes.len()) };
            }
        });
        let (mut seen, mut torn) = ([0u64; 2], 0u64);
        let begun = std::time::Instant::now();
        for turn in 0.. {
            // So many at least, and until the writer was seen at work: on a busy machine it may start late.
            let met = seen[0] > 0 && seen[1] > 0;
            if turn >= 50_000 && (met || begun.elapsed().as_secs() >= 30) {
                break;
            }
            // Every length and offset of the copy: whole words of the shared side stay whole wherever it begins.
            let (skip, length) = (turn % WORD, WORDS_MAX - turn % 32);
            let mut bytes = [0u8; WORDS_MAX];
            let length = length.min(WORDS_MAX - skip);
            // SAFETY:
            // - bounds: `skip + length` is no more than the vector holds.
            // - alias: `bytes` is this thread's alone.
            unsafe { copy_from_shared(start.wrapping_add(skip), bytes.as_mut_ptr(), length) };
            let first = (WORD - skip) % WORD;
            let whole = &bytes[first..first + (length - first) / WORD * WORD];
            for word in whole.chunks_exact(WORD) {
                torn += u64::from(word.iter().any(|byte| *byte != word[0]));
                seen[usize::from(word[0] == 0xff)] += 1;
            }
        }
        assert_eq!(torn, 0);
        // Else nothing was put to the test: the writer never ran beside us.
        assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
    });
}
