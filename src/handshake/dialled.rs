//! The four steps on the link we dialled.

use crate::fabric::LinkSlot;
use crate::handshake::proof::{NonceUse, Saying, Transcript, direction, session_id};
use crate::handshake::{EndReason, Handshake, Obstacle};
use crate::page::mailbox::{CONFIRMATION_BYTES, Confirmation, GREETING_BYTES, Greeting};
use crate::page::status::{HANDSHAKE_BYTES, Snapshot, Verdict};
use crate::page::{Nonce, PageError, SessionId, VersionRange, Word};

/// How often a READ is answered without an acknowledgement (step 3) or without a session (after step 4) before the WRITE ahead of it is
/// written again: a fabric that repeats an old WRITE may have put an older one over ours.
pub(crate) const CHECKS_MAX: u32 = 64;

/// The operation to post next on the dialled link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// There is no link: dial.
    Dial,
    /// READ the first [`HANDSHAKE_BYTES`] of the partner's status block (steps 1 and 3, and watching afterwards). `fruitless` counts the
    /// READs in a row that brought nothing new (counted to 65): the caller waits longer the more there were.
    Read {
        /// READs in a row that changed nothing, 0 to 65.
        fruitless: u32,
    },
    /// WRITE [`Handshake::greeting`] to [`GREETING_OFFSET`](crate::page::mailbox::GREETING_OFFSET) of our mailbox there (step 2).
    WriteGreeting,
    /// WRITE [`Handshake::confirmation`] to [`CONFIRMATION_OFFSET`](crate::page::mailbox::CONFIRMATION_OFFSET) (step 4).
    WriteConfirmation,
    /// An operation is under way: wait for its completion.
    Wait,
}

/// How far the four steps are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Step 1: READ the status block.
    Look,
    /// Step 2: WRITE the greeting.
    Greet,
    /// Step 3: READ the acknowledgement.
    Check,
    /// Step 4: WRITE the confirmation.
    Confirm,
    /// All four are done: the partner is watched.
    Watch,
}

/// What step 1 saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Seen {
    word: Word,
    link_nonce: Nonce,
    versions: VersionRange,
}

/// The state of the dialled link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Dialled {
    Down,
    Up(Steps),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Steps {
    slot: LinkSlot,
    link_nonce: Nonce,
    phase: Phase,
    seen: Option<Seen>,
    /// What step 3 made of both words.
    session: SessionId,
    /// An operation is under way.
    posted: bool,
    /// A greeting with our current attempt was posted: it may lie in the partner's mailbox, whatever its completion says.
    greeted: bool,
    /// The attempt rose while an operation was under way: its completion no longer counts.
    void: bool,
    fruitless: u32,
    /// The partner's status block names our session.
    held: bool,
}

impl Dialled {
    /// The attempt rose: back to step 1 with nothing said.
    pub(crate) fn begin_anew(&mut self) {
        if let Self::Up(steps) = self {
            steps.back_to_look();
            steps.greeted = false;
            steps.void = steps.posted;
        }
    }

    /// The session that our step 4 confirmed, with the partner's word and versions.
    pub(crate) fn confirmed(&self) -> Option<(SessionId, Word, VersionRange)> {
        match self {
            Self::Up(Steps { phase: Phase::Watch, seen: Some(seen), session, .. }) => {
                Some((*session, seen.word, seen.versions))
            }
            _ => None,
        }
    }
}

impl Steps {
    /// Drops the count of READs where nothing but the caller's patience depends on it.
    pub(crate) fn forget_history(&mut self, established: bool) {
        let settled = self.phase == Phase::Watch && (established || self.held);
        if settled || self.phase == Phase::Look {
            self.fruitless = 0;
        }
    }

    fn back_to_look(&mut self) {
        self.phase = Phase::Look;
        self.seen = None;
        self.session = SessionId::NONE;
        self.held = false;
        self.fruitless = 0;
    }

    fn advance(&mut self, phase: Phase) {
        self.phase = phase;
        self.fruitless = 0;
    }
}

impl Handshake {
    /// The link stands: our mailbox there has this slot number. Any earlier link counts as lost.
    pub fn link_up(&mut self, slot: LinkSlot) {
        self.link_down();
        self.dials += 1;
        let link_nonce = self.nonces.nonce(NonceUse::Dialled, self.dials);
        self.dialled = Dialled::Up(Steps {
            slot,
            link_nonce,
            phase: Phase::Look,
            seen: None,
            session: SessionId::NONE,
            posted: false,
            greeted: false,
            void: false,
            fruitless: 0,
            held: false,
        });
    }

