//! Topologies in one thread, without Kafka: for tests, and for running a file through a topology.
//!
//! [`TopologyTestDriver`] is what a topology's author tests with: typed topics, a clock that moves
//! when told, and a crash on demand. It stands on [`LocalRunner`], which runs the same tasks on the
//! same stores with the same commit protocol as the runtime does.

mod changelog;
mod error;
mod feedback;
mod local_runner;
mod local_task;
mod test_driver;
mod test_topics;

pub use error::{DriverError, Result};
pub use local_runner::{InputRecord, LocalInput, LocalRunner, Output, RunnerSettings};
pub use test_driver::{OutputRecord, TestDriverBuilder, TopologyTestDriver};
pub use test_topics::{TestInputTopic, TestOutputTopic, TestRecord};
