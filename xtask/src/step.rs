//! One command of a phase: how it is run, echoed and repeated by hand.

use crate::counts::{Counts, Reader};
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// A command line with what it needs in its environment.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    variables: Vec<(&'static str, String)>,
    words: Vec<String>,
}

impl Step {
    /// `cargo` with these words.
    pub(crate) fn cargo(words: &[&str]) -> Self {
        Self {
            variables: Vec::new(),
            words: std::iter::once("cargo").chain(words.iter().copied()).map(str::to_owned).collect(),
        }
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
        let mut child = self.command(root).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let readers = std::thread::scope(|scope| {
            let errors = scope.spawn(|| err.map_or_else(Reader::default, |pipe| echo(pipe, &mut std::io::stderr())));
            let output = out.map_or_else(Reader::default, |pipe| echo(pipe, &mut std::io::stdout()));
            [output, errors.join().unwrap_or_default()]
        });
        let status = child.wait()?;
        Ok((Reader::total(&readers), status.success()))
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

/// Copies lines as they come, but for those the reader keeps back.
fn echo(pipe: impl Read, to: &mut impl Write) -> Reader {
    let mut reader = Reader::default();
    let mut lines = BufReader::new(pipe);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes != 0) {
        if reader.line(&String::from_utf8_lossy(&line)) {
            // A closed terminal is no reason to stop counting.
            let _ = to.write_all(&line).and_then(|()| to.flush());
        }
        line.clear();
    }
    reader
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_a_shell_takes() {
        let step = Step::cargo(&["test", "--test", "it's"]).variable("RUSTFLAGS", "--cfg loom");
        assert_eq!(step.to_string(), "RUSTFLAGS='--cfg loom' cargo test --test 'it'\\''s'");
    }

    #[test]
    fn echoes_lines_that_are_no_text() {
        let mut printed = Vec::new();
        let reader = echo(&b"\xff\xfe\ntest result: ok. 1 passed; 0 failed\n"[..], &mut printed);
        assert!(printed.starts_with(b"\xff\xfe\n"));
        assert_eq!(Reader::total(&[reader]), Counts::PASSED);
    }
}
