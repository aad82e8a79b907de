//! The `handfast` program as its users run it: demo, two nodes, status, and what it says when something is wrong.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[cfg(feature = "redb")]
#[path = "program/bank.rs"]
mod bank;
#[path = "../src/sys/ending.rs"]
mod ending;
#[path = "program/ends.rs"]
mod ends;
#[path = "program/fabrics.rs"]
mod fabrics;
#[path = "program/formats.rs"]
mod formats;
#[path = "program/halves.rs"]
mod halves;
#[path = "log_reader/image.rs"]
mod image;
#[path = "program/log.rs"]
mod log;
#[path = "program/run.rs"]
mod run;
#[path = "program/shortages.rs"]
mod shortages;
#[path = "program/streams.rs"]
mod streams;

use run::{Node, names_in_dev_shm, program, unique};
use serde_json::Value;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

fn demo(file: &str, input: &[u8]) -> Value {
    let mut child = program()
        .args(["demo", "--json", file])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().expect("a pipe").write_all(input).expect("written");
    let name = format!("handfast.demo-{}.", child.id());
    let output = child.wait_with_output().expect("it ends");
    let object: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert!(output.status.success(), "{object}");
    assert_eq!(names_in_dev_shm(&name), Vec::<String>::new());
    object
}

fn check_demo(object: &Value, bytes: u64, digest: &str) {
    assert_eq!(object["established"], true);
    assert_eq!(object["bytes"], bytes);
    assert_eq!((&object["restarts"], &object["resumed"]), (&Value::from(1), &Value::from(true)));
    assert_eq!((object["digest_sent"].as_str(), object["digest_received"].as_str()), (Some(digest), Some(digest)));
    let steps = object["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 4);
    assert!(steps.iter().all(|step| step["name"].is_string() && step["ns"].as_u64() > Some(0)), "{steps:?}");
    assert_eq!(object["session_id"].as_str().map(str::len), Some(32));
    assert!(object["gigabytes_per_second"].as_f64().is_some());
}

#[test]
fn the_demo_streams_through_a_kill_and_every_digest_agrees() {
    let sizes = [0, 1, (256 << 10) - 1, 256 << 10, (256 << 10) + 1, 3 << 20];
    for size in sizes {
        let bytes: Vec<u8> = (0..size).map(|index| (index * 31 % 251) as u8).collect();
        check_demo(&demo("-", &bytes), size as u64, &blake3::hash(&bytes).to_string());
    }
}

#[test]
fn the_demo_reads_files_in_every_order_of_start() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(&[7; 700_000]).expect("written");
    for order in ["a-first", "b-first", "both"] {
        let output = program().args(["demo", "--order", order]).arg(file.path()).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}");
        for wanted in ["read status", "write confirmation", "  log ", "SIGKILL", "session lost", "every digest agrees"]
        {
            assert!(text.contains(wanted), "{wanted} is missing from:\n{text}");
        }
    }
}

#[test]
fn what_cannot_be_streamed_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, wanted) in
        [(folder.path().join("missing"), "No such file"), (folder.path().to_owned(), "not a regular file")]
    {
        let output = program().arg("demo").arg(&path).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(text.contains(wanted) && text.contains(&path.display().to_string()), "{text}");
    }
}

#[test]
fn two_nodes_meet_and_one_leaves_in_order() {
    let name = unique("meet");
    let mut a = Node::start(&name, 1, &[]);
    let mut b = Node::start(&name, 2, &[]);
    a.wait_for("ready: 1 clients");
    b.wait_for("ready: 1 clients");
    assert_eq!(b.end(signal_hook::consts::SIGTERM), Some(0));
    a.wait_for("is lost: the partner left");
    assert_eq!(a.end(signal_hook::consts::SIGINT), Some(0));
    assert_eq!(names_in_dev_shm(&name), Vec::<String>::new());
}

#[test]
fn a_terminal_that_is_closed_ends_a_node_in_order_unless_it_was_started_to_outlive_that() {
    let name = unique("hangup");
    let mut a = Node::start(&name, 1, &[]);
    let mut b = Node::start(&name, 2, &[]);
    b.wait_for("ready: 1 clients");
    assert_eq!(a.end(signal_hook::consts::SIGHUP), Some(0));
    b.wait_for("is lost: the partner left");
    // The same signal, ignored as nohup does.
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_handfast"), "node"]);
    command.stderr(Stdio::null());
    let mut a = Node::unheard(&name, command);
    b.wait_for("ready: 1 clients");
    a.signal(signal_hook::consts::SIGHUP);
    // It goes on, and meets the next one.
    assert_eq!(b.end(signal_hook::consts::SIGTERM), Some(0));
    let mut b = Node::start(&name, 2, &[]);
    b.wait_for("ready: 1 clients");
    assert_eq!(a.end(signal_hook::consts::SIGTERM), Some(0));
    assert_eq!(b.end(signal_hook::consts::SIGTERM), Some(0));
    assert_eq!(names_in_dev_shm(&name), Vec::<String>::new());
}

