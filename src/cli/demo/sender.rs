//! The sending half: reads the file into pinned buffers and WRITEs them into the ring it was granted at the receiver.
//!
//! Chunk `n` goes to place `n mod 8` of the ring by one WRITE with immediate, whose completion at the receiver says that the bytes are in its
//! memory. The receiver WRITEs back how many chunks it took; that word is all the flow control there is.
//! When all are taken the two SEND each other their tallies, the receiver first.

use crate::cli::demo::CHUNKS;
use crate::cli::demo::protocol::{Chunk, Order, Pace, Report, Voice};
use crate::cli::demo::tally::{self, Tally};
use crate::cli::demo::worker::{Part, Told};
use crate::cli::failure::Failure;
use handfast::fabric::{Completion, Exposed, Fabric, Operation, Port, WorkCompletionStatus, WorkRequest};
use handfast::memory::{Buffer, Region};
use handfast::session::Session;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

/// Without any progress for this long the demo gives up: nothing it does takes that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Receives kept posted: for the receiver's tally, and one more.
const RECEIVES: usize = 2;

/// What a session gives the sender.
struct Ring<F: Fabric> {
    session: Box<Session<F>>,
    port: F::Port,
    credit: Arc<Exposed>,
    free: Vec<Buffer>,
    /// To send the tally from, while it is here.
    outgoing: Option<Buffer>,
    /// The receiver's tally, once it came.
    there: Option<Tally>,
    chunk_bytes: usize,
    /// Chunks and tallies sent.
    sent: u64,
    /// How the first operation that failed did so.
    failed: Option<WorkCompletionStatus>,
    /// Its session ended as the last thing it was needed for was done.
    over: bool,
}

/// How a pass came to its end before its end.
enum Ended {
    Lost,
    Stop,
}

/// What the sender waits with: its part's words and orders.
struct Waiting<'a, F: Fabric> {
    part: &'a Part,
    told: &'a Receiver<Told<F>>,
    voice: &'a Voice,
}

pub(crate) fn run<F: Fabric>(part: &Part, told: &Receiver<Told<F>>, voice: &Voice) -> Result<(), Failure> {
    let waiting = Waiting { part, told, voice };
    let mut ring: Option<Ring<F>> = None;
    let mut wanted: Option<(u32, bool)> = None;
    let mut alone_since = Instant::now();
    loop {
        if let (Some((pass, last)), Some(open)) = (wanted, &mut ring) {
            match waiting.stream(pass, last, open)? {
                Ok(report) => {
                    wanted = None;
                    voice.tell(report);
                    if open.over {
                        flush(ring.take(), voice);
                    }
                }
                Err(Ended::Lost) => flush(ring.take(), voice),
                Err(Ended::Stop) => return Ok(()),
            }
            alone_since = Instant::now();
            continue;
        }
        match told.recv_timeout(Duration::from_millis(100)) {
            Ok(Told::Ready(session)) => ring = Ring::new(session, part.chunk_bytes as usize)?,
            Ok(Told::Lost) => flush(ring.take(), voice),
            Ok(Told::Order(Order::Pass { number, last })) => {
                wanted = Some((number, last));
                alone_since = Instant::now();
            }
            Ok(Told::End) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {
                let waited = alone_since.elapsed();
                if wanted.is_some() && part.session_wait_max.is_some_and(|max| waited > max) {
                    return Err(Failure::new(format!("no session to stream over for {} s", waited.as_secs())));
                }
            }
        }
    }
}

impl<F: Fabric> Ring<F> {
    /// None where the session has ended meanwhile.
    fn new(mut session: Box<Session<F>>, chunk_bytes: usize) -> Result<Option<Self>, Failure> {
        let missing = || Failure::new("the session came without the port and the memory that were asked for");
        let mut port = session.take_ports().pop().ok_or_else(missing)?;
        let credit = Arc::clone(session.memory().ok_or_else(missing)?);
        let (free, (outgoing, receives)) = match buffers(&session, chunk_bytes) {
            Err(_) if !session.is_live() => return Ok(None),
            buffers => buffers?,
        };
        for (id, buffer) in receives.into_iter().enumerate() {
            if port.post_receive(WorkRequest::signalled(id as u64), buffer).is_err() {
                return Ok(None);
            }
        }
        let (outgoing, there, failed) = (Some(outgoing), None, None);
        Ok(Some(Self { session, port, credit, free, outgoing, there, chunk_bytes, sent: 0, failed, over: false }))
    }

