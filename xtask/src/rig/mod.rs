//! `cargo xtask rig`: jobs on real libibverbs and librdmacm, in a virtual machine with a software RDMA device.

mod cuts;
mod guest;
mod jobs;
mod prepare;
#[path = "../../../tests/log_kill/promises.rs"]
mod promises;
mod run;

use crate::counts::Counts;
use guest::End;
use jobs::Job;
use prepare::Boot;
use run::Guests;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Runs the jobs of these names (none: all); whether all went well.
pub(crate) fn run(root: &Path, words: &[&str]) -> io::Result<bool> {
    match words {
        ["--list"] => {
            jobs::JOBS.iter().for_each(|job| println!("{:<12} {}", job.name, job.about));
            return Ok(true);
        }
        ["shell", script] => {
            let boot = prepare::prepare(root)?;
            // The guest has a /tmp of its own: the script goes where both see it.
            let copy = root.join(format!("target/rig/shell-{}.sh", std::process::id()));
            std::fs::copy(script, &copy)?;
            let (end, _) =
                run::run(&boot, Guests::One { script: copy.canonicalize()?, disk: None }, Duration::from_secs(600))?;
            return Ok(end == End::Status(0));
        }
        _ => {}
    }
    let chosen = jobs::choose(words).map_err(io::Error::other)?;
    let boot = prepare::prepare(root)?;
    let total = all(root, &boot, chosen)?;
    Ok(total.failed == 0 && total.passed > 0)
}

/// The quick jobs for `cargo xtask test`. A machine that cannot prepare a guest skips them aloud; a guest that fails is a failure.
pub(crate) fn quick(root: &Path) -> io::Result<(Counts, bool)> {
    let boot = match prepare::prepare(root) {
        Ok(boot) => boot,
        Err(why) => {
            println!("SKIPPED: no virtual machine here: {why}");
            println!("Unproven by this run: everything over real libibverbs and librdmacm.");
            return Ok((Counts::SKIPPED, true));
        }
    };
    let chosen = jobs::choose(&["--quick"]).map_err(io::Error::other)?;
    let total = all(root, &boot, chosen)?;
    Ok((total, total.failed == 0))
}

fn all(root: &Path, boot: &Boot, chosen: Vec<&'static Job>) -> io::Result<Counts> {
    let built = jobs::build(root, &chosen)?;
    let (mut total, mut table) = (Counts::default(), Vec::new());
    for job in chosen {
        println!("\n== rig: {}", job.name);
        let began = Instant::now();
        let (result, counts) = match job.guests(root, built.as_ref())? {
            Ok(guests) => {
                let (end, counts) = run::run(boot, guests, Duration::from_secs(job.seconds_max))?;
                judge(&end, counts)
            }
            Err(why) => {
                println!("SKIPPED: {why}");
                ("skipped", Counts::SKIPPED)
            }
        };
        total.add(counts);
        table.push((job, result, began.elapsed()));
    }
    println!("\n{:<12} {:>8} {:>8}", "job", "result", "seconds");
    for (Job { name, .. }, result, took) in table {
        println!("{name:<12} {result:>8} {:>8.1}", took.as_secs_f64());
    }
    println!("{} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped);
    Ok(total)
}

/// A job without test runners counts as one check; a bad end is a failure whatever was counted before it.
fn judge(end: &End, mut counts: Counts) -> (&'static str, Counts) {
    let good = *end == End::Status(0) && counts.failed == 0;
    if !good && counts.failed == 0 {
        counts.add(Counts::FAILED);
    } else if counts == Counts::default() {
        counts = Counts::PASSED;
    }
    (if good { "passed" } else { "FAILED" }, counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clean_end_without_failures_passes() {
        assert_eq!(judge(&End::Status(0), Counts::default()), ("passed", Counts::PASSED));
        assert_eq!(judge(&End::Status(0), Counts::FAILED), ("FAILED", Counts::FAILED));
        assert_eq!(judge(&End::Status(0), Counts::SKIPPED), ("passed", Counts::SKIPPED));
        for end in [End::Status(1), End::Hang, End::Vanished, End::Kernel("Oops".to_owned())] {
            assert_eq!(judge(&end, Counts::PASSED), ("FAILED", Counts { passed: 1, failed: 1, skipped: 0 }));
        }
    }
}
