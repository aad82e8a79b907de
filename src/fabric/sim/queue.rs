//! The queues of a port: what was posted, what is on its way, what has completed.

use super::flight::{Delivery, Flight, Verb};
use super::links::Role;
use super::world::{Event, World};
use crate::fabric::{
    Completion, Operation, PortLimits, PortOptions, PortState, PostError, WorkCompletionStatus, WorkRequest,
};
use crate::memory::Buffer;
use std::collections::VecDeque;

/// A posted operation.
#[derive(Debug)]
pub(super) struct Posted {
    request: WorkRequest,
    buffer: Option<Buffer>,
    /// Whether the buffer belongs to the port's domain.
    local_fits: bool,
    serial: u64,
    flight: Flight,
    /// Not tried at the target before this moment.
    not_before: u64,
    /// Since when nobody answers, or no receive is posted.
    waiting: Option<Waiting>,
    /// What came of it at the target.
    outcome: Option<Outcome>,
    /// Its answer came back; it completes as soon as those before it have.
    answered: bool,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    until: u64,
    receiver: bool,
}

#[derive(Debug)]
struct Outcome {
    status: WorkCompletionStatus,
    reply: Vec<u8>,
    landed: bool,
    /// The node that answers, and until when it is asked again.
    answers: Option<(usize, u64)>,
}

/// A posted receive.
#[derive(Debug)]
pub(super) struct Receive {
    pub(super) id: u64,
    pub(super) buffer: Buffer,
    /// Whether the buffer belongs to the port's domain.
    pub(super) local_fits: bool,
}

/// One port.
#[derive(Debug)]
pub(super) struct PortRecord {
    pub(super) node: usize,
    pub(super) domain: u64,
    pub(super) limits: PortLimits,
    pub(super) state: PortState,
    pub(super) peer: Option<u64>,
    pub(super) role: Role,
    /// What its owner was told of the end of its link.
    pub(super) gone: Option<String>,
    /// Whether the other side was told of its end, as far as it will be.
    pub(super) told: bool,
    /// An operation failed without being carried out: its target takes none behind it.
    blocked: bool,
    receiver_wait_ns: u64,
    sends: VecDeque<Posted>,
    receives: VecDeque<Receive>,
    /// Good completions of unsignalled operations: shown with the next signalled or failed one.
    held: VecDeque<Completion>,
    ready: VecDeque<Completion>,
    sends_outstanding: u32,
    receives_outstanding: u32,
    last_serial: u64,
    last_arrival: u64,
    last_answer: u64,
}

/// Operations on their way whose port is gone.
#[derive(Debug)]
pub(super) struct Orphans(VecDeque<(u64, Flight)>);

/// What a handle asks to be posted.
pub(super) struct Post {
    pub(super) request: WorkRequest,
    pub(super) verb: Verb,
    pub(super) buffer: Option<Buffer>,
    /// What a WRITE or SEND carries.
    pub(super) data: Vec<u8>,
    /// Bytes to be moved.
    pub(super) length: usize,
    /// Key and address at the target.
    pub(super) place: (u64, u64),
}

impl PortRecord {
    pub(super) fn new(node: usize, domain: u64, options: &PortOptions, role: Role) -> Self {
        Self {
            node,
            domain,
            limits: limits(options),
            state: PortState::Ready,
            peer: None,
            role,
            gone: None,
            told: false,
            blocked: false,
            receiver_wait_ns: u64::from(options.receiver_not_ready_ms_max) * 1_000_000,
            sends: VecDeque::new(),
            receives: VecDeque::new(),
            held: VecDeque::new(),
            ready: VecDeque::new(),
            sends_outstanding: 0,
            receives_outstanding: 0,
            last_serial: 0,
            last_arrival: 0,
            last_answer: 0,
        }
    }

    /// Queues the completion of a send-queue request.
    fn complete(&mut self, completion: Completion, signalled: bool) {
        if signalled || !completion.is_success() {
            self.ready.append(&mut self.held);
            self.ready.push_back(completion);
        } else {
            self.held.push_back(completion);
        }
    }

