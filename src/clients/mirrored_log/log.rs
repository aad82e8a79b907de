//! The log as its users hold it.

use super::config::{Acknowledge, LogConfig};
use super::copy::{CopyShared, CopySource, LogCopy};
use super::error::{Late, LogError};
use super::inbox::{Inbox, LogClient};
use super::keeper::{self, Keeper};
use super::lsn::{Generation, History, Lsn, Term};
use super::note::{Note, taken_file};
use super::notes::Notes;
use super::poller::{LogPoller, Parts};
use super::prepared::{self, Prepared};
use super::producer::Producer;
use super::replica::Replica;
use super::roles;
use super::shared::Shared;
use super::wire::{RECEIVES, REQUESTS_MAX};
use crate::error::Error;
use crate::fabric::{Fabric, PortOptions};
use crate::manager::{ClientSpec, ClusterManager};
use crate::storage::Place;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// What one record's acknowledgement stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Acknowledgement {
    /// See [`Acknowledge::Received`].
    Received,
    /// See [`Acknowledge::Placed`].
    Placed,
    /// See [`Acknowledge::Persistent`].
    Persistent,
    /// Nobody but this node has it: it goes on alone. Lost with this process, or with the machine where the ring has a file; where that log is
    /// set up for [`Acknowledge::Persistent`], such a ring was brought to the disk before, and a power cut costs nothing of it.
    Alone,
}

/// Where a log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogStatus {
    /// Its identity; none before it is open.
    pub history: Option<History>,
    /// This writer's generation.
    pub generation: Generation,
    /// The term it writes under.
    pub term: Term,
    /// The first record that is kept.
    pub tail: Lsn,
    /// Acknowledged up to here.
    pub durable: Lsn,
    /// Acknowledged by the partner up to here.
    pub mirrored: Lsn,
    /// Where the next record goes.
    pub head: Lsn,
}

/// A log whose records are in the partner's memory before they are acknowledged. Any number of handles, in any threads.
///
/// # Examples
///
/// Two nodes in one process, each with a log of its own; in earnest each is a process of its own, and the pollers have threads.
///
/// ```
/// use handfast::clients::mirrored_log::{LogConfig, LogEvent, LogPoller, MirroredLog};
/// use handfast::fabric::shm::Shm;
/// use handfast::manager::{ClusterManager, NodeConfig};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let unique = std::process::id();
/// let address = |port| format!("shm://log-doc-{unique}:{port}").parse();
/// let (mut managers, mut logs) = (Vec::new(), Vec::new());
/// for (node, at, partner, partner_at) in [("a", 1, "b", 2), ("b", 2, "a", 1)] {
///     let config = NodeConfig::new("pair".parse()?, node.parse()?, address(at)?, partner.parse()?, address(partner_at)?);
///     let mut manager = ClusterManager::boot(Shm::new(), config)?;
///     logs.push(MirroredLog::open(LogConfig::new("wal".parse()?).ring_bytes(1 << 20).pinned(false), &mut manager)?);
///     manager.open();
///     managers.push(manager.spawn()?);
/// }
/// let (log, mut poller, _) = logs.remove(0);
/// let (_, mut partner, copy) = logs.remove(0);
///
/// let producer = log.producer("engine");
/// # let began = std::time::Instant::now();
/// let mut lsn = None;
/// while lsn.is_none_or(|lsn| log.durable() <= lsn) {
/// #   assert!(began.elapsed().as_secs() < 20);
///     poller.poll();
///     partner.poll();
///     if lsn.is_none() && let Ok(mut space) = producer.reserve(5) {
///         space.copy_from_slice(b"hello");
///         lsn = Some(space.commit());
///     }
/// }
/// // The survivor's view: the partner reads its copy.
/// let records: Vec<_> = copy.records()?.into_iter().flatten().collect::<Result<_, _>>()?;
/// assert_eq!(records[0].payload, b"hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct MirroredLog {
    shared: Arc<Shared>,
}

