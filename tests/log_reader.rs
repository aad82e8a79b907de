//! The reader of the mirrored log against damage of every kind: it gives out records as they were written, in order, or stops.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "log_reader/damage.rs"]
mod damage;
#[path = "support/ending.rs"]
mod ending;
#[path = "log_reader/image.rs"]
mod image;
#[path = "log_reader/live.rs"]
mod live;
#[path = "log_reader/nonsense.rs"]
mod nonsense;
