//! redb over the mirrored log: a database that the partner can open the moment this node is gone.
//!
//! ```text
//!   primary                                             partner
//!   ───────                                             ───────
//!   redb                                                redb, after a takeover
//!    │ write, set_len, sync_data                          ▲ opens
//!   MirroredBackend ──► local file                      rebuild()  image + rest of the log
//!    │ one record each                                    ▲
//!   mirrored log ═════════ WRITEs ═════════► copy ──► Follower ──► base image, side file
//!    ▲                                                    │
//!    └───── what is applied may be freed ◄────────────────┘
//! ```
//!
//! - [`MirroredBackend`] is what redb is opened with. A commit returns when everything it wrote is at the partner, as the log's
//!   [`Acknowledge`](crate::clients::mirrored_log::Acknowledge) says; with [`MirrorOptions::local_sync`] also on the local disk.
//! - [`FollowerThread`] (or a [`Follower`] in a thread of one's own) applies the copy's records to a base image, so that log and takeover stay short.
//! - [`rebuild`] makes a database file of image and log: everything acknowledged is in it, for the log is in order and redb opens every prefix of its own writes, as
//!   after a crash.
//!
//! The first image is sent through the log as well, between the engine's own records, whenever a database is opened: nothing proves that the partner's image is this very
//! file. No commit returns before its end. An image that is there already stays until the next is whole.
//!
//! # Limits
//!
//! One database for each log. A restart sends the whole file, which takes as long as it takes: databases far larger than what the wire moves in a few seconds want
//! a log of their own making. While the partner's follower is behind or gone the ring fills, and writes wait, then fail. Followers do not check that the primary
//! writes what it should: whoever may write the log may write the database.
//!
//! # Examples
//!
//! Two nodes in one process; in earnest each is a process of its own.
//!
//! ```
//! use handfast::clients::mirrored_log::{LogConfig, LogEvent, MirroredLog, Pace, Term};
//! use handfast::engines::redb::{FollowerOptions, FollowerThread, MirrorOptions, MirroredBackend, rebuild};
//! use handfast::fabric::shm::Shm;
//! use handfast::manager::{ClusterManager, NodeConfig};
//! use redb::{Database, TableDefinition};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let unique = std::process::id();
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! let node = |name: &str, at: u16, partner: &str, partner_at: u16| -> Result<_, Box<dyn std::error::Error>> {
//!     let address = |port| format!("shm://redb-doc-{unique}:{port}").parse();
//!     let config = NodeConfig::new("pair".parse()?, name.parse()?, address(at)?, partner.parse()?, address(partner_at)?);
//!     let mut manager = ClusterManager::boot(Shm::new(), config)?;
//!     let config = LogConfig::new("redb".parse()?).ring_bytes(1 << 20).pinned(false).applied_bounds_truncation(true);
//!     let (log, poller, copy) = MirroredLog::open(config, &mut manager)?;
//!     manager.open();
//!     Ok((log, copy, poller.spawn(Pace::default())?, manager.spawn()?))
//! };
//!
//! // The partner follows.
//! let (_, copy, log_thread, _manager) = node("b", 2, "a", 1)?;
//! let follower = FollowerThread::start(copy.clone(), folder.join("images"), FollowerOptions::new())?;
//!
//! // The primary has a database.
//! let (log, _, poller, manager) = node("a", 1, "b", 2)?;
//! let file = std::fs::File::options().create_new(true).read(true).write(true).open(folder.join("a.redb"))?;
//! let backend = MirroredBackend::new(file, &log, MirrorOptions::new())?;
//! let database = Database::builder().create_with_backend(backend)?;
//! const TABLE: TableDefinition<u64, &str> = TableDefinition::new("words");
//! let transaction = database.begin_write()?;
//! transaction.open_table(TABLE)?.insert(7, "seven")?;
//! transaction.commit()?; // at the partner
//!
//! // The primary is gone. The partner takes over.
//! drop((poller, manager));
//! while !matches!(log_thread.events().recv()?, LogEvent::Lost { .. }) {}
//! drop(follower);
//! let mut records = copy.take_over(Term(0), false)?;
//! rebuild(folder.join("images"), Some(&mut records), folder.join("b.redb"))?;
//! let database = Database::open(folder.join("b.redb"))?;
//! assert_eq!(database.begin_read()?.open_table(TABLE)?.get(7)?.map(|word| word.value().to_owned()), Some("seven".to_owned()));
//! # Ok(())
//! # }
//! ```

mod backend;
mod follower;
mod image;
mod log;
mod operation;
mod options;
mod rebuild;
mod refusal;
mod thread;

pub use backend::MirroredBackend;
pub use follower::{FollowError, Followed, Follower, FollowerOptions};
pub use image::{Claim, ImageError};
pub use operation::{FILE_BYTES_MAX, OPERATION_HEADER_BYTES, Operation, OperationFault};
pub use options::MirrorOptions;
pub use rebuild::{RebuildError, RebuildReport, rebuild};
pub use thread::FollowerThread;

#[cfg(test)]
mod tests;
