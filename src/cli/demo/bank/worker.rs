//! One of the bank's two processes: the primary, which makes transfers until it is killed, or the partner, which follows and takes over.

use crate::cli::args::{BankArguments, BankRole};
use crate::cli::demo::bank::ledger;
use crate::cli::demo::bank::protocol::{Order, Report, TakenOver};
use crate::cli::demo::bank::tally::{Acknowledged, TallyFile};
use crate::cli::demo::bank::{ACKNOWLEDGED, IMAGES, PATIENCE, PRIMARY, REBUILT, RING_BYTES, RING_BYTES_PARTNER};
use crate::cli::fabrics::{self, Task};
use crate::cli::failure::Failure;
use crate::cli::output::{self, plain};
use crate::cli::threads;
use handfast::clients::mirrored_log::{
    LogConfig, LogCopy, LogEvent, LogThread, MirroredLog, Pace, Records, Source, Term,
};
use handfast::engines::redb::{FollowerOptions, FollowerThread, MirrorOptions, MirroredBackend, rebuild};
use handfast::fabric::{Fabric, FabricError};
use handfast::manager::{ClusterManager, ControlThread, Event, NodeConfig};
use redb::Database;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A partner that acknowledges nothing for so long never does.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(5);

/// How late an event may be noticed.
const HEARING: Duration = Duration::from_millis(2);

pub(crate) fn run(arguments: &BankArguments) -> ExitCode {
    let Err(failure) = fabrics::on(&arguments.at, Playing(arguments)) else { return ExitCode::SUCCESS };
    tell(&Report::Failed { error: failure.message().to_owned(), lock_limit: failure.is_lock_limit() });
    ExitCode::FAILURE
}

/// A line of JSON on standard output. Where the supervisor is gone, the end of standard input says so, too.
fn tell(report: &Report) {
    if let Ok(line) = serde_json::to_string(report) {
        let _ = output::line(line);
    }
}

/// Orders by standard input, and their end: the supervisor has what it wanted, or is gone. Nothing is left behind either way.
fn orders(arguments: &BankArguments) -> Result<Receiver<Order>, Failure> {
    let (told, orders) = channel();
    let folder = arguments.folder.clone();
    threads::start("orders", move || {
        let lines = BufReader::new(std::io::stdin()).lines().map_while(Result::ok);
        for order in lines.filter_map(|line| serde_json::from_str(&line).ok()) {
            let _ = told.send(order);
        }
        // Whoever comes second finds nothing.
        let _ = std::fs::remove_dir_all(folder);
    })?;
    Ok(orders)
}

struct Playing<'a>(&'a BankArguments);

impl Task for Playing<'_> {
    type Output = ();

    fn run<F: Fabric>(self, fabric: F) -> Result<(), Failure> {
        let orders = orders(self.0)?;
        match self.0.role {
            BankRole::Primary => primary(&Node::start(fabric, self.0)?, self.0, &orders),
            BankRole::Partner => partner(Node::start(fabric, self.0)?, self.0, &orders),
        }
    }
}

/// A node with a log.
struct Node {
    log: MirroredLog,
    copy: LogCopy,
    follower: Option<FollowerThread>,
    poller: LogThread,
    manager: ControlThread,
}

impl Node {
    fn start<F: Fabric>(fabric: F, arguments: &BankArguments) -> Result<Self, Failure> {
        let (node, partner, ring_bytes) = match arguments.role {
            BankRole::Primary => ("a", "b", RING_BYTES),
            // Its own log is of no use here.
            BankRole::Partner => ("b", "a", RING_BYTES_PARTNER),
        };
        let (at, partner_at) = (arguments.at.clone(), arguments.partner.clone());
        let config = NodeConfig::new("bank".parse()?, node.parse()?, at, partner.parse()?, partner_at);
        let mut manager = ClusterManager::boot(fabric, config).map_err(failure)?;
        let config = LogConfig::new("redb".parse()?).ring_bytes(ring_bytes).applied_bounds_truncation(true);
        let (log, poller, copy) = MirroredLog::open(config, &mut manager).map_err(failure)?;
        // Before the session, so that the primary knows from the first record on what is needed.
        let follower = match arguments.role {
            BankRole::Primary => None,
            BankRole::Partner => {
                let folder = arguments.folder.join(IMAGES);
                Some(FollowerThread::start(copy.clone(), folder, FollowerOptions::new())?)
            }
        };
        manager.stage("up", 1, 1);
        manager.open();
        let pace = match arguments.role {
            BankRole::Primary => Pace::default(),
            // Its poller has little to do beside the follower, and two processes may have two processors between them.
            BankRole::Partner => Pace::Relaxed { spin: Duration::ZERO, sleep: Duration::from_micros(200) },
        };
        let (poller, manager) = (poller.spawn(pace)?, manager.spawn()?);
        tell(&Report::Listening);
        Ok(Self { log, copy, follower, poller, manager })
    }

