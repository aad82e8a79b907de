//! The demo in two halves: each a command of its own, one of which may be killed and come back.

use crate::run::{PATIENCE, names_in_dev_shm, program, signal, unique};
use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGKILL};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A running half, whose events are read as they come. Killed when dropped.
struct Half {
    child: Child,
    events: Receiver<Value>,
    seen: Vec<Value>,
}

impl Half {
    fn sender(name: &str, more: &[&str]) -> Self {
        Self::start("sender", name, 1, more)
    }

    fn receiver(name: &str) -> Self {
        Self::start("receiver", name, 2, &[])
    }

    fn start(side: &str, name: &str, port: u16, more: &[&str]) -> Self {
        let (at, partner) = (format!("shm://{name}:{port}"), format!("shm://{name}:{}", 3 - port));
        let mut command = program();
        command.args(["demo", "--json", "--side", side, "--at", &at, "--partner", &partner]).args(more);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let output = child.stdout.take().expect("a pipe");
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).expect("each line is an object"));
            }
        });
        Self { child, events, seen: Vec::new() }
    }

    /// The next event of this kind; those before it are passed over. Patience is for silence: on a busy machine much may come before it.
    fn next(&mut self, kind: &str) -> Value {
        let mut heard = Instant::now();
        while heard.elapsed() < PATIENCE {
            if let Ok(event) = self.events.recv_timeout(Duration::from_millis(50)) {
                heard = Instant::now();
                self.seen.push(event.clone());
                if event["event"] == kind {
                    return event;
                }
            }
        }
        panic!("no `{kind}` came; what came was {:?}", self.seen);
    }

    fn signal(&self, number: i32) {
        signal(&self.child.id().to_string(), number);
    }

    /// The exit status, or none where a signal ended it.
    fn end(&mut self) -> Option<i32> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it did not end; what came was {:?}", self.seen);
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The digest of a file that is not held in memory.
fn digest(path: &std::path::Path) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut file = std::fs::File::open(path).expect("a file");
    let mut bytes = vec![0; 1 << 20];
    loop {
        match file.read(&mut bytes).expect("read") {
            0 => return hasher.finalize().to_string(),
            count => hasher.update(&bytes[..count]),
        };
    }
}

#[test]
fn both_halves_count_the_same_bytes_and_end() {
    for size in [0, 1, (256 << 10) - 1, 256 << 10, 3_000_000] {
        let name = unique(&format!("halves{size}"));
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        let bytes: Vec<u8> = (0..size).map(|index| (index * 31 % 251) as u8).collect();
        file.write_all(&bytes).expect("written");
        let path = file.path().display().to_string();
        let mut receiver = Half::receiver(&name);
        let mut sender = Half::sender(&name, &["--passes", "2", &path]);
        let established = sender.next("established");
        assert_eq!(established["session"], receiver.next("established")["session"]);
        assert_eq!(established["incarnation"].as_str().map(str::len), Some(16), "{established}");
        let digest = blake3::hash(&bytes).to_string();
        for half in [&mut sender, &mut receiver] {
            for pass in 1..=2 {
                assert_eq!(half.next("passed")["pass"], pass);
            }
            let done = half.next("done");
            assert_eq!((&done["passes"], &done["bytes"]), (&2.into(), &size.into()));
            assert_eq!((&done["digest"], &done["digest_received"]), (&digest.clone().into(), &digest.clone().into()));
            assert_eq!(done["digests_equal"], true);
            assert_eq!(half.end(), Some(0));
        }
        assert_eq!(names_in_dev_shm(&name), Vec::<String>::new());
    }
}

/// A file without blocks on disk, so long that a pass can be met in its middle.
fn long_file() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.as_file().set_len(1 << 30).expect("a long file");
    file.write_all(b"not all of it is the same").expect("written");
    file
}

#[test]
fn a_receiver_that_is_killed_in_mid_pass_comes_back_and_gets_all_of_it() {
    let name = unique("killed-half");
    let file = long_file();
    let mut sender = Half::sender(&name, &[&file.path().display().to_string()]);
    let mut receiver = Half::receiver(&name);
    let before = sender.next("established");
    let progress = receiver.next("progress");
    assert!(progress["bytes"].as_u64() > Some(0) && progress["bytes"].as_u64() < Some(1 << 30), "{progress}");
    receiver.signal(SIGKILL);
    assert_eq!(receiver.end(), None);
    assert!(sender.next("lost")["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
    assert!(sender.next("stopped")["unacknowledged_bytes"].as_u64().is_some());
    let mut again = Half::receiver(&name);
    let after = sender.next("established");
    assert!(before["session"] != after["session"] && before["incarnation"] != after["incarnation"], "{after}");
    let digest = Value::from(digest(file.path()));
    for half in [&mut sender, &mut again] {
        let done = half.next("done");
        assert_eq!((&done["digest"], &done["digest_received"]), (&digest, &digest));
        assert_eq!(done["bytes"], 1u64 << 30);
        assert_eq!(half.end(), Some(0));
    }
    assert_eq!(names_in_dev_shm(&name), Vec::<String>::new());
}

#[test]
fn a_sender_that_is_killed_in_mid_pass_comes_back_and_sends_all_of_it() {
    let name = unique("killed-sender");
    let file = long_file();
    let path = file.path().display().to_string();
    let mut receiver = Half::receiver(&name);
    let mut sender = Half::sender(&name, &[&path]);
    assert_eq!(sender.next("progress")["total"], 1u64 << 30);
    sender.signal(SIGKILL);
    assert_eq!(sender.end(), None);
    receiver.next("lost");
    let mut again = Half::sender(&name, &[&path]);
    let digest = Value::from(digest(file.path()));
    for half in [&mut receiver, &mut again] {
        let done = half.next("done");
        assert_eq!((&done["digest"], &done["digest_received"]), (&digest, &digest));
        assert_eq!(half.end(), Some(0));
    }
    assert_eq!(names_in_dev_shm(&name), Vec::<String>::new());
}

#[test]
fn an_interrupted_half_leaves_in_order() {
    let name = unique("interrupted-half");
    let file = long_file();
    let mut receiver = Half::receiver(&name);
    let mut sender = Half::sender(&name, &[&file.path().display().to_string()]);
    sender.next("progress");
    receiver.signal(SIGINT);
    assert_eq!(receiver.end(), Some(1));
    assert_eq!(sender.next("lost")["reason"], "the partner left");
    // Nothing to stream to, and it waits: a signal ends that too.
    sender.signal(SIGINT);
    assert_eq!(sender.end(), Some(1));
    assert_eq!(names_in_dev_shm(&name), Vec::<String>::new());
}

#[test]
fn people_read_that_digests_are_equal() {
    let name = unique("read-half");
    let (a, b) = (format!("shm://{name}:1"), format!("shm://{name}:2"));
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(&[7; 70_000]).expect("written");
    let mut command = program();
    command.args(["demo", "--side", "receiver", "--at", &b, "--partner", &a]).stdout(Stdio::piped());
    let receiver = command.spawn().expect("it starts");
    let sent = program()
        .args(["demo", "--side", "sender", "--at", &a, "--partner", &b])
        .arg(file.path())
        .output()
        .expect("runs");
    for output in [sent, receiver.wait_with_output().expect("it ends")] {
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("digests equal") && text.contains("listening at"), "{text}");
    }
}
