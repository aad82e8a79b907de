//! A worker as the supervisor sees it: a child process, its reports and its orders.

use crate::cli::args::Role;
use crate::cli::demo::protocol::{Order, Report};
use crate::cli::demo::source::Source;
use crate::cli::failure::Failure;
use crate::cli::threads;
use handfast::fabric::Address;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// Something that a worker said, or that it is gone.
pub(crate) enum Heard {
    Report(Report),
    Ended,
}

/// What both workers of a pair are told.
#[derive(Clone)]
pub(crate) struct Pair {
    /// Where the sender listens, and the receiver.
    pub(crate) addresses: [Address; 2],
    pub(crate) ring_bytes: u64,
}

/// This program again, in one of its hidden roles.
fn command(role: Role, pair: &Pair, source: &Source, hold: Option<u32>) -> Result<Command, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    let [sender, receiver] = pair.addresses.each_ref().map(Address::to_string);
    let (role, at, partner) = match role {
        Role::Sender => ("sender", sender, receiver),
        Role::Receiver => ("receiver", receiver, sender),
    };
    command.arg("demo-worker").args(["--role", role, "--at", &at, "--partner", &partner]);
    command.args(["--bytes", &source.bytes.to_string(), "--ring-bytes", &pair.ring_bytes.to_string()]);
    command.arg("--file").arg(&source.path);
    if let Some(pass) = hold {
        command.args(["--hold", &pass.to_string()]);
    }
    Ok(command)
}

/// A worker process. Dropping it kills it.
pub(crate) struct Worker {
    child: Child,
    orders: Option<ChildStdin>,
}

impl Worker {
    /// Starts one; what it says arrives at `heard` under `number`.
    pub(crate) fn start(
        role: Role,
        pair: &Pair,
        source: &Source,
        hold: Option<u32>,
        heard: &Sender<(u32, Heard)>,
        number: u32,
    ) -> Result<Self, Failure> {
        let mut child = command(role, pair, source, hold)?
            // Of its own, so that Ctrl-C reaches the supervisor alone, which ends its workers in order.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| threads::refused("a partner process", &error))?;
        let (orders, output) = (child.stdin.take(), child.stdout.take());
        // From here on its end is the worker's.
        let worker = Self { child, orders };
        if let Some(output) = output {
            let heard = heard.clone();
            threads::start("reports", move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if let Ok(report) = serde_json::from_str(&line) {
                        let _ = heard.send((number, Heard::Report(report)));
                    }
                }
                let _ = heard.send((number, Heard::Ended));
            })?;
        }
        Ok(worker)
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Gives it an order.
    pub(crate) fn order(&mut self, order: Order) -> Result<(), Failure> {
        let line = serde_json::to_string(&order)?;
        let Some(orders) = &mut self.orders else { return Err(Failure::new("the partner process takes no orders")) };
        writeln!(orders, "{line}")
            .and_then(|()| orders.flush())
            .map_err(|error| Failure::of("ordering a partner process", error))
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill().map_err(|error| Failure::of("killing a partner process", error))?;
        self.child.wait()?;
        Ok(())
    }

    /// Lets it leave in order, and waits for that.
    pub(crate) fn leave(mut self) -> Result<(), Failure> {
        self.orders = None;
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(10) {
            if let Some(status) = self.child.try_wait()? {
                return if status.success() {
                    Ok(())
                } else {
                    Err(Failure::new(format!("a partner process ended with {status}")))
                };
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(Failure::new("a partner process did not leave within 10 s"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
