//! Tables, aggregates and stores whose entries have a time to live.

use std::time::Duration;

use tidemill::driver::TopologyTestDriver;
use tidemill::prelude::*;
use tidemill_topology::node::DropReason;

const LIVE: Duration = Duration::from_millis(100);

/// Runs a check on stores in memory, then on RocksDB.
fn on_both(topology: &Topology, check: impl Fn(&TopologyTestDriver)) {
    check(&TopologyTestDriver::new(topology).unwrap());
    let root = tempfile::tempdir().unwrap();
    check(&TopologyTestDriver::builder().rocksdb(root.path()).start(topology).unwrap());
}

/// The changes of a table with a time to live, and how many of its entries have each value.
fn places() -> Topology {
    let builder = StreamsBuilder::new();
    let places = builder.table(
        "moves",
        Consumed::with(Utf8, Utf8),
        Materialized::named("places", Utf8).time_to_live(LIVE),
    );
    places.to_stream().to("changes", Produced::with(Utf8, Nullable(Utf8)));
    places
        .group_by(|who, place| (place.clone(), who.clone()), Grouped::with(Utf8, Utf8))
        .count(Materialized::named("visitors", I64))
        .to_stream()
        .to("counts", Produced::with(Utf8, Nullable(I64)));
    builder.build_optimized(Optimization::ALL).unwrap()
}

/// Keys, values and timestamps of what a topic got.
fn read(driver: &TopologyTestDriver, topic: &str) -> Vec<(String, Option<String>, i64)> {
    let records = driver.output_topic(topic, Utf8, Nullable(Utf8)).read_all().unwrap();
    records
        .into_iter()
        .map(|record| (record.key, record.value, record.timestamp.millis()))
        .collect()
}

fn row(key: &str, value: Option<&str>, at: i64) -> (String, Option<String>, i64) {
    (key.to_owned(), value.map(str::to_owned), at)
}

#[test]
fn an_entry_that_outlives_its_time_is_deleted_and_told_to_those_below() {
    on_both(&places(), |driver| {
        let moves = driver.input_topic("moves", Utf8, Utf8);
        moves.pipe("ann", "bath", 0).unwrap();
        moves.pipe("bob", "bath", 60).unwrap();
        driver.restart().unwrap();
        // At 100 the entry of 0 is gone, and the one of 60 is there.
        moves.pipe("eve", "york", 99).unwrap();
        assert_eq!(driver.get::<String, String>("places", &"ann".into()).unwrap().unwrap(), "bath");
        moves.pipe("eve", "york", 100).unwrap();
        driver.restart().unwrap();
        assert_eq!(driver.get::<String, String>("places", &"ann".into()).unwrap(), None);
        assert_eq!(driver.get::<String, String>("places", &"bob".into()).unwrap().unwrap(), "bath");
        let expected = [
            row("ann", Some("bath"), 0),
            row("bob", Some("bath"), 60),
            row("eve", Some("york"), 99),
            row("eve", Some("york"), 100),
            row("ann", None, 100),
        ];
        assert_eq!(read(driver, "changes"), expected);
        let counts = driver.output_topic("counts", Utf8, Nullable(I64)).read_pairs().unwrap();
        assert_eq!(counts.last().unwrap(), &("bath".to_owned(), Some(1)));
    });
}

#[test]
fn an_entry_written_again_lives_from_its_new_time_and_one_that_expired_is_replaced_in_full() {
    on_both(&places(), |driver| {
        let moves = driver.input_topic("moves", Utf8, Utf8);
        moves.pipe("ann", "bath", 0).unwrap();
        moves.pipe("ann", "bath", 90).unwrap();
        moves.pipe("bob", "york", 120).unwrap();
        assert_eq!(driver.get::<String, String>("places", &"ann".into()).unwrap().unwrap(), "bath");
        // The same record that ends the old entry brings a new one: bath loses its visitor once.
        moves.pipe("ann", "york", 190).unwrap();
        driver.restart().unwrap();
        let counts =
            |place: &str| driver.get::<String, i64>("visitors", &place.to_owned()).unwrap();
        assert_eq!((counts("bath"), counts("york")), (Some(0), Some(2)));
        // Nothing is left of the entries of 0 and 90 that could end the one of 190.
        moves.pipe("bob", "york", 289).unwrap();
        assert_eq!(driver.get::<String, String>("places", &"ann".into()).unwrap().unwrap(), "york");
    });
}

#[test]
fn a_record_older_than_the_time_to_live_is_dropped_and_counted() {
    on_both(&places(), |driver| {
        let moves = driver.input_topic("moves", Utf8, Utf8);
        moves.pipe("ann", "bath", 100).unwrap();
        moves.pipe("bob", "bath", 0).unwrap();
        moves.pipe("bob", "bath", 1).unwrap();
        assert_eq!(driver.dropped(DropReason::ExpiredRecord), 1);
        let entries = driver.entries::<String, String>("places").unwrap();
        assert_eq!(entries.iter().map(|entry| &*entry.key).collect::<Vec<_>>(), ["ann", "bob"]);
    });
}

/// A count a key that ends with its time to live.
fn counts(caching: bool) -> Topology {
    let builder = StreamsBuilder::new();
    builder
        .stream("words", Consumed::with(Utf8, Utf8))
        .group_by_key(Grouped::with(Utf8, Utf8))
        .count(Materialized::named("counts", I64).caching(caching).time_to_live(LIVE))
        .to_stream()
        .to("results", Produced::with(Utf8, Nullable(I64)));
    builder.build().unwrap()
}