#[test]
fn a_stopped_node_is_read_at_its_boot_stage() {
    let name = unique("stopped");
    let mut node = Node::start(&name, 1, &["--stage", "replaying log", "--progress", "40/100", "--booting"]);
    node.wait_for("listening");
    node.signal(signal_hook::consts::SIGSTOP);
    let output = program().args(["status", "--json", &format!("shm://{name}:1")]).output().expect("it runs");
    let object: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(object["stage"], "replaying log");
    assert_eq!(object["progress"]["percent"], 40);
    assert_eq!(object["beating"], false);
    assert_eq!(output.status.code(), Some(3), "it stands still");
    let output = program().args(["status", &format!("shm://{name}:1")]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(3), "it stands still");
    assert!(String::from_utf8_lossy(&output.stdout).contains("stands still"));
    assert_eq!(object["clients"][0]["name"], "log");
    node.signal(signal_hook::consts::SIGCONT);
    let output = program().args(["status", "--json", &format!("shm://{name}:1")]).output().expect("it runs");
    let object: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!((output.status.code(), &object["authentication"]), (Some(0), &Value::from("none")));
    assert_eq!(node.end(signal_hook::consts::SIGTERM), Some(0));
    assert_eq!(names_in_dev_shm(&name), Vec::<String>::new());
}

#[test]
fn each_misconfiguration_is_told_with_its_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = |name: &str, byte: u8| {
        let path = folder.path().join(name);
        std::fs::write(&path, [byte; 32]).expect("written");
        path.display().to_string()
    };
    let (one, other) = (key("one", 1), key("other", 2));
    let cases: [(&[&str], &[&str], &str, &str); 4] = [
        (&["--key", &one], &["--key", &other], "pre-shared keys differ", "pre-shared keys differ"),
        (&["--key", &one], &[], "give the partner the same key", "give this node the same key"),
        (&["--cluster", "x"], &["--cluster", "y"], "belongs to cluster `y`", "belongs to cluster `x`"),
        (&["--id", "z"], &[], "expects another node here", "belongs to node `z`"),
    ];
    for (number, (for_a, for_b, at_a, at_b)) in cases.into_iter().enumerate() {
        let name = unique(&format!("wrong{number}"));
        let mut a = Node::start(&name, 1, for_a);
        let mut b = Node::start(&name, 2, for_b);
        a.wait_for(at_a);
        b.wait_for(at_b);
        assert_eq!(a.end(signal_hook::consts::SIGTERM), Some(0));
        assert_eq!(b.end(signal_hook::consts::SIGTERM), Some(0));
    }
}

#[test]
fn an_address_is_taken_while_its_process_lives_and_free_when_it_is_dead() {
    let name = unique("taken");
    let mut first = Node::start(&name, 1, &[]);
    first.wait_for("listening");
    let mut second = Node::start(&name, 1, &[]);
    second.wait_for(&format!("is in use by process {}", first.id()));
    assert_eq!(second.wait(), Some(1));
    first.signal(signal_hook::consts::SIGKILL);
    first.wait();
    assert_eq!(names_in_dev_shm(&name).len(), 1, "what a killed process leaves is one small file");
    let mut third = Node::start(&name, 1, &[]);
    third.wait_for("listening");
    assert_eq!(third.end(signal_hook::consts::SIGTERM), Some(0));
    assert_eq!(names_in_dev_shm(&name), Vec::<String>::new());
}

#[test]
fn wrong_words_are_usage_errors_that_say_where() {
    let cases: [(&[&str], &str); 6] = [
        (&["status", "shm://disk7"], "at character 12"),
        (&["status", "tcp://disk7:1"], "at character 1"),
        (&["node", "--id", "a", "--at", "shm://x:1"], "--partner is missing"),
        (&["node", "--id", "a", "--at", "shm://x:1", "--partner", "b"], "NODE@ADDRESS"),
        (&["node", "--id", "a b", "--at", "shm://x:1", "--partner", "b@shm://x:2"], "is no node name"),
        (
            &["node", "--id", "a", "--at", "shm://x:1", "--partner", "b@shm://x:2", "--client", "log"],
            "NAME:PORTS:BYTES",
        ),
    ];
    for (arguments, wanted) in cases {
        let output = program().args(arguments).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(wanted), "{wanted} is missing from: {text}");
    }
}

#[test]
fn nobody_there_and_a_bad_configuration_file_are_told() {
    let name = unique("nobody");
    let output = program().args(["status", "--json", &format!("shm://{name}:1")]).output().expect("it runs");
    let object: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert!(object["error"].as_str().expect("an error").contains("nobody listens"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("node.toml");
    std::fs::write(&path, "id = \"a\"\npartne = \"b\"\n").expect("written");
    let output = program().args(["node", "--config"]).arg(&path).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("line 2") && text.contains("partne"), "{text}");
}

#[test]
fn a_configuration_file_makes_a_node() {
    let name = unique("config");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("node.toml");
    let text = format!(
        "id = \"a\"\nat = \"shm://{name}:1\"\npartner = \"b@shm://{name}:2\"\ncluster = \"pair\"\nclient = [\"log:3:2MiB\"]\n"
    );
    std::fs::write(&path, text).expect("written");
    let mut node = Node::with(&["--config", &path.display().to_string()]);
    node.wait_for("listening");
    let output = program().args(["status", &format!("shm://{name}:1")]).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("node a of cluster pair") && text.contains("log: 3 ports, 2097152 bytes"), "{text}");
    assert_eq!(node.end(signal_hook::consts::SIGTERM), Some(0));
    std::thread::sleep(Duration::from_millis(1));
}
