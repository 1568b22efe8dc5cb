//! The field on which a run takes place: the brokers, the topics of both applications, and their
//! instances.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::metadata::MetadataTopic;
use serde_json::Value;
use tempfile::TempDir;
use tidemill_test_support::KafkaCluster;
use tidemill_test_support::patience::{wait_for, wait_up_to};
use tidemill_test_support::process::run_to_end;
use tidemill_test_support::records::{
    Received, committed, create_topic, read_committed, watermarks,
};

use crate::fleet::{Instance, Program};
use crate::load::{InputTopics, Inputs};
use crate::pairs;
use crate::plan::SESSION;
use crate::progress::Progress;
use crate::verdict::{Line, Outputs, Rule};

/// Brokers; every topic is replicated to all of them, and two must have a record.
pub const BROKERS: u32 = 3;
/// Instances of each application.
pub const INSTANCES: usize = 3;
/// Of all topics.
pub const PARTITIONS: i32 = 12;
/// Stream threads of an instance.
const THREADS: u32 = 2;
const HEAP_MIB: u32 = 384;
/// Longer than it takes until everything is worked off.
const LIMIT: Duration = Duration::from_secs(180);

/// The exchange's application id, and that of the pairs.
const EXCHANGE: &str = "exchange";
const PAIRS: &str = "pairs";

/// The topics of the exchange by the names that its settings have for them.
const EXCHANGE_TOPICS: [&str; 7] =
    ["orders", "assets", "trades", "order-updates", "candles", "positions", "orders-dlq"];
/// What is compared of the exchange.
const EXCHANGE_OUTPUTS: [(&str, Rule); 4] = [
    ("trades", Rule::Sequence),
    ("order-updates", Rule::Sequence),
    ("candles", Rule::Last),
    ("positions", Rule::Last),
];
/// What is compared of the pairs.
const PAIRS_OUTPUTS: [(&str, Rule); 2] = [("pairs", Rule::Set), ("totals", Rule::Last)];

/// One of the two applications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Application {
    Exchange,
    Pairs,
}

impl Application {
    pub const ALL: [Self; 2] = [Self::Exchange, Self::Pairs];

    /// Its id, which is also its group's and the prefix of its topics.
    pub fn id(self) -> &'static str {
        match self {
            Self::Exchange => EXCHANGE,
            Self::Pairs => PAIRS,
        }
    }

    fn topic(self, name: &str) -> String {
        pairs::topic(self.id(), name)
    }

    /// What it reads from outside and within, in the order of the records' way.
    fn inputs(self) -> Vec<String> {
        let (outside, within): (&[&str], &[&str]) = match self {
            Self::Exchange => {
                (&["orders"], &["orders-by-asset-repartition", "positions-by-holder-repartition"])
            }
            Self::Pairs => (&["views", "clicks"], &pairs::REPARTITIONED),
        };
        let outside = outside.iter().map(|name| self.topic(name));
        outside.chain(within.iter().map(|name| format!("{}-{name}", self.id()))).collect()
    }

    /// Its output topics, and what of them is compared.
    pub fn outputs(self) -> Vec<(String, Rule)> {
        let outputs: &[(&str, Rule)] = match self {
            Self::Exchange => &EXCHANGE_OUTPUTS,
            Self::Pairs => &PAIRS_OUTPUTS,
        };
        outputs.iter().map(|(name, rule)| (self.topic(name), *rule)).collect()
    }
}

/// See the [module](self).
pub struct Field {
    pub cluster: KafkaCluster,
    /// The instances of the exchange, then those of the pairs.
    pub instances: Vec<Instance>,
    folder: TempDir,
}

impl Field {
    /// Starts the brokers, makes the topics and starts all instances.
    pub fn open() -> Self {
        let cluster = KafkaCluster::start_behind_proxies(BROKERS, HEAP_MIB, &[]);
        let bootstrap = cluster.bootstrap();
        let exchange = exchange_topics();
        let pairs =
            ["views", "clicks", "pairs", "totals"].map(|name| Application::Pairs.topic(name));
        for topic in exchange.iter().chain(&pairs) {
            create_topic(&bootstrap, topic, PARTITIONS, &[]);
        }
        let folder = TempDir::with_prefix("tidemill-chaos-").expect("a temporary folder");
        let instance = |application: Application, program, number: usize| {
            let settings = settings(&cluster.proxied_bootstrap(), application);
            let name = format!("{}-{}", application.id(), number + 1);
            Instance::new(name, program, settings, folder.path())
        };
        let mut instances: Vec<Instance> = Vec::new();
        instances.extend(
            (0..INSTANCES).map(|at| instance(Application::Exchange, Program::Exchange, at)),
        );
        instances.extend((0..INSTANCES).map(|at| instance(Application::Pairs, Program::Pairs, at)));
        instances.iter_mut().for_each(Instance::start);
        instances.iter_mut().for_each(Instance::wait_ready);
        Self { cluster, instances, folder }
    }

