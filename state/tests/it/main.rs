//! The state crate as the runtime uses it, on memory and on RocksDB.

#![allow(clippy::unwrap_used)]

mod expiry;
mod memory_bound;
mod model;
mod properties;
mod protocols;
mod statistics;
