//! A crash between any two steps of the commit protocol changes no outcome.
//!
//! The instance that crashes is this test program itself, run again: there the exchange works on a
//! cluster whose producer ends the process at a certain call, which is how the steps of a commit
//! show from outside.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tidemill::config::Config;
use tidemill::exchange::{MetricsSlot, exchange_handlers, exchange_topology};
use tidemill::kafka::{
    Cluster, Committed, ConsumerSettings, Deliveries, GroupMetadata, KafkaError, Librdkafka,
    Outgoing, ProduceError, Producer, ProducerSettings, TopicId,
};
use tidemill::runtime::streams::properties;
use tidemill::runtime::{Streams, handlers};
use tidemill_test_support::{KafkaCluster, Tidemill};

use super::flow;
use super::market::Market;
use super::outcome::Outcome;
use super::sender::Sender;

/// Set in the process that crashes: where, and the file with its settings.
const CRASH_AT: &str = "CRASH_AT";
const SETTINGS_FILE: &str = "CRASH_SETTINGS";
const THIS_TEST: &str =
    "exchange::commit_steps::a_crash_between_any_two_steps_of_a_commit_changes_no_outcome";

/// Commits with changes of state in them that pass before the crash.
const COMMITS_BEFORE: u32 = 2;

/// Where a process ends, by the steps of the commit protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    /// Results were sent, and no change of state yet.
    Before2,
    /// Some changes of state were sent.
    Within2,
    /// All were, and no input offset yet.
    Between2And4,
    /// The offsets are part of the transaction.
    Between4And5,
    /// The transaction is committed, and the stores' engines lack it.
    Between5And6,
    /// They have it; the next transaction has not begun.
    After6,
}

const POINTS: [Point; 6] = [
    Point::Before2,
    Point::Within2,
    Point::Between2And4,
    Point::Between4And5,
    Point::Between5And6,
    Point::After6,
];

#[test]
fn a_crash_between_any_two_steps_of_a_commit_changes_no_outcome() {
    if let (Ok(point), Ok(file)) = (env::var(CRASH_AT), env::var(SETTINGS_FILE)) {
        let point = POINTS.into_iter().find(|known| format!("{known:?}") == point);
        crash(point.expect("a point that exists"), Path::new(&file));
    }
    let orders = flow::generated(6_000, 3);
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 1);
    let sender = Sender::to(&market);
    // The engines are written at every commit, so that step 6 is one.
    let settings = [("state.flush.interval.ms", "0"), ("http.listen", "off")];
    let file = market.folder().join("crash.toml");
    fs::write(&file, toml(&market.settings("one", &settings))).expect("a file of our own");
    // Twice: once with a kept past, once with one that a crash left behind.
    let points: Vec<Point> = POINTS.into_iter().chain(POINTS).collect();
    let mut shares = orders.chunks(orders.len() / (points.len() + 1));
    for point in points {
        let program = env::current_exe().expect("this program");
        let mut command = Command::new(program);
        command
            .args(["--exact", THIS_TEST, "--nocapture"])
            .env(CRASH_AT, format!("{point:?}"))
            .env(SETTINGS_FILE, &file);
        let mut instance = Tidemill::spawn(&mut command);
        // In parts, so that there are commits to be counted.
        sender.spread(shares.next().unwrap_or_default(), 10, Duration::from_millis(1_500));
        let status = instance.wait(Duration::from_secs(60));
        let log = instance.log();
        assert!(!status.success() && log.contains("crashing at"), "{point:?}: {status}\n{log}");
    }
    let mut instance = market.start_ready("one", &settings[..1]);
    shares.for_each(|rest| sender.send(rest));
    market.wait_processed();
    instance.stop();
    Outcome::of(&market).assert_same(&Outcome::replayed(&market, &orders));
}

fn toml(settings: &BTreeMap<String, String>) -> String {
    settings.iter().map(|(key, value)| format!("{key} = {value:?}\n")).collect()
}

/// Runs the exchange until it crashes.
fn crash(point: Point, settings: &Path) -> ! {
    let text = fs::read_to_string(settings).expect("the settings");
    let config = Config::from_toml("crash.toml", &text).expect("settings that are right");
    let topology = exchange_topology(&config.exchange, &MetricsSlot::default());
    let on_errors = exchange_handlers(&config.exchange, &handlers(&config));
    let cluster = CrashingCluster {
        inner: Librdkafka::new(properties(&config)).expect("properties that are right"),
        point,
        commits: Arc::default(),
    };
    let topology = topology.expect("a topology");
    let streams = Streams::start_on(cluster, topology, &config, on_errors).expect("an instance");
    panic!("it ended without a crash: {:?}", streams.join());
}

