//! Typed, declarative stream topologies with the semantics of Kafka Streams: what is computed, with
//! no Kafka, disk, clock or thread in sight.
//!
//! Read in this order: [`record`], [`time`] and [`serde`] (what flows), [`dsl`] (how a topology is
//! declared), [`node`] and [`operators`] (how records move), [`store`] (what operators keep),
//! [`graph`] (subtopologies, partitions, descriptions) and [`task`] (a subtopology at work;
//! [`held_back`] bounds what its caching stores hold back).
//! [`processor`] and [`handler`] are where user code comes in besides the DSL's functions.

pub mod dsl;
pub mod error;
pub mod graph;
pub mod handler;
pub mod held_back;
pub mod node;
pub mod operators;
pub mod partition;
pub mod prelude;
pub mod processor;
pub mod record;
pub mod serde;
pub mod store;
pub mod task;
pub mod time;
