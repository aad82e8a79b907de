//! One of the demo's two processes: a node with two clients, one of which streams.

use crate::cli::args::{Role, WorkerArguments};
use crate::cli::demo::protocol::{Cause, GrantReport, Order, Report, StepReport, tell};
use crate::cli::demo::{CHUNKS, CREDIT_BYTES, receiver, sender};
use crate::cli::failure::Failure;
use handfast::Error;
use handfast::fabric::FabricError;
use handfast::fabric::shm::{Shm, ShmPort};
use handfast::manager::{Client, ClientSpec, ClusterManager, Event, LostReason, NodeConfig, Unavailable};
use handfast::session::Session;
use std::io::BufRead;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};

/// What the streaming thread is told.
pub(crate) enum Told {
    /// A session with everything it needs.
    Ready(Box<Session<Shm>>),
    /// That session is gone.
    Lost,
    /// A pass is wanted.
    Pass(u32),
    /// The supervisor wants an end.
    End,
}

/// The client that streams: hands what it gets to its thread.
struct Streaming(Sender<Told>);

impl Client<Shm> for Streaming {
    fn on_ready(&mut self, session: Session<Shm>) {
        let _ = self.0.send(Told::Ready(Box::new(session)));
    }
    fn on_lost(&mut self, _reason: &LostReason) {
        let _ = self.0.send(Told::Lost);
    }
    fn on_unavailable(&mut self, reason: &Unavailable) {
        let cause = match reason {
            Unavailable::FailedHere(Error::Memory(error) | Error::Fabric(FabricError::Memory(error)))
                if Failure::memory(error).is_lock_limit() =>
            {
                Cause::LockLimit
            }
            Unavailable::FailedThere => Cause::Partner,
            _ => Cause::Other,
        };
        tell(&Report::Failed { error: reason.to_string(), cause });
    }
}

/// A second client, which only holds what it was granted.
#[derive(Default)]
struct Idle {
    session: Option<Session<Shm>>,
    ports: Vec<ShmPort>,
}

impl Client<Shm> for Idle {
    fn on_ready(&mut self, mut session: Session<Shm>) {
        self.ports = session.take_ports();
        self.session = Some(session);
    }
    fn on_lost(&mut self, _reason: &LostReason) {
        self.ports.clear();
        self.session = None;
    }
    fn on_unavailable(&mut self, reason: &Unavailable) {
        tell(&Report::Note { text: format!("client `monitor` is not served: {reason}") });
    }
}

pub(crate) fn run(arguments: &WorkerArguments) -> ExitCode {
    let Err(failure) = work(arguments) else { return ExitCode::SUCCESS };
    let cause = if failure.is_lock_limit() { Cause::LockLimit } else { Cause::Other };
    tell(&Report::Failed { error: failure.message().to_owned(), cause });
    ExitCode::FAILURE
}

fn work(arguments: &WorkerArguments) -> Result<(), Failure> {
    let address = |port: u16| format!("shm://{}:{port}", arguments.name).parse();
    let (node, at, partner, partner_at) = match arguments.role {
        Role::Sender => ("a", address(1)?, "b", address(2)?),
        Role::Receiver => ("b", address(2)?, "a", address(1)?),
    };
    let config = NodeConfig::new("demo".parse()?, node.parse()?, at, partner.parse()?, partner_at);
    let mut manager = ClusterManager::boot(Shm::new(), config).map_err(|error| match error {
        Error::Memory(error) | Error::Fabric(FabricError::Memory(error)) => Failure::memory(&error),
        error => Failure::new(error),
    })?;
    let (told_here, told) = channel();
    let wanted = match arguments.role {
        Role::Sender => CHUNKS as u64 * u64::from(arguments.chunk_bytes),
        Role::Receiver => CREDIT_BYTES,
    };
    let stream = ClientSpec::new("stream".parse()?).ports(1).memory(wanted);
    manager.client(stream, Box::new(Streaming(told_here.clone())))?;
    manager.client(ClientSpec::new("monitor".parse()?).ports(2).memory(64), Box::<Idle>::default())?;
    manager.stage("up", 1, 1);
    manager.open();
    let control = manager.spawn()?;
    listen(told_here);
    std::thread::scope(|scope| {
        let data = scope.spawn(move || stream_data(arguments, &told));
        while !data.is_finished() {
            if let Ok(event) = control.events().recv_timeout(std::time::Duration::from_millis(5)) {
                forward(&event);
            }
        }
        data.join().unwrap_or_else(|_| Err(Failure::new("the streaming thread failed")))
    })?;
    control.leave();
    Ok(())
}

fn stream_data(arguments: &WorkerArguments, told: &Receiver<Told>) -> Result<(), Failure> {
    match arguments.role {
        Role::Sender => sender::run(arguments, told),
        Role::Receiver => receiver::run(arguments, told),
    }
}

/// Hands the supervisor's orders to the streaming thread. Standard input ends when the supervisor does.
fn listen(told: Sender<Told>) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if let Ok(Order::Pass(pass)) = serde_json::from_str(&line) {
                let _ = told.send(Told::Pass(pass));
            }
        }
        let _ = told.send(Told::End);
    });
}

fn forward(event: &Event) {
    tell(&match event {
        Event::Listening { incarnation, .. } => Report::Listening { incarnation: incarnation.to_string() },
        Event::Established { session, incarnation, authentication, steps, since_boot_ns, .. } => Report::Established {
            session: session.to_string(),
            partner_incarnation: incarnation.to_string(),
            authentication: authentication.to_string(),
            steps: steps.iter().map(|step| StepReport { name: step.name.to_owned(), ns: step.ns }).collect(),
            since_boot_ns: *since_boot_ns,
        },
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
        Event::Lost { reason, .. } => Report::Lost { reason: reason.to_string() },
        other => Report::Note { text: other.to_string() },
    });
}
