//! Standard output and standard error that take nothing: their reader is gone or stands still, or the disk is full.

use crate::run::{Node, PATIENCE, names_in_dev_shm, program, unique};
use signal_hook::consts::SIGTERM;
use std::fs::File;
use std::io::{PipeReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::time::Instant;

/// A file that never has room.
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("/dev/full").into()
}

/// A pipe whose reader is gone.
fn unread() -> Stdio {
    std::io::pipe().expect("a pipe").1.into()
}

/// A pipe that is full, and its reader, who reads nothing yet.
fn stuck() -> (Stdio, PipeReader) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    // Opened once more for the filling: the node's own description of it is to wait where the pipe is full.
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let mut options = File::options();
    let mut filling = options.write(true).custom_flags(libc::O_NONBLOCK).open(path).expect("the pipe once more");
    for bytes in [&[b'\n'; 4096][..], b"\n"] {
        while filling.write(bytes).is_ok() {}
    }
    (writer.into(), reader)
}

/// An answer is a failure where the disk is full, and none where its reader has left.
pub(crate) fn check(arguments: &[&str]) {
    let output = program().args(arguments).stdout(full()).output().expect("it runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {complaint}");
    assert!(complaint.contains("writing to standard output: ENOSPC"), "{arguments:?}: {complaint}");
    let output = program().args(arguments).stdout(unread()).output().expect("it runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), complaint.as_ref()), (Some(0), ""), "{arguments:?}");
}

/// `handfast node`, without the arguments that every node needs.
fn node(arguments: &[&str]) -> Command {
    let mut command = program();
    command.arg("node").args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Waits until the node at port 1 answers.
fn answers(name: &str) {
    let began = Instant::now();
    while !program().args(["status", &format!("shm://{name}:1")]).output().expect("it runs").status.success() {
        assert!(began.elapsed() < PATIENCE, "the node never listened");
    }
}

#[test]
fn a_node_lives_on_where_its_lines_cannot_be_written() {
    for (number, sink) in [full, unread].into_iter().enumerate() {
        let name = unique(&format!("unwritten{number}"));
        for arguments in [&[][..], &["--json"]] {
            let mut command = node(arguments);
            command.stdout(sink()).stderr(sink()).env("RUST_LOG", "debug");
            let mut a = Node::unheard(&name, command);
            answers(&name);
            // Its life goes on, and it has more to tell.
            let mut b = Node::start(&name, 2, &[]);
            b.wait_for("ready: 1 clients");
            assert_eq!(b.end(SIGTERM), Some(0));
            answers(&name);
            assert_eq!(a.end(SIGTERM), Some(0));
        }
        assert_eq!(names_in_dev_shm(&name), Vec::<String>::new());
    }
}

#[test]
fn a_command_keeps_its_status_where_its_complaint_cannot_be_written() {
    let name = unique("unheard");
    let nobody = format!("shm://{name}:1");
    let cases: [(&[&str], i32); 4] = [
        (&["status", &nobody], 1),
        (&["status", "nonsense"], 2),
        (&["log", "stat", "/nowhere"], 1),
        (&["demo", "--bogus"], 2),
    ];
    for (arguments, wanted) in cases {
        for sink in [full(), unread()] {
            let status = program().args(arguments).stdout(Stdio::null()).stderr(sink).status().expect("it runs");
            assert_eq!(status.code(), Some(wanted), "{arguments:?}");
        }
    }
}

#[test]
fn an_answer_that_is_not_written_is_a_failure() {
    let name = unique("answer");
    let mut node = Node::start(&name, 1, &[]);
    node.wait_for("listening");
    let address = format!("shm://{name}:1");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), [1; 5000]).expect("written");
    let path = file.path().display().to_string();
    let cases: [&[&str]; 9] = [
        &["status", &address],
        &["status", "--json", &address],
        &["status", "--watch", "0.1", &address],
        &["status", "--json", "--watch", "0.1", &address],
        &["demo", &path],
        &["demo", "--json", &path],
        &["--help"],
        &["--version"],
        &["log", "dump", "--help"],
    ];
    for arguments in cases {
        check(arguments);
    }
    if cfg!(feature = "redb") {
        check(&["demo", "--engine", "redb", "--transactions", "20"]);
        check(&["demo", "--engine", "redb", "--transactions", "20", "--json"]);
    }
    assert_eq!(node.end(SIGTERM), Some(0));
}

