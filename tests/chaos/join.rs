//! A cold instance joins two others that run under load and have gigabytes of state. It copies
//! first and joins when its copies are warm, so no task stands still for longer than a hand-over.
//! Then all three are restarted in turn, as for an upgrade: each keeps its tasks by its name, and
//! they stand still for as long as it takes to stop and to start.
//!
//! ```text
//! values -> last value by key (the ballast) -> its length -> lengths
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use tempfile::TempDir;
use tidemill::prelude::*;
use tidemill_test_support::KafkaCluster;
use tidemill_test_support::patience::wait_for;
use tidemill_test_support::records::{committed, create_topic, watermarks};

use crate::fleet::{Instance, Program, stop_all};
use crate::pairs::topic;
use crate::progress::Progress;
use crate::script::restart_in_turn;
use crate::serve;

const APPLICATION: &str = "ballast";
const PARTITIONS: i32 = 12;
const HEAP_MIB: u32 = 768;
/// Bytes of a value; they do not compress.
const VALUE_BYTES: usize = 1 << 10;
/// Records a second while the third instance joins.
const RATE: u32 = 1_000;
/// How long a task may stand still.
const PAUSE: Duration = Duration::from_secs(2);
/// Longer than anything takes that is not measured.
const LIMIT: Duration = Duration::from_secs(900);

/// The topology of an application of that id.
///
/// # Errors
/// None, as it stands.
pub fn topology(application: &str) -> Result<Topology> {
    let builder = StreamsBuilder::new();
    builder
        .stream(topic(application, "values"), Consumed::with(Utf8, Bytes))
        .group_by_key(Grouped::with(Utf8, Bytes))
        .reduce(|_, value| Some(value.clone()), Materialized::named("ballast", Bytes))
        .to_stream()
        .map_values(|value| value.as_ref().map_or(0, |value| value.len() as i64))
        .to(topic(application, "lengths"), Produced::with(Utf8, I64));
    builder.build()
}

