//! What a stream thread counts and measures.

use prometheus::HistogramVec;

use super::family::{Counter, Family, Gauge, Histogram, Registrar, clamp};
use super::registry::{CounterFamily, GaugeFamily};

/// The families of all threads.
pub(super) struct ThreadFamilies {
    processed: CounterFamily,
    punctuations: CounterFamily,
    commits: CounterFamily,
    aborts: CounterFamily,
    fences: CounterFamily,
    tasks: GaugeFamily,
    poll: Family<HistogramVec>,
    process: Family<HistogramVec>,
    punctuate: Family<HistogramVec>,
    commit: Family<HistogramVec>,
    records_in: CounterFamily,
    bytes_in: CounterFamily,
    records_out: CounterFamily,
    bytes_out: CounterFamily,
}

impl ThreadFamilies {
    pub(super) fn new(registrar: &Registrar<'_>) -> prometheus::Result<Self> {
        let counter = |name, help| registrar.counters(name, help, &["thread"]);
        let by_topic = |name, help| registrar.counters(name, help, &["thread", "topic"]);
        let latency = |name, help| registrar.histograms(name, help, &["thread"]);
        Ok(Self {
            processed: counter(
                "thread_records_processed_total",
                "Records that went through a topology.",
            )?,
            punctuations: counter("thread_punctuations_total", "Punctuators called.")?,
            commits: counter("commits_total", "Commits that succeeded.")?,
            aborts: counter("transaction_aborts_total", "Transactions that were aborted.")?,
            fences: counter("fences_total", "Times a producer was fenced by a newer one.")?,
            tasks: registrar.gauges("thread_tasks", "Tasks of a thread.", &["thread"])?,
            poll: latency("poll_seconds", "Time of one poll of the consumer.")?,
            process: latency(
                "process_batch_seconds",
                "Time of one round of processing; its sum over the records processed is the \
                 time a record takes.",
            )?,
            punctuate: latency("punctuate_seconds", "Time of one round of punctuators.")?,
            commit: latency("commit_seconds", "Time of one commit, all its steps.")?,
            records_in: by_topic("topic_records_consumed_total", "Records read from a topic.")?,
            bytes_in: by_topic(
                "topic_bytes_consumed_total",
                "Keys and values read from a topic, uncompressed.",
            )?,
            records_out: by_topic("topic_records_produced_total", "Records written to a topic.")?,
            bytes_out: by_topic(
                "topic_bytes_produced_total",
                "Keys and values written to a topic, uncompressed.",
            )?,
        })
    }

    pub(super) fn bundle(&self, thread: &str) -> ThreadMetrics {
        let labels = &[thread];
        ThreadMetrics {
            processed: self.processed.series(labels),
            punctuations: self.punctuations.series(labels),
            commits: self.commits.series(labels),
            aborts: self.aborts.series(labels),
            fences: self.fences.series(labels),
            tasks: self.tasks.series(labels),
            poll: self.poll.series(labels),
            process: self.process.series(labels),
            punctuate: self.punctuate.series(labels),
            commit: self.commit.series(labels),
        }
    }

    pub(super) fn topic(&self, thread: &str, topic: &str) -> TopicMetrics {
        let labels = &[thread, topic];
        TopicMetrics {
            records_in: self.records_in.series(labels),
            bytes_in: self.bytes_in.series(labels),
            records_out: self.records_out.series(labels),
            bytes_out: self.bytes_out.series(labels),
        }
    }
}

/// Metrics of one stream thread.
pub struct ThreadMetrics {
    processed: Counter,
    punctuations: Counter,
    commits: Counter,
    aborts: Counter,
    fences: Counter,
    tasks: Gauge,
    poll: Histogram,
    process: Histogram,
    punctuate: Histogram,
    commit: Histogram,
}

impl ThreadMetrics {
    /// One poll took so long.
    pub fn poll_seconds(&self, seconds: f64) {
        self.poll.observe(seconds);
    }

    /// One round of processing, of any number of records, took so long.
    pub fn process_seconds(&self, seconds: f64) {
        self.process.observe(seconds);
    }

    /// One round of punctuators took so long.
    pub fn punctuate_seconds(&self, seconds: f64) {
        self.punctuate.observe(seconds);
    }

    /// One commit succeeded and took so long.
    pub fn commit_seconds(&self, seconds: f64) {
        self.commits.inc();
        self.commit.observe(seconds);
    }

    /// A transaction was aborted.
    pub fn aborted(&self) {
        self.aborts.inc();
    }

    /// The producer was fenced by a newer one of its transactional id.
    pub fn fenced(&self) {
        self.fences.inc();
    }

    /// Tasks the thread owns.
    pub fn set_tasks(&self, tasks: usize) {
        self.tasks.set(clamp(tasks as u64));
    }
}

/// What a thread counts between two publications, in plain integers.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct LocalThread {
    /// Records that went through a topology.
    pub processed: u64,
    /// Punctuators called.
    pub punctuations: u64,
}

impl LocalThread {
    /// Adds the counts to the thread's metrics and starts anew.
    pub fn publish(&mut self, metrics: &ThreadMetrics) {
        let Self { processed, punctuations } = std::mem::take(self);
        metrics.processed.inc_by(processed);
        metrics.punctuations.inc_by(punctuations);
    }
}

/// What one thread reads from and writes to one topic.
pub struct TopicMetrics {
    records_in: Counter,
    bytes_in: Counter,
    records_out: Counter,
    bytes_out: Counter,
}

/// What a thread counts of a topic between two publications, in plain integers.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct LocalTopic {
    /// Records read.
    pub records_in: u64,
    /// Bytes of keys and values read.
    pub bytes_in: u64,
    /// Records written.
    pub records_out: u64,
    /// Bytes of keys and values written.
    pub bytes_out: u64,
}

impl LocalTopic {
    /// Adds the counts to the topic's metrics and starts anew.
    pub fn publish(&mut self, metrics: &TopicMetrics) {
        let Self { records_in, bytes_in, records_out, bytes_out } = std::mem::take(self);
        metrics.records_in.inc_by(records_in);
        metrics.bytes_in.inc_by(bytes_in);
        metrics.records_out.inc_by(records_out);
        metrics.bytes_out.inc_by(bytes_out);
    }
}
