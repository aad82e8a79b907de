//! Remedies of what belongs to a user: addresses, and the limit of threads. Other users are made up, which takes root.

use crate::run::{Node, PATIENCE, program, unique};
use signal_hook::consts::{SIGKILL, SIGTERM};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;
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

#[test]
fn a_program_with_capabilities_is_reached_by_one_that_has_them_too() {
    let Some(program) = Program::new() else { return };
    let with = program.path.with_extension("with");
    std::fs::copy(&program.path, &with).expect("copied");
    let set = Command::new("setcap").arg("cap_ipc_lock+ep").arg(&with).output();
    if !set.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: setcap does nothing here");
        return;
    }
    let user = format!("--reuid={}", 300_000 + std::process::id());
    let as_user = |path: &PathBuf| {
        let mut command = Command::new("setpriv");
        command.args([&user, "--clear-groups", "--inh-caps=-all"]).arg(path).env_remove("RUST_LOG");
        command
    };
    let name = unique("capable");
    let mut command = as_user(&with);
    command.args(node(&name, 1));
    let mut running = Node::run(command);
    running.wait_for("listening");
    let address = format!("shm://{name}:1");
    let refused = as_user(&program.path).args(["status", &address]).output().expect("it runs");
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(told.contains("has capabilities that this one has not: give both programs the same (`setcap`)"), "{told}");
    let reached = as_user(&with).args(["status", &address]).output().expect("it runs");
    assert!(reached.status.success(), "{}", String::from_utf8_lossy(&reached.stderr));
    assert_eq!(running.end(SIGTERM), Some(0));
}

/// A control group of its own, removed at the end.
struct Group(PathBuf);

impl Group {
    /// One with this limit of memory; none where none can be had here.
    fn new(bytes: u64) -> Option<Self> {
        let name = unique("handfast-test");
        let groups = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].map(|mount| Self(PathBuf::from(mount).join(&name)));
        let made = groups.into_iter().find_map(|group| {
            std::fs::create_dir(&group.0).ok()?;
            group.limit(bytes).then_some(group)
        });
        if made.is_none() {
            eprintln!("SKIPPED: a control group cannot be had here");
        }
        made
    }

    fn limit(&self, bytes: u64) -> bool {
        let write = |file| std::fs::File::options().write(true).open(self.0.join(file));
        let file = write("memory.limit_in_bytes").or_else(|_| write("memory.max"));
        file.is_ok_and(|mut file| std::io::Write::write_all(&mut file, bytes.to_string().as_bytes()).is_ok())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A process leaves its group a moment after it has ended.
        let began = Instant::now();
        while std::fs::remove_dir(&self.0).is_err_and(|error| error.kind() != std::io::ErrorKind::NotFound) {
            assert!(std::thread::panicking() || began.elapsed() < PATIENCE, "{} stays", self.0.display());
            if began.elapsed() > PATIENCE {
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// The kernel ends a process that touches more: it is not touched.
#[test]
fn a_limit_of_memory_is_raised() {
    let Some(group) = Group::new(96 << 20) else { return };
    let name = unique("group");
    let client = ["--client", "log:1:128MiB"];
    let mut command = Command::new("sh");
    command.args(["-c", "echo $$ > \"$GROUP\"/cgroup.procs && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_handfast")]);
    command.args(node(&name, 1)).args(client).env("GROUP", &group.0).env_remove("RUST_LOG");
    let mut a = Node::run(command);
    let partner = format!("a@shm://{name}:1");
    let at = format!("shm://{name}:9");
    let arguments = ["node", "--id", "b", "--at", &at, "--partner", &partner];
    let mut b = Node::with(&[&arguments[1..], &client].concat());
    a.wait_for("and the memory limit of a container or control group bound it too)");
    assert!(group.limit(1 << 30));
    a.wait_for("ready: 1 clients");
    b.wait_for("ready: 1 clients");
    for mut node in [a, b] {
        assert_eq!(node.end(SIGTERM), Some(0));
    }
}

/// A namespace whose /proc is that of the one before: numbers in it are of other processes.
#[test]
fn a_node_whose_proc_is_another_namespaces_mounts_its_own() {
    let inside = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount", "sh", "-c", script]).env_remove("RUST_LOG");
        command
    };
    if !inside("mount -t proc proc /proc").output().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: a PID namespace cannot be had here");
        return;
    }
    let name = unique("proc");
    let run = |script: &str| {
        let mut command = inside(script);
        command.arg(env!("CARGO_BIN_EXE_handfast")).args(node(&name, 1));
        Node::run(command)
    };
    let mut refused = run("exec \"$0\" \"$@\"");
    refused.wait_for("in /proc, which is not mounted or shows another PID namespace: mount it anew");
    assert_eq!(refused.wait(), Some(1));
    let mut node = run("mount -t proc proc /proc && exec \"$0\" \"$@\"");
    node.wait_for("listening");
    node.end(SIGKILL);
    for left in crate::run::names_in_dev_shm(&name) {
        std::fs::remove_file(format!("/dev/shm/{left}")).expect("removed");
    }
}

/// Both in a namespace of their own, and then both in one.
#[test]
fn a_node_in_another_pid_namespace_is_reached_from_within() {
    let unshare = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).args(arguments).env_remove("RUST_LOG");
        command
    };
    if !unshare(&["true"]).output().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: a PID namespace cannot be had here");
        return;
    }
    let name = unique("namespace");
    let arguments = node(&name, 1);
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut inside = Node::run(unshare(&[&[env!("CARGO_BIN_EXE_handfast")], &words[..]].concat()));
    inside.wait_for("listening");
    let address = format!("shm://{name}:1");
    let refused = program().args(["status", &address]).output().expect("it runs");
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && told.contains("Run both in one (docker: --pid"), "{told}");
    inside.end(SIGKILL);
    // The namespace ends a moment after; then the address is free.
    let began = Instant::now();
    loop {
        let mut next = Node::with(&words[1..]);
        if next.wait_for_any(&["listening", "is in use by"]) == 0 {
            assert_eq!(next.end(SIGTERM), Some(0));
            break;
        }
        assert!(began.elapsed() < PATIENCE, "the namespace did not end");
    }
    let script =
        "\"$0\" \"$@\" & for i in $(seq 400); do \"$0\" status \"$ADDRESS\" && exit 0; sleep 0.05; done; exit 1";
    let mut both = unshare(&[&["sh", "-c", script, env!("CARGO_BIN_EXE_handfast")], &words[..]].concat());
    let reached = both.env("ADDRESS", &address).output().expect("it runs");
    let told = String::from_utf8_lossy(&reached.stderr);
    assert!(reached.status.success(), "{told}");
    assert!(String::from_utf8_lossy(&reached.stdout).contains("node a of cluster"), "{told}");
    // Killed with their namespace, they left the file of the address.
    for left in crate::run::names_in_dev_shm(&name) {
        std::fs::remove_file(format!("/dev/shm/{left}")).expect("removed");
    }
}
