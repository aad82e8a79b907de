//! The mirrored log between `reserve` and `durable()`: two nodes of this process, a log each, records through one of them.
//!
//! Records of many lengths, in batches, some given up, through a ring so small that it wraps in every few rounds and is full at times; truncated as
//! they become durable, so that headers travel too.

use crate::hot::unique_name;
use handfast::clients::mirrored_log::{
    Acknowledge, LogConfig, LogEvent, LogPoller, Lsn, MirroredLog, Producer, ReserveError,
};
use handfast::fabric::shm::Shm;
use handfast::manager::{ClusterManager, NodeConfig};
use handfast::session::Timing;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bytes of the rings: the smallest.
const RING: u64 = 64 << 10;

/// How long a round may take: whoever waits longer waits for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// Polls of the logs between two of the managers, which beat.
const BEATS: u32 = 64;

/// What both nodes poll: by whoever appends, or on a thread of its own. Without the managers no heart would beat, and nothing would be acknowledged.
pub(crate) struct Pollers {
    logs: [LogPoller<Shm>; 2],
    managers: Vec<ClusterManager<Shm>>,
    turns: u32,
}

impl Pollers {
    pub(crate) fn poll(&mut self) {
        for poller in &mut self.logs {
            poller.poll();
        }
        self.turns = self.turns.wrapping_add(1);
        if self.turns.is_multiple_of(BEATS) {
            for manager in &mut self.managers {
                while manager.poll().is_some() {}
            }
        }
    }
}

/// An open log and what keeps it open.
pub(crate) struct Log {
    log: MirroredLog,
    producer: Producer,
    /// None while another thread has them.
    pub(crate) pollers: Option<Pollers>,
    /// How often the callback was called.
    told: Arc<AtomicU64>,
    state: u64,
    full: u64,
}

impl Log {
    /// Opens it, mirrored.
    pub(crate) fn new(acknowledge: Acknowledge) -> Self {
        let name = unique_name();
        let address = |port: u16| format!("shm://{name}:{port}").parse().expect("an address");
        let (mut managers, mut logs, mut pollers) = (Vec::new(), Vec::new(), Vec::new());
        for (node, at, partner, partner_at) in [("a", 1, "b", 2), ("b", 2, "a", 1)] {
            let (node, partner) = (node.parse().expect("a name"), partner.parse().expect("a name"));
            let cluster = "hot".parse().expect("a name");
            // Looking at whether the partner lives may enter the kernel, at intervals of its own: here once an hour.
            let mut timing = Timing::default();
            timing.check = Duration::from_secs(3600);
            let config = NodeConfig::new(cluster, node, address(at), partner, address(partner_at)).timing(timing);
            let mut manager = ClusterManager::boot(Shm::new(), config).expect("a node");
            let config = LogConfig::new("wal".parse().expect("a name")).ring_bytes(RING).pinned(false);
            // A producer that loses its processor in a reservation is no matter here. To name it would
            // take an allocation, and so at times the kernel.
            let config = config.stalled_after(Duration::from_secs(24 * 3600));
            let opened = MirroredLog::open(config.acknowledge(acknowledge), &mut manager).expect("a log");
            manager.open();
            managers.push(manager);
            logs.push(opened.0);
            pollers.push(opened.1);
        }
        let (log, told) = (logs.swap_remove(0), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&told);
        pollers[0].on_durable(Box::new(move |_, _| {
            counted.fetch_add(1, Ordering::Relaxed);
        }));
        let logs = pollers.try_into().unwrap_or_else(|_| panic!("two pollers"));
        let pollers = Pollers { logs, managers, turns: 0 };
        let producer = log.producer("hot");
        let mut made = Self { log, producer, pollers: Some(pollers), told, state: 1, full: 0 };
        made.open();
        made
    }

    /// Polls both nodes until both logs are mirrored; a few rounds more, so that what is due once is done.
    fn open(&mut self) {
        let (began, mut mirrored) = (Instant::now(), 0);
        while mirrored < 2 {
            assert!(began.elapsed() < PATIENCE, "no mirrored log in {PATIENCE:?}");
            let Some(pollers) = &mut self.pollers else { return };
            pollers.poll();
            let events = pollers.logs.iter_mut().flat_map(|poller| std::iter::from_fn(|| poller.next_event()));
            mirrored += events.filter(|event| matches!(event, LogEvent::Mirrored { .. })).count();
        }
        (0..100).for_each(|_| self.once());
    }

    fn random(&mut self, below: u64) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % below
    }

    fn poll(&mut self) {
        match &mut self.pollers {
            Some(pollers) => pollers.poll(),
            None => std::hint::spin_loop(),
        }
    }

    /// Up to a dozen records, each in place, one in eight given up; then polls or spins until all are durable, and truncates.
    pub(crate) fn once(&mut self) {
        let mut last = None;
        for _ in 0..=self.random(12) {
            let (bytes, given_up) = (self.random(3000) as usize, self.random(8) == 0);
            let lsn = self.append(bytes, given_up);
            last = lsn.or(last);
        }
        let Some(last) = last else { return };
        self.until("durable", |log| log.durable() > last);
        assert!(self.log.truncate(self.log.durable()).is_ok(), "what is durable can be truncated");
    }

    /// Where it begins; none for one that was given up.
    fn append(&mut self, bytes: usize, given_up: bool) -> Option<Lsn> {
        let fill = bytes as u8;
        loop {
            match self.producer.reserve(bytes) {
                Ok(mut space) => {
                    space.fill(fill);
                    if given_up {
                        space.abort();
                        return None;
                    }
                    return Some(space.commit());
                }
                Err(ReserveError::Full) => {}
                Err(_) => panic!("the log takes no record"),
            }
            self.full += 1;
            let tail = self.log.status().tail;
            // Again and again: nothing may have been acknowledged yet of what fills the ring.
            self.until("less full", |log| log.truncate(log.durable()).is_ok() && log.status().tail > tail);
        }
    }

    fn until(&mut self, what: &str, reached: impl Fn(&MirroredLog) -> bool) {
        let mut polls = 0_u64;
        while !reached(&self.log) {
            self.poll();
            polls += 1;
            assert!(polls < 1 << 32, "it does not get {what}");
        }
    }

    /// That the rounds had everything in them.
    pub(crate) fn verify(&self) {
        let (status, told) = (self.log.status(), self.told.load(Ordering::Relaxed));
        assert!(status.head.0 > 100 * RING && status.tail.0 > 100 * RING, "the ring did not wrap: {status:?}");
        assert!(self.full > 0 && told > 1000, "never full ({}), or nobody was told ({told})", self.full);
    }
}
