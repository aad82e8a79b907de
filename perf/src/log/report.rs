//! The log's table, its JSON and its histograms.

use crate::about::About;
use crate::log::picture;
use crate::log::rows::{Row, Taken, verdict, write_and_read};
use crate::samples::Quantiles;
use serde_json::{Value, json};
use std::error::Error;
use std::fmt::Write;
use std::path::Path;

/// Prints the table, or JSON; writes both and the histograms into a folder where one is named.
pub(crate) fn give(
    about: &About,
    all: &[Taken],
    filesystem: &str,
    as_json: bool,
    folder: Option<&Path>,
) -> Result<(), Box<dyn Error>> {
    let (text, json) = (text(about, all, filesystem)?, serde_json::to_string_pretty(&json(about, all, filesystem))?);
    if as_json {
        println!("{json}")
    } else {
        print!("{text}")
    }
    let Some(folder) = folder else { return Ok(()) };
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("log.txt"), text)?;
    std::fs::write(folder.join("log.json"), json + "\n")?;
    picture::draw(all, &folder.join("log.svg"))?;
    for taken in all.iter().filter(|taken| !taken.row.is_rate()) {
        std::fs::write(folder.join(format!("{}.hgrm", taken.row.name())), taken.all.hgrm()?)?;
    }
    Ok(())
}

/// The ratio of an append to a WRITE and a READ of its size.
fn ratio(taken: &Taken, all: &[Taken]) -> Option<f64> {
    match taken.row {
        Row::Append(_, bytes, _) | Row::File(bytes) | Row::Tcp(bytes) => {
            Some(taken.quoted().p50 / write_and_read(all, bytes)?)
        }
        _ => None,
    }
}

fn number(ns: f64) -> String {
    if ns < 1000.0 { format!("{ns:.1}") } else { format!("{ns:.0}") }
}

fn text(about: &About, all: &[Taken], filesystem: &str) -> Result<String, std::fmt::Error> {
    let mut text = format!(
        "{}files      {filesystem}\n\n{:<19} {:>10} {:>10} {:>10} {:>11} {:>8}  {:<28} {}\n",
        about.text(),
        "row",
        "p50",
        "p99",
        "p99.9",
        "max",
        "ratio",
        "goal",
        "verdict"
    );
    for taken in all {
        let (quoted, name) = (taken.quoted(), taken.row.name());
        let (goal, met) = verdict(taken, all)
            .map_or(("-".to_owned(), "-"), |(goal, met)| (goal, if met { "met" } else { "NOT MET" }));
        if taken.row.is_rate() {
            writeln!(text, "{name:<19} {:>10}{:>43}  {goal:<28} {met}", format!("{:.2} M/s", quoted.p50), "")?;
            continue;
        }
        let numbers = [quoted.p50, quoted.p99, quoted.p999].map(number);
        let ratio = ratio(taken, all).map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
        let [p50, p99, p999] = numbers;
        let max = number(quoted.max);
        writeln!(text, "{name:<19} {p50:>10} {p99:>10} {p999:>10} {max:>11} {ratio:>8}  {goal:<28} {met}")?;
    }
    let rounds = all.first().map_or(0, |taken| taken.rounds.len());
    let aside: usize = all.iter().map(|taken| taken.set_aside).sum();
    writeln!(
        text,
        "\nNanoseconds, or millions a second; medians over {rounds} rounds of each quantile; {aside} repetitions set aside."
    )?;
    text.push_str(
        "The ratio is to the p50 of `write` and `read` of the same size together. What each row is: METHOD.md.\n",
    );
    Ok(text)
}

fn json(about: &About, all: &[Taken], filesystem: &str) -> Value {
    let quantiles =
        |at: &Quantiles| json!({ "p50_ns": at.p50, "p99_ns": at.p99, "p99.9_ns": at.p999, "max_ns": at.max });
    let row = |taken: &Taken| {
        let verdict = verdict(taken, all);
        let figures =
            |at: &Quantiles| if taken.row.is_rate() { json!({ "millions_per_s": at.p50 }) } else { quantiles(at) };
        json!({
            "row": taken.row.name(),
            "median_of_rounds": figures(&taken.quoted()),
            "rounds": taken.rounds.iter().map(figures).collect::<Vec<_>>(),
            "samples": taken.all.count(),
            "ratio_to_write_and_read": ratio(taken, all),
            "goal": verdict.as_ref().map(|(goal, _)| goal.clone()),
            "met": verdict.map(|(_, met)| met),
            "repetitions_set_aside": taken.set_aside,
        })
    };
    json!({ "about": about.json(), "files": filesystem, "rows": all.iter().map(row).collect::<Vec<_>>() })
}
