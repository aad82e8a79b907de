//! The bank: on redb over the mirrored log, its primary killed, taken over by the partner.

use crate::run::{PATIENCE, names_in_dev_shm, program, signal};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
fn every_acknowledged_transaction_survives_the_kill() {
    for transactions in [1, 50, 400] {
        let child = program()
            .args(["demo", "--engine", "redb", "--json", "--transactions", &transactions.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let name = format!("handfast.demo-{}.", child.id());
        let output = child.wait_with_output().expect("it ends");
        let object: Value = serde_json::from_slice(&output.stdout).expect("one object");
        assert!(output.status.success(), "{object}");
        let number = |field: &str| object[field].as_u64().unwrap_or_else(|| panic!("{field} in {object}"));
        let (acknowledged, found) = (number("acknowledged"), number("found"));
        assert!(acknowledged >= transactions && (found == acknowledged || found == acknowledged + 1), "{object}");
        assert_eq!((number("total"), number("total_expected"), number("accounts_wrong")), (1_000_000, 1_000_000, 0));
        for rate in ["without_mirror_synced", "without_mirror_unsynced", "mirrored"] {
            assert!(object["transactions_per_second"][rate].as_f64() > Some(0.0), "{rate} in {object}");
        }
        assert!(number("operations_applied_before") + number("operations_applied_after") > 0);
        assert_eq!(names_in_dev_shm(&name), Vec::<String>::new());
    }
}

#[test]
fn people_see_both_rates_and_the_verdict() {
    let output = program().args(["demo", "--engine", "redb", "--transactions", "100"]).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for wanted in
        ["fdatasync each", "never synced", "SIGKILL", "session lost", "redb, mirrored", "and the total is right"]
    {
        assert!(text.contains(wanted), "{wanted} is missing from:\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "no colours where nobody sees them");
}

#[test]
fn what_makes_no_sense_is_refused() {
    for arguments in [
        &["demo", "--engine", "redb", "file"][..],
        &["demo", "--engine", "redb", "--transactions", "0"],
        &["demo", "--engine", "other"],
        &["demo", "--transactions", "5"],
    ] {
        let output = program().args(arguments).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

/// Interrupted or killed, its processes end and leave nothing behind.
#[test]
fn a_bank_that_ends_early_leaves_nothing() {
    for number in [signal_hook::consts::SIGINT, signal_hook::consts::SIGKILL] {
        let mut child = program()
            .args(["demo", "--engine", "redb", "--transactions", "100000000"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let running = lines.map_while(Result::ok).find(|line| line.starts_with("log "));
        assert!(running.is_some(), "it ended before it ran");
        signal(&child.id().to_string(), number);
        assert_ne!(child.wait().expect("it ends").code(), Some(0));
        let name = format!("handfast.demo-{}.", child.id());
        let began = Instant::now();
        while !names_in_dev_shm(&name).is_empty() {
            assert!(began.elapsed() < PATIENCE, "left after signal {number}: {:?}", names_in_dev_shm(&name));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
