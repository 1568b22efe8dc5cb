//! Caching stores: what they hold back until the commit, how updates of a key become one, and what
//! happens when they hold back too much.

use tidemill::driver::{TestDriverBuilder, TopologyTestDriver};
use tidemill::prelude::*;

type Row = (String, Option<i64>);

fn row(key: &str, value: impl Into<Option<i64>>) -> Row {
    (key.to_owned(), value.into())
}

fn caching(name: &str) -> Materialized<i64> {
    Materialized::named(name, I64).caching(true)
}

/// A topology from the table topic `in` to `out`, made by `verbs`.
fn topology(verbs: impl FnOnce(&StreamsBuilder) -> KTable<String, i64>) -> Topology {
    let builder = StreamsBuilder::new();
    verbs(&builder).to_stream().to("out", Produced::with(Utf8, Nullable(I64)));
    builder.build().unwrap()
}

fn source(builder: &StreamsBuilder, materialized: Materialized<i64>) -> KTable<String, i64> {
    builder.table("in", Consumed::with(Utf8, I64), materialized)
}

fn driver(topology: &Topology) -> TopologyTestDriver {
    settings(|settings| settings, topology)
}

fn settings(
    more: impl FnOnce(TestDriverBuilder) -> TestDriverBuilder,
    topology: &Topology,
) -> TopologyTestDriver {
    more(TopologyTestDriver::builder().manual_commits()).start(topology).unwrap()
}

fn pipe(driver: &TopologyTestDriver, rows: &[(&str, Option<i64>)]) {
    let input = driver.input_topic("in", Utf8, Nullable(I64));
    for (at_ms, (key, value)) in (1..).zip(rows) {
        input.pipe(*key, *value, at_ms).unwrap();
    }
}

fn out(driver: &TopologyTestDriver) -> Vec<Row> {
    driver.output_topic("out", Utf8, Nullable(I64)).read_pairs().unwrap()
}

/// What comes out of a topology at its commits: after three updates of `a` and one of `b`; after
/// `b` is gone, and a `c` that came and went; after `a` has its old value again.
fn merged(topology: &Topology) -> [Vec<Row>; 3] {
    let driver = driver(topology);
    let scripts: [&[(&str, Option<i64>)]; 3] = [
        &[("a", Some(1)), ("b", Some(7)), ("a", Some(2)), ("a", Some(3))],
        &[("b", None), ("c", Some(1)), ("c", None)],
        &[("a", Some(9)), ("a", Some(3))],
    ];
    scripts.map(|rows| {
        pipe(&driver, rows);
        assert_eq!(out(&driver), [], "nothing comes before the commit");
        driver.commit().unwrap();
        out(&driver)
    })
}

#[test]
fn a_caching_table_tells_each_keys_last_value_at_the_commit() {
    let tables = [
        topology(|builder| source(builder, caching("kept"))),
        topology(|builder| {
            let moves = builder.stream("in", Consumed::with(Utf8, Nullable(I64)));
            moves.to_table(caching("kept"))
        }),
        topology(|builder| {
            let all = source(builder, Materialized::named("in", I64));
            all.filter(|_, _| true).materialized(caching("kept"))
        }),
        topology(|builder| {
            let all = source(builder, Materialized::named("in", I64));
            all.map_values(|value| *value).materialized(caching("kept"))
        }),
    ];
    for topology in &tables {
        let [first, second, third] = merged(topology);
        assert_eq!(first, [row("a", 3), row("b", 7)]);
        assert_eq!(second, [row("b", None)], "nobody saw the c that came and went");
        assert_eq!(third, [row("a", 3)]);
    }
}

#[test]
fn a_join_that_is_kept_and_caches_tells_what_is_left_at_the_commit() {
    let topology = topology(|builder| {
        let prices =
            builder.table("prices", Consumed::with(Utf8, I64), Materialized::named("p", I64));
        let stock = source(builder, Materialized::named("in", I64));
        let worth = |_: &String, count: &i64, price: &i64| count * price;
        stock.join(&prices, worth, TableJoined::new()).materialized(caching("worth"))
    });
    let driver = driver(&topology);
    let prices = driver.input_topic("prices", Utf8, I64);
    prices.pipe("a", 10, 1).unwrap();
    pipe(&driver, &[("a", Some(1)), ("a", Some(2))]);
    prices.pipe("a", 20, 5).unwrap();
    assert_eq!(out(&driver), []);
    driver.commit().unwrap();
    assert_eq!(out(&driver), [row("a", 40)]);
}

