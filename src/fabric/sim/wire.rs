//! Operations on their way: to their target in order, tried again while nobody answers, and back.

use super::flight::{Delivery, Flight};
use super::queue::Posted;
use super::world::{Event, World};
use crate::fabric::{Completion, WorkCompletionStatus};
use std::collections::VecDeque;

/// Why an operation waits at its target, and until when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    until: u64,
    /// For a receive, not for an answer.
    pub(super) receiver: bool,
}

/// What came of an operation at its target.
#[derive(Debug)]
pub(super) struct Outcome {
    status: WorkCompletionStatus,
    reply: Vec<u8>,
    pub(super) landed: bool,
    /// The node that answers, and until when it is asked again.
    answers: Option<(usize, u64)>,
}

/// Operations on their way whose port is gone.
#[derive(Debug)]
pub(super) struct Orphans(VecDeque<(u64, Flight)>);

impl World {
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
            posted.fetch();
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
        if lost {
            self.stats.acknowledgements_lost += 1;
            self.note(format_args!("port {id}: the acknowledgement is lost"));
        }
        self.after(delay, Event::Finish(id, serial));
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
            let Some(Posted { request, mut buffer, loan, flight, outcome, .. }) = port.sends.pop_front() else {
                return;
            };
            drop(loan);
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

    /// Lets the first few of the operations on their way from a port that failed land all the same.
    pub(super) fn orphan(&mut self, flushed: VecDeque<Posted>) {
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
}
