//! A queue pair as several hold it: the port that posts to it, the domain that revokes it, the watch over its link.

use crate::sys::Errno;
use crate::sys::verbs::QueuePair;
use std::sync::atomic::{AtomicBool, Ordering};

/// A queue pair that others than its port may end.
#[derive(Debug)]
pub(super) struct SharedQueue {
    pair: QueuePair,
    /// Set before the device is told: whoever posts looks at it first.
    failed: AtomicBool,
}

impl SharedQueue {
    pub(super) fn new(pair: QueuePair) -> Self {
        Self { pair, failed: AtomicBool::new(false) }
    }

    pub(super) fn pair(&self) -> &QueuePair {
        &self.pair
    }

    /// Whether it can no longer be used.
    #[inline]
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Ends it: first the other side's rights, which tells it at once by a refusal, then ERR, which flushes what is outstanding. Enters the kernel.
    ///
    /// # Errors
    /// The device did not move it to ERR, and may still serve the other side. Ours post to it no more all the same.
    pub(super) fn try_end(&self) -> Result<(), Errno> {
        self.failed.store(true, Ordering::Relaxed);
        // Not in RTS any more: nothing to revoke. What ERR says is what counts.
        let _ = self.pair.revoke();
        self.pair.fail()
    }

    /// Ends it; the log says where the device refused.
    pub(super) fn end(&self) {
        let first = !self.failed.swap(true, Ordering::Relaxed);
        let ended = self.try_end();
        if let (Err(errno), true) = (ended, first) {
            let (device, queue_pair) = (self.pair.device(), self.pair.number());
            tracing::warn!(device, queue_pair, "a queue pair could not be moved to ERR: {errno}");
        }
    }

    /// Destroys it; the caller is the one who posts to it, and does so no more.
    pub(super) fn destroy(&self) -> Result<(), Errno> {
        self.failed.store(true, Ordering::Relaxed);
        self.pair.destroy()
    }
}
