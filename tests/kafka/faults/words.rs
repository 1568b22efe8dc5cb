//! An application that counts words, whose code can be made to fail, and which runs as an instance
//! within the test program.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tidemill::config::Config;
use tidemill::prelude::*;
use tidemill::runtime::{Hooks, RestoreListener, RuntimeError, Streams, StreamsHandle, handlers};
use tidemill::status::TaskState;
use tidemill_test_support::metrics::samples;
use tidemill_test_support::patience::{wait_for, wait_up_to};
use tidemill_test_support::records::{
    Outgoing, committed, create_topic, produce, read_committed, watermarks,
};
use tidemill_test_support::{KafkaCluster, unique};

/// How long anything may take.
pub const LIMIT: Duration = Duration::from_secs(90);

/// What is called with each word.
type Each = Arc<dyn Fn(&str) + Send + Sync>;

/// The application, with topics and folders of its own.
pub struct Words {
    application: String,
    bootstrap: String,
    words: String,
    counts: String,
    partitions: i32,
    folder: TempDir,
}

impl Words {
    /// Creates its topics, with so many partitions.
    pub fn open(bootstrap: &str, partitions: i32) -> Self {
        Self::open_with(bootstrap, partitions, &[])
    }

    /// On the broker that the tests share.
    pub fn open_on_shared(partitions: i32) -> Self {
        Self::open(&KafkaCluster::shared().bootstrap(), partitions)
    }

    /// With settings of the topic of results.
    pub fn open_with(bootstrap: &str, partitions: i32, results: &[(&str, &str)]) -> Self {
        let application = unique("words");
        let (words, counts) = (format!("{application}.in"), format!("{application}.out"));
        create_topic(bootstrap, &words, partitions, &[]);
        create_topic(bootstrap, &counts, partitions, results);
        let folder = TempDir::with_prefix("tidemill-words-").expect("a temporary folder");
        let bootstrap = bootstrap.to_owned();
        Self { application, bootstrap, words, counts, partitions, folder }
    }

    /// Where the cluster is.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Its id.
    pub fn application(&self) -> &str {
        &self.application
    }

    /// The topic of words.
    pub fn input(&self) -> &str {
        &self.words
    }

    /// The topic of counts.
    pub fn output(&self) -> &str {
        &self.counts
    }

    /// The changelog of its store.
    pub fn changelog(&self) -> String {
        format!("{}-counts-changelog", self.application)
    }

    /// The folder of an instance's state.
    pub fn state(&self, instance: &str) -> PathBuf {
        self.folder.path().join(instance)
    }

    /// Starts an instance.
    pub fn start(&self, instance: &str) -> Running {
        self.start_with(instance, &[], |_| ())
    }

    /// Starts an instance with further settings, which calls `each` with each word.
    pub fn start_with(
        &self,
        instance: &str,
        more: &[(&str, &str)],
        each: impl Fn(&str) + Send + Sync + 'static,
    ) -> Running {
        self.run(instance, more, Arc::new(each), None)
    }

    /// Starts an instance that tells a listener of its restores.
    pub fn start_listened(&self, instance: &str, listener: Arc<dyn RestoreListener>) -> Running {
        self.run(instance, &[], Arc::new(|_: &str| ()), Some(listener))
    }

    fn run(
        &self,
        instance: &str,
        more: &[(&str, &str)],
        each: Each,
        listener: Option<Arc<dyn RestoreListener>>,
    ) -> Running {
        let builder = StreamsBuilder::new();
        builder
            .stream(&self.words, Consumed::with(Utf8, Utf8))
            .peek(move |word, _| each(word))
            .group_by_key(Grouped::with(Utf8, Utf8))
            .count(Materialized::named("counts", I64))
            .to_stream()
            .to(&self.counts, Produced::with(Utf8, Nullable(I64)));
        let mut settings = BTreeMap::from([
            ("application.id", self.application.as_str()),
            ("bootstrap.servers", &self.bootstrap),
            ("instance.id", instance),
            ("session.timeout.ms", "6000"),
            ("heartbeat.interval.ms", "500"),
            ("transaction.timeout.ms", "10000"),
            ("http.listen", "off"),
        ]);
        let folder = self.state(instance).display().to_string();
        settings.insert("state.dir", &folder);
        settings.extend(more.iter().copied());
        let text: String =
            settings.iter().map(|(key, value)| format!("{key} = {value:?}\n")).collect();
        let config = Config::from_toml("words.toml", &text).expect("a configuration");
        let topology = builder.build().expect("a topology");
        let mut hooks = Hooks::from(handlers(&config));
        if let Some(listener) = listener {
            hooks = hooks.restore_listener(listener);
        }
        Running(Some(Streams::start_with(topology, &config, hooks).expect("an instance")))
    }

