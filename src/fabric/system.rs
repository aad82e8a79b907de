//! What a fabric on a real machine asks of it: the clock, and random bytes.
//!
//! Imports `sys`. Not for `sim`, which has a clock and chance of its own.

use crate::fabric::{FabricError, Timestamp};
use crate::sys::random;

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
