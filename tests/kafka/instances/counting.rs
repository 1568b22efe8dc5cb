//! An application that counts words by a store, run as instances within the test program.

use std::collections::BTreeMap;

use tempfile::TempDir;
use tidemill::config::Config;
use tidemill::prelude::*;
use tidemill::runtime::{Streams, StreamsHandle};
use tidemill::status::TaskState;
use tidemill_test_support::metrics::total;
use tidemill_test_support::records::{Outgoing, create_topic, produce, read_committed};
use tidemill_test_support::{KafkaCluster, unique};

/// Partitions of its input, and so its tasks.
pub const PARTITIONS: i32 = 6;

/// The application, with topics and folders of its own.
pub struct Counting {
    bootstrap: String,
    application: String,
    words: String,
    counts: String,
    folder: TempDir,
}

impl Counting {
    /// Creates its topics on the shared broker.
    pub fn open() -> Self {
        Self::open_on(KafkaCluster::shared(), &[])
    }

    /// Creates its topics on a cluster, that of the results with these settings.
    pub fn open_on(cluster: &KafkaCluster, results: &[(&str, &str)]) -> Self {
        let application = unique("counting");
        let (words, counts) = (format!("{application}.words"), format!("{application}.counts"));
        let bootstrap = cluster.bootstrap();
        create_topic(&bootstrap, &words, PARTITIONS, &[]);
        create_topic(&bootstrap, &counts, PARTITIONS, results);
        let folder = TempDir::with_prefix("tidemill-counting-").expect("a temporary folder");
        Self { bootstrap, application, words, counts, folder }
    }

    /// Starts an instance, which keeps its state in a folder of its name.
    pub fn start(&self, instance: &str, more: &[(&str, &str)]) -> Counter {
        let builder = StreamsBuilder::new();
        builder
            .stream(&self.words, Consumed::with(Utf8, Utf8))
            .group_by_key(Grouped::with(Utf8, Utf8))
            .count(Materialized::named("counts", I64))
            .to_stream()
            .to(&self.counts, Produced::with(Utf8, Nullable(I64)));
        let mut settings = BTreeMap::from([
            ("session.timeout.ms", "6000"),
            ("heartbeat.interval.ms", "500"),
            ("transaction.timeout.ms", "3000"),
            ("http.listen", "'off'"),
        ]);
        settings.extend(more.iter().copied());
        let settings: String =
            settings.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        let text = format!(
            "application.id = '{}'\nbootstrap.servers = '{}'\nstate.dir = '{}'\n{settings}",
            self.application,
            self.bootstrap,
            self.folder.path().join(instance).display(),
        );
        let config = Config::from_toml("counting.toml", &text).expect("a configuration");
        let topology = builder.build().expect("a topology");
        Counter(Some(Streams::start(topology, &config).expect("an instance")))
    }

    /// Sends each of so many words once.
    pub fn send(&self, words: u32) {
        let record = |word: u32| Outgoing::keyed(format!("word{word}"), "");
        produce(&self.bootstrap, &self.words, (0..words).map(record));
    }

    /// The last committed count of each word.
    pub fn counts(&self) -> BTreeMap<String, i64> {
        let all = self.all_counts().into_iter();
        all.filter_map(|(word, counts)| Some((word, counts.last().copied()?))).collect()
    }

    /// Every committed count of each word, in their order.
    pub fn all_counts(&self) -> BTreeMap<String, Vec<i64>> {
        let mut all: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for record in read_committed(&self.bootstrap, &self.counts) {
            let word = String::from_utf8(record.key.unwrap_or_default()).expect("a word");
            let count = record.value.expect("a count");
            let count = i64::from_be_bytes(count.try_into().expect("eight bytes"));
            all.entry(word).or_default().push(count);
        }
        all
    }
}

/// A running instance; dropping it stops it.
pub struct Counter(Option<Streams>);

impl Counter {
    /// Its handle.
    pub fn handle(&self) -> StreamsHandle {
        self.0.as_ref().expect("an instance that was not stopped").handle()
    }

    /// The tasks that it runs, by the thread that has them.
    pub fn running(&self) -> BTreeMap<String, Vec<String>> {
        let status = self.handle().introspect().status();
        let mut threads: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for task in status.tasks.into_iter().filter(|task| task.state == TaskState::Running) {
            threads.entry(task.thread).or_default().push(task.id);
        }
        threads
    }

    /// What a counter stands at, over all its series.
    pub fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.handle().introspect().metrics("text/plain");
        total(&text, name)
    }

    /// How many tasks it runs.
    pub fn running_count(&self) -> usize {
        self.running().values().map(Vec::len).sum()
    }

    /// Stops it, and waits until it has ended in order.
    pub fn stop(mut self) {
        self.end().expect("an orderly end");
    }

    fn end(&mut self) -> Result<(), tidemill::runtime::RuntimeError> {
        let Some(streams) = self.0.take() else { return Ok(()) };
        streams.handle().stop();
        streams.join()
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        // After a failed test its end is of no interest any more.
        let _ = self.end();
    }
}
