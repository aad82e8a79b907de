//! Standard output and standard error that take nothing: their reader is gone, or the disk is full.

use crate::run::{Node, PATIENCE, names_in_dev_shm, program, unique};
use signal_hook::consts::SIGTERM;
use std::fs::File;
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
