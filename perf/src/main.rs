//! Latency profiler of handfast: two processes, one on each of two processors, and beside each figure what bare atomics need for the
//! same in the same run; or (`rdma`) on an RDMA device, beside perftest; or (`log`) of the mirrored log; or (`life`) how long that log is still
//! acknowledged after its partner died. `perf/METHOD.md` says how.
//!
//! Unsafe code is in `machine` (pinning, the tick counter), `bare` (the limits' own shared memory) and `life::sys` (signals, fork) alone.

mod about;
mod arguments;
mod bare;
mod completions;
mod control;
mod effort;
mod life;
mod lines;
mod log;
mod machine;
mod nodes;
mod operations;
mod peer;
#[cfg(feature = "verbs")]
mod rdma;
mod report;
mod rows;
mod run;
mod samples;
mod start;
mod steps;
mod transfers;

use arguments::{HELP, Options};
use std::error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    let main_ns = machine::monotonic_ns();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    #[cfg(feature = "verbs")]
    if let Some(outcome) = rdma::part(&arguments) {
        return told(outcome);
    }
    if let Some(outcome) = log::part(&arguments) {
        return told(outcome);
    }
    if let Some(outcome) = life::part(&arguments) {
        return told(outcome);
    }
    told(match arguments.split_first() {
        Some((first, rest)) if first == start::SESSION => start::session(main_ns, rest),
        Some((first, rest)) if first == start::BARE => start::bare(main_ns, rest),
        Some((first, rest)) if first == peer::PEER => peer::run(rest),
        #[cfg(not(feature = "verbs"))]
        Some((first, _)) if first == "rdma" => Err("this was built without RDMA: add `--features verbs`".into()),
        _ => bench(&arguments),
    })
}

fn told(outcome: Result<(), Box<dyn Error>>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("handfast-perf: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let options = Options::parse(arguments)?;
    if options.help {
        print!("{HELP}");
        return Ok(());
    }
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its figures mean nothing (cargo run --release -p handfast-perf)");
    }
    let (about, rows) = run::run(&options)?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report::json(&about, &rows))?);
    } else {
        print!("{}", report::text(&about, &rows)?);
    }
    match &options.report {
        Some(folder) => report::write(folder, &about, &rows),
        None => Ok(()),
    }
}
