//! One node's connection to its partner: page, links and handshake, advanced by one non-blocking call.

use crate::error::Error;
use crate::fabric::{Address, Endpoint, Exposed, Fabric, FabricError, PageSizes, Timestamp};
use crate::handshake::{EndReason, Established, Handshake, Obstacle, Parties};
use crate::page::mailbox::{LetterKind, MAILBOX_BYTES};
use crate::page::status::{Progress, RosterEntry, STATUS_BYTES, StageName};
use crate::page::{Incarnation, SessionId};
use crate::session::accepting::{Accepting, Mailboxes};
use crate::session::dialling::{Context, Dialling, Progress as Dialled, READ_BYTES};
use crate::session::letters::{self, LetterError};
use crate::session::observe::Pulse;
use crate::session::publish::Publisher;
use crate::session::recent::Recent;
use crate::session::steps::{Step, StepClock};
use crate::session::timing::{Backoff, Timing};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// After something moved on a link, and until a session stands, the next thing is expected within this: what the partner does in answer takes
/// microseconds, and a caller that sleeps meanwhile costs both sides more.
const EAGER: Duration = Duration::from_micros(200);

/// What happened on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// The link we dialled stands; the dial took so many nanoseconds.
    Linked {
        /// From dial to link.
        ns: u64,
    },
    /// The partner's boot stage or its progress changed.
    Stage {
        /// The stage.
        name: StageName,
        /// Progress within it.
        progress: Progress,
    },
    /// What stands in the way is another thing than before.
    Obstacle(Obstacle),
    /// There is no link: the reason is another one than before.
    Unreachable(FabricError),
    /// A session stands.
    Established {
        /// The session.
        session: Box<Established>,
        /// The four steps as they were timed.
        steps: [Step; 4],
    },
    /// The session ended.
    Ended {
        /// The session.
        session: SessionId,
        /// Why.
        reason: EndReason,
        /// What the fabric said, where it was the cause.
        detail: Option<FabricError>,
    },
    /// Something failed that ends nothing.
    Trouble(FabricError),
}

/// One node's connection to its partner.
///
/// [`Connection::advance`] makes no system call and no allocation while it only reads, writes and waits; it enters the kernel to accept,
/// to dial, and once per [`Timing::check`] to see whether the links live.
pub struct Connection<F: Fabric> {
    fabric: F,
    partner_at: Address,
    endpoint: F::Endpoint,
    handshake: Handshake,
    timing: Timing,
    dialling: Dialling<F>,
    mailboxes: Mailboxes,
    publisher: Publisher,
    /// The session's own copy of the heartbeat, for its clients' ports.
    heartbeat: Option<Arc<Exposed>>,
    backoff: Backoff,
    steps: StepClock,
    next_check: Timestamp,
    eager_until: Timestamp,
    absent_since: Option<Timestamp>,
    read: Box<[u8; READ_BYTES]>,
    pulse: Option<Pulse>,
    pulse_at: Timestamp,
    session: Option<SessionId>,
    told_obstacle: Option<Obstacle>,
    told_unreachable: Option<FabricError>,
    recently_unreachable: Recent<FabricError>,
    detail: Option<FabricError>,
    events: VecDeque<ConnectionEvent>,
}

impl<F: Fabric> Connection<F> {
    /// Publishes the session page at `at` and begins to seek the partner at `partner_at`. The page can be read from its return on.
    ///
    /// # Errors
    /// What [`Fabric::listen`] says: the address is in use, no room, no rights.
    pub fn open(fabric: F, parties: Parties, at: &Address, partner_at: Address, timing: Timing) -> Result<Self, Error> {
        let mut seed = [0; 32];
        fabric.random(&mut seed)?;
        let mut words = [0; 16];
        fabric.random(&mut words)?;
        let (incarnation, chance) = words.split_at(8);
        let word = |bytes: &[u8]| bytes.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        let handshake = Handshake::new(parties, Incarnation(word(incarnation).max(1)), seed);
        let endpoint = fabric.listen(at, PageSizes { status: STATUS_BYTES, mailbox: MAILBOX_BYTES })?;
        let mut connection = Self {
            fabric,
            partner_at,
            endpoint,
            handshake,
            timing,
            dialling: Dialling::idle(),
            mailboxes: Mailboxes::new(),
            publisher: Publisher::new(),
            heartbeat: None,
            backoff: Backoff::new(word(chance)),
            steps: StepClock::default(),
            next_check: Timestamp(0),
            eager_until: Timestamp(0),
            absent_since: None,
            read: Box::new([0; READ_BYTES]),
            pulse: None,
            pulse_at: Timestamp(0),
            session: None,
            told_obstacle: None,
            told_unreachable: None,
            recently_unreachable: Recent::new(),
            detail: None,
            events: VecDeque::with_capacity(16),
        };
        connection.publish();
        Ok(connection)
    }

