//! Shortages that pass: a node that is short of descriptors goes on when there are some, and does not fill its log meanwhile.

use crate::run::{Node, unique};
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn a_client_that_could_not_be_served_is_once_there_are_descriptors() {
    let name = unique("short");
    let client = ["--client", "log:8:64KiB"];
    let mut b = Node::start(&name, 2, &client);
    // Enough for the link, and too few for the client: how many that is depends on those that are inherited.
    let not_served = "is not served: its ports or memory could not be made here: ";
    let lacking = (14..64).find_map(|descriptors| {
        let mut a = Node::limited(&name, &format!("-S -n {descriptors}"), &client);
        let found = a.wait_for_any(&[not_served, "ready: 1 clients", "EMFILE"]);
        assert_ne!(found, 1, "{descriptors} descriptors were enough, and one less was too few for a link");
        (found == 0).then_some(a)
    });
    let mut a = lacking.expect("a node that lacks descriptors for its client");
    b.wait_for("is not served: its ports or memory could not be made at the partner: its log says why");
    let raised = Command::new("prlimit").args(["--pid", &a.id().to_string(), "--nofile=1000:"]).status();
    assert!(raised.is_ok_and(|status| status.success()), "prlimit");
    a.wait_for("lacked something that is there now: the session begins anew");
    a.wait_for("ready: 1 clients");
    b.wait_for("ready: 1 clients");
    for mut node in [a, b] {
        assert_eq!(node.end(signal_hook::consts::SIGTERM), Some(0));
    }
}

#[test]
fn a_link_that_cannot_be_made_is_told_of_once_a_second() {
    let name = unique("linkless");
    let mut b = Node::start(&name, 2, &[]);
    // Enough to listen, and too few for a link.
    let linkless = (10..64).find_map(|descriptors| {
        let mut a = Node::limited(&name, &format!("-n {descriptors}"), &[]);
        let listens = a.wait_for_any(&["EMFILE", "listening at"]) == 1;
        (listens && a.wait_for_any(&["EMFILE", "ready: 1 clients"]) == 0).then_some(a)
    });
    let mut a = linkless.expect("a node that lacks descriptors for a link");
    b.wait_for("could not make its side of the link: its log says why");
    // Each of them dials again and again meanwhile.
    let began = Instant::now();
    std::thread::sleep(Duration::from_secs(3));
    let seconds = began.elapsed().as_secs() as usize + 1;
    for (whose, node) in [("a", &mut a), ("b", &mut b)] {
        let lines = node.said();
        assert!(lines.len() < 10 + 4 * seconds, "{whose}: {} lines:\n{}", lines.len(), lines.join("\n"));
        assert!(!lines.iter().any(|line| line.contains("no handfast endpoint")), "{whose}: {}", lines.join("\n"));
    }
    for mut node in [a, b] {
        assert_eq!(node.end(signal_hook::consts::SIGTERM), Some(0));
    }
}

#[test]
fn a_demo_that_waits_in_vain_says_what_its_partners_lack() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 26 && exec \"$0\" demo", env!("CARGO_BIN_EXE_handfast")]).env_remove("RUST_LOG");
    let output = command.stdin(std::process::Stdio::null()).output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for wanted in ["EMFILE", "`ulimit -n`"] {
        assert!(told.contains(wanted), "{wanted} is missing from: {told}");
    }
}
