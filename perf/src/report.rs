//! Results as a table, as JSON, and as files.

use crate::about::About;
use crate::rows::{Goal, Row};
use crate::samples::{Quantiles, Samples};
use serde_json::{Value, json};
use std::error::Error;
use std::fmt::Write;
use std::path::Path;

/// One side of a row over all its rounds.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    /// The median over rounds.
    pub(crate) quoted: Quantiles,
    /// Each round.
    pub(crate) rounds: Vec<Quantiles>,
    /// All samples of all rounds.
    pub(crate) all: Samples,
}

/// One row, measured.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    /// Which.
    pub(crate) row: Row,
    /// Bare atomics.
    pub(crate) limit: Figures,
    /// handfast.
    pub(crate) handfast: Figures,
    /// Repetitions set aside because both processors shared a core.
    pub(crate) set_aside: usize,
    /// Round trip of a line before, between and behind the sides of each round that was kept, nanoseconds.
    pub(crate) probes_ns: Vec<[f64; 3]>,
}

impl Measured {
    /// Median over rounds of p50, handfast's over the limit's.
    pub(crate) fn ratio(&self) -> f64 {
        self.handfast.quoted.p50 / self.limit.quoted.p50
    }

    /// Whether the goal is met; none where this program cannot tell.
    pub(crate) fn is_met(&self) -> Option<bool> {
        match self.row.goal() {
            Goal::Ratio(max) => Some(self.ratio() <= max),
            Goal::Ns(max) => Some(self.handfast.quoted.p50 <= max),
            Goal::Peers(_) | Goal::None => None,
        }
    }

    fn verdict(&self) -> &'static str {
        match (self.is_met(), self.row.goal()) {
            (Some(true), _) => "met",
            (Some(false), _) => "NOT MET",
            (None, Goal::Peers(_)) => "needs peers",
            (None, _) => "-",
        }
    }

    fn json(&self) -> Value {
        json!({
            "row": self.row.name(),
            "title": self.row.title(),
            "limit": figures(&self.limit),
            "handfast": figures(&self.handfast),
            "ratio_p50": (self.ratio() * 1000.0).round() / 1000.0,
            "goal": goal(self.row.goal()),
            "met": self.is_met(),
            "repetitions_set_aside": self.set_aside,
            "line_round_trip_ns": self.probes_ns,
        })
    }
}

fn goal(goal: Goal) -> String {
    match goal {
        Goal::Ratio(max) => format!("<= {max:.2} x"),
        Goal::Ns(max) => format!("<= {} ns", number(max)),
        Goal::Peers(text) => text.to_owned(),
        Goal::None => "-".to_owned(),
    }
}

/// One digit after the point while that says something.
fn number(ns: f64) -> String {
    if ns < 1000.0 { format!("{ns:.1}") } else { format!("{ns:.0}") }
}

fn figures(figures: &Figures) -> Value {
    let quoted = |at: &Quantiles| json!({ "p50_ns": at.p50, "p99_ns": at.p99, "p99.9_ns": at.p999, "max_ns": at.max });
    let rounds: Vec<Value> = figures.rounds.iter().map(quoted).collect();
    json!({ "median_of_rounds": quoted(&figures.quoted), "rounds": rounds, "samples": figures.all.count() })
}

/// The table, in nanoseconds.
pub(crate) fn table(rows: &[Measured]) -> Result<String, std::fmt::Error> {
    let mut text = format!(
        "{:<15} {:>11} {:>11} {:>11} {:>11} {:>11} {:>11} {:>7}  {:<16} {}\n",
        "row", "limit p50", "limit p99", "p50", "p99", "p99.9", "max", "ratio", "goal", "verdict"
    );
    for row in rows {
        let (limit, ours) = (&row.limit.quoted, &row.handfast.quoted);
        let numbers = [limit.p50, limit.p99, ours.p50, ours.p99, ours.p999, ours.max];
        write!(text, "{:<15}", row.row.name())?;
        for ns in numbers {
            write!(text, " {:>11}", number(ns))?;
        }
        writeln!(text, " {:>7.3}  {:<16} {}", row.ratio(), goal(row.row.goal()), row.verdict())?;
    }
    Ok(text)
}

/// Table, legend, and where it was made.
pub(crate) fn text(about: &About, rows: &[Measured]) -> Result<String, std::fmt::Error> {
    let mut text = format!("{}\n{}\n", about.text(), table(rows)?);
    text.push_str("Nanoseconds; medians over rounds of each quantile. The limit is bare atomics in shared memory, in the same rounds.\n\n");
    for row in rows {
        let (rounds, aside) = (row.handfast.rounds.len(), row.set_aside);
        let samples = row.handfast.all.count();
        writeln!(
            text,
            "{:<15} {}: {rounds} rounds, {samples} samples, {aside} repetitions set aside",
            row.row.name(),
            row.row.title()
        )?;
    }
    Ok(text)
}

/// Everything as JSON.
pub(crate) fn json(about: &About, rows: &[Measured]) -> Value {
    json!({ "about": about.json(), "unit": "ns", "rows": rows.iter().map(Measured::json).collect::<Vec<_>>() })
}

/// Writes text, JSON and histograms into a folder, which is made where there is none.
pub(crate) fn write(folder: &Path, about: &About, rows: &[Measured]) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("report.txt"), text(about, rows)?)?;
    std::fs::write(folder.join("report.json"), serde_json::to_string_pretty(&json(about, rows))? + "\n")?;
    for row in rows {
        let name = row.row.name();
        std::fs::write(folder.join(format!("{name}.limit.hgrm")), row.limit.all.hgrm()?)?;
        std::fs::write(folder.join(format!("{name}.handfast.hgrm")), row.handfast.all.hgrm()?)?;
    }
    Ok(())
}
