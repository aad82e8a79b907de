//! The table of jobs, and the programs that they run.

use super::cuts::Cuts;
use super::guest::{Image, MOUNT};
use super::run::Guests;
use crate::features;
use crate::json::Value;
use crate::step::Step;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) struct Job {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) seconds_max: u64,
    quick: bool,
    work: Work,
}

enum Work {
    /// A script under tests/rig/jobs, of the job's name.
    Script,
    /// A test binary and its words; under valgrind or not, with a disk where its tests keep files or without.
    Test { binary: &'static str, filter: &'static str, valgrind: bool, disk: bool },
    /// The program, called with each of these in turn.
    Program(&'static [&'static str]),
    /// The latency profiler, as released, called with these words.
    Perf(&'static str),
    /// Two guests, with the scripts NAME.a and NAME.b; `b` may lose power in the middle.
    Two { power_cut: bool },
    /// Two guests with a mirrored log. Its owner loses power so many times, or both do.
    Cuts { both: bool, times: u64, times_long: u64 },
}

const ALL: &str = "--include-ignored --test-threads=1 --show-output --color=never";

const fn test(binary: &'static str, filter: &'static str) -> Work {
    Work::Test { binary, filter, valgrind: false, disk: false }
}

const fn job(name: &'static str, about: &'static str, seconds_max: u64, quick: bool, work: Work) -> Job {
    Job { name, about, seconds_max, quick, work }
}

