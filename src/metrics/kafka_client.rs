//! What librdkafka says of the consumer and the producer of a stream thread.

use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec};

use super::family::{About, Counter, Family, FloatGauge, Gauge, Registrar, clamp};
use crate::kafka::ClientStatistics;

/// How a value is found in what a client says.
type Value<T> = fn(&ClientStatistics) -> T;

/// The families of all clients.
pub(super) struct ClientFamilies {
    counters: Vec<(Family<IntCounterVec>, Value<u64>)>,
    gauges: Vec<(Family<IntGaugeVec>, Value<u64>)>,
    averages: Vec<(Family<GaugeVec>, Value<f64>)>,
}

impl ClientFamilies {
    pub(super) fn new(registrar: &Registrar<'_>) -> prometheus::Result<Self> {
        registrar.level(
            "Kafka client",
            "The clients of a stream thread (`client` is `consumer` or `producer`), as librdkafka \
             sees them; all brokers together. The consumer that restores is shown by what it \
             restores.",
        );
        let about =
            |name, help, streams| About { name, help, labels: &["thread", "client"], streams };
        let counter = |name, help, streams, value: Value<u64>| {
            registrar.counters(about(name, help, streams)).map(|family| (family, value))
        };
        let gauge = |name, help, streams, value: Value<u64>| {
            registrar.gauges(about(name, help, streams)).map(|family| (family, value))
        };
        let average = |name, help, streams, value: Value<f64>| {
            registrar.float_gauges(about(name, help, streams)).map(|family| (family, value))
        };
        let counters = vec![
            counter(
                "client_requests_total",
                "Requests sent.",
                "request-total request-rate",
                |all| all.requests,
            )?,
            counter("client_request_bytes_total", "Bytes sent.", "outgoing-byte-total", |all| {
                all.request_bytes
            })?,
            counter(
                "client_responses_total",
                "Responses received.",
                "response-total fetch-total fetch-rate",
                |all| all.responses,
            )?,
            counter(
                "client_response_bytes_total",
                "Bytes received.",
                "incoming-byte-total bytes-consumed-total",
                |all| all.response_bytes,
            )?,
            counter(
                "client_errors_total",
                "Requests that could not be sent, and responses that could not be read.",
                "record-error-total",
                |all| all.errors,
            )?,
            counter("client_retries_total", "Requests sent again.", "record-retry-total", |all| {
                all.retries
            })?,
            counter("client_timeouts_total", "Requests without a response in time.", "", |all| {
                all.timeouts
            })?,
            counter(
                "client_connects_total",
                "Attempts to connect.",
                "connection-creation-total",
                |all| all.connects,
            )?,
            counter(
                "client_disconnects_total",
                "Connections that ended.",
                "connection-close-total",
                |all| all.disconnects,
            )?,
            counter(
                "client_group_rebalances_total",
                "Rebalances that the consumer took part in.",
                "rebalance-total failed-rebalance-total",
                |all| all.group_rebalances,
            )?,
        ];
        let gauges = vec![
            gauge("client_connected_brokers", "Brokers connected.", "connection-count", |all| {
                all.connected_brokers
            })?,
            gauge(
                "client_queued_records",
                "Records fetched and not handed out, or produced and not delivered.",
                "",
                |all| all.queued_records,
            )?,
            gauge(
                "client_queued_bytes",
                "Bytes of tidemill_client_queued_records.",
                "buffer-total-bytes buffer-available-bytes",
                |all| all.queued_bytes,
            )?,
        ];
        let averages = vec![
            average(
                "client_round_trip_average_seconds",
                "Average time from request to response within 5 seconds, slowest broker.",
                "request-latency-avg fetch-latency-avg",
                |all| all.round_trip_average_seconds,
            )?,
            average(
                "client_round_trip_p99_seconds",
                "What 99 of 100 responses take at most within 5 seconds, slowest broker.",
                "request-latency-max fetch-latency-max",
                |all| all.round_trip_p99_seconds,
            )?,
            average(
                "client_throttle_average_seconds",
                "Average time for which a broker held the client back, strictest broker.",
                "fetch-throttle-time-avg produce-throttle-time-avg",
                |all| all.throttle_average_seconds,
            )?,
            average(
                "client_batch_average_bytes",
                "Average size of a batch that is produced, or fetched of a partition.",
                "batch-size-avg",
                |all| all.batch_average_bytes,
            )?,
            average(
                "client_batch_average_records",
                "Average records of a batch that is produced, or fetched of a partition.",
                "records-per-request-avg",
                |all| all.batch_average_records,
            )?,
        ];
        Ok(Self { counters, gauges, averages })
    }

    pub(super) fn bundle(&self, thread: &str, client: &str) -> KafkaClientMetrics {
        let labels = &[thread, client];
        KafkaClientMetrics {
            counters: self.counters.iter().map(|(one, of)| (one.series(labels), *of)).collect(),
            gauges: self.gauges.iter().map(|(one, of)| (one.series(labels), *of)).collect(),
            averages: self.averages.iter().map(|(one, of)| (one.series(labels), *of)).collect(),
            published: ClientStatistics::default(),
        }
    }
}

/// Metrics of one client of one thread.
pub struct KafkaClientMetrics {
    counters: Vec<(Counter, Value<u64>)>,
    gauges: Vec<(Gauge, Value<u64>)>,
    averages: Vec<(FloatGauge, Value<f64>)>,
    /// What the counters stand for: the client tells totals.
    published: ClientStatistics,
}

impl KafkaClientMetrics {
    /// Takes over what the client said. Totals that fell are those of a new client.
    pub fn publish(&mut self, said: &ClientStatistics) {
        let before = if said.requests < self.published.requests {
            ClientStatistics::default()
        } else {
            self.published
        };
        for (counter, total) in &self.counters {
            counter.inc_by(total(said).saturating_sub(total(&before)));
        }
        for (gauge, value) in &self.gauges {
            gauge.set(clamp(value(said)));
        }
        for (gauge, value) in &self.averages {
            gauge.set(value(said));
        }
        self.published = *said;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Format, Metrics};
    use super::*;

    #[test]
    fn totals_go_on_when_a_new_client_starts_from_zero() {
        let metrics = Metrics::new("app", "one").unwrap();
        let mut client = metrics.kafka_client("stream-1", "producer");
        for requests in [10, 15, 3] {
            client.publish(&ClientStatistics { requests, ..ClientStatistics::default() });
        }
        let text = metrics.encode(Format::Text);
        let line = "tidemill_client_requests_total{client=\"producer\",thread=\"stream-1\"} 18\n";
        assert!(text.contains(line), "{text}");
    }
}
