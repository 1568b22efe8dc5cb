//! [`Metrics`]: the root from which every bundle is taken.

use prometheus::{IntCounterVec, IntGaugeVec, Registry};

use super::catalogue::Catalogue;
use super::client::ClientMetrics;
use super::encode::{self, Format};
use super::engine::EngineMetrics;
use super::exchange::ExchangeMetrics;
use super::family::{Family, Registrar};
use super::kafka_client::{ClientFamilies, KafkaClientMetrics};
use super::process::ProcessCollector;
use super::reading::Reading;
use super::standby::{StandbyFamilies, StandbyMetrics};
use super::store::{StoreFamilies, StoreMetrics};
use super::task::{TaskFamilies, TaskMetrics};
use super::thread::{NodeMetrics, ThreadFamilies, ThreadMetrics};
use super::topic::{InputTopicMetrics, OutputTopicMetrics, TopicFamilies};

/// All metrics of an instance.
pub struct Metrics {
    registry: Registry,
    catalogue: Catalogue,
    client: ClientMetrics,
    threads: ThreadFamilies,
    topics: TopicFamilies,
    tasks: TaskFamilies,
    standbys: StandbyFamilies,
    stores: StoreFamilies,
    engine: EngineMetrics,
    kafka_clients: ClientFamilies,
}

