//! What is measured: one row each, its limit and handfast's side of it.

use crate::bare::Arena;
use crate::completions::held;
use crate::control::{Control, Task};
use crate::effort::Effort;
use crate::lines::{Stamps, throw_blocks, throw_lines};
use crate::machine::Scale;
use crate::nodes::{Node, Side};
use crate::operations::{BATCH, bare_dirty_reads, bare_reads, bare_stores, dirty_reads, posts, reads};
use crate::samples::Quantiles;
use crate::start::{self, Took};
use crate::steps::{Dialler, Keyed, bare_steps};
use crate::transfers::{throw_block_writes, throw_messages, throw_writes};
use std::error::Error;
use std::time::Duration;

/// What is to be reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    /// At most so many times the limit.
    Ratio(f64),
    /// At most so many nanoseconds.
    Ns(f64),
    /// To be judged beside other libraries, which this program does not measure yet.
    Peers(&'static str),
    /// None: told for its own sake.
    None,
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row {
    /// Four steps, no key.
    Steps,
    /// Four steps with a key.
    StepsKeyed,
    /// 8 B WRITE one way.
    Write8,
    /// 4 KiB WRITE one way.
    Write4k,
    /// 64 B READ, line cached.
    ReadCached,
    /// 64 B READ, line dirty at the peer.
    ReadDirty,
    /// Post cost.
    Post8,
    /// 64 B message one way.
    Message64,
    /// From `main` to a session.
    Start,
    /// From before the start of the process to a session.
    StartProcess,
}

/// All rows in order.
pub(crate) const ROWS: [Row; 10] = [
    Row::Steps,
    Row::StepsKeyed,
    Row::Write8,
    Row::Write4k,
    Row::ReadCached,
    Row::ReadDirty,
    Row::Post8,
    Row::Message64,
    Row::Start,
    Row::StartProcess,
];

/// Whose figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// Bare atomics.
    Limit,
    /// handfast.
    Handfast,
}

impl Row {
    /// As in `--rows`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Steps => "steps",
            Self::StepsKeyed => "steps-keyed",
            Self::Write8 => "write-8",
            Self::Write4k => "write-4k",
            Self::ReadCached => "read-64-cached",
            Self::ReadDirty => "read-64-dirty",
            Self::Post8 => "post-8",
            Self::Message64 => "message-64",
            Self::Start => "start",
            Self::StartProcess => "start-process",
        }
    }

    /// What it is, in words.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Steps => "four steps on an open link, no key",
            Self::StepsKeyed => "four steps on an open link, with a key",
            Self::Write8 => "8 B WRITE seen by the other side, one way",
            Self::Write4k => "4 KiB WRITE and flag, one way",
            Self::ReadCached => "64 B READ completed, line cached",
            Self::ReadDirty => "64 B READ completed, line dirty at the peer",
            Self::Post8 => "post and poll of one 8 B WRITE, 64 at a time",
            Self::Message64 => "64 B message, one way (limit: 8 B line)",
            Self::Start => "top of main to session established",
            Self::StartProcess => "process start to session established",
        }
    }

    /// What DESIGN asks of it.
    pub(crate) fn goal(self) -> Goal {
        match self {
            Self::Steps | Self::StepsKeyed => Goal::Ratio(1.15),
            Self::Write8 | Self::Write4k => Goal::Ratio(1.05),
            Self::ReadCached | Self::ReadDirty | Self::Message64 => Goal::Peers("not behind UCX"),
            Self::Post8 => Goal::Ns(20.0),
            Self::Start => Goal::Ns(150_000.0),
            Self::StartProcess => Goal::None,
        }
    }

    /// Samples in a row whose mean counts as one for the p50. The counter of some processors steps by 10 ns, which is too coarse to tell
    /// two hundred nanoseconds from ten more.
    pub(crate) fn group(self) -> usize {
        match self {
            Self::ReadCached | Self::Post8 | Self::Start | Self::StartProcess => 1,
            _ => 16,
        }
    }

    /// Samples in one round.
    fn samples(self, effort: Effort) -> u64 {
        effort.samples(match self {
            Self::Steps | Self::StepsKeyed => (10_000, 2_000),
            Self::Write8 | Self::Message64 | Self::ReadDirty => (100_000, 20_000),
            Self::Write4k => (50_000, 10_000),
            Self::ReadCached | Self::Post8 => (10_000, 2_000),
            Self::Start | Self::StartProcess => (40, 8),
        })
    }
}

