//! Remedies of the files of a log: what is in the way is moved, ended or given another name.

use crate::pair::{Pair, RING, has, plain};
use crate::process::folder_on_disk;
use crate::process::node::config;
use crate::under_test;
use handfast::clients::mirrored_log::{Acknowledge, LogConfig, LogEvent, MirroredLog, OnLoss, Start};
use handfast::manager::ClusterManager;
use handfast::memory::Backing;
use std::fs;
use std::path::Path;

/// What the log of node `index` of a pair of this name is refused with; empty where it opens.
fn refusal(title: &str, index: usize, log: LogConfig) -> String {
    let name = format!("{title}-{}", std::process::id());
    let mut manager = ClusterManager::boot(under_test::fabric(), config(&name, index)).expect("boot");
    MirroredLog::open(log, &mut manager).err().map(|error| error.to_string()).unwrap_or_default()
}

fn refused_then_opened(title: &str, refused: LogConfig, wanted: &str, mended: LogConfig) {
    let told = refusal(title, 0, refused);
    assert!(told.contains(wanted), "{wanted} is missing from: {told}");
    assert_eq!(refusal(title, 0, mended), "", "{wanted}: the remedy does not help");
}

fn ring(path: &Path) -> LogConfig {
    plain().backing(Backing::File(path.to_owned()))
}

#[test]
fn a_file_of_its_own_is_given_as_the_refusal_says() {
    let (folder, memory) = (folder_on_disk(), tempfile::tempdir_in("/dev/shm").expect("a folder in memory"));
    let path = |name: &str| folder.path().join(name);
    let title = "messages-own";
    let kept = |path: &Path| plain().keep(path);
    let term = |name: &str| OnLoss::GoOnAlone { term_file: path(name) };
    refused_then_opened(
        title,
        ring(&path("one")).keep(path("one")),
        "give each a file of its own",
        ring(&path("one")).keep(path("two")),
    );
    refused_then_opened(
        title,
        kept(folder.path()),
        "give the path of a file, or of one that is not there yet",
        kept(&path("three")),
    );
    refused_then_opened(title, kept(&memory.path().join("kept")), "Give a path on a disk", kept(&path("four")));
    refused_then_opened(
        title,
        kept(&path("x")).on_loss(term("x")),
        "file of its own",
        kept(&path("x")).on_loss(term("y")),
    );
}

#[test]
fn a_file_that_is_in_use_is_free_once_its_user_ends() {
    let folder = folder_on_disk();
    let (kept, rings) = (folder.path().join("kept"), folder.path().join("ring"));
    let mut pair = Pair::new("messages-in-use");
    pair.start_both([ring(&rings).acknowledge(Acknowledge::Persistent), plain().keep(&kept)]);
    pair.until_mirrored(0);
    let other = "messages-in-use-other";
    let told = refusal(other, 1, plain().keep(&kept));
    assert!(told.contains("is in use by") && told.contains("end that, or give this one a file of its own"), "{told}");
    assert_eq!(refusal(other, 1, plain().keep(folder.path().join("own"))), "");
    let told = refusal(other, 0, ring(&rings));
    assert!(told.contains("is in use by"), "{told}");
    assert_eq!(refusal(other, 0, ring(&folder.path().join("own-ring"))), "");
    pair.end(0);
    pair.until_lost(1);
    pair.end(1);
    // Its user ended. It is its owner's still, who moves it away or takes another.
    pair.start_both([ring(&rings), plain().keep(&kept)]);
    pair.until_mirrored(0);
    drop(pair);
    for (path, index) in [(&kept, 0), (&rings, 1)] {
        let log = || if index == 0 { plain().keep(path) } else { ring(path) };
        let told = refusal(other, index, log());
        assert!(told.contains("Give this one a file of its own, or move the other away"), "{told}");
        fs::rename(path, path.with_extension("moved")).expect("moved away");
        assert_eq!(refusal(other, index, log()), "");
    }
}

#[test]
fn a_ring_that_another_log_has_is_free_once_that_ends() {
    let name = format!("handfast-messages-{}.ring", std::process::id());
    let file = Path::new("/dev/shm").join(&name);
    let log = |name: &str| plain().backing(Backing::SharedMemory(name.to_owned()));
    let mut pair = Pair::new("messages-ring");
    pair.start_both([log(&name), plain()]);
    pair.until_mirrored(0);
    let told = refusal("messages-ring-other", 0, log(&name));
    assert!(told.contains("is in use by another log: end its process, or give this log a ring of its own"), "{told}");
    let own = format!("{name}-own");
    assert_eq!(refusal("messages-ring-other", 0, log(&own)), "");
    drop(pair);
    fs::remove_file(&file).expect("its ring");
    assert_eq!(refusal("messages-ring-other", 0, log(&name)), "");
    for name in [&name, &own] {
        fs::remove_file(Path::new("/dev/shm").join(name)).expect("a ring");
    }
}

