//! Adapters for storage engines: each puts the mirrored log under one engine's own storage interface, behind a feature of the engine's name.
//!
//! Imports `clients` and what is below it. An adapter is honest only where the engine lets its user supply *all* of its storage: every write,
//! every change of length and every sync must pass through it, or a survivor would hold half a database.
//!
//! # Which engines
//!
//! | engine | its interface for storage | here |
//! | --- | --- | --- |
//! | redb 2.6 | `redb::StorageBackend`: length, read, write, set_len, sync_data; all I/O goes through it | `redb`, feature `redb` |
//! | fjall 2.11 and 3.1 | none | no |
//! | RocksDB through rust-rocksdb 0.25 | a C++ class, out of reach from Rust | no |
//!
//! **redb** is taken at 2.6.4: the releases from 3.0.0 on ask for a newer Rust than this crate does (1.89, and 1.90 from 4.0), and a feature that is on by
//! default must build with what the crate promises.
//!
//! **fjall** opens its files itself. `fjall::Config` (2.11) and `fjall::DatabaseBuilder` (3.1) take a path; the journal's writer (`journal/writer.rs`) keeps a
//! `BufWriter<std::fs::File>` that it made from that path, and `lsm-tree` below it reads and writes tables, blobs and versions by `std::fs`, in some thirty places.
//! There is no trait to implement. Mirroring the journal from outside, by reading its files, would learn of a record only after `Database::persist` has returned, which is
//! too late to hold an acknowledgement back. A trait for the file system is wanted upstream (fjall-rs/lsm-tree, issue 306 and pull request 239, both open): with it
//! an adapter becomes possible, for many files instead of one.
//!
//! **RocksDB** has the interface (`rocksdb::Env`, and `rocksdb::FileSystem` under it), as C++ classes: `Env` alone declares 65 virtual methods (`include/rocksdb/env.h` of 6.20).
//! Its C header `rocksdb/c.h` makes two of them (`rocksdb_create_default_env`, `rocksdb_create_mem_env`) and none from callbacks, and rust-rocksdb's `Env` wraps
//! just these (`Env::new`, `Env::mem_env`, and the unsafe `Env::from_raw` for a pointer that somebody made elsewhere). An adapter needs a shim in C++, tied to the classes of
//! one release and built with it, and `unsafe` on both sides of it, which this layer forbids. `DB::get_updates_since` hands out write batches, but those that were committed
//! already: good for a copy that lags behind, not for "in the partner's memory before the client is told". It waits for this project's C++ boundary.
#![forbid(unsafe_code)]

#[cfg(feature = "redb")]
pub mod redb;