    /// Ends everything outstanding as flushed. Returns what was not answered yet.
    fn flush(&mut self) -> VecDeque<Posted> {
        self.ready.append(&mut self.held);
        let mut sends = std::mem::take(&mut self.sends);
        for posted in &mut sends {
            let operation = posted.flight.verb.operation();
            let (id, buffer) = (posted.request.id, posted.buffer.take());
            self.ready.push_back(Completion::new(id, operation, WorkCompletionStatus::Flushed, 0, buffer));
        }
        for receive in std::mem::take(&mut self.receives) {
            let (id, buffer) = (receive.id, Some(receive.buffer));
            self.ready.push_back(Completion::new(id, Operation::Receive, WorkCompletionStatus::Flushed, 0, buffer));
        }
        sends
    }
}

/// What a port of these options is granted.
pub(super) fn limits(options: &PortOptions) -> PortLimits {
    PortLimits::new(
        options.send_work_requests_max,
        options.receive_work_requests_max,
        INLINE_BYTES_MAX,
        options.message_bytes_max,
    )
}

/// Longest inline WRITE, bytes.
const INLINE_BYTES_MAX: u32 = 256;

impl World {
    /// Whether a port takes another operation.
    pub(super) fn may_post(&self, id: u64) -> Result<(), PostError> {
        let port = self.ports.get(&id).filter(|port| port.state == PortState::Ready).ok_or(PostError::PortInError)?;
        let full = port.sends_outstanding >= port.limits.send_work_requests_max;
        if full { Err(PostError::QueueFull) } else { Ok(()) }
    }

    /// Whether a port takes another receive.
    pub(super) fn may_post_receive(&self, id: u64) -> Result<(), PostError> {
        let port = self.ports.get(&id).filter(|port| port.state == PortState::Ready).ok_or(PostError::PortInError)?;
        let full = port.receives_outstanding >= port.limits.receive_work_requests_max;
        if full { Err(PostError::QueueFull) } else { Ok(()) }
    }

    /// Takes an operation that [`World::may_post`] allows.
    pub(super) fn post(&mut self, id: u64, post: Post) {
        let Some(port) = self.ports.get(&id) else { return };
        let (node, domain, target) = (port.node, port.domain, port.peer.unwrap_or(0));
        let mut flight = Flight::new((id, node), target, post.verb, post.place, post.data);
        flight.length = post.length;
        flight.fate = self.fate(node, post.verb);
        let mut travel = self.latency();
        if let Some(delay) = flight.fate.delay {
            self.stats.operations_delayed += 1;
            travel = travel.saturating_add(delay);
        }
        let arrival = self.now.saturating_add(travel);
        let local_fits = post.buffer.as_ref().is_none_or(|buffer| buffer.domain() == domain);
        self.stats.operations_posted += 1;
        let (work, verb, length) = (post.request.id, post.verb, post.length);
        self.note(format_args!("port {id} posts {verb:?} of {length} bytes, id {work}"));
        let Some(port) = self.ports.get_mut(&id) else { return };
        port.last_serial += 1;
        port.sends_outstanding += 1;
        port.last_arrival = port.last_arrival.max(arrival);
        let not_before = port.last_arrival;
        port.sends.push_back(Posted {
            request: post.request,
            buffer: post.buffer,
            local_fits,
            serial: port.last_serial,
            flight,
            not_before,
            waiting: None,
            outcome: None,
            answered: false,
        });
        self.at(not_before, Event::Run(id));
    }