    /// The fabric it runs on.
    pub fn fabric(&self) -> &F {
        &self.fabric
    }

    /// Where this node listens.
    pub fn address(&self) -> &Address {
        self.endpoint.address()
    }

    /// Where the partner is sought.
    pub fn partner_address(&self) -> &Address {
        &self.partner_at
    }

    /// The handshake as it stands.
    pub fn handshake(&self) -> &Handshake {
        &self.handshake
    }

    /// Intervals and deadlines.
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    /// Publishes this node's boot stage and its progress: `done` of `total`, 0 where the total is unknown. No system call.
    pub fn stage(&mut self, name: &str, done: u64, total: u64) {
        let outcome = self.publisher.stage(self.endpoint.status(), name, Progress::new(done, total));
        self.report(outcome);
    }

    /// Publishes the roster of clients.
    pub fn roster(&mut self, entries: &[RosterEntry]) {
        let outcome = self.publisher.roster(self.endpoint.status(), entries);
        self.report(outcome);
    }

    /// The partner's boot stage and progress as last read; none before the first READ.
    pub fn partner_stage(&self) -> Option<(StageName, Progress)> {
        self.pulse.and_then(|pulse| Some((pulse.stage?, pulse.progress)))
    }

    /// The partner's heartbeat, and when it was last seen to change.
    pub fn partner_heartbeat(&self) -> Option<(u64, Timestamp)> {
        self.pulse.map(|pulse| (pulse.heartbeat, self.pulse_at))
    }

    /// Does everything that is due, without blocking, and returns the next event. Call it until it returns none, then again within
    /// [`Connection::idle_for`].
    pub fn advance(&mut self) -> Option<ConnectionEvent> {
        // A bounded number of rounds: a partner that answers at once is met at once, and nobody can keep the caller here.
        for _ in 0..if self.events.is_empty() { 64 } else { 0 } {
            if !self.round() || !self.events.is_empty() {
                break;
            }
        }
        self.events.pop_front()
    }

    /// How long nothing is due: zero while an answer may come any moment.
    pub fn idle_for(&self) -> Duration {
        if !self.events.is_empty() {
            return Duration::ZERO;
        }
        let now = self.fabric.now();
        if now < self.eager_until {
            return Duration::ZERO;
        }
        let mut due = self.publisher.next_beat().min(self.next_check);
        match self.dialling.due(now, &self.timing) {
            Some(dialling) => due = due.min(dialling),
            None => return Duration::ZERO,
        }
        due.since(now)
    }

    /// Sleeps for `patience`, or until the partner's process ends where the fabric can tell that.
    pub fn sleep(&self, patience: Duration) {
        match &self.dialling {
            Dialling::Up(up) => up.sleep(patience),
            _ => std::thread::sleep(patience),
        }
    }

    /// Bumps a word beside the status block's heartbeat from here on: that of memory which the partner's clients can READ. None: no more.
    pub(crate) fn beat_in(&mut self, heartbeat: Option<Arc<Exposed>>) {
        self.heartbeat = heartbeat;
    }

    /// Ends the session from this side; the handshake begins anew.
    pub fn end(&mut self, reason: EndReason) {
        self.handshake.end(reason);
        self.publish();
        self.note_end();
    }

    /// Tells the partner, by the status block, that this node is about to end. Keep advancing until it has noticed.
    pub fn leave(&mut self) {
        self.handshake.leave();
        self.publish();
        self.note_end();
    }

    /// Whether no link of the partner is left.
    pub fn is_alone(&self) -> bool {
        !crate::fabric::LinkSlot::all().any(|slot| self.handshake.is_open(slot))
    }

