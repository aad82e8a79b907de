//! A run: the peer started, rows measured in interleaved rounds, the peer ended.

use crate::about::About;
use crate::arguments::Options;
use crate::bare::Arena;
use crate::control::ARENA_BYTES;
use crate::machine;
use crate::peer;
use crate::report::{Figures, Measured};
use crate::rows::{Bench, Of, Row};
use crate::samples::{Quantiles, Samples};
use std::error::Error;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A line's round trip below this means that both virtual processors run on one physical core.
const SHARED_CORE_NS: f64 = 120.0;

/// Repetitions that may be set aside for each round that is wanted.
const SET_ASIDE_MAX: usize = 20;

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
        Ok(rows) if status.success() => Ok((About::here(processors.len()), rows)),
        Ok(_) => Err(format!("the peer ended with {status}").into()),
        Err(error) => Err(format!("{error} (the peer: {status})").into()),
    }
}

fn start_peer(run: u32, arena: &Arena, processor: usize) -> Result<Child, Box<dyn Error>> {
    let numbers = [run.to_string(), arena.descriptor().to_string(), processor.to_string()];
    Ok(Command::new(std::env::current_exe()?).arg(peer::PEER).args(numbers).stdin(Stdio::null()).spawn()?)
}

fn measure(options: &Options, run: u32, arena: &Arena) -> Result<Vec<Measured>, Box<dyn Error>> {
    let mut bench = Bench::open(run, arena)?;
    let mut measured = Vec::new();
    for row in &options.rows {
        eprintln!("{}: {}", row.name(), row.title());
        let outcome = measure_row(&mut bench, *row, options);
        measured.push(outcome.map_err(|error| format!("{}: {error}", row.name()))?);
    }
    bench.close()?;
    Ok(measured)
}

/// Rounds of limit and handfast in turn, each behind a probe.
fn measure_row(bench: &mut Bench<'_>, row: Row, options: &Options) -> Result<Measured, Box<dyn Error>> {
    let (mut limit, mut handfast, mut probes_ns, mut set_aside) = (Side::new()?, Side::new()?, Vec::new(), 0);
    // One that does not count: pages, caches and branches are warm after it.
    bench.sample(row, Of::Limit, true)?;
    bench.sample(row, Of::Handfast, true)?;
    while probes_ns.len() < options.rounds {
        let probe = bench.probe()?;
        if probe < SHARED_CORE_NS {
            set_aside += 1;
            if set_aside > SET_ASIDE_MAX * options.rounds {
                return Err("both processors share a physical core all the time: no figure would mean anything".into());
            }
            std::thread::sleep(Duration::from_millis(50));
            continue;
        }
        probes_ns.push(probe);
        limit.take(&bench.sample(row, Of::Limit, options.quick)?)?;
        handfast.take(&bench.sample(row, Of::Handfast, options.quick)?)?;
    }
    Ok(Measured { row, limit: limit.figures(), handfast: handfast.figures(), set_aside, probes_ns })
}

/// One side's rounds as they come.
struct Side {
    rounds: Vec<Quantiles>,
    all: Samples,
}

impl Side {
    fn new() -> Result<Self, Box<dyn Error>> {
        Ok(Self { rounds: Vec::new(), all: Samples::new()? })
    }

    fn take(&mut self, tenths: &[u64]) -> Result<(), Box<dyn Error>> {
        let mut samples = Samples::new()?;
        for sample in tenths {
            samples.add(*sample)?;
        }
        self.rounds.push(samples.quantiles());
        Ok(self.all.merge(&samples)?)
    }

    fn figures(self) -> Figures {
        Figures { quoted: Quantiles::median(&self.rounds), rounds: self.rounds, all: self.all }
    }
}
