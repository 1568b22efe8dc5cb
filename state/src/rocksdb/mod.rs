//! The backend on disk: one database a task, a column family a store.
//!
//! Nothing else in the workspace names RocksDB. Read [`engine`] (what all databases of the process
//! share, and the options with their reasons), [`database`] (one task's database), then
//! [`column_family`] (how a store reads) and [`names`] (what RocksDB calls what it counts).

mod column_family;
mod database;
mod engine;
mod names;

pub(crate) use column_family::ColumnFamily;
pub(crate) use database::{Database, Wanted};
pub(crate) use engine::Engine;
