//! Names of nodes, stores and topics: the description of a topology beside Kafka Streams' own.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tidemill::prelude::*;
use tidemill_topology::graph::{InternalTopicKind, NodeRole};

/// What differs in one file.
pub fn check(text: &str) -> Vec<String> {
    let file: Value = match serde_json::from_str(text) {
        Ok(file) => file,
        Err(error) => return vec![format!("is no JSON: {error}")],
    };
    let name = file["name"].as_str().unwrap_or_default();
    let builder = StreamsBuilder::new();
    match name.trim_end_matches("_optimized") {
        "enrich_and_count" => enrich_and_count(&builder),
        "two_aggregates" => two_aggregates(&builder),
        "stream_join_windowed_count" => stream_join_windowed_count(&builder),
        "unnamed" => unnamed(&builder),
        "table_join_regroup" => table_join_regroup(&builder),
        "foreign_key_join" => foreign_key_join(&builder),
        "global_and_processor" => global_and_processor(&builder),
        "independent_subtopologies" => independent_subtopologies(&builder),
        _ => return vec![format!("unknown topology {name}")],
    }
    let optimization = match file["topology_optimization"].as_str() {
        Some("all") => Optimization::ALL,
        _ => Optimization::NONE,
    };
    match builder.build_optimized(optimization) {
        Ok(topology) => differences(&file, &topology),
        Err(error) => vec![error.to_string()],
    }
}

fn differences(file: &Value, topology: &Topology) -> Vec<String> {
    let description = topology.describe();
    let mut problems = Vec::new();
    let (want, got) = (file["describe"].as_str().unwrap_or_default(), description.to_string());
    let line =
        want.lines().map(in_order).zip(got.lines().map(in_order)).find(|(want, got)| want != got);
    if let Some((want, got)) = line {
        problems.push(format!("the text says {got:?}, not {want:?}\n{description}"));
    } else if want.lines().count() != got.lines().count() {
        problems.push(format!(
            "the text has {} lines, not {}",
            got.lines().count(),
            want.lines().count()
        ));
    }
    let empty = Vec::new();
    let subtopologies = file["subtopologies"].as_array().unwrap_or(&empty);
    if subtopologies.len() != topology.subtopologies().len() {
        problems.push(format!(
            "{} subtopologies, not {}",
            topology.subtopologies().len(),
            subtopologies.len()
        ));
    }
    for (want, subtopology) in subtopologies.iter().zip(topology.subtopologies()) {
        let id = want["id"].as_u64().unwrap_or_default();
        if u64::from(subtopology.id.0) != id {
            problems.push(format!("subtopology {id} has the number {}", subtopology.id.0));
        }
        let stores: Vec<String> =
            topology.stores(subtopology).into_iter().map(|store| store.name).collect();
        if sorted(stores.clone()) != want["stores"] {
            problems.push(format!(
                "subtopology {id} has the stores {stores:?}, not {}",
                want["stores"]
            ));
        }
        let topics = topics(topology, subtopology.id.0);
        for (kind, topics) in topics {
            if topics != want["topics"][kind] {
                problems.push(format!(
                    "subtopology {id}: {kind} {topics}, not {}",
                    want["topics"][kind]
                ));
            }
        }
    }
    problems
}

/// A line whose lists are sorted: their order is an accident of Java's hash sets.
fn in_order(line: &str) -> String {
    let mut words: Vec<&str> =
        line.split(|c: char| " ,[]()".contains(c)).filter(|word| !word.is_empty()).collect();
    words.sort_unstable();
    words.join(" ")
}

fn sorted(mut names: Vec<String>) -> Value {
    names.sort();
    names.dedup();
    json!(names)
}

