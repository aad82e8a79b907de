//! The other process: throws WRITEs back, or sleeps.

use crate::machine;
use crate::rdma::node::Node;
use crate::rdma::pipe::Pipe;
use crate::rdma::transfers::{clear, throw_back};
use std::error::Error;

/// Hidden first argument of this program.
pub(crate) const PEER: &str = "rdma-peer";

/// Runs until it is told to quit, or its pipe ends.
pub(crate) fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let [at, partner, processor] = arguments else { return Err("arguments: AT PARTNER PROCESSOR".into()) };
    machine::pin(processor.parse()?)?;
    let mut pipe = Pipe::of_standard_streams();
    let mut node = Node::open(&at.parse()?, &partner.parse()?, 1, &mut pipe)?;
    loop {
        let line = pipe.hear()?;
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["throw-back", bytes, turns] => {
                let (bytes, turns) = (bytes.parse()?, turns.parse()?);
                clear(&node, bytes)?;
                pipe.say("ready")?;
                throw_back(&mut node, bytes, turns)?;
                pipe.say("done")?;
            }
            ["quit"] => return Ok(()),
            _ => return Err(format!("unknown command `{line}`").into()),
        }
    }
}
