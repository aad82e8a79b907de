//! `cargo xtask test`: what continuous integration runs, in this order, up to the first failure.

use crate::counts::Counts;
use crate::step::Step;
use crate::watchdog::{LONG_SILENCE_MAX, SILENCE_MAX};
use crate::{demo, dependencies, features, rig};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// One part of the whole.
struct Phase {
    name: &'static str,
    work: Work,
}

enum Work {
    /// Commands, one after the other.
    Steps(Vec<Step>),
    /// The library's dependency tree.
    Dependencies,
    /// Runs of the built program.
    Demo { quick: bool },
    /// The quick jobs on real RDMA, in a virtual machine.
    Rig,
    /// It cannot or shall not run, and why.
    Skip(String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    Skipped,
}

/// How one part went.
struct Report {
    name: &'static str,
    verdict: Verdict,
    counts: Counts,
    took: Duration,
}

/// Runs everything; whether all of it went well.
pub(crate) fn run(root: &Path, quick: bool) -> io::Result<bool> {
    let began = Instant::now();
    let mut reports = Vec::new();
    for phase in phases(root, quick)? {
        println!("\n== {}", phase.name);
        let report = run_phase(root, phase);
        let failed = report.verdict == Verdict::Failed;
        reports.push(report);
        if failed {
            break;
        }
    }
    Ok(summary(&reports, began.elapsed()))
}

/// What `cargo test` is told, but for the choice of tests. Everything is built with the feature `verbs`, once, where it can be built at all.
fn cargo_test(words: &[&str]) -> Step {
    let step = Step::cargo(&["test", "--profile", "ci"]).with(features::words()).with(words);
    step.silence_max(SILENCE_MAX)
}

fn phases(root: &Path, quick: bool) -> io::Result<Vec<Phase>> {
    let shown = ["--", "--show-output"];
    let one = |name, step| Phase { name, work: Work::Steps(vec![step]) };
    if let Some(missing) = features::missing_for_verbs() {
        println!("SKIPPED: the feature `verbs` cannot be built here without {missing}");
        println!("Unproven by this run: everything about real RDMA.");
    }
    let deny = ["--", "-D", "warnings"];
    let clippy = Step::cargo(&["clippy", "--workspace", "--all-targets"]).with(features::words()).with(&deny);
    let library = Step::cargo(&["clippy", "--lib", "--no-default-features", "--", "-D", "warnings"]);
    let rustdoc =
        Step::cargo(&["doc", "--lib", "--no-deps"]).with(features::words()).variable("RUSTDOCFLAGS", "-D warnings");
    Ok(vec![
        one("format", Step::cargo(&["fmt", "--all", "--check"])),
        Phase { name: "dependencies", work: Work::Dependencies },
        Phase { name: "lints", work: Work::Steps(vec![clippy, library]) },
        one("tests", cargo_test(&["--workspace", "--tests"]).with(&shown)),
        one("documentation tests", cargo_test(&["--doc"])),
        one("documentation", rustdoc),
        Phase { name: "program", work: Work::Demo { quick } },
        Phase { name: "real RDMA (rig)", work: Work::Rig },
        Phase { name: "models of shared words", work: loom(root, quick)? },
        Phase { name: "tests in full length", work: long(root, quick)? },
    ])
}

/// What builds the program that the demo runs.
fn build() -> Step {
    Step::cargo(&["build", "--profile", "ci", "--bin", "handfast"]).with(features::words())
}

/// The tests under `loom`, in a target folder of their own: its flag would have everything else built anew each time.
fn loom(root: &Path, quick: bool) -> io::Result<Work> {
    let names = integration_tests(root, |name, _| name.starts_with("loom"))?;
    if names.is_empty() {
        return Ok(Work::Skip("there is no tests/loom*.rs".to_owned()));
    }
    if quick {
        return Ok(Work::Skip(format!("--quick ({})", names.join(", "))));
    }
    // Without features: what loom looks at needs none, and this is a build of its own.
    let tests: Vec<&str> = names.iter().flat_map(|name| ["--test", name.as_str()]).collect();
    let step = Step::cargo(&["test", "--profile", "ci", "--no-default-features"]).with(&tests);
    let step = step
        .with(&["--", "--show-output"])
        .variable("RUSTFLAGS", "--cfg loom")
        .variable("CARGO_TARGET_DIR", "target/loom")
        .silence_max(LONG_SILENCE_MAX);
    Ok(Work::Steps(vec![step]))
}

/// The tests that are short unless asked to be long.
fn long(root: &Path, quick: bool) -> io::Result<Work> {
    let names = integration_tests(root, |_, text| text.contains("is_long()") || text.contains("HANDFAST_LONG"))?;
    if names.is_empty() {
        return Ok(Work::Skip("no test in tests/ heeds HANDFAST_LONG".to_owned()));
    }
    if quick {
        return Ok(Work::Skip(format!("--quick ({})", names.join(", "))));
    }
    Ok(Work::Steps(vec![chosen(&[], &names).variable("HANDFAST_LONG", "1").silence_max(LONG_SILENCE_MAX)]))
}

/// The command that runs these integration tests.
fn chosen(words: &[&str], names: &[String]) -> Step {
    let names: Vec<&str> = names.iter().flat_map(|name| ["--test", name.as_str()]).collect();
    cargo_test(words).with(&names).with(&["--", "--show-output"])
}

/// Names of the integration tests that `wanted` picks by name and text.
fn integration_tests(root: &Path, wanted: impl Fn(&str, &str) -> bool) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root.join("tests"))? {
        let path = entry?.path();
        let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        if path.extension().is_some_and(|extension| extension == "rs") && wanted(name, &std::fs::read_to_string(&path)?)
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn run_phase(root: &Path, phase: Phase) -> Report {
    let began = Instant::now();
    let (outcome, repeat) = match &phase.work {
        Work::Steps(steps) => run_steps(root, steps),
        Work::Dependencies => (dependencies::run(root), Some(dependencies::tree().to_string())),
        Work::Demo { quick } => {
            let (built, repeat) = run_steps(root, &[build()]);
            match built {
                Ok((_, true)) => (
                    demo::run(&built_program(root), *quick),
                    Some(format!("{} demo --json", built_program(root).display())),
                ),
                built => (built, repeat),
            }
        }
        Work::Rig => (rig::quick(root), Some("cargo xtask rig --quick".to_owned())),
        Work::Skip(reason) => {
            println!("SKIPPED: {reason}");
            return Report {
                name: phase.name,
                verdict: Verdict::Skipped,
                counts: Counts::SKIPPED,
                took: began.elapsed(),
            };
        }
    };
    let took = began.elapsed();
    let (counts, good) = outcome.unwrap_or_else(|error| {
        println!("cannot run it: {error}");
        (Counts::default(), false)
    });
    let verdict = match good {
        false => Verdict::Failed,
        true if counts == Counts::SKIPPED => Verdict::Skipped,
        true => Verdict::Passed,
    };
    println!("-- {}: {}, {:.1} s", phase.name, verdict.name(), took.as_secs_f64());
    if let (false, Some(command)) = (good, repeat) {
        println!("-- repeat it with: {command}");
    }
    Report { name: phase.name, verdict, counts, took }
}

/// Runs commands up to the first that fails; with it, the command to repeat.
fn run_steps(root: &Path, steps: &[Step]) -> (io::Result<(Counts, bool)>, Option<String>) {
    let mut total = Counts::default();
    for step in steps {
        match step.run(root) {
            Ok((counts, true)) => total.add(counts),
            Ok((counts, false)) => {
                total.add(counts);
                return (Ok((total, false)), Some(step.to_string()));
            }
            Err(error) => return (Err(error), Some(step.to_string())),
        }
    }
    (Ok((total, true)), None)
}

/// Where `cargo` puts the program, also when the caller chose another target folder.
fn built_program(root: &Path) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    root.join(target).join("ci").join("handfast")
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::Skipped => "skipped",
        }
    }
}

