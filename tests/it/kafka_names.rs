//! Names that nobody gave: nodes, stores and topics are called what Kafka Streams calls them.
//!
//! `kafka_names.txt` has, for each topology below, the nodes that `Topology.describe()` of Kafka Streams
//! 4.3.1 prints for the same topology in Java, with its optimization left at `none`.

use std::time::Duration;

use tidemill::prelude::*;

const KAFKA: &str = include_str!("kafka_names.txt");

type Table = KTable<String, String>;

/// The lines of a section, each list in it sorted, in order; the subtopologies left out where their
/// numbers are.
fn section(name: &str) -> Vec<String> {
    let lines = KAFKA.lines().skip_while(|line| *line != format!("== {name}")).skip(1);
    nodes(lines.take_while(|line| !line.starts_with("== ")))
}

fn nodes<'l>(lines: impl Iterator<Item = &'l str>) -> Vec<String> {
    let is_node = |line: &&str| {
        ["Source: ", "Processor: ", "Sink: "].iter().any(|start| line.starts_with(start))
    };
    let mut nodes: Vec<String> = lines.map(str::trim).filter(is_node).map(sorted_list).collect();
    nodes.sort();
    nodes
}

fn sorted_list(line: &str) -> String {
    let Some((head, list)) = line.split_once('[') else { return line.to_owned() };
    let mut items: Vec<&str> = list.trim_end_matches("])").split(", ").collect();
    items.sort_unstable();
    format!("{head}[{}])", items.join(", "))
}

/// Declares a topology, and compares it with what Kafka Streams says.
fn check(name: &str, declare: impl FnOnce(&StreamsBuilder)) {
    let builder = StreamsBuilder::new();
    declare(&builder);
    let described = builder.build().unwrap().describe().to_string();
    let expected = section(name);
    assert!(!expected.is_empty(), "no section is called {name}");
    assert_eq!(nodes(described.lines()), expected, "{name}");
}

fn stream(builder: &StreamsBuilder, topic: &str) -> KStream<String, String> {
    builder.stream(topic, Consumed::with(Utf8, Utf8))
}

/// A table whose store has a name.
fn named(builder: &StreamsBuilder, topic: &str, store: &str) -> Table {
    builder.table(topic, Consumed::with(Utf8, Utf8), Materialized::named(store, Utf8))
}

/// A table whose store, if there is one, has none.
fn table(builder: &StreamsBuilder, topic: &str) -> Table {
    builder.table(topic, Consumed::with(Utf8, Utf8), Materialized::with(Utf8))
}

fn shout(table: &Table) -> Table {
    table.map_values(|value| format!("{value}!")).with_values(Utf8)
}

/// `join(other, v -> v, (x, y) -> x + y, joined)`.
fn by_value(left: &Table, right: &Table, joined: TableJoined) -> Table {
    left.join_by_foreign_key(
        right,
        |_, value: &String| Some(value.clone()),
        |_, left, right| format!("{left}{right}"),
        joined,
    )
    .with_values(Utf8)
}

fn both(left: &Table, right: &Table) -> Table {
    left.join(right, |_, left, right| format!("{left}{right}"), TableJoined::new())
}

fn out<V: 'static>(table: &KTable<String, V>, topic: &str, values: impl Serde<V>) {
    table.to_stream().to(topic, Produced::with(Utf8, Nullable(values)));
}

fn by_own_value(stream: &KStream<String, String>) -> KStream<String, String> {
    stream.select_key(|_, value| value.clone()).with_serdes(Utf8, Utf8)
}

fn second() -> BufferLimit {
    Suppressed::until_time_limit(Duration::from_secs(1), BufferConfig::unbounded())
}

type BufferLimit = Suppressed<String>;

#[test]
fn joins_by_foreign_key_are_named_as_in_kafka_streams() {
    let fk = || TableJoined::new().named("fk");
    check("foreign key", |builder| {
        let (left, right) = (named(builder, "left", "l"), named(builder, "right", "r"));
        out(&by_value(&left, &right, TableJoined::new()), "out", Utf8);
        out(&left.filter(|_, _| true), "out2", Utf8);
    });
    check("foreign key, derived tables", |builder| {
        let left = shout(&named(builder, "left", "l"));
        let right = named(builder, "right", "r").filter(|_, _| true);
        out(&by_value(&left, &right, fk()), "out", Utf8);
    });
    check("foreign key, derived tables of unnamed ones", |builder| {
        let left = shout(&table(builder, "left"));
        let right = table(builder, "right").filter(|_, _| true);
        out(&by_value(&left, &right, fk()), "out", Utf8);
    });
    check("foreign key, joined again", |builder| {
        let [left, right, third] = ["left", "right", "right2"].map(|topic| table(builder, topic));
        out(&both(&by_value(&left, &right, TableJoined::new()), &third), "out", Utf8);
    });
    check("foreign key, of one table", |builder| {
        let left = named(builder, "left", "l");
        let joined = by_value(&left, &left, fk()).materialized(Materialized::named("j", Utf8));
        out(&joined, "out", Utf8);
    });
}

