//! Row 7: processes that are started to see how long a session takes them, and the bare sum of its parts.

use crate::bare::Arena;
use crate::control::ARENA_BYTES;
use crate::machine::monotonic_ns;
use crate::nodes::{Side, config, listening};
use crate::steps::bare_steps;
use handfast::fabric::shm::Shm;
use handfast::manager::{ClusterManager, Event};
use std::error::Error;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a started process reports: nanoseconds from the top of its `main`, and from just before it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Took {
    /// From the top of `main`.
    pub(crate) from_main_ns: u64,
    /// From just before the start.
    pub(crate) from_start_ns: u64,
}

/// Hidden first arguments of this program.
pub(crate) const SESSION: &str = "started-session";
/// See [`SESSION`].
pub(crate) const BARE: &str = "started-bare";

/// The started process: opens a session, reports, and leaves.
pub(crate) fn session(main_ns: u64, arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let [run, start_ns] = arguments else { return Err("arguments: RUN START_NS".into()) };
    let mut manager = ClusterManager::boot(Shm::new(), config(Side::A, run.parse()?, listening::STARTED)?)?;
    manager.open();
    let began = Instant::now();
    let mut polls = 0u32;
    while !matches!(manager.poll(), Some(Event::Established { .. })) {
        polls += 1;
        if polls.is_multiple_of(1 << 16) && began.elapsed() > Duration::from_secs(5) {
            return Err("no session within 5 s".into());
        }
    }
    report(main_ns, start_ns.parse()?);
    manager.shut_down();
    Ok(())
}

/// The started process of the limit: memory made, the partner's mapped, four bare steps.
pub(crate) fn bare(main_ns: u64, arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let [process, descriptor, base, start_ns] = arguments else {
        return Err("arguments: PROCESS DESCRIPTOR BASE START_NS".into());
    };
    let _own = Arena::create(ARENA_BYTES)?;
    let partner = Arena::open(process.parse()?, descriptor.parse()?)?;
    bare_steps(&partner, 1, base.parse()?)?;
    report(main_ns, start_ns.parse()?);
    Ok(())
}

fn report(main_ns: u64, start_ns: u64) {
    let now = monotonic_ns();
    println!("{} {}", now.saturating_sub(main_ns), now.saturating_sub(start_ns));
}

/// Starts this program once more with these arguments and the time, and waits for its report.
pub(crate) fn start(arguments: &[String]) -> Result<Took, Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).stdout(Stdio::piped()).stdin(Stdio::null());
    let output = command.arg(monotonic_ns().to_string()).output()?;
    let text = String::from_utf8(output.stdout)?;
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    match (output.status.success(), numbers.next(), numbers.next()) {
        (true, Some(Ok(from_main_ns)), Some(Ok(from_start_ns))) => Ok(Took { from_main_ns, from_start_ns }),
        _ => Err(format!(
            "a started process ended with {} and said: {text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
        .into()),
    }
}
