//! The table of how long acknowledgements went on, and its JSON.

use crate::about::About;
use crate::life::round::Sample;
use crate::life::way::{LIMIT, Row, Way};
use serde_json::{Value, json};
use std::fmt::Write;

/// What a row's rounds yielded.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    /// The row.
    pub(crate) row: Row,
    /// Its rounds.
    pub(crate) samples: Vec<Sample>,
    /// Why there are none.
    pub(crate) skipped: Option<String>,
}

impl Taken {
    /// Rounds with a rise later than the limit.
    fn late(&self) -> usize {
        let limit = LIMIT.as_nanos() as i64;
        self.samples.iter().filter(|sample| sample.last_ns > limit).count()
    }

    /// Rounds in which the poll that brought a rise began later than the limit, counted from when
    /// the partner had stopped.
    fn proven(&self) -> usize {
        let limit = LIMIT.as_nanos() as i64;
        let ran_until = |sample: &Sample| match self.row.way {
            // Till then its heart beat.
            Way::Stop => sample.gone_ns.unwrap_or(0),
            _ => 0,
        };
        let is_late = |sample: &&Sample| sample.polled_ns > limit + ran_until(sample);
        self.samples.iter().filter(is_late).count()
    }

    /// Rounds in which a stopped partner ran on, and acknowledgements did not.
    fn stuck(&self) -> usize {
        let is_stuck = |sample: &&Sample| sample.resumed_ns.is_none();
        if self.row.way == Way::Stop { self.samples.iter().filter(is_stuck).count() } else { 0 }
    }
}

/// Median and maximum.
fn middle_and_most(values: impl Iterator<Item = i64>) -> Option<(i64, i64)> {
    let mut values: Vec<i64> = values.collect();
    values.sort_unstable();
    Some((values.get((values.len().checked_sub(1)?) / 2).copied()?, values.last().copied()?))
}

fn ms(ns: i64) -> String {
    format!("{:.3}", ns as f64 / 1e6)
}

/// As a table.
pub(crate) fn text(about: &About, all: &[Taken], heap: usize) -> Result<String, std::fmt::Error> {
    let mut text = about.text();
    writeln!(text, "core       core_pattern `{}`\n", core_pattern())?;
    writeln!(
        text,
        "{:<14} {:>10} {:>10} {:>10} {:>10} {:>10} {:>7} {:>6} {:>6}  verdict",
        "row", "p50", "max", "gone p50", "gone max", "limit", "rounds", "late", "proven"
    )?;
    for taken in all {
        let name = taken.row.name();
        if let Some(why) = &taken.skipped {
            writeln!(text, "{name:<14} SKIPPED: {why}")?;
            continue;
        }
        let (p50, max) = quoted(taken.samples.iter().map(|sample| sample.last_ns));
        let (gone, gone_max) = quoted(taken.samples.iter().filter_map(|sample| sample.gone_ns));
        let verdict = if taken.proven() == 0 && taken.stuck() == 0 { "met" } else { "NOT MET" };
        writeln!(
            text,
            "{name:<14} {p50:>10} {max:>10} {gone:>10} {gone_max:>10} {:>10} {:>7} {:>6} {:>6}  {verdict}",
            ms(LIMIT.as_nanos() as i64),
            taken.samples.len(),
            taken.late(),
            taken.proven(),
        )?;
        match taken.row.way {
            Way::Stop => {
                let (p50, max) = quoted(taken.samples.iter().filter_map(|one| one.resumed_ns));
                let stuck = taken.stuck();
                writeln!(text, "{:<14} goes on {p50} (max {max}) after SIGCONT; never: {stuck}", "")?;
            }
            Way::Core => {
                let bytes = taken.samples.iter().map(|sample| sample.core_bytes).min().unwrap_or(0);
                let (written, heap) = (bytes >> 20, heap >> 20);
                writeln!(text, "{:<14} core file {written} MiB at least, heap {heap} MiB", "")?;
            }
            Way::Kill | Way::Exec | Way::Fork => {}
        }
    }
    text.push_str(
        "\nMilliseconds from just before the signal (exec: the system call) to the last rise of\n\
         `mirrored`, and till the kernel called the partner gone (or stopped): METHOD.md.\n",
    );
    Ok(text)
}

fn quoted(values: impl Iterator<Item = i64>) -> (String, String) {
    middle_and_most(values).map_or(("-".to_owned(), "-".to_owned()), |(p50, max)| (ms(p50), ms(max)))
}

/// As JSON, with every round.
pub(crate) fn json(about: &About, all: &[Taken], heap_bytes: usize) -> Value {
    let sample = |sample: &Sample| {
        json!({
            "last_rise_ns": sample.last_ns,
            "polled_ns": sample.polled_ns,
            "gone_ns": sample.gone_ns,
            "resumed_ns": sample.resumed_ns,
            "core_bytes": sample.core_bytes,
        })
    };
    let row = |taken: &Taken| {
        let times = middle_and_most(taken.samples.iter().map(|sample| sample.last_ns));
        json!({
            "row": taken.row.name(),
            "p50_ns": times.map(|(p50, _)| p50),
            "max_ns": times.map(|(_, max)| max),
            "limit_ns": LIMIT.as_nanos() as u64,
            "late": taken.late(),
            "late_proven": taken.proven(),
            "never_resumed": taken.stuck(),
            "skipped": taken.skipped,
            "rounds": taken.samples.iter().map(sample).collect::<Vec<_>>(),
        })
    };
    json!({
        "about": about.json(),
        "core_pattern": core_pattern(),
        "heap_bytes": heap_bytes,
        "rows": all.iter().map(row).collect::<Vec<_>>(),
    })
}

/// Where this kernel writes core dumps.
pub(crate) fn core_pattern() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_maximum() {
        assert_eq!(middle_and_most([3, -1, 2].into_iter()), Some((2, 3)));
        assert_eq!(middle_and_most([5, 1].into_iter()), Some((1, 5)));
        assert_eq!(middle_and_most(std::iter::empty()), None);
    }
}
