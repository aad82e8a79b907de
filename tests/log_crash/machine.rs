//! What a power cut leaves of a node's files: what was synced, and of the rest what chance says, page by page.

use crate::calls::{disk_of, names};
use crate::node::{Ring, Settings};
use crate::process::random::Random;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const PAGE_BYTES: usize = 4096;

/// Makes the folders of a node before its first life.
pub(crate) fn furnish(settings: &Settings) {
    std::fs::create_dir_all(&settings.folder).expect("the node's folder");
    std::fs::create_dir_all(disk_of(&settings.folder)).expect("the node's disk");
    boot(settings, 1);
}

fn boot(settings: &Settings, number: u64) {
    std::fs::write(settings.boot(), format!("{number:08x}-0000-4000-8000-{number:012x}\n")).expect("a boot's name");
}

/// What the ring is in, where its name outlives the process.
pub(crate) fn ring_path(settings: &Settings) -> Option<PathBuf> {
    match settings.ring {
        Ring::Anonymous => None,
        Ring::SharedMemory => Some(Path::new("/dev/shm").join(settings.shared_ring())),
        Ring::File => Some(settings.folder.join("ring")),
    }
}

/// The power of the node's machine goes, and comes again. Its process has ended before.
pub(crate) fn cut_power(settings: &Settings, random: &mut Random) {
    let (folder, disk) = (&settings.folder, disk_of(&settings.folder));
    let synced = std::fs::read_to_string(disk.join("names")).unwrap_or_default();
    let current = names(folder);
    // What happened to names since the last sync of the folder happened, or it did not.
    let named = if random.chance(2) { &synced } else { &current };
    let mut left = BTreeMap::new();
    for line in named.lines() {
        let (inode, name) = line.split_once(' ').expect("an inode and a name");
        left.insert(name.to_owned(), surviving(folder, &disk, inode, &current, random));
    }
    // A second folder, so that no inode of the first is used again while that is read.
    let next = folder.with_extension("next");
    std::fs::create_dir(&next).expect("a folder");
    for (name, bytes) in &left {
        std::fs::write(next.join(name), bytes).expect("a file");
    }
    std::fs::remove_dir_all(folder).expect("the node's folder");
    std::fs::remove_dir_all(&disk).expect("the node's disk");
    std::fs::rename(&next, folder).expect("the node's folder");
    std::fs::create_dir(&disk).expect("the node's disk");
    settle(folder, &disk);
    if settings.ring == Ring::SharedMemory
        && let Some(path) = ring_path(settings)
    {
        let _ = std::fs::remove_file(path.with_extension("new"));
        let _ = std::fs::remove_file(path);
    }
    boot(settings, 2 + random.below(1 << 40));
}

/// The bytes of a file after the cut.
fn surviving(folder: &Path, disk: &Path, inode: &str, current: &str, random: &mut Random) -> Vec<u8> {
    let synced = std::fs::read(disk.join(inode)).unwrap_or_default();
    let name =
        current.lines().find_map(|line| line.split_once(' ').filter(|(of, _)| *of == inode)).map(|(_, name)| name);
    let path = name.map_or_else(|| disk.join(format!("{inode}.held")), |name| folder.join(name));
    let cached = std::fs::read(path).unwrap_or_else(|_| synced.clone());
    // Its length may be either.
    let length = if random.chance(2) { synced.len() } else { cached.len() };
    let mut bytes = vec![0; length];
    // None of the pages, some, or all were written back.
    let written_back = random.below(3);
    for (number, page) in bytes.chunks_mut(PAGE_BYTES).enumerate() {
        let from = if written_back == 2 || (written_back == 1 && random.chance(2)) { &cached } else { &synced };
        let kept = from.get(number * PAGE_BYTES..).unwrap_or_default();
        let kept = &kept[..kept.len().min(page.len())];
        page[..kept.len()].copy_from_slice(kept);
    }
    bytes
}

/// Somebody removes a file, and its folder is synced.
pub(crate) fn remove(settings: &Settings, path: &Path) {
    use std::os::unix::fs::MetadataExt;
    let disk = disk_of(&settings.folder);
    // Its inode is nobody else's from here on.
    if let Ok(found) = std::fs::metadata(path).map(|found| found.ino()) {
        let _ = std::fs::hard_link(path, disk.join(format!("{found}.held")));
        let _ = std::fs::remove_file(path);
    }
    std::fs::write(disk.join("names"), names(&settings.folder)).expect("the names");
}

/// All that is in the folder is on the disk.
fn settle(folder: &Path, disk: &Path) {
    use std::os::unix::fs::DirEntryExt;
    for entry in std::fs::read_dir(folder).expect("the node's folder").flatten() {
        std::fs::copy(entry.path(), disk.join(entry.ino().to_string())).expect("a file of the disk");
    }
    std::fs::write(disk.join("names"), names(folder)).expect("the names");
}
