//! The table of what survives what, cell by cell: see `Acknowledge`. On shared memory a power cut takes both nodes; over a device one or both.
//!
//! A process that is killed leaves its files as they were while it ran, without what an end in order would write. A power cut takes what is in
//! memory, and leaves files that were not synced as of any earlier time. Both are played by files that were read while both nodes ran.

use crate::pair::{Pair, has, payload, plain};
use crate::process::folder_on_disk;
use handfast::clients::mirrored_log::{
    Acknowledge, Acknowledgement, LogConfig, LogError, LogEvent, OnLoss, area::EVIDENCE_OFFSET,
};
use handfast::memory::Backing;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ring {
    Anonymous,
    SharedMemory,
    File,
}

/// What the acknowledgements stood on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Received,
    Placed,
    Persistent,
    Alone,
    /// Alone, of a log that is set up for `Persistent`.
    AlonePersistent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lost {
    Primary,
    Replica,
    Both,
    PrimaryPower,
    ReplicaPower,
    Power,
}

impl Lost {
    fn takes_primary(self) -> bool {
        !matches!(self, Self::Replica | Self::ReplicaPower)
    }

    fn takes_replica(self) -> bool {
        !matches!(self, Self::Primary | Self::PrimaryPower)
    }

    /// Whether the primary's machine starts anew.
    fn cuts_power_here(self) -> bool {
        matches!(self, Self::PrimaryPower | Self::Power)
    }
}

/// What comes of it: all of it is there, or an error says that something may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Yes,
    Error,
}

/// The table: the ring counts where nobody else has the records.
fn wanted(level: Level, lost: Lost, ring: Ring) -> Outcome {
    let by_ring = if ring == Ring::Anonymous { Outcome::Error } else { Outcome::Yes };
    match (level, lost) {
        (Level::Persistent, _) => Outcome::Yes,
        (Level::Received | Level::Placed, lost) if !(lost.takes_primary() && lost.takes_replica()) => Outcome::Yes,
        (Level::Received | Level::Placed, Lost::Both) => by_ring,
        (Level::Received | Level::Placed, _) => Outcome::Error,
        (Level::Alone | Level::AlonePersistent, lost) if !lost.takes_primary() => Outcome::Yes,
        (Level::Alone | Level::AlonePersistent, lost) if !lost.cuts_power_here() => by_ring,
        (Level::AlonePersistent, _) if ring == Ring::File => Outcome::Yes,
        (Level::Alone | Level::AlonePersistent, _) => Outcome::Error,
    }
}

struct Cell {
    folder: TempDir,
    name: String,
    ring: Ring,
    level: Level,
    keeps: bool,
}

