//! Devices in use, and their events: gone, broken, port down. One watch for each device of the process, whoever asks.
//!
//! While a port is down nothing is said through librdmacm: no dial, and no goodbye. It would reach nobody, and the kernel's rxe (seen on 6.1) never gets a
//! message of the connection manager back that it could not send: from then on no process on that device gets a connection any more.

use super::failure::device_error;
use crate::fabric::FabricError;
use crate::sys::Errno;
use crate::sys::random::monotonic_ns;
use crate::sys::verbs::{AsyncKind, CmId, Context};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

/// How often a device's events are looked at, at most. A look enters the kernel.
const INTERVAL_NS: u64 = 1_000_000;

/// A device in use, and what is known of it.
#[derive(Debug)]
pub(super) struct Watch {
    context: Arc<Context>,
    fatal: AtomicBool,
    /// Bit n: port n is down.
    down: AtomicU32,
    looked_at: AtomicU64,
    /// One looks; the others take what is known.
    looking: Mutex<()>,
    /// Connections that ended while their port was down: their goodbyes are said when it is up.
    parked: Mutex<Vec<(u8, CmId)>>,
}

/// Connections kept until their port is up, at most; those beyond say their goodbye into the void.
const PARKED_MAX: usize = 256;

/// The watches by the names of their devices.
type All = HashMap<String, Weak<Watch>>;

fn all() -> MutexGuard<'static, All> {
    static ALL: OnceLock<Mutex<All>> = OnceLock::new();
    ALL.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// The device an id is bound to, opened if it is not in use yet. One that is broken or was removed is opened anew: another of its name may have come.
pub(super) fn of(id: &CmId) -> Result<Arc<Watch>, FabricError> {
    let name =
        id.device().ok_or_else(|| device_error("finding the device of a link", "-", Errno::new(libc::ENODEV)))?;
    let mut all = all();
    let known = all.get(&name).and_then(Weak::upgrade);
    if let Some(watch) = known.filter(|watch| !watch.fatal.load(Ordering::Relaxed)) {
        return Ok(watch);
    }
    let context = Context::open(&name).map_err(|errno| device_error("opening the device", &name, errno))?;
    context.never_block().map_err(|errno| device_error("watching the device's events", &name, errno))?;
    let watch = Arc::new(Watch {
        fatal: AtomicBool::new(false),
        down: AtomicU32::new(down_now(&context)),
        looked_at: AtomicU64::new(0),
        looking: Mutex::new(()),
        parked: Mutex::default(),
        context,
    });
    all.retain(|_, watch| watch.strong_count() != 0);
    all.insert(name, Arc::downgrade(&watch));
    Ok(watch)
}

impl Watch {
    pub(super) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// The device is being removed: everything that waits for its port is let go of, since the removal waits for it.
    pub(super) fn removed(&self) {
        self.fatal.store(true, Ordering::Relaxed);
        self.parked.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// What is wrong with the device or this port of it, if anything. Enters the kernel once a millisecond.
    pub(super) fn trouble(&self, port: u8) -> Option<String> {
        let now = monotonic_ns();
        if now.saturating_sub(self.looked_at.load(Ordering::Relaxed)) > INTERVAL_NS {
            self.looked_at.store(now, Ordering::Relaxed);
            self.look();
            self.ask_again(port);
        }
        let name = self.context.name();
        if self.fatal.load(Ordering::Relaxed) {
            return Some(format!("our device {name} reported that it is broken or gone (IBV_EVENT_DEVICE_FATAL)"));
        }
        self.is_down(port).then(|| {
            format!("port {port} of our device {name} is down (IBV_EVENT_PORT_ERR): see cable, switch, `ip link`")
        })
    }

    fn is_down(&self, port: u8) -> bool {
        self.down.load(Ordering::Relaxed) & bit(port) != 0
    }

    /// Ends a connection of this port: at once with a goodbye to the other side, or when the port is up again.
    pub(super) fn part(&self, port: u8, id: CmId) {
        // For the looking's sake.
        let _ = self.trouble(port);
        // Locked before it is asked: who notes that the port is up does so first, and then empties this.
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_down(port) && parked.len() < PARKED_MAX {
            parked.push((port, id));
            return;
        }
        drop(parked);
        // That the other side may be gone is why we are here, more often than not.
        let _ = id.disconnect();
    }

    fn look(&self) {
        let Ok(_looking) = self.looking.try_lock() else { return };
        loop {
            match self.context.next_event() {
                Ok(Some(event)) => self.note(event.kind, event.number),
                Ok(None) => return,
                Err(errno) => {
                    tracing::debug!(device = self.context.name(), "reading the device's events: {errno}");
                    return;
                }
            }
        }
    }

    /// Asks a port that is thought to be down: should its event be missed, it is not down for ever.
    fn ask_again(&self, port: u8) {
        if self.is_down(port) && !is_down_now(&self.context, port) {
            self.note(AsyncKind::PortUp(port), 0);
        }
    }

    fn note(&self, kind: AsyncKind, number: u32) {
        let device = self.context.name();
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
                let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
                parked.retain(|(of, _)| *of != port);
                tracing::info!(device, port, "the port is up (IBV_EVENT_PORT_ACTIVE)");
            }
            AsyncKind::CompletionQueue => {
                tracing::error!(device, "a completion queue overran or failed (IBV_EVENT_CQ_ERR)");
            }
            // The queue pair is in ERR by now: its completions or its tripwire tell its owner.
            AsyncKind::QueuePair => tracing::warn!(device, number, "a queue pair reported an error"),
            AsyncKind::Other => tracing::debug!(device, number, "event of the device"),
        }
    }
}

/// The ports that are down as things stand.
fn down_now(context: &Context) -> u32 {
    let ports = 1..=context.attributes().ports;
    ports.filter(|port| is_down_now(context, *port)).fold(0, |all, port| all | bit(port))
}

/// Whether this port is down as things stand; not where the device does not say. A system call.
fn is_down_now(context: &Context, port: u8) -> bool {
    const ACTIVE: u32 = 4;
    context.port(port).is_ok_and(|port| port.state != ACTIVE)
}

fn bit(port: u8) -> u32 {
    1u32.checked_shl(u32::from(port)).unwrap_or(0)
}