pub(super) const JOBS: &[Job] = &[
    job("peers", "the rig itself: the device is up, rping and ibv_rc_pingpong pass", 120, true, Work::Script),
    job("conformance", "the fabric's contract", 300, true, test("conformance", "verbs::")),
    job("session", "sessions between two managers", 300, true, test("session_verbs", "")),
    job(
        "log",
        "the mirrored log, as on shm",
        300,
        true,
        Work::Test { binary: "log_verbs", filter: "", valgrind: false, disk: true },
    ),
    job("faults", "refused operations, strangers, cables, dials, teardown", 300, true, test("verbs_faults", "")),
    job("hot", "no allocation in post and poll", 120, true, test("hot_path_verbs", "")),
    job(
        "devices",
        "handfast devices, for people and as JSON",
        120,
        true,
        Work::Program(&["devices", "devices --json"]),
    ),
    job("demo", "two processes, a stream, a kill, recovery", 180, true, Work::Program(&["demo --fabric verbs"])),
    job("two", "two kernels on one wire: the demo in two halves", 180, true, Work::Two { power_cut: false }),
    job(
        "power",
        "one of two machines loses power in mid-stream, and boots again",
        240,
        false,
        Work::Two { power_cut: true },
    ),
    job(
        "logpower",
        "the owner of a mirrored log loses power under load; the partner has what was acknowledged (HANDFAST_CUTS=N: so often)",
        600,
        false,
        Work::Cuts { both: false, times: 5, times_long: 50 },
    ),
    job(
        "logboth",
        "both lose power at once; the partner's disk has what was acknowledged as persistent (HANDFAST_CUTS=N: so often)",
        600,
        false,
        Work::Cuts { both: true, times: 3, times_long: 20 },
    ),
    job("cable", "a link goes down for 5 s in mid-stream", 240, false, Work::Two { power_cut: false }),
    job("unplug", "the device goes under a running session, and comes back", 180, false, Work::Script),
    job("leaks", "50 restarts of one of two nodes leave nothing behind", 300, false, Work::Script),
    job(
        "perf",
        "latency and bandwidth beside perftest, sessions beside cmtime",
        600,
        false,
        Work::Perf("rdma --rounds 5"),
    ),
    job(
        "life",
        "how long a log is acknowledged after its partner was killed or stopped",
        300,
        false,
        Work::Perf("life --at rdma://10.9.0.1:7500 --rows kill,stop,fork --rounds 5"),
    ),
    job(
        "valgrind",
        "teardown under valgrind's memcheck",
        600,
        false,
        Work::Test { binary: "verbs_faults", filter: "teardown", valgrind: true, disk: false },
    ),
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

/// Builds once what these jobs need; `None` where that is nothing, or cannot be built here.
pub(super) fn build(root: &Path, jobs: &[&Job]) -> io::Result<Option<Built>> {
    if jobs.iter().all(|job| job.name == "peers") {
        return Ok(None);
    }
    if let Some(missing) = features::missing_for_verbs() {
        println!("the feature `verbs` cannot be built here without {missing}");
        return Ok(None);
    }
    let mut built = Built::new();
    // The profiler needs none of these, and is built by itself in a fraction of the time.
    if jobs.iter().any(|job| !matches!(job.work, Work::Perf(_))) {
        // The words of `cargo xtask test`, so that nothing is built twice.
        let words = ["--profile", "ci", "--features", "verbs", "--message-format=json"];
        let step = Step::cargo(&["test", "--workspace", "--tests", "--no-run"]).with(&words);
        println!("$ {step}");
        let said = step.output(root).map_err(io::Error::other)?;
        built.extend(said.lines().filter_map(executable));
    }
    if jobs.iter().any(|job| matches!(job.work, Work::Perf(_))) {
        let words = ["--release", "--package", PERF, "--features", "verbs", "--message-format=json"];
        let step = Step::cargo(&["build"]).with(&words);
        println!("$ {step}");
        let said = step.output(root).map_err(io::Error::other)?;
        built.extend(said.lines().filter_map(executable).filter(|(name, _)| name == PERF));
    }
    Ok(Some(built))
}

/// The latency profiler.
const PERF: &str = "handfast-perf";

/// How often power is cut.
fn cuts_asked(times: u64, times_long: u64) -> u64 {
    let asked = std::env::var("HANDFAST_CUTS").ok().and_then(|text| text.parse().ok());
    let is_long = std::env::var("HANDFAST_LONG").is_ok_and(|value| value == "1");
    asked.unwrap_or(if is_long { times_long } else { times })
}

/// Name and path of the executable in one of cargo's messages. The program and its unit tests have one name; the program's file has it too.
fn executable(message: &str) -> Option<(String, PathBuf)> {
    let message = Value::parse(message).ok()?;
    let path = PathBuf::from(message.text("executable")?);
    let name = message.member("target")?.text("name")?.to_owned();
    let is_program = path.file_name().is_some_and(|file| file == "handfast");
    (name != "handfast" || is_program).then_some((name, path))
}

impl Job {
    /// The guests of the job, or why it cannot run.
    pub(super) fn guests(&self, root: &Path, built: Option<&Built>) -> io::Result<Result<Guests, String>> {
        let jobs = root.join("tests/rig/jobs").canonicalize()?;
        let one = |script| Guests::One { script, disk: None };
        let call = |name: &str| format!("bash '{}'\n", jobs.join(name).display());
        if self.name == "peers" {
            return Ok(Ok(one(self.wrap(root, self.name, &call(self.name))?)));
        }
        let Some(built) = built else {
            return Ok(Err("built without the feature `verbs`: nothing of ours was run on RDMA".to_owned()));
        };
        let path = |name: &str| {
            let found = built.get(name).map(|path| path.display().to_string());
            found.ok_or_else(|| io::Error::other(format!("cargo built no test or program named `{name}`")))
        };
        let program = || io::Result::Ok(format!("export HANDFAST='{}'\n", path("handfast")?));
        Ok(Ok(match self.work {
            Work::Script => one(self.wrap(root, self.name, &(program()? + &call(self.name)))?),
            Work::Test { binary, filter, valgrind, disk } => {
                let tool = if valgrind { "valgrind --tool=memcheck --error-exitcode=9 " } else { "" };
                let mount = if disk { MOUNT } else { "" };
                let line = format!("{mount}{tool}'{}' {filter} {ALL} 2>&1\n", path(binary)?);
                let disk = if disk { Some(Arc::new(Image::make(root, self.name)?)) } else { None };
                Guests::One { script: self.wrap(root, self.name, &line)?, disk }
            }
            Work::Perf(words) => {
                let line = format!("'{}' {words} 2>&1 | cat\n", path(PERF)?);
                one(self.wrap(root, self.name, &line)?)
            }
            Work::Program(calls) => {
                // Not the console's own: what is printed there are pictures of progress.
                let lines: String = calls.iter().map(|words| format!("\"$HANDFAST\" {words} 2>&1 | cat\n")).collect();
                one(self.wrap(root, self.name, &(program()? + &lines))?)
            }
            Work::Cuts { both, times, times_long } => {
                let node =
                    format!("'{}' role --exact --include-ignored --nocapture --test-threads=1\n", path("log_power")?);
                Guests::Cuts(Cuts::new(root, self.name, node, both, cuts_asked(times, times_long)))
            }
            Work::Two { power_cut } => {
                let half = |end: &str| {
                    let name = format!("{}.{end}", self.name);
                    self.wrap(root, &name, &format!("{}{}", program()?, call(&name)))
                };
                Guests::Two { scripts: [half("a")?, half("b")?], power_cut }
            }
        }))
    }

    /// A script of these lines, where the guest finds it.
    fn wrap(&self, root: &Path, name: &str, lines: &str) -> io::Result<PathBuf> {
        let script = root.join(format!("target/rig/{name}-{}.sh", std::process::id()));
        std::fs::write(&script, format!("set -e -o pipefail\n{lines}"))?;
        script.canonicalize()
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
    fn executables_are_read_from_messages() {
        let message = r#"{"reason":"compiler-artifact","target":{"name":"conformance"},"executable":"/t/c-1"}"#;
        assert_eq!(executable(message), Some(("conformance".to_owned(), PathBuf::from("/t/c-1"))));
        assert_eq!(executable(r#"{"target":{"name":"handfast"},"executable":null}"#), None);
        let program = |file: &str| executable(&format!(r#"{{"target":{{"name":"handfast"}},"executable":"{file}"}}"#));
        assert!(program("/t/ci/handfast").is_some() && program("/t/ci/deps/handfast-0a").is_none());
    }
}
