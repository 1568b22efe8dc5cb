//! An application that counts words by a store, run as instances within the test program.

use std::collections::BTreeMap;

use tempfile::TempDir;
use tidemill::config::Config;
use tidemill::prelude::*;
use tidemill::runtime::{Streams, StreamsHandle};
use tidemill::status::TaskState;
use tidemill_test_support::records::{Outgoing, create_topic, produce, read_committed};
use tidemill_test_support::{KafkaCluster, unique};

/// Partitions of its input, and so its tasks.
pub const PARTITIONS: i32 = 6;

/// The application, with topics and folders of its own.
pub struct Counting {
    application: String,
    words: String,
    counts: String,
    folder: TempDir,
}

impl Counting {
    /// Creates its topics on the shared broker.
    pub fn open() -> Self {
        let application = unique("counting");
        let (words, counts) = (format!("{application}.words"), format!("{application}.counts"));
        let bootstrap = KafkaCluster::shared().bootstrap();
        create_topic(&bootstrap, &words, PARTITIONS, &[]);
        create_topic(&bootstrap, &counts, PARTITIONS, &[]);
        let folder = TempDir::with_prefix("tidemill-counting-").expect("a temporary folder");
        Self { application, words, counts, folder }
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
        let more: String = more.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        let text = format!(
            "application.id = '{}'\nbootstrap.servers = '{}'\nstate.dir = '{}'\n\
             session.timeout.ms = 6000\nheartbeat.interval.ms = 500\n\
             transaction.timeout.ms = 3000\nhttp.listen = 'off'\n{more}",
            self.application,
            KafkaCluster::shared().bootstrap(),
            self.folder.path().join(instance).display(),
        );
        let config = Config::from_toml("counting.toml", &text).expect("a configuration");
        let topology = builder.build().expect("a topology");
        Counter(Some(Streams::start(topology, &config).expect("an instance")))
    }

    /// Sends each of so many words once.
    pub fn send(&self, words: u32) {
        let bootstrap = KafkaCluster::shared().bootstrap();
        let record = |word: u32| Outgoing::keyed(format!("word{word}"), "");
        produce(&bootstrap, &self.words, (0..words).map(record));
    }

    /// The last committed count of each word.
    pub fn counts(&self) -> BTreeMap<String, i64> {
        let records = read_committed(&KafkaCluster::shared().bootstrap(), &self.counts);
        let text = |bytes: &Option<Vec<u8>>| String::from_utf8(bytes.clone().unwrap_or_default());
        let parsed = records.iter().map(|record| {
            let count = record.value.as_deref().expect("a count");
            let count = i64::from_be_bytes(count.try_into().expect("eight bytes"));
            (text(&record.key).expect("a word"), count)
        });
        parsed.collect()
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
