//! The DSL: streams and tables, and what can be done with them.
//!
//! [`builder`] starts a topology; [`stream`] and [`grouped`] hold the verbs of streams, [`table`]
//! those of tables; [`options`] what can be said about serdes, names and stores; [`windows`] the
//! kinds of windows, [`windowed`], [`session_windowed`] and [`cogroup`] the aggregations over them,
//! [`suppress`] what holds their results back. Names and semantics are those of Kafka Streams.

pub mod aggregation;
pub mod branch;
pub mod builder;
pub mod cogroup;
pub mod foreign_key_join;
pub mod global_table;
pub mod grouped;
pub mod grouped_table;
pub mod join_windows;
pub mod options;
pub mod session_windowed;
pub mod stores;
pub mod stream;
pub mod stream_global;
pub mod stream_join;
pub mod stream_sink;
pub mod stream_table;
pub mod suppress;
pub mod table;
pub mod table_join;
mod table_lookup;
pub mod table_values;
pub mod timestamp_extractors;
pub mod to_table;
pub mod windowed;
pub mod windows;
