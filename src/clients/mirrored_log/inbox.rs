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
    /// The manager is gone, or this client of it: nothing is delivered any more.
    Closed,
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
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // A poller that does not poll for a while is told of the last session alone, and memory of others is not held for it.
        let (stale, kept): (VecDeque<_>, VecDeque<_>) =
            waiting.drain(..).partition(|earlier| is_superseded(earlier, &delivery));
        *waiting = kept;
        let is_known = |earlier: &Delivery<F>| matches!((earlier, &delivery), (Delivery::Lost(_), Delivery::Lost(_)));
        if !waiting.back().is_some_and(is_known) {
            waiting.push_back(delivery);
        }
        self.some.store(true, Ordering::Release);
        drop(waiting);
        // Ports and memory end outside of the lock.
        drop(stale);
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

/// Whether an earlier delivery that was not taken yet means nothing any more.
fn is_superseded<F: Fabric>(earlier: &Delivery<F>, now: &Delivery<F>) -> bool {
    match (earlier, now) {
        (Delivery::Ready(_) | Delivery::Unavailable(_), _) => true,
        (Delivery::Lost(_) | Delivery::Closed, _) => false,
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

/// The manager drops its clients when it ends.
impl<F: Fabric> Drop for LogClient<F> {
    fn drop(&mut self) {
        self.0.put(Delivery::Closed);
    }
}
