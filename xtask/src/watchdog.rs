//! Ends a command whose tests have stopped: which test ran, and how the command and all it started are ended.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long running tests may print nothing.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(180);

/// The same where a single test is a long one: the whole of `cargo xtask test` takes no longer.
pub(crate) const LONG_SILENCE_MAX: Duration = Duration::from_secs(900);

/// How long a command may take to end once it was told to.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

/// What a test runner has said about the tests that are under way.
///
/// Cargo names the binary before it starts it. The runner names a test when it ends, and once more
/// when it has run for a minute. With one thread it names it when it starts, without ending the line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Running {
    /// What cargo calls the binary, such as `tests/log.rs`; none before the first one runs.
    binary: Option<String>,
    /// Tests that have run for a minute or more.
    slow: Vec<String>,
    /// The test that the unfinished line names.
    begun: Option<String>,
}

impl Running {
    /// Takes a whole line.
    pub(crate) fn line(&mut self, line: &str) {
        let line = line.trim();
        self.begun = None;
        let binary = line.strip_prefix("Running ").map(|rest| rest.split(" (").next().unwrap_or(rest));
        let binary = binary.or_else(|| line.starts_with("Doc-tests ").then_some(line));
        if let Some(binary) = binary {
            *self = Self { binary: Some(binary.to_owned()), ..Self::default() };
        } else if line.starts_with("test result:") {
            self.slow.clear();
        } else if let Some(rest) = line.strip_prefix("test ") {
            if let Some((name, _)) = rest.split_once(" has been running for ") {
                self.slow.push(name.to_owned());
            } else if let Some((name, _)) = rest.split_once(" ... ") {
                self.slow.retain(|slow| slow != name);
            }
        }
    }

    /// Takes the beginning of a line whose end has not come yet.
    pub(crate) fn beginning(&mut self, text: &str) {
        let name = text.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... "));
        self.begun = name.map(str::to_owned).or_else(|| self.begun.take());
    }

    /// Whether tests run. What cargo does before, such as compiling, may be silent for long.
    pub(crate) fn has_begun(&self) -> bool {
        self.binary.is_some()
    }

    /// The tests that are known to be under way.
    pub(crate) fn tests(&self) -> impl Iterator<Item = &str> {
        self.begun.iter().chain(&self.slow).map(String::as_str)
    }

    /// The binary and the tests that are known to be under way.
    pub(crate) fn describe(&self) -> String {
        let tests: Vec<&str> = self.tests().collect();
        let tests = if tests.is_empty() { "a test without a name".to_owned() } else { tests.join(", ") };
        format!("{tests} in {}", self.binary.as_deref().unwrap_or("no test binary"))
    }

    /// The words by which cargo chooses the binary; none for one that has no choice of its own.
    pub(crate) fn choice(&self) -> Option<Vec<&str>> {
        let binary = self.binary.as_deref()?;
        if let Some(source) = binary.strip_prefix("unittests ") {
            return Some(vec![if source.ends_with("lib.rs") { "--lib" } else { "--bins" }]);
        }
        if binary.starts_with("Doc-tests ") {
            return Some(vec!["--doc"]);
        }
        let name = binary.rsplit('/').next()?.strip_suffix(".rs")?;
        Some(vec!["--test", name])
    }
}

/// A command in a process group of its own, which ends with us, however we end.
///
/// An interrupt from the terminal does not reach such a group. A shell in our own group reads from a
/// pipe that we hold: when that closes without a word, we are gone, and the shell ends the group.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) child: Child,
    guard: Option<Child>,
}

impl Group {
    /// Starts the command.
    pub(crate) fn spawn(command: &mut Command) -> std::io::Result<Self> {
        let child = command.process_group(0).spawn()?;
        let mut group = Self { child, guard: None };
        let script = "trap '' INT; read word || kill -s TERM -- \"-$0\"";
        let mut guard = Command::new("sh");
        guard.args(["-c", script, &group.child.id().to_string()]);
        guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        group.guard = Some(guard.spawn()?);
        Ok(group)
    }

    /// Ends the command and all it started, those who do not heed the first signal by a second.
    pub(crate) fn end(&mut self) -> std::io::Result<()> {
        self.signal("TERM")?;
        let told = Instant::now();
        while self.child.try_wait()?.is_none() && told.elapsed() < GRACE {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.signal("KILL")
    }

    fn signal(&self, name: &str) -> std::io::Result<()> {
        let script = format!("kill -s {name} -- -{}", self.child.id());
        // That nobody is left to be told is no failure.
        Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status().map(drop)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(mut guard) = self.guard.take() else { return };
        // A guard that is gone already has nothing left to do.
        let _ = guard.stdin.take().map(|mut pipe| pipe.write_all(b"done\n"));
        let _ = guard.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lines: &[&str]) -> Running {
        let mut running = Running::default();
        lines.iter().for_each(|line| running.line(line));
        running
    }

    #[test]
    fn compiling_is_not_running() {
        assert!(!after(&["   Compiling handfast v0.1.0", "    Finished `ci` profile"]).has_begun());
        assert!(after(&["     Running tests/log.rs (target/ci/deps/log-1)"]).has_begun());
        assert!(after(&["   Doc-tests handfast"]).has_begun());
    }

    #[test]
    fn a_slow_test_is_named_until_it_ends() {
        let slow = "test a::b has been running for over 60 seconds";
        let mut running = after(&["     Running tests/log.rs (target/ci/deps/log-1)", "test c ... ok", slow]);
        assert_eq!(running.describe(), "a::b in tests/log.rs");
        running.line("test a::b ... ok");
        assert_eq!(running.describe(), "a test without a name in tests/log.rs");
        running.line(slow);
        running.line("     Running tests/kill.rs (target/ci/deps/kill-1)");
        assert_eq!(running.describe(), "a test without a name in tests/kill.rs");
    }

    #[test]
    fn the_only_thread_names_its_test_before_it_ends() {
        let mut running = after(&["     Running tests/log.rs (target/ci/deps/log-1)"]);
        running.beginning("test a::b ... ");
        assert_eq!(running.describe(), "a::b in tests/log.rs");
        running.line("test a::b ... ok");
        assert_eq!(running.tests().count(), 0);
    }

    #[test]
    fn a_binary_is_chosen_by_its_name() {
        let choice = |line| after(&[line]).choice().map(|words| words.join(" "));
        assert_eq!(choice("Running tests/log.rs (target/x)").as_deref(), Some("--test log"));
        assert_eq!(choice("Running perf/tests/rows.rs (target/x)").as_deref(), Some("--test rows"));
        assert_eq!(choice("Running unittests src/lib.rs (target/x)").as_deref(), Some("--lib"));
        assert_eq!(choice("Running unittests src/main.rs (target/x)").as_deref(), Some("--bins"));
        assert_eq!(choice("Doc-tests handfast").as_deref(), Some("--doc"));
        assert_eq!(choice("Finished"), None);
    }
}
