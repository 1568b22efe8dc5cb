//! Kafka Streams for Rust: typed, declarative topologies over Kafka, with state in RocksDB that is
//! logged to changelog topics, exactly-once by default, and no state wiped by a crash.
//!
//! Start with [`prelude`] and [`runtime::Streams`]; test topologies with [`driver`]. The DSL itself
//! lives in the crate `tidemill-topology`, stores in `tidemill-state`.

pub mod clock;
pub mod config;
pub mod driver;
pub mod exchange;
pub mod http;
pub mod kafka;
pub mod metrics;
#[doc(hidden)]
pub mod mistake;
pub mod operations;
pub mod runtime;
pub mod status;

/// Everything that a topology's author needs, in one import.
pub mod prelude {
    pub use tidemill_topology::prelude::*;
}

/// The examples of the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct ReadmeExamples;