/// A cluster whose producer ends the process.
#[derive(Clone)]
struct CrashingCluster {
    inner: Librdkafka,
    point: Point,
    /// Commits that carried changes of state, of the whole process.
    commits: Arc<AtomicU32>,
}

impl Cluster for CrashingCluster {
    type Consumer = <Librdkafka as Cluster>::Consumer;
    type Producer = CrashingProducer;
    type Admin = <Librdkafka as Cluster>::Admin;

    fn consumer(&self, settings: &ConsumerSettings) -> Result<Self::Consumer, KafkaError> {
        self.inner.consumer(settings)
    }

    fn producer(&self, settings: &ProducerSettings) -> Result<Self::Producer, KafkaError> {
        Ok(CrashingProducer {
            inner: self.inner.producer(settings)?,
            point: self.point,
            commits: Arc::clone(&self.commits),
            changelogs: Vec::new(),
            changes: 0,
            is_applied: false,
        })
    }

    fn admin(&self) -> Result<Self::Admin, KafkaError> {
        self.inner.admin()
    }
}

struct CrashingProducer {
    inner: <Librdkafka as Cluster>::Producer,
    point: Point,
    commits: Arc<AtomicU32>,
    /// The handles of changelogs that were asked for.
    changelogs: Vec<TopicId>,
    /// Changes of state in the open transaction.
    changes: u32,
    /// Whether the last commit carried changes of state, so that a step 6 followed it.
    is_applied: bool,
}

impl CrashingProducer {
    /// Ends the process, if this is where it is to end and it has worked for long enough.
    fn at(&mut self, point: Point) {
        if point == self.point && self.commits.load(Ordering::Relaxed) >= COMMITS_BEFORE {
            // What was sent may arrive, as it may when a process dies a moment later.
            let _ = self.inner.flush(Duration::from_secs(5));
            eprintln!("crashing at {point:?}");
            std::process::abort();
        }
    }
}

impl Producer for CrashingProducer {
    fn init_transactions(&mut self, timeout: Duration) -> Result<(), KafkaError> {
        self.inner.init_transactions(timeout)
    }

    fn begin(&mut self) -> Result<(), KafkaError> {
        if std::mem::take(&mut self.is_applied) {
            self.at(Point::After6);
        }
        self.changes = 0;
        self.inner.begin()
    }

    fn send_offsets(
        &mut self,
        offsets: &[Committed],
        group: &GroupMetadata,
        timeout: Duration,
    ) -> Result<(), KafkaError> {
        if self.changes > 0 {
            self.at(Point::Between2And4);
        }
        self.inner.send_offsets(offsets, group, timeout)
    }

    fn commit(&mut self, timeout: Duration) -> Result<(), KafkaError> {
        if self.changes > 0 {
            self.at(Point::Between4And5);
        }
        let result = self.inner.commit(timeout);
        if self.changes > 0 && result.is_ok() {
            self.at(Point::Between5And6);
            self.commits.fetch_add(1, Ordering::Relaxed);
            self.is_applied = true;
        }
        result
    }

    fn abort(&mut self, timeout: Duration) -> Result<(), KafkaError> {
        self.inner.abort(timeout)
    }

    fn flush(&mut self, timeout: Duration) -> Result<(), KafkaError> {
        self.inner.flush(timeout)
    }

    fn topic(&mut self, name: &str) -> Result<TopicId, KafkaError> {
        let topic = self.inner.topic(name)?;
        if name.ends_with("-changelog") && !self.changelogs.contains(&topic) {
            self.changelogs.push(topic);
        }
        Ok(topic)
    }

    fn produce(&mut self, record: &Outgoing<'_>) -> Result<(), ProduceError> {
        if self.changelogs.contains(&record.topic) {
            self.at(if self.changes == 0 { Point::Before2 } else { Point::Within2 });
            self.changes += 1;
        }
        self.inner.produce(record)
    }

    fn poll(&mut self, timeout: Duration) {
        self.inner.poll(timeout);
    }

    fn deliveries(&mut self) -> &mut Deliveries {
        self.inner.deliveries()
    }

    fn in_flight(&self) -> usize {
        self.inner.in_flight()
    }

    fn purge(&mut self) {
        self.inner.purge();
    }

    fn fatal_error(&self) -> Option<KafkaError> {
        self.inner.fatal_error()
    }
}
