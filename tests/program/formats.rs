//! What the program prints for programs, and what it reads from files.

use crate::run::{Node, PATIENCE, names_in_dev_shm, program, signal, unique};
use serde_json::Value;
use signal_hook::consts::SIGTERM;
use std::io::{BufRead, BufReader};
use std::process::{ChildStdout, Command, Stdio};
use std::time::Instant;

/// The next object of the kind wanted; those before it are passed over.
fn next(output: &mut BufReader<ChildStdout>, wanted: impl Fn(&Value) -> bool) -> Value {
    let (began, mut line) = (Instant::now(), String::new());
    while began.elapsed() < PATIENCE {
        line.clear();
        assert_ne!(output.read_line(&mut line).expect("a line"), 0, "the output ended");
        let object: Value = serde_json::from_str(&line).expect("each line is an object");
        if wanted(&object) {
            return object;
        }
    }
    panic!("it never came; the last line was {line}");
}

#[test]
fn a_node_tells_its_life_as_objects_and_nothing_else() {
    let name = unique("objects");
    let (at, partner) = (format!("shm://{name}:1"), format!("b@shm://{name}:2"));
    let mut command = program();
    command.args(["node", "--json", "--id", "a", "--at", &at, "--partner", &partner]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let listening = next(&mut output, |object| object["event"] == "listening");
    assert_eq!(listening["address"], at);
    let mut b = Node::start(&name, 2, &["--stage", "serving", "--progress", "1/4"]);
    let stage = next(&mut output, |object| object["event"] == "partner_stage" && object["stage"] == "serving");
    assert_eq!(stage["progress"]["percent"], 25);
    let established = next(&mut output, |object| object["event"] == "established");
    assert_eq!(
        (&established["partner"], &established["steps"][3]["name"]),
        (&"b".into(), &"write confirmation".into())
    );
    let ready = next(&mut output, |object| object["event"] == "ready");
    assert_eq!(ready["session"], established["session"]);
    assert_eq!(ready["clients"][0]["memory_there_bytes"], 1 << 20);
    assert_eq!(b.end(SIGTERM), Some(0));
    let lost = next(&mut output, |object| object["event"] == "lost");
    assert_eq!((&lost["session"], &lost["reason"]), (&established["session"], &"the partner left".into()));
    signal(&child.id().to_string(), SIGTERM);
    next(&mut output, |object| object["event"] == "left");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
    assert_eq!(names_in_dev_shm(&name), Vec::<String>::new());
}

#[test]
fn a_node_is_watched_through_its_absence() {
    let name = unique("watched");
    let mut command = program();
    command.args(["status", "--json", "--watch", "0.1", &format!("shm://{name}:1")]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    for _ in 0..2 {
        next(&mut output, |object| object["error"].as_str().is_some_and(|error| error.contains("nobody listens")));
        let mut node = Node::start(&name, 1, &[]);
        let reading = next(&mut output, |object| object["node"] == "a" && object["beating"] == true);
        assert_eq!(reading["stage"], "up");
        assert_eq!(node.end(SIGTERM), Some(0));
    }
    // Nobody reads any more: that is the end of it.
    drop(output);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn wrong_usage_is_an_object_where_objects_are_wanted() {
    let cases: [(&[&str], &str); 4] = [
        (&["demo", "--json", "--order", "none"], "invalid value 'none'"),
        (&["node", "--json", "--bogus"], "unexpected argument '--bogus'"),
        (&["node", "--json", "--id", "a"], "--at is missing"),
        (&["status", "--json", "shm://x:0"], "at character 9"),
    ];
    for (arguments, wanted) in cases {
        let output = program().args(arguments).output().expect("it runs");
        let object: Value = serde_json::from_slice(&output.stdout).expect("one object");
        let error = object["error"].as_str().expect("an error");
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(2), ""));
        assert!(error.contains(wanted), "{wanted} is missing from: {error}");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for (argument, wanted) in [("--help", "demo"), ("--version", env!("CARGO_PKG_VERSION"))] {
        let output = program().arg(argument).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains(wanted), "{text}");
    }
    let version = program().arg("--version").output().expect("it runs");
    let text = String::from_utf8_lossy(&version.stdout);
    // Version, commit and profile.
    let inner = text.trim().strip_suffix(')').and_then(|text| text.split_once(" (")).map(|(_, inner)| inner);
    assert_eq!(inner.map(|inner| inner.split(", ").count()), Some(2), "{text}");
}

#[test]
fn a_key_is_found_from_the_configuration_file_and_options_win() {
    let name = unique("keyed");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("secret"), [1; 32]).expect("written");
    let mut nodes = Vec::new();
    for (id, at, partner, partner_at) in [("a", 1, "b", 2), ("b", 2, "a", 1)] {
        let path = folder.path().join(format!("{id}.toml"));
        let text = format!(
            "id = \"{id}\"\nat = \"shm://{name}:{at}\"\npartner = \"{partner}@shm://{name}:{partner_at}\"\nkey = \"secret\"\ncluster = \"not-this\"\n"
        );
        std::fs::write(&path, text).expect("written");
        nodes.push(Node::with(&["--config", &path.display().to_string(), "--cluster", "pair"]));
    }
    for node in &mut nodes {
        node.wait_for("pre-shared key");
        node.wait_for("ready: 1 clients");
    }
    let output = program().args(["status", "--json", &format!("shm://{name}:2")]).output().expect("it runs");
    let object: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!((&object["cluster"], &object["authentication"]), (&"pair".into(), &"pre-shared key".into()));
    for node in &mut nodes {
        assert_eq!(node.end(SIGTERM), Some(0));
    }
    assert_eq!(names_in_dev_shm(&name), Vec::<String>::new());
}