    /// Where logs and state lie.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves the folder where it is when the run is over.
    pub fn keep_folder(&mut self) {
        self.folder.disable_cleanup(true);
    }

    /// The names of the load's topics.
    pub fn input_topics(&self) -> InputTopics {
        InputTopics {
            orders: Application::Exchange.topic("orders"),
            views: Application::Pairs.topic("views"),
            clicks: Application::Pairs.topic("clicks"),
        }
    }

    /// The commits of an application.
    pub fn progress(&self, application: Application) -> Progress {
        let topics = application.inputs();
        Progress::of(&self.cluster.bootstrap(), application.id(), &topics, PARTITIONS)
    }

    /// Waits until everything that was sent is processed and committed, and visible to all.
    pub fn wait_done(&mut self, inputs: &Inputs) {
        let bootstrap = self.cluster.bootstrap();
        wait_in_sync(&bootstrap);
        let topics = self.input_topics();
        let sent = [
            (&topics.orders, inputs.orders.len()),
            (&topics.views, inputs.views.len()),
            (&topics.clicks, inputs.clicks.len()),
        ];
        for (topic, sent) in sent {
            let there: i64 = watermarks(&bootstrap, topic).iter().map(|(_, end)| end).sum();
            assert_eq!(there, sent as i64, "the load itself lost or repeated records of {topic}");
        }
        for application in Application::ALL {
            for topic in application.inputs() {
                let done = wait_up_to(LIMIT, || {
                    self.instances.iter_mut().for_each(Instance::look_after);
                    let ends = watermarks(&bootstrap, &topic);
                    let done = committed(&bootstrap, application.id(), &topic);
                    let is_done = |(done, (_, end)): (&Option<i64>, &(i64, i64))| {
                        *end == 0 || done.is_some_and(|done| done >= *end)
                    };
                    done.iter().zip(&ends).all(is_done).then_some(())
                });
                let described = || self.described(application);
                assert!(
                    done.is_some(),
                    "{} did not commit the end of {topic} within {} s:\n{}",
                    application.id(),
                    LIMIT.as_secs(),
                    described()
                );
            }
            for (topic, _) in application.outputs() {
                wait_visible(&bootstrap, &topic);
            }
        }
    }

