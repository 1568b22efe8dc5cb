//! The exchange as a topology: what happens to an order, from its topic to trades, order updates,
//! candles and positions.
//!
//! ```text
//! orders -> identify -> orders-by-asset -> judge (left join assets) -> [resent] -> order-kind
//!   order-kind: rejected            -> refuse -> order-updates
//!               new cancel replace  -> match  -> order-updates, trades
//! trades -> candles (a window and asset)
//!        -> positions-by-holder -> positions (an investor and asset)
//! ```
//!
//! Both checks, of the order by itself and against its asset, stand behind the repartition topic:
//! so all updates of an order come out of one task, in the order of its commands. `resent` is there
//! where `exchange.dedupe_window` is set.

use std::sync::Arc;

use compact_str::CompactString;
use tidemill_topology::node::SinkTopic;
use tidemill_topology::prelude::*;

use super::asset::Asset;
use super::candle::{Candle, Ohlcv};
use super::engine::MatchEngine;
use super::identify::IdentifyOrders;
use super::judge::{JudgedOrder, RefuseOrders};
use super::match_orders::{MatchEvent, MatchOrders};
use super::matching::{ReplaceKeepsPlace, Rules, SelfTrade};
use super::order::{Action, Order};
use super::position::{Holding, Position, PositionChange, Turnover};
use super::refuse_resent::{ORDER_IDS, RefuseResent};
use super::serdes::{OrderJson, OrderLayout, Text};
use super::tally::MetricsSlot;
use super::trade::Trade;
use super::update::OrderUpdate;
use crate::config::{ExchangeConfig, SelfTrade as SelfTradeSetting};

/// The store of resting orders, in the layout of [`store_format`](super::store_format).
pub const BOOKS: &str = "books";

/// Orders by the asset that they name.
type Orders = KStream<CompactString, Order>;
/// Trades by asset.
type Trades = KStream<CompactString, Trade>;

/// Builds the exchange. What it counts goes into `metrics`.
///
/// # Errors
/// When the topics' names in `config` contradict each other.
pub fn exchange_topology(config: &ExchangeConfig, metrics: &MetricsSlot) -> Result<Topology> {
    let builder = StreamsBuilder::new();
    builder.add_state_store(MatchEngine::store(BOOKS));
    let judged = judge(&builder, &orders_by_asset(&builder, config), config);
    let judged = refuse_resent(&builder, judged, config);
    let (trades, updates) = match_orders(&judged, config, metrics);
    let topics = &config.topics;
    updates.to(
        &topics.order_updates,
        Produced::with(Text, Json::<OrderUpdate>::new()).named("order-updates-sink"),
    );
    trades.to(&topics.trades, Produced::with(Text, Json::<Trade>::new()).named("trades-sink"));
    candles(&trades, config);
    positions(&trades, config);
    builder.build()
}

/// What happens to records that cannot be read, processed or written: an order that cannot be
/// decoded goes to the dead-letter topic, and the exchange goes on. `others` says what happens to
/// a result that cannot be written.
#[must_use]
pub fn exchange_handlers(config: &ExchangeConfig, others: &Handlers) -> Handlers {
    Handlers {
        production: Arc::clone(&others.production),
        dead_letter_topic: Some(SinkTopic {
            name: config.topics.orders_dlq.as_str().into(),
            internal: false,
        }),
        ..Handlers::all(HandlerDecision::Continue)
    }
}

/// Decodes orders, names those without an id, and brings those of an asset into one task.
fn orders_by_asset(builder: &StreamsBuilder, config: &ExchangeConfig) -> Orders {
    let topic = &config.topics.orders;
    if config.orders_keyed {
        return builder
            .stream(topic, Consumed::with(Text, OrderJson).named("orders-source"))
            .process_values_named(Some("identify"), || IdentifyOrders, &[]);
    }
    let mut by_asset = Repartitioned::with(Text, OrderLayout).named("orders-by-asset");
    if let Some(partitions) = config.repartition_partitions {
        by_asset = by_asset.partitions(i32::try_from(partitions).unwrap_or(i32::MAX));
    }
    builder
        .stream(topic, Consumed::with(Ignored, OrderJson).named("orders-source"))
        .process_named(Some("identify"), || IdentifyOrders, &[])
        .repartition(by_asset)
}

