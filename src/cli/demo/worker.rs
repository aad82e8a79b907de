//! One partner of the demo: a node with two clients, one of which is the log that it streams through. A process of its own under the supervisor, or a thread of a
//! half of the demo.

use crate::cli::args::{Role, WorkerArguments};
use crate::cli::demo::logs::{Logs, PATIENCE};
use crate::cli::demo::protocol::{Cause, GrantReport, Order, Report, StepReport, Voice};
use crate::cli::demo::{receiver, sender};
use crate::cli::fabrics::{self, Task};
use crate::cli::failure::Failure;
use crate::cli::holding::Holding;
use crate::cli::output::plain;
use crate::cli::threads;
use handfast::Error;
use handfast::clients::mirrored_log::area::RING_BYTES_MIN;
use handfast::clients::mirrored_log::{LogConfig, LogCopy, LogThread, MirroredLog, Pace, Start};
use handfast::fabric::{Address, Fabric, FabricError};
use handfast::manager::{ClientSpec, ClusterManager, ControlThread, Event, NodeConfig};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// What the streaming thread is told.
pub(crate) enum Told {
    /// This is wanted.
    Order(Order),
    /// Nothing more is wanted.
    End,
}

/// What one partner is to do.
pub(crate) struct Part {
    pub(crate) role: Role,
    pub(crate) at: Address,
    pub(crate) partner: Address,
    /// What the sender streams.
    pub(crate) file: Option<PathBuf>,
    /// How long that is, where it is known.
    pub(crate) bytes: u64,
    /// Bytes of the sender's ring.
    pub(crate) ring_bytes: u64,
    /// The pass in whose middle the receiver stops taking anything, to be killed.
    pub(crate) hold: Option<u32>,
    /// Between two words of progress.
    pub(crate) pace: Duration,
    /// How long the sender waits for a session when it has something to stream; none: for ever.
    pub(crate) session_wait_max: Option<Duration>,
}

/// The worker as a process: its supervisor orders by standard input, and hears by standard output.
pub(crate) fn run(arguments: &WorkerArguments) -> ExitCode {
    let part = Part {
        role: arguments.role,
        at: arguments.at.clone(),
        partner: arguments.partner.clone(),
        file: arguments.file.clone(),
        bytes: arguments.bytes,
        ring_bytes: arguments.ring_bytes,
        hold: arguments.hold,
        pace: Duration::from_millis(100),
        session_wait_max: Some(PATIENCE),
    };
    let orders = BufReader::new(std::io::stdin())
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| serde_json::from_str(&line).ok());
    let Err(failure) = play(part, orders, Voice::Pipe) else { return ExitCode::SUCCESS };
    let cause = if failure.is_lock_limit() { Cause::LockLimit } else { Cause::Other };
    Voice::Pipe.tell(Report::Failed { error: failure.message().to_owned(), cause });
    ExitCode::FAILURE
}

/// Plays a part until the orders end.
pub(crate) fn play(
    part: Part,
    orders: impl Iterator<Item = Order> + Send + 'static,
    voice: Voice,
) -> Result<(), Failure> {
    let at = part.at.clone();
    fabrics::on(&at, Playing { part, orders, voice })
}

struct Playing<O> {
    part: Part,
    orders: O,
    voice: Voice,
}

impl<O: Iterator<Item = Order> + Send + 'static> Task for Playing<O> {
    type Output = ();

    fn run<F: Fabric>(self, fabric: F) -> Result<(), Failure> {
        let Self { part, orders, voice } = self;
        let (told_here, told) = channel();
        let (control, log, copy, thread) = node(fabric, &part)?;
        listen(orders, told_here)?;
        std::thread::scope(|scope| {
            let data = threads::start_within(scope, "stream", || {
                let logs = Logs::new(log, &copy, thread, told, &voice);
                match part.role {
                    Role::Sender => sender::run(&part, logs, &voice),
                    Role::Receiver => receiver::run(&part, logs, &voice),
                }
            })?;
            while !data.is_finished() {
                if let Ok(event) = control.events().recv_timeout(Duration::from_millis(5)) {
                    voice.tell(report(&event));
                }
            }
            data.join().unwrap_or_else(|_| Err(Failure::new("the streaming thread failed")))
        })?;
        control.leave();
        Ok(())
    }
}

/// A node with its control thread, and the log among its clients.
type Node = (ControlThread, MirroredLog, LogCopy, LogThread);

/// The partner's node, with its clients.
fn node<F: Fabric>(fabric: F, part: &Part) -> Result<Node, Failure> {
    let (node, partner, ring_bytes) = match part.role {
        Role::Sender => ("a", "b", part.ring_bytes),
        Role::Receiver => ("b", "a", RING_BYTES_MIN),
    };
    let of_memory = |error| match error {
        Error::Memory(error) | Error::Fabric(FabricError::Memory(error)) => Failure::memory(&error),
        error => Failure::new(error),
    };
    let (at, partner_at) = (part.at.clone(), part.partner.clone());
    let config = NodeConfig::new("demo".parse()?, node.parse()?, at, partner.parse()?, partner_at);
    let mut manager = ClusterManager::boot(fabric, config).map_err(of_memory)?;
    // A new process is a new log: what the one before had counted went with it.
    let log = LogConfig::new("log".parse()?).ring_bytes(ring_bytes).start(Start::New).applied_bounds_truncation(true);
    let (log, poller, copy) = MirroredLog::open(log, &mut manager).map_err(of_memory)?;
    manager.client(ClientSpec::new("monitor".parse()?).ports(2).memory(64), Box::new(Holding::new()))?;
    manager.stage("up", 1, 1);
    manager.open();
    Ok((manager.spawn()?, log, copy, poller.spawn(Pace::default())?))
}

/// Hands the orders to the streaming thread, and their end.
fn listen(orders: impl Iterator<Item = Order> + Send + 'static, told: Sender<Told>) -> Result<(), Failure> {
    threads::start("orders", move || {
        for order in orders {
            let _ = told.send(Told::Order(order));
        }
        let _ = told.send(Told::End);
    })?;
    Ok(())
}

fn report(event: &Event) -> Report {
    match event {
        Event::Listening { address, incarnation } => {
            Report::Listening { address: address.to_string(), incarnation: incarnation.to_string() }
        }
        Event::Established { session, partner, incarnation, authentication, steps, since_boot_ns, .. } => {
            Report::Established {
                session: session.to_string(),
                partner: partner.to_string(),
                partner_incarnation: incarnation.to_string(),
                authentication: authentication.to_string(),
                steps: steps.iter().map(|step| StepReport { name: step.name.to_owned(), ns: step.ns }).collect(),
                since_boot_ns: *since_boot_ns,
            }
        }
        Event::Ready { grants, .. } => Report::Ready {
            grants: grants
                .iter()
                .map(|grant| GrantReport {
                    client: grant.client.to_string(),
                    ports: grant.ports,
                    here_bytes: grant.memory_here_bytes,
                    there_bytes: grant.memory_there_bytes,
                })
                .collect(),
        },
        Event::Lost { reason, .. } => Report::Lost { reason: plain(reason) },
        other => Report::Note { text: plain(other) },
    }
}
