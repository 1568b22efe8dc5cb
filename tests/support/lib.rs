//! What Tidemill's tests share: a real Kafka cluster, the real program, the real data.
//!
//! Everything here panics with an explanation instead of returning an error: a test that cannot
//! have its real parts has failed.
//!
//! - [`broker`]: an Apache Kafka cluster of 1 or 3 brokers that can be killed and frozen
//! - [`proxy`]: slow, silent and cut connections between a client and a broker
//! - [`records`]: topics created, filled and read to their end
//! - [`process`]: the `tidemill` program as a child process
//! - [`data`]: the recorded market data that lies beside a clone, where it is there
//! - [`http`]: posts, and streams of events
//! - [`security`]: the user and password of a listener that asks for them
//! - [`guardian`]: nothing outlives the test program, however it ends
//! - [`metrics`]: the samples on a page of metrics
//! - [`patience`]: waiting for a condition, with a limit

pub mod broker;
pub mod data;
pub mod guardian;
pub mod http;
pub mod metrics;
pub mod patience;
pub mod process;
pub mod proxy;
pub mod records;
pub mod security;

pub use broker::KafkaCluster;
pub use process::Tidemill;
pub use proxy::Proxy;
pub use records::unique;
