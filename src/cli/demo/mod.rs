//! `handfast demo`: two partners, a session, a stream, a loss, and recovery. As two processes under one supervisor, which kills one of
//! them; or in two halves, one command each, on one machine or two.

#[cfg(feature = "redb")]
pub(crate) mod bank;
mod half;
mod outcome;
mod place;
mod process;
mod protocol;
mod receiver;
mod report;
mod sender;
mod source;
mod supervisor;
mod tally;
mod telling;
pub(crate) mod worker;

use crate::cli::args::{DemoArguments, EngineName};
use crate::cli::failure::Failure;
use handfast::fabric::Address;

/// Chunks that the receiver's ring holds, and buffers of the sender. Together they stay far below the usual limit of locked memory (8 MiB).
const CHUNKS: usize = 8;
/// What the receiver asks for at the sender: the word that says how many chunks it took.
const CREDIT_BYTES: u64 = 4096;

/// The bytes that travel in one WRITE: the second where the limit of locked memory is too low for the first. An emulated RDMA device moves
/// some 10 MB/s: there a ring of less is through sooner, and nobody is taken for silent.
fn chunk_bytes(address: &Address) -> [u32; 2] {
    match address {
        Address::Rdma { .. } => [64 << 10, 16 << 10],
        _ => [256 << 10, 32 << 10],
    }
}

pub(crate) fn run(arguments: &DemoArguments) -> Result<(), Failure> {
    if let Some(EngineName::Redb) = arguments.engine {
        return bank(arguments);
    }
    if let Some(side) = arguments.side {
        return half::run(arguments, side);
    }
    let addresses = place::pair(arguments)?;
    let source = source::open(arguments.file.as_deref())?;
    let mut screen = report::Screen::new(arguments.json);
    let outcome = supervisor::run(&source, arguments.order, addresses, &mut screen)?;
    outcome.check(&source.name)?;
    screen.end(&outcome);
    Ok(())
}

#[cfg(feature = "redb")]
fn bank(arguments: &DemoArguments) -> Result<(), Failure> {
    bank::run(arguments)
}

#[cfg(not(feature = "redb"))]
fn bank(_arguments: &DemoArguments) -> Result<(), Failure> {
    Err(Failure::new("this program was built without redb: build it with `--features redb`"))
}
