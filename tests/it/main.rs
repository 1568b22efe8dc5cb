//! Tests that need no broker.

#![allow(clippy::unwrap_used)]

mod borders;
mod caching;
mod exchange;
mod expiry;
mod foreign_keys;
mod fuzz;
mod goldens_files;
mod kafka_names;
mod processor_stores;
mod replay;
mod stores;
mod table_views;
mod topology;
mod windows;
