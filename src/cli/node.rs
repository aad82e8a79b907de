//! `handfast node`: one node that lives until it is told to end.

use crate::cli::args::NodeArguments;
use crate::cli::config::{Setup, setup};
use crate::cli::events;
use crate::cli::fabrics::{self, Task};
use crate::cli::failure::Failure;
use crate::cli::holding::Holding;
use crate::cli::output::count;
use crate::cli::panics::Panics;
use crate::cli::signals;
use crate::cli::writer::Writer;
use handfast::fabric::Fabric;
use handfast::manager::{ClusterManager, ControlThread};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};
use tracing_subscriber::EnvFilter;

/// How late a signal may be noticed.
const HEARING: Duration = Duration::from_millis(20);

/// How long what is told last may take. A reader who stands still then has had his time.
const LAST_WORDS: Duration = Duration::from_millis(500);

pub(crate) fn run(arguments: &NodeArguments) -> Result<(), Failure> {
    let setup = setup(arguments)?;
    let log = Writer::to_stderr(|lines| format!("handfast: {}", dropped(lines)))?;
    let objects = arguments.json.then(|| Writer::to_stdout(dropped_object)).transpose()?;
    start_log(&log, arguments.json)?;
    let at = setup.at.clone();
    let panics = Panics::watch(&log);
    let ended = fabrics::on(&at, Node { setup, objects: objects.as_ref(), panics });
    let failure = ended.as_ref().err().map(Failure::message);
    if let (Some(message), Some(objects)) = (failure, &objects) {
        objects.line(json!({ "error": message }));
    }
    let until = Instant::now() + LAST_WORDS;
    let all_told = objects.as_ref().is_some_and(|objects| objects.finish(until));
    // An object for which there is no room is better told as text than not at all.
    if let (Some(message), false) = (failure, all_told) {
        log.line(format!("handfast: {message}"));
    }
    log.finish(until);
    ended.map_err(Failure::said_elsewhere)
}

/// What is told of lines that are lost.
fn dropped(lines: u64) -> String {
    let were = if lines == 1 { "was" } else { "were" };
    format!("{} {were} dropped here: nobody read them, or there was no room for them", count(lines, "line"))
}

fn dropped_object(lines: u64) -> String {
    json!({ "event": "dropped", "count": lines, "text": dropped(lines) }).to_string()
}

/// The node, on whichever fabric.
struct Node<'a> {
    setup: Setup,
    /// Where its events go as objects, if they are to.
    objects: Option<&'a Writer>,
    panics: Panics,
}

impl Task for Node<'_> {
    type Output = ();

    fn run<F: Fabric>(self, fabric: F) -> Result<(), Failure> {
        let end = Arc::new(AtomicBool::new(false));
        // Whoever started it by nohup wants it to outlive the terminal.
        let hangup = (!signals::is_ignored(SIGHUP)).then_some(SIGHUP);
        for signal in [SIGINT, SIGTERM].into_iter().chain(hangup) {
            signal_hook::flag::register(signal, Arc::clone(&end))?;
        }
        let control = start(fabric, self.setup)?;
        while !end.load(Ordering::Relaxed) {
            match control.events().recv_timeout(HEARING) {
                Ok(event) => events::tell(&event, self.objects),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::of("the control thread ended by itself", self.panics.cause()));
                }
            }
        }
        control.leave();
        match self.objects {
            Some(objects) => objects.line(json!({ "event": "left", "text": "left" })),
            None => tracing::info!("left"),
        }
        Ok(())
    }
}

fn start<F: Fabric>(fabric: F, setup: Setup) -> Result<ControlThread, Failure> {
    let Setup { node, clients, stage, booting, .. } = setup;
    let mut manager = ClusterManager::boot(fabric, node)?;
    for client in clients {
        manager.client(client, Box::new(Holding::new())).map_err(Failure::usage)?;
    }
    match &stage {
        Some((name, done, total)) => manager.stage(name, *done, *total),
        None => manager.stage(if booting { "booting" } else { "up" }, 0, 0),
    }
    if !booting {
        manager.open();
    }
    Ok(manager.spawn()?)
}

/// Standard error carries the text: at `info`, or what RUST_LOG says. Whoever wants JSON gets no text that was not asked for.
fn start_log(log: &Writer, json: bool) -> Result<(), Failure> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(wanted) if !wanted.is_empty() => {
            EnvFilter::try_new(&wanted).map_err(|error| Failure::usage(format!("RUST_LOG `{wanted}`: {error}")))?
        }
        _ => EnvFilter::new(if json { "off" } else { "info" }),
    };
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let log = log.clone();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || log.clone())
        // It would tell of a line that could not be written by `eprintln!`, which panics for the same reason.
        .log_internal_errors(false)
        .with_ansi(colours)
        .with_target(false)
        .init();
    Ok(())
}
