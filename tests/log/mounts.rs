//! Where a copy is kept on what only a mount makes: a file that is mounted by itself, a small disk.
//!
//! Each case is a process of its own in a mount namespace of its own. Where that is not to be had
//! it is skipped, and says why.

use crate::pair::{Pair, has, payload, plain};
use crate::places::{append_unkept, is_kept_again, is_told, kept, records, refused, rounds_for};
use crate::process::child::{Child, command};
use crate::process::folder_on_disk;
use crate::process::role::variable;
use handfast::clients::mirrored_log::{Acknowledge, Acknowledgement, LogError, LogEvent, OnLoss};
use handfast::memory::Backing;
use handfast::storage::StorageError;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What a case that needs mounts of its own finds its files by.
const FOLDER: &str = "HANDFAST_TEST_FOLDER";

/// Runs a role of this program where `mounts`, a line of a shell, was obeyed: in a mount namespace
/// of its own, which ends with it. Says why where that is not to be had.
fn where_mounted(role: &str, folder: &Path, mounts: &str) {
    let script = format!("set -e; cd \"${FOLDER}\"; {mounts}; exec \"$@\"");
    let unshare = |ways: &[&str]| {
        let mut unshare = Command::new("unshare");
        unshare.args(ways).args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]);
        unshare.env(FOLDER, folder);
        unshare
    };
    let mut problems = Vec::new();
    // As root, else as whoever is root in a user namespace.
    for ways in [&[][..], &["--user", "--map-root-user"]] {
        match unshare(ways).arg("true").output() {
            Ok(output) if output.status.success() => {
                let (mut unshare, command) = (unshare(ways), command(role, &[]));
                unshare.arg(command.get_program()).args(command.get_args());
                unshare.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
                let mut child = Child::run(role, unshare);
                let done = child.wait_for(0, "done", Instant::now() + Duration::from_secs(120));
                let ended = child.end(Duration::from_secs(20));
                match (done, ended) {
                    (Ok(done), Ok((status, said))) if status.success() => return eprintln!("{said}{done}"),
                    (done, ended) => panic!("{done:?}, {ended:?}"),
                }
            }
            Ok(output) => problems.push(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => problems.push(error.to_string()),
        }
    }
    eprintln!("SKIPPED: {role}: `{mounts}` in a mount namespace: {}", problems.join("; "));
}

/// The folder of a case that [`where_mounted`] runs.
fn folder_given() -> PathBuf {
    variable(FOLDER).expect("a folder").into()
}

/// What [`where_mounted`] runs; whether there is such a role.
pub(crate) fn run(role: &str) -> bool {
    match role {
        "a file that is mounted" => a_mounted_file(&folder_given()),
        "a full disk" => {
            for level in [Acknowledge::Persistent, Acknowledge::Placed] {
                a_full_disk(&folder_given().join("disk"), level);
            }
            a_term_on_a_full_disk(&folder_given().join("disk"));
            a_state_on_a_full_disk(&folder_given().join("disk"));
        }
        _ => return false,
    }
    true
}

/// It cannot be replaced: rename(2) says EBUSY.
pub(crate) fn a_file_that_is_mounted_by_itself_is_refused_by_name() {
    let folder = folder_on_disk();
    fs::write(folder.path().join("file"), b"").expect("a file");
    fs::write(folder.path().join("kept"), b"").expect("a file");
    where_mounted("a file that is mounted", folder.path(), "mount --bind file kept");
}

fn a_mounted_file(folder: &Path) {
    let (path, link) = (folder.join("kept"), folder.join("link"));
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    for name in [&path, &link] {
        let error = refused("log-mounted", 1, plain().keep(name));
        let wanted = StorageError::MountPoint { path: path.canonicalize().expect("a file") };
        assert_eq!(error, wanted);
    }
    assert!(!folder.join("kept.lock").exists(), "nothing is left beside it");
    // One that is mounted while a log has the name.
    let path = folder.join("later");
    let mut pair = kept("log-mounted-later", &path);
    fs::write(folder.join("file"), b"a letter").expect("another file");
    let mount = Command::new("mount").arg("--bind").args([folder.join("file"), path.clone()]).status();
    assert!(mount.expect("mount(8)").success());
    let lsn = append_unkept(&mut pair, 2, Duration::from_millis(300));
    assert!(is_told(&mut pair, |error| error.to_string().contains("replaced by another file")));
    assert!(is_told(&mut pair, |error| matches!(error, StorageError::Foreign { .. })), "{:?}", pair.side(1).events);
    fs::write(folder.join("file"), b"").expect("emptied");
    pair.until("that it cannot be replaced", |pair| {
        let busy = |error: &StorageError| {
            error.to_string().contains("putting in place") && error.to_string().contains("EBUSY")
        };
        is_told(pair, busy)
    });
    assert!(pair.side(0).log.durable() <= lsn && !is_kept_again(&mut pair));
    assert!(Command::new("umount").arg(&path).status().expect("umount(8)").success());
    pair.until("kept again", is_kept_again);
    pair.until("acknowledged", |pair| pair.side(0).log.durable() > lsn);
    assert_eq!(records(&path), 2);
    in_memory(folder);
}

