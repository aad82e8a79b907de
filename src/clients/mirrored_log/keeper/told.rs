//! What the keeper's thread and its owner have in common.

use super::super::error::LogError;
use crate::storage::OnDisk;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Untold news that are remembered.
const NEWS_MAX: usize = 16;

/// What became of the file, for the log's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum KeepNews {
    /// It cannot be written.
    Failed(LogError),
    /// It is written again.
    Again,
}

/// What the thread and its owner have in common.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Of which copy, by the epoch, everything before `to` is on disk.
    pub(super) epoch: AtomicU64,
    pub(super) to: AtomicU64,
    pub(super) stop: AtomicBool,
    /// The file under the name says, on the disk, that it may lack what is acknowledged; or there is none of ours.
    pub(super) is_marked: AtomicBool,
    /// Nothing is kept at present.
    pub(super) is_failing: AtomicBool,
    /// Whether there is news to take: looked at without the lock.
    pub(super) has_news: AtomicBool,
    pub(super) news: Mutex<VecDeque<KeepNews>>,
}

impl Told {
    /// What is on the disk of the present copy.
    pub(super) fn persisted(&self, done: &OnDisk) {
        if done.position() > self.to.load(Ordering::Relaxed) {
            self.to.store(done.position(), Ordering::Release);
        }
    }

    #[cold]
    pub(super) fn fail(&self, error: LogError) {
        self.to.store(0, Ordering::Release);
        self.is_failing.store(true, Ordering::Release);
        self.put(KeepNews::Failed(error));
    }

    #[cold]
    pub(super) fn recovered(&self) {
        self.is_failing.store(false, Ordering::Release);
        self.put(KeepNews::Again);
    }

    #[cold]
    pub(super) fn put(&self, news: KeepNews) {
        let mut all = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        while all.len() >= NEWS_MAX {
            all.pop_front();
        }
        all.push_back(news);
        self.has_news.store(true, Ordering::Release);
    }
}
