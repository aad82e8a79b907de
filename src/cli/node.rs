//! `handfast node`: one node that lives until it is told to end.

use crate::cli::args::NodeArguments;
use crate::cli::config::{Setup, setup};
use crate::cli::fabrics::{self, Task};
use crate::cli::failure::Failure;
use crate::cli::holding::Holding;
use crate::cli::{events, output};
use handfast::fabric::Fabric;
use handfast::manager::{ClusterManager, ControlThread};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// How late a signal may be noticed.
const HEARING: Duration = Duration::from_millis(20);

pub(crate) fn run(arguments: &NodeArguments) -> Result<(), Failure> {
    let setup = setup(arguments)?;
    start_log(arguments.json)?;
    let at = setup.at.clone();
    fabrics::on(&at, Node { setup, json: arguments.json })
}

/// The node, on whichever fabric.
struct Node {
    setup: Setup,
    json: bool,
}

impl Task for Node {
    type Output = ();

    fn run<F: Fabric>(self, fabric: F) -> Result<(), Failure> {
        let end = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&end))?;
        }
        let control = start(fabric, self.setup)?;
        while !end.load(Ordering::Relaxed) {
            match control.events().recv_timeout(HEARING) {
                Ok(event) => events::tell(&event, self.json),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Failure::new("the control thread ended by itself")),
            }
        }
        control.leave();
        if self.json {
            let _ = output::line(json!({ "event": "left", "text": "left" }));
        } else {
            tracing::info!("left");
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
fn start_log(json: bool) -> Result<(), Failure> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(wanted) if !wanted.is_empty() => {
            EnvFilter::try_new(&wanted).map_err(|error| Failure::usage(format!("RUST_LOG `{wanted}`: {error}")))?
        }
        _ => EnvFilter::new(if json { "off" } else { "info" }),
    };
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would tell of a line that could not be written by `eprintln!`, which panics for the same reason.
        .log_internal_errors(false)
        .with_ansi(colours)
        .with_target(false)
        .init();
    Ok(())
}
