//! A worker of the bank as its supervisor sees it: a child process, what it reports, what it is told.

use crate::cli::args::BankRole;
use crate::cli::demo::bank::protocol::{Order, Report};
use crate::cli::failure::Failure;
use crate::cli::threads;
use handfast::fabric::Address;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// What both workers are told.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    /// Where the primary listens, and the partner.
    pub(crate) addresses: &'a [Address; 2],
    pub(crate) folder: &'a Path,
    pub(crate) seed: u64,
}

/// A worker process. Dropping it kills it.
pub(crate) struct Worker {
    child: Child,
    orders: Option<ChildStdin>,
    /// Its end is the end of the process.
    pub(crate) reports: Receiver<Report>,
}

impl Worker {
    pub(crate) fn start(role: BankRole, setting: Setting<'_>) -> Result<Self, Failure> {
        let [a, b] = setting.addresses.each_ref().map(Address::to_string);
        let (role, at, partner) = match role {
            BankRole::Primary => ("primary", a, b),
            BankRole::Partner => ("partner", b, a),
        };
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("bank-worker").args(["--role", role, "--at", &at, "--partner", &partner]);
        command.args(["--seed", &setting.seed.to_string()]).arg("--folder").arg(setting.folder);
        // Of its own, so that Ctrl-C reaches the supervisor alone, which ends its workers in order.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| threads::refused("a process of the bank", &error))?;
        let (orders, output) = (child.stdin.take(), child.stdout.take());
        let (told, reports) = channel();
        // From here on its end is the worker's.
        let worker = Self { child, orders, reports };
        if let Some(output) = output {
            threads::start("reports", move || {
                let lines = BufReader::new(output).lines().map_while(Result::ok);
                for report in lines.filter_map(|line| serde_json::from_str(&line).ok()) {
                    let _ = told.send(report);
                }
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
        let Some(orders) = &mut self.orders else { return Err(Failure::new("the process takes no orders")) };
        let told = writeln!(orders, "{line}").and_then(|()| orders.flush());
        told.map_err(|error| Failure::of("ordering a process of the bank", error))
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill().map_err(|error| Failure::of("killing the primary", error))?;
        self.child.wait()?;
        Ok(())
    }

    /// Lets it leave in order, and waits for that.
    pub(crate) fn leave(mut self) -> Result<(), Failure> {
        self.orders = None;
        let began = Instant::now();
        while began.elapsed() < super::PATIENCE {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(Failure::new(format!("the partner's process ended with {status}"))),
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
        Err(Failure::new(format!("timed out after {} s waiting for the partner to leave", super::PATIENCE.as_secs())))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