/// The metrics could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// Two metrics have one name, or a name is malformed.
    #[error("cannot register a metric: {0}; each name may be registered once a registry")]
    Register(prometheus::Error),
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
        let catalogue = Catalogue::default();
        let registrar = Registrar::new(&registry, &catalogue);
        let client = ClientMetrics::new(&registrar, application_id, instance_id)?;
        let threads = ThreadFamilies::new(&registrar)?;
        let topics = TopicFamilies::new(&registrar)?;
        let tasks = TaskFamilies::new(&registrar)?;
        let standbys = StandbyFamilies::new(&registrar)?;
        let stores = StoreFamilies::new(&registrar)?;
        let engine = EngineMetrics::new(&registrar)?;
        let kafka_clients = ClientFamilies::new(&registrar)?;
        registry.register(Box::new(ProcessCollector::new()?))?;
        Ok(Self {
            registry,
            catalogue,
            client,
            threads,
            topics,
            tasks,
            standbys,
            stores,
            engine,
            kafka_clients,
        })
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

    /// What one thread takes through one node.
    #[must_use]
    pub fn node(&self, thread: &str, node: &str) -> NodeMetrics {
        self.threads.node(thread, node)
    }

    /// What one thread reads from one topic.
    #[must_use]
    pub fn input_topic(&self, thread: &str, topic: &str) -> InputTopicMetrics {
        self.topics.input(thread, topic)
    }

    /// What one thread writes to one topic.
    #[must_use]
    pub fn output_topic(&self, thread: &str, topic: &str) -> OutputTopicMetrics {
        self.topics.output(thread, topic)
    }

    /// What a thread's `consumer` or `producer` says of itself.
    #[must_use]
    pub fn kafka_client(&self, thread: &str, client: &str) -> KafkaClientMetrics {
        self.kafka_clients.bundle(thread, client)
    }

    /// What RocksDB holds and counts for all stores.
    #[must_use]
    pub fn engine(&self) -> &EngineMetrics {
        &self.engine
    }

    /// What there is, in words.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The metrics of a task such as `0_3`, for as long as they are held.
    #[must_use]
    pub fn task(&self, task: &str) -> TaskMetrics {
        self.tasks.bundle(task)
    }

    /// The metrics of a copy of a task, for as long as they are held.
    #[must_use]
    pub fn standby(&self, task: &str) -> StandbyMetrics {
        self.standbys.bundle(task)
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
        ExchangeMetrics::new(&Registrar::new(&self.registry, &self.catalogue))
    }

    /// Everything, as numbers.
    #[must_use]
    pub fn read(&self) -> Reading {
        Reading::new(self.registry.gather())
    }

    /// Everything, in the given format.
    #[must_use]
    pub fn encode(&self, format: Format) -> String {
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

    /// Some of every bundle, so that most families have a series.
    fn everything() -> (Metrics, String) {
        let metrics = Metrics::new("app", "one").unwrap();
        let thread = metrics.thread("stream-1");
        let input = metrics.input_topic("stream-1", "orders");
        let output = metrics.output_topic("stream-1", "trades");
        let node = metrics.node("stream-1", "match");
        let task = metrics.task("0_3");
        let partition = task.partition("orders", 3);
        let store = metrics.store("0_3", "books");
        let copy = metrics.standby("0_2");
        let _client = metrics.kafka_client("stream-1", "producer");
        let exchange = metrics.exchange().unwrap();
        LocalTopic { records: 2, bytes: 80 }.publish_input(&input);
        LocalTopic { records: 1, bytes: 40 }.publish_output(&output);
        input.processed_at_age(20);
        node.processed(4);
        let mut local = LocalThread { processed: 5, ..LocalThread::default() };
        local.publish(&thread);
        thread.commit_seconds(0.004);
        thread.commit_step_seconds(CommitStep::Transaction, 0.5);
        task.set_state(TaskState::Restoring);
        task.dropped("late", 2);
        partition.set_lag(17);
        partition.set_lag_ms(1500);
        store.set_restore_remaining(40);
        copy.set_lag(6);
        store.set_use(&StoreUse { cached: 3, backend: 1, scans: 0, expired: 2 });
        exchange.orders("new", "accepted", 3);
        metrics.client().error("retriable");
        metrics.client().dead_letter("orders-dlq", "undecodable", 1);
        let text = metrics.encode(Format::Text);
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
            "tidemill_topic_bytes_produced_total{thread=\"stream-1\",topic=\"trades\"} 40",
            "tidemill_node_records_total{node=\"match\",thread=\"stream-1\"} 4",
            "tidemill_task_state{state=\"restoring\",task=\"0_3\"} 1",
            "tidemill_task_state{state=\"running\",task=\"0_3\"} 0",
            "tidemill_task_dropped_records_total{reason=\"late\",task=\"0_3\"} 2",
            "tidemill_partition_lag_records{partition=\"3\",task=\"0_3\",topic=\"orders\"} 17",
            "tidemill_partition_lag_seconds{partition=\"3\",task=\"0_3\",topic=\"orders\"} 1.5",
            "tidemill_store_reads_total{from=\"cache\",store=\"books\",task=\"0_3\"} 3",
            "tidemill_restore_remaining_records{store=\"books\",task=\"0_3\"} 40",
            "tidemill_standby_lag_records{task=\"0_2\"} 6",
            "tidemill_commit_seconds_count{thread=\"stream-1\"} 1",
            "tidemill_commit_step_seconds_total{step=\"transaction\",thread=\"stream-1\"} 0.5",
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
        assert!(metrics.encode(Format::Text).contains("0_1"));
        drop(partition);
        drop(task);
        assert!(!metrics.encode(Format::Text).contains("0_1"));
    }

    #[test]
    fn a_store_in_memory_has_no_series_of_rocksdb_and_one_on_disk_has_all() {
        let metrics = Metrics::new("app", "one").unwrap();
        let _in_memory = metrics.store("0_1", "memory");
        let on_disk = metrics.store("0_1", "disk");
        on_disk.set_engine(&std::array::from_fn(|at| at as u64));
        let text = metrics.encode(Format::Text);
        let of = |store: &str| {
            let store = format!("store=\"{store}\"");
            let rocksdb = |line: &&str| line.starts_with("tidemill_rocksdb_");
            text.lines().filter(rocksdb).filter(|line| line.contains(&store)).count()
        };
        assert_eq!((of("memory"), of("disk")), (0, tidemill_state::EngineProperty::ALL.len()));
    }

    /// `UPDATE_DOCS=1 cargo test` writes the page.
    #[test]
    fn the_page_in_docs_lists_the_metrics_that_are_registered() {
        let metrics = Metrics::new("app", "one").unwrap();
        let _exchange = metrics.exchange().unwrap();
        let page = metrics.catalogue().markdown();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap();
        assert!(written == page, "{path} is stale: run the tests once with UPDATE_DOCS=1");
        for name in metrics.catalogue().names() {
            assert!(page.contains(&format!("| `{name}` |")), "{name}");
        }
    }
}