    /// Takes a receive that [`World::may_post_receive`] allows. A sender that waits for it tries again.
    pub(super) fn post_receive(&mut self, id: u64, work: u64, buffer: Buffer) {
        let Some(port) = self.ports.get_mut(&id) else { return };
        port.receives_outstanding += 1;
        let local_fits = buffer.domain() == port.domain;
        port.receives.push_back(Receive { id: work, buffer, local_fits });
        let peer = port.peer;
        self.note(format_args!("port {id} posts a receive, id {work}"));
        let wake = self.now.saturating_add(self.latency());
        let waiting = peer.and_then(|peer| Some((peer, self.ports.get_mut(&peer)?)));
        if let Some((peer, sender)) = waiting {
            let oldest = sender.sends.iter_mut().find(|posted| posted.outcome.is_none());
            if let Some(oldest) = oldest.filter(|posted| posted.waiting.is_some_and(|waiting| waiting.receiver)) {
                oldest.not_before = wake;
                self.at(wake, Event::Run(peer));
            }
        }
    }

    /// Moves completions out.
    pub(super) fn poll(&mut self, id: u64, completions: &mut [Completion]) -> usize {
        let Some(port) = self.ports.get_mut(&id) else { return 0 };
        let mut count = 0;
        for place in completions {
            let Some(completion) = port.ready.pop_front() else { break };
            match completion.operation {
                Operation::Receive | Operation::ReceiveWithImmediate => port.receives_outstanding -= 1,
                _ => port.sends_outstanding -= 1,
            }
            *place = completion;
            count += 1;
        }
        count
    }

    /// Carries out what is due on a port, in order, until something has to wait.
    pub(super) fn run_port(&mut self, id: u64) {
        while let Some(port) = self.ports.get_mut(&id) {
            if port.blocked {
                return;
            }
            let oldest = port.sends.iter_mut().find(|posted| posted.outcome.is_none());
            let Some(posted) = oldest.filter(|posted| posted.not_before <= self.now) else { return };
            let serial = posted.serial;
            if !posted.local_fits {
                self.settle(id, serial, WorkCompletionStatus::LocalProtection, Vec::new(), 0);
                continue;
            }
            // Taken out for the call, so that it can change the rest of the world, this very port included.
            let mut flight = posted.flight.clone();
            if flight.fate.lost {
                if posted.waiting.is_none() {
                    self.stats.operations_lost += 1;
                    self.note(format_args!("port {id}: the operation is lost"));
                }
                self.wait(id, serial, false);
                continue;
            }
            let delivery = self.deliver(&mut flight);
            match delivery {
                Delivery::Unreachable => self.wait(id, serial, false),
                Delivery::ReceiverNotReady => self.wait(id, serial, true),
                Delivery::Paused(gap) => {
                    let resume = self.now.saturating_add(gap.max(1));
                    self.postpone(id, serial, resume, |posted| posted.flight = flight);
                }
                Delivery::Done(status, reply) => self.settle(id, serial, status, reply, flight.target),
            }
        }
    }

    fn posted(&mut self, id: u64, serial: u64) -> Option<&mut Posted> {
        let sends = &mut self.ports.get_mut(&id)?.sends;
        let first = sends.front()?.serial;
        sends.get_mut(usize::try_from(serial.checked_sub(first)?).ok()?)
    }

    /// Puts the next try of an operation off.
    fn postpone(&mut self, id: u64, serial: u64, time: u64, change: impl FnOnce(&mut Posted)) {
        let Some(posted) = self.posted(id, serial) else { return };
        posted.not_before = time;
        change(posted);
        self.at(time, Event::Run(id));
    }

    /// An operation got no answer (or no receive): it is tried again until its time is up.
    fn wait(&mut self, id: u64, serial: u64, receiver: bool) {
        let (now, faults) = (self.now, self.faults);
        let Some(port) = self.ports.get(&id) else { return };
        let patience = if receiver { port.receiver_wait_ns } else { faults.retry_timeout_ns };
        let Some(posted) = self.posted(id, serial) else { return };
        let waiting = match posted.waiting {
            Some(waiting) if waiting.receiver == receiver => waiting,
            _ => Waiting { until: now.saturating_add(patience), receiver },
        };
        if now >= waiting.until {
            let status =
                if receiver { WorkCompletionStatus::ReceiverNotReady } else { WorkCompletionStatus::RetryExceeded };
            self.settle(id, serial, status, Vec::new(), 0);
            return;
        }
        let next = if receiver { waiting.until } else { now.saturating_add(faults.retry_interval_ns()) };
        self.postpone(id, serial, next.min(waiting.until), |posted| posted.waiting = Some(waiting));
    }

