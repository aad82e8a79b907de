//! Ports that clients ask for anew, on their way from any thread to the one that polls the manager.
//!
//! Imports nothing of the crate. Each port is in it once, however often it is asked for.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A port of a session: the number of its client there, alike on both nodes, and its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PortName {
    pub(crate) client: u16,
    pub(crate) port: u16,
}

/// What is asked for and not yet begun.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    /// Whether there may be any: one load for the manager, which looks at each poll.
    any: AtomicBool,
    asked: Mutex<BTreeSet<PortName>>,
}

impl Wishes {
    /// Asks for a port.
    pub(crate) fn ask(&self, name: PortName) {
        let mut asked = self.asked();
        asked.insert(name);
        self.any.store(true, Ordering::Release);
    }

    /// Whether there may be any.
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Takes all of them.
    pub(crate) fn take(&self) -> BTreeSet<PortName> {
        let mut asked = self.asked();
        self.any.store(false, Ordering::Release);
        std::mem::take(&mut asked)
    }

    /// A port that was asked for is about to be handed out: who asked again meanwhile meant the
    /// one before it.
    pub(crate) fn settle(&self, name: PortName) {
        self.asked().remove(&name);
    }

    fn asked(&self) -> MutexGuard<'_, BTreeSet<PortName>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A port cannot be asked for anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RenewalError {
    /// The client has no port of this index.
    #[error("there is no port {index}: the client has {ports}, counted from 0")]
    NoSuchPort {
        /// What was asked for.
        index: u16,
        /// The client's ports.
        ports: u16,
    },
    /// The session is over: the next one comes with new ports.
    #[error("the session has ended: its ports are not renewed, the next session has new ones")]
    Ended,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_asked_for_again_and_again_is_one_wish() {
        let (wishes, name) = (Wishes::default(), |client, port| PortName { client, port });
        assert!(!wishes.any() && wishes.take().is_empty());
        for port in [1, 0, 1, 1] {
            wishes.ask(name(2, port));
        }
        wishes.ask(name(0, 7));
        wishes.settle(name(2, 0));
        assert!(wishes.any());
        assert_eq!(wishes.take().into_iter().collect::<Vec<_>>(), [name(0, 7), name(2, 1)]);
        assert!(!wishes.any() && wishes.take().is_empty());
    }
}
