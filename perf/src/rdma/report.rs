//! The table and its JSON.

use crate::about::About;
use crate::rdma::rows::{Taken, verdict};
use serde_json::{Value, json};
use std::error::Error;
use std::fmt::Write;
use std::path::Path;

/// Lines around the JSON on standard output, for whoever keeps it where nothing can be written here.
const BEGIN: &str = "==== handfast-perf rdma json ====";
/// See [`BEGIN`].
const END: &str = "==== handfast-perf rdma end ====";

/// Prints text and JSON, or the text alone and writes both into a folder.
pub(crate) fn give(about: &About, all: &[Taken], folder: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let (text, json) = (text(about, all)?, serde_json::to_string_pretty(&json(about, all))?);
    print!("{text}");
    match folder {
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            std::fs::write(folder.join("rdma.txt"), text)?;
            Ok(std::fs::write(folder.join("rdma.json"), json + "\n")?)
        }
        None => {
            println!("{BEGIN}\n{json}\n{END}");
            Ok(())
        }
    }
}

fn text(about: &About, all: &[Taken]) -> Result<String, std::fmt::Error> {
    let mut text = format!(
        "{}\n{:<13} {:>20} {:>20} {:>7}  {:<22} {:<13} {}\n",
        about.text(),
        "row",
        "p50 (p99)",
        "peer p50 (p99)",
        "ratio",
        "goal",
        "peer",
        "verdict"
    );
    for taken in all {
        let pair = |(p50, p99): (f64, f64)| format!("{p50:.2} ({p99:.2})");
        let peer = taken.quoted_peer().map_or("not installed".to_owned(), pair);
        let ratio = taken.ratio().map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
        let (goal, met) = verdict(taken, all);
        let met = met.map_or("skipped", |met| if met { "met" } else { "NOT MET" });
        let (name, unit) = (taken.row.name(), taken.row.unit());
        let ours = pair(taken.quoted());
        let against = taken.row.peer();
        writeln!(text, "{name:<13} {ours:>20} {peer:>20} {ratio:>7}  {goal:<22} {against:<13} {met} ({unit})")?;
    }
    let rounds = all.first().map_or(0, |taken| taken.ours.len());
    writeln!(
        text,
        "\nMedians over {rounds} rounds; a latency of WRITE is half a round trip. On an emulated device only ratios mean anything."
    )?;
    Ok(text)
}

fn json(about: &About, all: &[Taken]) -> Value {
    let pair = |(p50, p99): &(f64, f64)| json!({ "p50": p50, "p99": p99 });
    let row = |taken: &Taken| {
        let (goal, met) = verdict(taken, all);
        json!({
            "row": taken.row.name(),
            "unit": taken.row.unit(),
            "turns_per_round": taken.row.turns(),
            "handfast": pair(&taken.quoted()),
            "peer": taken.row.peer(),
            "peer_figures": taken.quoted_peer().as_ref().map(pair),
            "ratio_p50": taken.ratio(),
            "goal": goal,
            "met": met,
            "rounds": taken.ours.iter().map(pair).collect::<Vec<_>>(),
            "peer_rounds": taken.peer.iter().map(pair).collect::<Vec<_>>(),
        })
    };
    json!({ "about": about.json(), "rows": all.iter().map(row).collect::<Vec<_>>() })
}
