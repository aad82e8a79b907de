//! Remedies of what belongs to a user: addresses, and the limit of threads. Other users are made up, which takes root.

use crate::run::{Node, program, unique};
use signal_hook::consts::{SIGKILL, SIGTERM};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// The program where every user can run it.
struct Program {
    _folder: TempDir,
    path: PathBuf,
}

impl Program {
    /// None where nobody else can be had here.
    fn new() -> Option<Self> {
        let probe = Command::new("setpriv").args(["--reuid=200000", "--clear-groups", "true"]).output();
        if !probe.is_ok_and(|output| output.status.success()) {
            eprintln!("SKIPPED: another user cannot be had here");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("handfast");
        std::fs::copy(env!("CARGO_BIN_EXE_handfast"), &path).expect("copied");
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).expect("everybody may enter");
        Some(Self { _folder: folder, path })
    }

    /// It, as another user; `more` are arguments of setpriv.
    fn as_another(&self, more: &[&str]) -> Command {
        let user = 300_000 + std::process::id();
        let mut command = Command::new("setpriv");
        command.arg(format!("--reuid={user}")).args(["--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]);
        command.args(more).arg(&self.path).env_remove("RUST_LOG");
        command
    }
}

/// The arguments of node a of a pair.
fn node(name: &str, port: u16) -> Vec<String> {
    let (at, partner) = (format!("shm://{name}:{port}"), format!("b@shm://{name}:9"));
    ["node", "--id", "a", "--at", &at, "--partner", &partner].map(str::to_owned).to_vec()
}

#[test]
fn a_limit_of_threads_is_raised() {
    let Some(program) = Program::new() else { return };
    let name = unique("threads-raised");
    let limited = |threads: &str| {
        let mut command = program.as_another(&["prlimit", threads]);
        command.args(node(&name, 1));
        Node::run(command)
    };
    let mut refused = limited("--nproc=1:1");
    refused.wait_for("raise the limit of processes and threads (`ulimit -u`");
    assert_eq!(refused.wait(), Some(1));
    let mut raised = limited("--nproc=100:100");
    raised.wait_for("listening");
    assert_eq!(raised.end(SIGTERM), Some(0));
}

#[test]
fn another_users_endpoint_is_reached_as_that_user() {
    let Some(another) = Program::new() else { return };
    let name = unique("users-endpoint");
    let address = format!("shm://{name}:1");
    let mut owner = Node::start(&name, 1, &[]);
    owner.wait_for("listening");
    let refused = another.as_another(&[]).args(["status", &address]).output().expect("it runs");
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(told.contains("as the user that listens there, or as root"), "{told}");
    let reached = program().args(["status", &address]).output().expect("it runs");
    assert!(reached.status.success(), "{}", String::from_utf8_lossy(&reached.stderr));
    assert_eq!(owner.end(SIGTERM), Some(0));
}

#[test]
fn another_users_address_is_left_to_that_user() {
    let Some(another) = Program::new() else { return };
    let name = unique("users-address");
    let mut owner = Node::start(&name, 1, &[]);
    owner.wait_for("listening");
    owner.end(SIGKILL);
    let start = |port| {
        let mut command = another.as_another(&[]);
        command.args(node(&name, port));
        Node::run(command)
    };
    let mut refused = start(1);
    refused.wait_for("the address may be another user's; choose another port");
    assert_eq!(refused.wait(), Some(1));
    let mut elsewhere = start(2);
    elsewhere.wait_for("listening");
    assert_eq!(elsewhere.end(SIGKILL), None);
    // What that one left is readable for root, and says whose it is.
    let arguments = node(&name, 2);
    let arguments: Vec<&str> = arguments[1..].iter().map(String::as_str).collect();
    let mut refused = Node::with(&arguments);
    let told = refused.wait_for_any(&[
        "choose another port, or have that user remove it",
        "may be another user's; choose another port",
    ]);
    println!("told by its {} message", ["first", "second"][told]);
    assert_eq!(refused.wait(), Some(1));
    for left in crate::run::names_in_dev_shm(&name) {
        std::fs::remove_file(format!("/dev/shm/{left}")).expect("removed");
    }
    let mut after = Node::with(&arguments);
    after.wait_for("listening");
    assert_eq!(after.end(SIGTERM), Some(0));
}