/// Makes so much state, and lets a third instance join.
pub fn run(mib: u64) -> ExitCode {
    println!("join: {mib} MiB of state, {PARTITIONS} tasks, {RATE} records/s");
    let cluster = KafkaCluster::start_with(1, HEAP_MIB, &[]);
    let bootstrap = cluster.bootstrap();
    let [values, lengths] = ["values", "lengths"].map(|name| topic(APPLICATION, name));
    for topic in [&values, &lengths] {
        create_topic(&bootstrap, topic, PARTITIONS, &[]);
    }
    let folder = TempDir::with_prefix("tidemill-join-").expect("a temporary folder");
    let mut instances = ["one", "two", "three"].map(|name| {
        let settings = settings(&bootstrap);
        Instance::new(name.to_owned(), Program::Ballast, settings, folder.path())
    });
    for instance in &mut instances[..2] {
        instance.start();
        instance.wait_ready();
    }
    let keys = mib * (1 << 20) / VALUE_BYTES as u64;
    let began = Instant::now();
    let mut source = Source::new(&bootstrap, &values);
    (0..keys).for_each(|key| source.send(key));
    source.flush();
    wait_for("the state to be made", LIMIT, || {
        let (done, ends) =
            (committed(&bootstrap, APPLICATION, &values), watermarks(&bootstrap, &values));
        let is_done = |(done, (_, end)): (&Option<i64>, &(i64, i64))| done.unwrap_or(0) >= *end;
        done.iter().zip(&ends).all(is_done).then_some(())
    });
    let half = PARTITIONS as usize / 2;
    for instance in &instances[..2] {
        wait_for("the copies to be warm", LIMIT, || {
            instance.last_line(serve::HOLDS).contains(&holds(half, half)).then_some(())
        });
    }
    println!("{keys} keys in {:.0} s, each with a copy", began.elapsed().as_secs_f64());

    let is_over = AtomicBool::new(false);
    let progress = Progress::of(&bootstrap, APPLICATION, std::slice::from_ref(&values), PARTITIONS);
    let (stall, taken_over, restarts) = thread::scope(|scope| {
        scope.spawn(|| source.run(keys, || is_over.load(Ordering::Relaxed)));
        scope.spawn(|| progress.watch(|| is_over.load(Ordering::Relaxed)));
        thread::sleep(Duration::from_secs(5));
        let started = Instant::now();
        let three = &mut instances[2];
        three.start();
        let third = PARTITIONS as usize / 3;
        wait_for("the third instance to have its share", LIMIT, || {
            let line = three.last_line(serve::HOLDS);
            line.contains(&format!("tasks={third} ")).then_some(())
        });
        let shared = started.elapsed();
        let taken_over = three.log_lines("its copy is taken over");
        thread::sleep(Duration::from_secs(10));
        let stall = progress.longest_stall(started, Instant::now()).expect("partitions");
        println!("the third instance had its share after {:.1} s", shared.as_secs_f64());
        println!("copies that it had taken over: {taken_over} of {}", PARTITIONS / 3);
        println!(
            "longest stall of a partition: {:.2} s ({}-{})",
            stall.time.as_secs_f64(),
            stall.place.0,
            stall.place.1
        );
        if stall.time > PAUSE {
            for instance in &instances {
                println!("{}:\n{}", instance.name(), instance.last_words());
            }
        }
        let restarts = restart_in_turn(&mut instances, |_| &progress);
        is_over.store(true, Ordering::Relaxed);
        (stall, taken_over, restarts)
    });
    let state_mib = size_of_folder(folder.path()) >> 20;
    println!("state of the three instances on disk: {state_mib} MiB");
    stop_all(&mut instances);
    let joined = stall.time <= PAUSE && taken_over >= PARTITIONS as usize / 3;
    let restarts = restarts.iter().filter_map(|restart| restart.stall.as_ref());
    let paused = restarts.map(|stall| stall.time).max().expect("three restarts");
    println!(
        "longest pause of a partition while all were restarted: {:.2} s",
        paused.as_secs_f64()
    );
    let holds = joined && paused <= PAUSE;
    println!("{}", if holds { "3 passed, 0 failed" } else { "FELL SHORT" });
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// As the log says it.
fn holds(tasks: usize, warm: usize) -> String {
    format!("tasks={tasks} warm={warm} ")
}

fn settings(bootstrap: &str) -> BTreeMap<String, String> {
    let settings = [
        ("bootstrap.servers", bootstrap),
        ("application.id", APPLICATION),
        ("http.listen", "off"),
        ("session.timeout.ms", "10000"),
        ("heartbeat.interval.ms", "500"),
        ("standby.replicas", "1"),
        ("join.when.warm", "true"),
        ("auto.offset.reset", "earliest"),
    ];
    settings.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn size_of_folder(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(about) if about.is_dir() => size_of_folder(&entry.path()),
            Ok(about) => about.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Sends values.
struct Source {
    producer: ThreadedProducer<DefaultProducerContext>,
    topic: String,
    random: StdRng,
    value: Vec<u8>,
}

impl Source {
    fn new(bootstrap: &str, topic: &str) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("partitioner", "murmur2_random")
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .set("queue.buffering.max.messages", "20000")
            .create()
            .expect("a producer");
        let (random, value) = (StdRng::seed_from_u64(1), vec![0; VALUE_BYTES]);
        Self { producer, topic: topic.to_owned(), random, value }
    }

    fn send(&mut self, key: u64) {
        self.random.fill_bytes(&mut self.value);
        let key = format!("key{key}");
        let mut record = BaseRecord::to(&self.topic).key(&key).payload(&self.value);
        while let Err((_, unsent)) = self.producer.send(record) {
            thread::sleep(Duration::from_millis(1));
            record = unsent;
        }
    }

    fn flush(&self) {
        self.producer.flush(LIMIT).expect("all records delivered");
    }

    /// Sends new values of some of so many keys at a steady rate.
    fn run(&mut self, keys: u64, stop: impl Fn() -> bool) {
        let (started, mut sent) = (Instant::now(), 0);
        while !stop() {
            while f64::from(sent) < started.elapsed().as_secs_f64() * f64::from(RATE) {
                let key = self.random.random_range(0..keys);
                self.send(key);
                sent += 1;
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.flush();
    }
}
