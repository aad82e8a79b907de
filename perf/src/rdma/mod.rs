//! `handfast-perf rdma`: latency, bandwidth and sessions on an RDMA device, beside perftest and `cmtime` in the same rounds.

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
use crate::rdma::node::{DEPTH, Node};
use crate::rdma::peers::{Peers, is_installed};
use crate::rdma::pipe::Pipe;
use crate::rdma::rows::{ROWS, Row, Taken};
use handfast::fabric::Address;
use std::error::Error;
use std::process::{Child, Command, Stdio};

pub(crate) use peer::{PEER, run as peer};
pub(crate) use session::{SESSION, run as session};

/// First argument of this part of the program.
pub(crate) const RDMA: &str = "rdma";

const HELP: &str = "\
Latency, bandwidth and sessions of handfast on an RDMA device, beside perftest and cmtime where they are installed.

usage: handfast-perf rdma [--quick] [--at rdma://ADDRESS:PORT] [--rounds N] [--report DIR]

  --quick        a fifth of the samples
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
pub(crate) fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let options = Options::parse(arguments)?;
    if options.help {
        print!("{HELP}");
        return Ok(());
    }
    let available = machine::processors()?;
    let [client, server, ..] = available.as_slice() else {
        return Err("two processors are needed: one for each process".into());
    };
    let (processors, scale) = ((*client, *server), Scale::measure());
    let about = About::here(available.len(), scale.step_ns());
    let mut bench = Bench::open(&options.at, processors, scale)?;
    let mut taken: Vec<Taken> = ROWS.into_iter().map(Taken::new).collect();
    for round in 0..options.rounds {
        for row in &mut taken {
            bench.round(row, round, options.quick)?;
        }
        eprintln!("round {} of {} done", round + 1, options.rounds);
    }
    bench.close()?;
    report::give(&about, &taken, options.report.as_deref())
}

/// An address on the same machine, so many ports further.
fn beside(at: &Address, further: u16) -> Result<Address, Box<dyn Error>> {
    let mut beside = at.clone();
    let Address::Rdma { port, .. } = &mut beside else { return Err(format!("`{at}` is no rdma:// address").into()) };
    *port = port.checked_add(further).ok_or("the port is too high")?;
    Ok(beside)
}

/// Both of our processes, and what is known of the peers.
pub(crate) struct Bench {
    node: Node,
    pipe: Pipe,
    child: Child,
    scale: Scale,
    peers: Peers,
    /// Of the two managers: the fresh one's, and its partner's.
    sessions: (Address, Address),
}

impl Bench {
    fn open(at: &Address, processors: (usize, usize), scale: Scale) -> Result<Self, Box<dyn Error>> {
        let there = beside(at, 1)?;
        machine::pin(processors.0)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args([PEER, &there.to_string(), &at.to_string(), &processors.1.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (to, from) = (child.stdin.take().ok_or("no pipe")?, child.stdout.take().ok_or("no pipe")?);
        let mut pipe = Pipe::new(from, to);
        let node = Node::open(at, &there, DEPTH, &mut pipe)?;
        let peers = Peers::of(at, processors)?;
        Ok(Self { node, pipe, child, scale, peers, sessions: (beside(at, 2)?, beside(at, 3)?) })
    }

    /// One round of one row: ours and the peer, the first of them by turns.
    fn round(&mut self, taken: &mut Taken, round: usize, quick: bool) -> Result<(), Box<dyn Error>> {
        let turns = taken.row.turns() / if quick { 5 } else { 1 };
        let installed = is_installed(taken.row.peer());
        for side in [round % 2, (round + 1) % 2] {
            if side == 0 {
                let figure = self.ours(taken.row, turns)?;
                taken.ours.push(figure);
            } else if installed {
                let figure = self.peer(taken.row, turns)?;
                taken.peer.push(figure);
            }
        }
        Ok(())
    }

    fn ours(&mut self, row: Row, turns: u64) -> Result<(f64, f64), Box<dyn Error>> {
        match row {
            Row::Write(bytes) => {
                transfers::clear(&self.node, bytes)?;
                self.pipe.ask(&format!("throw-back {bytes} {turns}"), "ready")?;
                let ticks = transfers::throw(&mut self.node, bytes, turns)?;
                let ended = self.pipe.hear()?;
                if ended != "done" {
                    return Err(format!("the peer said `{ended}`").into());
                }
                rows::latency(&self.scale, &ticks, 2)
            }
            Row::Read(bytes) => {
                let ticks = transfers::read(&mut self.node, bytes, turns)?;
                rows::latency(&self.scale, &ticks, 1)
            }
            Row::Stream(bytes) => {
                let ticks = transfers::stream(&mut self.node, turns)?;
                let seconds = self.scale.tenths(ticks, 1) as f64 / 1e10;
                let rate = (bytes as u64 * turns) as f64 / seconds / f64::from(1 << 20);
                Ok((rate, rate))
            }
            Row::Session => self.session(turns),
        }
    }

    /// So many sessions one after the other: median and 99 % of what each took, microseconds.
    fn session(&mut self, turns: u64) -> Result<(f64, f64), Box<dyn Error>> {
        let (at, partner) = &self.sessions;
        self.pipe.ask(&format!("serve {partner} {at}"), "serving")?;
        let mut tenths = Vec::new();
        for _ in 0..turns {
            let (_, established) = session::measure(at, partner)?;
            tenths.push(established * 10);
        }
        self.pipe.ask("stop", "left")?;
        rows::quoted(&tenths)
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

    fn close(mut self) -> Result<(), Box<dyn Error>> {
        self.pipe.say("quit")?;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the peer ended with {status}").into()) }
    }
}
