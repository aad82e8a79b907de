//! A run: the peer started, rows measured in interleaved rounds, the peer ended.

use crate::about::About;
use crate::arguments::Options;
use crate::bare::Arena;
use crate::control::ARENA_BYTES;
use crate::effort::Effort;
use crate::machine;
use crate::peer;
use crate::report::{Figures, Measured};
use crate::rows::{Bench, Of, Row};
use crate::samples::{Quantiles, Samples};
use std::error::Error;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A line's round trip below this means that both virtual processors run on one physical core: 100 to 122 ns were seen there, and 235 to
/// 480 between two cores.
pub(crate) const SHARED_CORE_NS: f64 = 170.0;

/// How long a row may go on without a repetition that counts. Hypervisors have been seen to leave both on one core for half a minute.
const PATIENCE: Duration = Duration::from_secs(180);

/// Pause after a repetition that does not count: an idle processor is the likeliest to be moved.
const PAUSE: Duration = Duration::from_millis(100);

/// Measures everything that is asked for.
pub(crate) fn run(options: &Options) -> Result<(About, Vec<Measured>), Box<dyn Error>> {
    let processors = machine::processors()?;
    let [here, there, ..] = processors[..] else {
        return Err("two processors are needed, and this process may use one: see taskset(1)".into());
    };
    machine::pin(here)?;
    let (arena, run) = (Arena::create(ARENA_BYTES)?, std::process::id());
    let mut peer = start_peer(run, &arena, there)?;
    let measured = measure(options, run, &arena);
    if measured.is_err() {
        // It may wait for something that will not come any more.
        let _ = peer.kill();
    }
    let status = peer.wait()?;
    match measured {
        Ok((step_ns, rows)) if status.success() => Ok((About::here(processors.len(), step_ns), rows)),
        Ok(_) => Err(format!("the peer ended with {status}").into()),
        Err(error) => Err(format!("{error} (the peer: {status})").into()),
    }
}

fn start_peer(run: u32, arena: &Arena, processor: usize) -> Result<Child, Box<dyn Error>> {
    let numbers = [run.to_string(), arena.descriptor().to_string(), processor.to_string()];
    Ok(Command::new(std::env::current_exe()?).arg(peer::PEER).args(numbers).stdin(Stdio::null()).spawn()?)
}

fn measure(options: &Options, run: u32, arena: &Arena) -> Result<(f64, Vec<Measured>), Box<dyn Error>> {
    let mut bench = Bench::open(run, arena)?;
    let step_ns = bench.step_ns();
    let mut measured = Vec::new();
    for row in &options.rows {
        eprintln!("{}: {}", row.name(), row.title());
        let outcome = measure_row(&mut bench, *row, options);
        measured.push(outcome.map_err(|error| format!("{}: {error}", row.name()))?);
    }
    bench.close()?;
    Ok((step_ns, measured))
}

/// Rounds of limit and handfast in turn, with a probe before, between and behind them.
fn measure_row(bench: &mut Bench<'_>, row: Row, options: &Options) -> Result<Measured, Box<dyn Error>> {
    let (mut limit, mut handfast, mut probes_ns, mut set_aside) = (Side::default(), Side::default(), Vec::new(), 0);
    if let Some(effort) = options.effort.warm_up() {
        // One that does not count: pages, caches and branches are warm after it.
        bench.sample(row, Of::Limit, effort)?;
        bench.sample(row, Of::Handfast, effort)?;
    }
    let mut counted_at = Instant::now();
    while limit.rounds.len() < options.effort.rounds(options.rounds) {
        match repetition(bench, row, options.effort)? {
            Some((probes, bare, ours)) => {
                probes_ns.push(probes);
                limit.take(&bare, row.group())?;
                handfast.take(&ours, row.group())?;
                counted_at = Instant::now();
            }
            None if counted_at.elapsed() > PATIENCE => {
                return Err("both processors share a physical core all the time: no figure would mean anything".into());
            }
            None => {
                set_aside += 1;
                std::thread::sleep(PAUSE);
            }
        }
    }
    Ok(Measured { row, limit: limit.figures()?, handfast: handfast.figures()?, set_aside, probes_ns })
}

/// What one repetition brought: probes, limit, handfast.
type Repetition = ([f64; 3], Vec<u64>, Vec<u64>);

/// One repetition; none where a probe found both processors on one core.
fn repetition(bench: &mut Bench<'_>, row: Row, effort: Effort) -> Result<Option<Repetition>, Box<dyn Error>> {
    if effort == Effort::Smoke {
        let (bare, ours) = (bench.sample(row, Of::Limit, effort)?, bench.sample(row, Of::Handfast, effort)?);
        return Ok(Some(([0.0; 3], bare, ours)));
    }
    let before = bench.probe()?;
    if before < SHARED_CORE_NS {
        return Ok(None);
    }
    let bare = bench.sample(row, Of::Limit, effort)?;
    let between = bench.probe()?;
    if between < SHARED_CORE_NS {
        return Ok(None);
    }
    let ours = bench.sample(row, Of::Handfast, effort)?;
    let after = bench.probe()?;
    Ok((after >= SHARED_CORE_NS).then_some(([before, between, after], bare, ours)))
}

/// One side's rounds as they come.
#[derive(Default)]
struct Side {
    rounds: Vec<Quantiles>,
    all: Vec<u64>,
}

impl Side {
    fn take(&mut self, tenths: &[u64], group: usize) -> Result<(), Box<dyn Error>> {
        self.rounds.push(Quantiles::of_round(tenths, group)?);
        self.all.extend_from_slice(tenths);
        Ok(())
    }

    fn figures(self) -> Result<Figures, Box<dyn Error>> {
        Ok(Figures { quoted: Quantiles::median(&self.rounds), rounds: self.rounds, all: Samples::of(&self.all)? })
    }
}
