//! Where a copy may be kept, and what becomes of a file that others touch.

use crate::pair::{Pair, has, payload, plain};
use crate::process::folder_on_disk;
use crate::process::node::config;
use crate::under_test;
use handfast::clients::mirrored_log::{
    Acknowledge, Acknowledgement, LogConfig, LogError, LogEvent, MirroredLog, OnLoss, Records,
};
use handfast::error::Error;
use handfast::manager::ClusterManager;
use handfast::memory::Backing;
use handfast::storage::StorageError;
use std::fs;
use std::path::Path;

fn persistent() -> LogConfig {
    plain().acknowledge(Acknowledge::Persistent)
}

/// Opens node `index` of a pair of this name with a log that is refused.
fn refused(name: &str, index: usize, log: LogConfig) -> StorageError {
    let name = format!("{name}-{}", std::process::id());
    let mut manager = ClusterManager::boot(under_test::fabric(), config(&name, index)).expect("boot");
    match MirroredLog::open(log, &mut manager) {
        Err(Error::Log(LogError::Storage(error))) => error,
        other => panic!("not refused: {:?}", other.map(|_| ()).map_err(|error| error.to_string())),
    }
}

/// The number of records in a file that are whole.
fn records(path: &Path) -> usize {
    let file = fs::File::open(path).expect("a file");
    Records::open(file).expect("a log").inspect(|record| assert!(record.is_ok())).count()
}

fn persistent_append(pair: &mut Pair, number: usize) {
    assert_eq!(pair.append(0, &payload(number)).1, Acknowledgement::Persistent);
}

/// A log that keeps its partner's records in `path`, and one record there.
fn kept(title: &str, path: &Path) -> Pair {
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

/// In memory every sync succeeds. A ring may lie there: it promises nothing.
pub(crate) fn a_file_in_memory_is_refused_by_name() {
    let shared = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let term = OnLoss::GoOnAlone { term_file: shared.path().join("term") };
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
