//! `handfast-perf life`: how long a log goes on being acknowledged once its partner has died or stands still.

mod node;
mod partner;
mod report;
mod round;
mod sys;
mod watch;
mod way;

use crate::about::About;
use crate::life::node::Place;
use crate::life::report::Taken;
use crate::life::round::Setting;
use crate::life::way::{Row, Way};
use crate::machine::{self, Scale};
use std::error::Error;
use std::path::{Path, PathBuf};

/// First argument of this part of the program.
const LIFE: &str = "life";

/// The heap of a partner that only shows that a core dump is waited for.
const SMOKE_HEAP_MIB: usize = 64;

/// Rounds of a row that may come to nothing, on a machine that is busy.
const FAILURES_MAX: usize = 3;

const HELP: &str = "\
How long `mirrored` still rises after the partner's process has died or stopped.

usage: handfast-perf life [--smoke] [--json] [--rows PREFIX,..] [--rounds N] [--at ADDRESS]
                          [--heap-mib N] [--folder DIR]

  --smoke        one round of each row, with a small core dump
  --json         print JSON instead of the table
  --rows LIST    only rows whose names begin so: kill, stop, exec, fork, core, kill-unpolled, ..
  --rounds N     rounds, 1 to 1000 (default 20); a quarter of them for core
  --at ADDRESS   where the nodes listen, this port and the next one: rdma://ADDRESS:PORT
                 (default: shared memory)
  --heap-mib N   memory of the partner that dumps core (default 2048)
  --folder DIR   core dumps go into a folder made in DIR (default: the folder for temporary files)

Needs two processors of its own: one for the thread that polls the log, one for the partner.
";

struct Options {
    smoke: bool,
    json: bool,
    prefixes: Option<String>,
    rounds: usize,
    at: Option<Place>,
    heap_mib: Option<usize>,
    folder: PathBuf,
    help: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self {
            smoke: false,
            json: false,
            prefixes: None,
            rounds: 20,
            at: None,
            heap_mib: None,
            folder: std::env::temp_dir(),
            help: false,
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("`{argument}` needs a value: see --help"));
            match argument.as_str() {
                "--smoke" => options.smoke = true,
                "--json" => options.json = true,
                "--help" | "-h" => options.help = true,
                "--rows" => options.prefixes = Some(value()?.clone()),
                "--at" => options.at = Some(Place::parse(value()?)?),
                "--folder" => options.folder = value()?.into(),
                "--heap-mib" => options.heap_mib = Some(number(argument, value()?, 65536)?),
                "--rounds" => options.rounds = number(argument, value()?, 1000)?,
                _ => {
                    let help = "see `handfast-perf life --help`";
                    return Err(format!("unknown argument `{argument}`: {help}"));
                }
            }
        }
        Ok(options)
    }

    fn rows(&self) -> Vec<Row> {
        let wanted = |row: &Row| {
            let begins = |list: &String| list.split(',').any(|one| row.name().starts_with(one));
            self.prefixes.as_ref().is_none_or(begins)
        };
        way::rows().into_iter().filter(wanted).collect()
    }

    fn heap_bytes(&self) -> usize {
        let usual = if self.smoke { SMOKE_HEAP_MIB } else { 2048 };
        self.heap_mib.unwrap_or(usual) << 20
    }
}

fn number(option: &str, text: &str, max: usize) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=max).contains(number));
    number.ok_or_else(|| format!("`{option} {text}`: 1 to {max}"))
}

/// What this program is when it is started by itself, if the first argument says so.
pub(crate) fn part(arguments: &[String]) -> Option<Result<(), Box<dyn Error>>> {
    let (first, rest) = arguments.split_first()?;
    match first.as_str() {
        LIFE => Some(run(rest)),
        partner::PEER => Some(partner::run(rest)),
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
        return Err("no row has such a name: see `handfast-perf life --help`".into());
    }
    let processors = machine::processors()?;
    let [here, there, ..] = processors[..] else {
        return Err("two processors are needed, and this process may use one: see taskset(1)".into());
    };
    let name = format!("handfast-perf-life-{}", std::process::id());
    let place = options.at.clone().map_or_else(|| Place::parse(&format!("shm://{name}:1")), Ok)?;
    let folder = Folder::create(options.folder.join(&name))?;
    let setting =
        Setting { place, processors: (here, there), folder: folder.0.clone(), heap_bytes: options.heap_bytes() };
    let taken = measure(&rows, &options, &setting);
    forget(&name)?;
    let taken = taken?;
    let about = About::here(processors.len(), Scale::measure().step_ns());
    if options.json {
        let json = report::json(&about, &taken, setting.heap_bytes);
        println!("{}", serde_json::to_string_pretty(&json)?);
    } else {
        print!("{}", report::text(&about, &taken, setting.heap_bytes)?);
    }
    Ok(())
}

fn measure(rows: &[Row], options: &Options, setting: &Setting) -> Result<Vec<Taken>, Box<dyn Error>> {
    let mut all = Vec::new();
    for row in rows {
        let skipped = if row.way == Way::Core { no_core(setting)? } else { None };
        let asked = if options.smoke { 1 } else { row.way.rounds(options.rounds) };
        let rounds = if skipped.is_some() { 0 } else { asked };
        let (mut samples, mut failures) = (Vec::with_capacity(rounds), 0);
        while samples.len() < rounds {
            match node::on_fabric!(setting.place, fabric => round::run(fabric, *row, setting)) {
                Ok(sample) => samples.push(sample),
                Err(error) if failures == FAILURES_MAX => return Err(format!("{}: {error}", row.name()).into()),
                Err(error) => {
                    eprintln!("{}, a round set aside: {error}", row.name());
                    failures += 1;
                }
            }
        }
        eprintln!("{} done", row.name());
        all.push(Taken { row: *row, samples, skipped });
    }
    Ok(all)
}

/// Why no core can be dumped here, if so.
fn no_core(setting: &Setting) -> Result<Option<String>, Box<dyn Error>> {
    let (pattern, room) = (report::core_pattern(), sys::room(&setting.folder)?);
    Ok(if pattern.is_empty() {
        Some("core_pattern is empty: this kernel dumps no core".to_owned())
    } else if pattern.starts_with(['/', '|']) {
        Some(format!("core_pattern `{pattern}`: dumps would go where they are not ours to remove"))
    } else if room < setting.heap_bytes as u64 * 3 / 2 {
        Some(format!("{} MiB of room for the dump are too few: see --folder", room >> 20))
    } else {
        None
    })
}

/// A folder that is there as long as this is.
struct Folder(PathBuf);

impl Folder {
    fn create(path: PathBuf) -> std::io::Result<Self> {
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Removes what partners that were killed left in shared memory.
fn forget(name: &str) -> std::io::Result<()> {
    let shared = Path::new("/dev/shm");
    if !shared.is_dir() {
        return Ok(());
    }
    let prefix = format!("handfast.{name}.");
    for entry in std::fs::read_dir(shared)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options, String> {
        Options::parse(&text.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn rows_are_chosen_by_how_their_names_begin() -> Result<(), String> {
        let rows = parse("--rows kill,stop-un")?.rows();
        let names: Vec<String> = rows.into_iter().map(Row::name).collect();
        assert_eq!(names, ["kill-thread", "kill-unpolled", "stop-unpolled"]);
        assert_eq!(parse("")?.rows(), way::rows());
        Ok(())
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let wrong = [("--rounds 0", "1 to 1000"), ("--rows", "--rows"), ("--at x", "`x`")];
        for (text, named) in wrong {
            assert!(parse(text).is_err_and(|message| message.contains(named)), "{text}");
        }
    }
}
