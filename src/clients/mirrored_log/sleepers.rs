//! Threads that wait for the log to move: they spin first, and only then take a lock and sleep.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Looks before a thread goes to sleep: some 20 to 50 us, which a placed record usually takes less than.
const SPINS: u32 = 2000;

/// The longest sleep between two looks.
const SLEEP_MAX: Duration = Duration::from_millis(50);

/// Threads that sleep until the poller has moved something.
#[derive(Debug, Default)]
pub(super) struct Sleepers {
    count: AtomicU32,
    lock: Mutex<()>,
    bell: Condvar,
}

impl Sleepers {
    /// Waits until `ready` gives something, or the deadline has passed.
    #[inline]
    pub(super) fn wait<T>(&self, deadline: Option<Instant>, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
        for _ in 0..SPINS {
            if let Some(found) = ready() {
                return Some(found);
            }
            std::hint::spin_loop();
        }
        self.sleep(deadline, ready)
    }

    #[cold]
    fn sleep<T>(&self, deadline: Option<Instant>, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
        self.count.fetch_add(1, Ordering::SeqCst);
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let found = loop {
            if let Some(found) = ready() {
                break Some(found);
            }
            let left = match deadline {
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
                None => SLEEP_MAX,
            };
            if left.is_zero() {
                break None;
            }
            let slept = self.bell.wait_timeout(guard, left.min(SLEEP_MAX));
            guard = slept.unwrap_or_else(PoisonError::into_inner).0;
        };
        drop(guard);
        self.count.fetch_sub(1, Ordering::SeqCst);
        found
    }

    /// Whether anybody sleeps. One who is just lying down is seen by the next look.
    #[inline]
    pub(super) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) != 0
    }

    /// Wakes all of them.
    #[cold]
    pub(super) fn wake(&self) {
        // Taken, so that nobody is between looking and sleeping.
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.bell.notify_all();
    }
}