impl Cell {
    fn new(ring: Ring, level: Level, keeps: bool) -> Self {
        static NUMBERS: AtomicU32 = AtomicU32::new(0);
        let name = format!("handfast-survives-{}-{}", std::process::id(), NUMBERS.fetch_add(1, Ordering::Relaxed));
        Self { folder: folder_on_disk(), name, ring, level, keeps }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ring_path(&self) -> Option<PathBuf> {
        match self.ring {
            Ring::Anonymous => None,
            Ring::SharedMemory => Some(Path::new("/dev/shm").join(&self.name)),
            Ring::File => Some(self.path("ring")),
        }
    }

    fn primary(&self) -> LogConfig {
        let level = match self.level {
            Level::Received => Acknowledge::Received,
            Level::Placed | Level::Alone => Acknowledge::Placed,
            Level::Persistent | Level::AlonePersistent => Acknowledge::Persistent,
        };
        let backing = match self.ring {
            Ring::Anonymous => Backing::Private,
            Ring::SharedMemory => Backing::SharedMemory(self.name.clone()),
            Ring::File => Backing::File(self.path("ring")),
        };
        let log = plain().acknowledge(level).backing(backing).state_file(self.path("state"));
        log.on_loss(OnLoss::GoOnAlone { term_file: self.path("term") })
    }

    fn replica(&self) -> LogConfig {
        if self.keeps { plain().keep(self.path("kept")) } else { plain() }
    }

    /// Runs until records are acknowledged; what is acknowledged, and what lay in files meanwhile.
    fn run(&self, pair: &mut Pair) -> (Vec<Vec<u8>>, Files) {
        pair.start_both([self.primary(), self.replica()]);
        pair.until_mirrored(0);
        let is_alone = matches!(self.level, Level::Alone | Level::AlonePersistent);
        let mut payloads = Vec::new();
        let mut files = Files::default();
        for number in 0..12 {
            if number == 6 {
                if self.keeps {
                    pair.until("the file", |_| self.path("kept").exists());
                    files.kept = std::fs::read(self.path("kept")).ok();
                }
                if is_alone {
                    pair.end(1);
                    pair.until_lost(0);
                }
            }
            payloads.push(payload(number));
            let (_, stands_on) = pair.append(0, &payload(number));
            assert_eq!(stands_on == Acknowledgement::Alone, is_alone && number >= 6);
        }
        if self.level == Level::Persistent {
            files.kept = std::fs::read(self.path("kept")).ok();
        }
        files.ring = self.ring_path().and_then(|path| std::fs::read(path).ok());
        (payloads, files)
    }

    /// What is left after that loss.
    fn lose(&self, pair: &mut Pair, lost: Lost, files: &Files) {
        let put = |path: &Path, bytes: &Option<Vec<u8>>| {
            if let Some(bytes) = bytes {
                std::fs::write(path, bytes).expect("a file");
            }
        };
        if lost.takes_primary() {
            pair.end(0);
            if let Some(path) = self.ring_path() {
                match (lost.cuts_power_here(), self.ring) {
                    (true, Ring::SharedMemory) => std::fs::remove_file(path).expect("a ring"),
                    (true, _) => put(&path, &files.ring.as_deref().map(other_boot)),
                    _ => put(&path, &files.ring),
                }
            }
        }
        if lost.takes_replica() {
            pair.end(1);
            put(&self.path("kept"), &files.kept);
        }
    }
}

#[derive(Default)]
struct Files {
    ring: Option<Vec<u8>>,
    kept: Option<Vec<u8>>,
}

/// What a node makes of what is left. Anything but all of it, or an error, is a record lost without a word.
fn judge(found: Result<Vec<Vec<u8>>, LogError>, payloads: &[Vec<u8>], how: &str) -> Outcome {
    match found {
        Ok(found) => {
            assert!(found == payloads, "{how}: {} records, and {} were acknowledged", found.len(), payloads.len());
            Outcome::Yes
        }
        Err(_) => Outcome::Error,
    }
}

fn own(pair: &mut Pair) -> Vec<Vec<u8>> {
    pair.own(0).into_iter().map(|record| record.payload).collect()
}

/// The ways on after a loss, each tried on its own.
fn ways(lost: Lost) -> &'static [&'static str] {
    if lost.takes_primary() { &["again", "alone", "takeover"] } else { &["refilled"] }
}

fn try_way(cell: &Cell, lost: Lost, way: &str, how: &str) -> Outcome {
    let mut pair = Pair::new("log-survives");
    let (payloads, files) = cell.run(&mut pair);
    let known = pair.side(0).log.status().term;
    cell.lose(&mut pair, lost, &files);
    let is_replica_there = !lost.takes_replica() && !matches!(cell.level, Level::Alone | Level::AlonePersistent);
    match way {
        // Both nodes start again, and the log begins with what they have.
        "again" => {
            if !is_replica_there {
                pair.start(1, cell.replica());
            }
            pair.start(0, cell.primary());
            let is_over = |event: &LogEvent| matches!(event, LogEvent::Mirrored { .. } | LogEvent::Ended(_));
            pair.until("a beginning, or its end", |pair| has(pair.side(0), is_over));
            let error = pair.side(0).events.iter().find_map(|event| match event {
                LogEvent::Ended(error) => Some(error.clone()),
                _ => None,
            });
            let found = error.map_or_else(|| Ok(own(&mut pair)), Err);
            judge(found, &payloads, how)
        }
        // The primary's node alone.
        "alone" => {
            pair.end(1);
            pair.start(0, cell.primary());
            let begun = pair.side(0).poller.begin_alone();
            let found = begun.map(|()| own(&mut pair));
            judge(found, &payloads, how)
        }
        // The other one takes over, and whoever decides knows of the highest term.
        "takeover" => {
            if is_replica_there {
                pair.until_lost(1);
            } else {
                pair.start(1, cell.replica());
            }
            match pair.side(1).copy.take_over(known, false) {
                Ok(records) => {
                    let found = records.map(|record| record.map(|record| record.payload)).collect();
                    judge(found, &payloads, how)
                }
                Err(_) => Outcome::Error,
            }
        }
        _ => {
            pair.start(1, cell.replica());
            let is_refilled = |pair: &mut Pair| {
                pair.side(0).log.mirrored() >= pair.side(0).log.durable() && pair.copied(1).len() == payloads.len()
            };
            pair.until("the refilled replica", is_refilled);
            pair.expect_copy(1, &payloads);
            judge(Ok(own(&mut pair)), &payloads, how)
        }
    }
}

