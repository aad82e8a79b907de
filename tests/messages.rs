//! The table of messages (`docs/messages.md`): that it is complete and true, and that the remedies in it help.
//!
//! A test of a remedy provokes the message, reads it, does what it says, and sees that this helps.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "messages/files.rs"]
mod files;
#[path = "messages/library.rs"]
mod library;
#[path = "messages/limits.rs"]
mod limits;
#[path = "messages/literals.rs"]
mod literals;
#[path = "messages/logs.rs"]
mod logs;
#[path = "messages/nodes.rs"]
mod nodes;
#[path = "log/pair.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod pair;
#[path = "process/mod.rs"]
mod process;
#[path = "program/run.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod run;
#[path = "tidy/source.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod source;
#[path = "messages/table.rs"]
mod table;
#[path = "process/on_shm.rs"]
mod under_test;
#[path = "messages/words.rs"]
mod words;
