//! `handfast node`: one node that lives until it is told to end.

use crate::cli::args::NodeArguments;
use crate::cli::config::{Setup, setup};
use crate::cli::failure::Failure;
use crate::cli::{events, output};
use handfast::fabric::shm::{Shm, ShmPort};
use handfast::manager::{Client, ClusterManager, LostReason, Unavailable};
use handfast::session::Session;
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

/// A client that holds what it was granted, and does nothing with it.
#[derive(Default)]
struct Holding {
    session: Option<Session<Shm>>,
    ports: Vec<ShmPort>,
}

impl Client<Shm> for Holding {
    fn on_ready(&mut self, mut session: Session<Shm>) {
        self.ports = session.take_ports();
        self.session = Some(session);
    }
    fn on_lost(&mut self, _reason: &LostReason) {
        self.ports.clear();
        self.session = None;
    }
    fn on_unavailable(&mut self, _reason: &Unavailable) {}
}

pub(crate) fn run(arguments: &NodeArguments) -> Result<(), Failure> {
    let Setup { node, clients, stage, booting } = setup(arguments)?;
    start_log(arguments.json)?;
    let end = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&end))?;
    }
    let mut manager = ClusterManager::boot(Shm::new(), node)?;
    for client in clients {
        manager.client(client, Box::<Holding>::default()).map_err(Failure::usage)?;
    }
    match &stage {
        Some((name, done, total)) => manager.stage(name, *done, *total),
        None => manager.stage(if booting { "booting" } else { "up" }, 0, 0),
    }
    if !booting {
        manager.open();
    }
    let control = manager.spawn()?;
    while !end.load(Ordering::Relaxed) {
        match control.events().recv_timeout(HEARING) {
            Ok(event) => events::tell(&event, arguments.json),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Failure::new("the control thread ended by itself")),
        }
    }
    control.leave();
    if arguments.json {
        output::line(json!({ "event": "left", "text": "left" }));
    } else {
        tracing::info!("left");
    }
    Ok(())
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
        .with_ansi(colours)
        .with_target(false)
        .init();
    Ok(())
}
