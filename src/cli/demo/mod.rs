//! `handfast demo`: two partners as two processes, a session, a stream, a kill, and recovery.

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

/// The bytes that travel in one WRITE.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks that the receiver's ring holds. With the buffers of the sender this stays far below the usual limit of locked memory (8 MiB).
const CHUNKS: usize = 8;
/// What the sender asks for at the receiver: the ring.
const RING_BYTES: u64 = (CHUNK_BYTES * CHUNKS) as u64;
/// What the receiver asks for at the sender: the word that says how many chunks it took.
const CREDIT_BYTES: u64 = 4096;

pub(crate) fn run(arguments: &DemoArguments) -> Result<(), Failure> {
    let source = source::open(arguments.file.as_deref())?;
    let mut screen = report::Screen::new(arguments.json);
    let outcome = supervisor::run(&source, arguments.order, &mut screen)?;
    screen.end(&source, &outcome);
    if outcome.agrees() {
        Ok(())
    } else {
        Err(Failure::new("the digests of what was sent and what was received differ"))
    }
}
