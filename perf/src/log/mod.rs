//! `handfast-perf log`: the mirrored log, beside bare operations and what people do today, in the same rounds.

mod append;
mod bare;
mod node;
mod peer;
mod picture;
mod report;
mod rows;
mod today;

use crate::about::About;
use crate::bare::Arena;
use crate::control::{ARENA_BYTES, Control, Task};
use crate::effort::Effort;
use crate::lines::throw_lines;
use crate::log::node::Node;
use crate::log::rows::{Level, Row, STREAM_BYTES, Taken};
use crate::log::today::LogFile;
use crate::machine::{self, Scale};
use crate::nodes::Side;
use crate::run::SHARED_CORE_NS;
use crate::samples::Quantiles;
use std::error::Error;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// First argument of this part of the program.
const LOG: &str = "log";

const HELP: &str = "\
The mirrored log on shared memory: latency of an append and appends a second, beside a bare WRITE and READ,
a file with fdatasync and TCP over loopback.

usage: handfast-perf log [--quick|--smoke] [--json] [--rows PREFIX,..] [--rounds N] [--file DIR] [--report DIR]

  --quick        a fifth of the samples
  --smoke        a handful: shows that each row runs; its figures mean nothing
  --json         print JSON instead of the table
  --rows LIST    only rows whose names begin so: write, read, received, placed, tcp, fdatasync, stream, ..
  --rounds N     rounds, 5 to 1000 (default 7)
  --file DIR     where the file is made that is synced (default: the current folder)
  --report DIR   write log.txt, log.json, log.svg and one .hgrm file per row into DIR

Needs two processors of its own: one for this process, one for its partner and for the second producer.
";

struct Options {
    effort: Effort,
    json: bool,
    prefixes: Option<String>,
    rounds: usize,
    file: PathBuf,
    report: Option<PathBuf>,
    help: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self {
            effort: Effort::Full,
            json: false,
            prefixes: None,
            rounds: 7,
            file: PathBuf::from("."),
            report: None,
            help: false,
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("`{argument}` needs a value: see --help"));
            match argument.as_str() {
                "--quick" => options.effort = Effort::Quick,
                "--smoke" => options.effort = Effort::Smoke,
                "--json" => options.json = true,
                "--help" | "-h" => options.help = true,
                "--file" => options.file = value()?.into(),
                "--report" => options.report = Some(value()?.into()),
                "--rows" => options.prefixes = Some(value()?.clone()),
                "--rounds" => {
                    let text = value()?;
                    let rounds = text.parse().ok().filter(|rounds| (5..=1000).contains(rounds));
                    options.rounds = rounds.ok_or_else(|| format!("`--rounds {text}`: 5 to 1000"))?;
                }
                _ => return Err(format!("unknown argument `{argument}`: see `handfast-perf log --help`")),
            }
        }
        Ok(options)
    }

    fn rows(&self) -> Vec<Row> {
        let wanted = |row: &Row| {
            self.prefixes.as_ref().is_none_or(|list| list.split(',').any(|prefix| row.name().starts_with(prefix)))
        };
        rows::rows().into_iter().filter(wanted).collect()
    }
}

/// What this program is when it is started by itself, if the first argument says so.
pub(crate) fn part(arguments: &[String]) -> Option<Result<(), Box<dyn Error>>> {
    let (first, rest) = arguments.split_first()?;
    match first.as_str() {
        LOG => Some(run(rest)),
        peer::PEER => Some(peer::run(rest)),
        _ => None,
    }
}

fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let options = Options::parse(arguments)?;
    if options.help {
        print!("{HELP}");
        return Ok(());
    }
    let rows = options.rows();
    if rows.is_empty() {
        return Err("no row has such a name: see `handfast-perf log --help`".into());
    }
    let processors = machine::processors()?;
    let [here, there, ..] = processors[..] else {
        return Err("two processors are needed, and this process may use one: see taskset(1)".into());
    };
    machine::pin(here)?;
    let (arena, process) = (Arena::create(ARENA_BYTES)?, std::process::id());
    let (port, listener) = today::listen()?;
    let mut partner = start(process, &arena, there, port)?;
    let measured = today::accept(&listener)
        .and_then(|stream| Bench::open(process, &arena, there, stream, &options))
        .and_then(|mut bench| {
            let taken = bench.measure(rows, &options)?;
            let step_ns = bench.scale.step_ns();
            bench.close()?;
            Ok((step_ns, taken))
        });
    if measured.is_err() {
        let _ = partner.kill();
    }
    let status = partner.wait()?;
    let (step_ns, taken) = measured.map_err(|error| format!("{error} (the partner: {status})"))?;
    let about = About::here(processors.len(), step_ns);
    let filesystem = machine::filesystem(&options.file).unwrap_or_else(|| "unknown".to_owned());
    report::give(&about, &taken, &filesystem, options.json, options.report.as_deref())
}

fn start(process: u32, arena: &Arena, processor: usize, port: u16) -> Result<Child, Box<dyn Error>> {
    let numbers = [process.to_string(), arena.descriptor().to_string(), processor.to_string(), port.to_string()];
    Ok(Command::new(std::env::current_exe()?).arg(peer::PEER).args(numbers).stdin(Stdio::null()).spawn()?)
}

struct Bench<'a> {
    arena: &'a Arena,
    control: Control<'a>,
    node: Node,
    scale: Scale,
    other: usize,
    stream: TcpStream,
    file: LogFile,
}

impl<'a> Bench<'a> {
    fn open(
        process: u32,
        arena: &'a Arena,
        other: usize,
        stream: TcpStream,
        options: &Options,
    ) -> Result<Self, Box<dyn Error>> {
        let (control, file) = (Control::new(arena)?, LogFile::create(&options.file)?);
        let node = Node::open(Side::A, process)?;
        Ok(Self { arena, control, node, scale: Scale::measure(), other, stream, file })
    }

