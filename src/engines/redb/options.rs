//! How a mirrored database file is kept: whether its syncs reach the local disk, how long an operation waits, how long its pieces are.

use std::time::{Duration, Instant};

/// How a mirrored database file is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct MirrorOptions {
    pub(super) local_sync: bool,
    pub(super) wait_max: Duration,
    pub(super) piece_bytes: usize,
}

impl MirrorOptions {
    /// Syncs return when the partner has everything, and the local file is left to the kernel; 30 s of patience; pieces of 256 KiB.
    pub fn new() -> Self {
        Self { local_sync: false, wait_max: Duration::from_secs(30), piece_bytes: 256 << 10 }
    }

    /// Whether a sync also brings the local file to the disk (`fdatasync(2)`). Default: false.
    ///
    /// Without it, after a power cut of this machine the local file may be damaged beyond what the engine repairs: build a new one from the partner's
    /// image and log ([`rebuild`](crate::engines::redb::rebuild)). The end of this process alone does no harm to it.
    pub fn local_sync(mut self, sync: bool) -> Self {
        self.local_sync = sync;
        self
    }

    /// How long an operation waits without any progress: for room in the log's ring, for the log to open, for the partner to acknowledge. Then it fails. Where
    /// a part of it was done by then, the file takes nothing more until it is opened anew. Default: 30 s. What the clock cannot count to, as [`Duration::MAX`], is without end.
    pub fn wait_max(mut self, wait: Duration) -> Self {
        self.wait_max = wait;
        self
    }

    /// When an operation that begins now has waited long enough; none: never.
    pub(super) fn deadline(&self) -> Option<Instant> {
        Instant::now().checked_add(self.wait_max)
    }

    /// Longer writes, and images, are split into records of so many bytes at most (or what the log takes, where that is less). Default: 256 KiB.
    pub fn piece_bytes(mut self, bytes: usize) -> Self {
        self.piece_bytes = bytes.max(1);
        self
    }
}

impl Default for MirrorOptions {
    fn default() -> Self {
        Self::new()
    }
}
