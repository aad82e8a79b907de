//! A full barrier on every thread of every process that registered for it (`membarrier(2)`, the global expedited commands).
//!
//! What makes one side's barrier dear and the other's free: the one that stores and looks in its hot path needs only a compiler fence, where
//! the rare other one calls [`everywhere`]. Both processes register first.

use crate::sys::Errno;

/// Asks for barriers to reach the threads of this process. Once; repeating it is harmless. Under a millisecond.
///
/// # Errors
/// ENOSYS or EINVAL where the kernel has no such command (before 4.16, or forbidden in a sandbox).
pub(crate) fn register() -> Result<(), Errno> {
    command(libc::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED)
}

/// Runs a full barrier on all running threads of all registered processes; when it returns, each of them has passed one.
///
/// # Errors
/// As for [`register`].
pub(crate) fn everywhere() -> Result<(), Errno> {
    command(libc::MEMBARRIER_CMD_GLOBAL_EXPEDITED)
}

fn command(command: libc::c_int) -> Result<(), Errno> {
    // SAFETY:
    // - live: the call takes no pointer.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, command, 0u32, 0i32) };
    if result < 0 { Err(Errno::last()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};

    /// Store, look at the other's word: with the barrier on one side alone, never do both miss the other's store.
    #[test]
    fn one_side_may_do_without_a_barrier_of_its_own() {
        if let Err(errno) = register() {
            eprintln!("SKIPPED: no global expedited membarrier here: {errno}");
            return;
        }
        const TURNS: usize = 4_000_000;
        let (ours, theirs) = (AtomicU64::new(0), AtomicU64::new(0));
        let (seen, looks) = std::thread::scope(|scope| {
            let fast = scope.spawn(|| {
                let mut looks = vec![0; TURNS + 1];
                while ours.load(Ordering::Relaxed) == 0 {
                    std::hint::spin_loop();
                }
                for (turn, look) in (0..).zip(&mut looks).skip(1) {
                    theirs.store(turn, Ordering::Relaxed);
                    compiler_fence(Ordering::SeqCst);
                    *look = ours.load(Ordering::Relaxed);
                }
                looks
            });
            let mut seen = Vec::new();
            while !fast.is_finished() {
                ours.store(seen.len() as u64 + 1, Ordering::Relaxed);
                assert_eq!(everywhere(), Ok(()));
                seen.push(theirs.load(Ordering::Relaxed));
            }
            (seen, fast.join().unwrap_or_default())
        });
        assert_eq!(looks.len(), TURNS + 1);
        for (turn, their) in (1..).zip(&seen) {
            // They stored `their + 1` after we looked; so they looked after our store, and saw it.
            if let Some(look) = looks.get(*their as usize + 1) {
                assert!(*look >= turn, "both missed: we stored {turn} and saw {their}, they saw {look} after that");
            }
        }
        let beside = seen.iter().filter(|their| (1..TURNS as u64).contains(their)).count();
        assert!(beside > 0, "the two never ran side by side");
    }
}