#[test]
fn a_key_that_is_none_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let short = folder.path().join("short");
    std::fs::write(&short, [1; 31]).expect("written");
    let short = short.display().to_string();
    for (path, wanted) in [(short.as_str(), "at least 32"), ("/dev/zero", "is no key"), ("/nowhere", "No such file")] {
        let mut command = program();
        command.args(["node", "--id", "a", "--at", "shm://k:1", "--partner", "b@shm://k:2", "--key", path]);
        let output = command.output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(text.contains(wanted) && text.contains(path), "{text}");
    }
}

#[test]
fn files_that_never_end_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (fifo, long) = (path("fifo"), path("long"));
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    std::fs::write(&long, vec![b'#'; (1 << 20) + 1]).expect("written");
    let node = ["node", "--id", "a", "--at", "shm://k:1", "--partner", "b@shm://k:2"];
    for (option, path, wanted) in [
        ("--config", fifo.as_str(), "not a regular file"),
        ("--config", "/dev/zero", "not a regular file"),
        ("--config", &long, "more than 1048576 bytes"),
        ("--key", &fifo, "into this pipe within"),
    ] {
        // Whoever waits for ever is ended.
        let mut command = Command::new("timeout");
        command.args(["60", env!("CARGO_BIN_EXE_handfast")]).args(node).args([option, path]);
        let output = command.output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(wanted) && text.contains(path), "{text}");
    }
}

#[test]
fn a_key_may_come_through_a_pipe() {
    let name = unique("piped");
    let folder = tempfile::tempdir().expect("a folder");
    let fifo = folder.path().join("fifo").display().to_string();
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    // It gives up by itself where nobody reads.
    let script = "{ sleep 0.1; printf %032d 7; sleep 0.1; printf %08d 7; } > \"$0\"";
    let mut writer = Command::new("timeout").args(["20", "sh", "-c", script, &fifo]).spawn().expect("a shell");
    let mut node = Node::start(&name, 1, &["--key", &fifo]);
    node.wait_for("listening");
    assert_eq!(node.end(SIGTERM), Some(0));
    assert!(writer.wait().expect("it ends").success());
}
