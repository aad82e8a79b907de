//! The sending half: reads the file into pinned buffers and WRITEs them into the ring it was granted at the receiver.
//!
//! Chunk `n` goes to place `n mod 8` of the ring by one WRITE with immediate, whose completion at the receiver says that the bytes are in its
//! memory. The receiver WRITEs back how many chunks it took; that word is all the flow control there is.

use crate::cli::args::WorkerArguments;
use crate::cli::demo::CHUNKS;
use crate::cli::demo::protocol::{Chunk, Report, tell};
use crate::cli::demo::worker::Told;
use crate::cli::failure::Failure;
use handfast::fabric::shm::{Shm, ShmPort};
use handfast::fabric::{Completion, Exposed, Port, WorkRequest};
use handfast::memory::{Buffer, Region};
use handfast::session::Session;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

/// Without any progress for this long the demo gives up: nothing it does takes that long.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a session gives the sender.
struct Ring {
    session: Box<Session<Shm>>,
    port: ShmPort,
    credit: Arc<Exposed>,
    free: Vec<Buffer>,
    chunk_bytes: usize,
    sent: u64,
}

/// How a pass came to its end.
enum Ended {
    Complete,
    Lost,
    Stop,
}

pub(crate) fn run(arguments: &WorkerArguments, told: &Receiver<Told>) -> Result<(), Failure> {
    let path = arguments.file.as_ref().ok_or_else(|| Failure::usage("--file is missing"))?;
    let mut ring: Option<Ring> = None;
    let mut wanted: Option<u32> = None;
    loop {
        if let (Some(pass), Some(open)) = (wanted, &mut ring) {
            match stream(path, pass, open, told)? {
                Ended::Complete => wanted = None,
                Ended::Lost => flush(ring.take()),
                Ended::Stop => return Ok(()),
            }
            continue;
        }
        match told.recv_timeout(PATIENCE) {
            Ok(Told::Ready(session)) => ring = Some(Ring::new(session, arguments.chunk_bytes as usize)?),
            Ok(Told::Lost) => flush(ring.take()),
            Ok(Told::Pass(pass)) => wanted = Some(pass),
            Ok(Told::End) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) if wanted.is_some() => {
                return Err(Failure::new("no session to stream over for 30 s"));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

impl Ring {
    fn new(mut session: Box<Session<Shm>>, chunk_bytes: usize) -> Result<Self, Failure> {
        let missing = || Failure::new("the session came without the port and the memory that were asked for");
        let port = session.take_ports().pop().ok_or_else(missing)?;
        let credit = Arc::clone(session.memory().ok_or_else(missing)?);
        let region = Region::builder(chunk_bytes * CHUNKS).build().map_err(|error| Failure::memory(&error))?;
        let free = session.buffer(region)?.split_into(chunk_bytes);
        Ok(Self { session, port, credit, free, chunk_bytes, sent: 0 })
    }

    /// Chunks that the receiver took: the word it WRITEs.
    fn taken(&self) -> Result<u64, Failure> {
        Ok(u64::from_le(self.credit.load(0, Ordering::Acquire)?))
    }

    /// Takes buffers back. False where an operation failed: the session is gone, or about to be.
    fn reclaim(&mut self) -> bool {
        let mut completions: [Completion; CHUNKS] = Default::default();
        let count = self.port.poll(&mut completions);
        let mut good = true;
        for completion in completions.iter_mut().take(count) {
            good &= completion.is_success();
            self.free.extend(completion.buffer.take());
        }
        good
    }

    /// WRITEs one chunk. False where the session is gone.
    fn write(&mut self, mut buffer: Buffer, bytes: usize, chunk: Chunk) -> Result<bool, Failure> {
        let grant = self.session.grant().ok_or_else(|| Failure::new("the session came without a grant"))?;
        buffer.truncate(bytes);
        let place = self.sent % CHUNKS as u64 * self.chunk_bytes as u64;
        let request = WorkRequest::signalled(self.sent);
        match self.port.post_write_with_immediate(request, buffer, grant, place, chunk.encode()) {
            Ok(()) => {
                self.sent += 1;
                Ok(true)
            }
            // There are fewer chunks than the queue has places, so the one reason left is that the session is gone.
            Err(refused) => {
                self.free.push(refused.buffer);
                Ok(false)
            }
        }
    }
}

/// Gives a lost session's ring up, once every WRITE has ended and given its buffer back.
fn flush(ring: Option<Ring>) {
    let Some(mut ring) = ring else { return };
    ring.port.close();
    let began = Instant::now();
    while ring.free.len() < CHUNKS && began.elapsed() < PATIENCE {
        ring.reclaim();
    }
    tell(&Report::Flushed { buffers: ring.free.len(), of: CHUNKS });
}

/// Streams the whole file once.
fn stream(path: &std::path::Path, pass: u32, ring: &mut Ring, told: &Receiver<Told>) -> Result<Ended, Failure> {
    let mut file = File::open(path).map_err(|error| Failure::of(format!("opening {}", path.display()), error))?;
    let (mut hasher, began, mut bytes) = (blake3::Hasher::new(), Instant::now(), 0u64);
    let mut progress = Pace::new();
    let mut last = false;
    while !last {
        let buffer = match buffer(ring, told)? {
            Ok(buffer) => buffer,
            Err(ended) => return Ok(ended),
        };
        let (buffer, length) =
            fill(&mut file, buffer).map_err(|error| Failure::of(format!("reading {}", path.display()), error))?;
        hasher.update(&buffer.as_slice()[..length]);
        bytes += length as u64;
        last = length < ring.chunk_bytes;
        let chunk = Chunk { bytes: length as u32, pass: pass as u8, last };
        // A WRITE has at least one byte: the receiver goes by the immediate data.
        if !ring.write(buffer, length.max(1), chunk)? {
            return lost(told);
        }
        progress.tell(bytes);
    }
    while ring.taken()? < ring.sent {
        match turn(ring, told, began.elapsed())? {
            None => {}
            Some(ended) => return Ok(ended),
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    tell(&Report::Passed { pass, bytes, digest: hasher.finalize().to_string(), seconds });
    Ok(Ended::Complete)
}

/// Waits for a buffer and for a place in the ring.
fn buffer(ring: &mut Ring, told: &Receiver<Told>) -> Result<Result<Buffer, Ended>, Failure> {
    let began = Instant::now();
    loop {
        let room = ring.sent - ring.taken()?.min(ring.sent) < CHUNKS as u64;
        if room && let Some(mut buffer) = ring.free.pop() {
            buffer.restore();
            return Ok(Ok(buffer));
        }
        if let Some(ended) = turn(ring, told, began.elapsed())? {
            return Ok(Err(ended));
        }
    }
}

/// One turn of waiting.
fn turn(ring: &mut Ring, told: &Receiver<Told>, waited: Duration) -> Result<Option<Ended>, Failure> {
    if !ring.reclaim() {
        return lost(told).map(Some);
    }
    match told.try_recv() {
        Ok(Told::Lost) => return Ok(Some(Ended::Lost)),
        Ok(Told::End) | Err(TryRecvError::Disconnected) => return Ok(Some(Ended::Stop)),
        Ok(Told::Ready(_) | Told::Pass(_)) | Err(TryRecvError::Empty) => {}
    }
    if waited > PATIENCE {
        return Err(Failure::new("the receiver took nothing for 30 s"));
    }
    std::thread::yield_now();
    Ok(None)
}

/// An operation failed: the manager says so in a moment.
fn lost(told: &Receiver<Told>) -> Result<Ended, Failure> {
    loop {
        match told.recv_timeout(PATIENCE) {
            Ok(Told::Lost) => return Ok(Ended::Lost),
            Ok(Told::End) | Err(RecvTimeoutError::Disconnected) => return Ok(Ended::Stop),
            Ok(Told::Ready(_) | Told::Pass(_)) => {}
            Err(RecvTimeoutError::Timeout) => {
                return Err(Failure::new("an operation failed, and the session was not reported lost for 30 s"));
            }
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, mut buffer: Buffer) -> std::io::Result<(Buffer, usize)> {
    let mut length = 0;
    loop {
        let rest = &mut buffer.as_mut_slice()[length..];
        match file.read(rest) {
            // The end, or no room left in the buffer.
            Ok(0) => return Ok((buffer, length)),
            Ok(read) => length += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Tells of progress, ten times a second at most.
struct Pace(Instant);

impl Pace {
    fn new() -> Self {
        Self(Instant::now())
    }
    fn tell(&mut self, bytes: u64) {
        if self.0.elapsed() > Duration::from_millis(100) {
            self.0 = Instant::now();
            tell(&Report::Progress { bytes });
        }
    }
}