#[test]
fn a_deletion_has_the_time_of_the_change_that_deleted() {
    let driver = driver(&topology(|builder| source(builder, caching("kept"))));
    pipe(&driver, &[("a", Some(1))]);
    driver.commit().unwrap();
    driver.input_topic("in", Utf8, Nullable(I64)).pipe("a", None, 77).unwrap();
    driver.commit().unwrap();
    let times: Vec<i64> =
        driver.take_outputs().iter().map(|record| record.timestamp.millis()).collect();
    assert_eq!(times, [1, 77]);
}

/// Sums the values of all keys, whose changes come from a caching table: it must be told what a
/// change replaces.
#[test]
fn what_a_held_back_change_replaces_is_what_was_told_last() {
    let builder = StreamsBuilder::new();
    source(&builder, caching("kept"))
        .group_by(|_, value| ("all".to_owned(), *value), Grouped::with(Utf8, I64))
        .reduce(
            |sum, value| Some(sum + value),
            |sum, value| Some(sum - value),
            Materialized::named("sum", I64),
        );
    let driver = driver(&builder.build().unwrap());
    for (rows, sum) in [
        (&[("a", Some(1)), ("a", Some(2)), ("b", Some(5))][..], 7),
        (&[("a", Some(4)), ("a", Some(3)), ("b", None)][..], 3),
    ] {
        pipe(&driver, rows);
        driver.commit().unwrap();
        assert_eq!(driver.get::<String, i64>("sum", &"all".to_owned()).unwrap(), Some(sum));
    }
}

#[test]
fn what_was_held_back_and_not_committed_is_lost_in_a_crash_and_told_once_when_it_comes_again() {
    let driver = driver(&topology(|builder| source(builder, caching("kept"))));
    pipe(&driver, &[("a", Some(1))]);
    driver.commit().unwrap();
    pipe(&driver, &[("a", Some(2))]);
    driver.restart().unwrap();
    driver.commit().unwrap();
    assert_eq!(out(&driver), [row("a", 1)]);
    pipe(&driver, &[("a", Some(2))]);
    driver.commit().unwrap();
    assert_eq!(out(&driver), [row("a", 2)]);
}

#[test]
fn more_than_may_be_held_back_goes_on_before_the_commit() {
    let counts = topology(|builder| {
        let words = builder.stream("in", Consumed::with(Utf8, I64));
        words.group_by_key(Grouped::with(Utf8, I64)).count(caching("counts"))
    });
    let keys: Vec<String> = (0..200).map(|key| format!("key{key:03}")).collect();
    let once: Vec<(&str, Option<i64>)> = keys.iter().map(|key| (key.as_str(), Some(0))).collect();
    let early = |max_bytes: usize| {
        let driver = settings(|settings| settings.cache_max_bytes(max_bytes), &counts);
        pipe(&driver, &once);
        let early = out(&driver).len();
        driver.commit().unwrap();
        (early, early + out(&driver).len())
    };
    assert_eq!(early(1 << 20), (0, 200), "there is room for all");
    let (before_the_commit, in_all) = early(4 << 10);
    assert!((1..200).contains(&before_the_commit), "{before_the_commit} of 200 came early");
    assert_eq!(in_all, 200, "each once, early or not");
}

#[test]
fn all_caching_stores_of_an_instance_share_what_may_be_held_back() {
    let two = topology(|builder| {
        let first = source(builder, caching("first"));
        let _ = first.filter(|_, _| true).materialized(caching("second"));
        first
    });
    let driver = settings(|settings| settings.cache_max_bytes(200), &two);
    pipe(&driver, &[("a", Some(1))]);
    assert_eq!(out(&driver), [], "one update fits");
    pipe(&driver, &[("b", Some(1)), ("c", Some(1)), ("d", Some(1)), ("e", Some(1))]);
    assert!(!out(&driver).is_empty(), "five do not");
}

#[test]
fn with_no_room_at_all_every_update_goes_on_at_once() {
    let table = topology(|builder| source(builder, caching("kept")));
    let driver = settings(|settings| settings.cache_max_bytes(0), &table);
    pipe(&driver, &[("a", Some(1)), ("a", Some(2)), ("a", None)]);
    assert_eq!(out(&driver), [row("a", 1), row("a", 2), row("a", None)]);
}
