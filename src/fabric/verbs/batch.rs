//! Requests that go out with one doorbell.

/// Where a chain of requests stands.
#[derive(Debug, Default)]
pub(super) struct Batch {
    held: bool,
    /// Number of the first request of a chain that was begun and not sent.
    first: Option<u64>,
    /// Number of the first request of a chain the device did not take: it and all after it have no completion to come.
    lost: Option<u64>,
}

impl Batch {
    /// Keeps back what is posted from here on.
    pub(super) fn hold(&mut self) {
        self.held = true;
    }

    #[inline]
    pub(super) fn is_held(&self) -> bool {
        self.held
    }

    /// Whether request `number` begins a chain.
    #[inline]
    pub(super) fn must_begin(&mut self, number: u64) -> bool {
        if self.held {
            if self.first.is_some() {
                return false;
            }
            self.first = Some(number);
        }
        true
    }

    /// What was begun is gone; the first request that had been kept back, if there is one.
    #[inline]
    pub(super) fn sent(&mut self) -> Option<u64> {
        self.held = false;
        self.first.take()
    }

    /// The chain that began with `first` was not taken.
    pub(super) fn lose(&mut self, first: u64) {
        self.lost = Some(first);
    }

    /// Number of the first request that was never taken.
    pub(super) fn lost(&self) -> Option<u64> {
        self.lost
    }

    /// Whether all that is left, from `oldest` on, was never taken.
    #[inline]
    pub(super) fn is_lost(&self, oldest: u64) -> bool {
        self.lost.is_some_and(|lost| oldest >= lost)
    }
}
