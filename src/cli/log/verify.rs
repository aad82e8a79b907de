//! `handfast log verify`: whether all is there that was known to be acknowledged when the header was written.

use crate::cli::args::LogArguments;
use crate::cli::failure::Failure;
use crate::cli::log::walk::{self, Walked};
use crate::cli::output::{self, count};
use handfast::clients::mirrored_log::header::HeaderState;
use serde_json::{Value, json};

/// Status 1 where acknowledged records are missing.
pub(crate) fn run(arguments: &LogArguments) -> Result<(), Failure> {
    let walked = walk::walk(&arguments.path)?;
    let missing = walk::missing(&arguments.path, &walked.header, &walked.stopped);
    if arguments.json {
        output::said(output::line(object(&walked, missing.as_deref())))?;
        return missing.map_or(Ok(()), |_| Err(Failure::told()));
    }
    let said = output::said(output::line(text(arguments, &walked, missing.is_some())));
    missing.map_or(said, |missing| Err(Failure::new(missing)))
}

fn text(arguments: &LogArguments, walked: &Walked, missing: bool) -> String {
    let Walked { header, stopped, tally } = walked;
    let verdict = if missing { "DAMAGED" } else { "all is there that was known to be acknowledged" };
    let mut lines = vec![format!("{}: {verdict}", arguments.path.display())];
    let mut line = |name: &str, value: String| lines.push(format!("  {name:<14} {value}"));
    let bytes = stopped.lsn.bytes_since(header.tail).unwrap_or(0);
    line("whole", format!("lsn {} to {}, {}: {tally}", header.tail, stopped.lsn, count(bytes, "byte")));
    line("ends there", stopped.why.to_string());
    let acknowledged = if missing { "what is whole ends before that" } else { "nothing before that is missing" };
    line("acknowledged", format!("up to lsn {}: {acknowledged}", header.acknowledged));
    let state = match header.state {
        HeaderState::Refilling => "refilling: records are still missing, so it is not to be taken over",
        _ => header.state.name(),
    };
    line(
        "state",
        format!("{state}; term {}, generation {}, history {}", header.term, header.generation, header.history),
    );
    lines.join("\n")
}

fn object(walked: &Walked, missing: Option<&str>) -> Value {
    json!({
        "header": walk::header(&walked.header),
        "end": walk::end(&walked.stopped),
        "counts": walk::counts(&walked.tally),
        "acknowledged_missing_bytes": walked.header.acknowledged.bytes_since(walked.stopped.lsn).unwrap_or(0),
        "error": missing,
    })
}
