//! Two nodes with a log each in one process, polled in turn.

use crate::process::node::config;
use crate::under_test::{self, UnderTest};
use handfast::clients::mirrored_log::{
    Acknowledgement, LogConfig, LogCopy, LogEvent, LogPoller, Lsn, MirroredLog, OwnedRecord, Producer,
};
use handfast::manager::ClusterManager;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of the rings, where a case does not choose.
pub(crate) const RING: u64 = 256 << 10;

pub(crate) struct Side {
    pub(crate) manager: ClusterManager<UnderTest>,
    pub(crate) log: MirroredLog,
    pub(crate) poller: LogPoller<UnderTest>,
    pub(crate) copy: LogCopy,
    pub(crate) producer: Producer,
    pub(crate) events: Vec<LogEvent>,
}

pub(crate) struct Pair {
    pub(crate) name: String,
    sides: [Option<Side>; 2],
    /// One whose manager is polled no more, as if its process stood still.
    pub(crate) asleep: Option<usize>,
    /// Polls of each log in a round.
    pub(crate) polls: u32,
}

/// What a log is set up with, where a case does not choose.
pub(crate) fn plain() -> LogConfig {
    LogConfig::new("wal".parse().expect("a name")).ring_bytes(RING).pinned(false)
}

impl Pair {
    pub(crate) fn new(title: &str) -> Self {
        static NUMBERS: AtomicU32 = AtomicU32::new(0);
        let name = format!("{title}-{}-{}", std::process::id(), NUMBERS.fetch_add(1, Ordering::Relaxed));
        Self { name, sides: [None, None], asleep: None, polls: 64 }
    }

    pub(crate) fn start(&mut self, index: usize, log: LogConfig) {
        let mut manager = ClusterManager::boot(under_test::fabric(), config(&self.name, index)).expect("boot");
        let (log, poller, copy) = MirroredLog::open(log, &mut manager).expect("a log");
        manager.open();
        let producer = log.producer("test");
        self.sides[index] = Some(Side { manager, log, poller, copy, producer, events: Vec::new() });
    }

    pub(crate) fn start_both(&mut self, configs: [LogConfig; 2]) {
        for (index, config) in configs.into_iter().enumerate() {
            self.start(index, config);
        }
    }

    pub(crate) fn side(&mut self, index: usize) -> &mut Side {
        self.sides[index].as_mut().expect("a started node")
    }

    /// Takes a node out, to be gone on with by hand.
    pub(crate) fn take(&mut self, index: usize) -> Side {
        self.sides[index].take().expect("a started node")
    }

    /// As if its process had ended.
    pub(crate) fn end(&mut self, index: usize) {
        self.sides[index] = None;
    }

    pub(crate) fn round(&mut self) {
        for (index, side) in self.sides.iter_mut().enumerate() {
            let Some(side) = side else { continue };
            if self.asleep != Some(index) {
                while side.manager.poll().is_some() {}
            }
            for _ in 0..self.polls {
                side.poller.poll();
            }
            side.events.extend(std::iter::from_fn(|| side.poller.next_event()));
        }
    }

    pub(crate) fn rounds_for(&mut self, time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {
            self.round();
            std::thread::yield_now();
        }
    }

    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            if began.elapsed() > PATIENCE {
                for (index, side) in self.sides.iter().enumerate() {
                    eprintln!(
                        "{index}: {:#?}",
                        side.as_ref().map(|side| (side.log.status(), side.copy.status(), &side.events))
                    );
                }
                panic!("not within {PATIENCE:?}: {what}");
            }
            self.round();
            std::thread::yield_now();
        }
    }

    /// Until the log of this node is mirrored.
    pub(crate) fn until_mirrored(&mut self, index: usize) {
        self.until("mirrored", |pair| has(pair.side(index), |event| matches!(event, LogEvent::Mirrored { .. })));
    }

    /// Until this node has heard of the end of the session.
    pub(crate) fn until_lost(&mut self, index: usize) {
        let lost = |event: &LogEvent| matches!(event, LogEvent::Lost { .. } | LogEvent::Broken(_));
        self.until("loss", |pair| has(pair.side(index), lost));
    }

    /// Appends, waits, and says what the acknowledgement stands on.
    pub(crate) fn append(&mut self, index: usize, bytes: &[u8]) -> (Lsn, Acknowledgement) {
        let mut lsn = None;
        self.until("an acknowledgement", |pair| {
            let side = pair.side(index);
            if lsn.is_none() {
                lsn = side.producer.append(bytes).ok();
            }
            lsn.is_some_and(|lsn| side.log.durable() > lsn)
        });
        let lsn = lsn.expect("a record");
        (lsn, self.side(index).log.wait(lsn).expect("acknowledged"))
    }

    /// The copy of the other node's log that this node holds.
    pub(crate) fn copied(&mut self, index: usize) -> Vec<OwnedRecord> {
        let records = self.side(index).copy.records().expect("a readable copy");
        records.into_iter().flatten().collect::<Result<_, _>>().expect("records")
    }

    /// What a node reads of its own log.
    pub(crate) fn own(&mut self, index: usize) -> Vec<OwnedRecord> {
        let records = self.side(index).poller.records().expect("a readable log");
        records.into_iter().flatten().collect::<Result<_, _>>().expect("records")
    }

    /// The copy holds these payloads and nothing else.
    pub(crate) fn expect_copy(&mut self, holder: usize, payloads: &[Vec<u8>]) {
        let copied: Vec<Vec<u8>> = self.copied(holder).into_iter().map(|record| record.payload).collect();
        assert!(copied == payloads, "{} records in the copy, {} appended", copied.len(), payloads.len());
    }
}

pub(crate) fn has(side: &Side, wanted: impl Fn(&LogEvent) -> bool) -> bool {
    side.events.iter().any(wanted)
}

/// Bytes that say which record they are of.
pub(crate) fn payload(number: usize) -> Vec<u8> {
    let length = 8 + number * 7919 % 3000;
    (0..length).map(|at| (number * 31 + at) as u8).collect()
}
