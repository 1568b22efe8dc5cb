//! Tables that are joined without being kept: their values are computed with each look-up, and are
//! those that a store would have had.

use std::time::Duration;

use tidemill::driver::TopologyTestDriver;
use tidemill::prelude::*;

const MINUTE: Duration = Duration::from_secs(60);

fn table(builder: &StreamsBuilder, topic: &str) -> KTable<String, i64> {
    builder.table(topic, Consumed::with(Utf8, I64), Materialized::with(I64))
}

/// The store's names, of all subtopologies.
fn stores(topology: &Topology) -> Vec<String> {
    topology.describe().subtopologies.into_iter().flat_map(|one| one.stores).collect()
}

/// Keeps a table, or does not.
fn kept(table: KTable<String, i64>, name: &str, keeps: bool) -> KTable<String, i64> {
    if keeps { table.materialized(Materialized::named(name, I64)) } else { table }
}

/// Streams and tables that are joined with derived tables, each of which is kept or not.
fn derived(keeps: bool) -> Topology {
    let builder = StreamsBuilder::new();
    let stock = table(&builder, "stock");
    let available = kept(stock.filter(|_, count| *count > 0), "available", keeps);
    let dozens = kept(available.map_values(|count| count * 12), "dozens", keeps);
    let prices = table(&builder, "prices");
    let worth = dozens.join(&prices, |_, count, price| count * price, TableJoined::new());
    let worth = kept(worth, "worth", keeps);
    builder
        .stream("questions", Consumed::with(Utf8, Utf8))
        .left_join(&worth, |key, _, worth: Option<&i64>| format!("{key} {worth:?}"), Joined::new())
        .to("answers", Produced::with(Utf8, Utf8));
    let doubled = kept(prices.map_values(|price| price * 2), "doubled", keeps);
    let listed = doubled.left_join(
        &dozens,
        |_, price, count| format!("{price} {count:?}"),
        TableJoined::new(),
    );
    let _ = listed.materialized(Materialized::named("listed", Utf8));
    builder.build().unwrap()
}

#[test]
fn a_derived_table_answers_as_one_that_is_kept() {
    let (computed, stored) = (derived(false), derived(true));
    assert_eq!(
        stores(&computed),
        ["stock-STATE-STORE-0000000000", "prices-STATE-STORE-0000000005", "listed"]
    );
    for name in ["available", "dozens", "worth", "doubled", "listed"] {
        assert!(stores(&stored).iter().any(|store| store == name), "{name} is kept");
    }
    let answers = |topology: &Topology| {
        let driver = TopologyTestDriver::new(topology).unwrap();
        let (stock, prices) = (
            driver.input_topic("stock", Utf8, Nullable(I64)),
            driver.input_topic("prices", Utf8, Nullable(I64)),
        );
        let questions = driver.input_topic("questions", Utf8, Utf8);
        // A script over three keys in which each value comes to pass, to fail and to go.
        for step in 0..90_i64 {
            let key = ["ale", "bun", "cod"][(step * step % 7 % 3) as usize];
            let value = (step % 5 != 0).then_some(step * 31 % 11 - 4);
            match step % 3 {
                0 => stock.pipe(key, value, step).unwrap(),
                1 => prices.pipe(key, value, step).unwrap(),
                _ => questions.pipe(key, "?", step).unwrap(),
            }
            if step % 3 == 2 {
                for key in ["ale", "bun", "cod"] {
                    questions.pipe(key, "?", step).unwrap();
                }
            }
        }
        let listed: Vec<_> = ["ale", "bun", "cod"]
            .map(|key| driver.get::<String, String>("listed", &key.to_owned()).unwrap())
            .into();
        (driver.output_topic("answers", Utf8, Utf8).read_pairs().unwrap(), listed)
    };
    let (of_computed, of_stored) = (answers(&computed), answers(&stored));
    assert!(of_computed.0.iter().any(|(_, answer)| answer.contains("Some")), "something joins");
    assert_eq!(of_computed, of_stored);
}

/// Counts by window of two topics, joined window by window.
fn counts_joined<W>(builder: &StreamsBuilder, window: W) -> KTable<Windowed<String>, String>
where
    W: Fn(KGroupedStream<String, String>, &str) -> KTable<Windowed<String>, i64>,
{
    let counts = |topic: &str| {
        let words = builder.stream(topic, Consumed::with(Utf8, Utf8));
        window(words.group_by_key(Grouped::with(Utf8, Utf8)), topic)
    };
    let (clicks, views) = (counts("clicks"), counts("views"));
    clicks.join(&views, |_, clicks, views| format!("{clicks} of {views}"), TableJoined::new())
}