/// Checks each order, with the reference data of its asset.
fn judge(
    builder: &StreamsBuilder,
    orders: &Orders,
    config: &ExchangeConfig,
) -> KStream<CompactString, JudgedOrder> {
    let assets = builder.table(
        &config.topics.assets,
        Consumed::with(Text, Json::<Asset>::new()).named("assets-source"),
        Materialized::named("assets", Json::<Asset>::new()),
    );
    let require_listed = config.require_listed;
    orders.left_join(
        &assets,
        move |_, order, asset| JudgedOrder::new(order, asset, require_listed),
        Joined::new().named("judge"),
    )
}

/// Refuses orders whose ids came before, where the exchange remembers them.
fn refuse_resent(
    builder: &StreamsBuilder,
    judged: KStream<CompactString, JudgedOrder>,
    config: &ExchangeConfig,
) -> KStream<CompactString, JudgedOrder> {
    let Some(window) = config.dedupe_window else { return judged };
    builder.add_state_store(RefuseResent::store(window));
    judged.process_values_named(Some("resent"), move || RefuseResent::new(window), &[ORDER_IDS])
}

/// Splits orders by what they ask for, and matches those that passed their checks.
fn match_orders(
    judged: &KStream<CompactString, JudgedOrder>,
    config: &ExchangeConfig,
    metrics: &MetricsSlot,
) -> (Trades, KStream<CompactString, OrderUpdate>) {
    let kinds = judged
        .split_named("order-kind-")
        .branch("new", |_, judged| judged.is_sound(Action::New))
        .branch("cancel", |_, judged| judged.is_sound(Action::Cancel))
        .branch("replace", |_, judged| judged.is_sound(Action::Replace))
        .default_branch("rejected");
    let [metrics, counted] = [metrics, metrics].map(Arc::clone);
    let refused = kinds["rejected"].process_values_named(
        Some("refuse"),
        move || RefuseOrders::new(Arc::clone(&counted)),
        &[],
    );
    let rules = rules(config);
    // They meet again here because they act on the same books, in the order of their records.
    let events =
        kinds["new"].merge(&kinds["cancel"]).merge(&kinds["replace"]).process_values_named(
            Some("match"),
            move || MatchOrders::new(BOOKS, rules, Arc::clone(&metrics)),
            &[BOOKS],
        );
    let trades = events.flat_map_values(MatchEvent::trade).with_serdes(Text, Json::<Trade>::new());
    let updates = events.flat_map_values(MatchEvent::update).merge(&refused);
    (trades, updates)
}

fn rules(config: &ExchangeConfig) -> Rules {
    Rules {
        self_trade: match config.self_trade {
            SelfTradeSetting::Allow => SelfTrade::Allow,
            SelfTradeSetting::CancelNewest => SelfTrade::CancelNewest,
        },
        replace_keeps_place: ReplaceKeepsPlace::default(),
    }
}

/// Sums trades up by asset and window; what changed goes out with each commit.
fn candles(trades: &Trades, config: &ExchangeConfig) {
    let windows = TimeWindows::of(config.candle_window).grace(config.candle_grace);
    trades
        .group_by_key(Grouped::with(Text, Json::<Trade>::new()))
        .windowed_by(windows)
        .aggregate(
            Ohlcv::default,
            |_, trade, mut sums| {
                sums.add(trade);
                Some(sums)
            },
            Materialized::named("candles", Json::<Ohlcv>::new()).caching(true),
        )
        .to_stream()
        .flat_map(|windowed, sums| {
            let window = windowed.window;
            let (start, end) = (window.start.millis(), window.end.millis());
            let candle = |sums: &Ohlcv| Candle::new(&windowed.key, start, end, sums);
            sums.as_ref().map(|sums| (windowed.key.clone(), candle(sums)))
        })
        .to(
            &config.topics.candles,
            Produced::with(Text, Json::<Candle>::new()).named("candles-sink"),
        );
}

/// Sums trades up by investor and asset; what changed goes out with each commit.
fn positions(trades: &Trades, config: &ExchangeConfig) {
    trades
        .flat_map(|_, trade| PositionChange::of(trade))
        .group_by_key(
            Grouped::with(Json::<Holding>::new(), Json::<PositionChange>::new())
                .named("positions-by-holder"),
        )
        .aggregate(
            Turnover::default,
            |_, change, mut sums| {
                sums.add(change);
                Some(sums)
            },
            Materialized::named("positions", Json::<Turnover>::new()).caching(true),
        )
        .to_stream()
        .map_values_with_key(|holding, sums| sums.as_ref().map(|sums| Position::new(holding, sums)))
        .to(
            &config.topics.positions,
            Produced::with(Json::<Holding>::new(), Nullable(Json::<Position>::new()))
                .named("positions-sink"),
        );
}
