//! What the bank does, in order: alone for comparison, then mirrored; the kill; the partner's takeover.

use crate::cli::args::BankRole;
use crate::cli::demo::bank::outcome::{Baseline, Outcome};
use crate::cli::demo::bank::process::{Setting, Worker};
use crate::cli::demo::bank::protocol::{Order, Report, TakenOver};
use crate::cli::demo::bank::screen::Screen;
use crate::cli::demo::bank::tally::{Acknowledged, TallyFile};
use crate::cli::demo::bank::{ACKNOWLEDGED, PATIENCE, baseline};
use crate::cli::demo::supervisor::remove_leftovers;
use crate::cli::failure::Failure;
use handfast::fabric::Address;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// How late a report or a signal may be noticed.
const HEARING: Duration = Duration::from_millis(20);
/// Between two looks at what was acknowledged: no more than the primary can spare.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// The bank while it runs.
struct Bank<'a> {
    transactions: u64,
    screen: &'a mut Screen,
    setting: Setting<'a>,
    interrupted: &'a AtomicBool,
}

pub(crate) fn run(transactions: u64, addresses: &[Address; 2], screen: &mut Screen) -> Result<Outcome, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    let folder = tempfile::tempdir().map_err(|error| Failure::of("making a folder for the bank", error))?;
    // Seeded anew in each process by the standard library.
    let seed = RandomState::new().hash_one(std::process::id()) >> 32;
    let setting = Setting { addresses, folder: folder.path(), seed };
    let outcome = Bank { transactions, screen, setting, interrupted: &interrupted }.run();
    remove_leftovers(addresses);
    outcome
}

impl Bank<'_> {
    fn run(self) -> Result<Outcome, Failure> {
        self.screen.begin(self.transactions, self.setting.seed);
        let baseline = self.baseline()?;
        self.screen.baseline(&baseline);
        let mut partner = Worker::start(BankRole::Partner, self.setting)?;
        let mut primary = Worker::start(BankRole::Primary, self.setting)?;
        self.screen.started(self.setting.addresses, [primary.id(), partner.id()]);
        let (session, ring_bytes) =
            self.wait(&primary, "the primary", "the bank's opening", |report| match report {
                Report::Running { session, ring_bytes } => Some((session, ring_bytes)),
                _ => None,
            })?;
        self.screen.running(&session, ring_bytes, self.transactions);
        let acknowledged = self.kill(&mut primary, &partner)?;
        let killed_at = Instant::now();
        self.screen.killed(primary.id(), acknowledged);
        partner.order(Order::TakeOver)?;
        let lost_for = self.wait(&partner, "the partner", "the loss of the session", |report| match report {
            Report::Lost { reason } => Some(reason),
            _ => None,
        })?;
        let lost_after = killed_at.elapsed();
        let taken: TakenOver = self.wait(&partner, "the partner", "the takeover", |report| match report {
            Report::TakenOver(taken) => Some(taken),
            _ => None,
        })?;
        let taken_after = killed_at.elapsed();
        partner.leave()?;
        let (fabric, seed) = (self.setting.addresses[0].scheme(), self.setting.seed);
        Ok(Outcome { baseline, session, fabric, seed, acknowledged, taken, lost_after, lost_for, taken_after })
    }

    /// The same transfers on redb alone.
    fn baseline(&self) -> Result<Baseline, Failure> {
        let Setting { folder, seed, .. } = self.setting;
        let run = |name: &str, synced| {
            let path = folder.join(name);
            let made = baseline::run(&path, synced, seed, self.transactions, self.interrupted)?;
            remove(&path)?;
            Ok::<_, Failure>(made)
        };
        Ok(Baseline { synced: run("synced.redb", true)?, unsynced: run("unsynced.redb", false)? })
    }

    /// Waits until enough is acknowledged, and kills the primary in the middle of whatever comes then. What it had acknowledged.
    fn kill(&self, primary: &mut Worker, partner: &Worker) -> Result<Acknowledged, Failure> {
        let tally = TallyFile::open(&self.setting.folder.join(ACKNOWLEDGED))?;
        let (mut before, mut until) = (0, Instant::now() + PATIENCE);
        loop {
            let acknowledged = tally.read()?.transactions;
            self.screen.progress(acknowledged);
            if acknowledged >= self.transactions {
                break;
            }
            if acknowledged != before {
                (before, until) = (acknowledged, Instant::now() + PATIENCE);
            }
            self.check(primary, "the primary")?;
            self.check(partner, "the partner")?;
            if Instant::now() > until {
                return Err(Failure::new(format!("nothing was acknowledged for {} s", PATIENCE.as_secs())));
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        primary.kill()?;
        tally.read()
    }

    /// Fails where the worker has.
    fn check(&self, worker: &Worker, name: &str) -> Result<(), Failure> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Failure::new("interrupted: both processes were ended"));
        }
        loop {
            match worker.reports.try_recv() {
                Ok(Report::Failed { error, lock_limit }) => return Err(failed(name, &error, lock_limit)),
                Ok(_) => {}
                Err(std::sync::mpsc::TryRecvError::Empty) => return Ok(()),
                Err(std::sync::mpsc::TryRecvError::Disconnected) => {
                    return Err(Failure::new(format!("{name} ended before its time")));
                }
            }
        }
    }

    /// The first report that is wanted.
    fn wait<T>(
        &self,
        worker: &Worker,
        name: &str,
        what: &str,
        wanted: impl Fn(Report) -> Option<T>,
    ) -> Result<T, Failure> {
        let until = Instant::now() + PATIENCE * 2;
        while Instant::now() < until {
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(Failure::new("interrupted: both processes were ended"));
            }
            match worker.reports.recv_timeout(HEARING) {
                Ok(Report::Failed { error, lock_limit }) => return Err(failed(name, &error, lock_limit)),
                Ok(report) => {
                    if let Some(found) = wanted(report) {
                        return Ok(found);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::new(format!("{name} ended while {what} was awaited")));
                }
            }
        }
        Err(Failure::new(format!("{what} was awaited in vain for {} s", (PATIENCE * 2).as_secs())))
    }
}

fn failed(name: &str, error: &str, lock_limit: bool) -> Failure {
    Failure::of_worker(format!("{name}: {error}"), lock_limit)
}

fn remove(path: &Path) -> Result<(), Failure> {
    std::fs::remove_file(path).map_err(|error| Failure::of(format!("removing {}", path.display()), error))
}