/// What is walked through: kinds of rings and losses, whether without a kept file too, and how many of the ways on are tried.
struct Walk {
    rings: &'static [Ring],
    losses: &'static [Lost],
    keeps: &'static [bool],
    ways: usize,
}

/// Cells that were looked at, and ways on that were tried.
fn walk(walk: &Walk) -> (u32, u32) {
    let (mut cells, mut tried) = (0, 0);
    for level in [Level::Received, Level::Placed, Level::Persistent, Level::Alone, Level::AlonePersistent] {
        for (ring, lost) in walk.rings.iter().flat_map(|ring| walk.losses.iter().map(|lost| (*ring, *lost))) {
            for keeps in walk.keeps.iter().copied() {
                if !keeps && matches!(level, Level::Persistent | Level::AlonePersistent) {
                    continue;
                }
                cells += 1;
                // The best of the ways: some node has all of it, or none can go on unasked.
                let mut best = Outcome::Error;
                for way in ways(lost).iter().take(walk.ways) {
                    let cell = Cell::new(ring, level, keeps);
                    let how = format!("{level:?}, {ring:?}, {lost:?}, kept {keeps}, {way}");
                    if try_way(&cell, lost, way, &how) == Outcome::Yes {
                        best = Outcome::Yes;
                    }
                    tried += 1;
                    if let Some(path) = cell.ring_path() {
                        let _ = std::fs::remove_file(path);
                    }
                }
                assert_eq!(best, wanted(level, lost, ring), "{level:?}, {ring:?}, {lost:?}, kept {keeps}");
            }
        }
    }
    (cells, tried)
}

/// Both nodes on one machine, whose power is that of both.
#[allow(dead_code, reason = "each fabric has its own")]
pub(crate) fn what_survives_what_is_as_the_table_says() {
    let rings = &[Ring::Anonymous, Ring::SharedMemory, Ring::File];
    let losses = &[Lost::Primary, Lost::Replica, Lost::Both, Lost::Power];
    let found = walk(&Walk { rings, losses, keeps: &[false, true], ways: 3 });
    assert_eq!(found, (96, 240));
}

/// Two machines: a power cut takes one of them, or both.
#[allow(dead_code, reason = "each fabric has its own")]
pub(crate) fn what_survives_what_between_two_machines_is_as_the_table_says() {
    let rings = &[Ring::Anonymous, Ring::File];
    let losses = &[Lost::Primary, Lost::Replica, Lost::Both, Lost::PrimaryPower, Lost::ReplicaPower, Lost::Power];
    let found = walk(&Walk { rings, losses, keeps: &[true], ways: 1 });
    assert_eq!(found, (60, 60));
}

/// The mark in the ring's file, as of another boot.
pub(crate) fn other_boot(ring: &[u8]) -> Vec<u8> {
    let mut bytes = ring.to_vec();
    let mark = &mut bytes[EVIDENCE_OFFSET as usize..][..64];
    mark[32] ^= 1;
    let checksum = crc32c::crc32c(&mark[..60]);
    mark[60..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}
