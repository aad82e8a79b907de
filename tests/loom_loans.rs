//! Every interleaving of a ring's loans: the reader lends and frees, a port reads what is lent and gives it back, a producer writes what was freed.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --no-default-features --test loom_loans`
//!
//! The files under test, src/memory/loan/table.rs and src/memory/ring/index.rs, are compiled into this one: they use nothing but words, here the
//! model checker's. The lent bytes are a cell of the model checker, which fails when the producer writes it while the port reads it, or has read
//! it and nothing says so. Controls: the same source on weaker words must fail.
#![cfg(loom)]
#![allow(dead_code, unsafe_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../src/memory/ring/index.rs"]
mod index;
#[path = "../src/memory/loan/table.rs"]
mod table;
#[path = "loom_loans/weakened.rs"]
mod weakened;

use index::Index;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic as checked;
use loom::thread;
use std::sync::atomic::Ordering;

/// Bytes of the ring, and of each record: two fill it.
const BYTES: u64 = 128;
const RECORD: u64 = 64;

/// The ring's two stretches.
struct Ring<T> {
    index: Index,
    table: T,
    cells: [UnsafeCell<u64>; 2],
}

// SAFETY:
// - alias, thread: that its cells are held by one thread alone, or read only, is what the model checker checks at every access.
unsafe impl<T: Sync> Sync for Ring<T> {}
// SAFETY:
// - thread: it owns all that it is made of.
unsafe impl<T: Send> Send for Ring<T> {}

macro_rules! model {
    ($name:ident, $table:path) => {
        /// Two published records; the first is lent twice, by turns to two ports or to one; then its room is wanted anew.
        fn $name(heed: bool) {
            use chosen::{LoanTable, LoanWindow};
            use $table as chosen;
            loom::model(move || {
                let ring = Arc::new(Ring {
                    index: Index::new(BYTES, BYTES, 2 * BYTES),
                    table: LoanTable::new(2),
                    cells: [UnsafeCell::new(1), UnsafeCell::new(2)],
                });
                let mut window = LoanWindow::default();
                let numbers: Vec<u32> = (0..2).map(|_| ring.table.note(&mut window, BYTES).expect("a place")).collect();
                assert!(ring.table.note(&mut window, BYTES).is_none(), "more loans than places");
                let port = {
                    let ring = Arc::clone(&ring);
                    thread::spawn(move || {
                        for number in numbers {
                            // SAFETY:
                            // - alias: what the model checker is here to check.
                            let read = ring.cells[0].with(|cell| unsafe { *cell });
                            assert_eq!(read, 1, "written while it was lent");
                            ring.table.give_back(number);
                        }
                    })
                };
                let producer = {
                    let ring = Arc::clone(&ring);
                    thread::spawn(move || {
                        for _ in 0..2 {
                            if let Some(claim) = ring.index.claim(RECORD, 0) {
                                assert_eq!(claim.start, 2 * BYTES);
                                // SAFETY:
                                // - alias: as above.
                                ring.cells[0].with_mut(|cell| unsafe { *cell = 3 });
                                return;
                            }
                            thread::yield_now();
                        }
                    })
                };
                for _ in 0..2 {
                    let oldest = if heed { ring.table.oldest(&mut window) } else { u64::MAX };
                    if oldest >= BYTES + RECORD {
                        ring.index.free(BYTES + RECORD);
                        break;
                    }
                    thread::yield_now();
                }
                port.join().unwrap();
                producer.join().unwrap();
            });
        }
    };
}

model!(sound, crate::table);
model!(weak, crate::weakened::table);

#[test]
fn what_is_lent_is_not_written() {
    sound(true);
}

#[test]
fn each_ordering_is_needed() {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let fails = |fault: usize, heed: bool| {
        weakened::FAULT.store(fault, Ordering::SeqCst);
        std::panic::catch_unwind(|| weak(heed)).is_err()
    };
    assert!(!fails(0, true), "the control itself is broken");
    assert!(fails(1, true), "a loan that is given back without a release");
    assert!(fails(2, true), "a table that is looked at without an acquire");
    assert!(fails(0, false), "a reader that frees without asking");
}
