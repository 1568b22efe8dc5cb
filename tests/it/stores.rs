//! Stores and topics where a processor's author says more than their names: global stores,
//! stores in memory and without a log, several input topics, partitioners.

use tidemill::driver::{InputRecord, LocalRunner, RunnerSettings, TopologyTestDriver};
use tidemill::prelude::*;
use tidemill_topology::node::Route;

/// Puts each record into the store of that name.
pub struct Keep {
    store: &'static str,
    handle: Option<KeyValueHandle<String, i64>>,
}

impl Keep {
    pub fn into(store: &'static str) -> Self {
        Self { store, handle: None }
    }
}

impl Processor<String, i64> for Keep {
    type KeyOut = String;
    type ValueOut = i64;

    fn init(&mut self, ctx: &mut ProcessorContext<'_, '_, String, i64>) -> Result {
        self.handle = Some(ctx.key_value(self.store)?);
        Ok(())
    }

    fn process(
        &mut self,
        record: Record<'_, String, i64>,
        ctx: &mut ProcessorContext<'_, '_, String, i64>,
    ) -> Result {
        let handle = self.handle.as_ref().unwrap();
        ctx.store(handle, record.timestamp).put(record.key, record.value)
    }
}

/// Adds what a global store has under the record's key.
struct AddGlobal {
    store: &'static str,
    handle: Option<GlobalHandle<String, i64>>,
}

impl Processor<String, i64> for AddGlobal {
    type KeyOut = String;
    type ValueOut = i64;

    fn init(&mut self, ctx: &mut ProcessorContext<'_, '_, String, i64>) -> Result {
        self.handle = Some(ctx.global(self.store)?);
        Ok(())
    }

    fn process(
        &mut self,
        record: Record<'_, String, i64>,
        ctx: &mut ProcessorContext<'_, '_, String, i64>,
    ) -> Result {
        let found = ctx.get_global(self.handle.as_ref().unwrap(), record.key)?;
        ctx.forward(record.with_value(&(record.value + found.unwrap_or(0))))
    }
}

/// Adds the global store `bonus` to what comes in; `declare` declares the store, or does not.
fn with_bonus(declare: impl Fn(&StreamsBuilder)) -> Topology {
    let builder = StreamsBuilder::new();
    declare(&builder);
    builder
        .stream("points", Consumed::with(Utf8, I64))
        .process(|| AddGlobal { store: "bonus", handle: None }, &[])
        .to("sums", Produced::with(Utf8, I64));
    builder.build().unwrap()
}

#[test]
fn a_processor_reads_global_stores_and_tables_without_being_connected() {
    type Declare = fn(&StreamsBuilder);
    let store: Declare = |builder| {
        let store = Stores::key_value("bonus", Utf8, I64);
        let consumed = Consumed::with(Utf8, I64);
        builder.add_global_store(store, "bonus-topic", consumed, || Keep::into("bonus"));
    };
    let table: Declare = |builder| {
        let materialized = Materialized::named("bonus", I64);
        builder.global_table("bonus-topic", Consumed::with(Utf8, I64), materialized);
    };
    for declare in [store, table] {
        let driver = TopologyTestDriver::new(&with_bonus(declare)).unwrap();
        driver.input_topic("bonus-topic", Utf8, I64).pipe("ann", 100, 1).unwrap();
        let points = driver.input_topic("points", Utf8, I64);
        points.pipe("ann", 5, 2).unwrap();
        points.pipe("bob", 6, 3).unwrap();
        let sums = driver.output_topic("sums", Utf8, I64).read_pairs().unwrap();
        assert_eq!(sums, [("ann".to_owned(), 105), ("bob".to_owned(), 6)]);
    }
}

#[test]
fn a_global_store_that_is_not_there_is_named() {
    let error = TopologyTestDriver::new(&with_bonus(|_| {})).err().unwrap().to_string();
    assert!(error.contains("no global table or store is named bonus"), "{error}");
}

#[test]
fn one_stream_reads_several_topics() {
    let builder = StreamsBuilder::new();
    let topics = ["east", "west"].map(str::to_owned);
    builder
        .stream_of(&topics, Consumed::with(Utf8, I64))
        .group_by_key(Grouped::with(Utf8, I64))
        .reduce(|sum, value| Some(sum + value), Materialized::named("sums", I64));
    let topology = builder.build().unwrap();
    assert_eq!(topology.subtopologies().len(), 1);
    let driver = TopologyTestDriver::new(&topology).unwrap();
    driver.input_topic("east", Utf8, I64).pipe("ann", 1, 1).unwrap();
    driver.input_topic("west", Utf8, I64).pipe("ann", 2, 2).unwrap();
    assert_eq!(driver.get::<String, i64>("sums", &"ann".to_owned()).unwrap(), Some(3));
}

#[test]
fn a_partitioner_of_ones_own_is_asked_and_may_leave_it_to_the_key() {
    let builder = StreamsBuilder::new();
    let partitioner = |_: &String, value: &i64, _: i32| i32::try_from(*value).ok();
    builder
        .stream("in", Consumed::with(Utf8, I64))
        .to("out", Produced::with(Utf8, I64).partitioner(partitioner));
    let topology = builder.build().unwrap();
    let mut runner = LocalRunner::new(&topology, RunnerSettings::default()).unwrap();
    let input = runner.input("in").unwrap();
    let mut chosen = Vec::new();
    for value in [3_i64, i64::MAX] {
        let value = value.to_be_bytes();
        let record = InputRecord {
            key: Some(b"ann"),
            value: Some(&value),
            timestamp: Timestamp::new(1),
            headers: &Headers::new(),
        };
        let mut output = |record: tidemill_topology::node::Outgoing<'_>| {
            chosen.push(match record.route {
                Route::Partition(partition) => Some(partition),
                Route::Key(key) => {
                    assert_eq!(key, Some(&b"ann"[..]));
                    None
                }
            });
            Ok(())
        };
        runner.process(input, &record, &mut output).unwrap();
    }
    assert_eq!(chosen, [Some(3), None]);
}

#[test]
fn a_store_in_memory_comes_back_from_its_changelog_and_one_without_a_log_does_not() {
    let builder = StreamsBuilder::new();
    builder.add_state_store(Stores::key_value("logged", Utf8, I64).in_memory());
    builder.add_state_store(Stores::key_value("lost", Utf8, I64).in_memory().without_logging());
    builder.add_state_store(Stores::key_value("on-disk", Utf8, I64).without_logging());
    let values = builder.stream("in", Consumed::with(Utf8, I64));
    for store in ["logged", "lost", "on-disk"] {
        values.process(move || Keep::into(store), &[store]);
    }
    let topology = builder.build().unwrap();
    let internal = topology.internal_topics(&topology.subtopologies()[0]);
    let names: Vec<&str> = internal.iter().map(|topic| &*topic.name).collect();
    assert_eq!(names, ["logged-changelog"]);

    let folder = tempfile::tempdir().unwrap();
    let driver = TopologyTestDriver::builder().rocksdb(folder.path()).start(&topology).unwrap();
    driver.input_topic("in", Utf8, I64).pipe("ann", 7, 1).unwrap();
    driver.restart().unwrap();
    let found = |store| driver.get::<String, i64>(store, &"ann".to_owned()).unwrap();
    assert_eq!((found("logged"), found("lost")), (Some(7), None));
}
