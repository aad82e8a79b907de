//! One round of ours: a process that starts its peer, does one thing, prints its figures and ends, as the programs of perftest do.
//! (In a process that went on for long, READs on rxe were seen to take half as long again; why is not known.)

use crate::machine::{self, Scale};
use crate::rdma::node::{DEPTH, Node};
use crate::rdma::peer::PEER;
use crate::rdma::pipe::Pipe;
use crate::rdma::rows::{self, Row};
use crate::rdma::{beside, transfers};
use handfast::fabric::Address;
use std::error::Error;
use std::process::{Command, Stdio};

/// Hidden first argument of this program.
pub(crate) const CLIENT: &str = "rdma-client";

/// Measures and prints two figures.
pub(crate) fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let [at, own, peers, row, turns] = arguments else { return Err("arguments: AT OWN PEERS ROW TURNS".into()) };
    let row = rows::ROWS.into_iter().find(|known| known.name() == *row).ok_or("no such row")?;
    let (at, turns): (Address, u64) = (at.parse()?, turns.parse()?);
    machine::pin(own.parse()?)?;
    let (there, scale) = (beside(&at, 1)?, Scale::measure());
    let mut command = Command::new(std::env::current_exe()?);
    command.args([PEER, &there.to_string(), &at.to_string(), peers]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let (to, from) = (child.stdin.take().ok_or("no pipe")?, child.stdout.take().ok_or("no pipe")?);
    let mut pipe = Pipe::new(from, to);
    let buffers = if matches!(row, Row::Stream(_)) { DEPTH } else { 1 };
    let mut node = Node::open(&at, &there, buffers, &mut pipe)?;
    let (one, other) = figures(row, turns, &scale, &mut node, &mut pipe)?;
    println!("{one} {other}");
    pipe.say("quit")?;
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(format!("the peer ended with {status}").into()) }
}

fn figures(
    row: Row,
    turns: u64,
    scale: &Scale,
    node: &mut Node,
    pipe: &mut Pipe,
) -> Result<(f64, f64), Box<dyn Error>> {
    match row {
        Row::Write(bytes) => {
            pipe.ask(&format!("throw-back {bytes} {turns}"), "ready")?;
            let ticks = transfers::throw(node, bytes, turns)?;
            let ended = pipe.hear()?;
            if ended != "done" {
                return Err(format!("the peer said `{ended}`").into());
            }
            rows::latency(scale, &ticks, 2)
        }
        Row::Read(bytes) => rows::latency(scale, &transfers::read(node, bytes, turns)?, 1),
        Row::Stream(bytes) => {
            let seconds = scale.tenths(transfers::stream(node, turns)?, 1) as f64 / 1e10;
            let rate = (bytes as u64 * turns) as f64 / seconds / f64::from(1 << 20);
            Ok((rate, rate))
        }
        Row::Session => Err("a session is measured by other processes".into()),
    }
}
