//! Events of devices themselves: gone, broken, port down. One watch for each device of the process, whoever asks.

use crate::sys::random::monotonic_ns;
use crate::sys::verbs::{AsyncKind, Context};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// How often a device's events are looked at, at most. A look enters the kernel.
const INTERVAL_NS: u64 = 1_000_000;

/// What is known of a device.
#[derive(Debug)]
pub(super) struct Watch {
    context: Context,
    name: String,
    fatal: AtomicBool,
    /// Bit n: port n is down.
    down: AtomicU32,
    looked_at: AtomicU64,
    /// One looks; the others take what is known.
    looking: Mutex<()>,
}

/// The watch of a device.
pub(super) fn over(context: Context) -> Arc<Watch> {
    static ALL: OnceLock<Mutex<HashMap<Context, Arc<Watch>>>> = OnceLock::new();
    let mut all = ALL.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    let watch = all.entry(context).or_insert_with(|| {
        let name = context.name();
        if let Err(errno) = context.never_block() {
            tracing::warn!(device = name, "events of the device cannot be watched: {errno}");
        }
        Arc::new(Watch {
            context,
            name,
            fatal: AtomicBool::new(false),
            down: AtomicU32::new(0),
            looked_at: AtomicU64::new(0),
            looking: Mutex::new(()),
        })
    });
    Arc::clone(watch)
}

impl Watch {
    /// What is wrong with the device or this port of it, if anything. Enters the kernel once a millisecond.
    pub(super) fn trouble(&self, port: u8) -> Option<String> {
        let now = monotonic_ns();
        if now.saturating_sub(self.looked_at.load(Ordering::Relaxed)) > INTERVAL_NS {
            self.looked_at.store(now, Ordering::Relaxed);
            self.look();
        }
        let name = &self.name;
        if self.fatal.load(Ordering::Relaxed) {
            return Some(format!("our device {name} reported that it is broken or gone (IBV_EVENT_DEVICE_FATAL)"));
        }
        let down = self.down.load(Ordering::Relaxed) & bit(port) != 0;
        down.then(|| {
            format!("port {port} of our device {name} is down (IBV_EVENT_PORT_ERR): see cable, switch, `ip link`")
        })
    }

    fn look(&self) {
        let Ok(_looking) = self.looking.try_lock() else { return };
        loop {
            match self.context.next_event() {
                Ok(Some(event)) => self.note(event.kind, event.number),
                Ok(None) => return,
                Err(errno) => {
                    tracing::debug!(device = self.name, "reading the device's events: {errno}");
                    return;
                }
            }
        }
    }

    fn note(&self, kind: AsyncKind, number: u32) {
        let device = &self.name;
        match kind {
            AsyncKind::DeviceFatal => {
                self.fatal.store(true, Ordering::Relaxed);
                tracing::error!(device, "the device is broken or gone (IBV_EVENT_DEVICE_FATAL)");
            }
            AsyncKind::PortDown(port) => {
                self.down.fetch_or(bit(port), Ordering::Relaxed);
                tracing::warn!(device, port, "the port went down (IBV_EVENT_PORT_ERR)");
            }
            AsyncKind::PortUp(port) => {
                self.down.fetch_and(!bit(port), Ordering::Relaxed);
                tracing::info!(device, port, "the port is up (IBV_EVENT_PORT_ACTIVE)");
            }
            AsyncKind::CompletionQueue => {
                tracing::error!(device, "a completion queue overran or failed (IBV_EVENT_CQ_ERR)");
            }
            // The queue pair is in ERR by now: its completions or its tripwire tell its owner.
            AsyncKind::QueuePair(_) => tracing::warn!(device, number, "a queue pair reported an error"),
            AsyncKind::Other(_) => tracing::debug!(device, number, "event of the device"),
        }
    }
}

fn bit(port: u8) -> u32 {
    1u32.checked_shl(u32::from(port)).unwrap_or(0)
}
