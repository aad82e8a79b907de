//! What a fabric on a real machine asks of it: the clock, and random bytes.
//!
//! Imports `sys`. Not for `sim`, which has a clock and chance of its own.

use crate::fabric::{FabricError, Timestamp};
use crate::sys::{random, ticks};

/// Now, on the monotonic clock.
#[inline]
pub(crate) fn now() -> Timestamp {
    Timestamp(random::monotonic_ns())
}

/// Fills `bytes` from the kernel's generator.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<(), FabricError> {
    let system = |errno| FabricError::System { tried: "asking for random bytes (getrandom)".to_owned(), errno };
    random::fill(bytes).map_err(system)
}

/// A stretch of time whose end one thread tells by the processor's time-stamp counter: a reading and a comparison, some 9 ns on x86-64.
///
/// A stretch is a millisecond at most, and begins with a look at the real clock, so that no error of the counter can grow. Where the kernel
/// does not trust the counter no stretch is ever granted, and the real clock is looked at each time.
#[derive(Debug, Default)]
pub struct Ticker {
    /// The stretch: the counter at its start, and ticks.
    start: u64,
    span: u64,
    /// Counter and real clock at one earlier moment, to learn the rate from.
    anchor: Option<(u64, u64)>,
    /// Ticks of a microsecond; zero before it is known.
    ticks_per_us: u64,
}

/// The longest stretch, nanoseconds.
const STRETCH_NS: u64 = 1_000_000;

/// The real clock and the counter are read so many ticks apart at most: what is read further apart was interrupted.
const APART_MAX: u64 = 10_000;

impl Ticker {
    /// Whether no stretch is granted, or the last one is over.
    #[inline]
    pub(crate) fn is_spent(&self) -> bool {
        self.span == 0 || ticks::now().wrapping_sub(self.start) >= self.span
    }

    /// Ends the stretch.
    #[inline]
    pub(crate) fn end(&mut self) {
        self.span = 0;
    }

    /// Grants a stretch that ends no later than `ns` after `now`, which was read from the real clock since the counter stood at `before`.
    #[cold]
    fn grant_since(&mut self, before: u64, now: Timestamp, ns: u64) {
        self.span = 0;
        if !ticks::are_steady() || ticks::now().wrapping_sub(before) > APART_MAX {
            return;
        }
        match self.anchor {
            None => self.anchor = Some((before, now.0)),
            Some((counter, real)) => {
                let (passed, us) = (before.wrapping_sub(counter), now.0.saturating_sub(real) / 1000);
                // Long enough to be exact to a percent; processors count 100 to 10,000 ticks a microsecond.
                if us >= 250 {
                    let (rate, known) = (passed / us, self.ticks_per_us);
                    // A rate is believed once two stretches agree on it: one of them may have been slept through.
                    let agrees = known == 0 || rate.abs_diff(known) <= known / 16;
                    self.ticks_per_us = if agrees && (100..=10_000).contains(&rate) { rate } else { 0 };
                    self.anchor = Some((before, now.0));
                }
            }
        }
        self.start = before;
        // One part in sixteen less, for the rate's error.
        self.span = ns.min(STRETCH_NS) / 1000 * self.ticks_per_us / 16 * 15;
    }

    /// Looks at the real clock, and grants a stretch as long as `remaining` says for that moment, in nanoseconds.
    pub(crate) fn look(&mut self, remaining: impl FnOnce(Timestamp) -> u64) -> Timestamp {
        let before = ticks::now();
        let now = Timestamp(random::monotonic_ns());
        self.grant_since(before, now, remaining(now));
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_over_when_the_clock_says_so() {
        let (mut ticker, mut granted) = (Ticker::default(), 0);
        let began = now();
        while granted < 20 && now().since(began).as_secs() < 10 {
            let start = ticker.look(|_| 500_000);
            while !ticker.is_spent() {
                let read = now();
                // Looked at again: between the two the thread may have lost its processor.
                if ticker.is_spent() {
                    break;
                }
                assert!(read.0 - start.0 <= 500_000, "{} ns into a stretch of 500,000", read.0 - start.0);
            }
            granted += u32::from(now().0 - start.0 > 100_000);
            std::thread::sleep(std::time::Duration::from_micros(50));
        }
        assert!(granted == 20 || !ticks::are_steady(), "{granted} stretches in 10 s");
        ticker.look(|_| 0);
        assert!(ticker.is_spent());
        ticker.look(|_| 1_000_000);
        ticker.end();
        assert!(ticker.is_spent());
    }
}