    /// Chunks and tallies that the receiver took: the word it WRITEs.
    fn taken(&self) -> Result<u64, Failure> {
        Ok(u64::from_le(self.credit.load(0, Ordering::Acquire)?))
    }

    /// Takes back what has ended. False where an operation failed: the session is gone, or about to be.
    fn reclaim(&mut self) -> bool {
        let mut completions: [Completion; CHUNKS] = Default::default();
        let count = self.port.poll(&mut completions);
        for completion in completions.into_iter().take(count) {
            if !completion.is_success() {
                self.failed.get_or_insert(completion.status);
            }
            match completion.operation {
                Operation::Receive if completion.is_success() => self.receive(completion),
                Operation::Receive | Operation::ReceiveWithImmediate => {}
                Operation::Send => self.outgoing = completion.buffer,
                _ => self.free.extend(completion.buffer),
            }
        }
        self.failed.is_none()
    }

    /// Keeps the receiver's tally, and offers the buffer anew.
    fn receive(&mut self, completion: Completion) {
        let Some(mut buffer) = completion.buffer else { return };
        self.there = buffer.as_slice().get(..completion.bytes as usize).and_then(Tally::decode);
        buffer.restore();
        // A port that is in error takes none: the manager says so in a moment.
        let _ = self.port.post_receive(WorkRequest::signalled(completion.id), buffer);
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

    /// SENDs the tally of a pass. False where the session is gone.
    fn send(&mut self, tally: &Tally) -> Result<bool, Failure> {
        let missing = || Failure::new("the tally of the pass before was never taken by the receiver");
        let mut buffer = self.outgoing.take().ok_or_else(missing)?;
        tally.encode(buffer.as_mut_slice())?;
        self.sent += 1;
        Ok(self.port.post_send(WorkRequest::signalled(self.sent), buffer).is_ok())
    }
}

/// What a session's memory is cut into: chunks, and what tallies need.
type Buffers = (Vec<Buffer>, (Buffer, Vec<Buffer>));

fn buffers<F: Fabric>(session: &Session<F>, chunk_bytes: usize) -> Result<Buffers, Failure> {
    let region = Region::builder(chunk_bytes * CHUNKS).build().map_err(|error| Failure::memory(&error))?;
    let (chunks, _) = session.buffer(region)?.split_at(chunk_bytes * CHUNKS);
    Ok((chunks.split_into(chunk_bytes), tally::buffers(session, RECEIVES)?))
}

/// Gives a lost session's ring up, once every WRITE has ended and given its buffer back.
fn flush<F: Fabric>(ring: Option<Ring<F>>, voice: &Voice) {
    let Some(mut ring) = ring else { return };
    ring.port.close();
    let began = Instant::now();
    while ring.free.len() < CHUNKS && began.elapsed() < PATIENCE {
        ring.reclaim();
        std::thread::yield_now();
    }
    voice.tell(Report::Flushed { buffers: ring.free.len(), of: CHUNKS });
}

impl<F: Fabric> Waiting<'_, F> {
    /// Streams the whole file once, and compares tallies with the receiver.
    fn stream(&self, pass: u32, last: bool, ring: &mut Ring<F>) -> Result<Result<Report, Ended>, Failure> {
        let began = Instant::now();
        let here = match self.chunks(pass, last, ring)? {
            Ok(here) => here,
            Err(ended) => return Ok(Err(ended)),
        };
        if let Err(ended) = self.until(ring, |ring| Ok((ring.taken()? >= ring.sent).then_some(())))? {
            return Ok(Err(ended));
        }
        let seconds = began.elapsed().as_secs_f64();
        let there = match self.until(ring, |ring| Ok(ring.there.take()))? {
            Ok(there) => there,
            Err(ended) => return Ok(Err(ended)),
        };
        if !ring.send(&here)? {
            return self.lost(ring).map(Err);
        }
        let done = |ring: &mut Ring<F>| Ok((ring.taken()? >= ring.sent).then_some(()));
        match self.until(ring, done)? {
            // A receiver that wants no more leaves as soon as it has said that it has all.
            Err(Ended::Lost) if done(ring)?.is_some() => ring.over = true,
            Err(ended) => return Ok(Err(ended)),
            Ok(()) => {}
        }
        Ok(Ok(Report::Passed { here, there, seconds }))
    }

