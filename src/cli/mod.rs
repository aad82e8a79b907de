//! The program: sees the library's public API only.

mod args;
mod config;
mod demo;
mod failure;
mod node;
mod output;
mod status;

use args::{Arguments, Command};
use clap::Parser;
use std::process::ExitCode;

/// Runs the program: 0 where all went well, 1 where it failed, 2 where it was called wrongly.
pub(crate) fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let json = arguments.command.wants_json();
    let outcome = match arguments.command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::DemoWorker(arguments) => demo::worker::run(&arguments),
        Command::Node(arguments) => node::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(json),
    }
}
