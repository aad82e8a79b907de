//! `handfast log dump`: the records in order.

use crate::cli::args::{LogDumpArguments, PayloadForm};
use crate::cli::failure::Failure;
use crate::cli::log::walk;
use crate::cli::output;
use handfast::clients::mirrored_log::record::Kind;
use handfast::clients::mirrored_log::{Entry, Lsn, StoppedAt};
use serde_json::json;
use std::io::{BufWriter, Result as Outcome, StdoutLock, Write};

/// Bytes of a payload that are shown on a line.
const SHOWN_BYTES: usize = 16;

/// Status 1 where it reads to the end and acknowledged records are missing.
pub(crate) fn run(arguments: &LogDumpArguments) -> Result<(), Failure> {
    let path = &arguments.path;
    let mut records = walk::open(path)?;
    let tail = records.header().tail;
    if arguments.from.is_some_and(|from| Lsn(from) < tail) && !arguments.json {
        output::complaint(format!("{} begins at lsn {tail}: what came before was truncated", path.display()));
    }
    let mut printer = Printer::new(arguments);
    let mut outcome = printer.begin();
    let stopped = walk::visit(&mut records, |entry| {
        if outcome.is_ok() {
            outcome = printer.entry(entry);
        }
        outcome.is_ok() && !printer.is_done()
    });
    let told = stopped.as_ref().ok().copied().flatten();
    let missing = told.and_then(|stopped| walk::missing(path, records.header(), &stopped));
    if let Err(error) = outcome.and_then(|()| printer.end(told.as_ref(), missing.as_deref())) {
        return output::said(Err(error));
    }
    stopped.map_err(|error| walk::failure(path, &error))?;
    match missing {
        Some(_) if arguments.json => Err(Failure::told()),
        Some(missing) => Err(Failure::new(missing)),
        None => Ok(()),
    }
}

/// Prints records in the form that was asked for.
struct Printer {
    out: BufWriter<StdoutLock<'static>>,
    form: Form,
    from: Lsn,
    limit: u64,
    printed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Lines,
    Objects,
    Raw,
}

impl Printer {
    fn new(arguments: &LogDumpArguments) -> Self {
        let form = match arguments.payload {
            _ if arguments.json => Form::Objects,
            PayloadForm::Raw => Form::Raw,
            PayloadForm::Brief => Form::Lines,
        };
        let (from, limit) = (Lsn(arguments.from.unwrap_or(0)), arguments.limit.unwrap_or(u64::MAX));
        Self { out: BufWriter::new(std::io::stdout().lock()), form, from, limit, printed: 0 }
    }

    fn is_done(&self) -> bool {
        self.printed >= self.limit
    }

    fn begin(&mut self) -> Outcome<()> {
        match self.form {
            Form::Lines => writeln!(self.out, "{:>14} {:>6} {:<7} {:>10}  first bytes", "lsn", "gen.", "kind", "bytes"),
            _ => Ok(()),
        }
    }

    fn entry(&mut self, entry: &Entry<'_>) -> Outcome<()> {
        if entry.lsn < self.from || self.form == Form::Raw && entry.kind != Kind::Data {
            return Ok(());
        }
        self.printed += 1;
        let shown = entry.payload.get(..SHOWN_BYTES).unwrap_or(entry.payload);
        let digits: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
        let (lsn, generation, kind, length) = (entry.lsn, entry.generation, entry.kind.name(), entry.length);
        match self.form {
            Form::Raw => self.out.write_all(entry.payload),
            Form::Objects => writeln!(
                self.out,
                "{}",
                json!({
                    "lsn": lsn.0,
                    "end": entry.end.0,
                    "generation": generation.0,
                    "kind": kind,
                    "length": length,
                    "first_bytes": digits,
                })
            ),
            Form::Lines if entry.kind == Kind::Data => {
                let (text, width) = (printable(shown), 2 * SHOWN_BYTES);
                writeln!(self.out, "{lsn:>14} {generation:>6} {kind:<7} {length:>10}  {digits:<width$}  {text}")
            }
            Form::Lines => writeln!(self.out, "{lsn:>14} {generation:>6} {kind:<7} {length:>10}"),
        }
    }

    /// What is said at the end, where it was reached.
    fn end(&mut self, stopped: Option<&StoppedAt>, missing: Option<&str>) -> Outcome<()> {
        if let Some(stopped) = stopped {
            match self.form {
                Form::Lines => writeln!(self.out, "end at {stopped}")?,
                Form::Objects => writeln!(self.out, "{}", json!({ "end": walk::end(stopped), "error": missing }))?,
                Form::Raw => {}
            }
        }
        self.out.flush()
    }
}

/// Bytes as text, a dot for each that is none.
fn printable(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { *byte as char } else { '.' }).collect()
}
