//! redb over the real log, on shared memory: two nodes in this process, one with a database, one that follows it.
//!
//! The end of a node is the end of its threads here; processes that are killed are the demo's (`tests/program`).
#![cfg(feature = "redb")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use handfast::clients::mirrored_log::{
    LogConfig, LogCopy, LogThread, Lsn, MirroredLog, OnLoss, Pace, TakeoverError, TakeoverRefused, Term,
};
use handfast::engines::redb::{
    FollowerOptions, FollowerThread, MirrorOptions, MirroredBackend, RebuildReport, rebuild,
};
use handfast::fabric::shm::Shm;
use handfast::manager::{ClusterManager, ControlThread, NodeConfig};
use redb::{Database, ReadableTable, TableDefinition};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blobs");
const RING: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

/// One of the two nodes.
struct Node {
    log: MirroredLog,
    copy: LogCopy,
    // In the order in which they end.
    _poller: LogThread,
    _manager: ControlThread,
}

fn log_config() -> LogConfig {
    LogConfig::new("redb".parse().expect("a name")).ring_bytes(RING).pinned(false).applied_bounds_truncation(true)
}

impl Node {
    fn start(title: &str, index: usize, config: LogConfig) -> Self {
        let address =
            |port: usize| format!("shm://redb-{title}-{}:{port}", std::process::id()).parse().expect("an address");
        let name = |index: usize| ["a", "b"][index].parse().expect("a name");
        let other = 1 - index;
        let cluster = "pair".parse().expect("a name");
        let node = NodeConfig::new(cluster, name(index), address(index + 1), name(other), address(other + 1));
        let mut manager = ClusterManager::boot(Shm::new(), node).expect("boot");
        let (log, poller, copy) = MirroredLog::open(config, &mut manager).expect("a log");
        manager.open();
        let _manager = manager.spawn().expect("a thread");
        let _poller = poller.spawn(Pace::default()).expect("a thread");
        Self { log, copy, _poller, _manager }
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What lies where.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir_in("/dev/shm").expect("a folder") }
    }

    /// Where a sync means something.
    fn on_disk() -> Self {
        Self { folder: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn follow(&self, node: &Node) -> FollowerThread {
        FollowerThread::start(node.copy.clone(), self.path("images"), FollowerOptions::new()).expect("a follower")
    }

    fn database(&self, node: &Node) -> Database {
        let path = self.path("primary");
        let file = File::options().create(true).truncate(false).read(true).write(true).open(path).expect("a file");
        let options = MirrorOptions::new().wait_max(PATIENCE);
        let backend = MirroredBackend::new(file, &node.log, options).expect("a backend");
        Database::builder().create_with_backend(backend).expect("a database")
    }

    /// What the survivor builds from its images and its copy of the log.
    fn rebuild(&self, node: &Node) -> (Database, RebuildReport) {
        let mut records = None;
        until("a takeover", || match node.copy.take_over(Term(0), false) {
            Ok(taken) => {
                records = Some(taken);
                true
            }
            // It has not heard of the primary's end yet.
            Err(TakeoverError::Refused(TakeoverRefused::PartnerThere)) => false,
            Err(error) => panic!("a copy that is worth it: {error}"),
        });
        let mut records = records.expect("it was taken");
        let report = rebuild(self.path("images"), Some(&mut records), self.path("rebuilt")).expect("a file");
        (Database::create(self.path("rebuilt")).expect("it opens"), report)
    }
}

fn blob(number: u64) -> Vec<u8> {
    (0..100 + number * 37 % 3000).map(|at| (at + number) as u8).collect()
}

/// One transaction for each.
fn commit(database: &Database, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let transaction = database.begin_write().expect("a transaction");
        transaction.open_table(TABLE).expect("a table").insert(number, blob(number).as_slice()).expect("room");
        transaction.commit().expect("an acknowledgement");
    }
}

fn holds(database: &Database, count: u64) {
    let transaction = database.begin_read().expect("a transaction");
    let table = transaction.open_table(TABLE).expect("a table");
    let found: Vec<u64> = table
        .iter()
        .expect("rows")
        .map(|row| {
            let (number, bytes) = row.expect("a row");
            assert!(bytes.value() == blob(number.value()), "{}", number.value());
            number.value()
        })
        .collect();
    assert_eq!(found, (0..count).collect::<Vec<_>>());
}

/// Many laps of the ring, then the primary ends.
#[test]
fn the_survivor_has_every_committed_transaction() {
    let place = Place::new();
    let survivor = Node::start("survivor", 1, log_config());
    let follower = place.follow(&survivor);
    let primary = Node::start("survivor", 0, log_config());
    let database = place.database(&primary);
    commit(&database, 0..300);
    let head = primary.log.status().head;
    assert!(head > Lsn(4 * RING), "several laps: {head}");
    // The engine does not come to its end: it is cut off from its log.
    drop(primary);
    assert_eq!(follower.failure(), None);
    drop(follower);
    let (rebuilt, report) = place.rebuild(&survivor);
    holds(&rebuilt, 300);
    assert!(report.reached >= head, "{report:?}");
    drop(database);
}

