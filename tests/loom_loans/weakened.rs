//! The table of loans once more, from the same source, on atomics of which one thing can be made weaker than the source says.

#[path = "../../src/memory/loan/table.rs"]
pub(crate) mod table;

/// 0: nothing; 1: giving back releases nothing; 2: looking acquires nothing.
pub(crate) static FAULT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

mod checked {
    pub(super) use loom::sync::atomic::Ordering;

    pub(super) struct AtomicU64(loom::sync::atomic::AtomicU64);

    fn order(order: Ordering, fault: usize) -> Ordering {
        let today = super::FAULT.load(std::sync::atomic::Ordering::SeqCst);
        if today == fault { Ordering::Relaxed } else { order }
    }

    impl AtomicU64 {
        pub(super) fn new(value: u64) -> Self {
            Self(loom::sync::atomic::AtomicU64::new(value))
        }
        pub(super) fn load(&self, wanted: Ordering) -> u64 {
            self.0.load(order(wanted, 2))
        }
        pub(super) fn store(&self, value: u64, wanted: Ordering) {
            self.0.store(value, order(wanted, 1));
        }
    }
}
