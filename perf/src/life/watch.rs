//! The thread that appends and polls the log, and notes when `mirrored` rose.

use crate::machine;
use handfast::clients::mirrored_log::{LogEvent, LogPoller, MirroredLog};
use handfast::fabric::Fabric;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of a record.
const RECORD: [u8; 64] = [0xA1; 64];
/// Turns between two looks at events, the clock and the tail.
const TURNS: u32 = 64;
/// It ends by itself after this.
const LIFE_MAX: Duration = Duration::from_secs(300);

/// What the thread tells.
#[derive(Debug, Default)]
struct Told {
    /// The clock after the poll in which `mirrored` rose last.
    rose_ns: AtomicU64,
    /// The clock before that poll; stored first.
    polled_ns: AtomicU64,
    /// How often a session made the partner's copy whole.
    wholes: AtomicU64,
    stop: AtomicBool,
    /// What the log told, for messages.
    events: Mutex<Vec<LogEvent>>,
}

/// The thread; it ends when this is dropped.
pub(crate) struct Watch {
    told: Arc<Told>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts it on a processor.
    pub(crate) fn start<F: Fabric>(log: MirroredLog, poller: LogPoller<F>, processor: usize) -> std::io::Result<Self> {
        let told = Arc::new(Told::default());
        let here = Arc::clone(&told);
        let thread = std::thread::Builder::new().name("life".to_owned()).spawn(move || {
            // Where it cannot be pinned it only takes longer.
            let _ = machine::pin(processor);
            run(&log, poller, &here);
        })?;
        Ok(Self { told, thread: Some(thread) })
    }

    /// The last moment at which `mirrored` rose, nanoseconds of CLOCK_MONOTONIC; 0 before.
    pub(crate) fn rose_ns(&self) -> u64 {
        self.told.rose_ns.load(Ordering::Acquire)
    }

    /// The clock before the poll in which `mirrored` rose last.
    pub(crate) fn polled_ns(&self) -> u64 {
        self.told.polled_ns.load(Ordering::Acquire)
    }

    /// How often the partner's copy has become whole.
    pub(crate) fn wholes(&self) -> u64 {
        self.told.wholes.load(Ordering::Acquire)
    }

    /// What the log told so far, for messages.
    pub(crate) fn story(&self) -> String {
        format!("{:?}", self.told.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the thread is at work.
    pub(crate) fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.told.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run<F: Fabric>(log: &MirroredLog, mut poller: LogPoller<F>, told: &Told) {
    let (producer, began) = (log.producer("life"), Instant::now());
    let (mut mirrored, mut turns) = (log.mirrored(), 0_u32);
    while !told.stop.load(Ordering::Relaxed) {
        // A ring that is full takes no record; the log is polled all the same.
        let _ = producer.append(&RECORD);
        let polled_ns = machine::monotonic_ns();
        poller.poll();
        let now = log.mirrored();
        if now > mirrored {
            told.polled_ns.store(polled_ns, Ordering::Release);
            told.rose_ns.store(machine::monotonic_ns(), Ordering::Release);
        }
        mirrored = now;
        turns = turns.wrapping_add(1);
        if !turns.is_multiple_of(TURNS) {
            continue;
        }
        // Refused before the log is open.
        let _ = log.truncate(log.durable());
        while let Some(event) = poller.next_event() {
            told.events.lock().unwrap_or_else(PoisonError::into_inner).push(event.clone());
            match event {
                LogEvent::Mirrored { .. } => told.wholes.fetch_add(1, Ordering::Release),
                LogEvent::Ended(_) => return,
                _ => 0,
            };
        }
        if began.elapsed() > LIFE_MAX {
            return;
        }
    }
}
