//! What the demo does, in order: start, session, first pass, second pass, kill, restart, second pass again, leave.

use crate::cli::args::{Order as StartOrder, Role};
use crate::cli::demo::outcome::{Established, Outcome, Passed, Recovery};
use crate::cli::demo::process::{Heard, Pair, Worker};
use crate::cli::demo::protocol::{Cause, Order, Report};
use crate::cli::demo::report::Screen;
use crate::cli::demo::source::Source;
use crate::cli::failure::Failure;
use handfast::fabric::shm::Shm;
use handfast::fabric::{Address, Fabric, PageSizes};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// Whatever is awaited has come by then, or never comes.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much longer a failure is waited for that says more than "it failed at the partner".
const BETTER_WORD: Duration = Duration::from_millis(500);

/// How late a signal may be noticed.
const HEARING: Duration = Duration::from_millis(50);

const SENDER: u32 = 0;
const RECEIVER: u32 = 1;
const RECEIVER_AGAIN: u32 = 2;

/// The demo while it runs.
struct Stage<'a> {
    source: &'a Source,
    screen: &'a mut Screen,
    pair: Pair,
    heard: Receiver<(u32, Heard)>,
    told: Sender<(u32, Heard)>,
    /// What was heard and is of no use yet.
    early: Vec<(u32, Report)>,
    /// The last thing that each partner had to say beside what is awaited, by its name: the cause, where it waits in vain.
    said: BTreeMap<&'static str, String>,
    /// A worker that is meant to be dead.
    killed: Option<u32>,
    interrupted: &'a AtomicBool,
}

pub(crate) fn run(
    source: &Source,
    order: StartOrder,
    addresses: [Address; 2],
    screen: &mut Screen,
) -> Result<Outcome, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    screen.begin(source, order, &addresses);
    let [usual, small] = super::ring_bytes(&addresses[0]);
    let pair = Pair { addresses, ring_bytes: usual };
    match play(source, order, screen, &pair, &interrupted) {
        Err(failure) if failure.is_lock_limit() => {
            screen.warn(&format!("{}; going on with a ring of {small} bytes instead of {usual}", failure.message()));
            play(source, order, screen, &Pair { ring_bytes: small, ..pair }, &interrupted)
        }
        outcome => outcome,
    }
}

/// Everything from the start of the workers to their end; nothing is left of them.
fn play(
    source: &Source,
    order: StartOrder,
    screen: &mut Screen,
    pair: &Pair,
    interrupted: &AtomicBool,
) -> Result<Outcome, Failure> {
    let (told, heard) = channel();
    let (pair_here, early) = (pair.clone(), Vec::new());
    let stage =
        Stage { source, screen, pair: pair_here, heard, told, early, said: BTreeMap::new(), killed: None, interrupted };
    let outcome = stage.play(order);
    remove_leftovers(&pair.addresses);
    outcome
}

/// A partner's name, by its worker's number.
fn name(worker: u32) -> &'static str {
    if worker == SENDER { "a" } else { "b" }
}

/// On shm, whoever listens at an address cleans what a dead process left there, and leaves nothing itself. RDMA leaves nothing behind.
pub(crate) fn remove_leftovers(addresses: &[Address]) {
    for address in addresses.iter().filter(|address| matches!(address, Address::Shm { .. })) {
        drop(Shm::new().listen(address, PageSizes { status: 4096, mailbox: 4096 }));
    }
}

