//! Each workload as a topology.

use std::time::Duration;

use compact_str::CompactString;
use tidemill::exchange::{MatchEngine, Order, OrderJson, Text};
use tidemill::prelude::*;

use crate::matching::{BOOKS, Event, EventJson, Match};
use crate::order::{Asset, ResultJson, WithAsset, WithNotional};

/// Where a workload reads and writes.
pub struct Topics {
    /// `ORDERS_TOPIC`
    pub orders: String,
    /// `ASSETS_TOPIC`
    pub assets: String,
    /// `OUT_TOPIC`
    pub out: String,
    /// `TRADES_TOPIC`
    pub trades: String,
    /// `UPDATES_TOPIC`
    pub updates: String,
}

/// The topology of a workload; `None` if there is none of that name.
pub fn topology(workload: &str, topics: &Topics) -> Option<Result<Topology>> {
    let builder = StreamsBuilder::new();
    match workload {
        "passthrough" => passthrough(&builder, topics),
        "count" => count(&builder, topics, true),
        "count_nocache" => count(&builder, topics, false),
        "join" => join(&builder, topics),
        "window" => window(&builder, topics),
        "match" => matching(&builder, topics),
        _ => return None,
    }
    Some(builder.build())
}

fn orders(builder: &StreamsBuilder, topics: &Topics) -> KStream<CompactString, Order> {
    builder.stream(&topics.orders, Consumed::with(Text, OrderJson))
}

fn passthrough(builder: &StreamsBuilder, topics: &Topics) {
    orders(builder, topics)
        .filter(|_, order| order.shares > 0)
        .map_values(WithNotional::new)
        .to(&topics.out, Produced::with(Text, ResultJson));
}

fn count(builder: &StreamsBuilder, topics: &Topics, caching: bool) {
    orders(builder, topics)
        .map(|_, order| (order.investor_id.clone().unwrap_or_default(), Vec::new()))
        .group_by_key(Grouped::with(Text, Bytes).named("by-investor"))
        .count(Materialized::named("count-by-investor", I64).caching(caching))
        .to_stream()
        .to(&topics.out, Produced::with(Text, Nullable(I64)));
}

fn join(builder: &StreamsBuilder, topics: &Topics) {
    let assets: KTable<CompactString, Asset> = builder.table(
        &topics.assets,
        Consumed::with(Text, Json::new()),
        Materialized::named("assets", Json::new()),
    );
    orders(builder, topics)
        .join(&assets, |_, order, asset| WithAsset::new(order, asset), Joined::new())
        .to(&topics.out, Produced::with(Text, ResultJson));
}

fn window(builder: &StreamsBuilder, topics: &Topics) {
    let second = Duration::from_secs(1);
    orders(builder, topics)
        .group_by_key(Grouped::with(Text, OrderJson))
        .windowed_by(TimeWindows::of(second))
        .count(Materialized::named("count-by-second", I64).caching(true))
        .to_stream()
        .to(&topics.out, Produced::with(TimeWindowed::new(Text, 1_000), Nullable(I64)));
}

fn matching(builder: &StreamsBuilder, topics: &Topics) {
    builder.add_state_store(MatchEngine::store(BOOKS));
    let events = orders(builder, topics).process(Match::new, &[BOOKS]);
    let events_to = |topic| Produced::with(Text, EventJson).named(topic);
    events
        .filter(|_, event| matches!(event, Event::Trade(_)))
        .to(&topics.trades, events_to("trades"));
    events
        .filter(|_, event| matches!(event, Event::Update(_)))
        .to(&topics.updates, events_to("updates"));
}
