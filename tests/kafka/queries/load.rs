//! What 20,000 look-ups a second cost a stream that runs at full speed. It prints what it measured;
//! the machine decides the numbers, so only the answers are asserted.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tidemill::config::Config;
use tidemill::prelude::*;
use tidemill::runtime::Streams;
use tidemill_test_support::patience::wait_for;
use tidemill_test_support::records::{Outgoing, create_topic, produce};
use tidemill_test_support::{KafkaCluster, unique};

use super::words::LIMIT;

const RECORDS: u64 = 2_000_000;
const KEYS: u64 = 100_000;
const LOOKUPS_PER_SECOND: u64 = 20_000;
const ROUNDS: usize = 3;

/// What a round took.
#[derive(Default)]
struct Round {
    wall: Duration,
    /// Processor time of the stream thread.
    stream: Duration,
    /// Time in which the stream thread published metrics.
    publishing: Duration,
    /// Processor time of the asking thread.
    asking: Duration,
    lookups: u64,
    slowest: Duration,
}

fn key(n: u64) -> String {
    format!("account-{:06}", n.wrapping_mul(7_919) % KEYS)
}

/// Time that a thread of this process was on a processor, by the name it starts with.
fn on_processor(name: &str) -> Duration {
    let threads = fs::read_dir("/proc/self/task").expect("the threads of this process");
    let spent = threads.flatten().filter_map(|thread| {
        let comm = fs::read_to_string(thread.path().join("comm")).ok()?;
        let stat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let nanos = stat.split(' ').next()?.parse().ok()?;
        comm.starts_with(name).then(|| Duration::from_nanos(nanos))
    });
    spent.sum()
}

fn round(bootstrap: &str, topic: &str, asked: bool) -> Round {
    let builder = StreamsBuilder::new();
    builder
        .stream(topic, Consumed::with(Utf8, Utf8))
        .group_by_key(Grouped::with(Utf8, Utf8))
        .count(Materialized::named("counts", I64));
    let folder = tempfile::tempdir().expect("a folder");
    let settings = BTreeMap::from([
        ("application.id", unique("load")),
        ("bootstrap.servers", bootstrap.to_owned()),
        ("state.dir", folder.path().to_str().expect("a path of letters").to_owned()),
        ("auto.offset.reset", "earliest".to_owned()),
    ]);
    let text: String = settings.iter().map(|(key, value)| format!("{key} = {value:?}\n")).collect();
    let config = Config::from_toml("load.toml", &text).expect("settings that are right");
    let streams = Streams::start(builder.build().expect("a topology"), &config).expect("a start");
    let handle = streams.handle();
    let introspect = handle.introspect();
    let processed = || introspect.status().tasks.iter().map(|task| task.processed).sum::<u64>();
    wait_for("the first records", LIMIT, || (processed() > 0).then_some(()));
    let published = || {
        let (_, metrics) = introspect.metrics("text/plain");
        let mut lines = metrics.lines();
        let line = lines.find(|line| line.starts_with("tidemill_thread_publish_seconds_total{"));
        let seconds = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
        Duration::from_secs_f64(seconds.expect("a number of seconds"))
    };
    let (started, before, records) = (Instant::now(), on_processor("stream-0"), processed());
    let published_before = published();
    let done = AtomicBool::new(false);
    let mut round = Round::default();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let (mut lookups, mut slowest, began) = (0, Duration::ZERO, Instant::now());
            let counts = handle.store::<String, i64>("counts").expect("a store");
            while asked && !done.load(Ordering::Relaxed) {
                let due = began.elapsed().as_micros() as u64 * LOOKUPS_PER_SECOND / 1_000_000;
                while lookups < due {
                    let at = Instant::now();
                    let count = counts.get(&key(lookups)).expect("an answer");
                    slowest = slowest.max(at.elapsed());
                    assert!(count.is_none_or(|n| (1..=(RECORDS / KEYS) as i64).contains(&n)));
                    lookups += 1;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            let stat = fs::read_to_string("/proc/thread-self/schedstat").expect("our own");
            let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok());
            (lookups, slowest, Duration::from_nanos(nanos.expect("a number")))
        });
        wait_for("all records", LIMIT, || (processed() == RECORDS).then_some(()));
        round.wall = started.elapsed();
        round.stream = on_processor("stream-0") - before;
        round.publishing = published() - published_before;
        done.store(true, Ordering::Relaxed);
        (round.lookups, round.slowest, round.asking) = asking.join().expect("right answers");
    });
    let counts = handle.store::<String, i64>("counts").expect("a store");
    wait_for("the last commit", LIMIT, || {
        let counts = (0..KEYS).step_by(997).map(|n| counts.get(&key(n)).expect("an answer"));
        counts.into_iter().all(|n| n == Some((RECORDS / KEYS) as i64)).then_some(())
    });
    handle.stop();
    streams.join().expect("an end in peace");
    let share = (RECORDS - records) as f64 / 1e6;
    println!(
        "{}: {:.0} records/s, {:.2} µs a record on the stream thread, {:.2} % of it in publishing \
         metrics; {:.0} look-ups/s, {:.1} µs each on the asking thread, slowest {:.1} ms",
        if asked { "asked" } else { "alone" },
        share * 1e6 / round.wall.as_secs_f64(),
        round.stream.as_secs_f64() / share,
        round.publishing.as_secs_f64() / round.stream.as_secs_f64() * 100.0,
        round.lookups as f64 / round.wall.as_secs_f64(),
        round.asking.as_secs_f64() * 1e6 / round.lookups.max(1) as f64,
        round.slowest.as_secs_f64() * 1e3,
    );
    round
}

#[test]
fn look_ups_at_full_speed_are_right_and_what_they_cost_is_printed() {
    let bootstrap = KafkaCluster::shared().bootstrap();
    let topic = unique("load");
    create_topic(&bootstrap, &topic, 1, &[]);
    produce(&bootstrap, &topic, (0..RECORDS).map(|n| Outgoing::keyed(key(n), "1")));
    let (mut alone, mut asked) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(round(&bootstrap, &topic, false));
        asked.push(round(&bootstrap, &topic, true));
    }
    let median = |rounds: &[Round], of: fn(&Round) -> Duration| {
        let mut times: Vec<_> = rounds.iter().map(of).collect();
        times.sort();
        times[ROUNDS / 2].as_secs_f64()
    };
    for (what, of) in [
        ("by the clock", (|round| round.wall) as fn(&Round) -> Duration),
        ("by the stream thread's processor time", |round| round.stream),
    ] {
        let ratio = median(&alone, of) / median(&asked, of);
        println!("throughput while asked, of that alone, {what}: {:.1} %", ratio * 100.0);
    }
}
