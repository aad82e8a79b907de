//! One command of a phase: how it is run, echoed and repeated by hand.

use crate::counts::{Counts, Reader};
use crate::watchdog::{GRACE, Group, Running};
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// A command line with what it needs in its environment.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    variables: Vec<(&'static str, String)>,
    words: Vec<String>,
    silence_max: Option<Duration>,
}

/// Which of the two pipes a line came from.
const OUT: usize = 0;
const ERR: usize = 1;

/// What a pipe gave.
enum Heard {
    /// A line with its end, or the last one without.
    Line(usize, Vec<u8>),
    /// The beginning of a line.
    Beginning(Vec<u8>),
}

impl Step {
    /// `cargo` with these words.
    pub(crate) fn cargo(words: &[&str]) -> Self {
        Self {
            variables: Vec::new(),
            words: std::iter::once("cargo").chain(words.iter().copied()).map(str::to_owned).collect(),
            silence_max: None,
        }
    }

    /// Ends it when its tests print nothing for so long.
    pub(crate) fn silence_max(mut self, limit: Duration) -> Self {
        self.silence_max = Some(limit);
        self
    }

    /// Adds words at the end.
    pub(crate) fn with(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Adds a variable to its environment.
    pub(crate) fn variable(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    fn command(&self, root: &Path) -> Command {
        // The cargo that runs us, so that a chosen toolchain stays chosen.
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(&self.words[1..]).current_dir(root).stdin(Stdio::null());
        for (name, value) in &self.variables {
            command.env(name, value);
        }
        command
    }

    /// Runs it, echoing what it prints; what its test runners counted, and whether it ended well.
    pub(crate) fn run(&self, root: &Path) -> std::io::Result<(Counts, bool)> {
        println!("$ {self}");
        let mut command = self.command(root);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        match self.silence_max {
            Some(limit) => self.watch(&mut Group::spawn(&mut command)?, limit, terminal),
            None => {
                let mut child = command.spawn()?;
                let (readers, _) =
                    Echo::new(terminal(), None).until_the_end(&pipes(child.stdout.take(), child.stderr.take()));
                Ok((Reader::total(&readers), child.wait()?.success()))
            }
        }
    }

    /// Echoes what it prints, and ends it when its tests print nothing for so long.
    fn watch(&self, group: &mut Group, limit: Duration, to: fn() -> Sinks) -> std::io::Result<(Counts, bool)> {
        let heard = pipes(group.child.stdout.take(), group.child.stderr.take());
        let (readers, stuck) = Echo::new(to(), Some(limit)).until_the_end(&heard);
        let Some(running) = stuck else {
            return Ok((Reader::total(&readers), group.child.wait()?.success()));
        };
        group.end()?;
        // What it says when it ends is worth reading. Whoever keeps the pipes open is not waited for.
        Echo::new(to(), Some(GRACE)).rest(&heard);
        let status: ExitStatus = group.child.wait()?;
        println!("-- ENDED: {} printed nothing for {:.1} s ({status})", running.describe(), limit.as_secs_f64());
        if let Some(alone) = self.alone(&running) {
            println!("-- run it alone: {alone}");
        }
        Ok((Reader::total(&readers), false))
    }

    /// The command that runs the tests that are under way, and no others.
    fn alone(&self, running: &Running) -> Option<Self> {
        let choice = running.choice()?;
        let mut words = Vec::new();
        let mut own = self.words.iter().take_while(|word| *word != "--");
        while let Some(word) = own.next() {
            match word.as_str() {
                "--tests" | "--doc" => {}
                "--test" => drop(own.next()),
                _ => words.push(word.clone()),
            }
        }
        let alone = Self { words, ..self.clone() };
        let tests: Vec<&str> = running.tests().collect();
        let dashes: &[&str] = if tests.is_empty() { &[] } else { &["--", "--exact"] };
        Some(alone.with(&choice).with(dashes).with(&tests))
    }

    /// Runs it silently; its standard output, or all it said where it failed.
    pub(crate) fn output(&self, root: &Path) -> Result<String, String> {
        let output = self.command(root).output().map_err(|error| format!("cannot run `{self}`: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            Ok(text)
        } else {
            Err(format!("`{self}` failed:\n{text}{}", String::from_utf8_lossy(&output.stderr)))
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variables = self.variables.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
        let words = self.words.iter().map(|word| quoted(word));
        formatter.write_str(&variables.chain(words).collect::<Vec<_>>().join(" "))
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Reads both pipes, each in a thread of its own, line by line.
fn pipes(out: Option<impl Read + Send + 'static>, err: Option<impl Read + Send + 'static>) -> Receiver<Heard> {
    let (heard, receiver) = channel();
    let other = heard.clone();
    out.map(|pipe| std::thread::spawn(move || hear(OUT, pipe, &heard)));
    err.map(|pipe| std::thread::spawn(move || hear(ERR, pipe, &other)));
    receiver
}

/// Sends on what a pipe gives until it closes or nobody listens.
fn hear(from: usize, pipe: impl Read, heard: &Sender<Heard>) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        let bytes = match pipe.fill_buf() {
            Ok(bytes) if !bytes.is_empty() => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            _ => break,
        };
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(bytes.len(), |end| end + 1);
        line.extend_from_slice(&bytes[..taken]);
        pipe.consume(taken);
        let message = match end {
            Some(_) => Heard::Line(from, std::mem::take(&mut line)),
            None => Heard::Beginning(line.clone()),
        };
        if heard.send(message).is_err() {
            return;
        }
    }
    if !line.is_empty() {
        // Nobody has to listen any more.
        let _ = heard.send(Heard::Line(from, line));
    }
}

/// Where the lines of the two pipes go.
type Sinks = [Box<dyn Write>; 2];

fn terminal() -> Sinks {
    [Box::new(std::io::stdout()), Box::new(std::io::stderr())]
}

/// Copies lines as they come, but for those the reader keeps back.
struct Echo {
    to: Sinks,
    readers: [Reader; 2],
    running: Running,
    limit: Option<Duration>,
}

impl Echo {
    fn new(to: Sinks, limit: Option<Duration>) -> Self {
        Self { to, readers: Default::default(), running: Running::default(), limit }
    }

    /// Until both pipes are closed, or tests that run have said nothing for as long as they may: then
    /// which ones.
    fn until_the_end(mut self, heard: &Receiver<Heard>) -> ([Reader; 2], Option<Running>) {
        loop {
            let limit = self.limit.filter(|_| self.running.has_begun());
            match limit.map_or_else(|| heard.recv().map_err(RecvTimeoutError::from), |limit| heard.recv_timeout(limit))
            {
                Ok(heard) => self.take(heard),
                Err(RecvTimeoutError::Disconnected) => return (self.readers, None),
                Err(RecvTimeoutError::Timeout) => return (self.readers, Some(self.running)),
            }
        }
    }

    /// Until both pipes are closed, and no longer than the limit.
    fn rest(mut self, heard: &Receiver<Heard>) {
        let until = Instant::now() + self.limit.unwrap_or_default();
        while let Ok(heard) = heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
            self.take(heard);
        }
    }

    fn take(&mut self, heard: Heard) {
        match heard {
            Heard::Beginning(bytes) => self.running.beginning(&String::from_utf8_lossy(&bytes)),
            Heard::Line(from, bytes) => {
                let line = String::from_utf8_lossy(&bytes);
                self.running.line(&line);
                if self.readers[from].line(&line) {
                    let to = &mut self.to[from];
                    // A closed terminal is no reason to stop counting.
                    let _ = to.write_all(&bytes).and_then(|()| to.flush());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_a_shell_takes() {
        let step = Step::cargo(&["test", "--test", "it's"]).variable("RUSTFLAGS", "--cfg loom");
        assert_eq!(step.to_string(), "RUSTFLAGS='--cfg loom' cargo test --test 'it'\\''s'");
    }

    fn nowhere() -> Sinks {
        [Box::new(std::io::sink()), Box::new(std::io::sink())]
    }

    /// A shell in place of cargo.
    fn watched(script: &str, limit_ms: u64) -> std::io::Result<(Counts, bool)> {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let step = Step::cargo(&["test", "--tests", "--", "--show-output"]);
        step.watch(&mut Group::spawn(&mut command)?, Duration::from_millis(limit_ms), nowhere)
    }

    #[test]
    fn tests_that_say_nothing_are_ended_with_all_they_started() -> std::io::Result<()> {
        let began = Instant::now();
        let script = "echo '  Running tests/x.rs (x)' >&2; echo 'test result: ok. 2 passed'; sleep 60 & sleep 60";
        assert_eq!(watched(script, 200)?, (Counts { passed: 2, failed: 0, skipped: 0 }, false));
        assert!(began.elapsed() < Duration::from_secs(30), "it was waited for");
        Ok(())
    }

    #[test]
    fn whoever_heeds_no_signal_is_killed() -> std::io::Result<()> {
        let began = Instant::now();
        assert!(!watched("trap '' TERM; echo 'Running x'; sleep 60; sleep 60", 200)?.1);
        assert!(began.elapsed() < Duration::from_secs(30), "it was waited for");
        Ok(())
    }

    #[test]
    fn what_speaks_or_compiles_is_left_alone() -> std::io::Result<()> {
        let speaks = "echo '  Running tests/x.rs (x)'; for i in 1 2 3 4 5 6; do sleep 0.5; echo $i; done";
        assert!(watched(speaks, 2500)?.1, "it spoke every half second");
        assert!(watched("echo '  Compiling x'; sleep 0.5; echo done", 100)?.1, "nothing ran yet");
        Ok(())
    }

    #[test]
    fn the_tests_under_way_are_run_alone() {
        let mut running = Running::default();
        running.line("     Running tests/log_shm.rs (target/ci/deps/log_shm-1)");
        let step = Step::cargo(&["test", "--workspace", "--tests", "--test", "a", "--", "--show-output"]);
        let alone = |running: &Running| step.alone(running).map(|step| step.to_string());
        assert_eq!(alone(&running).as_deref(), Some("cargo test --workspace --test log_shm"));
        running.line("test a::b has been running for over 60 seconds");
        assert_eq!(alone(&running).as_deref(), Some("cargo test --workspace --test log_shm -- --exact a::b"));
    }

    #[test]
    fn reads_lines_that_are_no_text() {
        let (heard, receiver) = channel();
        hear(OUT, &b"\xff\xfe\ntest result: ok. 1 passed; 0 failed\n"[..], &heard);
        drop(heard);
        let (readers, stuck) = Echo::new(nowhere(), None).until_the_end(&receiver);
        assert_eq!((Reader::total(&readers), stuck), (Counts::PASSED, None));
    }
}
