//! A poller on a thread of its own.

use super::error::LogError;
use super::event::LogEvent;
use super::poller::LogPoller;
use crate::fabric::Fabric;
use crate::sys;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Events kept for a listener that does not listen.
const EVENTS_MAX: usize = 1024;

/// How a thread polls while nothing is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pace {
    /// It never sleeps: a processor of its own.
    Busy,
    /// It goes on polling for so long after something was done, then looks again after each such sleep.
    Relaxed {
        /// How long it goes on polling.
        spin: Duration,
        /// How long it sleeps between two looks; a record that comes meanwhile waits for that.
        sleep: Duration,
    },
}

impl Default for Pace {
    fn default() -> Self {
        Self::Relaxed { spin: Duration::from_micros(200), sleep: Duration::from_micros(50) }
    }
}

/// A poller on a thread of its own. Dropping it ends the thread, and with it the log.
///
/// The drop waits for the thread. A callback of [`LogPoller::on_durable`] runs on that thread and may
/// drop it too: then the thread ends after the callback.
#[derive(Debug)]
pub struct LogThread {
    stop: Arc<AtomicBool>,
    events: Receiver<LogEvent>,
    thread: Option<JoinHandle<()>>,
}

impl LogThread {
    /// What happened, in order. Of a listener that falls behind, 1024 events are kept; [`LogEvent::Skipped`] counts those that were not.
    pub fn events(&self) -> &Receiver<LogEvent> {
        &self.events
    }
}

impl Drop for LogThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            sys::thread::join(thread);
        }
    }
}

impl<F: Fabric> LogPoller<F> {
    /// Polls on a thread of its own.
    ///
    /// # Errors
    /// [`LogError::File`]: the system has no thread to give.
    pub fn spawn(self, pace: Pace) -> Result<LogThread, LogError> {
        let stop = Arc::new(AtomicBool::new(false));
        let (teller, events) = sync_channel(EVENTS_MAX);
        let stopped = Arc::clone(&stop);
        let run = move || run(self, &stopped, &teller, pace);
        let thread = sys::thread::start("handfast-log", "the log's thread", run)?;
        Ok(LogThread { stop, events, thread: Some(thread) })
    }
}

fn run<F: Fabric>(mut poller: LogPoller<F>, stop: &AtomicBool, teller: &SyncSender<LogEvent>, pace: Pace) {
    /// Polls between two looks at the clock and at the channel.
    const POLLS: u32 = 64;
    let mut skipped = 0;
    let mut idle_since = Instant::now();
    let (mut turns, mut idle) = (0_u32, 0_u32);
    while !stop.load(Ordering::Relaxed) {
        turns = turns.wrapping_add(1);
        if poller.poll() {
            idle = 0;
        } else {
            match pace {
                Pace::Busy => std::hint::spin_loop(),
                // Where processors are fewer than threads, whoever was just woken by an acknowledgement may wait for this one.
                Pace::Relaxed { .. } => std::thread::yield_now(),
            }
            idle = idle.saturating_add(1);
            if idle == 1 {
                idle_since = Instant::now();
            }
        }
        if turns % POLLS != 0 {
            continue;
        }
        while let Some(event) = poller.next_event() {
            if let Err(TrySendError::Full(_)) = teller.try_send(event) {
                skipped += 1;
            }
        }
        if skipped != 0 && teller.try_send(LogEvent::Skipped(skipped)).is_ok() {
            skipped = 0;
        }
        if let Pace::Relaxed { spin, sleep } = pace
            && idle != 0
            && idle_since.elapsed() >= spin
            // A callback may have taken the word that would wake this thread.
            && !stop.load(Ordering::Acquire)
        {
            // Not `sleep`: whoever ends the thread need not wait for the end of this.
            std::thread::park_timeout(sleep);
        }
    }
}
