//! librdkafka's in-process cluster, so that the demo needs no Kafka.
//!
//! It speaks Kafka's protocol over loopback but keeps records in memory, bounded, and its
//! transactions are for show: aborted records are visible to every reader. What runs against it
//! proves nothing about recovery or exactly-once.

use std::ffi::c_int;
use std::ptr::NonNull;

use rdkafka_sys::bindings::*;

use super::super::error::KafkaError;
use super::cluster::log_to_tracing;
use super::codes;
use super::native::{Client, Config, c_string, text};

/// A running mock cluster; it ends when this is dropped.
///
/// ```
/// let mock = tidemill::kafka::MockCluster::start(1)?;
/// mock.create_topic("orders", 4)?;
/// assert!(mock.bootstrap().starts_with("127.0.0.1:"));
/// # Ok::<(), tidemill::kafka::KafkaError>(())
/// ```
#[derive(Debug)]
pub struct MockCluster {
    raw: NonNull<rd_kafka_mock_cluster_t>,
    bootstrap: String,
    /// The client the cluster lives in; it ends after the cluster.
    _client: Client,
}

// SAFETY: the cluster runs on a thread of its own, and its calls are handed over to that.
unsafe impl Send for MockCluster {}
// SAFETY: as above.
unsafe impl Sync for MockCluster {}

impl MockCluster {
    /// Starts a cluster of that many brokers on free loopback ports.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start(brokers: u16) -> Result<Self, KafkaError> {
        let mut config = Config::new();
        log_to_tracing(&mut config);
        let client = Client::new(rd_kafka_type_t::RD_KAFKA_PRODUCER, config)?;
        // SAFETY: the client is live and outlives the cluster: see `Drop`.
        let raw = unsafe { rd_kafka_mock_cluster_new(client.raw(), c_int::from(brokers)) };
        let raw = NonNull::new(raw).ok_or_else(|| {
            codes::error(rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__FAIL, "start mock cluster")
        })?;
        // SAFETY: the cluster is live, and so is its address.
        let bootstrap = unsafe { text(rd_kafka_mock_cluster_bootstraps(raw.as_ptr())) };
        Ok(Self { raw, bootstrap, _client: client })
    }

    /// Its address, as `bootstrap.servers` takes it.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Creates a topic, since the cluster answers no admin request. Topics that are not created
    /// come to be, with four partitions, when a producer first writes to them.
    ///
    /// # Errors
    /// When the topic exists.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), KafkaError> {
        let topic = c_string(name, "create mock topic")?;
        // SAFETY: the cluster and the name are live.
        let code =
            unsafe { rd_kafka_mock_topic_create(self.raw.as_ptr(), topic.as_ptr(), partitions, 1) };
        codes::check(code, "create mock topic").map_err(|error| error.of_topic(name))
    }

    /// Takes a partition's leader away.
    #[cfg(test)]
    pub(super) fn take_leader(&self, topic: &str, partition: i32) -> Result<(), KafkaError> {
        let name = c_string(topic, "take leader")?;
        // SAFETY: the cluster and the name are live.
        let code = unsafe {
            rd_kafka_mock_partition_set_leader(self.raw.as_ptr(), name.as_ptr(), partition, -1)
        };
        codes::check(code, "take leader").map_err(|error| error.of_topic(topic))
    }

    /// Has the next requests of a kind refused, one for each code.
    #[cfg(test)]
    pub(super) fn refuse(&self, request: i16, codes: &[rd_kafka_resp_err_t]) {
        // SAFETY: the cluster is live; the codes are copied.
        unsafe {
            rd_kafka_mock_push_request_errors_array(
                self.raw.as_ptr(),
                request,
                codes.len(),
                codes.as_ptr(),
            );
        }
    }

    /// How long a new group waits for its first members; librdkafka's default is three seconds.
    pub fn set_group_delay_ms(&self, delay_ms: i32) {
        // SAFETY: the cluster is live.
        unsafe { rd_kafka_mock_group_initial_rebalance_delay_ms(self.raw.as_ptr(), delay_ms) };
    }
}

impl Drop for MockCluster {
    fn drop(&mut self) {
        // SAFETY: owned, dropped once, and before the client.
        unsafe { rd_kafka_mock_cluster_destroy(self.raw.as_ptr()) };
    }
}
