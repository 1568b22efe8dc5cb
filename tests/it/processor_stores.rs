//! Stores that a processor's author keeps in other ways than by key alone: sessions, windows, tables
//! read by processors, engines of one's own; and records that go to several partitions.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidemill::driver::{InputRecord, LocalRunner, RunnerSettings, TopologyTestDriver};
use tidemill::prelude::*;
use tidemill_topology::node::Route;
use tidemill_topology::store::KeyRange;
use tidemill_topology::store::bytes::Visit;

use super::stores::Keep;

/// The values that came out since the last call.
fn values<V: 'static>(driver: &TopologyTestDriver, topic: &str, serde: impl Serde<V>) -> Vec<V> {
    let pairs = driver.output_topic(topic, Utf8, serde).read_pairs().unwrap();
    pairs.into_iter().map(|(_, value)| value).collect()
}

/// Merges the sessions around a record into one, and tells how many records it has.
struct Visits(Option<SessionHandle<String, i64>>);

const GAP_MS: i64 = 10_000;

impl Processor<String, i64> for Visits {
    type KeyOut = String;
    type ValueOut = i64;

    fn init(&mut self, ctx: &mut ProcessorContext<'_, '_, String, i64>) -> Result {
        self.0 = Some(ctx.session("visits")?);
        Ok(())
    }

    fn process(
        &mut self,
        record: Record<'_, String, i64>,
        ctx: &mut ProcessorContext<'_, '_, String, i64>,
    ) -> Result {
        let mut visits = ctx.sessions(self.0.as_mut().unwrap());
        let at = record.timestamp;
        let (mut visit, mut count) = (Window { start: at, end: at }, 1);
        let mut earlier = Vec::new();
        visits.fetch(
            record.key,
            at - GAP_MS,
            at + GAP_MS,
            Order::Forward,
            |session, records| {
                assert!(session.end >= at - GAP_MS && session.start <= at + GAP_MS);
                visit = Window {
                    start: visit.start.min(session.start),
                    end: visit.end.max(session.end),
                };
                count += records;
                earlier.push(session);
                Ok(ControlFlow::Continue(()))
            },
        )?;
        for session in earlier {
            assert!(visits.get(record.key, session)?.is_some());
            visits.remove(record.key, session, at)?;
            assert_eq!(visits.get(record.key, session)?, None);
        }
        visits.put(record.key, visit, &count, at)?;
        ctx.forward(record.with_value(&count))
    }
}

#[test]
fn a_session_store_of_ones_own_finds_what_overlaps_and_comes_back_after_a_crash() {
    let builder = StreamsBuilder::new();
    builder.add_state_store(Stores::session("visits", Utf8, I64, Duration::from_secs(100)));
    builder
        .stream("in", Consumed::with(Utf8, I64))
        .process(|| Visits(None), &["visits"])
        .to("out", Produced::with(Utf8, I64));
    let topology = builder.build().unwrap();
    let internal = topology.internal_topics(&topology.subtopologies()[0]);
    assert_eq!(internal[0].config["cleanup.policy"], "compact,delete");
    let folder = tempfile::tempdir().unwrap();
    let driver = TopologyTestDriver::builder().rocksdb(folder.path()).start(&topology).unwrap();
    let input = driver.input_topic("in", Utf8, I64);
    let counts = || values(&driver, "out", I64);
    // The second and the third are apart; the fourth joins them. Another key's are not seen.
    for (key, at_ms) in [("a", 1_000), ("a", 9_000), ("a", 29_000), ("ab", 20_000), ("a", 19_000)] {
        input.pipe(key, 0, at_ms).unwrap();
    }
    assert_eq!(counts(), [1, 2, 1, 1, 4]);
    driver.restart().unwrap();
    input.pipe("a", 0, 35_000).unwrap();
    assert_eq!(counts(), [5]);
    let entries = driver.entries::<String, i64>("visits").unwrap();
    let window = entries.iter().find(|entry| entry.key == "a").unwrap().window.unwrap();
    assert_eq!((window.start.millis(), window.end.millis()), (1_000, 35_000));
    // Retention leaves behind what ended before.
    input.pipe("b", 0, 500_000).unwrap();
    input.pipe("a", 0, 499_999).unwrap();
    assert_eq!(counts(), [1, 1]);
    let keys: Vec<String> = driver
        .entries::<String, i64>("visits")
        .unwrap()
        .into_iter()
        .map(|entry| entry.key)
        .collect();
    assert_eq!(keys, ["a", "b"]);
}

