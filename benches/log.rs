//! The mirrored log, two nodes in one process: what appending, polling and reading cost where no line has to travel.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use handfast::clients::mirrored_log::{
    Acknowledge, Generation, History, LogConfig, LogCopy, LogEvent, LogPoller, Lsn, MirroredLog, Producer, record,
};
use handfast::fabric::shm::Shm;
use handfast::manager::{ClusterManager, NodeConfig};
use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Bytes of the rings: in the cache of a core, so that figures are of instructions rather than of memory.
const RING: u64 = 256 << 10;
/// Sizes of records, bytes.
const SIZES: [usize; 4] = [64, 256, 4096, 32768];
/// Records appended before a poll.
const BATCH: usize = 32;
/// Polls for one record, at most: seconds of them.
const POLLS_MAX: u32 = 1 << 26;

/// A log that is mirrored, and what keeps it so.
struct Open {
    log: MirroredLog,
    producer: Producer,
    pollers: Vec<LogPoller<Shm>>,
    copies: Vec<LogCopy>,
    _managers: Vec<ClusterManager<Shm>>,
}

impl Open {
    fn new(acknowledge: Acknowledge) -> Result<Self, Box<dyn Error>> {
        let unique = format!("{}-{acknowledge:?}", std::process::id()).to_lowercase();
        let address = |port| format!("shm://handfast-bench-log-{unique}:{port}").parse();
        let (mut managers, mut logs, mut pollers, mut copies) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (node, at, partner, partner_at) in [("a", 1, "b", 2), ("b", 2, "a", 1)] {
            let (at, partner_at) = (address(at)?, address(partner_at)?);
            let config = NodeConfig::new("bench".parse()?, node.parse()?, at, partner.parse()?, partner_at);
            let mut manager = ClusterManager::boot(Shm::new(), config)?;
            let config = LogConfig::new("wal".parse()?).ring_bytes(RING).pinned(false).acknowledge(acknowledge);
            let (log, poller, copy) = MirroredLog::open(config, &mut manager)?;
            manager.open();
            managers.push(manager);
            logs.push(log);
            pollers.push(poller);
            copies.push(copy);
        }
        let (began, mut mirrored) = (Instant::now(), 0);
        while mirrored < 2 {
            for manager in &mut managers {
                while manager.poll().is_some() {}
            }
            for poller in &mut pollers {
                poller.poll();
                let events = std::iter::from_fn(|| poller.next_event());
                mirrored += events.filter(|event| matches!(event, LogEvent::Mirrored { .. })).count();
            }
            if began.elapsed() > Duration::from_secs(10) {
                return Err("no mirrored log within 10 s".into());
            }
        }
        let log = logs.swap_remove(0);
        let producer = log.producer("bench");
        Ok(Self { log, producer, pollers, copies, _managers: managers })
    }

    fn poll(&mut self) {
        if let Some(poller) = self.pollers.first_mut() {
            poller.poll();
        }
    }

    /// Appends; where the ring is full, truncates and polls until it is not.
    fn append(&mut self, payload: &[u8]) -> Lsn {
        let mut polls = 0;
        loop {
            if let Ok(lsn) = self.producer.append(black_box(payload)) {
                return lsn;
            }
            self.truncate();
            self.poll();
            polls += 1;
            assert!(polls < POLLS_MAX, "the ring stays full");
        }
    }

    fn truncate(&self) {
        let durable = self.log.durable();
        assert!(self.log.truncate(durable).is_ok(), "what is durable can be truncated");
    }

    fn append_durable(&mut self, payload: &[u8]) {
        let lsn = self.append(payload);
        let mut polls = 0;
        while self.log.durable() <= lsn {
            self.poll();
            polls += 1;
            assert!(polls < POLLS_MAX, "no acknowledgement of {lsn}");
        }
    }
}

fn appending(criterion: &mut Criterion, open: &mut Open, level: &str) {
    let mut group = criterion.benchmark_group("log");
    for bytes in SIZES {
        let payload = vec![7; bytes];
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("append to {level}/{bytes}"), |bencher| {
            bencher.iter(|| open.append_durable(&payload));
        });
    }
    let payload = [7; 256];
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function(format!("append, a poll for each {BATCH}, {level}/256"), |bencher| {
        bencher.iter(|| {
            for _ in 0..BATCH {
                open.append(&payload);
            }
            open.poll();
        });
    });
    group.bench_function(format!("idle poll, {level}"), |bencher| bencher.iter(|| open.poll()));
    group.finish();
}

/// The partner reads its copy: all that fits into the ring.
fn reading(criterion: &mut Criterion, open: &mut Open) {
    let mut group = criterion.benchmark_group("log");
    for bytes in [64, 4096] {
        let payload = vec![7; bytes];
        open.truncate();
        for _ in 0..RING as usize / 2 / (bytes + 32) {
            open.append_durable(&payload);
        }
        let Some(copy) = open.copies.get(1) else { return };
        let count = |copy: &LogCopy| copy.records().ok().flatten().map_or(0, |records| records.flatten().count());
        let records = count(copy);
        assert!(records > 10, "the copy holds {records} records");
        group.throughput(Throughput::Elements(records as u64));
        group.bench_function(format!("read the copy/{bytes}"), |bencher| {
            bencher.iter(|| assert_eq!(count(black_box(copy)), records));
        });
    }
    group.finish();
}

fn sealing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log");
    for bytes in SIZES {
        let mut span = vec![7; record::RECORD_HEADER_BYTES + bytes];
        group.throughput(Throughput::Bytes(span.len() as u64));
        group.bench_function(format!("checksum/{bytes}"), |bencher| {
            bencher.iter(|| record::checksum(black_box(&span)));
        });
        group.bench_function(format!("seal/{bytes}"), |bencher| {
            bencher.iter(|| record::seal(black_box(&mut span), Lsn(4096), Generation(1), History(7), bytes as u32));
        });
    }
    group.finish();
}

fn log(criterion: &mut Criterion) {
    sealing(criterion);
    for (level, name) in [(Acknowledge::Placed, "placed"), (Acknowledge::Received, "received")] {
        match Open::new(level) {
            Ok(mut open) => {
                appending(criterion, &mut open, name);
                if level == Acknowledge::Placed {
                    reading(criterion, &mut open);
                }
            }
            Err(error) => {
                eprintln!("the logs could not be opened: {error}");
                std::process::exit(1);
            }
        }
    }
}

criterion_group!(benches, log);
criterion_main!(benches);
