//! Where a copy may be kept, and what becomes of a file that others touch.

use crate::pair::{Pair, RING, has, payload, plain};
use crate::process::folder_on_disk;
use crate::process::node::config;
use crate::under_test;
use handfast::clients::mirrored_log::{
    Acknowledge, Acknowledgement, LogConfig, LogError, LogEvent, Lsn, MirroredLog, OnLoss, Records, Start,
    area::RING_OFFSET,
};
use handfast::error::Error;
use handfast::manager::ClusterManager;
use handfast::memory::Backing;
use handfast::storage::StorageError;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

fn persistent() -> LogConfig {
    plain().acknowledge(Acknowledge::Persistent)
}

/// Opens node `index` of a pair of this name with a log that is refused: its files are.
pub(crate) fn refused(name: &str, index: usize, log: LogConfig) -> StorageError {
    match refused_at_all(name, index, log) {
        LogError::Storage(error) => error,
        other => panic!("refused for another reason: {other}"),
    }
}

pub(crate) fn refused_at_all(name: &str, index: usize, log: LogConfig) -> LogError {
    let name = format!("{name}-{}", std::process::id());
    let mut manager = ClusterManager::boot(under_test::fabric(), config(&name, index)).expect("boot");
    match MirroredLog::open(log, &mut manager) {
        Err(Error::Log(error)) => error,
        other => panic!("not refused: {:?}", other.map(|_| ()).map_err(|error| error.to_string())),
    }
}

/// The number of records in a file that are whole.
pub(crate) fn records(path: &Path) -> usize {
    let file = fs::File::open(path).expect("a file");
    Records::open(file).expect("a log").inspect(|record| assert!(record.is_ok())).count()
}

fn persistent_append(pair: &mut Pair, number: usize) {
    assert_eq!(pair.append(0, &payload(number)).1, Acknowledgement::Persistent);
}

/// A log that keeps its partner's records in `path`, and one record there.
pub(crate) fn kept(title: &str, path: &Path) -> Pair {
    let mut pair = Pair::new(title);
    pair.start_both([persistent(), plain().keep(path)]);
    pair.until_mirrored(0);
    persistent_append(&mut pair, 1);
    pair
}

pub(crate) fn a_file_in_use_or_of_others_is_refused_by_name() {
    let folder = folder_on_disk();
    let path = folder.path().join("copy");
    let mut pair = kept("log-in-use", &path);
    let error = refused("log-in-use-other", 1, plain().keep(&path));
    assert!(matches!(&error, StorageError::InUse { by, .. } if by.contains("held by node")), "{error}");
    // The node's own term file is tried too, before it is needed.
    let nowhere = OnLoss::GoOnAlone { term_file: folder.path().join("nowhere/term") };
    let error = refused("log-term", 1, plain().on_loss(nowhere));
    assert!(error.to_string().contains("nowhere/term") && error.to_string().contains("ENOENT"), "{error}");
    persistent_append(&mut pair, 2);
    drop(pair);
    let before = fs::read(&path).expect("a file");
    // Node 0 of another pair, which copied its settings.
    let error = refused("log-in-use-other", 0, plain().keep(&path));
    assert!(matches!(&error, StorageError::Foreign { .. }), "{error}");
    assert!(fs::read(&path).expect("a file") == before, "it was left as it is");
    let error = refused("log-folder", 1, plain().keep(folder.path()));
    assert!(matches!(&error, StorageError::NoFile { .. }), "{error}");
}

pub(crate) fn a_file_that_others_take_away_is_written_anew() {
    let folder = folder_on_disk();
    let path = folder.path().join("copy");
    let mut pair = kept("log-taken-away", &path);
    let mut number = 1;
    for what in ["removed", "cut short", "replaced"] {
        pair.side(1).events.clear();
        match what {
            "removed" => fs::remove_file(&path).expect("removed"),
            "cut short" => fs::File::create(&path).map(|_| ()).expect("emptied"),
            _ => {
                fs::write(path.with_extension("old"), b"").expect("an old one");
                fs::rename(path.with_extension("old"), &path).expect("renamed");
            }
        }
        number += 1;
        persistent_append(&mut pair, number);
        assert_eq!(records(&path), number, "{what}: all of them are in the file that has the name");
        let told = |event: &LogEvent| matches!(event, LogEvent::KeepFailed(error) if error.to_string().contains(what));
        assert!(has(pair.side(1), told), "{what}: {:?}", pair.side(1).events);
        pair.until("kept again", |pair| has(pair.side(1), |event| matches!(event, LogEvent::KeptAgain)));
    }
}

