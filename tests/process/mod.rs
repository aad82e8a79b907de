//! What the tests with several processes share: a node that obeys commands, the child process it runs in, and chance by seed.
#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod child;
pub(crate) mod node;
pub(crate) mod random;
pub(crate) mod role;
pub(crate) mod sys;
pub(crate) mod worker;

use std::path::PathBuf;

/// Whether the full length is wanted: minutes instead of seconds.
pub(crate) fn is_long() -> bool {
    std::env::var_os("HANDFAST_LONG").is_some_and(|value| value == "1")
}

/// A folder on a disk: a log keeps nothing in memory that is to outlive it. `HANDFAST_DISK` says where,
/// as in the rig, whose guests have one; else it lies with what cargo builds, since /tmp may be memory.
pub(crate) fn folder_on_disk() -> tempfile::TempDir {
    let place = std::env::var_os("HANDFAST_DISK").map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
    tempfile::tempdir_in(place).expect("a folder on a disk")
}

/// What handfast has in /dev/shm under a name.
pub(crate) fn files_of(name: &str) -> Vec<PathBuf> {
    let prefix = format!("handfast.{name}.");
    let entries = std::fs::read_dir("/dev/shm").expect("/dev/shm can be listed");
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&prefix))).collect()
}
