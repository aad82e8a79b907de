//! The `handfast` program: demo, node, status.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