/// Tells what the hours from one to another have of a key, and of all keys.
struct Hours(Option<WindowHandle<String, i64>>);

impl Processor<String, i64> for Hours {
    type KeyOut = String;
    type ValueOut = String;

    fn init(&mut self, ctx: &mut ProcessorContext<'_, '_, String, String>) -> Result {
        self.0 = Some(ctx.window("hours")?);
        Ok(())
    }

    fn process(
        &mut self,
        record: Record<'_, String, i64>,
        ctx: &mut ProcessorContext<'_, '_, String, String>,
    ) -> Result {
        let mut hours = ctx.windows(self.0.as_mut().unwrap());
        hours.put(record.key, record.timestamp, Some(record.value), record.timestamp)?;
        let (from, to) = (Timestamp::new(100), Timestamp::new(200));
        let mut own = Vec::new();
        hours.fetch(record.key, from, to, Order::Backward, &mut |start, found| {
            own.push(format!("{start}={}", found.value));
            Ok(ControlFlow::Continue(()))
        })?;
        let mut all = Vec::new();
        hours.fetch_all(from, to, |key, start, found| {
            all.push(format!("{key}@{start}={}", found.value));
            Ok(ControlFlow::Continue(()))
        })?;
        ctx.forward(record.with_value(&format!("{} | {}", own.join(" "), all.join(" "))))
    }
}

#[test]
fn a_window_store_of_ones_own_is_fetched_by_time_of_one_key_and_of_all_and_comes_back() {
    let builder = StreamsBuilder::new();
    let hour = Duration::from_secs(3_600);
    builder.add_state_store(Stores::window("hours", Utf8, I64, hour, 2 * hour));
    builder
        .stream("in", Consumed::with(Utf8, I64))
        .process(|| Hours(None), &["hours"])
        .to("out", Produced::with(Utf8, Utf8));
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let input = driver.input_topic("in", Utf8, I64);
    for (key, value, at_ms) in [("a", 1, 99), ("a", 2, 100), ("b", 3, 150), ("a", 4, 200)] {
        input.pipe(key, value, at_ms).unwrap();
    }
    driver.restart().unwrap();
    input.pipe("a", 5, 201).unwrap();
    let last = values(&driver, "out", Utf8).pop();
    assert_eq!(last.as_deref(), Some("200=4 100=2 | a@100=2 a@200=4 b@150=3"));
}

/// Adds what a table has under the record's key, and when it became so.
struct AddFromTable(Option<TableHandle<String, i64>>);

impl Processor<String, i64> for AddFromTable {
    type KeyOut = String;
    type ValueOut = i64;

    fn init(&mut self, ctx: &mut ProcessorContext<'_, '_, String, i64>) -> Result {
        self.0 = Some(ctx.table("bonus")?);
        Ok(())
    }

    fn process(
        &mut self,
        record: Record<'_, String, i64>,
        ctx: &mut ProcessorContext<'_, '_, String, i64>,
    ) -> Result {
        let found = ctx.get_table(self.0.as_ref().unwrap(), record.key)?;
        let bonus = found.map_or(0, |found| found.value + 1_000 * found.timestamp.millis());
        ctx.forward(record.with_value(&(record.value + bonus)))
    }
}

fn with_table(process: impl Fn(&KStream<String, i64>)) -> Topology {
    let builder = StreamsBuilder::new();
    builder.table("bonus", Consumed::with(Utf8, I64), Materialized::named("bonus", I64));
    process(&builder.stream("points", Consumed::with(Utf8, I64)));
    builder.build_optimized(Optimization::ALL).unwrap()
}

#[test]
fn a_processor_reads_the_store_of_a_table_whose_topic_is_its_changelog() {
    let topology = with_table(|points| {
        points.process(|| AddFromTable(None), &["bonus"]).to("sums", Produced::with(Utf8, I64));
    });
    assert!(topology.internal_topics(&topology.subtopologies()[0]).is_empty());
    let driver = TopologyTestDriver::new(&topology).unwrap();
    driver.input_topic("bonus", Utf8, I64).pipe("ann", 100, 3).unwrap();
    driver.restart().unwrap();
    driver.input_topic("points", Utf8, I64).pipe("ann", 5, 4).unwrap();
    assert_eq!(values(&driver, "sums", I64), [3_105]);
}

