//! A node with three clients: a log acknowledged when received, one acknowledged when placed, and a plain port beside them in the same session.

use crate::control::Stalled;
use crate::nodes::{Side, config};
use handfast::clients::mirrored_log::{Acknowledge, LogConfig, LogEvent, LogPoller, MirroredLog};
use handfast::fabric::shm::{Shm, ShmPort, ShmRemote};
use handfast::fabric::{Completion, Port, PortOptions, WorkRequest};
use handfast::manager::{Client, ClientSpec, ClusterManager, LostReason, Unavailable};
use handfast::memory::{Buffer, Region};
use handfast::session::Session;
use std::error::Error;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Bytes of each log's ring.
pub(crate) const RING_BYTES: u64 = 16 << 20;
/// The longest record.
pub(crate) const RECORD_BYTES_MAX: usize = 64 << 10;

/// Where both managers listen, in the name of the measuring process.
const MANAGERS: (u16, u16) = (21, 22);

/// One log of a node.
pub(crate) struct Log {
    /// Its handle.
    pub(crate) log: MirroredLog,
    /// Its poller.
    pub(crate) poller: LogPoller<Shm>,
}

/// One node.
pub(crate) struct Node {
    manager: ClusterManager<Shm>,
    /// Acknowledged when received.
    pub(crate) received: Log,
    /// Acknowledged when placed.
    pub(crate) placed: Log,
    taken: Receiver<Session<Shm>>,
    plain: Option<Plain>,
}

/// The plain port.
pub(crate) struct Plain {
    _session: Session<Shm>,
    port: ShmPort,
    grant: ShmRemote,
    buffer: Option<Buffer>,
}

struct Taker(Sender<Session<Shm>>);

impl Client<Shm> for Taker {
    fn on_ready(&mut self, session: Session<Shm>) {
        let _ = self.0.send(session);
    }
    fn on_lost(&mut self, _: &LostReason) {}
    fn on_unavailable(&mut self, _: &Unavailable) {}
}

impl Node {
    /// Boots it and waits until its logs are mirrored and its port is there.
    pub(crate) fn open(side: Side, run: u32) -> Result<Self, Box<dyn Error>> {
        let (sender, taken) = channel();
        let mut manager = ClusterManager::boot(Shm::new(), config(side, run, MANAGERS)?)?;
        let mut open = |name: &str, level| -> Result<Log, Box<dyn Error>> {
            let config = LogConfig::new(name.parse()?).ring_bytes(RING_BYTES).pinned(false).acknowledge(level);
            let (log, poller, _) = MirroredLog::open(config, &mut manager)?;
            Ok(Log { log, poller })
        };
        let (received, placed) = (open("received", Acknowledge::Received)?, open("placed", Acknowledge::Placed)?);
        let spec = ClientSpec::new("plain".parse()?).memory(RING_BYTES).port_options(PortOptions::new());
        manager.client(spec, Box::new(Taker(sender)))?;
        manager.open();
        let mut node = Self { manager, received, placed, taken, plain: None };
        let (began, mut mirrored) = (Instant::now(), 0);
        while mirrored < 2 || node.plain.is_none() {
            node.tend()?;
            mirrored += node.mirrored()?;
            if let Ok(session) = node.taken.try_recv() {
                node.plain = Some(Plain::new(session)?);
            }
            if began.elapsed() > Duration::from_secs(20) {
                return Err(Stalled.into());
            }
        }
        Ok(node)
    }

    /// Events of both logs: how many became mirrored; an error where one is of no more use.
    fn mirrored(&mut self) -> Result<usize, Box<dyn Error>> {
        let mut count = 0;
        for log in [&mut self.received, &mut self.placed] {
            while let Some(event) = log.poller.next_event() {
                match event {
                    LogEvent::Mirrored { .. } => count += 1,
                    LogEvent::Lost { .. } | LogEvent::Broken(_) | LogEvent::Ended(_) | LogEvent::Unavailable(_) => {
                        return Err(format!("a log is of no more use: {event:?}").into());
                    }
                    _ => {}
                }
            }
        }
        Ok(count)
    }

    /// Lets the manager do what is due, which is little but its heartbeat.
    pub(crate) fn beat(&mut self) {
        while self.manager.poll().is_some() {}
    }

    /// Lets manager and logs do what is due. Between measurements only.
    pub(crate) fn tend(&mut self) -> Result<(), Box<dyn Error>> {
        self.beat();
        for log in [&mut self.received, &mut self.placed] {
            for _ in 0..64 {
                log.poller.poll();
            }
        }
        Ok(())
    }

    /// The same, and an error where a log is of no more use.
    pub(crate) fn check(&mut self) -> Result<(), Box<dyn Error>> {
        self.tend()?;
        self.mirrored().map(|_| ())
    }

    /// The plain port.
    pub(crate) fn plain(&mut self) -> Result<&mut Plain, Box<dyn Error>> {
        self.plain.as_mut().ok_or_else(|| "the session has no port".into())
    }

    /// Leaves in order.
    pub(crate) fn close(self) {
        self.manager.shut_down();
    }
}

impl Plain {
    fn new(mut session: Session<Shm>) -> Result<Self, Box<dyn Error>> {
        let port = session.take_ports().pop().ok_or("the session has no port")?;
        let grant = session.grant().ok_or("the session has no memory there")?.clone();
        let region = Region::builder(RECORD_BYTES_MAX).pinned(false).build()?;
        let mut buffer = session.buffer(region)?.split_at(RECORD_BYTES_MAX).0;
        buffer.as_mut_slice().fill(0xA1);
        Ok(Self { _session: session, port, grant, buffer: Some(buffer) })
    }

    /// Takes the buffer, so long.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<Buffer, Box<dyn Error>> {
        let mut buffer = self.buffer.take().ok_or("the buffer is in use")?;
        buffer.truncate(bytes);
        Ok(buffer)
    }

    /// Puts it back.
    pub(crate) fn put(&mut self, mut buffer: Buffer) {
        buffer.restore();
        self.buffer = Some(buffer);
    }

    /// A WRITE and its completion.
    #[inline(always)]
    pub(crate) fn write(&mut self, buffer: Buffer, at: u64) -> Result<Buffer, Box<dyn Error>> {
        self.port.post_write(WorkRequest::signalled(0), buffer, &self.grant, at)?;
        self.complete()
    }

    /// A READ and its completion.
    #[inline(always)]
    pub(crate) fn read(&mut self, buffer: Buffer, at: u64) -> Result<Buffer, Box<dyn Error>> {
        self.port.post_read(WorkRequest::signalled(0), buffer, &self.grant, at)?;
        self.complete()
    }

    #[inline(always)]
    fn complete(&mut self) -> Result<Buffer, Box<dyn Error>> {
        let mut completions: [Completion; 2] = Default::default();
        crate::completions::held(crate::completions::complete(&mut self.port, &mut completions)?)
    }
}