#[test]
fn a_refusal_that_finds_no_room_as_an_object_is_told_as_text() {
    for (arguments, wanted) in [(["status", "--json", "nonsense"], 2), (["log", "stat", "--json"], 2)] {
        let output = program().args(arguments).stdout(full()).output().expect("it runs");
        assert_eq!(output.status.code(), Some(wanted));
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("handfast: "));
    }
}

/// A node whose lines go into full pipes: its life goes on with partners that come and go, and it ends when it is told to.
#[test]
fn a_reader_that_stands_still_holds_up_no_node() {
    for (number, json) in [&[][..], &["--json"]].into_iter().enumerate() {
        let name = unique(&format!("stuck{number}"));
        let mut command = node(json);
        let ((out, _reader), (err, _other_reader)) = (stuck(), stuck());
        // Everything that can be said, also by the control thread.
        command.stdout(out).stderr(err).env("RUST_LOG", "trace");
        let mut a = Node::unheard(&name, command);
        answers(&name);
        for _ in 0..2 {
            let mut b = Node::start(&name, 2, &[]);
            b.wait_for("ready: 1 clients");
            assert_eq!(b.end(SIGTERM), Some(0));
        }
        let output = program().args(["status", "--json", &format!("shm://{name}:1")]).output().expect("it runs");
        let object: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
        assert_eq!(object["beating"], true, "{object}");
        // A failure has last words, which do not hold it up either.
        let mut command = node(json);
        let ((out, _reader), (err, _other_reader)) = (stuck(), stuck());
        command.stdout(out).stderr(err);
        assert_eq!(Node::unheard(&name, command).wait(), Some(1), "the address is taken");
        assert_eq!(a.end(SIGTERM), Some(0));
        assert_eq!(names_in_dev_shm(&name), Vec::<String>::new());
    }
}

#[test]
fn a_reader_that_goes_on_hears_all_that_was_said_meanwhile() {
    for (number, json) in [&[][..], &["--json"]].into_iter().enumerate() {
        let name = unique(&format!("resumed{number}"));
        let mut command = node(json);
        let (sink, reader) = stuck();
        if json.is_empty() {
            command.stderr(sink)
        } else {
            command.stdout(sink)
        };
        let mut a = Node::unheard(&name, command);
        let mut b = Node::start(&name, 2, &[]);
        b.wait_for("ready: 1 clients");
        assert_eq!(b.end(SIGTERM), Some(0));
        answers(&name);
        a.listen(reader);
        for wanted in ["listening", "session", "ready: 1 clients", "is lost: the partner left"] {
            a.wait_for(wanted);
        }
        a.signal(SIGTERM);
        a.wait_for("left");
        assert_eq!(a.wait(), Some(0));
    }
}

/// The signal that comes with a file's limit ends who does not handle it.
#[test]
fn a_node_outlives_the_limit_of_its_logs_size() {
    let name = unique("limited");
    let log = tempfile::NamedTempFile::new().expect("a file");
    // A block of the shell's has 512 or 1024 bytes. The log is as long as it may be by either, the node's memory is far below.
    let blocks = 65536;
    log.as_file().set_len(blocks * 1024).expect("a long file without blocks");
    for json in [&[][..], &["--json"]] {
        let script = format!("ulimit -f {blocks} && exec \"$@\" >> \"$0\" 2>> \"$0\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(log.path()).args([env!("CARGO_BIN_EXE_handfast"), "node"]).args(json);
        command.env("RUST_LOG", "debug");
        let mut a = Node::unheard(&name, command);
        answers(&name);
        let mut b = Node::start(&name, 2, &[]);
        b.wait_for("ready: 1 clients");
        assert_eq!(b.end(SIGTERM), Some(0));
        assert_eq!(a.end(SIGTERM), Some(0));
        assert_eq!(log.as_file().metadata().expect("its length").len(), blocks * 1024, "it was not at its limit");
    }
    // A command fails by its status, and not by the signal.
    let script = "ulimit -f 8 && exec \"$@\" >> \"$0\"";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(log.path()).args([env!("CARGO_BIN_EXE_handfast"), "--help"]);
    let output = command.output().expect("it runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("EFBIG"), "{complaint}");
    assert_eq!(names_in_dev_shm(&name), Vec::<String>::new());
}
