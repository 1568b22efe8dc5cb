//! What a Kafka client says of itself now and then: requests, connections, queues, batches.

/// The totals and gauges of one client, all its brokers together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClientStatistics {
    /// Requests sent since the client was opened.
    pub requests: u64,
    /// Bytes of them.
    pub request_bytes: u64,
    /// Responses received since the client was opened.
    pub responses: u64,
    /// Bytes of them.
    pub response_bytes: u64,
    /// Requests that could not be sent, and responses that could not be read.
    pub errors: u64,
    /// Requests sent again.
    pub retries: u64,
    /// Requests without a response in time.
    pub timeouts: u64,
    /// Attempts to connect.
    pub connects: u64,
    /// Connections that ended.
    pub disconnects: u64,
    /// Brokers connected now.
    pub connected_brokers: u64,
    /// Average time from request to response at the slowest broker, in seconds.
    pub round_trip_average_seconds: f64,
    /// 99 of 100 responses of the slowest broker take at most so long, in seconds.
    pub round_trip_p99_seconds: f64,
    /// Average time for which the strictest broker holds the client back, in seconds.
    pub throttle_average_seconds: f64,
    /// Records that wait: fetched and not handed out, or taken over and not delivered.
    pub queued_records: u64,
    /// Bytes of them.
    pub queued_bytes: u64,
    /// Average bytes of a batch that is produced, or fetched of a partition, over all topics.
    pub batch_average_bytes: f64,
    /// Average records of such a batch.
    pub batch_average_records: f64,
    /// Rebalances the group member took part in; 0 for a producer.
    pub group_rebalances: u64,
}