    /// An operation has its outcome; its answer sets out. `target` is the port that answers, 0 for none.
    fn settle(&mut self, id: u64, serial: u64, status: WorkCompletionStatus, reply: Vec<u8>, target: u64) {
        let (now, faults) = (self.now, self.faults);
        let answers = self.ports.get(&target).map(|port| (port.node, now.saturating_add(faults.retry_timeout_ns)));
        let landed = status == WorkCompletionStatus::Success;
        let travel = if answers.is_some() { self.latency() } else { 0 };
        let Some(posted) = self.posted(id, serial) else { return };
        let lost = landed && posted.flight.fate.acknowledgement_lost;
        posted.outcome = Some(match lost {
            true => Outcome { status: WorkCompletionStatus::RetryExceeded, reply: Vec::new(), landed, answers: None },
            false => Outcome { status, reply, landed, answers },
        });
        let delay = if lost { faults.retry_timeout_ns } else { travel };
        let Some(port) = self.ports.get_mut(&id) else { return };
        port.blocked |= !landed;
        port.last_answer = port.last_answer.max(now.saturating_add(delay));
        let time = port.last_answer;
        if lost {
            self.stats.acknowledgements_lost += 1;
            self.note(format_args!("port {id}: the acknowledgement is lost"));
        }
        self.at(time, Event::Finish(id, serial));
    }

    /// The answer to an operation comes back, unless the wire is cut; then it is asked for again.
    pub(super) fn finish(&mut self, id: u64, serial: u64) {
        let Some(node) = self.ports.get(&id).map(|port| port.node) else { return };
        let answers = self.posted(id, serial).and_then(|posted| posted.outcome.as_ref()?.answers);
        let passes = answers.is_none_or(|(from, _)| self.passes(from, node));
        let (now, interval) = (self.now, self.faults.retry_interval_ns());
        let Some(posted) = self.posted(id, serial) else { return };
        if let (false, Some((_, until)), Some(outcome)) = (passes, answers, &mut posted.outcome) {
            if now < until {
                self.at(until.min(now.saturating_add(interval)), Event::Finish(id, serial));
                return;
            }
            outcome.status = WorkCompletionStatus::RetryExceeded;
            outcome.reply = Vec::new();
        }
        posted.answered = true;
        self.complete_answered(id);
    }

    /// Completes the answered operations at the head of a port's queue.
    fn complete_answered(&mut self, id: u64) {
        while let Some(port) = self.ports.get_mut(&id) {
            if !port.sends.front().is_some_and(|posted| posted.answered) {
                return;
            }
            let Some(Posted { request, mut buffer, flight, outcome, .. }) = port.sends.pop_front() else { return };
            let Some(outcome) = outcome else { return };
            let success = outcome.status == WorkCompletionStatus::Success;
            if let Some(space) = buffer.as_mut().and_then(|into| into.as_mut_slice().get_mut(..outcome.reply.len())) {
                space.copy_from_slice(&outcome.reply);
            }
            let bytes = if success { u32::try_from(flight.length).unwrap_or(u32::MAX) } else { 0 };
            let completion = Completion::new(request.id, flight.verb.operation(), outcome.status, bytes, buffer);
            port.complete(completion, request.signalled);
            self.stats.completions += 1;
            self.stats.landed_but_failed += u64::from(outcome.landed && !success);
            self.stats.retries_exceeded += u64::from(outcome.status == WorkCompletionStatus::RetryExceeded);
            self.stats.receivers_not_ready += u64::from(outcome.status == WorkCompletionStatus::ReceiverNotReady);
            let (work, status) = (request.id, outcome.status);
            self.note(format_args!("port {id} completes id {work}: {status:?}"));
            if !success {
                self.fail_port(id, "an operation failed");
            }
        }
    }

