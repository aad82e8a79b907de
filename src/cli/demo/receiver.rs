//! The receiving half: copies each chunk out of the memory it granted, hashes it, and WRITEs back how many it took. At the end of a pass it
//! SENDs its tally; the sender's own, which comes back, ends the pass here.

use crate::cli::demo::CHUNKS;
use crate::cli::demo::protocol::{Chunk, Order, Pace, Report, Voice};
use crate::cli::demo::tally::{self, Tally};
use crate::cli::demo::worker::{Part, Told};
use crate::cli::failure::Failure;
use handfast::fabric::{Completion, Exposed, Fabric, Operation, Port, WorkRequest};
use handfast::memory::Buffer;
use handfast::session::Session;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Instant;

/// Receives kept posted: more than chunks in the ring, so that no sender ever waits for one.
const RECEIVES: usize = 2 * CHUNKS;

/// What a session gives the receiver.
struct Ring<F: Fabric> {
    session: Box<Session<F>>,
    port: F::Port,
    memory: Arc<Exposed>,
    /// To send the tally from, while it is here.
    outgoing: Option<Buffer>,
    /// Chunks and tallies taken.
    taken: u64,
    /// A chunk, copied out.
    chunk: Vec<u8>,
    /// The pass that goes on.
    pass: Option<Pass>,
    /// A pass that is through, and waits for the sender's tally.
    counted: Option<Counted>,
    /// A pass that both have counted: told as soon as the sender can know that, which is when this WRITE is done.
    passed: Option<(u64, Report)>,
    holding: bool,
}

/// A pass as far as it has come.
struct Pass {
    number: u32,
    bytes: u64,
    hasher: blake3::Hasher,
    began: Instant,
}

/// A pass of which every chunk was taken.
struct Counted {
    here: Tally,
    seconds: f64,
}

pub(crate) fn run<F: Fabric>(part: &Part, told: &Receiver<Told<F>>, voice: &Voice) -> Result<(), Failure> {
    let mut ring = None;
    loop {
        let Some(open) = &mut ring else {
            match told.recv() {
                Ok(Told::Ready(session)) => ring = Ring::new(session)?,
                Ok(Told::End) | Err(_) => return Ok(()),
                Ok(Told::Lost | Told::Order(Order::Pass { .. })) => {}
            }
            continue;
        };
        let goes_on = receive(part, open, told, voice)?;
        if let Some((_, passed)) = open.passed.take() {
            voice.tell(passed);
        }
        if !goes_on {
            return Ok(());
        }
        ring = None;
    }
}

/// Takes what comes until the session ends (true) or nothing more is wanted (false).
fn receive<F: Fabric>(
    part: &Part,
    ring: &mut Ring<F>,
    told: &Receiver<Told<F>>,
    voice: &Voice,
) -> Result<bool, Failure> {
    let mut pace = Pace::new(voice, part.pace);
    loop {
        match told.try_recv() {
            Ok(Told::Lost) => return Ok(true),
            Ok(Told::End) | Err(TryRecvError::Disconnected) => return Ok(false),
            Ok(Told::Ready(_) | Told::Order(_)) | Err(TryRecvError::Empty) => {}
        }
        let mut completions: [Completion; CHUNKS] = Default::default();
        let count = if ring.holding { 0 } else { ring.port.poll(&mut completions) };
        if count == 0 {
            std::thread::yield_now();
        }
        for completion in completions.into_iter().take(count) {
            if ring.holding {
                break;
            }
            // What fails does so for the end of the session: the manager says that in a moment.
            if completion.is_success() {
                ring.take(completion, part, &mut pace, voice)?;
            }
        }
    }
}

impl<F: Fabric> Ring<F> {
    /// None where the session has ended meanwhile.
    fn new(mut session: Box<Session<F>>) -> Result<Option<Self>, Failure> {
        let missing = || Failure::new("the session came without the port and the memory that were asked for");
        let mut port = session.take_ports().pop().ok_or_else(missing)?;
        let memory = Arc::clone(session.memory().ok_or_else(missing)?);
        // A WRITE with immediate consumes a receive and puts nothing into its buffer; a SEND fills it.
        let (outgoing, buffers) = match tally::buffers(&session, RECEIVES) {
            Err(_) if !session.is_live() => return Ok(None),
            buffers => buffers?,
        };
        for (id, buffer) in buffers.into_iter().enumerate() {
            if port.post_receive(WorkRequest::signalled(id as u64), buffer).is_err() {
                return Ok(None);
            }
        }
        // The sender asked for as many places as the ring has, of the size that it chose.
        let chunk = vec![0; memory.len() / CHUNKS];
        let outgoing = Some(outgoing);
        let (pass, counted, passed) = (None, None, None);
        Ok(Some(Self { session, port, memory, outgoing, taken: 0, chunk, pass, counted, passed, holding: false }))
    }

