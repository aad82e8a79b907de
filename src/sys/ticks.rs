//! The processor's time-stamp counter, where the kernel keeps its own clock by it.

use std::sync::OnceLock;

/// Whether [`now`] counts at one rate on all processors: the kernel looked at that before it chose the counter for its own clock.
pub(crate) fn are_steady() -> bool {
    static STEADY: OnceLock<bool> = OnceLock::new();
    const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    cfg!(target_arch = "x86_64")
        && *STEADY.get_or_init(|| std::fs::read_to_string(SOURCE).is_ok_and(|source| source.trim() == "tsc"))
}

/// The counter; 0 where the processor has none that is known here.
#[inline]
pub(crate) fn now() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY:
    // - live: reads a register; every x86-64 has it.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    0
}
