//! `handfast node`: one node that lives until it is told to end.

use crate::cli::args::NodeArguments;
use crate::cli::config::{Setup, setup};
use crate::cli::failure::Failure;
use crate::cli::output;
use handfast::fabric::shm::{Shm, ShmPort};
use handfast::manager::{Client, ClusterManager, Event, LostReason, Unavailable};
use handfast::session::Session;
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

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
    let Setup { node, clients, stage } = setup(arguments)?;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .init();
    let end = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&end))?;
    }
    let mut manager = ClusterManager::boot(Shm::new(), node)?;
    for client in clients {
        manager.client(client, Box::<Holding>::default())?;
    }
    if let Some((name, done, total)) = &stage {
        manager.stage(name, *done, *total);
    }
    if !arguments.booting {
        if stage.is_none() {
            manager.stage("up", 0, 0);
        }
        manager.open();
    }
    let control = manager.spawn()?;
    while !end.load(Ordering::Relaxed) {
        match control.events().recv_timeout(Duration::from_millis(50)) {
            Ok(event) => tell(&event, arguments.json),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    control.leave();
    if !arguments.json {
        tracing::info!("left");
    }
    Ok(())
}

fn tell(event: &Event, json: bool) {
    if json {
        output::line(object(event));
        return;
    }
    match event {
        Event::Obstacle(_) | Event::Unavailable { .. } | Event::Lost { .. } | Event::Trouble(_) => {
            tracing::warn!("{event}")
        }
        _ => tracing::info!("{event}"),
    }
}

fn object(event: &Event) -> Value {
    let (kind, session) = match event {
        Event::Listening { .. } => ("listening", None),
        Event::Linked { .. } => ("linked", None),
        Event::PartnerStage { .. } => ("partner_stage", None),
        Event::Obstacle(_) => ("obstacle", None),
        Event::Unreachable(_) => ("unreachable", None),
        Event::Established { session, .. } => ("established", Some(session)),
        Event::Ready { session, .. } => ("ready", Some(session)),
        Event::Unavailable { .. } => ("unavailable", None),
        Event::Lost { session, .. } => ("lost", Some(session)),
        Event::Trouble(_) => ("trouble", None),
        _ => ("other", None),
    };
    json!({ "event": kind, "session": session.map(|session| session.to_string()), "text": event.to_string() })
}