    /// A domain for clients' memory and ports, towards the partner of the link we dialled.
    ///
    /// # Errors
    /// [`FabricError::LinkLost`] without a link, and what [`Fabric::domain`] says.
    pub fn domain(&self) -> Result<F::Domain, Error> {
        match &self.dialling {
            Dialling::Up(up) => Ok(self.fabric.domain(&up.link)?),
            _ => Err(self.no_link().into()),
        }
    }

    /// WRITEs a letter of this kind and round into the partner's mailbox. Allocates.
    pub(crate) fn send_letter(&mut self, letter: (LetterKind, u64), body: &[u8]) -> Result<(), Error> {
        let (Some(established), Dialling::Up(up)) = (self.handshake.established(), &mut self.dialling) else {
            return Err(self.no_link().into());
        };
        Ok(letters::send(up, &self.handshake.parties().node, established, letter, body)?)
    }

    /// Whether no letter is on its way.
    pub(crate) fn letters_are_through(&self) -> bool {
        matches!(&self.dialling, Dialling::Up(up) if up.letters == 0)
    }

    /// The partner's letter of this kind and round, once it has wholly arrived. Allocates where there
    /// is one.
    pub(crate) fn receive_letter(&self, letter: (LetterKind, u64)) -> Result<Option<Vec<u8>>, LetterError> {
        let Some(established) = self.handshake.established() else { return Ok(None) };
        let Some(mailbox) = self.endpoint.mailbox(established.slot) else { return Ok(None) };
        letters::receive(mailbox, &self.handshake.parties().partner, established, letter)
    }

    fn no_link(&self) -> FabricError {
        FabricError::LinkLost { address: self.partner_at.to_string(), detail: "there is none now".to_owned() }
    }

    /// One round of everything; whether anything moved.
    fn round(&mut self) -> bool {
        let now = self.fabric.now();
        let mut moved = self.accept(now);
        moved |= self.mailboxes.look::<F>(&mut self.endpoint, &mut self.handshake);
        self.publish();
        moved |= self.dial(now);
        self.publish();
        let opening = self.handshake.phase().is_some() && !self.handshake.is_held_by_partner();
        if moved && opening && self.handshake.obstacle().is_none_or(|obstacle| obstacle.is_passing()) {
            self.eager_until = now.after(EAGER);
        }
        self.watch(now);
        let beat = self.publisher.beat((self.endpoint.status(), self.heartbeat.as_deref()), now, self.timing.beat);
        self.report(beat.map(|_| ()));
        self.settle();
        moved
    }

    /// Links of others: looked after at each call while there is no session, and once per check interval while there is.
    fn accept(&mut self, now: Timestamp) -> bool {
        let ended = matches!(&self.dialling, Dialling::Up(up) if up.has_ended());
        let due = ended || now >= self.next_check;
        if self.handshake.established().is_some() && !due {
            return false;
        }
        let (events, detail) = (&mut self.events, &mut self.detail);
        let moved = self.mailboxes.accept(&mut self.endpoint, &mut self.handshake, |told| match told {
            Accepting::Closed(error) => *detail = Some(error),
            Accepting::Trouble(error) => events.push_back(ConnectionEvent::Trouble(error)),
        });
        if !due {
            return moved;
        }
        self.next_check = now.after(self.timing.check);
        let gone = match &mut self.dialling {
            Dialling::Up(up) => up.check().err(),
            _ => None,
        };
        if let Some(error) = gone {
            self.drop_link(now, Some(error));
        }
        moved
    }

    fn drop_link(&mut self, now: Timestamp, why: Option<FabricError>) {
        let (dialling, mut context) = self.dialling_context(now);
        dialling.drop_link(&mut context);
        if why.is_some() {
            self.detail = why;
        }
    }

    fn dialling_context(&mut self, now: Timestamp) -> (&mut Dialling<F>, Context<'_, F>) {
        let context = Context {
            fabric: &self.fabric,
            partner_at: &self.partner_at,
            handshake: &mut self.handshake,
            timing: &self.timing,
            backoff: &mut self.backoff,
            steps: &mut self.steps,
            now,
            read: &mut self.read,
        };
        (&mut self.dialling, context)
    }