/// The partner goes and comes back: with its images, and without.
#[test]
fn a_partner_that_comes_back_goes_on_or_gets_an_image() {
    let place = Place::new();
    let primary = Node::start("back", 0, log_config());
    let mut survivor = Node::start("back", 1, log_config());
    let mut follower = place.follow(&survivor);
    let database = place.database(&primary);
    let mut count = 0;
    for round in 0..4 {
        commit(&database, count..count + 60);
        count += 60;
        drop((follower, survivor));
        if round % 2 == 1 {
            std::fs::remove_dir_all(place.path("images")).expect("its folder");
        }
        survivor = Node::start("back", 1, log_config());
        follower = place.follow(&survivor);
    }
    commit(&database, count..count + 60);
    until("all applied", || follower.applied() >= primary.log.durable());
    drop(primary);
    drop(follower);
    let (rebuilt, _) = place.rebuild(&survivor);
    holds(&rebuilt, count + 60);
    drop(database);
}

/// The image is removed under its follower: what it writes since is in no file of that name.
#[test]
fn a_follower_whose_image_fails_tells_nothing_more_until_it_can_go_on() {
    let place = Place::on_disk();
    let primary = Node::start("poison", 0, log_config());
    let survivor = Node::start("poison", 1, log_config());
    let options = FollowerOptions::new().sync(true);
    let start = || FollowerThread::start(survivor.copy.clone(), place.path("images"), options).expect("a follower");
    let follower = start();
    let database = place.database(&primary);
    commit(&database, 0..20);
    let head = primary.log.status().head;
    until("what was committed is applied", || follower.applied() >= head);
    let images = std::fs::read_dir(place.path("images")).expect("its folder");
    let images = images.map(|entry| entry.expect("an entry").path());
    let images =
        images.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("image-")));
    for image in images {
        std::fs::remove_file(image).expect("an image");
    }
    let told = follower.applied();
    commit(&database, 20..40);
    // The folder names an image that is not there.
    let failure = || follower.failure().map(|failure| failure.to_string()).unwrap_or_default();
    until("its failure", || failure().contains("remove the folder"));
    assert_eq!(follower.applied(), told, "nothing more is told");
    // Without it, the partner sends its file anew, and no person starts the follower again.
    std::fs::remove_dir_all(place.path("images")).expect("its folder");
    until("it goes on", || follower.failure().is_none());
    commit(&database, 40..60);
    let head = primary.log.status().head;
    until("the image and what followed are applied", || follower.applied() >= head);
    assert_eq!(follower.failure(), None);
    drop((database, primary, follower));
    let (rebuilt, _) = place.rebuild(&survivor);
    holds(&rebuilt, 60);
}

/// The primary starts again, on its own file and with the log that the partner kept.
#[test]
fn a_primary_that_starts_again_sends_an_image() {
    let place = Place::new();
    let survivor = Node::start("again", 1, log_config());
    let follower = place.follow(&survivor);
    for round in 0..3 {
        let primary = Node::start("again", 0, log_config());
        let database = place.database(&primary);
        commit(&database, round * 80..round * 80 + 80);
        drop(database);
        drop(primary);
    }
    drop(follower);
    let (rebuilt, report) = place.rebuild(&survivor);
    holds(&rebuilt, 240);
    assert!(report.image.begun > Lsn(RING), "the last image: {report:?}");
}

/// Alone for longer than the ring is: what the partner has is of no use then.
#[test]
fn after_going_alone_the_partner_gets_an_image() {
    let place = Place::new();
    // On a disk: a term is not kept in memory.
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let term_file = disk.path().join("term");
    let primary = Node::start("alone", 0, log_config().on_loss(OnLoss::GoOnAlone { term_file }));
    let survivor = Node::start("alone", 1, log_config());
    let follower = place.follow(&survivor);
    let database = place.database(&primary);
    commit(&database, 0..20);
    drop((follower, survivor));
    until("the loss", || {
        let standing = primary.log.status();
        commit_nothing(&database);
        primary.log.mirrored() < primary.log.durable() && standing.history.is_some()
    });
    commit(&database, 20..220);
    let survivor = Node::start("alone", 1, log_config());
    let follower = place.follow(&survivor);
    until("the partner", || {
        commit_nothing(&database);
        primary.log.mirrored() == primary.log.durable() && follower.applied() >= primary.log.durable()
    });
    commit(&database, 220..240);
    until("all applied", || follower.applied() >= primary.log.durable());
    drop(primary);
    drop(follower);
    let (rebuilt, _) = place.rebuild(&survivor);
    holds(&rebuilt, 240);
    drop(database);
}

fn commit_nothing(database: &Database) {
    database.begin_write().expect("a transaction").commit().expect("an acknowledgement");
}

/// Commits until one is refused.
fn filled(database: &Database) -> Option<String> {
    let insert = |number| -> Result<(), Box<dyn std::error::Error>> {
        let transaction = database.begin_write()?;
        transaction.open_table(TABLE)?.insert(number, blob(number).as_slice())?;
        Ok(transaction.commit()?)
    };
    (0..1000).find_map(|number| Some(insert(number).err()?.to_string()))
}

/// Nobody applies: the ring fills, and the engine is told why.
#[test]
fn without_a_follower_the_ring_fills_up_and_says_so() {
    let place = Place::new();
    let _survivor = Node::start("full", 1, log_config());
    let primary = Node::start("full", 0, log_config());
    let file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(place.path("primary"))
        .expect("a file");
    // So that the wait is the ring's alone.
    until("an open log", || primary.log.status().history.is_some());
    let options = MirrorOptions::new().wait_max(Duration::from_secs(2));
    let backend = MirroredBackend::new(file, &primary.log, options).expect("a backend");
    // When the partner's wish for an image is known late, the new file's image fills the ring.
    let error = match Database::builder().create_with_backend(backend) {
        Ok(database) => filled(&database).expect("a ring of 1 MiB is full by then"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("see whether its follower runs"), "{error}");
    assert!(Path::new(&place.path("primary")).exists());
}
