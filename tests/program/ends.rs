//! A demo that ends before its end: interrupted, killed, unheard, or short of something. Nothing may be left of it.

use crate::run::{PATIENCE, names_in_dev_shm, program, signal, unique};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A demo in the middle of its first pass, and its two workers.
struct Streaming {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    workers: Vec<u32>,
    _file: tempfile::NamedTempFile,
}

impl Streaming {
    fn start() -> Self {
        // Without blocks on disk, and minutes long.
        let file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(256 << 30).expect("a long file");
        let mut command = program();
        // As a shell would start it: Ctrl-C goes to all of the group.
        command.arg("demo").arg(file.path()).process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (mut workers, mut line) = (Vec::new(), String::new());
        while !line.starts_with("  log ") {
            line.clear();
            assert_ne!(output.read_line(&mut line).expect("a line"), 0, "it ended before it streamed");
            if line.starts_with("partners") {
                let numbers = line.split(|character: char| !character.is_ascii_digit());
                workers = numbers.filter_map(|number| number.parse().ok()).collect();
            }
        }
        assert_eq!(workers.len(), 2, "two workers are named");
        Self { child, output, workers, _file: file }
    }

    /// Within patience its workers are gone, and their files too.
    fn leaves_nothing(&self) {
        let name = format!("handfast.demo-{}.", self.child.id());
        let began = Instant::now();
        while !names_in_dev_shm(&name).is_empty() || self.workers.iter().any(|worker| runs(*worker)) {
            let left = names_in_dev_shm(&name);
            assert!(began.elapsed() < PATIENCE, "left of the demo: {left:?}, of its workers {:?}", self.workers);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a process runs: one that nobody has waited for yet does not.
fn runs(process: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    state.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with(['Z', 'X']))
}

#[test]
fn an_interrupted_demo_ends_its_partners() {
    for number in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let mut demo = Streaming::start();
        assert!(demo.workers.iter().all(|worker| runs(*worker)), "both stream");
        signal(&format!("-{}", demo.child.id()), number);
        let status = demo.child.wait().expect("it ends");
        let mut complaint = String::new();
        demo.child.stderr.take().expect("a pipe").read_to_string(&mut complaint).expect("text");
        assert_eq!(status.code(), Some(1), "{complaint}");
        assert!(complaint.contains("interrupted"), "{complaint}");
        demo.leaves_nothing();
    }
}

#[test]
fn the_partners_of_a_killed_demo_leave_by_themselves() {
    let mut demo = Streaming::start();
    demo.child.kill().expect("killed");
    demo.child.wait().expect("it ends");
    demo.leaves_nothing();
    let mut rest = String::new();
    demo.output.read_to_string(&mut rest).expect("nobody holds its output any more");
}

#[test]
fn a_demo_that_nobody_reads_goes_on_to_its_end() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(&[3; 5000]).expect("written");
    let mut child =
        program().arg("demo").arg(file.path()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    drop(child.stdout.take());
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn a_source_that_changes_between_the_passes_is_named() {
    // Other bytes each time it is opened.
    let path = "/proc/sys/kernel/random/uuid";
    let output = program().args(["demo", "--json", path]).output().expect("it runs");
    let object: Value = serde_json::from_slice(&output.stdout).expect("one object");
    let error = object["error"].as_str().expect("an error");
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains(path) && error.contains("changed between the two passes"), "{error}");
}

#[test]
fn a_fifo_is_refused_and_not_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
    let output = program().arg("demo").arg(&path).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("not a regular file") && text.contains("`-`"), "{text}");
}

#[test]
fn what_is_piped_in_is_kept_without_a_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&[9; 300_000]).and_then(|()| file.rewind()).expect("written");
    let mut command = program();
    command.args(["demo", "--json", "-"]).env("TMPDIR", folder.path()).stdin(file);
    let child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let watched = folder.path().to_owned();
    let output = child.wait_with_output().expect("it ends");
    let object: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!((&object["bytes"], output.status.success()), (&Value::from(300_000), true), "{object}");
    assert_eq!(std::fs::read_dir(watched).expect("the folder").count(), 0);
}