fn alone(term_file: &Path) -> OnLoss {
    OnLoss::GoOnAlone { term_file: term_file.to_owned() }
}

/// By any of its names.
pub(crate) fn a_file_of_two_roles_is_refused_by_name() {
    let folder = folder_on_disk();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("file"), b"").expect("a file");
    fs::hard_link(path("file"), path("second")).expect("a second name");
    std::os::unix::fs::symlink(path("file"), path("link")).expect("a link");
    std::os::unix::fs::symlink(path("none"), path("leads-nowhere")).expect("a link");
    for (one, other) in
        [("none", "none"), ("file", "second"), ("file", "link"), ("link", "second"), ("none", "leads-nowhere")]
    {
        let (one, other) = (path(one), path(other));
        let ring = |path: &Path| plain().backing(Backing::File(path.to_owned()));
        for (log, roles) in [
            (ring(&one).keep(&other), ["the ring", "the kept file"]),
            (ring(&one).on_loss(alone(&other)), ["the ring", "the term file"]),
            (plain().keep(&one).on_loss(alone(&other)), ["the kept file", "the term file"]),
        ] {
            let error = refused_at_all("log-roles", 1, log);
            let told = error.to_string();
            assert!(
                matches!(error, LogError::SameFile { .. }) && roles.iter().all(|role| told.contains(role)),
                "{told}"
            );
        }
    }
    for (suffix, role) in [(".lock", "the lock of the kept file"), (".taken", "a takeover"), (".new", "the next kept")]
    {
        let term = path(&format!("kept{suffix}"));
        let error = refused_at_all("log-roles", 1, plain().keep(path("kept")).on_loss(alone(&term)));
        assert!(matches!(error, LogError::SameFile { .. }) && error.to_string().contains(role), "{error}");
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 4, "nothing was made");
}

