//! What each family of operators costs a record, on the path of the test driver: the local runner,
//! with stores in RocksDB, a commit every 10,000 records.

use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use tidemill::driver::{InputRecord, LocalRunner, RunnerSettings};
use tidemill::prelude::*;

/// Records of one iteration.
const RECORDS: u64 = 10_000;
/// Distinct keys among them.
const KEYS: u64 = 1_000;

/// A family's topology, over topics of numbers by number.
type Declare = fn(&StreamsBuilder);

/// Each family; a bare source and sink is what (de)serialization and the runner cost by themselves.
pub fn operators(c: &mut Criterion) {
    let families: [(&str, Declare, &[&str]); 8] = [
        ("source and sink", pass, &["in"]),
        ("filter and map", filter_and_map, &["in"]),
        ("count", count, &["in"]),
        ("tumbling count", tumbling_count, &["in"]),
        ("session count", session_count, &["in"]),
        ("table source", table, &["in"]),
        ("stream-table join", stream_table_join, &["in", "table"]),
        ("stream-stream join", stream_stream_join, &["in", "other"]),
    ];
    let mut group = c.benchmark_group("operators");
    group.throughput(Throughput::Elements(RECORDS)).sample_size(10);
    for (name, declare, topics) in families {
        let folder = tempfile::tempdir().unwrap();
        let mut flow = Flow::new(declare, topics, folder.path());
        flow.run();
        assert!(flow.sent > 0, "{name}: results come out");
        group.bench_function(name, |b| b.iter(|| flow.run()));
    }
    group.finish();
}

fn numbers(builder: &StreamsBuilder, topic: &str) -> KStream<i64, i64> {
    builder.stream(topic, Consumed::with(I64, I64))
}

fn pass(builder: &StreamsBuilder) {
    numbers(builder, "in").to("out", Produced::with(I64, I64));
}

fn filter_and_map(builder: &StreamsBuilder) {
    numbers(builder, "in")
        .filter(|_, value| *value >= 0)
        .map_values(|value| value + 1)
        .to("out", Produced::with(I64, I64));
}

fn count(builder: &StreamsBuilder) {
    numbers(builder, "in")
        .group_by_key(Grouped::with(I64, I64))
        .count(Materialized::named("counts", I64))
        .to_stream()
        .to("out", Produced::with(I64, Nullable(I64)));
}

fn tumbling_count(builder: &StreamsBuilder) {
    numbers(builder, "in")
        .group_by_key(Grouped::with(I64, I64))
        .windowed_by(TimeWindows::of(Duration::from_secs(10)))
        .count(Materialized::named("counts", I64))
        .to_stream()
        .to("out", Produced::with(TimeWindowed::new(I64, 10_000), Nullable(I64)));
}

fn session_count(builder: &StreamsBuilder) {
    numbers(builder, "in")
        .group_by_key(Grouped::with(I64, I64))
        .windowed_by(SessionWindows::of(Duration::from_secs(2)))
        .count(Materialized::named("counts", I64))
        .to_stream()
        .to("out", Produced::with(SessionWindowed(I64), Nullable(I64)));
}

fn table(builder: &StreamsBuilder) {
    builder
        .table("in", Consumed::with(I64, I64), Materialized::named("table", I64))
        .to_stream()
        .to("out", Produced::with(I64, Nullable(I64)));
}

fn stream_table_join(builder: &StreamsBuilder) {
    let table = builder.table("table", Consumed::with(I64, I64), Materialized::named("table", I64));
    numbers(builder, "in")
        .join(&table, |_, value, found| value + found, Joined::new())
        .to("out", Produced::with(I64, I64));
}

fn stream_stream_join(builder: &StreamsBuilder) {
    numbers(builder, "in")
        .join_stream(
            &numbers(builder, "other"),
            |_, left, right| left + right,
            JoinWindows::of(Duration::from_millis(500)),
            StreamJoined::with(I64, I64, I64),
        )
        .to("out", Produced::with(I64, I64));
}

/// A topology at work, and how far its input is.
struct Flow {
    runner: LocalRunner,
    topics: Vec<tidemill::driver::LocalInput>,
    next: u64,
    sent: u64,
}

impl Flow {
    fn new(declare: Declare, topics: &[&str], folder: &Path) -> Self {
        let builder = StreamsBuilder::new();
        declare(&builder);
        let settings =
            RunnerSettings { directory: Some(folder.to_owned()), ..RunnerSettings::default() };
        let runner = LocalRunner::new(&builder.build().unwrap(), settings).unwrap();
        let topics = topics.iter().map(|topic| runner.input(topic).unwrap()).collect();
        Self { runner, topics, next: 0, sent: 0 }
    }

    /// The next records, a millisecond of event time each, over the topics in turn.
    fn run(&mut self) {
        let sent = &mut self.sent;
        let mut output = |_: tidemill_topology::node::Outgoing<'_>| {
            *sent += 1;
            Ok(())
        };
        for _ in 0..RECORDS {
            let number = self.next;
            self.next += 1;
            // A pair of records has one key, so that those of two topics meet.
            let key = (number / 2 % KEYS).to_be_bytes();
            let record = InputRecord {
                key: Some(&key),
                value: Some(&key),
                timestamp: Timestamp::new(i64::try_from(number).unwrap()),
                headers: Headers::none(),
            };
            let topic = self.topics[usize::try_from(number).unwrap() % self.topics.len()];
            self.runner.process(topic, &record, &mut output).unwrap();
        }
        self.runner.commit(&mut output).unwrap();
    }
}