/// Memory that is mounted before a log has the name, and while it has.
fn in_memory(folder: &Path) {
    let mount = |kind: &str, at: &Path| Command::new("mount").args(["-t", kind, "none"]).arg(at).output();
    for kind in ["tmpfs", "ramfs", "hugetlbfs"] {
        let at = folder.join(kind);
        fs::create_dir(&at).expect("a folder");
        let mounted = mount(kind, &at).expect("mount(8)");
        if !mounted.status.success() {
            eprintln!("SKIPPED: {kind}: {}", String::from_utf8_lossy(&mounted.stderr));
            continue;
        }
        let error = refused("log-on-memory", 1, plain().keep(at.join("kept")));
        assert!(matches!(&error, StorageError::NoDisk { file_system, .. } if *file_system == kind), "{error}");
        assert_eq!(fs::read_dir(&at).expect("a folder").count(), 0, "nothing is left there");
    }
    let at = folder.join("later-memory");
    fs::create_dir(&at).expect("a folder");
    let path = at.join("copy");
    let mut pair = kept("log-memory-later", &path);
    assert!(mount("tmpfs", &at).expect("mount(8)").status.success());
    let lsn = append_unkept(&mut pair, 2, Duration::from_millis(500));
    assert!(is_told(&mut pair, |error| error.to_string().contains("removed")));
    assert!(is_told(&mut pair, |error| matches!(error, StorageError::NoDisk { .. })), "{:?}", pair.side(1).events);
    assert!(pair.side(0).log.durable() <= lsn);
    assert!(Command::new("umount").arg("-l").arg(&at).status().expect("umount(8)").success());
    pair.until("kept again", is_kept_again);
    pair.until("acknowledged", |pair| pair.side(0).log.durable() > lsn);
    assert_eq!(records(&path), 2);
}

/// Room that others give back is found by itself.
pub(crate) fn a_full_disk_that_gets_room_is_kept_on_again() {
    let folder = folder_on_disk();
    fs::create_dir(folder.path().join("disk")).expect("a folder");
    let image = fs::File::create(folder.path().join("image")).expect("a file");
    image.set_len(4 << 20).expect("a length");
    let made = Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(folder.path().join("image")).output();
    match made {
        Ok(output) if output.status.success() => {
            where_mounted("a full disk", folder.path(), "mount -o loop image disk")
        }
        Ok(output) => eprintln!("SKIPPED: a full disk: mkfs.ext4: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => eprintln!("SKIPPED: a full disk: mkfs.ext4: {error}"),
    }
}

/// Fills a disk to its last byte; what fills it, and how many bytes that has.
fn fill(disk: &Path) -> (fs::File, u64) {
    let mut filler = fs::File::options().append(true).create(true).open(disk.join("filler")).expect("a file");
    for piece in [64 << 10, 4096, 1] {
        while filler.write_all(&vec![7; piece]).is_ok() {}
    }
    filler.sync_all().expect("synced");
    let bytes = filler.metadata().expect("a length").len();
    (filler, bytes)
}

/// A shortage ends no log, and no person is needed once it has passed: not even where the manager is gone too.
fn a_term_on_a_full_disk(disk: &Path) {
    let mut pair = Pair::new("log-full-term");
    let term_file = disk.join("term");
    pair.start_both([plain().on_loss(OnLoss::GoOnAlone { term_file }), plain()]);
    pair.until_mirrored(0);
    let (filler, _) = fill(disk);
    let mut side = pair.take(0);
    drop(side.manager);
    let lsn = side.producer.append(&payload(1)).expect("room");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        side.poller.poll();
        side.events.extend(std::iter::from_fn(|| side.poller.next_event()));
    }
    let told = |event: &&LogEvent| matches!(event, LogEvent::Broken(LogError::Storage(why)) if why.to_string().contains("ENOSPC"));
    assert_eq!(side.events.iter().filter(told).count(), 1, "told once: {:?}", side.events);
    assert!(!side.events.iter().any(|event| matches!(event, LogEvent::Ended(_))), "{:?}", side.events);
    assert!(side.log.durable() <= lsn, "no term is kept, and it is acknowledged");
    filler.set_len(0).expect("room");
    while side.log.durable() <= lsn {
        assert!(began.elapsed() < Duration::from_secs(30), "not alone: {:?}", side.events);
        side.poller.poll();
        side.events.extend(std::iter::from_fn(|| side.poller.next_event()));
    }
    assert_eq!(side.log.wait(lsn), Ok(Acknowledgement::Alone));
    assert_eq!(side.events.iter().filter(told).count(), 1, "told once: {:?}", side.events);
}

