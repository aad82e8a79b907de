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

/// A clock for one thread that looks at it all the time: the time-stamp counter between two looks at the real clock, at most a millisecond apart.
///
/// As exact as the rate that the last such stretch showed, so that an error of the counter cannot grow. Where the kernel does not trust the
/// counter, it is the real clock.
#[derive(Debug, Default)]
pub struct Ticker {
    /// Counter and real clock at one moment.
    anchor: Option<(u64, u64)>,
    /// Nanoseconds a tick, in units of 2^-32; none before the rate is known.
    rate: u64,
    /// Ticks after which the real clock is looked at again.
    stretch: u64,
}

/// How far from the real clock a reading may be taken, nanoseconds.
const STRETCH_NS: u64 = 1_000_000;

impl Ticker {
    /// Now: some 8 ns on x86-64, and what the real clock costs else.
    #[inline]
    pub(crate) fn now(&mut self) -> Timestamp {
        let Some((counter, real)) = self.anchor else { return self.look() };
        let passed = ticks::now().wrapping_sub(counter);
        if passed >= self.stretch {
            return self.look();
        }
        // Below 2^64: `stretch` is the ticks of a millisecond.
        Timestamp(real + ((passed * self.rate) >> 32))
    }

    /// Looks at the real clock, and learns the rate.
    #[cold]
    fn look(&mut self) -> Timestamp {
        let now = Timestamp(random::monotonic_ns());
        if !ticks::are_steady() {
            return now;
        }
        let counter = ticks::now();
        if let Some((before, real)) = self.anchor {
            let (passed, ns) = (counter.wrapping_sub(before), now.0.saturating_sub(real));
            // A rate is learned from a stretch long enough to be exact and short enough to be multiplied; it is 0.1 to 10 ns a tick.
            let rate = ns.checked_mul(1 << 32).and_then(|ns| ns.checked_div(passed)).unwrap_or(0);
            let is_sane = (STRETCH_NS / 4..2_000_000_000).contains(&ns) && (1 << 28..10 << 32).contains(&rate);
            if is_sane {
                (self.rate, self.stretch) = (rate, (STRETCH_NS << 32) / rate);
            } else if ns < STRETCH_NS / 4 && self.rate == 0 {
                return now;
            }
        }
        self.anchor = Some((counter, now.0));
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticker_follows_the_clock() {
        let mut ticker = Ticker::default();
        let (mut last, began) = (Timestamp(0), now());
        let mut worst = 0;
        while now().since(began).as_millis() < 20 {
            let before = now();
            let ticked = ticker.now();
            let after = now();
            // By how much it lies outside of what the real clock said before and after: it errs by the rate's error over a millisecond.
            let outside = before.0.saturating_sub(ticked.0).max(ticked.0.saturating_sub(after.0));
            worst = worst.max(outside);
            last = last.max(ticked);
        }
        assert!(worst < STRETCH_NS / 2, "{worst} ns off");
        assert!(last > began);
    }
}