    /// The link failed, or an operation on it did: never call the two apart. A session over it has ended; if anything was said on it
    /// the attempt rises, since what was said may have landed.
    pub fn link_down(&mut self) {
        if self.established.is_some() {
            self.end(EndReason::LinkLost);
        } else if matches!(self.dialled, Dialled::Up(Steps { greeted: true, .. })) {
            self.begin_anew();
        }
        self.dialled = Dialled::Down;
    }

    /// How far the four steps are; none without a link.
    pub fn phase(&self) -> Option<Phase> {
        match &self.dialled {
            Dialled::Down => None,
            Dialled::Up(steps) => Some(steps.phase),
        }
    }

    /// Whether the partner's status block named our session when it was last read.
    pub fn is_held_by_partner(&self) -> bool {
        matches!(&self.dialled, Dialled::Up(Steps { held: true, .. }))
    }

    /// What to post next on the dialled link.
    pub fn action(&self) -> Action {
        match &self.dialled {
            Dialled::Down => Action::Dial,
            Dialled::Up(steps) if steps.posted => Action::Wait,
            Dialled::Up(steps) => match steps.phase {
                Phase::Look | Phase::Check | Phase::Watch => Action::Read { fruitless: steps.fruitless },
                Phase::Greet => Action::WriteGreeting,
                Phase::Confirm => Action::WriteConfirmation,
            },
        }
    }

    /// The operation of [`Handshake::action`] was posted. From here on a greeting may have landed.
    pub fn posted(&mut self) {
        if let Dialled::Up(steps) = &mut self.dialled {
            steps.posted = true;
            steps.greeted |= steps.phase == Phase::Greet;
        }
    }

    /// The bytes of step 2. Empty words (never posted by [`Handshake::action`]) before step 1 is done.
    pub fn greeting(&self) -> [u8; GREETING_BYTES] {
        let Some((transcript, seen)) = self.transcript() else { return [0; GREETING_BYTES] };
        let key = self.parties.key.as_ref();
        Greeting {
            direction: direction(&self.parties.cluster, &self.parties.node, &self.parties.partner),
            word: self.own,
            link_nonce: transcript.dialler_link_nonce,
            saw_incarnation: seen.word.incarnation,
            saw_attempt: seen.word.attempt,
            proof: key.map(|_| transcript.proof(key, Saying::Greeting)),
            versions: self.parties.versions,
        }
        .encode()
    }

    /// The bytes of step 4. Empty words (never posted by [`Handshake::action`]) before step 3 is done.
    pub fn confirmation(&self) -> [u8; CONFIRMATION_BYTES] {
        let (Some((transcript, _)), Dialled::Up(steps)) = (self.transcript(), &self.dialled) else {
            return [0; CONFIRMATION_BYTES];
        };
        Confirmation {
            incarnation: self.own.incarnation,
            attempt: self.own.attempt,
            session: steps.session,
            proof: transcript.proof(self.parties.key.as_ref(), Saying::Confirmation),
        }
        .encode()
    }

    /// A WRITE completed well.
    pub fn write_done(&mut self) {
        let Dialled::Up(steps) = &mut self.dialled else { return };
        steps.posted = false;
        if std::mem::take(&mut steps.void) {
            return;
        }
        match steps.phase {
            Phase::Greet => steps.advance(Phase::Check),
            Phase::Confirm => {
                steps.advance(Phase::Watch);
                self.settle();
            }
            Phase::Look | Phase::Check | Phase::Watch => {}
        }
    }