/// In whichever roles: who came second is told who has it, and the file is left as it is.
pub(crate) fn a_file_of_another_log_is_refused_in_any_role() {
    let folder = folder_on_disk();
    let (kept, term) = (folder.path().join("kept"), folder.path().join("term"));
    let link = folder.path().join("link-to-the-term");
    std::os::unix::fs::symlink(&term, &link).expect("a link");
    fs::write(&term, b"3\n").expect("a term");
    fs::set_permissions(&term, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("mine");
    let mut pair = Pair::new("log-shared-files");
    pair.start_both([persistent(), plain().keep(&kept).on_loss(alone(&link))]);
    pair.until_mirrored(0);
    persistent_append(&mut pair, 1);
    // The keeper may still write a header.
    let records_of = |path: &Path| fs::read(path).expect("a file")[RING_OFFSET as usize..].to_vec();
    let (before, noted) = (records_of(&kept), fs::read(&term).expect("a term"));
    assert!(noted.starts_with(b"3 "), "that of an earlier release has a checksum now");
    let ring = |path: &Path| plain().backing(Backing::File(path.to_owned()));
    for (log, by) in [
        (plain().on_loss(alone(&term)), "the term of log wal of node"),
        (plain().on_loss(alone(&link)), "the term of log wal of node"),
        (plain().keep(&term), "the term of log wal of node"),
        (ring(&term), "the term of log wal of node"),
        (ring(&kept), "the copy of log wal held by node"),
    ] {
        let error = refused("log-shared-files-other", 1, log);
        assert!(matches!(&error, StorageError::InUse { by: who, .. } if who.contains(by)), "{error}");
    }
    // What is kept is no term.
    let error = refused_at_all("log-shared-files-other", 1, plain().on_loss(alone(&kept)));
    assert!(error.to_string().contains("holds no term"), "{error}");
    assert_eq!(fs::read(&term).expect("a term"), noted);
    assert!(records_of(&kept) == before);
    persistent_append(&mut pair, 2);
    // A log gives its term file back at its end.
    pair.end(1);
    pair.until_lost(0);
    pair.start(1, plain().keep(&kept).on_loss(alone(&term)));
    pair.until_mirrored(0);
    persistent_append(&mut pair, 3);
}

/// In memory every sync succeeds. A ring may lie there: it promises nothing.
pub(crate) fn a_file_in_memory_is_refused_by_name() {
    let shared = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let term = alone(&shared.path().join("term"));
    for (file, log) in [("kept", plain().keep(shared.path().join("kept"))), ("term", plain().on_loss(term))] {
        let error = refused("log-in-memory", 1, log);
        assert!(
            matches!(&error, StorageError::NoDisk { path, file_system: "tmpfs" } if path.ends_with(file)),
            "{error}"
        );
    }
    assert_eq!(fs::read_dir(shared.path()).expect("a folder").count(), 0, "nothing is left there");
    let mut pair = Pair::new("log-ring-in-memory");
    pair.start_both([plain().backing(Backing::File(shared.path().join("ring"))), plain()]);
    pair.until_mirrored(0);
    assert_eq!(pair.append(0, &payload(1)).1, Acknowledgement::Placed);
}

/// The file goes where the link leads, and stays there when it is replaced.
pub(crate) fn a_symbolic_link_is_followed_and_stays() {
    let (folder, disk) = (folder_on_disk(), folder_on_disk());
    let (link, target) = (folder.path().join("copy"), disk.path().join("on-the-large-disk"));
    std::os::unix::fs::symlink(&target, &link).expect("a link");
    let pair = kept("log-link", &link);
    assert!(fs::symlink_metadata(&link).expect("the link").is_symlink());
    assert!(fs::symlink_metadata(&target).expect("the file").is_file());
    assert_eq!(records(&target), 1);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing else lies beside the link");
    // By another name it is the same file.
    let error = refused("log-link-other", 1, plain().keep(&target));
    assert!(matches!(error, StorageError::InUse { .. }), "{error}");
    drop(pair);
    let endless = folder.path().join("endless");
    std::os::unix::fs::symlink(&endless, &endless).expect("a link to itself");
    let error = refused("log-endless", 1, plain().keep(&endless));
    assert!(error.to_string().contains("ELOOP"), "{error}");
}

/// Why the file could not be kept, as its node was told.
pub(crate) fn is_told(pair: &mut Pair, why: impl Fn(&StorageError) -> bool) -> bool {
    has(pair.side(1), |event| matches!(event, LogEvent::KeepFailed(LogError::Storage(error)) if why(error)))
}

pub(crate) fn is_kept_again(pair: &mut Pair) -> bool {
    has(pair.side(1), |event| matches!(event, LogEvent::KeptAgain))
}

pub(crate) fn rounds_for(pair: &mut Pair, time: Duration) {
    pair.rounds_for(time);
}

/// A record that the partner has, and that is not on its disk: nothing is acknowledged for so long.
pub(crate) fn append_unkept(pair: &mut Pair, number: usize, time: Duration) -> Lsn {
    let lsn = pair.side(0).producer.append(&payload(number)).expect("room");
    rounds_for(pair, time);
    assert!(pair.side(0).log.durable() <= lsn, "acknowledged, and on no disk");
    lsn
}

/// Others put a file of their own there, or take the folder away: it is tried again until the name
/// is free.
pub(crate) fn a_name_that_others_take_is_waited_for() {
    for level in [Acknowledge::Persistent, Acknowledge::Placed] {
        let above = folder_on_disk();
        let folder = above.path().join("folder");
        fs::create_dir(&folder).expect("a folder");
        let path = folder.join("copy");
        let mut pair = Pair::new("log-name-taken");
        pair.start_both([plain().acknowledge(level), plain().keep(&path)]);
        pair.until_mirrored(0);
        pair.append(0, &payload(1));
        pair.until("the file", |_| path.exists() && records(&path) == 1);
        // The header that tells of the acknowledgement is written a little later, and looked after.
        rounds_for(&mut pair, Duration::from_millis(300));
        // From here on nothing is written, and it is found all the same.
        fs::rename(&path, folder.join("mine")).expect("taken away");
        fs::write(&path, b"a letter").expect("put there");
        pair.until("words", |pair| is_told(pair, |error| matches!(error, StorageError::Gone { .. })));
        let mut number = 1;
        for (what, name_is_free) in [("a letter", false), ("no folder", true)] {
            number += 1;
            let lsn = match level {
                Acknowledge::Persistent => append_unkept(&mut pair, number, Duration::from_millis(300)),
                _ => pair.append(0, &payload(number)).0,
            };
            pair.until("why", |pair| match name_is_free {
                false => is_told(pair, |error| matches!(error, StorageError::Foreign { path: at, .. } if *at == path)),
                true => is_told(pair, |error| error.to_string().contains("ENOENT")),
            });
            let gone = if name_is_free { "removed" } else { "replaced by another file" };
            assert!(is_told(&mut pair, |error| matches!(error, StorageError::Gone { what, .. } if *what == gone)));
            assert_eq!(has(pair.side(0), |event| matches!(event, LogEvent::NotKept)), level == Acknowledge::Persistent);
            assert!(!is_kept_again(&mut pair));
            if name_is_free {
                fs::create_dir(&folder).expect("a folder");
            } else {
                assert_eq!(fs::read(&path).expect("a letter"), b"a letter", "it is left as it is");
                fs::remove_file(&path).expect("moved away");
            }
            pair.until("kept again", is_kept_again);
            pair.until("acknowledged", |pair| pair.side(0).log.durable() > lsn);
            pair.until("all of it", |_| path.exists() && records(&path) == number);
            eprintln!("{level:?}, {what}: {:?}", pair.side(1).events);
            pair.side(0).events.clear();
            pair.side(1).events.clear();
            if !name_is_free {
                fs::remove_dir_all(&folder).expect("no folder");
            }
        }
    }
}

/// The lock beside is by name; the file's own is not.
pub(crate) fn a_file_of_two_names_is_one_logs() {
    let folder = folder_on_disk();
    let (path, second) = (folder.path().join("copy"), folder.path().join("second"));
    let mut pair = kept("log-two-names", &path);
    fs::hard_link(&path, &second).expect("a second name");
    let error = refused("log-two-names-other", 1, plain().keep(&second));
    assert!(matches!(&error, StorageError::InUse { by, .. } if by.contains("the copy of log wal held by")), "{error}");
    persistent_append(&mut pair, 2);
    assert!(!is_told(&mut pair, |_| true), "a second name is no harm");
    // A new file takes the one name; the other keeps what was written until that was found out, by the next write or before.
    fs::remove_file(&path).expect("removed");
    persistent_append(&mut pair, 3);
    persistent_append(&mut pair, 4);
    assert_eq!(records(&path), 4);
    assert!((2..=3).contains(&records(&second)), "{}", records(&second));
}

/// A ring's name may lead to a file of something else by mistake: it stays as it is, and nothing is mapped of it.
pub(crate) fn a_file_that_is_no_ring_is_left_as_it_is() {
    let folder = folder_on_disk();
    let path = folder.path().join("ring");
    let in_memory = format!("handfast-no-ring-{}", std::process::id());
    let ring_bytes = usize::try_from(RING).expect("a ring");
    let mut image = vec![0; 9000];
    image.push(1);
    let picture: Vec<u8> = (0..2 * ring_bytes).map(|at| (at % 251) as u8).collect();
    for content in [b"a letter of a friend\n".repeat(24), picture[..ring_bytes + 8192].to_vec(), picture, image] {
        for start in [Start::Restore, Start::GiveUpMissing, Start::New] {
            let shared = Path::new("/dev/shm").join(&in_memory);
            let backings = [Backing::File(path.clone()), Backing::SharedMemory(in_memory.clone())];
            for (path, backing) in [&path, &shared].into_iter().zip(backings) {
                fs::write(path, &content).expect("a file");
                fs::set_permissions(path, Permissions::from_mode(0o600)).expect("a file of this user alone");
                let error = refused("log-no-ring", 0, plain().backing(backing).start(start));
                let told = error.to_string();
                assert!(matches!(&error, StorageError::Foreign { .. }), "{start:?}: {told}");
                assert!(
                    told.contains(path.to_str().expect("a name")) && told.contains("move the other away"),
                    "{told}"
                );
                assert!(fs::read(path).expect("a file") == content, "{start:?}: {} bytes", content.len());
                fs::remove_file(path).expect("a file");
            }
        }
    }
    // Nothing is in these.
    for bytes in [0, 500, ring_bytes + 8192, 3 * ring_bytes] {
        fs::write(&path, vec![0; bytes]).expect("a file");
        let mut pair = Pair::new("log-empty-ring");
        pair.start_both([plain().backing(Backing::File(path.clone())), plain()]);
        pair.until_mirrored(0);
        pair.append(0, b"first");
        drop(pair);
        fs::remove_file(&path).expect("a file");
    }
}