    fn close(self) -> Result<(), Box<dyn Error>> {
        let quit = self.control.begin(Task::Quit, 0)?;
        self.control.end(quit)?;
        self.node.close();
        Ok(())
    }

    /// Rounds of all rows, one row after the other in each.
    fn measure(&mut self, rows: Vec<Row>, options: &Options) -> Result<Vec<Taken>, Box<dyn Error>> {
        let mut taken = rows.into_iter().map(Taken::new).collect::<Result<Vec<_>, _>>()?;
        if let Some(effort) = options.effort.warm_up() {
            // One that does not count: pages, caches and branches are warm after it.
            for row in &taken {
                self.sample(row.row, effort)?;
            }
        }
        for round in 0..options.effort.rounds(options.rounds) {
            for row in &mut taken {
                let name = row.row.name();
                self.repeat(row, options.effort).map_err(|error| format!("{name}: {error}"))?;
            }
            eprintln!("round {} of {} done", round + 1, options.effort.rounds(options.rounds));
        }
        Ok(taken)
    }

    /// One repetition that counts: neither before nor behind it both processors were on one core.
    fn repeat(&mut self, taken: &mut Taken, effort: Effort) -> Result<(), Box<dyn Error>> {
        const ATTEMPTS: usize = 600;
        for _ in 0..ATTEMPTS {
            let before = self.probe(effort)?;
            if before >= SHARED_CORE_NS {
                let (quantiles, tenths) = self.sample(taken.row, effort)?;
                if self.probe(effort)? >= SHARED_CORE_NS {
                    taken.rounds.push(quantiles);
                    for sample in tenths {
                        taken.all.add(sample)?;
                    }
                    return Ok(());
                }
            }
            taken.set_aside += 1;
            std::thread::sleep(Duration::from_millis(100));
        }
        Err("both processors share a physical core all the time: no figure would mean anything".into())
    }

    /// Median round trip of a line within some 10 ms, nanoseconds.
    fn probe(&mut self, effort: Effort) -> Result<f64, Box<dyn Error>> {
        if effort == Effort::Smoke {
            // Any processors will do.
            return Ok(f64::INFINITY);
        }
        self.node.check()?;
        let command = self.control.begin(Task::Lines, 30_000)?;
        let stamps = throw_lines(self.arena, &command)?;
        self.control.end(command)?;
        let tenths: Vec<u64> = stamps.ticks.iter().map(|ticks| self.scale.tenths(*ticks, 1)).collect();
        Ok(Quantiles::of_round(&tenths, 16)?.p50)
    }

    /// One round of one row: what is quoted, and its samples.
    fn sample(&mut self, row: Row, effort: Effort) -> Result<(Quantiles, Vec<u64>), Box<dyn Error>> {
        let turns = row.turns(effort);
        let (task, told) = match row {
            Row::Tcp(bytes) => (Task::Records, today::packed(bytes, turns)),
            _ => (Task::Rest, 0),
        };
        let command = self.control.begin(task, told)?;
        let outcome = self.timed(row, turns);
        self.control.end(command)?;
        outcome
    }

    fn timed(&mut self, row: Row, turns: u64) -> Result<(Quantiles, Vec<u64>), Box<dyn Error>> {
        let second = |wanted: bool| wanted.then_some(self.other);
        let (node, scale) = (&mut self.node, self.scale);
        let rate = |(ticks, records): (u64, u64)| {
            let us = scale.tenths(ticks, 1) as f64 / 10_000.0;
            Ok((Quantiles { p50: records as f64 / us.max(1.0), ..Quantiles::default() }, Vec::new()))
        };
        let ticks = match row {
            Row::Write(bytes) => append::writes(node.plain()?, bytes, turns)?,
            Row::Read(bytes) => append::reads(node.plain()?, bytes, turns)?,
            Row::Append(level, bytes, two) => {
                let (log, second) = (log(node, level), second(two));
                append::empty(log)?;
                append::latencies(log, bytes, turns, second)?
            }
            Row::File(bytes) => self.file.appends(bytes, turns)?,
            Row::Tcp(bytes) => today::records(&mut self.stream, bytes, turns)?,
            Row::Stream(level, two) => {
                let (log, second) = (log(node, level), second(two));
                append::empty(log)?;
                return rate(append::stream(log, STREAM_BYTES, turns, second)?);
            }
            Row::Copies => return rate((append::copies(STREAM_BYTES, turns), turns)),
            Row::Bare(two) => return rate(append::bare_stream(turns, second(two))?),
        };
        let tenths: Vec<u64> = ticks.iter().map(|ticks| scale.tenths_ordered(*ticks, 1)).collect();
        Ok((Quantiles::of_round(&tenths, if turns > 1000 { 16 } else { 1 })?, tenths))
    }
}

fn log(node: &mut Node, level: Level) -> &mut node::Log {
    match level {
        Level::Received => &mut node.received,
        Level::Placed => &mut node.placed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options, String> {
        Options::parse(&text.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn rows_are_chosen_by_how_their_names_begin() -> Result<(), String> {
        let rows = parse("--rows placed-64-,stream-placed --quick")?.rows();
        let names: Vec<String> = rows.into_iter().map(Row::name).collect();
        assert_eq!(names, ["placed-64-1", "placed-64-2", "stream-placed-1", "stream-placed-2"]);
        assert_eq!(parse("")?.rows(), rows::rows());
        Ok(())
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, named) in [("--rounds 4", "5 to 1000"), ("--rows", "--rows"), ("-q", "-q")] {
            assert!(parse(text).is_err_and(|message| message.contains(named)), "{text}");
        }
    }
}
