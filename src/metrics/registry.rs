//! [`Metrics`]: the root from which every bundle is taken.

use prometheus::{IntCounterVec, IntGaugeVec, Registry};

use super::client::ClientMetrics;
use super::encode::{self, Format};
use super::exchange::ExchangeMetrics;
use super::family::{Family, Registrar};
use super::process::ProcessCollector;
use super::store::{StoreFamilies, StoreMetrics};
use super::task::{TaskFamilies, TaskMetrics};
use super::thread::{ThreadFamilies, ThreadMetrics, TopicMetrics};

/// All metrics of an instance.
pub struct Metrics {
    registry: Registry,
    client: ClientMetrics,
    threads: ThreadFamilies,
    tasks: TaskFamilies,
    stores: StoreFamilies,
}

/// The metrics could not be set up or encoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// Two metrics have one name, or a name is malformed.
    #[error("cannot register a metric: {0}; each name may be registered once a registry")]
    Register(prometheus::Error),
    /// The encoder refused a family.
    #[error("cannot encode the metrics: {0}")]
    Encode(prometheus::Error),
}

impl From<prometheus::Error> for MetricsError {
    fn from(error: prometheus::Error) -> Self {
        Self::Register(error)
    }
}

impl Metrics {
    /// Metrics of the instance that is named so.
    ///
    /// # Errors
    /// When names collide, which a test rules out for those of this crate.
    pub fn new(application_id: &str, instance_id: &str) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let registrar = Registrar(&registry);
        let client = ClientMetrics::new(&registrar, application_id, instance_id)?;
        let threads = ThreadFamilies::new(&registrar)?;
        let tasks = TaskFamilies::new(&registrar)?;
        let stores = StoreFamilies::new(&registrar)?;
        registry.register(Box::new(ProcessCollector::new()?))?;
        Ok(Self { registry, client, threads, tasks, stores })
    }

    /// What is counted for the instance as a whole.
    #[must_use]
    pub fn client(&self) -> &ClientMetrics {
        &self.client
    }

    /// The metrics of a stream thread, for as long as they are held.
    #[must_use]
    pub fn thread(&self, thread: &str) -> ThreadMetrics {
        self.threads.bundle(thread)
    }

    /// What one thread reads from or writes to one topic.
    #[must_use]
    pub fn topic(&self, thread: &str, topic: &str) -> TopicMetrics {
        self.threads.topic(thread, topic)
    }

    /// The metrics of a task such as `0_3`, for as long as they are held.
    #[must_use]
    pub fn task(&self, task: &str) -> TaskMetrics {
        self.tasks.bundle(task)
    }

    /// The metrics of a task's store, for as long as they are held.
    #[must_use]
    pub fn store(&self, task: &str, store: &str) -> StoreMetrics {
        self.stores.bundle(task, store)
    }

    /// Registers the exchange's metrics and gives them.
    ///
    /// # Errors
    /// When called twice.
    pub fn exchange(&self) -> Result<ExchangeMetrics, MetricsError> {
        ExchangeMetrics::new(&Registrar(&self.registry))
    }

    /// Everything, in the given format.
    ///
    /// # Errors
    /// When a family cannot be encoded.
    pub fn encode(&self, format: Format) -> Result<String, MetricsError> {
        encode::encode(&self.registry.gather(), format)
    }
}

/// A family of counters, held by the bundle that counts in it.
pub(super) type CounterFamily = Family<IntCounterVec>;
/// A family of gauges, held by the bundle that sets them.
pub(super) type GaugeFamily = Family<IntGaugeVec>;

#[cfg(test)]
mod tests {
    use super::super::*;

    /// Every bundle once, so that every family has a series.
    fn everything() -> (Metrics, String) {
        let metrics = Metrics::new("app", "one").unwrap();
        let thread = metrics.thread("stream-1");
        let topic = metrics.topic("stream-1", "orders");
        let task = metrics.task("0_3");
        let partition = task.partition("orders", 3);
        let store = metrics.store("0_3", "books");
        let exchange = metrics.exchange().unwrap();
        LocalTopic { records_in: 2, ..LocalTopic::default() }.publish(&topic);
        let mut local = LocalThread { processed: 5, ..LocalThread::default() };
        local.publish(&thread);
        thread.commit_seconds(0.004);
        task.set_state(TaskState::Restoring);
        task.dropped("late", 2);
        partition.set_lag(17);
        store.set_restore_remaining(40);
        exchange.orders("new", "accepted", 3);
        metrics.client().error("retriable");
        metrics.client().dead_letter("orders-dlq", "undecodable", 1);
        let text = metrics.encode(Format::Text).unwrap();
        (metrics, text)
    }

    #[test]
    fn names_follow_the_conventions() {
        let (_, text) = everything();
        let mut families = 0;
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').unwrap();
            families += 1;
            assert!(name.starts_with("tidemill_") || name.starts_with("process_"), "{name}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            if kind == "histogram" {
                assert!(name.ends_with("_seconds"), "{line}");
            }
        }
        assert!(families > 40, "{families}");
    }

    #[test]
    fn values_arrive_under_their_names_and_labels() {
        let (_, text) = everything();
        for line in [
            "tidemill_thread_records_processed_total{thread=\"stream-1\"} 5",
            "tidemill_topic_records_consumed_total{thread=\"stream-1\",topic=\"orders\"} 2",
            "tidemill_task_state{state=\"restoring\",task=\"0_3\"} 1",
            "tidemill_task_state{state=\"running\",task=\"0_3\"} 0",
            "tidemill_task_dropped_records_total{reason=\"late\",task=\"0_3\"} 2",
            "tidemill_partition_lag_records{partition=\"3\",task=\"0_3\",topic=\"orders\"} 17",
            "tidemill_restore_remaining_records{store=\"books\",task=\"0_3\"} 40",
            "tidemill_commit_seconds_count{thread=\"stream-1\"} 1",
            "tidemill_dead_letter_records_total{reason=\"undecodable\",topic=\"orders-dlq\"} 1",
            "tidemill_exchange_orders_total{action=\"new\",outcome=\"accepted\"} 3",
        ] {
            assert!(text.contains(&format!("\n{line}\n")), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_task_that_left_is_no_longer_shown() {
        let metrics = Metrics::new("app", "one").unwrap();
        let task = metrics.task("0_1");
        let partition = task.partition("orders", 1);
        assert!(metrics.encode(Format::Text).unwrap().contains("0_1"));
        drop(partition);
        drop(task);
        assert!(!metrics.encode(Format::Text).unwrap().contains("0_1"));
    }

    #[test]
    fn a_scrape_with_a_hundred_tasks_takes_less_than_twenty_milliseconds() {
        let metrics = Metrics::new("app", "one").unwrap();
        let held: Vec<_> = (0..100)
            .map(|n| {
                let id = format!("0_{n}");
                let task = metrics.task(&id);
                let partitions = [task.partition("orders", n), task.partition("assets", n)];
                (partitions, task, metrics.store(&id, "books"), metrics.store(&id, "index"))
            })
            .collect();
        // The fastest of several, for other processes may take the processor meanwhile.
        let fastest = (0..10)
            .map(|_| {
                let start = std::time::Instant::now();
                metrics.encode(Format::OpenMetrics).unwrap();
                start.elapsed()
            })
            .min()
            .unwrap();
        // An unoptimised build is some ten times slower.
        let bound_ms = if cfg!(debug_assertions) { 200 } else { 20 };
        assert!(fastest.as_millis() < bound_ms, "{fastest:?}");
        drop(held);
    }
}
