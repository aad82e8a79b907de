//! Every row that needs no RDMA device runs for a moment and prints a figure. How long it takes is no matter.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;

/// Figures of each line that begins with a row's name.
fn figures(words: &[&str], rows: &[&str]) {
    let folder = std::env::temp_dir();
    let mut command = Command::new(env!("CARGO_BIN_EXE_handfast-perf"));
    let output = command.args(words).arg("--smoke").current_dir(folder).output().expect("it starts");
    let (text, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if complaint.contains("two processors are needed") {
        println!("SKIPPED: {}", complaint.trim());
        return;
    }
    assert!(output.status.success(), "{}\n{text}\n{complaint}", output.status);
    for row in rows {
        let of_row = |line: &&str| line.split_whitespace().next() == Some(row);
        let figure = |word: &str| word.parse::<f64>().is_ok_and(|figure| figure.is_finite());
        let told = text.lines().filter(of_row).any(|line| line.split_whitespace().skip(1).any(figure));
        assert!(told, "no figure for {row}:\n{text}");
    }
}

#[test]
fn every_row_of_the_fabric_prints_a_figure() {
    let rows = [
        "steps",
        "steps-keyed",
        "write-8",
        "write-4k",
        "read-64-cached",
        "read-64-dirty",
        "post-8",
        "message-64",
        "start",
        "start-process",
    ];
    figures(&[], &rows);
}

#[test]
fn every_row_of_the_log_prints_a_figure() {
    let mut rows: Vec<String> = ["memcpy", "bare-1", "bare-2", "received-1", "received-2", "placed-1", "placed-2"]
        .map(|what| format!("stream-{what}"))
        .to_vec();
    for bytes in [64, 256, 4096, 65536] {
        rows.extend(["write", "read", "tcp", "fdatasync"].map(|what| format!("{what}-{bytes}")));
        for level in ["received", "placed"] {
            rows.extend([1, 2].map(|producers| format!("{level}-{bytes}-{producers}")));
        }
    }
    figures(&["log"], &rows.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn every_row_of_a_partners_life_prints_a_figure() {
    let ways = ["kill", "stop", "exec", "fork"];
    let rows: Vec<String> = ways.iter().flat_map(|way| [format!("{way}-thread"), format!("{way}-unpolled")]).collect();
    figures(&["life", "--rows", &ways.join(",")], &rows.iter().map(String::as_str).collect::<Vec<_>>());
}