    /// Whether a port has a receive to fill.
    pub(super) fn has_receive(&self, id: u64) -> bool {
        self.ports.get(&id).is_some_and(|port| !port.receives.is_empty())
    }

    /// Fills the oldest receive of a port with a message of `length` bytes; returns how that receive ended.
    pub(super) fn fill_receive(
        &mut self,
        id: u64,
        length: usize,
        fill: impl FnOnce(Receive) -> Completion,
    ) -> WorkCompletionStatus {
        let unfilled = WorkCompletionStatus::ReceiverNotReady;
        let Some(port) = self.ports.get_mut(&id) else { return unfilled };
        let Some(receive) = port.receives.pop_front() else { return unfilled };
        let mut completion = fill(receive);
        let (work, status) = (completion.id, completion.status);
        completion.bytes = u32::try_from(length).unwrap_or(u32::MAX);
        port.ready.push_back(completion);
        self.stats.completions += 1;
        self.note(format_args!("port {id} completes receive {work}: {status:?}"));
        if status != WorkCompletionStatus::Success {
            self.fail_port(id, "a message did not fit its receive");
        }
        status
    }

    /// Puts a port in error: what is outstanding is flushed, and what is on its way may land all the same.
    pub(super) fn fail_port(&mut self, id: u64, why: &str) {
        let Some(port) = self.ports.get_mut(&id).filter(|port| port.state == PortState::Ready) else { return };
        port.state = PortState::Error;
        let made = port.ready.len() + port.held.len();
        let (flushed, blocked) = (port.flush(), port.blocked);
        self.stats.completions += (port.ready.len() - made) as u64;
        self.note(format_args!("port {id} is in error: {why}"));
        let landed = |posted: &&Posted| posted.outcome.as_ref().is_some_and(|outcome| outcome.landed);
        self.stats.landed_but_failed += flushed.iter().filter(landed).count() as u64;
        if !blocked {
            self.orphan(flushed);
        }
        self.report_failed(id, why);
    }

    /// Lets the first few of the operations on their way from a port that failed land all the same.
    fn orphan(&mut self, flushed: VecDeque<Posted>) {
        let chance = self.faults.land_after_teardown_ppm;
        let mut orphans = VecDeque::new();
        for posted in flushed.into_iter().filter(|posted| posted.outcome.is_none()) {
            let stuck = posted.flight.fate.lost || posted.waiting.is_some() || !posted.local_fits;
            if stuck || !self.rng.chance(chance) {
                break;
            }
            orphans.push_back((posted.not_before, posted.flight));
        }
        if let Some((time, _)) = orphans.front() {
            let (time, id) = (*time, self.fresh_id());
            self.orphans.insert(id, Orphans(orphans));
            self.at(time, Event::Orphan(id));
        }
    }

    /// Carries out operations whose port is gone. The first that finds no answer is the last.
    pub(super) fn run_orphans(&mut self, id: u64) {
        let Some(mut orphans) = self.orphans.remove(&id) else { return };
        while let Some((time, mut flight)) = orphans.0.pop_front() {
            if time > self.now {
                orphans.0.push_front((time, flight));
                self.orphans.insert(id, orphans);
                return self.at(time, Event::Orphan(id));
            }
            match self.deliver(&mut flight) {
                Delivery::Done(WorkCompletionStatus::Success, _) => {
                    self.stats.landed_after_teardown += 1;
                    self.stats.landed_but_failed += 1;
                }
                Delivery::Paused(gap) => orphans.0.push_front((self.now.saturating_add(gap.max(1)), flight)),
                _ => return,
            }
        }
    }

    /// Ends a port: flushed, and deaf to the other side. Its completions can still be polled.
    pub(super) fn close_port(&mut self, id: u64) {
        self.tell_peer(id, "the other side closed the link");
        self.fail_port(id, "it was closed");
    }

    /// Forgets a port. Returns what it held.
    pub(super) fn remove_port(&mut self, id: u64) -> Option<PortRecord> {
        self.close_port(id);
        self.ports.remove(&id)
    }
}
