//! The links we accepted: what the partner wrote to each one's mailbox, and our answer.

use crate::fabric::LinkSlot;
use crate::handshake::proof::{NonceUse, Saying, Transcript, direction, session_id};
use crate::handshake::{EndReason, Handshake};
use crate::page::mailbox::{Confirmation, Greeting, HANDSHAKE_BYTES, handshake_parts};
use crate::page::status::{Ack, Verdict};
use crate::page::{Proof, SessionId};

/// What became of a mailbox that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use]
pub struct Answer {
    /// A link to close, then say so by [`Handshake::slot_closed`]: the earlier one that this one replaces, or this one itself where a newer one
    /// of the partner stands already.
    pub close: Option<LinkSlot>,
}

/// One link slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    /// When it was accepted, counted in accepts; none where it is closed.
    accepted: Option<u64>,
    /// What we publish for it.
    ack: Ack,
    /// The greeting we acknowledged.
    greeting: Option<Greeting>,
    /// The session that the partner confirmed over it.
    confirmed: SessionId,
}

impl Slot {
    pub(crate) const CLOSED: Self =
        Self { accepted: None, ack: Ack::CLOSED, greeting: None, confirmed: SessionId::NONE };

    pub(crate) fn ack(&self) -> &Ack {
        &self.ack
    }

    pub(crate) fn confirms(&self, session: SessionId) -> bool {
        self.confirmed == session && session != SessionId::NONE
    }

    /// Our attempt rose: what was said to the old one is void. The link stays.
    pub(crate) fn forget(&mut self) {
        self.ack = Ack { link_nonce: self.ack.link_nonce, ..Ack::CLOSED };
        self.greeting = None;
        self.confirmed = SessionId::NONE;
    }
}

impl Handshake {
    /// Which slot a link that waits to be accepted shall have: a free one, else that of the oldest link without a valid greeting. None
    /// where every link has one, and on a node that leaves: nobody opens a session with it any more, and a partner that has noticed and dials
    /// again at once would make it wait for nothing. Close the slot first (and say so by [`Handshake::slot_closed`]) where it is not free.
    pub fn slot_for_newcomer(&self) -> Option<LinkSlot> {
        if self.leaving {
            return None;
        }
        let age = |slot: LinkSlot| self.slots[slot.number()].accepted;
        LinkSlot::all().filter(|slot| self.slots[slot.number()].greeting.is_none()).min_by_key(|slot| age(*slot))
    }

    /// Whether a link holds this slot.
    pub fn is_open(&self, slot: LinkSlot) -> bool {
        self.slots[slot.number()].accepted.is_some()
    }

    /// A link was accepted into this slot, with a fresh and empty mailbox.
    pub fn accepted(&mut self, slot: LinkSlot) {
        self.slot_closed(slot);
        self.accepts += 1;
        let link_nonce = self.nonces.nonce(NonceUse::Accepted, self.accepts);
        self.slots[slot.number()] =
            Slot { accepted: Some(self.accepts), ack: Ack { link_nonce, ..Ack::CLOSED }, ..Slot::CLOSED };
        self.edition += 1;
    }

    /// The link in this slot is gone. A session over it has ended.
    pub fn slot_closed(&mut self, slot: LinkSlot) {
        if !self.is_open(slot) {
            return;
        }
        self.slots[slot.number()] = Slot::CLOSED;
        self.edition += 1;
        if self.established.as_ref().is_some_and(|established| established.slot == slot) {
            self.end(EndReason::PartnerLinkLost);
        }
    }

    /// Looks at the copied-out start of a mailbox. Cheap where nothing changed: call it as often as you like.
    pub fn mailbox(&mut self, slot: LinkSlot, bytes: &[u8; HANDSHAKE_BYTES]) -> Answer {
        let mut answer = Answer { close: None };
        if !self.is_open(slot) || self.leaving {
            return answer;
        }
        let (greeting, confirmation) = handshake_parts(bytes);
        // Torn or empty: it will be looked at again.
        if let Ok(greeting) = Greeting::decode(greeting) {
            answer.close = self.greeted(slot, &greeting);
        }
        if let Ok(confirmation) = Confirmation::decode(confirmation) {
            self.confirmed(slot, &confirmation);
        }
        answer
    }

