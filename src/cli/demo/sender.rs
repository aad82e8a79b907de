//! The sending half: reads the file into records of its log, in place. When all are in the receiver's memory it waits for the receiver's tally,
//! which comes through the receiver's own log.

use crate::cli::demo::logs::{Ended, Logs, PATIENCE};
use crate::cli::demo::protocol::{Order, Pace, Report, Voice};
use crate::cli::demo::record::{self, PREFIX_BYTES, Record};
use crate::cli::demo::tally::Tally;
use crate::cli::demo::worker::Part;
use crate::cli::failure::Failure;
use handfast::clients::mirrored_log::Lsn;
use std::fs::File;
use std::io::Read;
use std::time::Instant;

/// Records of data in a full ring, about.
const RECORDS: u64 = 16;

/// A record's header and the most that it is rounded up by.
const HEADER_BYTES: u64 = 64;

pub(crate) fn run(part: &Part, mut logs: Logs<'_>, voice: &Voice) -> Result<(), Failure> {
    let mut wanted: Option<(u32, bool)> = None;
    let mut alone_since = Instant::now();
    loop {
        let went = match wanted {
            Some((pass, last)) if logs.is_mirrored() => match stream(part, &mut logs, voice, pass, last) {
                Ok(report) => {
                    wanted = None;
                    voice.tell(report);
                    Ok(())
                }
                Err(ended) => Err(ended),
            },
            _ => logs.listen(),
        };
        match went {
            Ok(()) => {}
            Err(Ended::Lost) => alone_since = Instant::now(),
            Err(Ended::Stop) => return Ok(()),
            Err(Ended::Failed(failure)) => return Err(failure),
        }
        if let Some(Order::Pass { number, last }) = logs.take_order() {
            wanted = Some((number, last));
            alone_since = Instant::now();
        }
        let waited = alone_since.elapsed();
        let waits = wanted.is_some() && !logs.is_mirrored();
        if waits && part.session_wait_max.is_some_and(|max| waited > max) {
            return Err(Failure::new(format!("no session to stream over for {} s", waited.as_secs())));
        }
    }
}

/// Streams the whole file once, and compares tallies with the receiver.
fn stream(part: &Part, logs: &mut Logs<'_>, voice: &Voice, pass: u32, last: bool) -> Result<Report, Ended> {
    let began = Instant::now();
    let begin = record::begin(pass);
    let (first, _) = logs.append(begin.len(), &mut |space| {
        space.copy_from_slice(&begin);
        Ok(begin.len())
    })?;
    let here = data(part, logs, voice, pass, last)?;
    let end = record::end(pass, &here.encode()?);
    let (lsn, _) = logs.append(end.len(), &mut |space| {
        space.copy_from_slice(&end);
        Ok(end.len())
    })?;
    loop {
        match finish(logs, pass, lsn) {
            Ok(there) => {
                logs.free()?;
                return Ok(Report::Passed { here, there, seconds: began.elapsed().as_secs_f64() });
            }
            // All of the pass is in the log. Where a new receiver was given all of it there is nothing to be sent again.
            Err(Ended::Lost) if logs.regain(first)? => {}
            Err(ended) => return Err(ended),
        }
    }
}

/// Waits until everything is with the receiver, and for its tally.
fn finish(logs: &mut Logs<'_>, pass: u32, last: Lsn) -> Result<Tally, Ended> {
    logs.until_durable(last)?;
    tally(logs, pass)
}

/// Appends every byte of the file.
fn data(part: &Part, logs: &mut Logs<'_>, voice: &Voice, pass: u32, last: bool) -> Result<Tally, Ended> {
    let path = part.file.as_ref().ok_or_else(|| Failure::usage("--file is missing"))?;
    let mut file = File::open(path).map_err(|error| Failure::of(format!("opening {}", path.display()), error))?;
    let (mut hasher, mut bytes) = (blake3::Hasher::new(), 0);
    let mut pace = Pace::new(voice, part.pace);
    let longest = (part.ring_bytes / RECORDS - HEADER_BYTES) as usize;
    let prefix = record::data(pass);
    let mut length = longest;
    while length == longest {
        (_, length) = logs.append(longest, &mut |space| {
            let Some((place, space)) = space.split_at_mut_checked(PREFIX_BYTES) else { return Ok(0) };
            place.copy_from_slice(&prefix);
            let read =
                fill(&mut file, space).map_err(|error| Failure::of(format!("reading {}", path.display()), error))?;
            hasher.update(space.get(..read).unwrap_or_default());
            bytes += read as u64;
            Ok(PREFIX_BYTES + read)
        })?;
        logs.hear()?;
        pace.tell(pass, bytes);
    }
    Ok(Tally { pass, last, bytes, digest: hasher.finalize().to_string() })
}

/// Waits for the receiver's tally of a pass.
fn tally(logs: &mut Logs<'_>, pass: u32) -> Result<Tally, Ended> {
    let (began, mut payload) = (Instant::now(), Vec::new());
    loop {
        while logs.read(&mut payload)?.is_some() {
            logs.applied();
            match record::decode(&payload) {
                Some(Record::End { tally }) if tally.pass == pass => return Ok(tally),
                _ => {}
            }
        }
        logs.hear()?;
        if began.elapsed() > PATIENCE {
            return Err(Failure::new(format!("the receiver told no tally for {} s", PATIENCE.as_secs())).into());
        }
        std::thread::yield_now();
    }
}

/// Reads until the space is full or the file ends.
fn fill(file: &mut File, space: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    loop {
        match file.read(space.get_mut(length..).unwrap_or_default()) {
            // The end, or no room left.
            Ok(0) => return Ok(length),
            Ok(read) => length += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
