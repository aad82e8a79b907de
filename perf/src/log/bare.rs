//! The limit of the streams: the same ring with nothing of the log in it. One counter that producers draw places from, one word in each place that says
//! it is filled, and one of them who copies everything into a second ring, in order.
//!
//! No checksum, no lsn, no generation, no second process, nothing that could fail. What two producers lose here they lose to the machine: the line of the
//! counter travels for each record, and those of the record travel to the one who sends.

use crate::control::{Stalled, spin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Words of a place: the filled-word, and a record of 256 bytes with its header of 32.
const WORDS: usize = 36;

/// On lines of its own.
#[repr(align(128))]
struct Apart(AtomicU64);

/// The shared ring.
pub(crate) struct Ring {
    next: Apart,
    freed: Apart,
    places: Box<[[AtomicU64; WORDS]]>,
}

impl Ring {
    /// Of so many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        let count = bytes as usize / size_of::<[AtomicU64; WORDS]>();
        let places = (0..count).map(|_| std::array::from_fn(|_| AtomicU64::new(0))).collect();
        Self { next: Apart(AtomicU64::new(0)), freed: Apart(AtomicU64::new(0)), places }
    }

    fn place(&self, number: u64) -> &[AtomicU64; WORDS] {
        &self.places[(number % self.places.len() as u64) as usize]
    }

    /// Draws a place and fills it; calls `wait` while it is not free.
    #[inline(always)]
    fn append(&self, mut wait: impl FnMut()) -> Result<(), Stalled> {
        let number = self.next.0.fetch_add(1, Ordering::Relaxed);
        spin(|| {
            let is_free = number - self.freed.0.load(Ordering::Acquire) < self.places.len() as u64;
            if !is_free {
                wait();
            }
            is_free
        })?;
        let [filled, words @ ..] = self.place(number);
        for word in words {
            word.store(number, Ordering::Relaxed);
        }
        filled.store(number + 1, Ordering::Release);
        Ok(())
    }

    /// Copies what is filled, from `sent` on, into the second ring, and frees it.
    #[inline(always)]
    fn send(&self, sent: &mut u64, there: &mut [[u64; WORDS]]) {
        loop {
            let [filled, words @ ..] = self.place(*sent);
            if filled.load(Ordering::Acquire) != *sent + 1 {
                break;
            }
            let at = (*sent % there.len() as u64) as usize;
            for (to, word) in there[at].iter_mut().zip(words) {
                *to = word.load(Ordering::Relaxed);
            }
            *sent += 1;
        }
        self.freed.0.store(*sent, Ordering::Release);
    }

    /// Appends until stopped; what it has begun is filled when it returns. How many.
    #[inline(never)]
    pub(crate) fn push(&self, stop: &AtomicBool) -> Result<u64, Stalled> {
        let mut made = 0;
        while !stop.load(Ordering::Relaxed) {
            self.append(std::hint::spin_loop)?;
            made += 1;
        }
        Ok(made)
    }

    /// Appends so many, sending after each 32; then sends until `done` and nothing is left.
    #[inline(never)]
    pub(crate) fn pump(&self, turns: u64, stop: &AtomicBool, done: impl Fn() -> bool) -> Result<(), Stalled> {
        let (mut sent, mut there) = (0, vec![[1; WORDS]; self.places.len()]);
        for turn in 1..=turns {
            self.append(|| self.send(&mut sent, &mut there))?;
            if turn % 32 == 0 {
                self.send(&mut sent, &mut there);
            }
        }
        stop.store(true, Ordering::Release);
        spin(|| {
            let is_over = done() && sent == self.next.0.load(Ordering::Relaxed);
            if !is_over {
                self.send(&mut sent, &mut there);
            }
            is_over
        })?;
        std::hint::black_box(&there);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::SetOnDrop;

    #[test]
    fn both_producers_and_the_sender_come_to_an_end() -> Result<(), Stalled> {
        let (ring, stop, done) = (Ring::new(64 << 10), AtomicBool::new(false), AtomicBool::new(false));
        let theirs = std::thread::scope(|scope| {
            let _stop = SetOnDrop(&stop);
            let other = scope.spawn(|| {
                let _done = SetOnDrop(&done);
                ring.push(&stop)
            });
            ring.pump(10_000, &stop, || done.load(Ordering::Acquire))?;
            other.join().unwrap_or(Ok(0))
        })?;
        assert_eq!(ring.next.0.into_inner(), 10_000 + theirs);
        assert_eq!(ring.freed.0.into_inner(), 10_000 + theirs);
        Ok(())
    }
}
