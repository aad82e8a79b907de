//! The four steps, as a pure state machine: READ, WRITE, READ, WRITE.
//!
//! No clock, no I/O, no allocation, fixed size, no recursion. Inputs are completions and copied-out page bytes; outputs are the
//! operation to post next and the bytes to publish. Imports `page` alone (and the number of link slots).
//!
//! One [`Handshake`] is one node: the four steps it drives on the link it dialled (`dialled`), its answers to the links it
//! accepted (`accepted`), and what both together make: a session.
//!
//! ```
//! use handfast::handshake::{Action, Handshake, Parties};
//! use handfast::page::{Incarnation, VersionRange};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let parties = |me: &str, partner: &str| -> Result<Parties, handfast::page::NameError> {
//!     Ok(Parties {
//!         cluster: "c".parse()?,
//!         node: me.parse()?,
//!         partner: partner.parse()?,
//!         versions: VersionRange::CURRENT,
//!         key: None,
//!     })
//! };
//! let a = Handshake::new(parties("a", "b")?, Incarnation(7), [1; 32]);
//! assert_eq!(a.action(), Action::Dial);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod accepted;
mod dialled;
mod explore;
mod proof;
mod reason;

use crate::fabric::{LINK_SLOTS, LinkSlot};
use crate::page::status::{ACK_BYTES, ACK_OFFSET, CORE_OFFSET, Core, HANDSHAKE_BYTES, Identity};
use crate::page::{Attempt, ClusterName, Incarnation, NodeId, SessionId, VersionRange, Word};
use accepted::Slot;
use dialled::Dialled;
use proof::{NonceUse, Nonces};

pub use accepted::Answer;
pub use dialled::{Action, Phase};
pub use proof::{KeyError, PreSharedKey, SessionKey};
pub use reason::{EndReason, Obstacle};

/// Who opens a session with whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Parties {
    /// Both nodes' cluster.
    pub cluster: ClusterName,
    /// This node.
    pub node: NodeId,
    /// The other.
    pub partner: NodeId,
    /// What this node speaks.
    pub versions: VersionRange,
    /// The secret both were given, if they were.
    pub key: Option<PreSharedKey>,
}

/// A session as one node holds it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Established {
    /// The session.
    pub id: SessionId,
    /// This node's word in it.
    pub own: Word,
    /// The partner's word in it.
    pub partner: Word,
    /// The highest protocol version both speak.
    pub version: u16,
    /// The slot of the link the partner dialled: its mailbox is where the partner writes.
    pub slot: LinkSlot,
    /// For everything exchanged from here on.
    pub key: SessionKey,
}

/// One node's side of the handshake.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Handshake {
    parties: Parties,
    own: Word,
    nonces: Nonces,
    dialled: Dialled,
    slots: [Slot; LINK_SLOTS],
    accepts: u64,
    dials: u64,
    /// The newest word of the partner that was acknowledged: an older one of the same incarnation never counts again.
    newest: Option<(Incarnation, Attempt)>,
    established: Option<Established>,
    ended: Option<EndReason>,
    obstacle: Option<Obstacle>,
    leaving: bool,
    edition: u64,
    /// Fruitless READs before the WRITE ahead of them is written again.
    checks_max: u32,
}

impl Handshake {
    /// A node at the first moment of its life: attempt 1, no link, no session. `seed` is 32 random bytes, for nonces.
    pub fn new(parties: Parties, incarnation: Incarnation, seed: [u8; 32]) -> Self {
        let nonces = Nonces::new(seed);
        let own = Word { incarnation, attempt: Attempt(1), nonce: nonces.nonce(NonceUse::Attempt, 1) };
        Self {
            parties,
            own,
            nonces,
            dialled: Dialled::Down,
            slots: [Slot::CLOSED; LINK_SLOTS],
            accepts: 0,
            dials: 0,
            newest: None,
            established: None,
            ended: None,
            obstacle: None,
            leaving: false,
            edition: 0,
            checks_max: dialled::CHECKS_MAX,
        }
    }

    /// Who opens a session with whom.
    pub fn parties(&self) -> &Parties {
        &self.parties
    }

    /// This node's current word.
    pub fn own(&self) -> Word {
        self.own
    }

    /// The session this node holds.
    pub fn established(&self) -> Option<&Established> {
        self.established.as_ref()
    }

    /// What stood in the way in the last round; none while nothing does.
    pub fn obstacle(&self) -> Option<Obstacle> {
        if self.established.is_some() { None } else { self.obstacle }
    }

    /// Why the last session ended, once: the next call says none until another one ends.
    pub fn take_ended(&mut self) -> Option<EndReason> {
        self.ended.take()
    }

    /// Rises with every change of what [`Handshake::encode`] gives: publish the bytes again.
    pub fn edition(&self) -> u64 {
        self.edition
    }

    /// The first bytes of the status block: identity, core, acknowledgements.
    pub fn encode(&self) -> [u8; HANDSHAKE_BYTES] {
        let mut bytes = [0; HANDSHAKE_BYTES];
        let identity = Identity {
            cluster: self.parties.cluster,
            node: self.parties.node,
            versions: self.parties.versions,
            has_key: self.parties.key.is_some(),
        };
        let session = self.established.as_ref().map_or(SessionId::NONE, |established| established.id);
        let core = Core { word: self.own, session, leaving: self.leaving };
        bytes[..CORE_OFFSET].copy_from_slice(&identity.encode());
        bytes[CORE_OFFSET..ACK_OFFSET].copy_from_slice(&core.encode());
        for (slot, place) in self.slots.iter().zip(bytes[ACK_OFFSET..].chunks_exact_mut(ACK_BYTES)) {
            place.copy_from_slice(&slot.ack().encode());
        }
        bytes
    }

    /// Ends the session from this side, for `reason`, and begins anew with the next attempt. Nothing happens without a session.
    pub fn end(&mut self, reason: EndReason) {
        if self.established.take().is_some() {
            self.ended = Some(reason);
            self.begin_anew();
        }
    }

    /// This node is about to end: the partner reads so in the status block, and no session is opened any more.
    pub fn leave(&mut self) {
        self.leaving = true;
        self.edition += 1;
        if self.established.take().is_some() {
            self.ended = Some(EndReason::Left);
        }
    }

    /// Whether this node is about to end.
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// This node's earlier word must no longer count: the attempt rises, and with it everything that named the old one is void.
    fn begin_anew(&mut self) {
        self.own.attempt = Attempt(self.own.attempt.0 + 1);
        self.own.nonce = self.nonces.nonce(NonceUse::Attempt, self.own.attempt.0);
        for slot in &mut self.slots {
            slot.forget();
        }
        self.dialled.begin_anew();
        self.edition += 1;
    }

    /// A session stands when our step 4 is complete and the partner's confirmation of the same session lies in a mailbox of ours.
    fn settle(&mut self) {
        if self.established.is_some() || self.leaving {
            return;
        }
        let Some((id, partner, versions)) = self.dialled.confirmed() else { return };
        let confirmed = |slot: &LinkSlot| self.slots[slot.number()].confirms(id);
        let Some(slot) = LinkSlot::all().find(confirmed) else {
            self.obstacle = Some(Obstacle::NotConfirmed);
            return;
        };
        let Some(version) = self.parties.versions.common(versions) else { return };
        let key = proof::session_key(self.parties.key.as_ref(), &id);
        self.established = Some(Established { id, own: self.own, partner, version, slot, key });
        self.obstacle = None;
        self.edition += 1;
    }
}

#[cfg(test)]
mod tests;
