//! What a half of the demo tells: lines for people while it runs, or one JSON object a line for each event.

use crate::cli::args::Role;
use crate::cli::demo::outcome::Passed;
use crate::cli::demo::protocol::Report;
use crate::cli::demo::report::{duration, pass_bar, rate};
use crate::cli::demo::source::Source;
use crate::cli::failure::Failure;
use crate::cli::output::Lines;
use handfast::fabric::Address;
use indicatif::{HumanBytes, ProgressBar};
use serde_json::{Value, json};
use std::time::Duration;

/// Where it is told.
pub(crate) struct Telling {
    json: bool,
    bar: ProgressBar,
    /// Bytes of a pass, where this side knows them.
    total: Option<u64>,
    lines: Lines,
}

impl Telling {
    pub(crate) fn new(json: bool, total: Option<u64>) -> Self {
        Self { json, bar: ProgressBar::hidden(), total, lines: Lines::default() }
    }

    fn event(&self, kind: &str, mut object: Value) {
        object["event"] = kind.into();
        self.lines.line(object);
    }

    fn line(&self, text: impl std::fmt::Display) {
        self.bar.suspend(|| self.lines.line(text));
    }

    pub(crate) fn begin(&self, role: Role, partner: &Address, source: Option<&Source>) {
        if self.json {
            return;
        }
        match (role, source) {
            (Role::Sender, Some(source)) => {
                let bytes = HumanBytes(source.bytes);
                self.line(format!("handfast demo: sends {} ({bytes}) to {partner}", source.name));
            }
            _ => self.line(format!("handfast demo: receives from {partner}")),
        }
    }

    /// Anything that happens before the last pass is through.
    pub(crate) fn tell(&mut self, report: &Report) {
        if self.json {
            if let Some((kind, object)) = self.object(report) {
                self.event(kind, object);
            }
            return;
        }
        match report {
            Report::Progress { bytes, .. } => {
                if self.bar.is_finished() || self.bar.is_hidden() {
                    self.bar = pass_bar(self.total);
                }
                self.bar.set_position(*bytes);
            }
            Report::Lost { .. } => {
                self.bar.finish_and_clear();
                self.line(text(report).unwrap_or_default());
            }
            report => {
                if let Some(text) = text(report) {
                    self.line(text);
                }
            }
        }
    }

    pub(crate) fn passed(&mut self, pass: &Passed) {
        self.bar.finish_and_clear();
        if self.json {
            self.event("passed", summary(pass));
            return;
        }
        let verdict = if pass.agrees() { "digests equal" } else { "DIGESTS DIFFER" };
        let (bytes, took) = (HumanBytes(pass.sent.bytes), duration(Duration::from_secs_f64(pass.seconds)));
        let rate = rate(pass.gigabytes_per_second());
        self.line(format!("pass {}: {bytes} in {took}, {rate}, {verdict}", pass.number));
        self.line(format!("  sent      {}", pass.sent.digest));
        self.line(format!("  received  {}", pass.received.digest));
    }

    /// The last word. It fails where anything before it, or itself, could not be written.
    pub(crate) fn done(&self, last: &Passed) -> Result<(), Failure> {
        if self.json {
            let mut object = summary(last);
            object["passes"] = last.number.into();
            self.event("done", object);
        } else {
            let passes = if last.number == 1 { "the pass".to_owned() } else { format!("all {} passes", last.number) };
            self.line(format!("done: digests equal in {passes}"));
        }
        self.lines.said()
    }

    /// A report as an object: its kind, and what belongs to it.
    fn object(&self, report: &Report) -> Option<(&'static str, Value)> {
        Some(match report {
            Report::Listening { address, incarnation } => {
                ("listening", json!({ "address": address, "incarnation": incarnation }))
            }
            Report::Established { session, partner, partner_incarnation, authentication, since_boot_ns, .. } => (
                "established",
                json!({
                    "session": session,
                    "partner": partner,
                    "incarnation": partner_incarnation,
                    "authentication": authentication,
                    "since_boot_ns": since_boot_ns,
                }),
            ),
            Report::Ready { .. } => ("ready", json!({})),
            Report::Lost { reason } => ("lost", json!({ "reason": reason })),
            Report::Progress { pass, bytes } => {
                ("progress", json!({ "pass": pass, "bytes": bytes, "total": self.total }))
            }
            Report::Stopped { unacknowledged } => ("stopped", json!({ "unacknowledged_bytes": unacknowledged })),
            Report::Whole { refilled } => ("whole", json!({ "refilled_bytes": refilled })),
            Report::Note { text } => ("note", json!({ "text": text })),
            Report::Passed { .. } | Report::Holding { .. } | Report::Failed { .. } => return None,
        })
    }
}

fn summary(pass: &Passed) -> Value {
    json!({
        "pass": pass.number,
        "bytes": pass.sent.bytes,
        "digest": pass.sent.digest,
        "digest_received": pass.received.digest,
        "digests_equal": pass.agrees(),
        "seconds": pass.seconds,
    })
}

/// A report as a line.
fn text(report: &Report) -> Option<String> {
    Some(match report {
        Report::Listening { address, incarnation } => format!("listening at {address}, incarnation {incarnation}"),
        Report::Established { session, partner, partner_incarnation, .. } => {
            format!("session {session} with {partner} (incarnation {partner_incarnation})")
        }
        Report::Lost { reason } => format!("session lost: {reason}; waiting for the partner, the pass begins again"),
        Report::Stopped { unacknowledged } => {
            format!("the log stops, {} of it not acknowledged", HumanBytes(*unacknowledged))
        }
        Report::Whole { refilled } => format!("the partner's copy is whole, {} refilled", HumanBytes(*refilled)),
        Report::Note { text } => text.clone(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_and_loss_are_objects_with_their_figures() {
        let telling = Telling::new(true, Some(9));
        let (kind, object) = telling.object(&Report::Progress { pass: 2, bytes: 5 }).unwrap_or_default();
        assert_eq!((kind, &object), ("progress", &json!({ "pass": 2, "bytes": 5, "total": 9 })));
        let lost = Report::Lost { reason: "gone".to_owned() };
        let (kind, object) = telling.object(&lost).unwrap_or_default();
        assert_eq!((kind, &object), ("lost", &json!({ "reason": "gone" })));
        assert!(text(&lost).is_some_and(|text| text.contains("gone")));
    }
}
