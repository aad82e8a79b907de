//! `handfast log`: what is in a mirrored log. Reads a file, and changes nothing.

mod dump;
mod stat;
mod verify;
mod walk;

use crate::cli::args::LogCommand;
use crate::cli::failure::Failure;

pub(crate) fn run(command: &LogCommand) -> Result<(), Failure> {
    match command {
        LogCommand::Dump(arguments) => dump::run(arguments),
        LogCommand::Verify(arguments) => verify::run(arguments),
        LogCommand::Stat(arguments) => stat::run(arguments),
    }
}
