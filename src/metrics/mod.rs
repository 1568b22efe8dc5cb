//! Metrics: what is counted and measured, under which name, and how Prometheus reads it.
//!
//! Read in this order:
//!
//! 1. [`registry`]: [`Metrics`], the root from which every bundle is taken.
//! 2. [`client`], [`thread`], [`topic`], [`task`], [`standby`], [`store`], [`engine`],
//!    [`kafka_client`], [`exchange`]: the bundles, one a level.
//!    Their series are looked up once, when the bundle is made; the record path keeps plain
//!    integers in a `Local` struct and publishes them once a loop.
//! 3. [`family`]: series with a lifetime: they disappear with their last bundle, so that a
//!    task that moved away is not shown for ever.
//! 4. [`process`]: memory, processor time and open files of this process.
//! 5. [`encode`]: the text format and OpenMetrics; [`reading`]: the same as numbers.
//! 6. [`catalogue`]: all families in words, beside Kafka Streams' names.
//!
//! Names follow Prometheus' conventions: base units, `_total` for counters, bounded label
//! sets. This is the only place that knows the `prometheus` crate.

pub mod catalogue;
pub mod client;
pub mod encode;
pub mod engine;
pub mod exchange;
pub mod family;
pub mod kafka_client;
pub mod process;
pub mod reading;
pub mod registry;
pub mod standby;
pub mod store;
pub mod task;
pub mod thread;
pub mod topic;

pub use catalogue::Catalogue;
pub use client::ClientMetrics;
pub use encode::Format;
pub use engine::EngineMetrics;
pub use exchange::{BookSize, ExchangeMetrics, LocalTrading};
pub use kafka_client::KafkaClientMetrics;
pub use reading::Reading;
pub use registry::{Metrics, MetricsError};
pub use standby::StandbyMetrics;
pub use store::{StoreMetrics, StoreSizes, StoreUse};
pub use task::{LocalTask, PartitionMetrics, TaskMetrics, TaskState};
pub use thread::{CommitStep, LocalThread, NodeMetrics, ThreadMetrics};
pub use topic::{InputTopicMetrics, LocalTopic, OutputTopicMetrics};