    /// The link to the partner; whether anything moved on it.
    fn dial(&mut self, now: Timestamp) -> bool {
        // A node that leaves keeps its link until the end: were it gone first, the partner would take that for a failure.
        if self.handshake.is_leaving() {
            return false;
        }
        let (dialling, mut context) = self.dialling_context(now);
        match dialling.advance(&mut context) {
            Dialled::None => false,
            Dialled::Moved => true,
            Dialled::Linked { ns } => {
                self.told_unreachable = None;
                self.events.push_back(ConnectionEvent::Linked { ns });
                true
            }
            Dialled::Read => {
                self.take_pulse(now);
                true
            }
            Dialled::Failed(error) => {
                let is_news = self.session.is_none() && self.told_unreachable.as_ref() != Some(&error);
                // Two reasons that take turns are told no more often than any other.
                if is_news && self.recently_unreachable.tell(&error, now).is_some() {
                    self.told_unreachable = Some(error.clone());
                    self.events.push_back(ConnectionEvent::Unreachable(error.clone()));
                }
                self.detail = Some(error);
                false
            }
        }
    }

    fn take_pulse(&mut self, now: Timestamp) {
        let pulse = Pulse::decode(&self.read[..]);
        let before = self.pulse.replace(pulse);
        if before.is_none_or(|before| before.heartbeat != pulse.heartbeat) {
            self.pulse_at = now;
        }
        let Some(name) = pulse.stage else { return };
        let same = before.is_some_and(|before| before.stage == pulse.stage && before.progress == pulse.progress);
        if !same {
            self.events.push_back(ConnectionEvent::Stage { name, progress: pulse.progress });
        }
    }

    /// A session that the partner does not name as its own, for too long, is none.
    fn watch(&mut self, now: Timestamp) {
        if self.handshake.established().is_none() || self.handshake.is_held_by_partner() {
            self.absent_since = None;
            return;
        }
        let since = *self.absent_since.get_or_insert(now);
        if now.since(since) > self.timing.absent {
            self.handshake.end(EndReason::Absent);
            self.publish();
        }
    }

    /// Tells of what changed.
    fn settle(&mut self) {
        self.note_end();
        let standing = self.handshake.established().map(|established| established.id);
        if standing.is_some() && self.session.is_none() && self.partner_lives() {
            self.session = standing;
            self.detail = None;
            self.told_obstacle = None;
            if let Some(established) = self.handshake.established() {
                let (session, steps) = (Box::new(established.clone()), self.steps.steps());
                self.events.push_back(ConnectionEvent::Established { session, steps });
            }
        }
        let obstacle = self.handshake.obstacle();
        let passing = obstacle.is_none_or(|obstacle| obstacle.is_passing());
        if !passing && obstacle != self.told_obstacle {
            self.told_obstacle = obstacle;
            self.events.extend(obstacle.map(ConnectionEvent::Obstacle));
        }
        self.publish();
    }

    /// Memory may answer for a process that is gone: before a session counts, the link is asked.
    fn partner_lives(&mut self) -> bool {
        let Dialling::Up(up) = &mut self.dialling else { return false };
        match up.check() {
            Ok(()) => true,
            Err(error) => {
                let now = self.fabric.now();
                self.drop_link(now, Some(error));
                self.handshake.take_ended();
                false
            }
        }
    }

    /// An ended session is told once. A partner that left, or is another process now, is not reached over this link any more. A node that leaves
    /// itself keeps its link: closed at once it might be seen before the page is read again, and a leave be taken for a death.
    fn note_end(&mut self) {
        let Some(reason) = self.handshake.take_ended() else { return };
        if matches!(reason, EndReason::PartnerLeft | EndReason::Restarted { .. }) {
            let now = self.fabric.now();
            self.drop_link(now, None);
            self.handshake.take_ended();
        }
        if let Some(session) = self.session.take() {
            let detail = self.detail.take();
            self.events.push_back(ConnectionEvent::Ended { session, reason, detail });
        }
    }

    /// Publishes what the handshake says, if it says something new.
    fn publish(&mut self) {
        let edition = self.handshake.edition();
        if self.publisher.is_current(edition) {
            return;
        }
        let bytes = self.handshake.encode();
        let outcome = self.publisher.handshake(self.endpoint.status(), edition, &bytes);
        self.report(outcome);
    }

    fn report(&mut self, outcome: Result<(), crate::memory::MemoryError>) {
        if let Err(error) = outcome {
            self.events.push_back(ConnectionEvent::Trouble(error.into()));
        }
    }
}
