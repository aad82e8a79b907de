//! Clients that ship: what a storage engine runs on the ports and the memory of a session.
//!
//! Imports `manager` and everything below it, and names no fabric: a client is generic over the trait `Fabric`.
#![forbid(unsafe_code)]

pub mod mirrored_log;