/// Without a state file: with one the ring alone is not all that is to be moved.
#[test]
fn what_cannot_be_gone_on_with_is_moved_away() {
    let folder = folder_on_disk();
    let path = folder.path().join("ring");
    let mut pair = Pair::new("messages-unusable");
    pair.start_both([ring(&path), plain()]);
    pair.until_mirrored(0);
    pair.append(0, b"a record");
    pair.end(0);
    pair.until_lost(1);
    let mut damaged = fs::read(&path).expect("a ring");
    (damaged[0], damaged[4096]) = (b'x', b'x');
    fs::write(&path, &damaged).expect("a ring");
    let mut manager = ClusterManager::boot(under_test::fabric(), config(&pair.name, 0)).expect("boot");
    let told = MirroredLog::open(ring(&path), &mut manager).expect_err("refused").to_string();
    assert!(told.contains("cannot be gone on with") && told.contains("To begin without it move it away"), "{told}");
    drop(manager);
    fs::rename(&path, folder.path().join("moved")).expect("moved away");
    pair.start(0, ring(&path));
    pair.until_mirrored(0);
    assert_eq!(pair.own(0).len(), 1, "what the partner has came back");
}

#[test]
fn a_ring_of_another_log_than_the_state_files_is_moved_away() {
    let folder = folder_on_disk();
    let (path, state) = (folder.path().join("ring"), folder.path().join("state"));
    let log = || ring(&path).state_file(&state);
    let mut pair = Pair::new("messages-other-log");
    pair.start_both([log(), plain()]);
    pair.until_mirrored(0);
    pair.append(0, b"of before");
    pair.end(0);
    pair.until_lost(1);
    let before = fs::read(&path).expect("a ring");
    pair.start(0, log().start(Start::New));
    pair.until_mirrored(0);
    pair.append(0, b"of now");
    pair.end(0);
    for is_partner_there in [true, false] {
        fs::write(&path, &before).expect("brought back");
        if !is_partner_there {
            pair.end(1);
            pair.start(1, plain());
        }
        pair.start(0, log());
        let told = told_at_its_end(&mut pair, 0);
        assert!(
            told.contains("the state file says that log") && told.contains("To begin without it move it away"),
            "{told}"
        );
        pair.end(0);
        fs::rename(&path, folder.path().join("moved")).expect("moved away");
        pair.start(0, log());
        if !is_partner_there {
            // What the state file knows of is nowhere: that is asked about next.
            let told = told_at_its_end(&mut pair, 0);
            assert!(told.contains("start once with Start::GiveUpMissing"), "{told}");
            pair.end(0);
            pair.start(0, log().start(Start::GiveUpMissing));
        }
        pair.until_mirrored(0);
        assert_eq!(pair.own(0).len(), usize::from(is_partner_there));
        pair.end(0);
    }
}

#[cfg(feature = "redb")]
#[test]
fn a_followers_folder_is_free_once_that_ends() {
    use handfast::engines::redb::{Follower, FollowerOptions};
    let folder = folder_on_disk();
    let open = |name: &str| Follower::open(folder.path().join(name), FollowerOptions::new());
    let first = open("images").expect("a folder");
    let told = open("images").expect_err("in use").to_string();
    assert!(told.contains("end that, or give this follower a folder of its own"), "{told}");
    drop(open("own").expect("a folder of its own"));
    drop(first);
    open("images").expect("it has ended");
}

#[test]
fn a_ring_of_another_size_is_set_as_it_says_or_begun_anew() {
    let mut pair = Pair::new("messages-size");
    pair.start_both([plain(), plain()]);
    pair.until_mirrored(0);
    pair.append(0, b"a record");
    for start_anew in [false, true] {
        pair.end(0);
        pair.until_lost(1);
        let half = plain().ring_bytes(RING / 2);
        pair.start(0, half.clone());
        let told = told_at_its_end(&mut pair, 0);
        let advice = format!("set ring_bytes to {RING}, or start with Start::New");
        assert!(told.contains(&advice), "{told}");
        pair.end(0);
        pair.side(1).events.clear();
        let mended = if start_anew { half.start(Start::New) } else { plain() };
        pair.start(0, mended);
        pair.until_mirrored(0);
        assert_eq!(pair.own(0).len(), usize::from(!start_anew));
        pair.side(1).events.clear();
    }
}

/// What a log that ends is ended with.
pub(crate) fn told_at_its_end(pair: &mut Pair, index: usize) -> String {
    pair.until("its end", |pair| has(pair.side(index), |event| matches!(event, LogEvent::Ended(_))));
    let end = |event: &LogEvent| if let LogEvent::Ended(why) = event { Some(why.to_string()) } else { None };
    pair.side(index).events.iter().find_map(end).expect("its end")
}
