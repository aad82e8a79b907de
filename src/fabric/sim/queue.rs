//! The queues of a port: what was posted, what is on its way, what has completed.

use super::flight::{Flight, Verb};
use super::links::Role;
use super::wire::{Outcome, Waiting};
use super::world::{Event, World};
use crate::fabric::{
    Completion, Operation, PortLimits, PortOptions, PortState, PostError, WorkCompletionStatus, WorkRequest,
};
use crate::memory::{Buffer, Loan};
use std::collections::VecDeque;

/// A posted operation.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) request: WorkRequest,
    pub(super) buffer: Option<Buffer>,
    /// What was lent for it: read when it is carried out, and not before, as a device would.
    pub(super) loan: Option<Loan>,
    /// Whether buffer or loan belongs to the port's domain.
    pub(super) local_fits: bool,
    pub(super) serial: u64,
    pub(super) flight: Flight,
    /// Not tried at the target before this moment, nor before those ahead of it were carried out.
    pub(super) not_before: u64,
    /// Since when nobody answers, or no receive is posted.
    pub(super) waiting: Option<Waiting>,
    /// What came of it at the target.
    pub(super) outcome: Option<Outcome>,
    /// Its answer came back; it completes as soon as those before it have.
    pub(super) answered: bool,
}

impl Posted {
    /// Reads what was lent, into what travels.
    pub(super) fn fetch(&mut self) {
        if let Some(loan) = &self.loan {
            self.flight.data.resize(loan.len(), 0);
            // As long as the loan, by the line before.
            let _ = loan.copy_to(&mut self.flight.data);
        }
    }
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
    pub(super) blocked: bool,
    pub(super) receiver_wait_ns: u64,
    pub(super) sends: VecDeque<Posted>,
    receives: VecDeque<Receive>,
    /// Good completions of unsignalled operations: shown with the next signalled or failed one.
    held: VecDeque<Completion>,
    ready: VecDeque<Completion>,
    sends_outstanding: u32,
    receives_outstanding: u32,
    last_serial: u64,
}

/// What a handle asks to be posted.
pub(super) struct Post {
    pub(super) request: WorkRequest,
    pub(super) verb: Verb,
    pub(super) buffer: Option<Buffer>,
    pub(super) loan: Option<Loan>,
    /// What a WRITE or SEND carries that is not lent.
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
        }
    }

    /// Queues the completion of a send-queue request.
    pub(super) fn complete(&mut self, completion: Completion, signalled: bool) {
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
            // It may land all the same, with the bytes that stand there now: the loan ends here.
            posted.fetch();
            posted.loan = None;
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
        let not_before = self.now.saturating_add(travel);
        let lent = post.loan.as_ref().is_none_or(|loan| loan.domain() == domain);
        let local_fits = lent && post.buffer.as_ref().is_none_or(|buffer| buffer.domain() == domain);
        self.stats.operations_posted += 1;
        let (work, verb, length) = (post.request.id, post.verb, post.length);
        self.note(format_args!("port {id} posts {verb:?} of {length} bytes, id {work}"));
        let Some(port) = self.ports.get_mut(&id) else { return };
        port.last_serial += 1;
        port.sends_outstanding += 1;
        // The operation that fills the queue counts as signalled: else a queue full of unsignalled ones would stay full.
        let signalled = post.request.signalled || port.sends_outstanding >= port.limits.send_work_requests_max;
        port.sends.push_back(Posted {
            request: WorkRequest { signalled, ..post.request },
            buffer: post.buffer,
            loan: post.loan,
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