/// Root may lock what it likes, so it has to give that up first.
fn with_lock_limit(kib: u32) -> Command {
    let without_right = "setpriv --inh-caps=-ipc_lock --bounding-set=-ipc_lock --";
    let script = format!(
        "ulimit -l {kib} || exit 77; if [ $(id -u) = 0 ]; then exec {without_right} \"$@\"; else exec \"$@\"; fi"
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_handfast")]);
    command
}

#[test]
fn a_low_limit_of_locked_memory_is_told_with_its_remedy() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(&vec![5; 2 << 20]).expect("written");
    let output = with_lock_limit(1024).arg("demo").arg(file.path()).output().expect("it runs");
    let (text, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if matches!(output.status.code(), Some(77 | 127)) {
        println!("SKIPPED: the limit of locked memory cannot be lowered here: {complaint}");
        return;
    }
    assert!(output.status.success(), "{text}\n{complaint}");
    assert!(complaint.contains("the limit for locked memory is 1048576 bytes") && complaint.contains("ulimit -l"));
    assert!(
        complaint.contains("going on with a ring of 131072 bytes") && text.contains("every digest agrees"),
        "{complaint}"
    );

    let mut command = with_lock_limit(64);
    command.args(["demo", "--json"]).arg(file.path()).stdout(Stdio::piped());
    let child = command.spawn().expect("it runs");
    let name = format!("handfast.demo-{}.", child.id());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(names_in_dev_shm(&name), Vec::<String>::new());
    let object: Value = serde_json::from_slice(&output.stdout).expect("one object");
    let error = object["error"].as_str().expect("an error");
    assert_eq!(output.status.code(), Some(1));
    assert!(!error.contains("pinned(false)"), "advice that users of the program cannot follow: {error}");
    assert!(error.contains("the limit for locked memory is 65536 bytes") && error.contains("ulimit -l"), "{error}");
}

/// Threads are refused one after the other: by a user of its own who may have so many and no more.
#[test]
fn threads_that_are_not_to_be_had_are_no_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("handfast");
    std::fs::copy(env!("CARGO_BIN_EXE_handfast"), &copy).expect("copied");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).expect("everybody may enter");
    let user = 200_000 + std::process::id();
    let script = format!(
        "if [ $(id -u) = 0 ]; then other='setpriv --reuid={user} --clear-groups --inh-caps=-all --bounding-set=-all --'; fi; exec $other prlimit --nproc=$0:$0 \"$@\""
    );
    let (at, partner) = (format!("shm://{}:1", unique("threads")), format!("shm://{}:2", unique("threads")));
    let node = ["node", "--id", "a", "--at", &at, "--partner", &format!("b@{partner}")];
    let half = ["demo", "--side", "receiver", "--at", &at, "--partner", &partner];
    for (arguments, most) in [
        (&node[..], 2),
        (&half, 2),
        (&["demo", "/etc/passwd"], 4),
        (&["demo", "--engine", "redb", "--transactions", "20"], 4),
    ] {
        for limit in 1..=most {
            let mut command = Command::new("timeout");
            command.args(["60", "sh", "-c", &script, &limit.to_string()]).arg(&copy).args(arguments);
            let output = command.output().expect("it runs");
            let text = String::from_utf8_lossy(&output.stderr);
            if matches!(output.status.code(), Some(126 | 127)) {
                println!("SKIPPED: another user cannot be had here: {text}");
                return;
            }
            assert_eq!(output.status.code(), Some(1), "{arguments:?}, {limit}: {text}");
            assert!(!text.contains("panicked") && text.contains("handfast: "), "{arguments:?}, {limit}: {text}");
        }
    }
}
