//! `handfast status`: what a node publishes of itself, read one-sided.

use crate::cli::args::StatusArguments;
use crate::cli::events::progress;
use crate::cli::fabrics::{self, Task};
use crate::cli::failure::Failure;
use crate::cli::output::{self, count, plain};
use handfast::fabric::{Address, Fabric};
use handfast::session::{StatusReport, observe};
use handfast::{Error, Recovery};
use serde_json::{Value, json};
use std::time::Duration;

/// A node that is there answers in microseconds; one that is being written to all the time, within this.
const DEADLINE: Duration = Duration::from_secs(2);

/// Between the two looks that tell a heart that beats from one that stands still.
const BEAT_WINDOW: Duration = Duration::from_millis(50);

/// A heart that does not beat for so long stands still, and does not just wait for its turn on a busy machine.
const STILL: Duration = Duration::from_millis(500);

pub(crate) fn run(arguments: &StatusArguments) -> Result<(), Failure> {
    let address: Address = arguments.address.parse().map_err(Failure::usage)?;
    let interval = match arguments.watch {
        Some(seconds) if !(0.1..=86400.0).contains(&seconds) => {
            return Err(Failure::usage(format!("--watch {seconds}: allowed are 0.1 to 86400 seconds")));
        }
        seconds => seconds.map(Duration::from_secs_f64),
    };
    fabrics::on(&address, Reading { address: &address, interval, json: arguments.json })
}

/// Readings of one node, on whichever fabric.
struct Reading<'a> {
    address: &'a Address,
    interval: Option<Duration>,
    json: bool,
}

impl Task for Reading<'_> {
    type Output = ();

    fn run<F: Fabric>(self, fabric: F) -> Result<(), Failure> {
        loop {
            let mut stands_still = false;
            let written = match (read(&fabric, self.address), self.interval) {
                (Ok((report, beats)), _) => {
                    stands_still = beats.count == 0;
                    if self.json {
                        output::line(object(&report, beats))
                    } else {
                        output::line(text(self.address, &report, beats))
                    }
                }
                // A node that is watched may end and come back.
                (Err(error), Some(_)) if error.recovery() != Recovery::Fatal => absent(&error, self.json),
                (Err(error), _) => return Err(Failure::new(error)),
            };
            match self.interval {
                Some(interval) if written.is_ok() => std::thread::sleep(interval),
                None if written.is_ok() && stands_still => return Err(Failure::stands_still()),
                _ => return output::said(written),
            }
        }
    }
}

/// How often a heart beat, and within what time.
#[derive(Debug, Clone, Copy)]
struct Beats {
    count: u64,
    window: Duration,
}

/// What the node publishes, and how often its heart beat.
fn read<F: Fabric>(fabric: &F, address: &Address) -> Result<(StatusReport, Beats), Error> {
    let first = observe(fabric, address, DEADLINE)?;
    let mut window = Duration::ZERO;
    loop {
        std::thread::sleep(BEAT_WINDOW);
        window += BEAT_WINDOW;
        let report = observe(fabric, address, DEADLINE)?;
        // Another process in between has another heart.
        let before = if first.incarnation == report.incarnation { first.heartbeat } else { 0 };
        let count = report.heartbeat.wrapping_sub(before);
        if count != 0 || window >= STILL {
            return Ok((report, Beats { count, window }));
        }
    }
}

fn absent(error: &Error, json: bool) -> std::io::Result<()> {
    if json { output::line(json!({ "error": plain(error) })) } else { output::line(plain(error)) }
}

fn object(report: &StatusReport, beats: Beats) -> Value {
    let clients: Vec<Value> = report
        .clients
        .iter()
        .map(|client| json!({ "name": client.name.as_str(), "ports": client.ports, "memory_bytes": client.memory, "ready": client.ready }))
        .collect();
    json!({
        "cluster": report.cluster.as_str(),
        "node": report.node.as_str(),
        "incarnation": report.incarnation.to_string(),
        "attempt": report.attempt.0,
        "session": report.session.map(|session| session.to_string()),
        "authentication": if report.has_key { "pre-shared key" } else { "none" },
        "protocol": { "min": report.versions.min, "max": report.versions.max },
        "leaving": report.leaving,
        "stage": report.stage,
        "progress": progress(report.progress),
        "heartbeat": report.heartbeat,
        "beating": beats.count != 0,
        "clients": clients,
    })
}

fn text(address: &Address, report: &StatusReport, beats: Beats) -> String {
    let mut lines = vec![format!("{address}: node {} of cluster {}", report.node, report.cluster)];
    let mut line = |name: &str, value: String| lines.push(format!("  {name:<14} {value}"));
    line("incarnation", format!("{}, attempt {}", report.incarnation, report.attempt));
    let stage = match (report.stage.as_str(), report.progress.percent()) {
        ("", _) => "none published".to_owned(),
        (stage, Some(percent)) => {
            format!("{stage}, {percent} % ({} of {})", report.progress.done, report.progress.total)
        }
        (stage, None) => stage.to_owned(),
    };
    line("boot stage", stage);
    let window = beats.window.as_millis();
    line(
        "heartbeat",
        match beats.count {
            0 => format!("{}, stands still ({window} ms)", report.heartbeat),
            beats => format!("{}, {} in {window} ms", report.heartbeat, count(beats, "beat")),
        },
    );
    line("session", report.session.map_or("none".to_owned(), |session| session.to_string()));
    line("authentication", if report.has_key { "pre-shared key" } else { "none" }.to_owned());
    line("protocol", report.versions.to_string());
    if report.leaving {
        line("leaving", "yes".to_owned());
    }
    if report.clients.is_empty() {
        line("clients", "none".to_owned());
    }
    for client in &report.clients {
        let (ports, memory) = (count(client.ports.into(), "port"), count(client.memory, "byte"));
        let ready = if client.ready { "in session" } else { "waiting" };
        line("client", format!("{}: {ports}, {memory} wanted at the partner, {ready}", client.name));
    }
    lines.join("\n")
}
