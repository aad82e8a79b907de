//! `handfast demo`: two partners, a session, a file through the mirrored log, a loss, and recovery. As two processes under one supervisor, which kills one of
//! them; or in two halves, one command each, on one machine or two.

#[cfg(feature = "redb")]
pub(crate) mod bank;
mod half;
mod logs;
mod outcome;
mod place;
mod process;
mod protocol;
mod receiver;
mod record;
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

/// Bytes of the sender's log: the second where the limit of locked memory is too low for the first. Each process pins a ring of its own and
/// the copy of the other's; together they stay below the usual limit (8 MiB). An emulated RDMA device moves some 10 MB/s: there a ring of less is
/// through sooner, and nobody is taken for silent.
fn ring_bytes(address: &Address) -> [u64; 2] {
    match address {
        Address::Rdma { .. } => [512 << 10, 64 << 10],
        _ => [2 << 20, 128 << 10],
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
    screen.end(&outcome)
}

#[cfg(feature = "redb")]
fn bank(arguments: &DemoArguments) -> Result<(), Failure> {
    bank::run(arguments)
}

#[cfg(not(feature = "redb"))]
fn bank(_arguments: &DemoArguments) -> Result<(), Failure> {
    Err(Failure::new("this program was built without redb: build it with `--features redb`"))
}
