//! `handfast log stat`: headers, what the partner reports, counts and sizes.

use crate::cli::args::LogArguments;
use crate::cli::failure::Failure;
use crate::cli::log::walk::{self, Walked};
use crate::cli::output::{self, count};
use handfast::clients::mirrored_log::area::{PERSISTED_OFFSET, REPORT_OFFSET};
use handfast::clients::mirrored_log::header::HeaderFault;
use handfast::clients::mirrored_log::report::{CopyReport, REPORT_BYTES};
use handfast::clients::mirrored_log::{LogError, LogHeader, Source};
use serde_json::{Value, json};

/// What stands before the ring besides the header that counts.
struct Front {
    copies: [Result<LogHeader, HeaderFault>; 2],
    report: Result<CopyReport, HeaderFault>,
    persisted: u64,
    applied: u64,
}

pub(crate) fn run(arguments: &LogArguments) -> Result<(), Failure> {
    let file = walk::file(&arguments.path)?;
    let front = front(&file).map_err(|error| walk::failure(&arguments.path, &error))?;
    let walked = walk::walk(&arguments.path)?;
    output::said(match arguments.json {
        true => output::line(object(&front, &walked)),
        false => output::line(text(arguments, &front, &walked)),
    })
}

fn front(source: &impl Source) -> Result<Front, LogError> {
    let mut report = [0; REPORT_BYTES];
    source.read(REPORT_OFFSET, &mut report)?;
    let word = |offset| {
        let mut word = [0; 8];
        source.read(offset, &mut word).map(|()| u64::from_le_bytes(word))
    };
    Ok(Front {
        copies: LogHeader::copies(source)?,
        applied: CopyReport::decode(&report).ok().filter(|report| report.applies).map_or(0, |report| report.applied.0),
        report: CopyReport::decode(&report),
        persisted: word(PERSISTED_OFFSET)?,
    })
}

fn text(arguments: &LogArguments, front: &Front, walked: &Walked) -> String {
    let Walked { header, stopped, tally } = walked;
    let mut lines = vec![format!("{}: log of history {}", arguments.path.display(), header.history)];
    let mut line = |name: &str, value: String| lines.push(format!("  {name:<14} {value}"));
    for (number, copy) in front.copies.iter().enumerate() {
        let text = match copy {
            Ok(copy) => {
                let (state, sequence) = (copy.state.name(), copy.sequence);
                format!(
                    "sequence {sequence}: {state}, term {}, generation {}, tail {}",
                    copy.term, copy.generation, copy.tail
                )
            }
            Err(fault) => fault.to_string(),
        };
        line(&format!("header copy {number}"), text);
    }
    line("state", header.state.name().to_owned());
    line("term", header.term.to_string());
    line("generation", header.generation.to_string());
    let used = stopped.lsn.bytes_since(header.tail).unwrap_or(0);
    let ring = header.ring_bytes.get();
    line("ring", format!("{}, {used} of them taken ({} %)", count(ring, "byte"), used * 100 / ring));
    line("tail", format!("lsn {}", header.tail));
    line("acknowledged", format!("lsn {}", header.acknowledged));
    line("end", stopped.to_string());
    if let Some(bytes) = header.acknowledged.bytes_since(stopped.lsn).filter(|bytes| *bytes != 0) {
        line("MISSING", format!("{} that were acknowledged: see `handfast log verify`", count(bytes, "byte")));
    }
    line("records", tally.to_string());
    if let Some((first, last)) = tally.generations {
        line("written by", format!("generations {first} to {last}"));
    }
    for (least, most, records) in tally.classes() {
        let bytes = if least == most { count(least, "byte") } else { format!("{least} to {most} bytes") };
        line("  payload of", format!("{bytes}: {}", count(records, "record")));
    }
    match front.report {
        Err(HeaderFault::Empty) => line("partner", "has reported nothing here".to_owned()),
        Err(fault) => line("partner", format!("its report {fault}")),
        Ok(report) => {
            line("partner", format!("{}, lsn {} to {}, term {}", state(&report), report.tail, report.end, report.term));
            line(
                "  persisted",
                if report.persists { format!("up to lsn {}", front.persisted) } else { "no".to_owned() },
            );
            line("  applied", if report.applies { format!("up to lsn {}", front.applied) } else { "no".to_owned() });
        }
    }
    lines.join("\n")
}

/// What the partner says that it holds.
fn state(report: &CopyReport) -> String {
    format!("{:?}", report.state).to_lowercase()
}

fn object(front: &Front, walked: &Walked) -> Value {
    let Walked { header, stopped, tally } = walked;
    let copies: Vec<Value> = front
        .copies
        .iter()
        .map(|copy| match copy {
            Ok(copy) => walk::header(copy),
            Err(fault) => json!({ "error": fault.to_string() }),
        })
        .collect();
    let sizes: Vec<Value> = tally
        .classes()
        .map(|(least, most, records)| json!({ "bytes_min": least, "bytes_max": most, "records": records }))
        .collect();
    let report = match &front.report {
        Err(HeaderFault::Empty) => Value::Null,
        Err(fault) => json!({ "error": fault.to_string() }),
        Ok(report) => json!({
            "state": state(report),
            "history": report.history.to_string(),
            "term": report.term.0,
            "generation": report.generation.0,
            "tail": report.tail.0,
            "end": report.end.0,
            "persisted": report.persists.then_some(front.persisted),
            "applied": report.applies.then_some(front.applied),
        }),
    };
    json!({
        "header": walk::header(header),
        "copies": copies,
        "end": walk::end(stopped),
        "acknowledged_missing_bytes": header.acknowledged.bytes_since(stopped.lsn).unwrap_or(0),
        "bytes": stopped.lsn.bytes_since(header.tail).unwrap_or(0),
        "counts": walk::counts(tally),
        "generations": tally.generations.map(|(first, last)| [first.0, last.0]),
        "sizes": sizes,
        "partner": report,
    })
}
