//! The command line.

use crate::effort::Effort;
use crate::rows::{ROWS, Row};
use std::path::PathBuf;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Latency of handfast on shared memory, beside what bare atomics need on the same machine.

usage: handfast-perf [--quick|--smoke] [--json] [--rows NAME,..] [--rounds N] [--report DIR]

  --quick        a fifth of the samples
  --smoke        a handful: shows that each row runs; its figures mean nothing
  --json         print JSON instead of the table
  --rows LIST    only these rows: steps, steps-keyed, write-8, write-4k, read-64-cached, read-64-dirty,
                 post-8, message-64, start, start-process
  --rounds N     rounds of each row, 5 to 1000 (default 7)
  --report DIR   write report.txt, report.json and one .hgrm file per row and side into DIR

Needs two processors of its own: one for this process, one for its peer.

On an RDMA device, beside perftest: handfast-perf rdma --help
";

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// How many samples.
    pub(crate) effort: Effort,
    /// JSON to standard output.
    pub(crate) json: bool,
    /// Which rows, in the order of the table.
    pub(crate) rows: Vec<Row>,
    /// Rounds of each.
    pub(crate) rounds: usize,
    /// Where the report goes.
    pub(crate) report: Option<PathBuf>,
    /// Print the help instead.
    pub(crate) help: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { effort: Effort::Full, json: false, rows: ROWS.to_vec(), rounds: 7, report: None, help: false }
    }
}

impl Options {
    /// From the arguments after the program's name.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        let (mut options, mut rest) = (Self::default(), arguments.iter());
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("`{argument}` needs a value: see --help"));
            match argument.as_str() {
                "--quick" => options.effort = Effort::Quick,
                "--smoke" => options.effort = Effort::Smoke,
                "--json" => options.json = true,
                "--help" | "-h" => options.help = true,
                "--report" => options.report = Some(value()?.into()),
                "--rounds" => {
                    let text = value()?;
                    let rounds = text.parse().ok().filter(|rounds| (5..=1000).contains(rounds));
                    options.rounds = rounds.ok_or_else(|| format!("`--rounds {text}`: 5 to 1000"))?;
                }
                "--rows" => options.rows = rows(value()?)?,
                _ => return Err(format!("unknown argument `{argument}`: see --help")),
            }
        }
        Ok(options)
    }
}

fn rows(text: &str) -> Result<Vec<Row>, String> {
    let names: Vec<&str> = text.split(',').collect();
    match names.iter().find(|name| !ROWS.iter().any(|row| row.name() == **name)) {
        Some(unknown) => Err(format!("there is no row `{unknown}`: see --help")),
        None => Ok(ROWS.into_iter().filter(|row| names.contains(&row.name())).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options, String> {
        Options::parse(&text.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read() {
        let expected = Options {
            effort: Effort::Quick,
            rows: vec![Row::Write8, Row::Start],
            rounds: 5,
            report: Some("x".into()),
            ..Options::default()
        };
        assert_eq!(parse("--quick --rows start,write-8 --rounds 5 --report x"), Ok(expected));
        assert_eq!(parse(""), Ok(Options::default()));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, named) in [("--rows x", "`x`"), ("--rounds 4", "5 to 1000"), ("--rows", "--rows"), ("-q", "-q")] {
            assert!(parse(text).is_err_and(|message| message.contains(named)), "{text}");
        }
    }

    #[test]
    fn the_help_names_every_row() {
        for row in ROWS {
            assert!(HELP.contains(row.name()), "{}", row.name());
        }
    }
}