fn joined_windows(
    keys: impl Serde<Windowed<String>> + Clone,
    window: impl Fn(KGroupedStream<String, String>, &str) -> KTable<Windowed<String>, i64>,
) -> Vec<(String, i64, i64, Option<String>)> {
    let builder = StreamsBuilder::new();
    let joined = counts_joined(&builder, window);
    joined.to_stream().to("out", Produced::with(keys.clone(), Nullable(Utf8)));
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let (clicks, views) =
        (driver.input_topic("clicks", Utf8, Utf8), driver.input_topic("views", Utf8, Utf8));
    views.pipe("ann", "v", 1_000).unwrap();
    clicks.pipe("ann", "c", 1_000).unwrap();
    clicks.pipe("ann", "c", 200_000).unwrap();
    views.pipe("ann", "v", 200_000).unwrap();
    clicks.pipe("bob", "c", 200_000).unwrap();
    let rows = driver.output_topic("out", keys, Nullable(Utf8)).read_pairs().unwrap();
    rows.into_iter()
        .map(|(Windowed { key, window }, text)| {
            (key, window.start.millis(), window.end.millis(), text)
        })
        .collect()
}

#[test]
fn windowed_tables_join_window_by_window() {
    let got = joined_windows(TimeWindowed::new(Utf8, 60_000), |words, name| {
        words.windowed_by(TimeWindows::of(MINUTE)).count(Materialized::named(name, I64))
    });
    let row = |start| ("ann".to_owned(), start, start + 60_000, Some("1 of 1".to_owned()));
    assert_eq!(got, [row(0), row(180_000)]);
}

#[test]
fn tables_of_sessions_join_session_by_session() {
    let got = joined_windows(SessionWindowed(Utf8), |words, name| {
        words.windowed_by(SessionWindows::of(MINUTE)).count(Materialized::named(name, I64))
    });
    let row = |at| ("ann".to_owned(), at, at, Some("1 of 1".to_owned()));
    assert_eq!(got, [row(1_000), row(200_000)]);
}

/// Doubles each value, and has one for a key that is gone.
struct Double;

impl TableTransformer<String, i64> for Double {
    type Out = i64;

    fn transform(
        &mut self,
        _: &String,
        value: Option<&i64>,
        _: &mut ProcessorContext<'_, '_, (), ()>,
    ) -> Result<Option<i64>> {
        Ok(Some(value.map_or(-1, |value| value * 2)))
    }
}

/// Joins what `derive` makes of the table `left` with the table `right`, in both directions.
fn joined_with_right(
    derive: impl Fn(KTable<String, i64>) -> KTable<String, i64>,
) -> TopologyTestDriver {
    let builder = StreamsBuilder::new();
    let left =
        derive(builder.table("left", Consumed::with(Utf8, I64), Materialized::named("left", I64)));
    left.outer_join(
        &table(&builder, "right"),
        |_, left, right| format!("{left:?} {right:?}"),
        TableJoined::new(),
    )
    .to_stream()
    .to("out", Produced::with(Utf8, Nullable(Utf8)));
    TopologyTestDriver::new(&builder.build().unwrap()).unwrap()
}

fn joined(driver: &TopologyTestDriver) -> Vec<Option<String>> {
    let rows = driver.output_topic("out", Utf8, Nullable(Utf8)).read_pairs().unwrap();
    rows.into_iter().map(|(_, row)| row).collect()
}

fn both(left: &str, right: &str) -> Option<String> {
    Some(format!("{left} {right}"))
}

#[test]
fn a_transformed_table_that_is_not_kept_is_transformed_again_for_who_looks_it_up() {
    let driver = joined_with_right(|left| left.transform_values(|| Double, &[]));
    let (left, right) =
        (driver.input_topic("left", Utf8, Nullable(I64)), driver.input_topic("right", Utf8, I64));
    left.pipe("a", Some(4), 1).unwrap();
    right.pipe("a", 1, 2).unwrap();
    right.pipe("b", 2, 3).unwrap();
    left.pipe("a", None, 4).unwrap();
    let want = [
        both("Some(8)", "None"),
        both("Some(8)", "Some(1)"),
        both("Some(-1)", "Some(2)"),
        both("Some(-1)", "Some(1)"),
    ];
    assert_eq!(joined(&driver), want);
}

#[test]
fn what_a_suppression_holds_back_has_its_old_value_for_who_looks_it_up() {
    let limit = || Suppressed::until_time_limit(MINUTE, BufferConfig::unbounded());
    let driver = joined_with_right(|left| left.suppress(limit()));
    let (left, right) =
        (driver.input_topic("left", Utf8, I64), driver.input_topic("right", Utf8, I64));
    left.pipe("a", 1, 0).unwrap();
    right.pipe("a", 10, 1).unwrap();
    assert_eq!(joined(&driver), [both("None", "Some(10)")], "the first value is held back");
    left.pipe("b", 0, 60_000).unwrap();
    assert_eq!(joined(&driver), [both("Some(1)", "Some(10)")], "it came out");
    left.pipe("a", 2, 60_001).unwrap();
    right.pipe("a", 20, 60_002).unwrap();
    assert_eq!(joined(&driver), [both("Some(1)", "Some(20)")], "the second is held back");
}
