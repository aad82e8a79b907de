//! The ring's words once more, from the same source, on atomics of which one thing can be made weaker than the source says: what the model must
//! reject.

#[path = "../../src/memory/ring/index.rs"]
pub(crate) mod index;

/// What is weaker. Set before a model runs, and the same in all of its runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// A stretch is published without a release: its bytes may come later.
    Publish,
    /// The reader looks without an acquire: it may see older bytes.
    Published,
    /// Room is freed without a release: what the reader read of it may come later.
    Free,
    /// A producer looks at the tail without an acquire.
    Tail,
    /// Claiming is a look and then a store: two may claim the same.
    Claim,
}

const FAULTS: [Fault; 6] = [Fault::None, Fault::Publish, Fault::Published, Fault::Free, Fault::Tail, Fault::Claim];

/// The fault of the thread that runs a model: loom runs all of its threads on the one that calls it.
static FAULT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

/// Runs models one at a time, each with its fault.
pub(crate) fn with<T>(fault: Fault, work: impl FnOnce() -> T) -> T {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    FAULT.store(fault as usize, std::sync::atomic::Ordering::SeqCst);
    work()
}

fn fault() -> Fault {
    FAULTS[FAULT.load(std::sync::atomic::Ordering::SeqCst)]
}

/// What `index` takes its words from.
mod checked {
    use super::{Fault, fault};
    pub(super) use loom::sync::atomic::Ordering;

    /// A word of loom's with the fault of the day. The words of stretches begin at 0; head and tail, in these models, do not.
    pub(super) struct AtomicU64 {
        word: loom::sync::atomic::AtomicU64,
        is_end: bool,
    }

    impl AtomicU64 {
        pub(super) fn new(value: u64) -> Self {
            Self { word: loom::sync::atomic::AtomicU64::new(value), is_end: value == 0 }
        }
        fn order(&self, order: Ordering, at_end: Fault, at_tail: Fault) -> Ordering {
            if fault() == if self.is_end { at_end } else { at_tail } { Ordering::Relaxed } else { order }
        }
        pub(super) fn load(&self, order: Ordering) -> u64 {
            self.word.load(self.order(order, Fault::Published, Fault::Tail))
        }
        pub(super) fn store(&self, value: u64, order: Ordering) {
            self.word.store(value, self.order(order, Fault::Publish, Fault::Free));
        }
        pub(super) fn compare_exchange_weak(
            &self,
            from: u64,
            to: u64,
            good: Ordering,
            bad: Ordering,
        ) -> Result<u64, u64> {
            if fault() != Fault::Claim {
                return self.word.compare_exchange_weak(from, to, good, bad);
            }
            let found = self.word.load(bad);
            if found != from {
                return Err(found);
            }
            self.word.store(to, good);
            Ok(found)
        }
    }
}
