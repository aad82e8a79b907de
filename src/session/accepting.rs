//! The accepting half of a connection: links that the partner (or a stranger) dialled, and their mailboxes.

use crate::fabric::{Endpoint, EndpointEvent, Fabric, FabricError, LINK_SLOTS, LinkSlot};
use crate::handshake::Handshake;
use crate::page::mailbox::HANDSHAKE_BYTES;

/// Endpoint events handled in one call, so that a stranger who dials without pause cannot hold the caller.
const EVENTS_MAX: usize = 8;

/// What was last seen in each mailbox, so that an unchanged one costs a copy and a comparison.
#[derive(Debug)]
pub(crate) struct Mailboxes {
    seen: [Seen; LINK_SLOTS],
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    bytes: [u8; HANDSHAKE_BYTES],
    /// The handshake's edition when they were judged: another one may judge otherwise.
    edition: Option<u64>,
}

/// What the accepting half has to tell.
pub(crate) enum Accepting {
    /// A link ended from the other side.
    Closed(FabricError),
    /// Something failed that concerns no link.
    Trouble(FabricError),
}

impl Mailboxes {
    pub(crate) fn new() -> Self {
        Self { seen: [Seen { bytes: [0; HANDSHAKE_BYTES], edition: None }; LINK_SLOTS] }
    }

    /// Takes in what happened at the endpoint; whether anything did. Enters the kernel.
    pub(crate) fn accept<E: Endpoint>(
        &mut self,
        endpoint: &mut E,
        handshake: &mut Handshake,
        mut tell: impl FnMut(Accepting),
    ) -> bool {
        for handled in 0..EVENTS_MAX {
            match endpoint.poll() {
                None => return handled != 0,
                Some(EndpointEvent::Incoming(incoming)) => {
                    // Every link has a valid greeting, or this node leaves: the newcomer's dial runs into its deadline.
                    let Some(slot) = handshake.slot_for_newcomer() else { return true };
                    self.close(endpoint, handshake, slot);
                    match endpoint.accept(incoming, slot) {
                        Ok(()) => {
                            handshake.accepted(slot);
                            self.seen[slot.number()].edition = None;
                        }
                        // Who dialled has given up since: it will dial again.
                        Err(FabricError::LinkLost { .. }) => {}
                        Err(error) => tell(Accepting::Trouble(error)),
                    }
                }
                Some(EndpointEvent::Closed(slot, error)) => {
                    self.close(endpoint, handshake, slot);
                    tell(Accepting::Closed(error));
                }
                Some(EndpointEvent::Trouble(error)) => tell(Accepting::Trouble(error)),
            }
        }
        true
    }

    /// Closes a link, in the fabric's eyes first: what its partner wrote last must not be looked at again.
    pub(crate) fn close<E: Endpoint>(&mut self, endpoint: &mut E, handshake: &mut Handshake, slot: LinkSlot) {
        if handshake.is_open(slot) {
            endpoint.close(slot);
            handshake.slot_closed(slot);
        }
    }

    /// Looks at every open mailbox; whether any was new. No system call, no allocation.
    pub(crate) fn look<F: Fabric>(&mut self, endpoint: &mut F::Endpoint, handshake: &mut Handshake) -> bool {
        let mut any = false;
        for slot in LinkSlot::all() {
            if !handshake.is_open(slot) {
                continue;
            }
            let mut bytes = [0; HANDSHAKE_BYTES];
            let copied = endpoint.mailbox(slot).map(|mailbox| mailbox.read(0, &mut bytes));
            let seen = &mut self.seen[slot.number()];
            let same = seen.edition == Some(handshake.edition()) && seen.bytes == bytes;
            if same || !matches!(copied, Some(Ok(()))) {
                continue;
            }
            any |= seen.bytes != bytes;
            let answer = handshake.mailbox(slot, &bytes);
            *seen = Seen { bytes, edition: Some(handshake.edition()) };
            if let Some(earlier) = answer.close {
                self.close(endpoint, handshake, earlier);
            }
        }
        any
    }
}
