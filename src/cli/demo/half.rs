//! One half of the demo: one partner as a command of its own. It waits for the other, streams, goes on when the other was lost and came
//! back, and ends when both have counted the same bytes.

use crate::cli::args::{DemoArguments, Role};
use crate::cli::demo::outcome::Passed;
use crate::cli::demo::protocol::{Cause, Order, Report, Voice};
use crate::cli::demo::source::{self, Source};
use crate::cli::demo::telling::Telling;
use crate::cli::demo::worker::{self, Part};
use crate::cli::demo::{place, ring_bytes};
use crate::cli::failure::Failure;
use crate::cli::threads;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How late a signal may be noticed.
const HEARING: Duration = Duration::from_millis(20);

/// Between two words of progress.
const PACE: Duration = Duration::from_millis(500);

/// A client that cannot be served fails the half, unless the partner is found to have ended by then: that was the cause.
const SECOND_THOUGHT: Duration = Duration::from_secs(3);

/// What a half has, and has come to.
struct Half {
    role: Role,
    passes: u32,
    orders: Sender<Order>,
    reports: Receiver<Report>,
    telling: Telling,
    losses: Losses,
}

/// Sessions that were lost, and logs that stopped for it.
#[derive(Default)]
struct Losses {
    noted: u32,
    stopped: u32,
    /// Said before its loss was.
    ahead: Option<Report>,
}

pub(crate) fn run(arguments: &DemoArguments, role: Role) -> Result<(), Failure> {
    let [at, partner] = place::half(arguments)?;
    let source = source(role, arguments)?;
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    let total = source.as_ref().map(|source| source.bytes);
    let part = Part {
        role,
        ring_bytes: ring_bytes(&at)[0],
        at,
        partner,
        file: source.as_ref().map(|source| source.path.clone()),
        bytes: total.unwrap_or_default(),
        hold: None,
        pace: PACE,
        session_wait_max: None,
    };
    let (orders, orders_there) = channel();
    let (voice, reports) = channel();
    let telling = Telling::new(arguments.json, total);
    telling.begin(role, &part.partner, source.as_ref());
    let play = move || worker::play(part, orders_there.into_iter(), Voice::Thread(voice));
    let worker = threads::start("partner", play)?;
    let ended = Half { role, passes: arguments.passes, orders, reports, telling, losses: Losses::default() }
        .drive(&interrupted);
    // Its orders have ended with the half: it leaves in order, or has failed already.
    let left = worker.join().unwrap_or_else(|_| Err(Failure::new("the partner's thread failed")));
    left.and(ended)
}

/// What the sender streams. The receiver has no use for a file.
fn source(role: Role, arguments: &DemoArguments) -> Result<Option<Source>, Failure> {
    match (role, &arguments.file) {
        (Role::Sender, file) => source::open(file.as_deref()).map(Some),
        (Role::Receiver, None) => Ok(None),
        (Role::Receiver, Some(file)) => {
            Err(Failure::usage(format!("{}: the file is the sender's; the receiver takes none", file.display())))
        }
    }
}

impl Half {
    /// Until every pass is through, or something ends it before.
    fn drive(mut self, interrupted: &AtomicBool) -> Result<(), Failure> {
        self.order(1);
        let mut failed: Option<(Instant, String)> = None;
        loop {
            if let Some((_, error)) = failed.take_if(|(at, _)| at.elapsed() > SECOND_THOUGHT) {
                return Err(Failure::new(error));
            }
            if interrupted.load(Ordering::Relaxed) {
                return Err(Failure::new("interrupted: this side left the session in order"));
            }
            let report = match self.reports.recv_timeout(HEARING) {
                Ok(report) => report,
                Err(RecvTimeoutError::Timeout) => continue,
                // The worker's own failure says more.
                Err(RecvTimeoutError::Disconnected) => return Err(Failure::new("this side ended before its end")),
            };
            match report {
                Report::Failed { error, cause: Cause::LockLimit } => return Err(Failure::new(error)),
                Report::Failed { error, .. } => failed = Some((Instant::now(), error)),
                Report::Passed { here, there, seconds } => {
                    let last = here.last || there.last;
                    let (sent, received) = if self.role == Role::Sender { (here, there) } else { (there, here) };
                    let pass = Passed { number: sent.pass, sent, received, seconds };
                    self.telling.passed(&pass);
                    pass.check()?;
                    if last {
                        return self.telling.done(&pass);
                    }
                    self.order(pass.number + 1);
                }
                Report::Lost { .. } => {
                    failed = None;
                    self.telling.tell(&report);
                    self.losses.noted += 1;
                    if let Some(stopped) = self.losses.ahead.take() {
                        self.telling.tell(&stopped);
                    }
                }
                // The log may be quicker with its word than the manager with the loss, which is its cause.
                Report::Stopped { .. } if self.losses.noted == self.losses.stopped => {
                    self.losses.stopped += 1;
                    self.losses.ahead = Some(report);
                }
                report => {
                    self.losses.stopped += u32::from(matches!(report, Report::Stopped { .. }));
                    self.telling.tell(&report);
                }
            }
        }
    }

    /// Has the sender begin a pass; the receiver takes what comes.
    fn order(&self, number: u32) {
        if self.role == Role::Sender {
            let _ = self.orders.send(Order::Pass { number, last: number >= self.passes });
        }
    }
}
