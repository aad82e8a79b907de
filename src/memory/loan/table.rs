//! Where the loans of a ring begin that are out: the ring's room is not freed past the oldest of them. Words alone, no memory.
//!
//! Imports nothing of the crate but, under `cfg(loom)`, the words that its parent chooses: so the same code runs on the model checker's, and on
//! weakened ones that it must reject (tests/loom_loans.rs).

#[cfg(loom)]
use super::checked::{AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering};

/// A place for a loan that is not out.
const FREE: u64 = u64::MAX;

/// Where the loans that are out begin. One place each; the ring's reader fills a place, the loan empties it.
pub(crate) struct LoanTable {
    places: Box<[AtomicU64]>,
}

/// The reader's side of the table: all loans that are out lie in the places `first..next`.
#[derive(Debug, Default)]
pub(crate) struct LoanWindow {
    first: usize,
    next: usize,
    /// Where a free place is looked for while the window spans them all.
    hint: usize,
}

impl LoanTable {
    /// For so many loans at once, a power of two.
    pub(crate) fn new(places: usize) -> Self {
        Self { places: (0..places).map(|_| AtomicU64::new(FREE)).collect() }
    }

    #[inline]
    fn mask(&self) -> usize {
        self.places.len() - 1
    }

    #[inline]
    fn place(&self, number: usize) -> &AtomicU64 {
        // The remainder is below the table's length.
        &self.places[number & self.mask()]
    }

    /// Notes a loan that begins at `start`. None: as many are out as there can be.
    #[inline]
    pub(crate) fn note(&self, window: &mut LoanWindow, start: u64) -> Option<u32> {
        if window.next.wrapping_sub(window.first) >= self.places.len() {
            self.shrink(window);
            if window.next.wrapping_sub(window.first) >= self.places.len() {
                return self.note_between(window, start);
            }
        }
        let number = window.next & self.mask();
        // Relaxed: the same thread looks for it when it frees, and whoever empties the place got the loan from it.
        self.place(number).store(start, Ordering::Relaxed);
        window.next = window.next.wrapping_add(1);
        Some(number as u32)
    }

    /// Notes a loan in a place that came free behind one that is long out, or forgotten: the window spans all places.
    #[cold]
    fn note_between(&self, window: &mut LoanWindow, start: u64) -> Option<u32> {
        let mut places = (0..self.places.len()).map(|at| window.hint.wrapping_add(at) & self.mask());
        // Acquire: whoever emptied it is done with it.
        let number = places.find(|number| self.place(*number).load(Ordering::Acquire) == FREE)?;
        self.place(number).store(start, Ordering::Relaxed);
        window.hint = number + 1;
        Some(number as u32)
    }

    /// Passes over the places at the window's start whose loans came back.
    #[inline]
    fn shrink(&self, window: &mut LoanWindow) {
        // Acquire: the bytes of a loan were read before it came back.
        while window.first != window.next && self.place(window.first).load(Ordering::Acquire) == FREE {
            window.first = window.first.wrapping_add(1);
        }
    }

    /// Where the oldest loan begins that is out; past every position where none is.
    pub(crate) fn oldest(&self, window: &mut LoanWindow) -> u64 {
        self.shrink(window);
        let count = window.next.wrapping_sub(window.first);
        // Acquire: as in `shrink`.
        let starts = (0..count).map(|at| self.place(window.first.wrapping_add(at)).load(Ordering::Acquire));
        starts.min().unwrap_or(FREE)
    }

    /// A loan came back: its bytes were read.
    #[inline]
    pub(crate) fn give_back(&self, number: u32) {
        // Release: whoever frees the room sees that its bytes were read before.
        self.place(number as usize).store(FREE, Ordering::Release);
    }
}
