//! The receiving half: copies each chunk out of the memory it granted, hashes it, and WRITEs back how many it took.

use crate::cli::args::WorkerArguments;
use crate::cli::demo::CHUNKS;
use crate::cli::demo::protocol::{Chunk, Report, tell};
use crate::cli::demo::worker::Told;
use crate::cli::failure::Failure;
use handfast::fabric::shm::{Shm, ShmPort};
use handfast::fabric::{Completion, Exposed, Operation, Port, WorkRequest};
use handfast::memory::Region;
use handfast::session::Session;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

/// Receives kept posted: more than chunks in the ring, so that no sender ever waits for one.
const RECEIVES: usize = 2 * CHUNKS;

/// What a session gives the receiver.
struct Ring {
    session: Box<Session<Shm>>,
    port: ShmPort,
    memory: Arc<Exposed>,
    taken: u64,
}

/// A pass as far as it has come.
struct Pass {
    number: u32,
    bytes: u64,
    hasher: blake3::Hasher,
    began: Instant,
}

pub(crate) fn run(arguments: &WorkerArguments, told: &Receiver<Told>) -> Result<(), Failure> {
    let mut ring = None;
    loop {
        let Some(open) = &mut ring else {
            match told.recv_timeout(Duration::from_secs(30)) {
                Ok(Told::Ready(session)) => ring = Some(Ring::new(session)?),
                Ok(Told::End) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            }
            continue;
        };
        if !receive(arguments, open, told)? {
            return Ok(());
        }
        ring = None;
    }
}

impl Ring {
    fn new(mut session: Box<Session<Shm>>) -> Result<Self, Failure> {
        let missing = || Failure::new("the session came without the port and the memory that were asked for");
        let mut port = session.take_ports().pop().ok_or_else(missing)?;
        let memory = Arc::clone(session.memory().ok_or_else(missing)?);
        // A WRITE with immediate consumes a receive and puts nothing into its buffer.
        let buffers = session
            .buffer(Region::builder(RECEIVES * 8).build().map_err(|error| Failure::memory(&error))?)?
            .split_at(RECEIVES * 8)
            .0
            .split_into(8);
        for (id, buffer) in buffers.into_iter().enumerate() {
            port.post_receive(WorkRequest::signalled(id as u64), buffer)
                .map_err(|refused| Failure::new(refused.reason))?;
        }
        Ok(Self { session, port, memory, taken: 0 })
    }

    /// WRITEs how many chunks were taken. False where the session is gone.
    fn credit(&mut self) -> Result<bool, Failure> {
        self.taken += 1;
        let grant = self.session.grant().ok_or_else(|| Failure::new("the session came without a grant"))?;
        Ok(self.port.post_write_inline(WorkRequest::signalled(0), &self.taken.to_le_bytes(), grant, 0).is_ok())
    }
}

/// Takes chunks until the session ends (true) or the supervisor wants an end (false).
fn receive(arguments: &WorkerArguments, ring: &mut Ring, told: &Receiver<Told>) -> Result<bool, Failure> {
    let mut pass: Option<Pass> = None;
    let mut chunk_bytes = vec![0; arguments.chunk_bytes as usize];
    let mut holding = false;
    loop {
        match told.try_recv() {
            Ok(Told::Lost) => return Ok(true),
            Ok(Told::End) | Err(TryRecvError::Disconnected) => return Ok(false),
            Ok(Told::Ready(_) | Told::Pass(_)) | Err(TryRecvError::Empty) => {}
        }
        let mut completions: [Completion; CHUNKS] = Default::default();
        let count = if holding { 0 } else { ring.port.poll(&mut completions) };
        if count == 0 {
            std::thread::yield_now();
        }
        for completion in completions.into_iter().take(count) {
            if !completion.is_success() {
                continue;
            }
            let (Operation::ReceiveWithImmediate, Some(immediate)) = (completion.operation, completion.immediate)
            else {
                continue;
            };
            if let Some(buffer) = completion.buffer {
                // A port that is in error takes no receive: the manager says so in a moment.
                let _ = ring.port.post_receive(WorkRequest::signalled(completion.id), buffer);
            }
            let chunk = Chunk::decode(immediate);
            let current = pass.get_or_insert_with(|| Pass::new(chunk.pass.into()));
            // The middle of the file, or before the end of one that is too small to have a middle.
            if arguments.hold == Some(current.number) && (chunk.last || current.bytes * 2 >= arguments.bytes) {
                holding = true;
                tell(&Report::Holding { bytes: current.bytes });
                break;
            }
            current.take(ring, chunk, &mut chunk_bytes)?;
            if !ring.credit()? {
                continue;
            }
            if chunk.last
                && let Some(done) = pass.take()
            {
                done.tell();
            }
        }
    }
}

impl Pass {
    fn new(number: u32) -> Self {
        Self { number, bytes: 0, hasher: blake3::Hasher::new(), began: Instant::now() }
    }

    /// Copies a chunk out of the ring and hashes it.
    fn take(&mut self, ring: &Ring, chunk: Chunk, into: &mut [u8]) -> Result<(), Failure> {
        // What the sender says of the length is checked against the place it has.
        let place = ring.taken as usize % CHUNKS * into.len();
        let Some(into) = into.get_mut(..chunk.bytes as usize) else {
            return Err(Failure::new(format!("the sender claims a chunk of {} bytes", chunk.bytes)));
        };
        ring.memory.read(place, into)?;
        self.hasher.update(into);
        self.bytes += into.len() as u64;
        Ok(())
    }

    fn tell(self) {
        let (pass, bytes, seconds) = (self.number, self.bytes, self.began.elapsed().as_secs_f64());
        tell(&Report::Passed { pass, bytes, digest: self.hasher.finalize().to_string(), seconds });
    }
}