impl MirroredLog {
    /// Sets up a log as a client of `manager`, before [`ClusterManager::open`]: the log itself, what one thread polls, and the partner's log as it
    /// is held here. Maps and pins memory, reads files, may start a thread: for a node's start.
    ///
    /// # Errors
    /// [`Error::Log`]: an option, a file; [`Error::Memory`]: the ring's memory; [`Error::Manager`]: the client's name.
    pub fn open<F: Fabric>(
        config: LogConfig,
        manager: &mut ClusterManager<F>,
    ) -> Result<(MirroredLog, LogPoller<F>, LogCopy), Error> {
        let ring_bytes = config.check()?;
        roles::check(&config)?;
        let parties = manager.connection().handshake().parties();
        let (name, node, cluster) = (config.name, parties.node, parties.cluster);
        let notes = Notes::take(&config, &format!("of log {name} of node {node} of cluster {cluster}"))?;
        let begun = notes.state.as_ref().map(Note::value);
        let prepared = Prepared::open(
            &config,
            ring_bytes,
            prepared::owner(name.as_str(), node.as_str(), cluster.as_str()),
            begun,
        )?;
        let owner = keeper::owner(name.as_str(), node.as_str(), cluster.as_str());
        let place = config.keep.as_deref().map(|path| keeper::take(path, owner)).transpose()?;
        let path = place.as_ref().map(Place::path);
        let loaded = path.map(kept).transpose()?.flatten();
        let seen = path.map(keeper::on_its_way).transpose()?.flatten();
        let taken = path.map(|path| Note::beside(&taken_file(path))).transpose()?;
        let copy = CopyShared::new(loaded, seen, taken);
        let keeper = place.map(|place| Keeper::start(place, Arc::clone(&copy))).transpose()?;
        let inbox = Inbox::new();
        let options = PortOptions::new().send_work_requests(REQUESTS_MAX).receive_work_requests(RECEIVES);
        let spec = ClientSpec::new(config.name).memory(ring_bytes.area_bytes()).port_options(options);
        manager.client(spec, Box::new(LogClient(Arc::clone(&inbox))))?;
        let shared = Arc::new(Shared::new(config.name, config.acknowledge));
        let replica = Replica::new(Arc::clone(&copy), keeper);
        let fabric = manager.connection().fabric().clone();
        let (log, kept) = (Arc::clone(&shared), LogCopy::new(copy));
        let poller = LogPoller::new(Parts { config, ring_bytes, fabric, shared, inbox, prepared, replica, notes });
        Ok((Self { shared: log }, poller, kept))
    }

    /// A producer; its name is for reports of reservations that hold up the log. Allocates.
    pub fn producer(&self, name: &str) -> Producer {
        Producer::new(Arc::clone(&self.shared), name)
    }

    /// Every record whose lsn is below this is acknowledged. One load.
    #[inline]
    pub fn durable(&self) -> Lsn {
        self.shared.durable()
    }

    /// Every record whose lsn is below this is acknowledged by the partner. One load.
    #[inline]
    pub fn mirrored(&self) -> Lsn {
        self.shared.mirrored()
    }

    /// Waits until the record at `lsn` is acknowledged: spins for some tens of microseconds, then sleeps.
    ///
    /// While the partner is away it waits for it, without limit; [`MirroredLog::wait_until`] has one.
    /// Not for the callback of [`LogPoller::on_durable`], which would wait for itself.
    ///
    /// # Errors
    /// What ended the log: [`LogError::Closed`] once its poller is dropped, [`LogError::ManagerGone`]
    /// once its manager is, and others.
    #[inline]
    pub fn wait(&self, lsn: Lsn) -> Result<Acknowledgement, LogError> {
        // Without a deadline it ends by one or the other.
        self.wait_for(lsn, None).unwrap_or(Err(LogError::Closed))
    }

