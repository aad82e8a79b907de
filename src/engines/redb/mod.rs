//! redb over the mirrored log.

mod backend;
mod follower;
mod image;
mod log;
mod operation;
mod rebuild;
mod thread;

pub use backend::{MirrorOptions, MirroredBackend};
pub use follower::{FollowError, Followed, Follower, FollowerOptions};
pub use image::{Claim, ImageError};
pub use operation::{FILE_BYTES_MAX, OPERATION_HEADER_BYTES, Operation, OperationFault};
pub use rebuild::{RebuildError, RebuildReport, rebuild};
pub use thread::FollowerThread;

#[cfg(test)]
mod tests;
