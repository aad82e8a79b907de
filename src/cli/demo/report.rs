//! What the demo shows: text for people while it runs, or one object at its end.

use crate::cli::args::Order;
use crate::cli::demo::protocol::{GrantReport, StepReport};
use crate::cli::demo::source::Source;
use crate::cli::demo::supervisor::Passed;
use crate::cli::output;
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use std::time::Duration;

/// A session as the demo shows it.
pub(crate) struct Established {
    pub(crate) session: String,
    pub(crate) partner_incarnation: String,
    pub(crate) authentication: String,
    pub(crate) steps: Vec<StepReport>,
    pub(crate) partner_steps: Vec<StepReport>,
    pub(crate) since_boot_ns: u64,
    pub(crate) grants: Vec<GrantReport>,
}

/// What came of it all.
pub(crate) struct Outcome {
    pub(crate) established: Established,
    pub(crate) again: Established,
    pub(crate) passes: [Passed; 2],
    pub(crate) restarts: u32,
}

impl Outcome {
    /// Whether every digest agrees, with its counterpart and over both passes.
    pub(crate) fn agrees(&self) -> bool {
        let [first, second] = &self.passes;
        first.agrees() && second.agrees() && first.digest_sent == second.digest_sent
    }
}

/// Where it shows.
pub(crate) struct Screen {
    json: bool,
    bar: ProgressBar,
}

impl Screen {
    pub(crate) fn new(json: bool) -> Self {
        // Hidden by itself where standard error is no terminal.
        let bar = if json {
            ProgressBar::hidden()
        } else {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        };
        let style = ProgressStyle::with_template("  [{bar:40}] {bytes} of {total_bytes}, {bytes_per_sec}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        Self { json, bar }
    }

    fn line(&self, text: impl AsRef<str>) {
        if !self.json {
            self.bar.suspend(|| output::line(text.as_ref()));
        }
    }

    pub(crate) fn begin(&self, source: &Source, order: Order) {
        let order = match order {
            Order::AFirst => "a first",
            Order::BFirst => "b first",
            Order::Both => "both at once",
        };
        self.line(format!("handfast demo: {} ({}), {order}\n", source.name, HumanBytes(source.bytes)));
    }

    pub(crate) fn started(&self, sender: u32, receiver: u32) {
        self.line(format!("two partners       a: process {sender}      b: process {receiver}"));
    }

    pub(crate) fn established(&self, established: &Established) {
        self.line(format!("session            {}", established.session));
        self.line(format!(
            "                   {}; {} after a's boot\n",
            established.authentication,
            duration(established.since_boot_ns)
        ));
        self.steps(established);
        self.grants(&established.grants);
    }

    fn steps(&self, established: &Established) {
        self.line(format!("  {:<4} {:<24} {:>12} {:>12}", "step", "", "a", "b"));
        for (number, (a, b)) in established.steps.iter().zip(&established.partner_steps).enumerate() {
            self.line(format!("  {:<4} {:<24} {:>12} {:>12}", number + 1, a.name, duration(a.ns), duration(b.ns)));
        }
        self.line("");
    }

    fn grants(&self, grants: &[GrantReport]) {
        self.line(format!("  {:<10} {:>6} {:>16} {:>16}", "client", "ports", "memory at b", "memory at a"));
        for grant in grants {
            let (there, here) = (HumanBytes(grant.there_bytes).to_string(), HumanBytes(grant.here_bytes).to_string());
            self.line(format!("  {:<10} {:>6} {there:>16} {here:>16}", grant.client, grant.ports));
        }
        self.line("");
    }

    pub(crate) fn progress(&self, bytes: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(bytes);
    }

    pub(crate) fn note(&self, worker: u32, text: &str) {
        // The workers' life is on record for whoever asks; most of it is told better elsewhere.
        tracing::debug!(worker, text);
    }

    pub(crate) fn passed(&self, pass: &Passed) {
        self.bar.reset();
        let verdict = if pass.agrees() { "equal" } else { "DIFFERENT" };
        self.line(format!(
            "pass {}             {} in {}, {:.2} GB/s, digests {verdict}",
            pass.number,
            HumanBytes(pass.bytes),
            duration((pass.seconds * 1e9) as u64),
            pass.gigabytes_per_second()
        ));
        self.line(format!("  sent             {}", pass.digest_sent));
        self.line(format!("  received         {}\n", pass.digest_received));
    }

    pub(crate) fn killed(&self, process: u32, bytes: u64, total: u64) {
        let (bytes, total) = (HumanBytes(bytes), HumanBytes(total));
        self.line(format!("pass 2             killed b (process {process}, SIGKILL) after {bytes} of {total}"));
    }

    pub(crate) fn lost(&self, reason: &str, after: Duration) {
        self.line(format!("  +{:<15} a: session lost", duration(after.as_nanos() as u64)));
        self.line(format!("                   {reason}"));
    }

    pub(crate) fn established_again(&self, process: u32, established: &Established, after: Duration) {
        self.line(format!("  b again          process {process}, incarnation {}", established.partner_incarnation));
        self.line(format!(
            "  +{:<15} session {}\n                   b's memory is empty: pass 2 starts from its first byte\n",
            duration(after.as_nanos() as u64),
            established.session
        ));
    }

    pub(crate) fn end(&self, source: &Source, outcome: &Outcome) {
        let [first, second] = &outcome.passes;
        if self.json {
            let steps: Vec<_> =
                outcome.established.steps.iter().map(|step| json!({ "name": step.name, "ns": step.ns })).collect();
            let object = json!({
                "established": true,
                "authentication": outcome.established.authentication,
                "steps": steps,
                "session_id": outcome.established.session,
                "session_id_after_restart": outcome.again.session,
                "bytes": source.bytes,
                "digest_sent": second.digest_sent,
                "digest_received": second.digest_received,
                "digests_agree": outcome.agrees(),
                "gigabytes_per_second": first.gigabytes_per_second(),
                "restarts": outcome.restarts,
                "resumed": second.agrees(),
            });
            output::line(object);
        } else {
            let verdict = if outcome.agrees() { "every digest agrees" } else { "DIGESTS DIFFER" };
            self.line(format!("{verdict}: {} each pass, through a kill and a restart", HumanBytes(source.bytes)));
        }
    }
}

/// A duration with three digits that mean something.
fn duration(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns} ns"),
        10_000..10_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}