impl Stage<'_> {
    fn play(mut self, order: StartOrder) -> Result<Outcome, Failure> {
        let (mut sender, mut receiver) = self.start_both(order)?;
        self.screen.started(sender.id(), receiver.id());
        let established = self.session(RECEIVER)?;
        self.screen.established(&established);
        self.whole()?;

        sender.order(Order::Pass { number: 1, last: false })?;
        let first = self.pass(1, RECEIVER)?;

        sender.order(Order::Pass { number: 2, last: true })?;
        self.screen.pass(self.source.bytes);
        let held = self.wait(RECEIVER, "the middle of the second pass", |report| match report {
            Report::Holding { bytes } => Some(*bytes),
            _ => None,
        })?;
        let (receiver, again, recovery) = self.kill_and_restart(&mut receiver, held)?;
        let second = self.pass(2, RECEIVER_AGAIN)?;

        sender.leave()?;
        receiver.leave()?;
        let (ring_bytes, fabric) = (self.pair.ring_bytes, self.pair.addresses[0].scheme());
        Ok(Outcome { established, again, recovery, passes: [first, second], restarts: 1, ring_bytes, fabric })
    }

    /// Kills the receiver in the middle of a pass, and brings another one into the session.
    fn kill_and_restart(
        &mut self,
        receiver: &mut Worker,
        held: u64,
    ) -> Result<(Worker, Established, Recovery), Failure> {
        self.killed = Some(RECEIVER);
        let killed_at = Instant::now();
        receiver.kill()?;
        self.screen.killed(receiver.id(), held, self.source.bytes);
        let reason = self.wait(SENDER, "the loss of the session", |report| match report {
            Report::Lost { reason } => Some(reason.clone()),
            _ => None,
        })?;
        let lost_after = killed_at.elapsed();
        let unacknowledged = self.wait(SENDER, "the log's stop", |report| match report {
            Report::Stopped { unacknowledged } => Some(*unacknowledged),
            _ => None,
        })?;
        let restarted_after = killed_at.elapsed();
        let receiver = self.start(Role::Receiver, None, RECEIVER_AGAIN)?;
        let again = self.session(RECEIVER_AGAIN)?;
        let ready_after = killed_at.elapsed();
        let refilled = self.whole()?;
        let whole_after = killed_at.elapsed();
        let recovery =
            Recovery { lost_after, reason, unacknowledged, restarted_after, ready_after, refilled, whole_after };
        self.screen.recovered(receiver.id(), &again, &recovery);
        Ok((receiver, again, recovery))
    }

    fn start(&mut self, role: Role, hold: Option<u32>, number: u32) -> Result<Worker, Failure> {
        Worker::start(role, &self.pair, self.source, hold, &self.told, number)
    }

    fn start_both(&mut self, order: StartOrder) -> Result<(Worker, Worker), Failure> {
        let listening = |report: &Report| matches!(report, Report::Listening { .. }).then_some(());
        Ok(match order {
            StartOrder::Both => {
                (self.start(Role::Sender, None, SENDER)?, self.start(Role::Receiver, Some(2), RECEIVER)?)
            }
            StartOrder::AFirst => {
                let sender = self.start(Role::Sender, None, SENDER)?;
                self.wait(SENDER, "the first partner", listening)?;
                (sender, self.start(Role::Receiver, Some(2), RECEIVER)?)
            }
            StartOrder::BFirst => {
                let receiver = self.start(Role::Receiver, Some(2), RECEIVER)?;
                self.wait(RECEIVER, "the first partner", listening)?;
                (self.start(Role::Sender, None, SENDER)?, receiver)
            }
        })
    }

    /// Both sides' word of the session, and what their clients were granted.
    fn session(&mut self, receiver: u32) -> Result<Established, Failure> {
        let established = |report: &Report| match report {
            Report::Established { session, partner_incarnation, authentication, steps, since_boot_ns, .. } => {
                Some(Established {
                    session: session.clone(),
                    partner_incarnation: partner_incarnation.clone(),
                    authentication: authentication.clone(),
                    steps: steps.clone(),
                    since_boot_ns: *since_boot_ns,
                    grants: Vec::new(),
                    partner_steps: Vec::new(),
                })
            }
            _ => None,
        };
        let ready = |report: &Report| match report {
            Report::Ready { grants } => Some(grants.clone()),
            _ => None,
        };
        let mut here = self.wait(SENDER, "the session", established)?;
        let there = self.wait(receiver, "the session", established)?;
        if here.session != there.session {
            return Err(Failure::new(format!("two session ids: {} and {}", here.session, there.session)));
        }
        here.grants = self.wait(SENDER, "the grants", ready)?;
        self.wait(receiver, "the grants", ready)?;
        here.partner_steps = there.steps;
        Ok(here)
    }

    /// The receiver's copy of the log is whole; bytes that it lacked.
    fn whole(&mut self) -> Result<u64, Failure> {
        self.wait(SENDER, "the whole copy", |report| match report {
            Report::Whole { refilled } => Some(*refilled),
            _ => None,
        })
    }

    /// One pass: what was sent, what was received.
    fn pass(&mut self, number: u32, receiver: u32) -> Result<Passed, Failure> {
        let passed = |report: &Report| match report {
            Report::Passed { here, there, seconds } if here.pass == number => {
                Some((here.clone(), there.clone(), *seconds))
            }
            _ => None,
        };
        self.screen.pass(self.source.bytes);
        let (sent, received, seconds) = self.wait(SENDER, "the end of the pass", passed)?;
        let (received_there, sent_there, _) = self.wait(receiver, "the receiver's digest", passed)?;
        if !(sent.agrees(&sent_there) && received.agrees(&received_there)) {
            return Err(Failure::new(format!(
                "pass {number}: the partners told each other other digests than they told here"
            )));
        }
        let pass = Passed { number, sent, received, seconds };
        self.screen.passed(&pass);
        Ok(pass)
    }

    /// The first report of `worker` that is wanted. Bytes that move renew the patience, and nothing else does.
    fn wait<T>(&mut self, worker: u32, what: &str, wanted: impl Fn(&Report) -> Option<T>) -> Result<T, Failure> {
        let found = self.early.iter().position(|(number, report)| *number == worker && wanted(report).is_some());
        if let Some(found) = found
            && let Some(found) = wanted(&self.early.remove(found).1)
        {
            return Ok(found);
        }
        let mut until = Instant::now() + PATIENCE;
        let mut failed = None;
        loop {
            let (number, report) = match self.hear(until) {
                Ok((number, Heard::Report(report))) => (number, report),
                Ok((number, Heard::Ended)) if self.killed == Some(number) => continue,
                Ok((number, Heard::Ended)) => {
                    let ended = format!("partner {} ended while {what} was awaited{}", name(number), self.said());
                    return Err(failed.unwrap_or_else(|| Failure::new(ended)));
                }
                Err(Some(failure)) => return Err(failure),
                Err(None) => {
                    let awaited = format!("{what} was awaited in vain for {} s{}", PATIENCE.as_secs(), self.said());
                    return Err(failed.unwrap_or_else(|| Failure::new(awaited)));
                }
            };
            match report {
                Report::Failed { error, cause: Cause::Partner } => {
                    failed = Some(Failure::new(error));
                    until = until.min(Instant::now() + BETTER_WORD);
                }
                Report::Failed { error, cause } => return Err(Failure::of_worker(error, cause == Cause::LockLimit)),
                Report::Progress { bytes, .. } => {
                    if number == SENDER {
                        self.screen.progress(bytes);
                    }
                    until = Instant::now() + PATIENCE;
                }
                Report::Note { text } => {
                    self.said.insert(name(number), text);
                }
                report => match wanted(&report) {
                    Some(found) if number == worker => return Ok(found),
                    _ => self.early.push((number, report)),
                },
            }
        }
    }

    /// What the partners said last, as the end of a message.
    fn said(&self) -> String {
        self.said.iter().map(|(name, text)| format!("; {name} said last: {text}")).collect()
    }

    /// The next word of a worker; an error is a failure of its own, or none where the time is up.
    fn hear(&self, until: Instant) -> Result<(u32, Heard), Option<Failure>> {
        loop {
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(Some(Failure::new("interrupted: both partners were ended")));
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.heard.recv_timeout(left.min(HEARING)) {
                Ok(heard) => return Ok(heard),
                Err(RecvTimeoutError::Timeout) if left > HEARING => {}
                Err(_) => return Err(None),
            }
        }
    }
}