    /// WRITEs every chunk of the file.
    fn chunks(&self, pass: u32, last: bool, ring: &mut Ring<F>) -> Result<Result<Tally, Ended>, Failure> {
        let path = self.part.file.as_ref().ok_or_else(|| Failure::usage("--file is missing"))?;
        let mut file = File::open(path).map_err(|error| Failure::of(format!("opening {}", path.display()), error))?;
        let (mut hasher, mut bytes) = (blake3::Hasher::new(), 0u64);
        let mut pace = Pace::new(self.voice, self.part.pace);
        let mut length = ring.chunk_bytes;
        while length == ring.chunk_bytes {
            let mut buffer = match self.until(ring, |ring| {
                let room = ring.sent - ring.taken()?.min(ring.sent) < CHUNKS as u64;
                Ok(if room { ring.free.pop() } else { None })
            })? {
                Ok(buffer) => buffer,
                Err(ended) => return Ok(Err(ended)),
            };
            buffer.restore();
            (buffer, length) =
                fill(&mut file, buffer).map_err(|error| Failure::of(format!("reading {}", path.display()), error))?;
            hasher.update(&buffer.as_slice()[..length]);
            bytes += length as u64;
            let chunk = Chunk { bytes: length as u32, pass: pass as u8, last: length < ring.chunk_bytes };
            // A WRITE has at least one byte: the receiver goes by the immediate data.
            if !ring.write(buffer, length.max(1), chunk)? {
                return self.lost(ring).map(Err);
            }
            pace.tell(pass, bytes);
        }
        Ok(Ok(Tally { pass, last, bytes, digest: hasher.finalize().to_string() }))
    }

    /// Waits for something that comes from the receiver, or from its taking what was sent.
    fn until<T>(
        &self,
        ring: &mut Ring<F>,
        mut wanted: impl FnMut(&mut Ring<F>) -> Result<Option<T>, Failure>,
    ) -> Result<Result<T, Ended>, Failure> {
        let mut began = Instant::now();
        let mut taken = ring.taken()?;
        loop {
            if let Some(found) = wanted(ring)? {
                return Ok(Ok(found));
            }
            if !ring.reclaim() {
                return self.lost(ring).map(Err);
            }
            match self.told.try_recv() {
                Ok(Told::Lost) => return Ok(Err(Ended::Lost)),
                Ok(Told::End) | Err(TryRecvError::Disconnected) => return Ok(Err(Ended::Stop)),
                Ok(Told::Ready(_) | Told::Order(_)) | Err(TryRecvError::Empty) => {}
            }
            let now_taken = ring.taken()?;
            if now_taken != taken {
                (began, taken) = (Instant::now(), now_taken);
            }
            if began.elapsed() > PATIENCE {
                return Err(Failure::new(format!("the receiver took nothing for {} s", PATIENCE.as_secs())));
            }
            std::thread::yield_now();
        }
    }

    /// An operation failed: the manager says so in a moment.
    fn lost(&self, ring: &Ring<F>) -> Result<Ended, Failure> {
        loop {
            match self.told.recv_timeout(PATIENCE) {
                Ok(Told::Lost) => return Ok(Ended::Lost),
                Ok(Told::End) | Err(RecvTimeoutError::Disconnected) => return Ok(Ended::Stop),
                Ok(Told::Ready(_) | Told::Order(_)) => {}
                Err(RecvTimeoutError::Timeout) => {
                    let status = ring.failed.unwrap_or(WorkCompletionStatus::Flushed);
                    return Err(Failure::new(format!(
                        "an operation failed ({status}), and the session was not reported lost for {} s",
                        PATIENCE.as_secs()
                    )));
                }
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
