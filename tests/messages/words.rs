//! Remedies of the program: what it asks to be written is written as it says, and it goes on.

use crate::run::{Node, program, unique};
use signal_hook::consts::SIGTERM;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// What the program says on standard error, and its exit status.
fn complaint(arguments: &[&str]) -> (String, Option<i32>) {
    let output = program().args(arguments).stdin(Stdio::null()).output().expect("it runs");
    (String::from_utf8_lossy(&output.stderr).trim().to_owned(), output.status.code())
}

/// The node is refused with this, and listens with that; both follow `node`.
fn refused_then_listening(refused: &[&str], wanted: &str, mended: &[&str]) -> String {
    let (text, status) = complaint(&[&["node"], refused].concat());
    assert!(matches!(status, Some(1 | 2)) && text.contains(wanted), "{wanted} is missing from: {text}");
    let mut node = Node::with(mended);
    node.wait_for("listening");
    assert_eq!(node.end(SIGTERM), Some(0));
    text
}

/// What comes behind this in a text, up to the next space.
fn behind<'a>(text: &'a str, before: &str) -> &'a str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no `{before}` in: {text}"));
    rest.split([' ', '\n']).next().expect("a word").trim_end_matches([',', '.', ')'])
}

#[test]
fn the_example_of_each_usage_error_is_taken() {
    let at = format!("shm://{}:1", unique("example"));
    let partner = format!("b@shm://{}:2", unique("example"));
    let base = ["--id", "a", "--at", &at, "--partner", &partner];
    let with = |more: &[&'static str]| [&base[..], more].concat();
    for (option, wrong, before, more) in [
        ("--client", "log", "for example ", &[][..]),
        ("--progress", "1", "for example ", &["--stage", "replay"]),
        ("--memory-max", "much", "where you like: ", &[]),
    ] {
        let (text, status) = complaint(&[&["node"], &base[..], more, &[option, wrong]].concat());
        assert_eq!(status, Some(2), "{text}");
        let mut node = Node::with(&[&base[..], more, &[option, behind(&text, before)]].concat());
        node.wait_for("listening");
        assert_eq!(node.end(SIGTERM), Some(0));
    }
    let (text, _) = complaint(&["node", "--id", "a", "--at", &at, "--partner", "b"]);
    let example = behind(&text, "for example ");
    let mut node = Node::with(&["--id", "a", "--at", &at, "--partner", example]);
    node.wait_for("listening");
    assert_eq!(node.end(SIGTERM), Some(0));
    refused_then_listening(
        &with(&["--progress", "1/2"]),
        "name it with --stage",
        &with(&["--progress", "1/2", "--stage", "replay"]),
    );
}

#[test]
fn what_is_missing_is_given_as_an_option_or_in_the_file() {
    let (name, folder) = (unique("missing"), tempfile::tempdir().expect("a folder"));
    let (at, partner) = (format!("shm://{name}:1"), format!("b@shm://{name}:2"));
    let options = [("id", "a"), ("at", &at), ("partner", &partner)];
    let file = folder.path().join("node.toml").display().to_string();
    for (missing, value) in options {
        let others = options.iter().filter(|(option, _)| *option != missing);
        let words: Vec<String> =
            others.flat_map(|(option, value)| [format!("--{option}"), (*value).to_owned()]).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let option = format!("--{missing}");
        let whole = [&words[..], &[&option, value]].concat();
        refused_then_listening(&words, &format!("{option} is missing (or `{missing}` in --config)"), &whole);
        std::fs::write(&file, format!("{missing} = \"{value}\"\n")).expect("written");
        let whole = [&words[..], &["--config", &file]].concat();
        let folder = folder.path().display().to_string();
        let wrong = [&words[..], &["--config", &folder]].concat();
        refused_then_listening(&wrong, "give --config the path of one", &whole);
    }
}

#[test]
fn a_name_or_an_address_that_cannot_be_is_corrected() {
    let name = unique("corrected");
    let (at, partner) = (format!("shm://{name}:1"), format!("shm://{name}:2"));
    let node = |id: &str, at: &str, partner: &str| -> Vec<String> {
        ["--id", id, "--at", at, "--partner", partner].map(str::to_owned).to_vec()
    };
    let good = node("a", &at, &format!("b@{partner}"));
    let good: Vec<&str> = good.iter().map(String::as_str).collect();
    for (wrong, wanted) in [
        (node("a b", &at, &format!("b@{partner}")), "it has 1 to 16 of the letters A-Z a-z, digits"),
        (node("a", &at, &format!("a@{partner}")), "the partner has this node's own name, `a`"),
        (node("a", &at, &format!("b@{at}")), "the partner is at this node's own address"),
        (node("a", &at, "b@rdma://10.9.0.1:7471"), "give the partner an address that begins with `shm://`"),
        (node("a", "sim://x:1", &format!("b@{partner}")), "use shm:// or rdma://"),
        (node("a", &at, &format!("b@shm://{name}")), "`:PORT` is missing"),
        (node("a", &at, "b@shm://.x:2"), "does not begin with `.`"),
    ] {
        let wrong: Vec<&str> = wrong.iter().map(String::as_str).collect();
        refused_then_listening(&wrong, wanted, &good);
    }
}

#[test]
fn an_address_is_written_as_the_examples_are() {
    let (text, status) = complaint(&["status", "shm://disk7"]);
    assert_eq!(status, Some(2), "{text}");
    let (shm, rdma) =
        (behind(&text, "shm://NAME:PORT, for example "), behind(&text, "rdma://ADDRESS:PORT, for example "));
    assert_eq!((shm, rdma), ("shm://disk7:1", "rdma://10.9.0.1:7471"));
    let (text, status) = complaint(&["status", shm]);
    assert!(status == Some(1) && text.contains("nobody listens"), "{text}");
    // The forms within: each that is advised is an address.
    for (wrong, wanted, mended) in [
        ("tcp://disk7:1", "unknown scheme", "shm://disk7:1"),
        ("rdma://disk7:1", "an IP address is needed (10.9.0.1, or [fd00::1] in brackets)", "rdma://10.9.0.1:1"),
        ("rdma://fd00::1:1", "in brackets", "rdma://[fd00::1]:1"),
        ("rdma://[fd00::1:1", "`]` is missing", "rdma://[fd00::1]:1"),
        ("rdma://[fe80::1%eth0]:1", "leave the zone (`%INTERFACE`) out", "rdma://[fe80::1]:1?device=rxe0"),
        ("rdma://10.9.0.1:1?port=1", "`device=NAME` or `gid=INDEX` is expected", "rdma://10.9.0.1:1?gid=1"),
        ("rdma://10.9.0.1:1?device=", "the device's name is missing", "rdma://10.9.0.1:1?device=rxe0"),
        ("shm://:1", "the name is missing", "shm://x:1"),
        (&format!("shm://{}:1", "x".repeat(65)), "at most 64 characters", &format!("shm://{}:1", "x".repeat(64))),
    ] {
        let error = wrong.parse::<handfast::fabric::Address>().expect_err(wrong).to_string();
        assert!(error.contains(wanted), "{wanted} is missing from: {error}");
        mended.parse::<handfast::fabric::Address>().expect(mended);
    }
}

#[test]
fn a_key_is_made_by_the_command_in_the_message() {
    let (name, folder) = (unique("key"), tempfile::tempdir().expect("a folder"));
    let key = folder.path().join("key");
    std::fs::write(&key, [1; 31]).expect("a short key");
    let (at, partner) = (format!("shm://{name}:1"), format!("b@shm://{name}:2"));
    let path = key.display().to_string();
    let node = ["--id", "a", "--at", &at, "--partner", &partner, "--key", &path];
    let (text, _) = complaint(&[&["node"], &node[..]].concat());
    let command = text.split_once("(for example: ").and_then(|(_, rest)| rest.split(')').next());
    let command = command.unwrap_or_else(|| panic!("no command in: {text}"));
    let made = Command::new("sh").args(["-c", command]).current_dir(folder.path()).status().expect("it runs");
    assert!(made.success() && std::fs::metadata(&key).expect("a key").len() == 32, "{command}");
    let mut node = Node::with(&node);
    node.wait_for("listening");
    assert_eq!(node.end(SIGTERM), Some(0));
}

#[test]
fn what_the_demo_does_not_take_is_given_as_it_says() {
    let (name, folder) = (unique("demo"), tempfile::tempdir().expect("a folder"));
    let (file, fifo) = (folder.path().join("file"), folder.path().join("fifo"));
    std::fs::write(&file, [7; 3000]).expect("written");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    let (file, fifo) = (file.display().to_string(), fifo.display().to_string());
    let (at, far) = (format!("shm://{name}:1"), format!("shm://{name}:65535"));
    let passes = |arguments: &[&str]| {
        let output = program().arg("demo").args(arguments).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("every digest agrees"), "{text}");
    };
    let (text, _) = complaint(&["demo", "--fabric", "verbs", "--at", &at, &file]);
    assert!(text.contains("leave one of them out"), "{text}");
    passes(&["--at", &at, &file]);
    let (text, _) = complaint(&["demo", "--at", &far, &file]);
    assert!(text.contains("the partner needs the port after this one"), "{text}");
    passes(&["--at", &format!("shm://{name}:65534"), &file]);
    let (text, _) = complaint(&["demo", &fifo]);
    assert!(text.contains("pipe it in and name it `-`"), "{text}");
    let script = "cat \"$1\" >\"$2\" & cat \"$2\" | \"$0\" demo -";
    let piped =
        Command::new("timeout").args(["60", "sh", "-c", script, env!("CARGO_BIN_EXE_handfast"), &file, &fifo]).output();
    let piped = piped.expect("it runs");
    assert!(piped.status.success(), "{}", String::from_utf8_lossy(&piped.stderr));
}

#[test]
fn a_watch_is_set_within_what_is_allowed() {
    let address = format!("shm://{}:1", unique("watch"));
    let (text, status) = complaint(&["status", "--watch", "0", &address]);
    assert!(status == Some(2) && text.contains("allowed are 0.1 to 86400 seconds"), "{text}");
    let mut command = program();
    command.args(["status", "--json", "--watch", "0.1", &address]).stdout(Stdio::piped());
    let mut watch = command.spawn().expect("it starts");
    let mut line = String::new();
    let output = watch.stdout.take().expect("a pipe");
    let read = BufReader::new(output).read_line(&mut line);
    watch.kill().expect("it runs");
    watch.wait().expect("it ends");
    assert!(read.is_ok() && line.contains("nobody listens"), "{line}");
}