/// A session begins and the disk of the state file is full: the log begins with it once there is room, and the session stands meanwhile. What the node
/// restores is in its ring by then, and is begun with though the partner has lost it.
fn a_state_on_a_full_disk(disk: &Path) {
    let ring = folder_on_disk();
    let log = || {
        let log = plain().backing(Backing::File(ring.path().join("ring")));
        log.state_file(disk.join("state"))
    };
    let full = |event: &LogEvent| matches!(event, LogEvent::Broken(LogError::Storage(why)) if why.to_string().contains("ENOSPC"));
    for partner_loses in [false, true] {
        let mut pair = Pair::new("log-full-state");
        pair.start_both([log(), plain()]);
        pair.until_mirrored(0);
        pair.append(0, &payload(1));
        pair.end(0);
        pair.until_lost(1);
        fs::remove_file(ring.path().join("ring")).expect("a ring");
        fs::remove_file(disk.join("state")).expect("a state");
        pair.start(0, log());
        let (filler, _) = fill(disk);
        pair.until("why", |pair| has(pair.side(0), full));
        pair.rounds_for(Duration::from_secs(1));
        let events = &pair.side(0).events;
        assert_eq!(events.iter().filter(|event| full(event)).count(), 1, "told once: {events:?}");
        let is_end = |event: &LogEvent| matches!(event, LogEvent::Ended(_) | LogEvent::Lost { .. });
        assert!(!events.iter().any(is_end), "the session is of use to others: {events:?}");
        assert!(pair.side(0).log.status().history.is_none());
        if partner_loses {
            pair.end(1);
            pair.until("loss", |pair| has(pair.side(0), |event| matches!(event, LogEvent::Lost { .. })));
            pair.start(1, plain());
            pair.rounds_for(Duration::from_millis(200));
        }
        filler.set_len(0).expect("room");
        pair.until_mirrored(0);
        assert_eq!(pair.own(0).len(), 1, "partner_loses: {partner_loses}");
        pair.append(0, &payload(2));
        drop(pair);
        fs::remove_file(ring.path().join("ring")).expect("a ring");
        fs::remove_file(disk.join("state")).expect("a state");
        fs::remove_file(disk.join("filler")).expect("a filler");
    }
}

fn is_full(error: &StorageError, tried: &str) -> bool {
    error.to_string().starts_with(tried) && error.to_string().contains("ENOSPC")
}

fn a_full_disk(disk: &Path, level: Acknowledge) {
    let path = disk.join(format!("copy-{level:?}"));
    let log = || plain().acknowledge(level);
    let (filler, bytes) = fill(disk);
    let error = refused("log-full", 1, plain().keep(&path));
    assert!(is_full(&error, "writing") && error.to_string().contains(".lock"), "{error}");
    // Room for the lock, and none for what is kept.
    filler.set_len(bytes - (64 << 10)).expect("a bit of room");
    filler.sync_all().expect("synced");
    let mut pair = Pair::new("log-full-disk");
    pair.start_both([log(), plain().keep(&path)]);
    pair.until_mirrored(0);
    let lsn = match level {
        Acknowledge::Persistent => append_unkept(&mut pair, 1, Duration::from_secs(1)),
        _ => pair.append(0, &payload(1)).0,
    };
    pair.until("why", |pair| is_told(pair, |error| is_full(error, "reserving room for")));
    assert_eq!(has(pair.side(0), |event| matches!(event, LogEvent::NotKept)), level == Acknowledge::Persistent);
    rounds_for(&mut pair, Duration::from_secs(1));
    assert!(!is_kept_again(&mut pair) && !path.exists());
    let failures = pair.side(1).events.iter().filter(|event| matches!(event, LogEvent::KeepFailed(_))).count();
    assert_eq!(failures, 1, "told once, however often it is tried: {:?}", pair.side(1).events);
    filler.set_len(0).expect("room");
    let began = Instant::now();
    pair.until("kept again", is_kept_again);
    eprintln!("{level:?}: kept again {:?} after there was room", began.elapsed());
    pair.until("acknowledged", |pair| pair.side(0).log.durable() > lsn);
    // The file has its room: a disk that is full again changes nothing for it.
    fill(disk);
    for number in 2..150 {
        pair.append(0, &payload(number));
    }
    assert_eq!(pair.side(1).events.iter().filter(|event| matches!(event, LogEvent::KeepFailed(_))).count(), 1);
    drop(pair);
    assert_eq!(records(&path), 149, "all of them are in the file");
    fs::remove_file(&path).expect("removed");
    fs::remove_file(disk.join("filler")).expect("removed");
}