#[test]
fn a_tables_store_is_not_bound_as_one_without_timestamps() {
    let topology = with_table(|points| {
        points.process(|| Keep::into("bonus"), &["bonus"]);
    });
    let refused = TopologyTestDriver::new(&topology).err().unwrap().to_string();
    assert!(refused.contains("bind it with table"), "{refused}");
}

#[test]
fn a_record_goes_to_each_partition_that_is_chosen_and_is_dropped_where_none_is() {
    let builder = StreamsBuilder::new();
    let below = |_: &String, value: &i64, _: i32| (0..i32::try_from(*value).unwrap()).collect();
    builder
        .stream("in", Consumed::with(Utf8, I64))
        .to("out", Produced::with(Utf8, I64).multicast(below));
    let topology = builder.build().unwrap();
    let mut runner = LocalRunner::new(&topology, RunnerSettings::default()).unwrap();
    let input = runner.input("in").unwrap();
    let mut chosen = Vec::new();
    for value in [2_i64, 0] {
        let value = value.to_be_bytes();
        let record = InputRecord {
            key: Some(b"ann"),
            value: Some(&value),
            timestamp: Timestamp::new(1),
            headers: &Headers::new(),
        };
        let mut output = |record: tidemill_topology::node::Outgoing<'_>| {
            chosen.push(record.route == Route::Partition(chosen.len() as i32));
            Ok(())
        };
        runner.process(input, &record, &mut output).unwrap();
    }
    assert_eq!(chosen, [true, true]);
    assert_eq!(runner.dropped(DropReason::NoPartition), 1);
}

/// A sorted vector, which counts its writes over all its lives.
struct Sorted {
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    writes: Arc<AtomicUsize>,
}

impl Sorted {
    fn find(&self, key: &[u8]) -> std::result::Result<usize, usize> {
        self.entries.binary_search_by(|(known, _)| known.as_slice().cmp(key))
    }
}

impl StoreEngine for Sorted {
    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> bool {
        let Ok(at) = self.find(key) else { return false };
        value.extend_from_slice(&self.entries[at].1);
        true
    }

    fn scan(&self, range: KeyRange<'_>, order: Order, visit: &mut Visit<'_>) {
        let place = |key: &[u8]| self.find(key).unwrap_or_else(|at| at);
        let found = &self.entries[place(range.from)..range.to.map_or(self.entries.len(), place)];
        let visit = &mut |(key, value): &(Vec<u8>, Vec<u8>)| visit(key, value);
        let _ = match order {
            Order::Forward => found.iter().try_for_each(visit),
            Order::Backward => found.iter().rev().try_for_each(visit),
        };
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        match self.find(key) {
            Ok(at) => self.entries[at].1 = value.to_vec(),
            Err(at) => self.entries.insert(at, (key.to_vec(), value.to_vec())),
        }
    }

    fn delete(&mut self, key: &[u8]) {
        if let Ok(at) = self.find(key) {
            self.entries.remove(at);
        }
    }

    fn entries(&self) -> u64 {
        self.entries.len() as u64
    }
}

#[test]
fn an_engine_of_ones_own_is_given_what_is_committed_and_filled_from_the_changelog() {
    let writes = Arc::new(AtomicUsize::new(0));
    let builder = StreamsBuilder::new();
    let counter = Arc::clone(&writes);
    let engine = move || Sorted { entries: Vec::new(), writes: Arc::clone(&counter) };
    builder.add_state_store(Stores::key_value("kept", Utf8, I64).with_engine(engine));
    builder.stream("in", Consumed::with(Utf8, I64)).process(|| Keep::into("kept"), &["kept"]);
    let topology = builder.build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let settings = TopologyTestDriver::builder().rocksdb(folder.path()).manual_commits();
    let driver = settings.start(&topology).unwrap();
    let input = driver.input_topic("in", Utf8, I64);
    let found = |key: &str| driver.get::<String, i64>("kept", &key.to_owned()).unwrap();
    input.pipe("a", 1, 1).unwrap();
    input.pipe("b", 2, 2).unwrap();
    driver.commit().unwrap();
    input.pipe("a", 3, 3).unwrap();
    assert_eq!(found("a"), Some(3), "what is uncommitted lies in front of the engine");
    driver.restart().unwrap();
    assert_eq!((found("a"), found("b")), (Some(1), Some(2)), "what was committed is there again");
    assert!(writes.load(Ordering::Relaxed) >= 2, "the engine was asked");
    let keys: Vec<String> =
        driver.entries::<String, i64>("kept").unwrap().into_iter().map(|entry| entry.key).collect();
    assert_eq!(keys, ["a", "b"]);
}
