//! A port when it is polled: what waited goes on, what is done is handed out, what ended is flushed.
//!
//! Imports what its parent does. Hot path but for the functions marked cold.

use super::ShmPort;
use crate::fabric::shm::receives::Taken;
use crate::fabric::shm::table::phase;
use crate::fabric::shm::words::Word;
use crate::fabric::{Completion, WorkCompletionStatus};
use std::sync::atomic::{Ordering, compiler_fence};

impl ShmPort {
    /// The oldest operation not carried out ended badly: the port is in error.
    #[cold]
    pub(super) fn fail(&mut self, status: WorkCompletionStatus) {
        self.queue.fail(status);
        self.go_down();
    }

    /// Ends the port: what was not carried out is flushed.
    #[cold]
    pub(super) fn go_down(&mut self) {
        if self.own.is_ready() {
            self.own.become_phase(phase::CLOSED);
        }
        self.down = true;
        self.queue.flush();
        self.waiting.clear();
    }

    /// The partner's port or process ended (or it was fenced): what was not handed out yet may or may not have been taken.
    #[cold]
    fn partner_ended(&mut self) {
        self.disowned = true;
        let words = &self.peer.words;
        let fenced = words.state.load_relaxed() == words.number() << 8 | phase::FENCED;
        self.queue.disown(if fenced { WorkCompletionStatus::Fenced } else { WorkCompletionStatus::RetryExceeded });
        self.go_down();
    }

    /// Carries out what waited, as far as the other side posted receives.
    #[cold]
    pub(super) fn progress(&mut self) {
        if !self.peer.is_ready() {
            return self.partner_ended();
        }
        while let Some(waiting) = self.waiting.pop() {
            let mut kept = self.queue.take_kept();
            let fits = kept.domain().is_none_or(|domain| domain == self.domain);
            let place = self.queue.place_of_executed();
            let outcome = if fits {
                self.wire.carry_out(&waiting, &mut kept, self.waiting.inline(place))
            } else {
                Some(WorkCompletionStatus::LocalProtection)
            };
            self.queue.return_kept(kept);
            match outcome {
                Some(WorkCompletionStatus::Success) => {
                    self.waiting.moved();
                    self.queue.done();
                }
                Some(status) => return self.fail(status),
                None => {
                    self.waiting.push_front(waiting);
                    if self.waiting.is_overdue() {
                        self.fail(WorkCompletionStatus::ReceiverNotReady);
                    }
                    return;
                }
            }
        }
    }

    #[inline]
    pub(super) fn poll_sends(&mut self, completions: &mut [Completion]) -> usize {
        if !self.queue.has_ready() {
            return 0;
        }
        // What was posted is stored by now as far as the compiler goes. A READ behind a WRITE was a full barrier as well; a WRITE alone may be
        // on its way out of this processor still when it is called done, some tens of nanoseconds at most.
        compiler_fence(Ordering::SeqCst);
        if !self.disowned && !self.peer.is_ready() {
            self.partner_ended();
        }
        self.queue.pop(completions)
    }

    #[inline]
    pub(super) fn poll_receives(&mut self, completions: &mut [Completion]) -> usize {
        let mut count = 0;
        for completion in completions {
            if self.receives.is_idle() {
                break;
            }
            if self.down {
                self.receives.flush_one(completion);
            } else {
                match self.receives.take(completion) {
                    Taken::Nothing if self.peer.is_ready() => break,
                    // What it sent before it ended has arrived by now, if at all: look once more, then give up.
                    Taken::Nothing => match self.receives.take(completion) {
                        Taken::Good => {}
                        Taken::Bad => self.go_down(),
                        Taken::Nothing => {
                            self.partner_ended();
                            self.receives.flush_one(completion);
                        }
                    },
                    Taken::Good => {}
                    Taken::Bad => self.go_down(),
                }
            }
            count += 1;
        }
        count
    }
}
