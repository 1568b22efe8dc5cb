//! Tests that need no broker.

#![allow(clippy::unwrap_used)]

mod borders;
mod exchange;
mod expiry;
mod fuzz;
mod goldens_files;
mod replay;
mod stores;
mod table_views;
mod topology;
mod windows;
