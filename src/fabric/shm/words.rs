//! One 8-byte word that two processes share: the only thing the lock-free parts of this fabric are written against.
//!
//! Imports nothing, so that the same `ring` and `cell` code also runs on the model checker's words (`cfg(loom)`).

/// An aligned 8-byte word that other threads and processes load and store at any time.
pub(crate) trait Word {
    /// A load that orders nothing.
    fn load_relaxed(&self) -> u64;
    /// A load after which everything stored before the matching release is seen.
    fn load_acquire(&self) -> u64;
    /// A store that orders nothing.
    fn store_relaxed(&self, value: u64);
    /// A store that everything before it is ordered before.
    fn store_release(&self, value: u64);
    /// Replaces `expected` by `desired`, acquire and release; the value found if it was another.
    fn replace(&self, expected: u64, desired: u64) -> Result<(), u64>;
}

macro_rules! word {
    ($word:ty, $ordering:path, $fence:path) => {
        impl Word for $word {
            #[inline]
            fn load_relaxed(&self) -> u64 {
                use $ordering as Ordering;
                self.load(Ordering::Relaxed)
            }
            #[inline]
            fn load_acquire(&self) -> u64 {
                use $fence as fence;
                use $ordering as Ordering;
                // A relaxed load and a fence, because only relaxed loads are promised to work on a read-only mapping.
                let value = self.load(Ordering::Relaxed);
                fence(Ordering::Acquire);
                value
            }
            #[inline]
            fn store_relaxed(&self, value: u64) {
                use $ordering as Ordering;
                self.store(value, Ordering::Relaxed);
            }
            #[inline]
            fn store_release(&self, value: u64) {
                use $ordering as Ordering;
                self.store(value, Ordering::Release);
            }
            #[inline]
            fn replace(&self, expected: u64, desired: u64) -> Result<(), u64> {
                use $ordering as Ordering;
                self.compare_exchange(expected, desired, Ordering::AcqRel, Ordering::Acquire).map(|_| ())
            }
        }
    };
}

word!(std::sync::atomic::AtomicU64, std::sync::atomic::Ordering, std::sync::atomic::fence);
#[cfg(loom)]
word!(loom::sync::atomic::AtomicU64, loom::sync::atomic::Ordering, loom::sync::atomic::fence);