/// The measuring side with everything it measures with.
pub(crate) struct Bench<'a> {
    run: u32,
    arena: &'a Arena,
    control: Control<'a>,
    node: Node,
    plain: Dialler,
    keyed: Dialler,
    scale: Scale,
}

impl<'a> Bench<'a> {
    /// Opens the session with the peer, and the links of the four steps.
    pub(crate) fn open(run: u32, arena: &'a Arena) -> Result<Self, Box<dyn Error>> {
        let (control, node) = (Control::new(arena)?, Node::open(Side::A, run)?);
        let (plain, keyed) = (Dialler::open(run, Keyed::No)?, Dialler::open(run, Keyed::Yes)?);
        Ok(Self { run, arena, control, node, plain, keyed, scale: Scale::measure() })
    }

    /// Ends the peer and the session.
    pub(crate) fn close(self) -> Result<(), Box<dyn Error>> {
        let quit = self.control.begin(Task::Quit, 0)?;
        self.control.end(quit)?;
        self.node.close();
        Ok(())
    }

    /// The step of the counter, nanoseconds.
    pub(crate) fn step_ns(&self) -> f64 {
        self.scale.step_ns()
    }

    /// Median round trip of a line within about 20 ms, nanoseconds.
    pub(crate) fn probe(&mut self) -> Result<f64, Box<dyn Error>> {
        self.node.tend()?;
        // Some 350 ns a turn.
        let halves = self.one_way(Task::Lines, 60_000, |bench, command| throw_lines(bench.arena, command))?;
        Ok(2.0 * Quantiles::of_round(&halves, 16)?.p50)
    }

    /// Samples of one side in one round, in tenths of a nanosecond.
    pub(crate) fn sample(&mut self, row: Row, of: Of, effort: Effort) -> Result<Vec<u64>, Box<dyn Error>> {
        let samples = row.samples(effort);
        match (row, of) {
            (Row::Steps | Row::StepsKeyed, Of::Limit) => self.bare_steps(samples),
            (Row::Steps, Of::Handfast) => self.steps(Keyed::No, samples),
            (Row::StepsKeyed, Of::Handfast) => self.steps(Keyed::Yes, samples),
            (Row::Write8 | Row::Message64, Of::Limit) => {
                self.one_way(Task::Lines, samples, |bench, command| throw_lines(bench.arena, command))
            }
            (Row::Write8, Of::Handfast) => {
                self.one_way(Task::Writes, samples, |bench, command| throw_writes(&mut bench.node, command))
            }
            (Row::Write4k, Of::Limit) => {
                self.one_way(Task::Blocks, samples, |bench, command| throw_blocks(bench.arena, command))
            }
            (Row::Write4k, Of::Handfast) => self.one_way(Task::BlockWrites, samples, |bench, command| {
                let block = held(bench.node.block.take())?;
                let (stamps, block) = throw_block_writes(&mut bench.node, block, command)?;
                bench.node.block = Some(block);
                Ok(stamps)
            }),
            (Row::Message64, Of::Handfast) => self.one_way(Task::Messages, samples, |bench, command| {
                let message = held(bench.node.message.take())?;
                let (stamps, message) = throw_messages(&mut bench.node, message, command)?;
                bench.node.message = Some(message);
                Ok(stamps)
            }),
            (Row::ReadCached, Of::Limit) => Ok(self.batches(&bare_reads(self.arena, samples)?)),
            (Row::ReadCached, Of::Handfast) => {
                let line = held(self.node.line.take())?;
                let (ticks, line) = reads(&mut self.node, line, samples)?;
                self.node.line = Some(line);
                Ok(self.batches(&ticks))
            }
            (Row::ReadDirty, of) => self.dirty(of, samples),
            (Row::Post8, Of::Limit) => Ok(self.batches(&bare_stores(self.arena, samples)?)),
            (Row::Post8, Of::Handfast) => {
                let ticks = posts(&mut self.node, samples)?;
                Ok(self.batches(&ticks))
            }
            (Row::Start | Row::StartProcess, of) => self.started(row, of, samples),
        }
    }