    fn take(
        &mut self,
        mut completion: Completion,
        part: &Part,
        pace: &mut Pace<'_>,
        voice: &Voice,
    ) -> Result<(), Failure> {
        match completion.operation {
            Operation::ReceiveWithImmediate => {
                let chunk = Chunk::decode(completion.immediate.unwrap_or_default());
                self.receive_again(completion);
                self.chunk(chunk, part, pace, voice)
            }
            Operation::Receive => {
                let message = completion.buffer.as_ref().map(Buffer::as_slice).unwrap_or_default();
                let there = Tally::decode(message.get(..completion.bytes as usize).unwrap_or_default());
                self.receive_again(completion);
                self.tally(there)
            }
            Operation::Send => {
                self.outgoing = completion.buffer.take();
                Ok(())
            }
            // The sender has the word that it waited for.
            _ => {
                if let Some((_, report)) = self.passed.take_if(|(id, _)| *id <= completion.id) {
                    voice.tell(report);
                }
                Ok(())
            }
        }
    }

    /// Offers a receive's buffer anew. A port that is in error takes none: the manager says so in a moment.
    fn receive_again(&mut self, completion: Completion) {
        if let Some(mut buffer) = completion.buffer {
            buffer.restore();
            let _ = self.port.post_receive(WorkRequest::signalled(completion.id), buffer);
        }
    }

    fn chunk(&mut self, chunk: Chunk, part: &Part, pace: &mut Pace<'_>, voice: &Voice) -> Result<(), Failure> {
        let pass = self.pass.get_or_insert_with(|| Pass::new(chunk.pass.into()));
        // The middle of the file, or before the end of one that is too small to have a middle.
        if part.hold == Some(pass.number) && (chunk.last || pass.bytes * 2 >= part.bytes) {
            self.holding = true;
            voice.tell(Report::Holding { bytes: pass.bytes });
            return Ok(());
        }
        // What the sender says of the length is checked against the place it has.
        let place = self.taken as usize % CHUNKS * self.chunk.len();
        let Some(into) = self.chunk.get_mut(..chunk.bytes as usize) else {
            return Err(Failure::new(format!("the sender claims a chunk of {} bytes", chunk.bytes)));
        };
        self.memory.read(place, into)?;
        pass.hasher.update(into);
        pass.bytes += into.len() as u64;
        pace.tell(pass.number, pass.bytes);
        self.credit()?;
        match self.pass.take_if(|_| chunk.last) {
            Some(pass) => self.count(pass.end()),
            None => Ok(()),
        }
    }

    /// SENDs the tally of a pass.
    fn count(&mut self, counted: Counted) -> Result<(), Failure> {
        let missing = || Failure::new("the tally of the pass before was never taken by the sender");
        let mut buffer = self.outgoing.take().ok_or_else(missing)?;
        counted.here.encode(buffer.as_mut_slice())?;
        self.counted = Some(counted);
        // Where it is refused the session is gone: the manager says so in a moment.
        let _ = self.port.post_send(WorkRequest::signalled(self.taken), buffer);
        Ok(())
    }

    /// The sender's tally of the pass that is through.
    fn tally(&mut self, there: Option<Tally>) -> Result<(), Failure> {
        let (Some(Counted { here, seconds }), Some(there)) = (self.counted.take(), there) else {
            return Err(Failure::new("the sender sent a message that has no meaning here"));
        };
        self.credit()?;
        self.passed = Some((self.taken, Report::Passed { here, there, seconds }));
        Ok(())
    }

    /// WRITEs how many chunks and tallies were taken. Where that is refused the session is gone: the manager says so in a moment.
    fn credit(&mut self) -> Result<(), Failure> {
        self.taken += 1;
        let grant = self.session.grant().ok_or_else(|| Failure::new("the session came without a grant"))?;
        let _ = self.port.post_write_inline(WorkRequest::signalled(self.taken), &self.taken.to_le_bytes(), grant, 0);
        Ok(())
    }
}

impl Pass {
    fn new(number: u32) -> Self {
        Self { number, bytes: 0, hasher: blake3::Hasher::new(), began: Instant::now() }
    }

    fn end(self) -> Counted {
        let seconds = self.began.elapsed().as_secs_f64();
        let digest = self.hasher.finalize().to_string();
        Counted { here: Tally { pass: self.number, last: false, bytes: self.bytes, digest }, seconds }
    }
}
