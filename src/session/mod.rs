//! Between the pure handshake and the manager: one node's connection to its partner, over any fabric.
//!
//! Imports `handshake`, `page`, `fabric` and `memory`.
//! - [`Connection`] publishes the session page, accepts and dials links, and drives the handshake until a session stands, and watches it then;
//! - [`Session`] is what each client gets once the session is wired;
//! - [`observe()`] reads another node's page and nothing else.
#![forbid(unsafe_code)]

mod accepting;
mod connection;
mod dialling;
mod grant;
mod letters;
pub mod observe;
mod pace;
mod publish;
mod recent;
mod steps;
mod timing;
mod wishes;

pub use connection::{Connection, ConnectionEvent};
pub use grant::Session;
pub(crate) use grant::SessionParts;
pub use observe::{StatusReport, observe};
pub(crate) use recent::Recent;
pub use steps::{STEP_NAMES, Step};
pub use timing::Timing;
pub use wishes::RenewalError;
pub(crate) use wishes::{PortName, Wishes};
