//! The DSL: streams and tables, and what can be done with them.
//!
//! [`builder`] starts a topology; [`stream`] and [`grouped`] hold the verbs of streams, [`table`]
//! those of tables; [`options`] what can be said about serdes, names and stores; [`windows`] the
//! kinds of windows. Names and semantics are those of Kafka Streams.

pub mod branch;
pub mod builder;
pub mod grouped;
pub mod options;
pub mod stores;
pub mod stream;
pub mod stream_table;
pub mod table;
pub mod to_table;
pub mod windowed;
pub mod windows;
