//! The runtime: a topology at work on a Kafka cluster.
//!
//! Read in this order: [`streams`], [`instance`] and [`stop`] (an instance, its parts and its end),
//! [`plan`] and [`internal_topics`] (a topology on a cluster), [`stream_thread`] (the loop, the commit
//! and rebalance protocols), [`active_task`], [`input`], [`idle`], [`held_budget`], [`collector`] and
//! [`pack`] (a record's way), `memory_bound` (what all of it may take), [`restore`] and
//! [`restore_listener`] (the restore protocol), [`error`] (what answers what), [`membership`] (what
//! instances know of each other), [`standby`] (copies of others' state), [`observe`] and [`query`] (what
//! others see).

pub mod active_task;
pub mod collector;
pub mod commit_metadata;
mod control;
pub mod error;
pub mod global;
pub mod held_budget;
pub mod idle;
pub mod input;
pub mod instance;
pub mod internal_topics;
pub mod membership;
mod memory_bound;
pub mod observe;
pub mod opening;
mod orphan_watch;
pub mod pack;
pub mod plan;
pub mod query;
mod recent;
pub mod restore;
pub mod restore_listener;
pub mod standby;
pub mod stop;
pub mod stream_thread;
pub mod streams;
mod topic_watch;

pub use error::{Reaction, RuntimeError};
pub use membership::Member;
pub use restore_listener::{Hooks, RestoreListener, RestoringStore};
pub use streams::{Streams, StreamsHandle, handlers, optimized};