    fn batches(&self, ticks: &[u64]) -> Vec<u64> {
        ticks.iter().map(|ticks| self.scale.tenths_ordered(*ticks, BATCH)).collect()
    }

    fn singles(&self, ticks: &[u64]) -> Vec<u64> {
        ticks.iter().map(|ticks| self.scale.tenths_ordered(*ticks, 1)).collect()
    }

    fn stamped(
        &mut self,
        task: Task,
        turns: u64,
        throw: impl FnOnce(&mut Self, &crate::control::Command) -> Result<Stamps, Box<dyn Error>>,
    ) -> Result<Stamps, Box<dyn Error>> {
        let command = self.control.begin(task, turns)?;
        let stamps = throw(self, &command)?;
        self.control.end(command)?;
        Ok(stamps)
    }

    /// Half of each round trip.
    fn one_way(
        &mut self,
        task: Task,
        turns: u64,
        throw: impl FnOnce(&mut Self, &crate::control::Command) -> Result<Stamps, Box<dyn Error>>,
    ) -> Result<Vec<u64>, Box<dyn Error>> {
        let stamps = self.stamped(task, turns, throw)?;
        Ok(stamps.ticks.iter().map(|ticks| self.scale.tenths(*ticks, 2)).collect())
    }

    fn bare_steps(&mut self, turns: u64) -> Result<Vec<u64>, Box<dyn Error>> {
        let command = self.control.begin(Task::BareSteps, turns)?;
        let ticks = bare_steps(self.arena, turns, command.base)?;
        self.control.end(command)?;
        Ok(self.singles(&ticks))
    }

    fn steps(&mut self, keyed: Keyed, turns: u64) -> Result<Vec<u64>, Box<dyn Error>> {
        let (task, dialler) = match keyed {
            Keyed::No => (Task::Steps, &mut self.plain),
            Keyed::Yes => (Task::KeyedSteps, &mut self.keyed),
        };
        let command = self.control.begin(task, 0)?;
        let ticks = dialler.run(turns)?;
        self.control.end(command)?;
        Ok(self.singles(&ticks))
    }

    fn dirty(&mut self, of: Of, turns: u64) -> Result<Vec<u64>, Box<dyn Error>> {
        let task = if of == Of::Limit { Task::BareDirty } else { Task::Dirty };
        let command = self.control.begin(task, turns)?;
        let ticks = match of {
            Of::Limit => bare_dirty_reads(self.arena, &command)?,
            Of::Handfast => {
                let line = held(self.node.line.take())?;
                let (ticks, line) = dirty_reads(&mut self.node, self.arena, line, &command)?;
                self.node.line = Some(line);
                ticks
            }
        };
        self.control.end(command)?;
        Ok(self.singles(&ticks))
    }

    fn started(&mut self, row: Row, of: Of, starts: u64) -> Result<Vec<u64>, Box<dyn Error>> {
        let mut took = Vec::with_capacity(starts as usize);
        for _ in 0..starts {
            let Took { from_main_ns, from_start_ns } = self.start_one(of)?;
            took.push(if row == Row::Start { from_main_ns } else { from_start_ns } * 10);
        }
        Ok(took)
    }

    fn start_one(&mut self, of: Of) -> Result<Took, Box<dyn Error>> {
        let task = if of == Of::Limit { Task::BareSteps } else { Task::Serve };
        let command = self.control.begin(task, 1)?;
        let arguments = match of {
            Of::Limit => {
                let [process, descriptor] = [self.run.to_string(), self.arena.descriptor().to_string()];
                vec![start::BARE.to_owned(), process, descriptor, command.base.to_string()]
            }
            Of::Handfast => {
                // The partner is up, and has been for a while.
                std::thread::sleep(Duration::from_millis(2));
                vec![start::SESSION.to_owned(), self.run.to_string()]
            }
        };
        let took = start::start(&arguments);
        self.control.end(command)?;
        took
    }
}