    /// Waits until the record at `lsn` is acknowledged, or `deadline` has passed.
    ///
    /// # Errors
    /// [`LogError::Late`], or what ended the log.
    pub fn wait_until(&self, lsn: Lsn, deadline: Instant) -> Result<Acknowledgement, LogError> {
        let began = Instant::now();
        self.wait_for(lsn, Some(deadline)).unwrap_or_else(|| Err(self.late(lsn, began)))
    }

    #[cold]
    fn late(&self, lsn: Lsn, began: Instant) -> LogError {
        let late = match self.shared.opened.get() {
            None => Late::NotOpen,
            Some(_) if lsn >= self.status().head => Late::NotReserved,
            Some(_) => Late::NotAcknowledged,
        };
        LogError::Late { late, lsn, waited_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX) }
    }

    #[inline]
    fn wait_for(&self, lsn: Lsn, deadline: Option<Instant>) -> Option<Result<Acknowledgement, LogError>> {
        self.shared.sleepers.wait(deadline, || {
            if self.shared.durable() > lsn {
                return Some(Ok(self.standing(lsn)));
            }
            self.shared.ended.get().map(|why| Err(why.clone()))
        })
    }

    /// What the acknowledgement of an acknowledged record stands on.
    #[inline]
    fn standing(&self, lsn: Lsn) -> Acknowledgement {
        match self.shared.acknowledge {
            _ if self.shared.mirrored() <= lsn => Acknowledgement::Alone,
            Acknowledge::Received => Acknowledgement::Received,
            Acknowledge::Placed => Acknowledgement::Placed,
            Acknowledge::Persistent => Acknowledgement::Persistent,
        }
    }

    /// Frees the records before `lsn`, which is that of a record still needed, or [`MirroredLog::durable`]. The room is used anew once the
    /// partner has the header that says so; the poller sees to it.
    ///
    /// # Errors
    /// [`LogError::Truncation`]: no record begins there, or it is not acknowledged yet. [`LogError::NotOpen`].
    pub fn truncate(&self, lsn: Lsn) -> Result<(), LogError> {
        let Some(opened) = self.shared.opened.get() else { return Err(LogError::NotOpen) };
        let (tail, durable) = (Lsn(opened.ring.tail()), self.shared.durable());
        if lsn <= tail && lsn.is_aligned() {
            return Ok(());
        }
        if lsn > durable || (lsn != durable && !opened.ring.is_start(lsn.0)) {
            return Err(LogError::Truncation { lsn, tail, durable });
        }
        self.shared.ask_to_truncate(lsn);
        Ok(())
    }

    /// Where the log stands. A few loads.
    pub fn status(&self) -> LogStatus {
        let opened = self.shared.opened.get();
        LogStatus {
            history: opened.map(|opened| opened.history),
            generation: opened.map_or(Generation(0), |opened| opened.generation),
            term: self.shared.term(),
            tail: Lsn(opened.map_or(0, |opened| opened.ring.tail())),
            durable: self.shared.durable(),
            mirrored: self.shared.mirrored(),
            head: Lsn(opened.map_or(0, |opened| opened.ring.head())),
        }
    }

    /// What the partner's consumer has applied, by its last word, lies before this; none where [`LogConfig::applied_bounds_truncation`] is not set.
    pub fn applied(&self) -> Option<Lsn> {
        self.shared.applied()
    }

    /// Whether the partner's consumer asks for a base image before it can apply records.
    pub fn partner_needs_base(&self) -> bool {
        self.shared.needs_base()
    }
}

/// What the file holds that keeps the partner's log.
fn kept(path: &Path) -> Result<Option<(CopySource, bool)>, LogError> {
    keeper::load(path).map_err(|error| match error {
        LogError::File { .. } => error,
        other => LogError::Unusable {
            what: format!("{}, which keeps the partner's log,", path.display()),
            why: other.to_string(),
        },
    })
}
