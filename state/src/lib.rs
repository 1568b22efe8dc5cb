//! Tidemill's state: stores that survive a crash without a wipe.
//!
//! A task's stores hold their changes in memory until the transaction that logs them is decided;
//! only what is committed goes to disk, with the position in the changelog that it stands for, in
//! one step. So whatever happens, disk plus the changelog behind that position is the state.
//!
//! In the order to read:
//!
//! - [`task_stores`]: all stores of one task, and their part of the commit and restore protocols;
//! - `store`: one of them, in memory or on disk: a `layered_store`, which is a `write_set` (uncommitted
//!   and unapplied changes, and the read cache) over a [`backend`];
//! - `expiry`: which entries of a store with a time to live expire next;
//! - `task_disk`: the database of a task, and how it comes back after it failed;
//! - [`committed_view`]: what readers on other threads see, and `overlay`, a part of it;
//! - [`memory`] and `rocksdb`: the backends;
//! - [`position`]: how far a store is, and its bytes; `layout`: which format its entries have;
//! - [`memory_budget`]: one bound for the process; [`statistics`]: what is used of it;
//! - [`directory`]: the state directory, its locks, and who may use what in it;
//! - [`error`]: what can go wrong, and what to do.

pub mod backend;
pub mod committed_view;
pub mod directory;
pub mod error;
mod expiry;
mod key_hash;
mod key_order;
mod layered_store;
mod layout;
pub mod memory;
pub mod memory_budget;
mod overlay;
pub mod position;
mod rocksdb;
mod sort_buffer;
pub mod statistics;
mod store;
mod task_disk;
pub mod task_stores;
mod write_set;

pub use committed_view::{Committed, CommittedView, Unreadable};
pub use directory::{StateDirectory, TaskDirectory};
pub use error::{Result, StateError};
pub use memory_budget::StateMemory;
pub use position::{InputOffset, Position};
pub use statistics::{EngineCount, EngineProperty, StoreStatistics};
pub use task_stores::{Applied, ApplyPolicy, TaskStores};
