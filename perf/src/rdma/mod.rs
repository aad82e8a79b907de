//! `handfast-perf rdma`: latency, bandwidth and sessions on an RDMA device, beside perftest and `cmtime` in the same rounds.

mod client;
mod node;
mod peer;
mod peers;
mod pipe;
mod report;
mod rows;
mod session;
mod transfers;

use crate::about::About;
use crate::machine::{self, Scale};
use crate::rdma::client::CLIENT;
use crate::rdma::peers::{Peers, is_installed};
use crate::rdma::rows::{ROWS, Row, Taken};
use handfast::fabric::Address;
use std::error::Error;
use std::process::{Command, Stdio};

/// What this program is when it is started by itself, if the first argument says so.
pub(crate) fn part(arguments: &[String]) -> Option<Result<(), Box<dyn Error>>> {
    let (first, rest) = arguments.split_first()?;
    match first.as_str() {
        client::CLIENT => Some(client::run(rest)),
        peer::PEER => Some(peer::run(rest)),
        session::SESSION => Some(session::run(rest)),
        session::PARTNER => Some(session::partner(rest)),
        RDMA => Some(run(rest)),
        _ => None,
    }
}

/// First argument of this part of the program.
const RDMA: &str = "rdma";

const HELP: &str = "\
Latency, bandwidth and sessions of handfast on an RDMA device, beside perftest and cmtime where they are installed.

usage: handfast-perf rdma [--quick] [--at rdma://ADDRESS:PORT] [--rounds N] [--report DIR]

  --quick        a fifth of the samples: enough to see that it runs
  --at ADDRESS   an address of the device on this machine; four ports from this one on are used
                 (default rdma://10.9.0.1:7500)
  --rounds N     rounds of each row, 5 to 1000 (default 5)
  --report DIR   write rdma.txt and rdma.json into DIR; without it JSON goes to standard output, between lines of ====

Both processes, ours and the peers', run on this machine.
";

struct Options {
    quick: bool,
    at: Address,
    rounds: usize,
    report: Option<std::path::PathBuf>,
    help: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, Box<dyn Error>> {
        let at = "rdma://10.9.0.1:7500".parse()?;
        let mut options = Self { quick: false, at, rounds: 5, report: None, help: false };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("`{argument}` needs a value: see --help"));
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--help" | "-h" => options.help = true,
                "--at" => options.at = value()?.parse()?,
                "--report" => options.report = Some(value()?.into()),
                "--rounds" => {
                    let text = value()?;
                    let rounds = text.parse().ok().filter(|rounds| (5..=1000).contains(rounds));
                    options.rounds = rounds.ok_or_else(|| format!("`--rounds {text}`: 5 to 1000"))?;
                }
                _ => return Err(format!("unknown argument `{argument}`: see `handfast-perf rdma --help`").into()),
            }
        }
        Ok(options)
    }
}

/// Measures and reports.
fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let options = Options::parse(arguments)?;
    if options.help {
        print!("{HELP}");
        return Ok(());
    }
    let available = machine::processors()?;
    let [client, server, ..] = available.as_slice() else {
        return Err("two processors are needed: one for each process".into());
    };
    let about = About::here(available.len(), Scale::measure().step_ns());
    machine::pin(*client)?;
    let bench = Bench { peers: Peers::of(&options.at, (*client, *server))?, at: options.at.clone() };
    let mut taken: Vec<Taken> = ROWS.into_iter().map(Taken::new).collect();
    for round in 0..options.rounds {
        for row in &mut taken {
            bench.round(row, round, options.quick)?;
        }
        eprintln!("round {} of {} done", round + 1, options.rounds);
    }
    report::give(&about, &taken, options.report.as_deref())
}

/// An address on the same machine, so many ports further.
fn beside(at: &Address, further: u16) -> Result<Address, Box<dyn Error>> {
    let mut beside = at.clone();
    let Address::Rdma { port, .. } = &mut beside else { return Err(format!("`{at}` is no rdma:// address").into()) };
    *port = port.checked_add(further).ok_or("the port is too high")?;
    Ok(beside)
}

/// What all rounds need.
struct Bench {
    at: Address,
    peers: Peers,
}

impl Bench {
    /// One round of one row: ours and the peer, the first of them by turns.
    fn round(&self, taken: &mut Taken, round: usize, quick: bool) -> Result<(), Box<dyn Error>> {
        let turns = taken.row.turns() / if quick { 5 } else { 1 };
        let installed = is_installed(taken.row.peer());
        for side in [round % 2, (round + 1) % 2] {
            if side == 0 {
                taken.ours.push(self.ours(taken.row, turns)?);
            } else if installed {
                taken.peer.push(self.peer(taken.row, turns)?);
            }
        }
        Ok(())
    }

    fn ours(&self, row: Row, turns: u64) -> Result<(f64, f64), Box<dyn Error>> {
        if row == Row::Session {
            return session::measure(&self.at, turns, self.peers.processors);
        }
        let (client, server) = self.peers.processors;
        let arguments = [self.at.to_string(), client.to_string(), server.to_string(), row.name(), turns.to_string()];
        started(CLIENT, &arguments)
    }

    fn peer(&self, row: Row, turns: u64) -> Result<(f64, f64), Box<dyn Error>> {
        let name = row.peer();
        let at = |numbers: &[f64], place: usize| numbers.get(place).copied().ok_or("a column is missing");
        match row {
            Row::Write(bytes) | Row::Read(bytes) => {
                let numbers = self.peers.perftest(name, bytes, turns)?;
                Ok((at(&numbers, 3)?, at(&numbers, 6)?))
            }
            Row::Stream(bytes) => {
                let numbers = self.peers.perftest(name, bytes, turns)?;
                Ok((at(&numbers, 2)?, at(&numbers, 2)?))
            }
            Row::Session => {
                let mut tenths = Vec::new();
                for _ in 0..turns {
                    let (all, _) = self.peers.cmtime()?;
                    tenths.push((all * 1e4) as u64);
                }
                rows::quoted(&tenths)
            }
        }
    }
}

/// Starts this program once more for something: the two figures that it prints.
fn started(what: &str, arguments: &[String]) -> Result<(f64, f64), Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.arg(what).args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8(output.stdout)?;
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    match (output.status.success(), numbers.next(), numbers.next()) {
        (true, Some(Ok(one)), Some(Ok(other))) => Ok((one, other)),
        _ => Err(format!("a process for {what} {arguments:?} ended with {} and said: {text}", output.status).into()),
    }
}
