//! Starting the program, and reading what it says.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Long enough for any machine; nothing here waits for it when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_handfast"));
    command.env_remove("RUST_LOG");
    command
}

/// A name for addresses that no other test has.
pub(crate) fn unique(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

/// Sends a signal to a process, or to a group of them (`-GROUP`).
pub(crate) fn signal(process: &str, number: i32) {
    let status = Command::new("kill").args([&format!("-{number}"), "--", process]).status();
    assert!(status.is_ok_and(|status| status.success()), "kill -{number}");
}

/// What is in /dev/shm under this name.
pub(crate) fn names_in_dev_shm(name: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|entry| entry.contains(name)).collect()
}

/// Lines as they come. Its thread ends with the writers of the pipe.
fn lines_of(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    lines
}

/// A running `handfast node`. Killed when dropped.
pub(crate) struct Node {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Node {
    /// Node a (port 1) or b (port 2) of a pair; `more` comes last, and an `--id` in it wins.
    pub(crate) fn start(name: &str, port: u16, more: &[&str]) -> Self {
        let (id, partner) = if port == 1 { ("a", "b") } else { ("b", "a") };
        let at = format!("shm://{name}:{port}");
        let partner = format!("{partner}@shm://{name}:{}", 3 - port);
        let mut arguments = vec!["--at", &at, "--partner", &partner];
        if !more.contains(&"--id") {
            arguments.extend(["--id", id]);
        }
        arguments.extend(more);
        Self::with(&arguments)
    }

    /// Node a of a pair, whose output goes where the command says, and not here.
    pub(crate) fn unheard(name: &str, mut command: Command) -> Self {
        let (at, partner) = (format!("shm://{name}:1"), format!("b@shm://{name}:2"));
        command.args(["--id", "a", "--at", &at, "--partner", &partner]);
        Self { child: command.spawn().expect("the program starts"), lines: channel().1, seen: Vec::new() }
    }

    pub(crate) fn with(arguments: &[&str]) -> Self {
        let mut command = program();
        command.arg("node").args(arguments);
        Self::run(command)
    }

    /// Node a of a pair, with a limit that the shell sets (`ulimit` and its arguments).
    pub(crate) fn limited(name: &str, limit: &str, more: &[&str]) -> Self {
        let (at, partner) = (format!("shm://{name}:1"), format!("b@shm://{name}:2"));
        let mut command = Command::new("sh");
        command.env_remove("RUST_LOG");
        command.arg("-c").arg(format!("ulimit {limit} && exec \"$0\" \"$@\"")).arg(env!("CARGO_BIN_EXE_handfast"));
        command.args(["node", "--id", "a", "--at", &at, "--partner", &partner]).args(more);
        Self::run(command)
    }

    /// One that a command starts, which becomes the node's process.
    pub(crate) fn run(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let output = child.stderr.take().expect("a pipe");
        Self { child, lines: lines_of(output), seen: Vec::new() }
    }

    /// Begins to read what it says.
    pub(crate) fn listen(&mut self, output: impl Read + Send + 'static) {
        self.lines = lines_of(output);
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Reads on until a line contains this.
    pub(crate) fn wait_for(&mut self, wanted: &str) {
        self.wait_for_any(&[wanted]);
    }

    /// Reads on until a line contains one of these: which.
    pub(crate) fn wait_for_any(&mut self, wanted: &[&str]) -> usize {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Ok(line) = self.lines.recv_timeout(Duration::from_millis(50)) {
                let found = wanted.iter().position(|wanted| line.contains(wanted));
                self.seen.push(line);
                if let Some(found) = found {
                    return found;
                }
            }
        }
        panic!("`{wanted:?}` never came; what came was:\n{}", self.seen.join("\n"));
    }

    /// What it has said so far.
    pub(crate) fn said(&mut self) -> &[String] {
        self.seen.extend(self.lines.try_iter());
        &self.seen
    }

    pub(crate) fn signal(&self, number: i32) {
        signal(&self.child.id().to_string(), number);
    }

    /// The exit status, or none where a signal ended it.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it did not end; what it said was:\n{}", self.seen.join("\n"));
    }

    pub(crate) fn end(&mut self, number: i32) -> Option<i32> {
        self.signal(number);
        self.wait()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