    fn greeted(&mut self, slot: LinkSlot, greeting: &Greeting) -> Option<LinkSlot> {
        if self.slots[slot.number()].greeting.as_ref() == Some(greeting) {
            return None;
        }
        let verdict = self.verdict(slot, greeting);
        let acknowledged = verdict == Verdict::Acknowledged;
        if acknowledged && self.has_newer_link(slot) {
            // An earlier link cannot take the session back. Whoever still speaks on it learns so when it closes, and dials anew: where
            // somebody without the key holds the newer one, by repeating what the partner wrote, that gives the partner the newest again.
            return Some(slot);
        }
        let proof = self.acceptor_transcript(slot, greeting).proof(self.parties.key.as_ref(), Saying::Acknowledgement);
        let place = &mut self.slots[slot.number()];
        if !acknowledged && place.greeting.is_some() {
            // A repeated old WRITE never takes back what a newer greeting gained.
            return None;
        }
        let ack = Ack {
            link_nonce: place.ack.link_nonce,
            incarnation: greeting.word.incarnation,
            attempt: greeting.word.attempt,
            own_attempt: self.own.attempt,
            proof: if acknowledged { proof } else { Proof::NONE },
            verdict,
        };
        if place.ack != ack {
            place.ack = ack;
            self.edition += 1;
        }
        if !acknowledged {
            return None;
        }
        place.greeting = Some(*greeting);
        place.confirmed = SessionId::NONE;
        self.newest = Some((greeting.word.incarnation, greeting.word.attempt));
        let earlier = self.earlier_link(slot);
        self.partner_began_anew(greeting);
        earlier
    }

    /// A new greeting of the partner ends a session with any other word of it.
    fn partner_began_anew(&mut self, greeting: &Greeting) {
        let Some(established) = &self.established else { return };
        let (held, now) = (established.partner, greeting.word);
        if held.incarnation != now.incarnation {
            self.end(EndReason::Restarted { incarnation: now.incarnation });
        } else if held != now {
            self.end(EndReason::Reopened);
        }
    }

    /// Another slot whose greeting this one replaces.
    fn earlier_link(&self, slot: LinkSlot) -> Option<LinkSlot> {
        LinkSlot::all().find(|other| *other != slot && self.slots[other.number()].greeting.is_some())
    }

    fn verdict(&self, slot: LinkSlot, greeting: &Greeting) -> Verdict {
        let parties = &self.parties;
        if greeting.word.incarnation == self.own.incarnation
            || greeting.direction != direction(&parties.cluster, &parties.partner, &parties.node)
        {
            return Verdict::WrongNode;
        }
        if parties.versions.common(greeting.versions).is_none() {
            return Verdict::Versions;
        }
        // The proof comes before anything that depends on the words: who lacks the key learns nothing else and changes nothing.
        if let Some(key) = &parties.key {
            let Some(proof) = greeting.proof else { return Verdict::NoProof };
            if !self.acceptor_transcript(slot, greeting).verify(Some(key), Saying::Greeting, proof) {
                return self.proof_or_stale(greeting);
            }
        }
        if greeting.saw_incarnation != self.own.incarnation || greeting.saw_attempt != self.own.attempt {
            return Verdict::Stale;
        }
        let word = (greeting.word.incarnation, greeting.word.attempt);
        let superseded = self.newest.is_some_and(|newest| newest.0 == word.0 && word.1 < newest.1);
        if superseded { Verdict::Stale } else { Verdict::Acknowledged }
    }

    /// The proof covers our word: one made for an attempt of ours that has passed cannot match, and its sender has the key all the same.
    fn proof_or_stale(&self, greeting: &Greeting) -> Verdict {
        let current = greeting.saw_incarnation == self.own.incarnation && greeting.saw_attempt == self.own.attempt;
        if current { Verdict::WrongProof } else { Verdict::Stale }
    }

    /// Whether a link accepted later than this one already carries a valid greeting.
    fn has_newer_link(&self, slot: LinkSlot) -> bool {
        let accepted = self.slots[slot.number()].accepted;
        self.slots.iter().any(|other| other.greeting.is_some() && other.accepted > accepted)
    }

    fn confirmed(&mut self, slot: LinkSlot, confirmation: &Confirmation) {
        let Some(greeting) = self.slots[slot.number()].greeting else { return };
        if self.slots[slot.number()].confirmed != SessionId::NONE {
            return;
        }
        let parties = &self.parties;
        let session = session_id(&parties.cluster, (&parties.node, &self.own), (&parties.partner, &greeting.word));
        let ours = confirmation.session == session
            && confirmation.incarnation == greeting.word.incarnation
            && confirmation.attempt == greeting.word.attempt;
        let transcript = self.acceptor_transcript(slot, &greeting);
        if ours && transcript.verify(parties.key.as_ref(), Saying::Confirmation, confirmation.proof) {
            self.slots[slot.number()].confirmed = session;
            self.settle();
        }
    }

    /// What the proofs of an accepted link cover.
    fn acceptor_transcript(&self, slot: LinkSlot, greeting: &Greeting) -> Transcript {
        Transcript {
            cluster: self.parties.cluster,
            dialler: self.parties.partner,
            acceptor: self.parties.node,
            dialler_word: greeting.word,
            acceptor_word: self.own,
            dialler_link_nonce: greeting.link_nonce,
            acceptor_link_nonce: self.slots[slot.number()].ack.link_nonce,
            slot,
            dialler_versions: greeting.versions,
            acceptor_versions: self.parties.versions,
        }
    }
}