/// The topics of a subtopology as the files list them.
fn topics(topology: &Topology, id: u32) -> BTreeMap<&'static str, Value> {
    let subtopology = topology.subtopology(SubtopologyId(id)).expect("one of the topology's own");
    let full = |name: &str, internal: bool| {
        if internal { format!("golden-{name}") } else { name.to_owned() }
    };
    let sources =
        subtopology.sources.iter().map(|topic| full(&topic.name, topic.internal)).collect();
    let internal_names: Vec<String> =
        topology.repartition_topics().map(|topic| topic.name.to_string()).collect();
    let sinks = topology
        .describe()
        .subtopologies
        .into_iter()
        .filter(|description| description.id == id)
        .flat_map(|description| description.nodes)
        .filter(|node| node.kind == NodeRole::Sink)
        .flat_map(|node| node.topics)
        .map(|name| full(&name, internal_names.contains(&name)))
        .collect();
    let (mut repartition, mut changelogs) = (json!({}), json!({}));
    for topic in topology.internal_topics(subtopology) {
        let mut config = json!(topic.config);
        let list = match topic.kind {
            InternalTopicKind::Repartition => {
                let declared =
                    topology.repartition_topics().find(|declared| declared.name == topic.name);
                if let Some(partitions) = declared.and_then(|declared| declared.partitions) {
                    config["(partitions)"] = json!(partitions);
                }
                &mut repartition
            }
            InternalTopicKind::Changelog => &mut changelogs,
        };
        list[full(&topic.name, true)] = config;
    }
    for store in topology.stores(subtopology) {
        if let Some(source) = store.changelog_source {
            changelogs[source] =
                json!({"cleanup.policy": "compact", "message.timestamp.type": "CreateTime"});
        }
    }
    BTreeMap::from([
        ("source_topics", sorted(sources)),
        ("sink_topics", sorted(sinks)),
        ("repartition_topics", repartition),
        ("changelog_topics", changelogs),
    ])
}

fn texts() -> Consumed<String, String> {
    Consumed::with(Utf8, Utf8)
}

fn grouped() -> Grouped<String, String> {
    Grouped::with(Utf8, Utf8)
}

fn counts() -> Produced<String, Option<i64>> {
    Produced::with(Utf8, Nullable(I64))
}

fn kept(name: &str) -> Materialized<String> {
    Materialized::named(name, Utf8)
}

fn both(left: &str, right: Option<&String>) -> String {
    format!("{left}{}", right.map_or("", String::as_str))
}

fn enrich_and_count(builder: &StreamsBuilder) {
    let orders = builder.stream("orders", texts()).select_key(|_, v| v.clone());
    let customers = builder.table("customers", texts(), kept("customers-store"));
    orders
        .join(&customers, |_, l, r| both(l, Some(r)), Joined::with(Utf8, Utf8).named("enrich"))
        .group_by_key(grouped())
        .count(Materialized::named("per-customer", I64))
        .to_stream()
        .to("counts", counts());
}

fn two_aggregates(builder: &StreamsBuilder) {
    let x = builder.stream("in", texts()).select_key(|_, v| v.clone());
    x.group_by_key(grouped())
        .count(Materialized::named("c1", I64))
        .to_stream()
        .to("out1", counts());
    x.group_by_key(grouped())
        .windowed_by(TimeWindows::of(Duration::from_secs(60)).grace(Duration::from_secs(10)))
        .count(Materialized::named("c2", I64))
        .to_stream_by(|w, _| w.key.clone())
        .to("out2", counts());
}

fn stream_join_windowed_count(builder: &StreamsBuilder) {
    let left = builder.stream("left", texts());
    let right = builder.stream("right", texts()).map(|k, v| (v.clone(), k.clone()));
    left.left_join_stream(
        &right,
        |_, l, r| both(l, r),
        JoinWindows::of(Duration::from_secs(5)).grace(Duration::from_secs(1)),
        StreamJoined::with(Utf8, Utf8, Utf8).named("pair").store_name("pair-store"),
    )
    .group_by(|_, v| v.clone(), grouped().named("by-value"))
    .windowed_by(TimeWindows::of(Duration::from_secs(60)))
    .count(Materialized::named("windowed", I64))
    .suppress(Suppressed::until_window_closes(BufferConfig::unbounded()).named("final"))
    .to_stream_by(|w, _| w.key.clone())
    .to("out", counts());
}