    /// How an application stands, for who has to find out why it does not go on: its group, tasks
    /// and positions, and the ends of its instances' logs.
    fn described(&self, application: Application) -> String {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidemill"));
        for (key, value) in settings(&self.cluster.bootstrap(), application) {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        let finished = run_to_end(command.arg("describe"), b"", LIMIT);
        let mut text = format!("{}{}", finished.stdout, finished.stderr);
        let of_it = |instance: &&Instance| instance.name().starts_with(application.id());
        for instance in self.instances.iter().filter(of_it) {
            text.push_str(&format!(
                "\nthe end of the log of {}:\n{}",
                instance.name(),
                instance.last_words()
            ));
        }
        text
    }

    /// What a `read_committed` reader finds in a topic.
    pub fn found(&self, topic: &str) -> Vec<Line> {
        read_committed(&self.cluster.bootstrap(), topic).iter().map(line).collect()
    }

    /// What uninterrupted runs make of the same records, by topic.
    pub fn expected(&self, inputs: &Inputs) -> Outputs {
        let mut expected = pairs::uninterrupted(PAIRS, inputs)
            .unwrap_or_else(|error| panic!("running the pairs without interruption: {error}"));
        expected.extend(self.replayed(inputs));
        expected
    }

    /// What `tidemill replay` makes of the orders.
    fn replayed(&self, inputs: &Inputs) -> Outputs {
        let (file, out) = (self.folder().join("orders.jsonl"), self.folder().join("replayed"));
        let text: String = inputs
            .orders
            .iter()
            .map(|sent| {
                format!(
                    "{{\"key\":\"{}\",\"value\":{},\"timestamp\":{}}}\n",
                    sent.key, sent.value, sent.timestamp
                )
            })
            .collect();
        std::fs::write(&file, text).expect("a file in a folder of our own");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidemill"));
        for (key, value) in settings("none", Application::Exchange) {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        command.arg("replay").arg(&file).arg("--out").arg(&out);
        let finished = run_to_end(&mut command, b"", LIMIT);
        assert!(finished.status.success(), "{}", finished.stderr);
        let read = |(topic, _): (String, Rule)| {
            let path = out.join(format!("{topic}.jsonl"));
            let text = std::fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let lines = text.lines().map(|record| {
                let mut record: Value = serde_json::from_str(record).expect("a record as JSON");
                let key = record["key"].as_str().unwrap_or_default().to_owned();
                exchange_line(key, &record["value"].take())
            });
            let lines = lines.collect();
            (topic, lines)
        };
        Application::Exchange.outputs().into_iter().map(read).collect()
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        if thread::panicking() {
            self.keep_folder();
            eprintln!("logs and state are kept in {}", self.folder().display());
        }
    }
}

/// A record as it is compared. JSON is read, so that its spelling does not matter.
fn line(record: &Received) -> Line {
    let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
    match serde_json::from_str::<Value>(record.text()) {
        Ok(value) if value.is_object() => exchange_line(key, &value),
        _ => (key, record.text().to_owned()),
    }
}

/// Candles have the asset for a key: here an asset and a window is one.
fn exchange_line(key: String, value: &Value) -> Line {
    let key = match &value["window_start"] {
        Value::Null => key,
        start => format!("{key}@{start}"),
    };
    (key, value.to_string())
}

/// Waits until no open transaction hides anything of a topic.
fn wait_visible(bootstrap: &str, topic: &str) {
    let reader: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("isolation.level", "read_committed")
        .create()
        .expect("a consumer");
    wait_for(&format!("the open transactions of {topic} to end"), LIMIT, || {
        let ends = watermarks(bootstrap, topic);
        let stable =
            (0..PARTITIONS).map(|partition| reader.fetch_watermarks(topic, partition, LIMIT));
        let stable: KafkaResult<Vec<(i64, i64)>> = stable.collect();
        let is_stable = |((_, stable), (_, end)): (&(i64, i64), &(i64, i64))| stable == end;
        stable.ok()?.iter().zip(&ends).all(is_stable).then_some(())
    });
}

/// Waits until every broker has every record of every partition again.
pub fn wait_in_sync(bootstrap: &str) {
    let reader: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().expect("a consumer");
    wait_for("all replicas to be in sync", LIMIT, || {
        let metadata = reader.fetch_metadata(None, Duration::from_secs(5)).ok()?;
        let mut partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
        partitions
            .all(|partition| partition.isr().len() == partition.replicas().len())
            .then_some(())
    });
}

/// The full names of the exchange's topics.
pub fn exchange_topics() -> [String; 7] {
    EXCHANGE_TOPICS.map(|name| Application::Exchange.topic(name))
}

/// How an instance of an application is configured.
pub fn settings(bootstrap: &str, application: Application) -> BTreeMap<String, String> {
    let millis = |time: Duration| time.as_millis().to_string();
    let mut settings = HashMap::from([
        ("bootstrap.servers", bootstrap.to_owned()),
        ("application.id", application.id().to_owned()),
        ("http.listen", "127.0.0.1:0".to_owned()),
        ("threads", THREADS.to_string()),
        ("processing.guarantee", "exactly_once".to_owned()),
        ("session.timeout.ms", millis(SESSION)),
        ("heartbeat.interval.ms", "1000".to_owned()),
        // Two cores carry all of this, and the brokers alone would take both: they write some sixty
        // partitions a transaction, three times each, and answer every fetch that waits in vain. A
        // transaction then takes seconds.
        ("commit.interval.ms", "1000".to_owned()),
        ("kafka.fetch.wait.max.ms", "250".to_owned()),
        ("transaction.timeout.ms", "10000".to_owned()),
        // Often, so that a start finds local state that is not quite the changelog's.
        ("state.flush.interval.ms", "2000".to_owned()),
    ])
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect::<BTreeMap<_, _>>();
    if application == Application::Exchange {
        settings.extend(
            EXCHANGE_TOPICS
                .map(|name| (format!("exchange.topics.{name}"), application.topic(name))),
        );
    }
    settings
}
