//! One partner's two logs: its own, and the copy of the other's; and what happens to them.

use crate::cli::demo::protocol::{Cause, Order, Report, Voice};
use crate::cli::demo::worker::Told;
use crate::cli::failure::Failure;
use crate::cli::output::plain;
use handfast::Error;
use handfast::clients::mirrored_log::{
    CopyReader, LogCopy, LogError, LogEvent, LogThread, Lsn, MirroredLog, Producer, Record, ReserveError,
};
use handfast::fabric::FabricError;
use handfast::manager::Unavailable;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

/// Without any progress for this long the demo gives up: nothing it does takes that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How something came to its end before its end.
pub(crate) enum Ended {
    /// The partner is gone.
    Lost,
    /// Nothing more is wanted.
    Stop,
    Failed(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// One partner's two logs.
pub(crate) struct Logs<'a> {
    log: MirroredLog,
    producer: Producer,
    reader: CopyReader,
    thread: LogThread,
    told: Receiver<Told>,
    voice: &'a Voice,
    /// Whether the partner has a whole copy of this log.
    mirrored: bool,
    /// Where that began when it was last whole.
    whole_from: Lsn,
    /// The next thing that is wanted.
    wanted: Option<Order>,
}

impl<'a> Logs<'a> {
    pub(crate) fn new(
        log: MirroredLog,
        copy: &LogCopy,
        thread: LogThread,
        told: Receiver<Told>,
        voice: &'a Voice,
    ) -> Self {
        let (producer, reader) = (log.producer("demo"), copy.reader());
        Self { log, producer, reader, thread, told, voice, mirrored: false, whole_from: Lsn::ZERO, wanted: None }
    }

    /// Whether the partner has a whole copy of this log.
    pub(crate) fn is_mirrored(&self) -> bool {
        self.mirrored
    }

    /// Waits for a session in which the partner has a whole copy; whether that holds the record at `lsn` and all behind it.
    pub(crate) fn regain(&mut self, lsn: Lsn) -> Result<bool, Ended> {
        while !self.mirrored {
            self.listen()?;
        }
        Ok(self.whole_from <= lsn)
    }

    /// What is wanted.
    pub(crate) fn take_order(&mut self) -> Option<Order> {
        self.wanted.take()
    }

    /// Waits a moment for whatever comes.
    pub(crate) fn listen(&mut self) -> Result<(), Ended> {
        match self.told.recv_timeout(Duration::from_millis(1)) {
            Ok(Told::Order(order)) => self.wanted = Some(order),
            Ok(Told::End) | Err(RecvTimeoutError::Disconnected) => return Err(Ended::Stop),
            Err(RecvTimeoutError::Timeout) => {}
        }
        self.hear()
    }

    /// Takes in what has happened, without waiting.
    pub(crate) fn hear(&mut self) -> Result<(), Ended> {
        match self.told.try_recv() {
            Ok(Told::Order(order)) => self.wanted = Some(order),
            Ok(Told::End) | Err(TryRecvError::Disconnected) => return Err(Ended::Stop),
            Err(TryRecvError::Empty) => {}
        }
        while let Ok(event) = self.thread.events().try_recv() {
            match event {
                LogEvent::Mirrored { tail, refilled } => {
                    (self.mirrored, self.whole_from) = (true, tail);
                    self.voice.tell(Report::Whole { refilled });
                }
                LogEvent::Lost { .. } | LogEvent::Broken(_) if self.mirrored => {
                    self.mirrored = false;
                    let status = self.log.status();
                    self.voice.tell(Report::Stopped { unacknowledged: status.head.0 - status.durable.0 });
                    return Err(Ended::Lost);
                }
                LogEvent::Unavailable(reason) => self.voice.tell(unavailable(&reason)),
                LogEvent::Ended(error) => return Err(Ended::Failed(Failure::new(error))),
                LogEvent::Stalled { .. } | LogEvent::KeepFailed(_) => {
                    self.voice.tell(Report::Note { text: plain(format_args!("{event:?}")) });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Appends a record of `bytes` bytes, which `fill` writes in place, as many as it then says; waits for room. What the partner has applied
    /// makes room.
    pub(crate) fn append(
        &mut self,
        bytes: usize,
        fill: &mut dyn FnMut(&mut [u8]) -> Result<usize, Failure>,
    ) -> Result<(Lsn, usize), Ended> {
        let mut began = (Instant::now(), self.log.status().tail);
        let producer = self.producer.clone();
        loop {
            match producer.reserve(bytes) {
                Ok(mut space) => {
                    let filled = fill(&mut space)?;
                    if filled == bytes {
                        return Ok((space.commit(), filled));
                    }
                    // Shorter than thought: its place becomes a hole that readers skip, and what there is moves behind it.
                    let rest = space.get(..filled).unwrap_or_default().to_vec();
                    drop(space);
                    return self.append(filled, &mut |space| {
                        space.copy_from_slice(&rest);
                        Ok(filled)
                    });
                }
                Err(ReserveError::Full | ReserveError::NotOpen) => {}
                Err(error) => return Err(Ended::Failed(Failure::new(error))),
            }
            self.hear()?;
            self.free()?;
            let tail = self.log.status().tail;
            if tail != began.1 {
                began = (Instant::now(), tail);
            }
            if began.0.elapsed() > PATIENCE {
                let (seconds, status) = (PATIENCE.as_secs(), self.log.status());
                let waiting = format!(
                    "the partner took nothing of the log for {seconds} s: {status:?}, applied {:?}",
                    self.log.applied()
                );
                return Err(Failure::new(waiting).into());
            }
            std::thread::yield_now();
        }
    }

    /// Gives up what is acknowledged, as far as the partner has applied it.
    pub(crate) fn free(&self) -> Result<(), Failure> {
        match self.log.truncate(self.log.durable()) {
            Ok(()) | Err(LogError::NotOpen) => Ok(()),
            Err(error) => Err(Failure::new(error)),
        }
    }

    /// Waits until the record at `lsn` is in the partner's memory.
    pub(crate) fn until_durable(&mut self, lsn: Lsn) -> Result<(), Ended> {
        let began = Instant::now();
        while self.log.durable() <= lsn {
            self.hear()?;
            if began.elapsed() > PATIENCE {
                let (seconds, status) = (PATIENCE.as_secs(), self.log.status());
                return Err(Failure::new(format!("no acknowledgement for {seconds} s: {status:?}")).into());
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    /// The next record of the partner's log, if there is one.
    pub(crate) fn read(&mut self, payload: &mut Vec<u8>) -> Result<Option<Record>, Failure> {
        match self.reader.next_into(payload) {
            Ok(record) => Ok(record),
            // The partner is a new process with a new log: from its beginning, with the next call.
            Err(LogError::Replaced { .. } | LogError::Overrun { .. }) => Ok(None),
            Err(error) => Err(Failure::new(error)),
        }
    }

    /// A record of the partner's was taken in: there is room for another.
    pub(crate) fn applied(&self) {
        self.reader.applied();
    }
}

/// A log that cannot be served; what is to be done about it depends on the cause.
fn unavailable(reason: &Unavailable) -> Report {
    let cause = match reason {
        Unavailable::FailedHere(Error::Memory(error) | Error::Fabric(FabricError::Memory(error)))
            if Failure::memory(error).is_lock_limit() =>
        {
            Cause::LockLimit
        }
        Unavailable::FailedThere => Cause::Partner,
        _ => Cause::Other,
    };
    Report::Failed { error: plain(reason), cause }
}
