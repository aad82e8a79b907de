//! What producers, the poller and whoever waits have in common.

use super::config::Acknowledge;
use super::error::LogError;
use super::lsn::{Generation, History, Lsn, Term};
use super::sleepers::Sleepers;
use crate::memory::Ring;
use crate::page::identity::ClientName;
use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// No position: nothing is known.
pub(super) const UNKNOWN: u64 = u64::MAX;

/// A log that takes records.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) ring: Arc<Ring>,
    pub(super) history: History,
    pub(super) generation: Generation,
}

/// What all holders of one log have in common. Words that different threads write lie on cache lines of their own.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) name: ClientName,
    pub(super) acknowledge: Acknowledge,
    pub(super) opened: OnceLock<Opened>,
    /// Why it takes no more records.
    pub(super) ended: OnceLock<LogError>,
    /// Everything before this is acknowledged.
    durable: CachePadded<AtomicU64>,
    /// Everything before this is acknowledged by the partner.
    mirrored: CachePadded<AtomicU64>,
    /// What its owner no longer needs lies before this.
    truncate_to: CachePadded<AtomicU64>,
    /// What the partner's consumer has applied lies before this.
    applied: AtomicU64,
    needs_base: AtomicBool,
    term: AtomicU64,
    pub(super) sleepers: Sleepers,
    producers: Mutex<Vec<String>>,
}

impl Shared {
    pub(super) fn new(name: ClientName, acknowledge: Acknowledge) -> Self {
        Self {
            name,
            acknowledge,
            opened: OnceLock::new(),
            ended: OnceLock::new(),
            durable: CachePadded::default(),
            mirrored: CachePadded::default(),
            truncate_to: CachePadded::default(),
            applied: AtomicU64::new(UNKNOWN),
            needs_base: AtomicBool::new(false),
            term: AtomicU64::new(0),
            sleepers: Sleepers::default(),
            producers: Mutex::default(),
        }
    }

    /// Everything before this is acknowledged.
    #[inline]
    pub(super) fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    /// Everything before this is acknowledged by the partner.
    #[inline]
    pub(super) fn mirrored(&self) -> Lsn {
        Lsn(self.mirrored.load(Ordering::Acquire))
    }

    /// Acknowledges; never back. By the poller alone.
    #[inline]
    pub(super) fn acknowledge(&self, to: Lsn, by_partner: bool) {
        if by_partner && to.0 > self.mirrored.load(Ordering::Relaxed) {
            self.mirrored.store(to.0, Ordering::Release);
        }
        if to.0 > self.durable.load(Ordering::Relaxed) {
            self.durable.store(to.0, Ordering::Release);
        }
    }

    /// What its owner no longer needs lies before this.
    pub(super) fn truncate_to(&self) -> Lsn {
        Lsn(self.truncate_to.load(Ordering::Relaxed))
    }

    pub(super) fn ask_to_truncate(&self, to: Lsn) {
        self.truncate_to.fetch_max(to.0, Ordering::Relaxed);
    }

    /// What the partner's consumer has applied lies before this.
    pub(super) fn applied(&self) -> Option<Lsn> {
        let applied = self.applied.load(Ordering::Acquire);
        (applied != UNKNOWN).then_some(Lsn(applied))
    }

    pub(super) fn set_applied(&self, applied: Option<Lsn>) {
        self.applied.store(applied.map_or(UNKNOWN, |lsn| lsn.0), Ordering::Release);
    }

    /// Whether the partner's consumer asks for a base image.
    pub(super) fn needs_base(&self) -> bool {
        self.needs_base.load(Ordering::Acquire)
    }

    pub(super) fn set_needs_base(&self, needs: bool) {
        self.needs_base.store(needs, Ordering::Release);
    }

    pub(super) fn term(&self) -> Term {
        Term(self.term.load(Ordering::Relaxed))
    }

    pub(super) fn set_term(&self, term: Term) {
        self.term.store(term.0, Ordering::Relaxed);
    }

    /// Ends it; the first reason stands.
    pub(super) fn end(&self, why: LogError) {
        let _ = self.ended.set(why);
        self.sleepers.wake();
    }

    /// A number for a producer of this name.
    #[cold]
    pub(super) fn add_producer(&self, name: &str) -> u32 {
        let mut producers = self.producers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = producers.iter().position(|known| known == name);
        let number = known.unwrap_or_else(|| {
            producers.push(name.to_owned());
            producers.len() - 1
        });
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    /// The name of a producer.
    #[cold]
    pub(super) fn producer(&self, number: u32) -> String {
        let producers = self.producers.lock().unwrap_or_else(PoisonError::into_inner);
        producers.get(number as usize).cloned().unwrap_or_default()
    }
}