    /// Sends each of so many words once.
    pub fn send(&self, words: u32) {
        produce(&self.bootstrap, &self.words, (0..words).map(|word| Self::word(word, "")));
    }

    /// A record of the input.
    pub fn word(word: u32, value: &str) -> Outgoing {
        Outgoing::keyed(format!("word{word}"), value)
    }

    /// The last committed count of each word, as a reader sees it that reads all results.
    pub fn counts(&self) -> BTreeMap<String, i64> {
        let records = read_committed(&self.bootstrap, &self.counts);
        let parsed = records.iter().map(|record| {
            let count = record.value.as_deref().expect("a count");
            let count = i64::from_be_bytes(count.try_into().expect("eight bytes"));
            let word = String::from_utf8(record.key.clone().unwrap_or_default());
            (word.expect("a word"), count)
        });
        parsed.collect()
    }

    /// Waits until so many words were counted so many times each, and says that nothing was counted
    /// twice.
    pub fn wait_for_counts(&self, words: usize, times: i64) {
        let mut last = BTreeMap::new();
        let counted = wait_up_to(LIMIT, || {
            let counts = self.counts();
            assert!(counts.values().all(|count| *count <= times), "counted twice: {counts:?}");
            last.clear();
            counts.values().for_each(|count| *last.entry(*count).or_insert(0) += 1);
            (last.get(&times) == Some(&words)).then_some(())
        });
        assert!(
            counted.is_some(),
            "waited {} s for {words} words to be counted {times} times; words by their count: \
             {last:?}; ends of the input: {:?}, committed: {:?}; of the output: {:?}",
            LIMIT.as_secs(),
            watermarks(&self.bootstrap, &self.words),
            committed(&self.bootstrap, &self.application, &self.words),
            watermarks(&self.bootstrap, &self.counts),
        );
        // Each count of each word came out once: the results are as many as the records.
        let results = read_committed(&self.bootstrap, &self.counts).len();
        assert_eq!(results as i64, words as i64 * times, "results");
    }

    /// Waits until an instance runs all tasks.
    pub fn wait_until_running(&self, instance: &Running) {
        wait_for("all tasks to run", LIMIT, || {
            (instance.tasks().len() == self.partitions as usize).then_some(())
        });
    }
}

/// A running instance; dropping it stops it.
pub struct Running(Option<Streams>);

impl Running {
    /// Its handle.
    pub fn handle(&self) -> StreamsHandle {
        self.0.as_ref().expect("an instance that was not stopped").handle()
    }

    /// The tasks that it runs.
    pub fn tasks(&self) -> Vec<String> {
        let tasks = self.handle().introspect().status().tasks.into_iter();
        tasks.filter(|task| task.state == TaskState::Running).map(|task| task.id).collect()
    }

    /// Its metrics, as text.
    pub fn metrics(&self) -> String {
        self.handle().introspect().metrics("text/plain").1
    }

    /// The sum of a metric's series whose labels contain `with`.
    pub fn metric(&self, name: &str, with: &str) -> f64 {
        let text = self.metrics();
        let series = samples(&text, name).filter(|(labels, _)| labels.contains(with));
        series.map(|(_, value)| value).sum()
    }

    /// Stops it, and waits until it has ended in order.
    pub fn stop(mut self) {
        self.end().expect("an orderly end");
    }

    /// Waits until it ends by itself; what it says.
    pub fn failure(mut self) -> String {
        let streams = self.0.take().expect("an instance that was not stopped");
        let handle = streams.handle();
        let (end, ended) = std::sync::mpsc::channel();
        let joining = std::thread::spawn(move || {
            // Nobody waits any longer after a failed test.
            let _ = end.send(streams.join());
        });
        let Ok(result) = ended.recv_timeout(LIMIT) else {
            handle.stop();
            panic!("the instance did not end by itself");
        };
        joining.join().expect("a thread that waits");
        result.expect_err("the instance ended without an error").to_string()
    }

    fn end(&mut self) -> Result<(), RuntimeError> {
        let Some(streams) = self.0.take() else { return Ok(()) };
        streams.handle().stop();
        streams.join()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After a failed test its end is of no interest any more.
        let _ = self.end();
    }
}