/// Puts a `k` before each value.
struct WithKey;

impl TableTransformer<String, String> for WithKey {
    type Out = String;

    fn transform(
        &mut self,
        key: &String,
        value: Option<&String>,
        _: &mut ProcessorContext<'_, '_, (), ()>,
    ) -> Result<Option<String>> {
        Ok(value.map(|value| format!("{key}{value}")))
    }
}

#[test]
fn tables_that_are_not_kept_are_looked_up_where_kafka_streams_looks() {
    check("transformed table joined", |builder| {
        let left = named(builder, "left", "l").transform_values(|| WithKey, &[]);
        out(&both(&left, &named(builder, "right", "r")), "out", Utf8);
    });
    check("suppressed", |builder| {
        out(&table(builder, "t").suppress(second()), "out", Utf8);
    });
    check("suppressed table joined", |builder| {
        let left = named(builder, "left", "l").suppress(second().named("sup"));
        out(&both(&left, &named(builder, "right", "r")), "out", Utf8);
    });
    check("suppressed filter regrouped", |builder| {
        let table = table(builder, "t").filter(|_, _| true).suppress(second());
        let grouped =
            table.group_by(|_, value| (value.clone(), value.clone()), Grouped::with(Utf8, Utf8));
        out(&grouped.count(Materialized::with(I64)), "out", I64);
    });
    check("stream with derived table", |builder| {
        let left = shout(&table(builder, "left"));
        stream(builder, "s")
            .join(&left, |_, x, y: &String| format!("{x}{y}"), Joined::new())
            .to("out", Produced::with(Utf8, Utf8));
    });
}

#[test]
fn aggregates_and_repartitionings_are_named_as_in_kafka_streams() {
    check("final windows", |builder| {
        stream(builder, "s")
            .group_by_key(Grouped::with(Utf8, Utf8))
            .windowed_by(TimeWindows::of(Duration::from_secs(5)))
            .count(Materialized::with(I64))
            .suppress(Suppressed::until_window_closes(BufferConfig::unbounded()))
            .to_stream()
            .map(|window, count| (window.key.clone(), format!("{count:?}")))
            .to("out", Produced::with(Utf8, Utf8));
    });
    check("repartitioned", |builder| {
        let reduced = by_own_value(&stream(builder, "s"))
            .repartition(Repartitioned::with(Utf8, Utf8))
            .group_by_key(Grouped::with(Utf8, Utf8))
            .reduce(|x, y| Some(format!("{x}{y}")), Materialized::with(Utf8));
        out(&reduced, "out", Utf8);
    });
    check("cogrouped", |builder| {
        let grouped = Grouped::with(Utf8, Utf8);
        let a = by_own_value(&stream(builder, "a")).group_by_key(grouped.clone());
        let b = stream(builder, "b").group_by_key(grouped);
        let add = |_: &String, value: &String, all: String| Some(all + value);
        let all = a.cogroup(add).cogroup(&b, add);
        out(&all.aggregate(String::new, Materialized::with(Utf8)), "out", Utf8);
    });
    check("rekeyed to table", |builder| {
        let moves = builder.stream("s", Consumed::with(Utf8, Nullable(Utf8)));
        let rekeyed = moves
            .select_key(|_, value: &Option<String>| value.clone().unwrap_or_default())
            .with_serdes(Utf8, Nullable(Utf8));
        out(&rekeyed.to_table(Materialized::with(Utf8)), "out", Utf8);
    });
}

#[test]
fn joins_of_streams_are_named_as_in_kafka_streams() {
    let second = JoinWindows::of(Duration::from_secs(1));
    check("rekeyed streams joined twice", |builder| {
        let x = by_own_value(&stream(builder, "a"));
        let y = by_own_value(&stream(builder, "b"));
        let joined = || StreamJoined::with(Utf8, Utf8, Utf8);
        let inner = x.join_stream(&y, |_, x, y| format!("{x}{y}"), second, joined());
        inner.to("out", Produced::with(Utf8, Utf8));
        let left = x.left_join_stream(&y, |_, x, y| format!("{x}{y:?}"), second, joined());
        left.to("out2", Produced::with(Utf8, Utf8));
    });
    check("rekeyed stream with table", |builder| {
        let prices = table(builder, "t");
        by_own_value(&stream(builder, "a"))
            .join(&prices, |_, x, y: &String| format!("{x}{y}"), Joined::with(Utf8, Utf8))
            .to("out", Produced::with(Utf8, Utf8));
    });
    check("global table", |builder| {
        let global =
            builder.global_table("g", Consumed::with(Utf8, Utf8), Materialized::with(Utf8));
        stream(builder, "a")
            .join_global(&global, |_, value| Some(value.clone()), |_, x, y| format!("{x}{y}"))
            .to("out", Produced::with(Utf8, Utf8));
    });
}
