//! `handfast demo`: two partners as two processes, a session, a stream, a kill, and recovery.

mod outcome;
mod process;
mod protocol;
mod receiver;
mod report;
mod sender;
mod source;
mod supervisor;
pub(crate) mod worker;

use crate::cli::args::DemoArguments;
use crate::cli::failure::Failure;

/// The bytes that travel in one WRITE: the second where the limit of locked memory is too low for the first.
const CHUNK_BYTES: [u32; 2] = [256 << 10, 32 << 10];
/// Chunks that the receiver's ring holds, and buffers of the sender. Together they stay far below the usual limit of locked memory (8 MiB).
const CHUNKS: usize = 8;
/// What the receiver asks for at the sender: the word that says how many chunks it took.
const CREDIT_BYTES: u64 = 4096;

pub(crate) fn run(arguments: &DemoArguments) -> Result<(), Failure> {
    let source = source::open(arguments.file.as_deref())?;
    let mut screen = report::Screen::new(arguments.json);
    let outcome = supervisor::run(&source, arguments.order, &mut screen)?;
    outcome.check(&source.name)?;
    screen.end(&outcome);
    Ok(())
}
