//! Shared memory of one machine: the embedded default.
#![allow(unsafe_code)]
