//! The adapter on a log in plain memory: what is rebuilt from every prefix of the log, and what is refused.
//!
//! Crashes of the partner are played by dropping a follower that has not claimed what it applied.

mod crashes;
mod follow;
mod memory_log;
mod prefixes;
mod primary;

use crate::clients::mirrored_log::{LogHeader, Records};
use crate::engines::redb::backend::Backend;
use crate::engines::redb::{Follower, FollowerOptions, MirrorOptions, RebuildError, RebuildReport, rebuild};
use memory_log::MemoryLog;
use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

type Outcome = Result<(), Box<dyn Error>>;
/// What came of a rebuild: the file's bytes.
type Rebuilt = Result<(Vec<u8>, RebuildReport), RebuildError>;

/// In memory: every rebuilt file is synced.
fn folder() -> std::io::Result<TempDir> {
    tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { Path::new("/dev/shm") } else { Path::new("/tmp") })
}

fn options() -> MirrorOptions {
    MirrorOptions::new().wait_max(Duration::from_secs(5)).piece_bytes(4096)
}

/// A file with this content, and a backend over it.
fn backend(
    folder: &TempDir,
    content: &[u8],
    log: &MemoryLog,
    options: MirrorOptions,
) -> Result<Backend<MemoryLog>, Box<dyn Error>> {
    let path = folder.path().join("primary");
    std::fs::write(&path, content)?;
    let file = File::options().read(true).write(true).open(path)?;
    Ok(Backend::new(file, log.clone(), options)?)
}

fn primary(folder: &TempDir) -> std::io::Result<Vec<u8>> {
    std::fs::read(folder.path().join("primary"))
}

/// A follower that claims after every call.
fn follower(folder: &TempDir) -> Result<Follower, Box<dyn Error>> {
    Ok(Follower::open(folder.path().join("images"), FollowerOptions::new().claim_bytes(0))?)
}

fn records((header, area): (LogHeader, Vec<u8>)) -> Result<Records<Vec<u8>>, Box<dyn Error>> {
    Ok(Records::with_header(area, header)?)
}

/// What is rebuilt from the images and this log.
fn rebuilt(folder: &TempDir, log: Option<(LogHeader, Vec<u8>)>) -> Result<Rebuilt, Box<dyn Error>> {
    let target = folder.path().join("rebuilt");
    let mut records = log.map(records).transpose()?;
    let report = rebuild(folder.path().join("images"), records.as_mut(), &target);
    assert!(!folder.path().join("rebuilt.rebuild").exists(), "nothing is left behind");
    Ok(match report {
        Ok(report) => Ok((std::fs::read(target)?, report)),
        Err(error) => Err(error),
    })
}
