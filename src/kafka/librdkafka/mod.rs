//! The adapter to Kafka by librdkafka's C interface; the only place with `unsafe` code.
//!
//! Read in this order: [`cluster`] (opens clients), `config` (the properties they start from),
//! [`consumer`], [`message`], [`producer`], `offsets_call` (the one call that may not return),
//! [`admin`], `log_offsets`, [`mock`]; underneath lie `native` (owners of C handles), `codes` (what
//! error codes mean), `request` and `described` (admin calls, made synchronous), `callbacks`,
//! `statistics`, [`waker`] and `log`.
//!
//! Why the C interface and not the `rdkafka` crate: batches, cached topic handles, delivery
//! reports and transaction calls without its polling are what the record path and the commit are
//! made of, and the crate has none of them.
#![allow(unsafe_code)]

pub mod admin;
mod callbacks;
pub mod cluster;
mod codes;
mod config;
pub mod consumer;
mod described;
mod drain;
mod log;
mod log_offsets;
pub mod message;
pub mod mock;
mod native;
mod offsets_call;
pub mod producer;
mod request;
mod statistics;
pub mod waker;

pub use cluster::Librdkafka;
pub use config::{LEAST_MESSAGE_BYTES, QUEUE_KIB as PRODUCER_QUEUE_KIB};
pub use mock::MockCluster;