    /// Waits for an event of the log; gives up where one says that it never comes, or nobody wants it any more.
    fn wait<T>(
        &self,
        what: &str,
        orders: &Receiver<Order>,
        wanted: impl Fn(&LogEvent) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            match self.poller.events().recv_timeout(HEARING) {
                Ok(LogEvent::Ended(error)) => return Err(Failure::new(error)),
                Ok(LogEvent::Unavailable(reason)) => return Err(Failure::new(plain(reason))),
                Ok(event) => {
                    if let Some(found) = wanted(&event) {
                        return Ok(Some(found));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Failure::new("the log's thread has ended")),
            }
            if matches!(orders.try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected)) {
                return Ok(None);
            }
        }
        // The cause, where the node had a word to say.
        let said =
            self.manager.events().try_iter().last().map(|event| format!("; the node said last: {}", plain(event)));
        let said = said.unwrap_or_default();
        Err(Failure::new(format!("{what} was awaited in vain for {} s{said}", PATIENCE.as_secs())))
    }

    /// The session that stands, by its id.
    fn session(&self) -> Option<String> {
        self.manager.events().try_iter().find_map(|event| match event {
            Event::Established { session, .. } => Some(session.to_string()),
            _ => None,
        })
    }
}

fn failure(error: handfast::Error) -> Failure {
    match error {
        handfast::Error::Memory(error) | handfast::Error::Fabric(FabricError::Memory(error)) => Failure::memory(&error),
        error => Failure::new(error),
    }
}

/// Makes transfers until it is killed, or nobody listens any more. What is acknowledged is told before the next one begins.
fn primary(node: &Node, arguments: &BankArguments, orders: &Receiver<Order>) -> Result<(), Failure> {
    let mirrored = |event: &LogEvent| matches!(event, LogEvent::Mirrored { .. }).then_some(());
    let Some(()) = node.wait("the partner", orders, mirrored)? else { return Ok(()) };
    let path = arguments.folder.join(PRIMARY);
    let file = File::options().create_new(true).read(true).write(true).open(&path);
    let file = file.map_err(|error| Failure::of(format!("making {}", path.display()), error))?;
    let backend = MirroredBackend::new(file, &node.log, MirrorOptions::new().wait_max(ACKNOWLEDGED_WITHIN))?;
    let database = Database::builder().create_with_backend(backend)?;
    ledger::open(&database)?;
    let tally = TallyFile::open(&arguments.folder.join(ACKNOWLEDGED))?;
    tell(&Report::Running { session: node.session().unwrap_or_default(), ring_bytes: RING_BYTES });
    let began = Instant::now();
    for number in 1.. {
        ledger::transfer(&database, arguments.seed, number)?;
        tally.write(Acknowledged { transactions: number, took: began.elapsed() })?;
        if number % 64 == 0 && matches!(orders.try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected)) {
            break;
        }
    }
    Ok(())
}

/// Follows until it is told to take over.
fn partner(mut node: Node, arguments: &BankArguments, orders: &Receiver<Order>) -> Result<(), Failure> {
    loop {
        match orders.recv_timeout(HEARING) {
            Ok(Order::TakeOver) => break,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                node.manager.leave();
                return Ok(());
            }
        }
        if let Some(failure) = node.follower.as_ref().and_then(FollowerThread::failure) {
            return Err(Failure::new(failure));
        }
    }
    let ordered = Instant::now();
    let lost = |event: &LogEvent| match event {
        LogEvent::Lost { reason } => Some(plain(reason)),
        _ => None,
    };
    let Some(reason) = node.wait("the loss of the session", orders, lost)? else { return Ok(()) };
    tell(&Report::Lost { reason });
    let applied_before = node.follower.take().map_or(0, |follower| follower.operations());
    let mut records = node.copy.take_over(Term(0), false)?;
    let taken = take_over(arguments, &mut records, applied_before, ordered)?;
    tell(&Report::TakenOver(taken));
    // Until nobody wants anything more.
    while orders.recv().is_ok() {}
    node.manager.leave();
    Ok(())
}

fn take_over<S: Source>(
    arguments: &BankArguments,
    records: &mut Records<S>,
    applied_before: u64,
    ordered: Instant,
) -> Result<TakenOver, Failure> {
    let ns = || u64::try_from(ordered.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let path = arguments.folder.join(REBUILT);
    let history = records.header().history.to_string();
    let report = rebuild(arguments.folder.join(IMAGES), Some(records), &path)?;
    let built_ns = ns();
    let database = Database::create(&path)?;
    let opened_ns = ns();
    let audit = ledger::audit(&database, arguments.seed)?;
    Ok(TakenOver {
        history,
        applied_before,
        applied_after: report.operations,
        reached: report.reached.0,
        stopped: report.stopped.map(|stopped| stopped.to_string()).unwrap_or_default(),
        bytes: report.length,
        built_ns,
        opened_ns,
        transfers: audit.transfers,
        total: audit.total,
        wrong: audit.wrong,
    })
}
