//! What the demo does, in order: start, session, first pass, second pass, kill, restart, second pass again, leave.

use crate::cli::args::{Order as StartOrder, Role};
use crate::cli::demo::process::{Heard, Worker};
use crate::cli::demo::protocol::{Order, Report};
use crate::cli::demo::report::{Established, Outcome, Screen};
use crate::cli::demo::source::Source;
use crate::cli::failure::Failure;
use handfast::fabric::shm::Shm;
use handfast::fabric::{Fabric, PageSizes};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// Whatever is awaited has come by then, or never comes.
const PATIENCE: Duration = Duration::from_secs(30);

const SENDER: u32 = 0;
const RECEIVER: u32 = 1;
const RECEIVER_AGAIN: u32 = 2;

/// The demo while it runs.
struct Stage<'a> {
    source: &'a Source,
    screen: &'a mut Screen,
    name: String,
    heard: Receiver<(u32, Heard)>,
    told: Sender<(u32, Heard)>,
    /// What was heard and is of no use yet.
    early: Vec<(u32, Report)>,
    /// A worker that is meant to be dead.
    killed: Option<u32>,
}

pub(crate) fn run(source: &Source, order: StartOrder, screen: &mut Screen) -> Result<Outcome, Failure> {
    let (told, heard) = channel();
    let name = format!("demo-{}", std::process::id());
    let stage = Stage { source, screen, name: name.clone(), heard, told, early: Vec::new(), killed: None };
    let outcome = stage.play(order);
    remove_leftovers(&name);
    outcome
}

/// Whoever listens at an address cleans what a dead process left there, and leaves nothing itself.
fn remove_leftovers(name: &str) {
    for port in [1, 2] {
        if let Ok(address) = format!("shm://{name}:{port}").parse() {
            drop(Shm::new().listen(&address, PageSizes { status: 4096, mailbox: 4096 }));
        }
    }
}

impl Stage<'_> {
    fn play(mut self, order: StartOrder) -> Result<Outcome, Failure> {
        self.screen.begin(self.source, order);
        let (mut sender, mut receiver) = self.start_both(order)?;
        self.screen.started(sender.id(), receiver.id());
        let established = self.session(RECEIVER)?;
        self.screen.established(&established);

        sender.order(Order::Pass(1))?;
        let first = self.pass(1, RECEIVER)?;
        self.screen.passed(&first);

        sender.order(Order::Pass(2))?;
        let held = self.wait(RECEIVER, "the middle of the second pass", |report| match report {
            Report::Holding { bytes } => Some(*bytes),
            _ => None,
        })?;
        self.killed = Some(RECEIVER);
        let killed_at = Instant::now();
        receiver.kill()?;
        self.screen.killed(receiver.id(), held, self.source.bytes);
        let reason = self.wait(SENDER, "the loss of the session", |report| match report {
            Report::Lost { reason } => Some(reason.clone()),
            _ => None,
        })?;
        self.screen.lost(&reason, killed_at.elapsed());

        let again_at = Instant::now();
        let receiver = self.start(Role::Receiver, None, RECEIVER_AGAIN)?;
        let again = self.session(RECEIVER_AGAIN)?;
        self.screen.established_again(receiver.id(), &again, again_at.elapsed());
        let second = self.pass(2, RECEIVER_AGAIN)?;
        self.screen.passed(&second);

        sender.leave()?;
        receiver.leave()?;
        Ok(Outcome { established, again, passes: [first, second], restarts: 1 })
    }

    fn start(&mut self, role: Role, hold: Option<u32>, number: u32) -> Result<Worker, Failure> {
        Worker::start(role, &self.name, self.source, hold, &self.told, number)
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
            Report::Established { session, partner_incarnation, authentication, steps, since_boot_ns } => {
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

    /// One pass: what was sent, what was received.
    fn pass(&mut self, number: u32, receiver: u32) -> Result<Passed, Failure> {
        let passed = |report: &Report| match report {
            Report::Passed { pass, bytes, digest, seconds } if *pass == number => {
                Some((*bytes, digest.clone(), *seconds))
            }
            _ => None,
        };
        let (bytes, sent, seconds) = self.wait(SENDER, "the end of the pass", passed)?;
        let (received_bytes, received, _) = self.wait(receiver, "the receiver's digest", passed)?;
        Ok(Passed { number, bytes, received_bytes, digest_sent: sent, digest_received: received, seconds })
    }

    /// The first report of `worker` that is wanted. Progress is shown meanwhile, and renews the patience.
    fn wait<T>(&mut self, worker: u32, what: &str, wanted: impl Fn(&Report) -> Option<T>) -> Result<T, Failure> {
        let found = self.early.iter().position(|(number, report)| *number == worker && wanted(report).is_some());
        if let Some(found) = found
            && let Some(found) = wanted(&self.early.remove(found).1)
        {
            return Ok(found);
        }
        loop {
            let (number, report) = match self.heard.recv_timeout(PATIENCE) {
                Ok((number, Heard::Report(report))) => (number, report),
                Ok((number, Heard::Ended)) if self.killed == Some(number) => continue,
                Ok((_, Heard::Ended)) => {
                    return Err(Failure::new(format!("a partner process ended while {what} was awaited")));
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Failure::new(format!("{what} was awaited in vain for 30 s")));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(Failure::new("nobody is left to report")),
            };
            match &report {
                Report::Failed { error } => return Err(Failure::new(error)),
                Report::Progress { bytes } => self.screen.progress(*bytes, self.source.bytes),
                Report::Note { text } => self.screen.note(number, text),
                _ if number == worker => match wanted(&report) {
                    Some(found) => return Ok(found),
                    None => self.early.push((number, report)),
                },
                _ => self.early.push((number, report)),
            }
        }
    }
}

/// A complete pass.
pub(crate) struct Passed {
    pub(crate) number: u32,
    pub(crate) bytes: u64,
    pub(crate) received_bytes: u64,
    pub(crate) digest_sent: String,
    pub(crate) digest_received: String,
    pub(crate) seconds: f64,
}

impl Passed {
    pub(crate) fn agrees(&self) -> bool {
        self.digest_sent == self.digest_received && self.bytes == self.received_bytes
    }

    pub(crate) fn gigabytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.seconds.max(1e-9) / 1e9
    }
}