/// Prints the table and the last line; whether all went well. A run in which nothing was tested is not well.
fn summary(reports: &[Report], took: Duration) -> bool {
    println!("\n{:<24} {:>8} {:>8} {:>8} {:>8} {:>9}", "phase", "result", "passed", "failed", "skipped", "seconds");
    let mut total = Counts::default();
    for Report { name, verdict, counts, took } in reports {
        total.add(*counts);
        let Counts { passed, failed, skipped } = counts;
        println!("{name:<24} {:>8} {passed:>8} {failed:>8} {skipped:>8} {:>9.1}", verdict.name(), took.as_secs_f64());
    }
    println!("{:<24} {:>8} {:>8} {:>8} {:>8} {:>9.1}", "", "", "", "", "", took.as_secs_f64());
    println!("{} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped);
    total.passed > 0 && total.failed == 0 && reports.iter().all(|report| report.verdict != Verdict::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdict: Verdict, counts: Counts) -> Report {
        Report { name: "phase", verdict, counts, took: Duration::ZERO }
    }

    #[test]
    fn nothing_but_skips_is_a_failure() {
        assert!(!summary(&[report(Verdict::Skipped, Counts::SKIPPED)], Duration::ZERO));
        assert!(summary(
            &[report(Verdict::Skipped, Counts::SKIPPED), report(Verdict::Passed, Counts::PASSED)],
            Duration::ZERO
        ));
    }

    #[test]
    fn one_failed_phase_fails_all_even_if_no_test_failed() {
        let passed = || report(Verdict::Passed, Counts::PASSED);
        assert!(!summary(&[passed(), report(Verdict::Failed, Counts::default())], Duration::ZERO));
        assert!(!summary(&[passed(), report(Verdict::Passed, Counts::FAILED)], Duration::ZERO));
    }

    #[test]
    fn a_quick_run_skips_aloud() -> io::Result<()> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        assert!(matches!(long(&root, true)?, Work::Skip(_)));
        assert!(matches!(loom(&root, true)?, Work::Skip(_)));
        Ok(())
    }
}
