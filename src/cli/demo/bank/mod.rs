//! `handfast demo --engine redb`: a small bank on redb over the mirrored log. Its primary is killed in the middle; the partner takes over, and every
//! transfer that was acknowledged must be there.

mod baseline;
mod ledger;
mod outcome;
mod process;
mod protocol;
mod screen;
mod supervisor;
mod tally;
pub(crate) mod worker;

use crate::cli::args::DemoArguments;
use crate::cli::demo::place;
use crate::cli::failure::Failure;
use std::time::Duration;

/// The primary's ring: with what the partner wants here, far below the usual limit of locked memory (8 MiB).
const RING_BYTES: u64 = 4 << 20;
/// The partner's own, of which it makes no use.
const RING_BYTES_PARTNER: u64 = 64 << 10;

/// Whatever is awaited has come by then, or never comes.
const PATIENCE: Duration = Duration::from_secs(30);

/// What lies in the bank's folder: the primary's database, what it acknowledged, the partner's images, and what it builds of them.
const PRIMARY: &str = "primary.redb";
const ACKNOWLEDGED: &str = "acknowledged";
const IMAGES: &str = "images";
const REBUILT: &str = "partner.redb";

pub(crate) fn run(arguments: &DemoArguments) -> Result<(), Failure> {
    let addresses = place::pair(arguments)?;
    let mut screen = screen::Screen::new(arguments.json);
    let outcome = supervisor::run(arguments.transactions, &addresses, &mut screen)?;
    screen.outcome(&outcome);
    outcome.check()?;
    screen.end(&outcome)
}