    /// A READ completed well with these bytes.
    pub fn read_done(&mut self, bytes: &[u8; HANDSHAKE_BYTES]) {
        let Dialled::Up(steps) = &mut self.dialled else { return };
        steps.posted = false;
        if std::mem::take(&mut steps.void) {
            return;
        }
        // Counted no further than anything depends on it.
        steps.fruitless = steps.fruitless.saturating_add(1).min(self.checks_max.saturating_add(1));
        let (phase, slot) = (steps.phase, steps.slot);
        let snapshot = match Snapshot::decode(bytes, slot) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                // Unreadable is not held: one torn page passes, one that stays so runs into `Timing::absent`.
                steps.held = false;
                // A torn page is read again: the next one may be whole, so it is no verdict on what stands already.
                if !matches!(error, PageError::Torn { .. }) || phase == Phase::Look {
                    self.obstacle = Some(Obstacle::Page(error));
                }
                return;
            }
        };
        match phase {
            Phase::Look => self.look(&snapshot),
            Phase::Check => self.check(&snapshot),
            Phase::Watch => self.watch(&snapshot),
            Phase::Greet | Phase::Confirm => {}
        }
    }

    fn look(&mut self, snapshot: &Snapshot) {
        let obstacle = self.fault_of(snapshot);
        let Dialled::Up(steps) = &mut self.dialled else { return };
        self.obstacle = obstacle;
        if obstacle.is_none() {
            let versions = snapshot.identity.versions;
            steps.seen = Some(Seen { word: snapshot.core.word, link_nonce: snapshot.ack.link_nonce, versions });
            steps.advance(Phase::Greet);
        }
    }

    /// What keeps us from greeting whoever published this, if anything.
    fn fault_of(&self, snapshot: &Snapshot) -> Option<Obstacle> {
        let (identity, parties) = (&snapshot.identity, &self.parties);
        if identity.cluster != parties.cluster {
            return Some(Obstacle::WrongCluster { found: identity.cluster, expected: parties.cluster });
        }
        // Our own word is nobody else's: somebody shows us ourselves.
        if identity.node != parties.partner || snapshot.core.word.incarnation == self.own.incarnation {
            return Some(Obstacle::WrongNode { found: identity.node, expected: parties.partner });
        }
        if identity.versions.common(parties.versions).is_none() {
            return Some(Obstacle::Versions { ours: parties.versions, theirs: identity.versions });
        }
        match (parties.key.is_some(), identity.has_key) {
            (true, false) => return Some(Obstacle::KeyMissingThere),
            (false, true) => return Some(Obstacle::KeyMissingHere),
            _ => {}
        }
        if snapshot.core.leaving {
            return Some(Obstacle::Leaving);
        }
        (snapshot.ack.link_nonce == Nonce::NONE).then_some(Obstacle::NotAcknowledged)
    }

    fn check(&mut self, snapshot: &Snapshot) {
        let Some((transcript, seen)) = self.transcript() else { return };
        let own = self.own;
        let Dialled::Up(steps) = &mut self.dialled else { return };
        if snapshot.core.word != seen.word || snapshot.ack.link_nonce != seen.link_nonce || snapshot.core.leaving {
            steps.back_to_look();
            return;
        }
        let ack = &snapshot.ack;
        let ours = ack.incarnation == own.incarnation && ack.attempt == own.attempt;
        let current = ack.own_attempt == seen.word.attempt;
        if ours && current && ack.verdict == Verdict::Acknowledged {
            if transcript.verify(self.parties.key.as_ref(), Saying::Acknowledgement, ack.proof) {
                let (parties, seen) = (&self.parties, &seen.word);
                steps.session = session_id(&parties.cluster, (&parties.node, &own), (&parties.partner, seen));
                steps.advance(Phase::Confirm);
                self.obstacle = None;
            } else {
                self.obstacle = Some(Obstacle::KeysDiffer);
                retry_from_look(steps);
            }
            return;
        }
        self.obstacle = Some(match ack.verdict {
            Verdict::WrongProof | Verdict::NoProof if ours => Obstacle::KeysDiffer,
            Verdict::WrongNode if ours => Obstacle::NotExpected,
            _ => Obstacle::NotAcknowledged,
        });
        if steps.fruitless > self.checks_max {
            retry_from_look(steps);
        }
    }

    fn watch(&mut self, snapshot: &Snapshot) {
        let Dialled::Up(steps) = &mut self.dialled else { return };
        let Some(seen) = steps.seen else { return };
        let now = snapshot.core.word;
        if now == seen.word && snapshot.ack.link_nonce == seen.link_nonce && !snapshot.core.leaving {
            let held = snapshot.core.session == steps.session;
            if held && !steps.held {
                steps.fruitless = 0;
            }
            steps.held = held;
            let waiting = self.established.is_none() && !held && !self.leaving;
            if waiting && steps.fruitless > self.checks_max {
                // An older confirmation may lie over ours, and an older one of the partner over its own: one of both must speak again.
                steps.advance(Phase::Confirm);
            }
            return;
        }
        let reason = if snapshot.core.leaving {
            EndReason::PartnerLeft
        } else if now.incarnation != seen.word.incarnation {
            EndReason::Restarted { incarnation: now.incarnation }
        } else {
            EndReason::Reopened
        };
        steps.back_to_look();
        self.end(reason);
    }

    /// What the proofs of the dialled link cover, once step 1 is done.
    fn transcript(&self) -> Option<(Transcript, Seen)> {
        let Dialled::Up(steps) = &self.dialled else { return None };
        let seen = steps.seen?;
        let transcript = Transcript {
            cluster: self.parties.cluster,
            dialler: self.parties.node,
            acceptor: self.parties.partner,
            dialler_word: self.own,
            acceptor_word: seen.word,
            dialler_link_nonce: steps.link_nonce,
            acceptor_link_nonce: seen.link_nonce,
            slot: steps.slot,
            dialler_versions: self.parties.versions,
            acceptor_versions: seen.versions,
        };
        Some((transcript, seen))
    }
}

/// Back to step 1, keeping the count that makes the caller wait: nothing was gained.
fn retry_from_look(steps: &mut Steps) {
    let fruitless = steps.fruitless;
    steps.back_to_look();
    steps.fruitless = fruitless;
}
