//! From the manager's thread to the poller's: sessions that begin and end.

use crate::fabric::Fabric;
use crate::manager::{Client, LostReason, Unavailable};
use crate::session::Session;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What the manager has told.
pub(super) enum Delivery<F: Fabric> {
    Ready(Box<Session<F>>),
    Lost(LostReason),
    Unavailable(Unavailable),
}

/// Deliveries that the poller has not taken yet. Looking costs one load.
pub(super) struct Inbox<F: Fabric> {
    some: AtomicBool,
    waiting: Mutex<VecDeque<Delivery<F>>>,
}

impl<F: Fabric> Inbox<F> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { some: AtomicBool::new(false), waiting: Mutex::new(VecDeque::new()) })
    }

    #[cold]
    fn put(&self, delivery: Delivery<F>) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(delivery);
        self.some.store(true, Ordering::Release);
    }

    /// The next one.
    #[inline]
    pub(super) fn take(&self) -> Option<Delivery<F>> {
        if self.some.load(Ordering::Acquire) { self.pop() } else { None }
    }

    #[cold]
    fn pop(&self) -> Option<Delivery<F>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let next = waiting.pop_front();
        self.some.store(!waiting.is_empty(), Ordering::Release);
        next
    }
}

/// The log's part in the manager's roster.
pub(super) struct LogClient<F: Fabric>(pub(super) Arc<Inbox<F>>);

impl<F: Fabric> Client<F> for LogClient<F> {
    fn on_ready(&mut self, session: Session<F>) {
        self.0.put(Delivery::Ready(Box::new(session)));
    }

    fn on_lost(&mut self, reason: &LostReason) {
        self.0.put(Delivery::Lost(reason.clone()));
    }

    fn on_unavailable(&mut self, reason: &Unavailable) {
        self.0.put(Delivery::Unavailable(reason.clone()));
    }
}
