//! A child process of a test: this very test program, called again with a role.
//!
//! A child speaks by lines that begin with [`MARK`] and hears commands, one a line. It ends when its commands end, so none survives the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Tells a child's lines from those of the test harness around it.
pub(crate) const MARK: &str = "@ ";

/// The variable that names the role.
pub(crate) const ROLE: &str = "HANDFAST_TEST_ROLE";

pub(crate) struct Child {
    pub(crate) process: std::process::Child,
    stdin: Option<ChildStdin>,
    heard: Receiver<String>,
    /// All it has said so far.
    pub(crate) lines: Vec<String>,
    complaints: Option<JoinHandle<String>>,
    what: String,
}

/// This program in `role`, with further variables.
pub(crate) fn command(role: &str, variables: &[(&str, String)]) -> Command {
    let program = std::env::current_exe().expect("this program's own path");
    let mut command = Command::new(program);
    command.args(["role", "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, role);
    command.envs(variables.iter().map(|(name, value)| (*name, value.as_str())));
    command
}

impl Child {
    pub(crate) fn start(role: &str, variables: &[(&str, String)]) -> Self {
        Self::run(role, command(role, variables))
    }

    pub(crate) fn run(what: &str, mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("a child process");
        let (stdout, mut stderr) = (process.stdout.take().expect("stdout"), process.stderr.take().expect("stderr"));
        let (tell, heard) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some((_, said)) = line.split_once(MARK) {
                    let _ = tell.send(said.to_owned());
                }
            }
        });
        let complaints = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stderr.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let stdin = process.stdin.take();
        Self { process, stdin, heard, lines: Vec::new(), complaints: Some(complaints), what: what.to_owned() }
    }

    /// Sends a command; a dead child hears none.
    pub(crate) fn tell(&mut self, line: &str) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(format!("{line}\n").as_bytes());
        }
    }

    /// Takes in what it has said by now.
    pub(crate) fn listen(&mut self) {
        self.lines.extend(self.heard.try_iter());
    }

    /// The last line so far that begins with one of `words`.
    pub(crate) fn last_of(&self, words: &[&str]) -> Option<&str> {
        let begins = |line: &&String| words.iter().any(|word| line.starts_with(word));
        self.lines.iter().rev().find(begins).map(String::as_str)
    }

    /// Waits for a line from number `from` on that begins with `word`; the whole line.
    pub(crate) fn wait_for(&mut self, from: usize, word: &str, deadline: Instant) -> Result<String, String> {
        loop {
            if let Some(line) = self.lines.get(from..).unwrap_or_default().iter().find(|line| line.starts_with(word)) {
                return Ok(line.clone());
            }
            match self.heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.lines.push(line),
                Err(RecvTimeoutError::Timeout) => return Err(self.story(&format!("did not say `{word}` in time"))),
                Err(RecvTimeoutError::Disconnected) => return Err(self.story(&format!("ended before `{word}`"))),
            }
        }
    }

    /// Sends a command and waits for its answer.
    pub(crate) fn ask(&mut self, line: &str, patience: Duration) -> Result<String, String> {
        self.listen();
        let from = self.lines.len();
        self.tell(line);
        let answer = self.wait_for(from, "= ", Instant::now() + patience)?;
        Ok(answer["= ".len()..].to_owned())
    }

    /// Has it leave in order, and sees it end well.
    pub(crate) fn leave(mut self, patience: Duration) -> Result<(), String> {
        self.listen();
        let from = self.lines.len();
        self.tell("leave");
        self.wait_for(from, "left", Instant::now() + patience)?;
        self.end_well(patience)
    }

    /// What it said last, for messages.
    pub(crate) fn story(&mut self, problem: &str) -> String {
        self.listen();
        let ended = self.process.try_wait().ok().flatten().map(|status| format!(" ({status})")).unwrap_or_default();
        let told: Vec<&str> = self.lines.iter().map(String::as_str).filter(|line| *line != "= pong").collect();
        let (process, last) = (self.process.id(), told[told.len().saturating_sub(25)..].join("\n    "));
        format!("{} (process {process}) {problem}{ended}; its last lines:\n    {last}", self.what)
    }

    /// SIGKILL, and the end of it.
    pub(crate) fn kill(&mut self) -> ExitStatus {
        let _ = self.process.kill();
        self.process.wait().expect("its end")
    }

    /// Waits for its own end; SIGKILL after `patience`. What it wrote to stderr comes with it.
    pub(crate) fn end(mut self, patience: Duration) -> Result<(ExitStatus, String), String> {
        self.stdin = None;
        let until = Instant::now() + patience;
        loop {
            if let Some(status) = self.process.try_wait().expect("its state") {
                let complaints = self.complaints.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
                return Ok((status, complaints));
            }
            if Instant::now() > until {
                let story = self.story("did not end in time");
                self.kill();
                return Err(story);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// It must end by itself, well: no signal, no panic.
    pub(crate) fn end_well(mut self, patience: Duration) -> Result<(), String> {
        let story = self.story("ended badly");
        let (status, complaints) = self.end(patience)?;
        if status.success() && !complaints.contains("panicked") {
            return Ok(());
        }
        let signal = status.signal().map(|signal| format!(", signal {signal}")).unwrap_or_default();
        Err(format!("{story}\n{status}{signal}; stderr:\n{complaints}"))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}
