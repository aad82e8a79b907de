//! The thin unsafe layer: every system call and raw pointer of handfast that is not in `memory` or a fabric's backend.
//!
//! Imports nothing of the other layers.
#![allow(unsafe_code)]

mod errno;

pub use errno::Errno;
