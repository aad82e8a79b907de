//! The table of jobs, and the programs that they run.

use crate::json::Value;
use crate::step::Step;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

pub(super) struct Job {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) seconds_max: u64,
    quick: bool,
    work: Work,
}

enum Work {
    /// A script under tests/rig/jobs.
    Script,
    /// A test binary and its words.
    Test(&'static str, &'static str),
    /// The program, called with each of these in turn.
    Program(&'static [&'static str]),
}

const ALL: &str = "--include-ignored --test-threads=1 --show-output";

pub(super) const JOBS: &[Job] = &[
    Job {
        name: "peers",
        about: "device is up, rping and ibv_rc_pingpong pass",
        seconds_max: 120,
        quick: true,
        work: Work::Script,
    },
    Job {
        name: "conformance",
        about: "the fabric's contract on verbs",
        seconds_max: 300,
        quick: true,
        work: Work::Test("conformance", "verbs::"),
    },
    Job {
        name: "session",
        about: "sessions over verbs",
        seconds_max: 300,
        quick: true,
        work: Work::Test("session_verbs", ""),
    },
    Job {
        name: "verbs",
        about: "faults of a verbs device and link",
        seconds_max: 600,
        quick: false,
        work: Work::Test("verbs_faults", ""),
    },
    Job {
        name: "demo",
        about: "handfast demo over verbs",
        seconds_max: 180,
        quick: true,
        work: Work::Program(&["demo --fabric verbs"]),
    },
    Job {
        name: "devices",
        about: "handfast devices, for people and as JSON",
        seconds_max: 120,
        quick: true,
        work: Work::Program(&["devices", "devices --json"]),
    },
];

/// Executables by name; the program is `handfast`.
pub(super) type Built = BTreeMap<String, PathBuf>;

pub(super) fn choose(words: &[&str]) -> Result<Vec<&'static Job>, String> {
    match words {
        [] => Ok(JOBS.iter().collect()),
        ["--quick"] => Ok(JOBS.iter().filter(|job| job.quick).collect()),
        names => names
            .iter()
            .map(|name| {
                JOBS.iter()
                    .find(|job| job.name == *name)
                    .ok_or_else(|| format!("no job `{name}`: see cargo xtask rig --list"))
            })
            .collect(),
    }
}

/// Builds once what these jobs need; `None` where nothing is needed or the feature `verbs` does not exist.
pub(super) fn build(root: &Path, jobs: &[&Job]) -> io::Result<Option<Built>> {
    let manifest = std::fs::read_to_string(root.join("Cargo.toml"))?;
    if jobs.iter().all(|job| matches!(job.work, Work::Script)) || !has_verbs(&manifest) {
        return Ok(None);
    }
    let words = ["--profile", "ci", "--features", "verbs", "--message-format=json"];
    let tests = Step::cargo(&["test", "--tests", "--no-run"]).with(&words);
    let program = Step::cargo(&["build", "--bin", "handfast"]).with(&words);
    let mut built = Built::new();
    for step in [tests, program] {
        let said = step.output(root).map_err(io::Error::other)?;
        built.extend(said.lines().filter_map(executable));
    }
    Ok(Some(built))
}

/// Whether the manifest's table of features has `verbs`.
fn has_verbs(manifest: &str) -> bool {
    let lines = manifest.lines().skip_while(|line| line.trim() != "[features]").skip(1);
    lines.take_while(|line| !line.starts_with('[')).any(|line| line.split('=').next().map(str::trim) == Some("verbs"))
}

/// Name and path of the executable in one of cargo's messages.
fn executable(message: &str) -> Option<(String, PathBuf)> {
    let message = Value::parse(message).ok()?;
    let path = message.text("executable")?;
    Some((message.member("target")?.text("name")?.to_owned(), PathBuf::from(path)))
}

impl Job {
    /// The script for the guest, or why there is none.
    pub(super) fn script(&self, root: &Path, built: Option<&Built>) -> io::Result<Result<PathBuf, String>> {
        let (name, calls): (&str, Vec<String>) = match self.work {
            Work::Script => return Ok(Ok(root.join("tests/rig/jobs").join(self.name).canonicalize()?)),
            Work::Test(name, filter) => (name, vec![format!("{filter} {ALL}")]),
            Work::Program(calls) => ("handfast", calls.iter().map(ToString::to_string).collect()),
        };
        let Some(built) = built else {
            return Ok(Err("Cargo.toml has no feature `verbs` yet: nothing of ours was run on RDMA".to_owned()));
        };
        let Some(path) = built.get(name) else { return Ok(Err(format!("no test or program named `{name}`"))) };
        let lines: String = calls.iter().map(|words| format!("'{}' {words}\n", path.display())).collect();
        let script = root.join(format!("target/rig/{}-{}.sh", self.name, std::process::id()));
        std::fs::write(&script, format!("set -e\n{lines}"))?;
        Ok(Ok(script.canonicalize()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for job in JOBS {
            assert_eq!(JOBS.iter().filter(|other| other.name == job.name).count(), 1);
            assert!(choose(&[job.name]).is_ok_and(|jobs| jobs.len() == 1));
        }
        assert!(choose(&["peers", "nothing"]).is_err());
    }

    #[test]
    fn the_feature_is_looked_for_in_its_table() {
        assert!(has_verbs("[features]\ndefault = []\nverbs = [\"dep:rdma-sys\"]\n"));
        assert!(!has_verbs("[features]\ndefault = []\n[dependencies]\nverbs = \"1\"\n"));
    }

    #[test]
    fn executables_are_read_from_messages() {
        let message = r#"{"reason":"compiler-artifact","target":{"name":"conformance"},"executable":"/t/c-1"}"#;
        assert_eq!(executable(message), Some(("conformance".to_owned(), PathBuf::from("/t/c-1"))));
        assert_eq!(executable(r#"{"target":{"name":"handfast"},"executable":null}"#), None);
    }
}