fn unnamed(builder: &StreamsBuilder) {
    let a = builder.stream("a", texts()).filter(|_, v| !v.is_empty()).map_values(String::clone);
    let b = builder.stream("b", texts());
    a.outer_join_stream(
        &b,
        |_, l, r| both(l.map_or("", String::as_str), r),
        JoinWindows::of(Duration::from_secs(5)),
        StreamJoined::with(Utf8, Utf8, Utf8),
    )
    .group_by(|_, v| v.clone(), grouped())
    .count(Materialized::with(I64))
    .to_stream()
    .to("out", counts());
    builder
        .table("t", texts(), Materialized::with(Utf8))
        .filter(|_, v| !v.is_empty())
        .to_stream()
        .to("out2", Produced::with(Utf8, Nullable(Utf8)));
}

fn table_join_regroup(builder: &StreamsBuilder) {
    let t = builder.table("t", texts(), kept("t-store"));
    let u = builder.table("u", texts(), kept("u-store"));
    t.join(&u, |_, l, r| both(l, Some(r)), TableJoined::new().named("tt"))
        .materialized(kept("joined"))
        .group_by(|_, v| (v.clone(), v.clone()), grouped().named("regroup"))
        .reduce(|_, new| Some(new.clone()), |so_far, _| Some(so_far.clone()), kept("reduced"))
        .to_stream()
        .to("out", Produced::with(Utf8, Nullable(Utf8)));
}

fn foreign_key_join(builder: &StreamsBuilder) {
    let orders = builder.table("orders", texts(), kept("orders-store"));
    let customers = builder.table("customers", texts(), kept("customers-store"));
    orders
        .left_join_by_foreign_key(
            &customers,
            |_, v| Some(v.clone()),
            |_, l, r| both(l, r),
            TableJoined::new().named("fk"),
        )
        .materialized(kept("fkj"))
        .to_stream()
        .to("out", Produced::with(Utf8, Nullable(Utf8)));
}

/// Does nothing: a description looks at what surrounds it.
struct Idle;

impl Processor<String, String> for Idle {
    type KeyOut = String;
    type ValueOut = String;

    fn process(
        &mut self,
        _: Record<'_, String, String>,
        _: &mut ProcessorContext<'_, '_, String, String>,
    ) -> Result {
        Ok(())
    }
}

fn global_and_processor(builder: &StreamsBuilder) {
    let assets = builder.global_table("assets", texts(), kept("assets-store"));
    builder.add_global_store(
        Stores::key_value("limits-store", Utf8, Utf8),
        "limits",
        texts(),
        || Idle,
    );
    builder.add_state_store(Stores::key_value("book", Utf8, Utf8));
    let by_asset = |name: &str| Repartitioned::with(Utf8, Utf8).named(name).partitions(6);
    let sink = || Produced::with(Utf8, Utf8);
    builder
        .stream("orders", texts())
        .left_join_global(&assets, |_, v| Some(v.clone()), |_, l, r| both(l, r))
        .repartition(by_asset("by-asset"))
        .process_named(Some("book-keeper"), || Idle, &["book"])
        .split_named("route-")
        .branch_then("trades", |_, v| v.is_empty(), |branch| branch.to("trades", sink()))
        .default_branch_then("rejects", |branch| branch.to("rejects", sink()));
    builder
        .stream("cancels", texts())
        .repartition(by_asset("cancels-by-asset"))
        .process_named(Some("canceller"), || Idle, &["book"])
        .to("trades", sink());
}

fn independent_subtopologies(builder: &StreamsBuilder) {
    builder.stream("a", texts()).to("b-copy", Produced::with(Utf8, Utf8));
    builder
        .stream("c", texts())
        .group_by_key(grouped())
        .count(Materialized::named("cc", I64))
        .to_stream()
        .to("d", counts());
    let e = builder.stream("e", texts());
    let f = builder.table("f", texts(), kept("fv").versioned(Duration::from_secs(3600)));
    e.join(
        &f,
        |_, l, r| both(l, Some(r)),
        Joined::with(Utf8, Utf8).named("ef").grace(Duration::from_secs(10)),
    )
    .to("g", Produced::with(Utf8, Utf8));
}
