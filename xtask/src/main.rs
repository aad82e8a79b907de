//! Developer commands of handfast: `cargo xtask help` lists them. Standard library only, so that they build in a second or two.

mod counts;
mod demo;
mod dependencies;
mod features;
mod json;
mod rig;
mod step;
mod test;
mod watchdog;

use std::path::Path;
use std::process::ExitCode;
use step::Step;

const USAGE: &str = "\
Developer commands of handfast

    cargo xtask test [--quick]       everything that continuous integration runs;
                                     --quick leaves out what takes minutes
    cargo xtask bench [WORDS...]     criterion benchmarks; words go to `cargo bench`
    cargo xtask perf [WORDS...]      latencies beside the machine's limits; words
                                     (such as --quick) go to handfast-perf
    cargo xtask rig [WORDS...]       jobs on real RDMA in a virtual machine: --list,
                                     --quick, names of jobs, or `shell SCRIPT`
    cargo xtask help                 this text

`test` stops at the first failure, prints the command that repeats it, and ends
with the line `N passed, N failed, N skipped`.
Exit status: 0 all went well, 1 something failed, 2 called wrongly.";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Some(root) = Path::new(env!("CARGO_MANIFEST_DIR")).parent() else { return usage("no repository around xtask") };
    let outcome = match words.as_slice() {
        ["test"] => test::run(root, false),
        ["test", "--quick"] => test::run(root, true),
        ["rig", words @ ..] => rig::run(root, words),
        ["bench", words @ ..] => run(root, &Step::cargo(&["bench", "--package", "handfast", "--benches"]).with(words)),
        ["perf", words @ ..] => {
            run(root, &Step::cargo(&["run", "--release", "--package", "handfast-perf", "--"]).with(words))
        }
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(true)
        }
        [] => return usage("no command given"),
        [command, ..] => return usage(&format!("`{command}` is no command, or cannot be called with these words")),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(root: &Path, step: &Step) -> std::io::Result<bool> {
    step.run(root).map(|(_, good)| good)
}

fn usage(complaint: &str) -> ExitCode {
    eprintln!("xtask: {complaint}\n\n{USAGE}");
    ExitCode::from(2)
}
