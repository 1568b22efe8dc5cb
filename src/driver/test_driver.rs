//! The topology test driver: any topology, without a broker, one record at a time.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidemill_topology::error::Result as TopologyResult;
use tidemill_topology::graph::Topology;
use tidemill_topology::handler::Handlers;
use tidemill_topology::node::{DropReason, Outgoing};
use tidemill_topology::record::Headers;
use tidemill_topology::serde::Serde;
use tidemill_topology::store::StoreEntry;
use tidemill_topology::time::Timestamp;

use super::error::Result;
use super::local_runner::{InputRecord, LocalRunner, RunnerSettings};
use super::test_topics::{TestInputTopic, TestOutputTopic};

/// Runs a topology for its tests, as Kafka Streams' class of that name does.
///
/// A piped record is processed to its end, with everything that it causes through repartition
/// topics, and then committed. Time stands still but for what records and
/// [`advance_wall_clock`](Self::advance_wall_clock) move; results that wait for a window to close
/// come out with the record that closes it.
///
/// ```
/// use tidemill::driver::TopologyTestDriver;
/// use tidemill::prelude::*;
///
/// let builder = StreamsBuilder::new();
/// builder
///     .stream("words", Consumed::with(Utf8, Utf8))
///     .group_by_key(Grouped::with(Utf8, Utf8))
///     .count(Materialized::named("counts", I64))
///     .to_stream()
///     .to("counted", Produced::with(Utf8, Nullable(I64)));
/// let topology = builder.build()?;
///
/// let driver = TopologyTestDriver::new(&topology)?;
/// let words = driver.input_topic("words", Utf8, Utf8);
/// let counted = driver.output_topic("counted", Utf8, I64);
/// words.pipe("ann", "tea", 10)?;
/// words.pipe("ann", "milk", 20)?;
/// assert_eq!(counted.read_pairs()?, [("ann".to_owned(), 1), ("ann".to_owned(), 2)]);
///
/// // Nothing that was committed is lost in a crash.
/// driver.restart()?;
/// assert_eq!(driver.get::<String, i64>("counts", &"ann".to_owned())?, Some(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TopologyTestDriver {
    state: RefCell<State>,
    commits_each_record: bool,
}

struct State {
    runner: LocalRunner,
    outputs: VecDeque<OutputRecord>,
    /// How many of the outputs were sent since the last commit; those that were read already included.
    uncommitted: usize,
}

/// A record that left the topology, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputRecord {
    /// The topic that it was sent to.
    pub topic: Arc<str>,
    /// Its key, or null.
    pub key: Option<Vec<u8>>,
    /// Its value, or null.
    pub value: Option<Vec<u8>>,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// Its headers.
    pub headers: Headers,
}

/// What can be said about a test's surroundings; from [`TopologyTestDriver::builder`].
pub struct TestDriverBuilder {
    settings: RunnerSettings,
    commits_each_record: bool,
}

impl TestDriverBuilder {
    /// The application's id, which internal topics' names start with; `test` unless told.
    #[must_use]
    pub fn application_id(mut self, id: impl Into<String>) -> Self {
        self.settings.application_id = id.into();
        self
    }

    /// Where the wall clock starts; at 0 unless told.
    #[must_use]
    pub fn wall_clock(mut self, at: Timestamp) -> Self {
        self.settings.wall_clock = at;
        self
    }

    /// What happens to records that fail; unless told, the call that piped them returns the error.
    #[must_use]
    pub fn handlers(mut self, handlers: Handlers) -> Self {
        self.settings.handlers = Arc::new(handlers);
        self
    }

    /// Keeps persistent stores in RocksDB, in this directory, instead of in memory.
    #[must_use]
    pub fn rocksdb(mut self, directory: impl Into<PathBuf>) -> Self {
        self.settings.directory = Some(directory.into());
        self
    }

    /// Lets operators that wait for windows to close pause that long between two looks, as they do
    /// in production (one second); unless told, they do not pause.
    #[must_use]
    pub fn emit_interval(mut self, interval: Duration) -> Self {
        self.settings.emit_interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
        self
    }

    /// What caching stores may hold back between two commits, as `statestore.cache.max.bytes` of a
    /// configuration; 10 MiB unless told. Only of interest with
    /// [`manual_commits`](Self::manual_commits).
    #[must_use]
    pub fn cache_max_bytes(mut self, bytes: usize) -> Self {
        self.settings.cache_max_bytes = bytes;
        self
    }

    /// Commits only when [`commit`](TopologyTestDriver::commit) is called, instead of after each
    /// record: caching operators hold their updates back until then, and a restart loses what came
    /// since.
    #[must_use]
    pub fn manual_commits(mut self) -> Self {
        self.commits_each_record = false;
        self
    }

    /// Starts the topology.
    ///
    /// # Errors
    /// When it cannot be wired, or the stores cannot be opened.
    pub fn start(self, topology: &Topology) -> Result<TopologyTestDriver> {
        Ok(TopologyTestDriver {
            state: RefCell::new(State {
                runner: LocalRunner::new(topology, self.settings)?,
                outputs: VecDeque::new(),
                uncommitted: 0,
            }),
            commits_each_record: self.commits_each_record,
        })
    }
}