#[test]
fn an_aggregate_starts_anew_after_its_time() {
    for caching in [false, true] {
        on_both(&counts(caching), |driver| {
            let words = driver.input_topic("words", Utf8, Utf8);
            for at in [0, 80, 50, 179] {
                words.pipe("a", "x", at).unwrap();
            }
            driver.restart().unwrap();
            words.pipe("a", "x", 279).unwrap();
            words.pipe("b", "x", 400).unwrap();
            let results = driver.output_topic("results", Utf8, Nullable(I64)).read_pairs().unwrap();
            let expected = [
                ("a", Some(1)),
                ("a", Some(2)),
                ("a", Some(3)),
                ("a", Some(4)),
                ("a", Some(1)),
                ("b", Some(1)),
                ("a", None),
            ];
            let mut expected = expected.map(|(key, count)| (key.to_owned(), count)).to_vec();
            let mut results = results;
            // Held back updates come in the order of their keys' first change.
            expected.sort();
            results.sort();
            assert_eq!(results, expected, "caching: {caching}");
            assert_eq!(driver.entries::<String, i64>("counts").unwrap().len(), 1);
        });
    }
}

/// Forwards how many keys the store has, then puts the record's.
struct Remember(Option<KeyValueHandle<String, String>>);

impl Processor<String, String> for Remember {
    type KeyOut = String;
    type ValueOut = i64;

    fn init(&mut self, ctx: &mut ProcessorContext<'_, '_, String, i64>) -> Result {
        self.0 = Some(ctx.key_value("seen")?);
        Ok(())
    }

    fn process(
        &mut self,
        record: Record<'_, String, String>,
        ctx: &mut ProcessorContext<'_, '_, String, i64>,
    ) -> Result {
        let handle = self.0.as_ref().unwrap();
        let mut seen = ctx.store(handle, record.timestamp);
        let mut count = 0;
        seen.range(.., tidemill_topology::store::Order::Forward, |key, value| {
            assert_eq!(key, value);
            count += 1;
            Ok(std::ops::ControlFlow::Continue(()))
        })?;
        assert_eq!(seen.get(record.key)?.is_some(), record.value == "again");
        seen.put(record.key, record.key)?;
        ctx.forward(record.with_value(&count))
    }
}

fn seen() -> Topology {
    let builder = StreamsBuilder::new();
    builder.add_state_store(Stores::key_value("seen", Utf8, Utf8).time_to_live(LIVE));
    builder
        .stream("ids", Consumed::with(Utf8, Utf8))
        .process(|| Remember(None), &["seen"])
        .to("counts", Produced::with(Utf8, I64));
    builder.build().unwrap()
}

#[test]
fn a_processor_does_not_see_what_has_expired_however_much_that_is() {
    on_both(&seen(), |driver| {
        let ids = driver.input_topic("ids", Utf8, Utf8);
        // More than one record takes out.
        let many = 1_500;
        for n in 0..many {
            ids.pipe(n.to_string(), "new", 0).unwrap();
        }
        ids.pipe("7", "again", 99).unwrap();
        let counts = driver.output_topic("counts", Utf8, I64);
        assert_eq!(counts.read_pairs().unwrap().pop().unwrap().1, many);
        ids.pipe("8", "new", 100).unwrap();
        driver.restart().unwrap();
        ids.pipe("9", "new", 100).unwrap();
        ids.pipe("7", "again", 100).unwrap();
        let seen: Vec<i64> =
            counts.read_pairs().unwrap().into_iter().map(|(_, count)| count).collect();
        assert_eq!(seen, [1, 2, 3]);
        let entries = driver.entries::<String, String>("seen").unwrap();
        assert_eq!(entries.len(), 3);
    });
}

#[test]
fn a_time_to_live_is_refused_where_it_would_mean_nothing() {
    let mistake = |declare: &dyn Fn(&StreamsBuilder)| {
        let builder = StreamsBuilder::new();
        declare(&builder);
        builder.build().map(|_| ()).unwrap_err().to_string()
    };
    let table = |builder: &StreamsBuilder| {
        builder.table("t", Consumed::with(Utf8, I64), Materialized::named("t", I64))
    };
    let told = mistake(&|builder| {
        let positive = table(builder).filter(|_, value| *value > 0);
        let _ = positive.materialized(Materialized::named("positive", I64).time_to_live(LIVE));
    });
    assert!(told.contains("computed from others"), "{told}");
    let told = mistake(&|builder| {
        table(builder)
            .group_by(|key, value| (key.clone(), *value), Grouped::with(Utf8, I64))
            .count(Materialized::named("counts", I64).time_to_live(LIVE));
    });
    assert!(told.contains("set it on the table that is grouped"), "{told}");
    let told = mistake(&|builder| {
        builder
            .stream("s", Consumed::with(Utf8, I64))
            .group_by_key(Grouped::with(Utf8, I64))
            .windowed_by(TimeWindows::of(LIVE))
            .count(Materialized::named("windows", I64).time_to_live(LIVE));
    });
    assert!(told.contains("store windows is of kind timestamped-window"), "{told}");
    let told = mistake(&|builder| {
        let kept = Materialized::named("versions", I64).versioned(LIVE).time_to_live(LIVE);
        builder.table("t", Consumed::with(Utf8, I64), kept);
    });
    assert!(told.contains("store versions is of kind versioned"), "{told}");
    let told = mistake(&|builder| {
        let kept = Materialized::named("everywhere", I64).time_to_live(LIVE);
        builder.global_table("g", Consumed::with(Utf8, I64), kept);
    });
    assert!(told.contains("global store everywhere"), "{told}");
    let told = mistake(&|builder| {
        let store = Stores::key_value("seen", Utf8, I64).time_to_live(Duration::ZERO);
        builder.add_state_store(store);
        builder.stream("s", Consumed::with(Utf8, I64));
    });
    assert!(told.contains("at least 1 ms"), "{told}");
}
