//! The two nodes as their users have them: a cluster manager each, one client with one port, and memory both ways.

use crate::control::Stalled;
use handfast::fabric::shm::{Shm, ShmPort, ShmRemote};
use handfast::fabric::{Exposed, Port, PortOptions, WorkRequest};
use handfast::manager::{Client, ClientSpec, ClusterManager, LostReason, NodeConfig, Unavailable};
use handfast::memory::{Buffer, Region};
use handfast::session::Session;
use std::error::Error;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Memory each node grants the other, bytes.
const MEMORY_BYTES: u64 = 1 << 20;
/// Bytes of a block.
pub(crate) const BLOCK_BYTES: usize = 4096;
/// Bytes of a message.
pub(crate) const MESSAGE_BYTES: usize = 64;
/// Receives kept posted.
const RECEIVES: usize = 32;

/// Places in the exposed memory.
pub(crate) mod places {
    /// The word that says "look".
    pub(crate) const FLAG: usize = 0;
    /// Where 4 KiB WRITEs go.
    pub(crate) const BLOCK: usize = 4096;
    /// A line that its owner writes when it is told to.
    pub(crate) const LINE: usize = 16384;
    /// Where posts go whose cost is measured.
    pub(crate) const POSTS: usize = 20480;
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The measuring process.
    A,
    /// Its peer.
    B,
}

/// Ports of the addresses the benchmark listens at, in the name of the measuring process.
pub(crate) mod listening {
    /// Node a's and node b's managers.
    pub(crate) const MANAGERS: (u16, u16) = (1, 2);
    /// The managers of row 7.
    pub(crate) const STARTED: (u16, u16) = (3, 4);
    /// Bare endpoints of the peer: without and with a key.
    pub(crate) const STEPS: (u16, u16) = (5, 6);
}

/// An address of this run.
pub(crate) fn address(run: u32, port: u16) -> Result<handfast::fabric::Address, handfast::fabric::AddressError> {
    format!("shm://handfast-perf-{run}:{port}").parse()
}

/// How the node of one side is configured.
pub(crate) fn config(side: Side, run: u32, (a, b): (u16, u16)) -> Result<NodeConfig, Box<dyn Error>> {
    let (a_at, b_at) = (address(run, a)?, address(run, b)?);
    let cluster = "perf".parse()?;
    Ok(match side {
        Side::A => NodeConfig::new(cluster, "a".parse()?, a_at, "b".parse()?, b_at),
        Side::B => NodeConfig::new(cluster, "b".parse()?, b_at, "a".parse()?, a_at),
    })
}

struct Taker(Sender<Result<Session<Shm>, String>>);

impl Client<Shm> for Taker {
    fn on_ready(&mut self, session: Session<Shm>) {
        let _ = self.0.send(Ok(session));
    }
    fn on_lost(&mut self, reason: &LostReason) {
        let _ = self.0.send(Err(reason.to_string()));
    }
    fn on_unavailable(&mut self, reason: &Unavailable) {
        let _ = self.0.send(Err(reason.to_string()));
    }
}

/// One node with its port, its memory, and its grant at the other.
pub(crate) struct Node {
    manager: ClusterManager<Shm>,
    taken: Receiver<Result<Session<Shm>, String>>,
    _session: Session<Shm>,
    /// The port.
    pub(crate) port: ShmPort,
    /// Memory here that the other side writes.
    pub(crate) memory: Arc<Exposed>,
    /// Memory there.
    pub(crate) grant: ShmRemote,
    /// A buffer of a block; taken while it is in use.
    pub(crate) block: Option<Buffer>,
    /// A buffer of a line, to READ into.
    pub(crate) line: Option<Buffer>,
    /// A buffer of a message.
    pub(crate) message: Option<Buffer>,
}

impl Node {
    /// Boots it and waits until it is ready.
    pub(crate) fn open(side: Side, run: u32) -> Result<Self, Box<dyn Error>> {
        let (sender, taken) = channel();
        let mut manager = ClusterManager::boot(Shm::new(), config(side, run, listening::MANAGERS)?)?;
        let spec = ClientSpec::new("perf".parse()?).memory(MEMORY_BYTES).port_options(PortOptions::new());
        manager.client(spec, Box::new(Taker(sender)))?;
        manager.open();
        let began = Instant::now();
        let mut session = loop {
            while manager.poll().is_some() {}
            if let Ok(outcome) = taken.try_recv() {
                break outcome?;
            }
            if began.elapsed() > Duration::from_secs(10) {
                return Err(Stalled.into());
            }
        };
        let mut port = session.take_ports().pop().ok_or("the session has no port")?;
        let memory = Arc::clone(session.memory().ok_or("the session has no memory here")?);
        let grant = session.grant().ok_or("the session has no memory there")?.clone();
        let region = Region::builder(4 * BLOCK_BYTES).pinned(false).build()?;
        let (block, rest) = session.buffer(region)?.split_at(BLOCK_BYTES);
        let (line, rest) = rest.split_at(64);
        let (message, rest) = rest.split_at(MESSAGE_BYTES);
        for receive in rest.split_into(MESSAGE_BYTES).into_iter().take(RECEIVES) {
            port.post_receive(WorkRequest::signalled(0), receive)?;
        }
        let (block, line, message) = (Some(block), Some(line), Some(message));
        Ok(Self { manager, taken, _session: session, port, memory, grant, block, line, message })
    }

    /// Lets the manager do what is due; an error once the session is gone. Between measurements only.
    pub(crate) fn tend(&mut self) -> Result<(), Box<dyn Error>> {
        while self.manager.poll().is_some() {}
        match self.taken.try_recv() {
            Ok(Err(reason)) => Err(format!("the session was lost: {reason}").into()),
            Ok(Ok(_)) => Err("the session was replaced while it was measured".into()),
            Err(_) => Ok(()),
        }
    }

    /// Leaves the session in order.
    pub(crate) fn close(self) {
        self.manager.shut_down();
    }
}