impl TopologyTestDriver {
    /// Starts a topology with stores in memory.
    ///
    /// # Errors
    /// When it cannot be wired.
    pub fn new(topology: &Topology) -> Result<Self> {
        Self::builder().start(topology)
    }

    /// For tests that have more to say about their surroundings.
    #[must_use]
    pub fn builder() -> TestDriverBuilder {
        TestDriverBuilder {
            settings: RunnerSettings {
                application_id: "test".to_owned(),
                emit_interval_ms: 0,
                keeps_changelogs: true,
                ..RunnerSettings::default()
            },
            commits_each_record: true,
        }
    }

    /// A topic to pipe records into.
    pub fn input_topic<K: 'static, V: 'static>(
        &self,
        name: impl Into<String>,
        key: impl Serde<K>,
        value: impl Serde<V>,
    ) -> TestInputTopic<'_, K, V> {
        TestInputTopic {
            driver: self,
            name: name.into(),
            key: Arc::new(key),
            value: Arc::new(value),
        }
    }

    /// A topic to read results from.
    pub fn output_topic<K: 'static, V: 'static>(
        &self,
        name: impl Into<String>,
        key: impl Serde<K>,
        value: impl Serde<V>,
    ) -> TestOutputTopic<'_, K, V> {
        TestOutputTopic {
            driver: self,
            name: name.into(),
            key: Arc::new(key),
            value: Arc::new(value),
        }
    }

    /// Pipes a record in bytes.
    ///
    /// # Errors
    /// When the topic is not read, or the topology stops at the record.
    pub fn pipe_bytes(&self, topic: &str, record: &InputRecord<'_>) -> Result {
        self.run(|runner, output| {
            let input = runner.input(topic)?;
            runner.process(input, record, output)
        })?;
        self.commit_if_each_record()
    }

    /// Moves the wall clock on, and fires the punctuations that become due.
    ///
    /// # Errors
    /// When the topology stops in one of them.
    pub fn advance_wall_clock(&self, by: Duration) -> Result {
        self.run(|runner, output| {
            let by_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
            runner.set_wall_clock(runner.wall_clock() + by_ms, output)
        })?;
        self.commit_if_each_record()
    }

    /// Commits what was processed: caching operators forward what they held back, and what the
    /// stores changed becomes safe from a crash.
    ///
    /// # Errors
    /// When the topology stops at what is forwarded.
    pub fn commit(&self) -> Result {
        self.run(LocalRunner::commit)?;
        self.state.borrow_mut().uncommitted = 0;
        Ok(())
    }

    /// Crashes and starts again. What was not committed is lost, from the stores and from the
    /// outputs; the rest is restored from the changelogs. Operators are made anew: what they kept
    /// outside of stores is gone, as it would be.
    ///
    /// # Errors
    /// When the stores cannot be opened and restored.
    pub fn restart(&self) -> Result {
        let State { runner, outputs, uncommitted } = &mut *self.state.borrow_mut();
        outputs.truncate(outputs.len().saturating_sub(*uncommitted));
        *uncommitted = 0;
        runner.restart()
    }

    /// The value under a key of a key-value store.
    ///
    /// # Errors
    /// When there is no such store, or it is of another kind or other types.
    pub fn get<K: 'static, V: 'static>(&self, store: &str, key: &K) -> Result<Option<V>> {
        self.state.borrow_mut().runner.get(store, key)
    }

    /// All entries of a store of any kind: of a windowed one those that its retention still covers,
    /// of a versioned one the latest versions.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn entries<K: 'static, V: 'static>(&self, store: &str) -> Result<Vec<StoreEntry<K, V>>> {
        self.state.borrow_mut().runner.entries(store)
    }

    /// Records dropped for a reason so far.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.state.borrow().runner.dropped(reason)
    }

    /// Records dropped so far.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.state.borrow().runner.dropped_total()
    }

    /// Takes all records that were not read yet, of all topics, in the order in which they were
    /// sent.
    #[must_use]
    pub fn take_outputs(&self) -> Vec<OutputRecord> {
        self.state.borrow_mut().outputs.drain(..).collect()
    }

    pub(crate) fn take_output(&self, topic: &str) -> Option<OutputRecord> {
        let outputs = &mut self.state.borrow_mut().outputs;
        let at = outputs.iter().position(|record| *record.topic == *topic)?;
        outputs.remove(at)
    }

    fn commit_if_each_record(&self) -> Result {
        if self.commits_each_record { self.commit() } else { Ok(()) }
    }

    fn run(
        &self,
        run: impl FnOnce(&mut LocalRunner, &mut dyn FnMut(Outgoing<'_>) -> TopologyResult) -> Result,
    ) -> Result {
        let State { runner, outputs, uncommitted } = &mut *self.state.borrow_mut();
        run(runner, &mut |record| {
            *uncommitted += 1;
            outputs.push_back(OutputRecord {
                topic: record.topic.name.clone(),
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                timestamp: record.timestamp,
                headers: record.headers.clone(),
            });
            Ok(())
        })
    }
}
