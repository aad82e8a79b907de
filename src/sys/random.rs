//! Random bytes and the monotonic clock.

use crate::sys::Errno;

/// Fills `bytes` from the kernel's generator (`getrandom(2)`).
pub(crate) fn fill(mut bytes: &mut [u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        // SAFETY:
        // - bounds: pointer and length are those of one slice.
        // - alias: the slice is borrowed mutably for the whole call.
        let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        match usize::try_from(got) {
            Ok(got) => bytes = &mut bytes[got..],
            Err(_) if Errno::last().number() == libc::EINTR => {}
            Err(_) => return Err(Errno::last()),
        }
    }
    Ok(())
}

/// Nanoseconds on the monotonic clock. No system call where the vDSO answers, which it does on x86-64 and AArch64 with an ordinary
/// clock source.
pub(crate) fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY:
    // - live: `now` outlives the call.
    // - alias: `now` is ours alone while the kernel writes it.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_draws_differ() {
        let (mut one, mut other) = ([0u8; 32], [0u8; 32]);
        assert_eq!((super::fill(&mut one), super::fill(&mut other)), (Ok(()), Ok(())));
        assert_ne!(one, other);
    }

    #[test]
    fn the_clock_does_not_go_back() {
        let one = super::monotonic_ns();
        assert!(super::monotonic_ns() >= one && one > 0);
    }
}
