//! What a stream thread reads from and writes to each topic, and how old its records are.

use prometheus::HistogramVec;

use super::family::{AGE_BUCKETS, About, Counter, Family, Histogram, Registrar};
use super::registry::CounterFamily;

/// The families of all topics.
pub(super) struct TopicFamilies {
    records_in: CounterFamily,
    bytes_in: CounterFamily,
    records_out: CounterFamily,
    bytes_out: CounterFamily,
    age: Family<HistogramVec>,
}

impl TopicFamilies {
    pub(super) fn new(registrar: &Registrar<'_>) -> prometheus::Result<Self> {
        registrar.level("Topic", "What a stream thread reads from and writes to a topic.");
        let by_topic = |name, help, streams| {
            registrar.counters(About { name, help, labels: &["thread", "topic"], streams })
        };
        Ok(Self {
            records_in: by_topic(
                "topic_records_consumed_total",
                "Records read from a topic.",
                "records-consumed-total",
            )?,
            bytes_in: by_topic(
                "topic_bytes_consumed_total",
                "Keys and values read from a topic, uncompressed.",
                "bytes-consumed-total",
            )?,
            records_out: by_topic(
                "topic_records_produced_total",
                "Records written to a topic, those of aborted transactions included.",
                "records-produced-total",
            )?,
            bytes_out: by_topic(
                "topic_bytes_produced_total",
                "Keys and values written to a topic, uncompressed.",
                "bytes-produced-total",
            )?,
            age: registrar.histograms(
                About {
                    name: "record_age_seconds",
                    help: "Time from a record's timestamp until it was processed, and until the \
                           transaction with its results was committed; sampled.",
                    labels: &["thread", "topic", "stage"],
                    streams: "record-e2e-latency-avg record-e2e-latency-min record-e2e-latency-max",
                },
                &AGE_BUCKETS,
            )?,
        })
    }

    pub(super) fn input(&self, thread: &str, topic: &str) -> InputTopicMetrics {
        InputTopicMetrics {
            records: self.records_in.series(&[thread, topic]),
            bytes: self.bytes_in.series(&[thread, topic]),
            processed: self.age.series(&[thread, topic, "processed"]),
            committed: self.age.series(&[thread, topic, "committed"]),
        }
    }

    pub(super) fn output(&self, thread: &str, topic: &str) -> OutputTopicMetrics {
        OutputTopicMetrics {
            records: self.records_out.series(&[thread, topic]),
            bytes: self.bytes_out.series(&[thread, topic]),
        }
    }
}

/// What one thread reads from one topic.
pub struct InputTopicMetrics {
    records: Counter,
    bytes: Counter,
    processed: Histogram,
    committed: Histogram,
}

impl InputTopicMetrics {
    /// A record of this age, in ms, was processed just now. Clocks may differ: none is negative.
    pub fn processed_at_age(&self, age_ms: i64) {
        self.processed.observe(seconds(age_ms));
    }

    /// What came of a record of this age, in ms, was committed just now.
    pub fn committed_at_age(&self, age_ms: i64) {
        self.committed.observe(seconds(age_ms));
    }
}

fn seconds(age_ms: i64) -> f64 {
    age_ms.max(0) as f64 / 1000.0
}

/// What one thread writes to one topic.
pub struct OutputTopicMetrics {
    records: Counter,
    bytes: Counter,
}

/// What a thread counts of a topic between two publications, in plain integers.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct LocalTopic {
    /// Records read or written.
    pub records: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

impl LocalTopic {
    /// Counts records with so many bytes together.
    #[inline]
    pub fn add(&mut self, records: u64, bytes: u64) {
        self.records += records;
        self.bytes += bytes;
    }

    /// Adds the counts to those of a topic that is read, and starts anew.
    pub fn publish_input(&mut self, metrics: &InputTopicMetrics) {
        let Self { records, bytes } = std::mem::take(self);
        metrics.records.inc_by(records);
        metrics.bytes.inc_by(bytes);
    }

    /// Adds the counts to those of a topic that is written, and starts anew.
    pub fn publish_output(&mut self, metrics: &OutputTopicMetrics) {
        let Self { records, bytes } = std::mem::take(self);
        metrics.records.inc_by(records);
        metrics.bytes.inc_by(bytes);
    }
}
