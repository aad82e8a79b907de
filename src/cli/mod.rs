//! The program: sees the library's public API only.

// `println!` and `eprintln!` panic where the reader is gone or the disk is full: `output` has what to use instead.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod config;
mod demo;
mod devices;
mod events;
mod fabrics;
mod failure;
mod holding;
mod log;
mod node;
mod output;
mod panics;
mod signals;
mod status;
mod threads;
mod writer;

use args::{Arguments, Command};
use clap::Parser;
use failure::Failure;
use signal_hook::consts::SIGXFSZ;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

/// Runs the program: 0 where all went well, 1 where it failed, 2 where it was called wrongly.
pub(crate) fn run() -> ExitCode {
    if let Err(failure) = outlive_file_limit() {
        return failure.tell(false);
    }
    // Started with capabilities (setcap), it is a stranger to every other node until it says this. Where that is refused, so is what follows, in words.
    let _ = handfast::fabric::shm::make_dumpable();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refused(&error),
    };
    let json = arguments.command.wants_json();
    let outcome = match arguments.command {
        Command::Demo(arguments) => demo::run(&arguments),
        // It tells its supervisor, and nobody else.
        Command::DemoWorker(arguments) => return demo::worker::run(&arguments),
        #[cfg(feature = "redb")]
        Command::BankWorker(arguments) => return demo::bank::worker::run(&arguments),
        Command::Node(arguments) => node::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Devices(arguments) => devices::run(&arguments),
        Command::Log(command) => log::run(&command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(json),
    }
}

/// A file that may not grow any more (`ulimit -f`) fails a write, EFBIG. Without a handler the signal that comes with it ends the process, and a node
/// with its log. The handler does nothing; a signal that is ignored instead would be ignored by the programs that this one starts, too.
fn outlive_file_limit() -> Result<(), Failure> {
    let registered = signal_hook::flag::register(SIGXFSZ, Arc::default());
    registered.map(drop).map_err(|error| Failure::of("handling SIGXFSZ", error))
}

/// The command line makes no sense (or asks for help): whoever wanted JSON gets that as JSON too.
fn refused(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|argument| argument == "--json");
    if json && error.use_stderr() {
        let text = error.to_string();
        let lines = text.trim_start_matches("error: ").lines().map(str::trim).take_while(|line| !line.is_empty());
        return Failure::usage(lines.collect::<Vec<_>>().join(" ")).tell(true);
    }
    let printed = error.print();
    if error.use_stderr() {
        return ExitCode::from(2);
    }
    match output::said(printed.and_then(|()| std::io::stdout().flush())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(false),
    }
}
