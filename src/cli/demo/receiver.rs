//! The receiving half: reads its copy of the sender's log, hashes what is in it, and says how far it is. At the end of a pass it appends its tally
//! to its own log.

use crate::cli::demo::logs::{Ended, Logs};
use crate::cli::demo::protocol::{Pace, Report, Voice};
use crate::cli::demo::record::{self, Record};
use crate::cli::demo::tally::Tally;
use crate::cli::demo::worker::Part;
use crate::cli::failure::Failure;
use std::time::Instant;

/// A pass as far as it has come.
struct Pass {
    number: u32,
    bytes: u64,
    hasher: blake3::Hasher,
    began: Instant,
}

/// Takes what comes until nothing more is wanted.
pub(crate) fn run(part: &Part, mut logs: Logs<'_>, voice: &Voice) -> Result<(), Failure> {
    let (mut pass, mut payload) = (None, Vec::new());
    let mut pace = Pace::new(voice, part.pace);
    loop {
        let went = match logs.read(&mut payload)? {
            Some(_) => match record::decode(&payload) {
                Some(Record::Data { pass: number, bytes }) if holds(part, pass.as_ref(), number, bytes) => {
                    voice.tell(Report::Holding { bytes: pass.as_ref().map_or(0, |pass: &Pass| pass.bytes) });
                    return hold(&mut logs);
                }
                record => {
                    let took = take(record, &mut pass, &mut logs, voice, &mut pace);
                    logs.applied();
                    took.and_then(|()| logs.hear())
                }
            },
            None => logs.listen(),
        };
        match went {
            // It begins the pass again when there is a session again.
            Ok(()) | Err(Ended::Lost) => {}
            Err(Ended::Stop) => return Ok(()),
            Err(Ended::Failed(failure)) => return Err(failure),
        }
    }
}

/// Whether the middle of the pass is reached in which nothing more is to be taken. A pass may be too short to have a middle.
fn holds(part: &Part, pass: Option<&Pass>, number: u32, bytes: &[u8]) -> bool {
    let Some(pass) = pass.filter(|pass| pass.number == number && part.hold == Some(number)) else { return false };
    let after = pass.bytes + bytes.len() as u64;
    pass.bytes * 2 >= part.bytes || after >= part.bytes
}

/// Takes nothing more, until killed or told to end.
fn hold(logs: &mut Logs<'_>) -> Result<(), Failure> {
    loop {
        match logs.listen() {
            Ok(()) | Err(Ended::Lost) => {}
            Err(Ended::Stop) => return Ok(()),
            Err(Ended::Failed(failure)) => return Err(failure),
        }
    }
}

fn take(
    record: Option<Record<'_>>,
    pass: &mut Option<Pass>,
    logs: &mut Logs<'_>,
    voice: &Voice,
    pace: &mut Pace<'_>,
) -> Result<(), Ended> {
    match record {
        Some(Record::Begin { pass: number }) => *pass = Some(Pass::new(number)),
        // Of a pass whose beginning went with another process: it will begin again.
        Some(Record::Data { pass: number, bytes }) => {
            if let Some(pass) = pass.as_mut().filter(|pass| pass.number == number) {
                pass.hasher.update(bytes);
                pass.bytes += bytes.len() as u64;
                pace.tell(pass.number, pass.bytes);
            }
        }
        Some(Record::End { tally: there }) => {
            if let Some(pass) = pass.take_if(|pass| pass.number == there.pass) {
                return end(pass, there, logs, voice);
            }
        }
        None => return Err(Failure::new("the sender's log holds a record that has no meaning here").into()),
    }
    Ok(())
}

/// Tells the sender what was counted, and reports when it has that.
fn end(pass: Pass, there: Tally, logs: &mut Logs<'_>, voice: &Voice) -> Result<(), Ended> {
    let seconds = pass.began.elapsed().as_secs_f64();
    let digest = pass.hasher.finalize().to_string();
    let here = Tally { pass: pass.number, last: false, bytes: pass.bytes, digest };
    let end = record::end(pass.number, &here.encode()?);
    let (lsn, _) = logs.append(end.len(), &mut |space| {
        space.copy_from_slice(&end);
        Ok(end.len())
    })?;
    let last = there.last;
    let told = logs.until_durable(lsn);
    // A sender that wants no more leaves as soon as it has the tally, which may be before its acknowledgement is here.
    if told.is_ok() || (last && matches!(told, Err(Ended::Lost))) {
        voice.tell(Report::Passed { here, there, seconds });
    }
    logs.free()?;
    told
}

impl Pass {
    fn new(number: u32) -> Self {
        Self { number, bytes: 0, hasher: blake3::Hasher::new(), began: Instant::now() }
    }
}
