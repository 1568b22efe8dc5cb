//! The exchange as a topology: what each order, good or bad, comes to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use compact_str::CompactString;
use serde_json::{Value, json};
use tidemill::config::Config;
use tidemill::driver::{InputRecord, OutputRecord, TopologyTestDriver};
use tidemill::exchange::{
    AssetDepth, BOOKS, BookSummary, ExchangeCounts, MetricsSlot, ORDER_IDS, exchange_handlers,
    exchange_topology,
};
use tidemill::prelude::*;

const MARI: &str = r#"{"order_id":"1","investor_id":"Mari","asset_id":"asset1","current_shared":10,"shares":5,"price":5.0,"order_type":"SELL"}"#;
const CELIA: &str = r#"{"investor_id":"Celia","asset_id":"asset1","current_shared":0,"shares":5,"price":5.0,"order_type":"BUY"}"#;

/// The exchange, and what is piped into it.
struct Exchange {
    driver: TopologyTestDriver,
    time: i64,
}

fn config(settings: &str) -> Config {
    let text = format!("application.id = 'x'\nbootstrap.servers = 'none'\n{settings}");
    Config::from_toml("test.toml", &text).unwrap()
}

impl Exchange {
    fn new() -> Self {
        Self::with("", &MetricsSlot::default(), false)
    }

    fn with(settings: &str, metrics: &MetricsSlot, manual_commits: bool) -> Self {
        let config = config(settings);
        let topology = exchange_topology(&config.exchange, metrics).unwrap();
        let builder = TopologyTestDriver::builder()
            .handlers(exchange_handlers(&config.exchange, &Handlers::default()));
        let builder = if manual_commits { builder.manual_commits() } else { builder };
        Self { driver: builder.start(&topology).unwrap(), time: 1_000 }
    }

    fn pipe(&mut self, topic: &str, key: Option<&str>, value: Option<&[u8]>) {
        self.time += 1;
        let record = InputRecord {
            key: key.map(str::as_bytes),
            value,
            timestamp: Timestamp::new(self.time),
            headers: Headers::none(),
        };
        self.driver.pipe_bytes(topic, &record).unwrap();
    }

    fn order(&mut self, json: &str) {
        self.pipe("orders", None, Some(json.as_bytes()));
    }

    fn asset(&mut self, asset_id: &str, json: &str) {
        self.pipe("assets", Some(asset_id), Some(json.as_bytes()));
    }

    /// Everything that came out since the last call, as JSON by topic.
    fn take(&self) -> BTreeMap<String, Vec<Value>> {
        let mut topics: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for record in self.driver.take_outputs() {
            let value = record.value.as_deref().map(|value| serde_json::from_slice(value).unwrap());
            topics.entry(record.topic.to_string()).or_default().push(value.unwrap_or_default());
        }
        topics
    }

    /// Pipes an order and gives its own update, which is the last, as `STATUS` or `STATUS REASON`.
    fn outcome(&mut self, json: &str) -> String {
        self.order(json);
        let mut outputs = self.take();
        let update = outputs.remove("order-updates").and_then(|mut updates| updates.pop());
        let update = update.unwrap_or_else(|| panic!("no update of {json}: {outputs:?}"));
        match &update["reason"] {
            Value::Null => update["status"].as_str().unwrap().to_owned(),
            reason => {
                format!("{} {}", update["status"].as_str().unwrap(), reason.as_str().unwrap())
            }
        }
    }

    fn dead_letters(&self) -> Vec<OutputRecord> {
        let outputs = self.driver.take_outputs();
        assert!(outputs.iter().all(|record| *record.topic == *"orders-dlq"), "{outputs:?}");
        outputs
    }

    fn depth(&self, asset_id: &str) -> Value {
        let entries = self.driver.entries::<Vec<u8>, Vec<u8>>(BOOKS).unwrap();
        let entries = entries.into_iter().map(|entry| (entry.key, entry.value));
        serde_json::to_value(AssetDepth::read(asset_id, 10, entries).unwrap()).unwrap()
    }
}

/// A limit order, with some of its fields changed.
fn order(order_id: &str, changes: &Value) -> String {
    let mut order = json!({
        "order_id": order_id, "investor_id": "Mari", "asset_id": "asset1", "current_shares": 1000,
        "shares": 5, "price": 5.0, "order_type": "SELL",
    });
    for (field, value) in changes.as_object().unwrap() {
        order[field] = value.clone();
    }
    order.to_string()
}

#[test]
fn two_orders_that_meet_make_one_trade_and_are_filled() {
    let mut exchange = Exchange::new();
    exchange.order(MARI);
    exchange.order(CELIA);
    let outputs = exchange.take();
    let trade = json!({
        "trade_id": "asset1-1", "asset_id": "asset1", "price": 5.0, "shares": 5,
        "buyer_id": "Celia", "seller_id": "Mari", "buy_order_id": "orders-0-1", "sell_order_id": "1",
        "maker_order_id": "1", "taker_order_id": "orders-0-1", "taker_side": "BUY", "timestamp": 1_002,
    });
    assert_eq!(outputs["trades"], [trade]);
    let updates: Vec<_> = outputs["order-updates"]
        .iter()
        .map(|update| {
            (
                &update["order_id"],
                &update["status"],
                &update["open_shares"],
                &update["filled_shares"],
            )
        })
        .map(|(id, status, open, filled)| format!("{id} {status} {open} {filled}"))
        .collect();
    let expected =
        ["\"1\" \"ACCEPTED\" 5 0", "\"1\" \"FILLED\" 0 5", "\"orders-0-1\" \"FILLED\" 0 5"];
    assert_eq!(updates, expected);
    assert!(!outputs.contains_key("orders-dlq"));
    assert_eq!(exchange.depth("asset1")["asks"], json!([]));
}

#[test]
fn every_reason_that_needs_no_book_is_told() {
    let mut exchange = Exchange::new();
    exchange.asset("halted", r#"{"asset_id":"halted","status":"HALTED"}"#);
    exchange.asset("ticks", r#"{"asset_id":"ticks","tick_size":0.25,"lot_size":10}"#);
    for (changes, expected) in [
        (json!({"shares": 0}), "REJECTED NON_POSITIVE_SHARES"),
        (json!({"shares": -5}), "REJECTED NON_POSITIVE_SHARES"),
        (json!({"price": 0}), "REJECTED NON_POSITIVE_PRICE"),
        (json!({"price": -1.5}), "REJECTED NON_POSITIVE_PRICE"),
        (json!({"price": null}), "REJECTED NON_POSITIVE_PRICE"),
        (json!({"shares": 1001}), "REJECTED INSUFFICIENT_SHARES"),
        (json!({"price": 5.00005}), "REJECTED OFF_TICK"),
        (json!({"asset_id": "ticks", "price": 5.1, "shares": 10}), "REJECTED OFF_TICK"),
        (json!({"asset_id": "ticks", "price": 5.25}), "REJECTED OFF_LOT"),
        (json!({"asset_id": "halted"}), "REJECTED HALTED"),
        (json!({"asset_id": "ticks", "price": 5.25, "shares": 10}), "ACCEPTED"),
    ] {
        assert_eq!(exchange.outcome(&order("1", &changes)), expected, "{changes}");
    }
}

#[test]
fn every_reason_that_the_book_has_is_told() {
    let mut exchange = Exchange::new();
    assert_eq!(exchange.outcome(&order("1", &json!({}))), "ACCEPTED");
    let buy = |changes: Value| {
        let mut all = json!({"order_type": "BUY", "investor_id": "Celia"});
        all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        all
    };
    for (order_id, changes, expected) in [
        ("1", json!({}), "REJECTED DUPLICATE_ORDER_ID"),
        ("9", json!({"action": "CANCEL"}), "REJECTED UNKNOWN_ORDER"),
        ("9", json!({"action": "REPLACE"}), "REJECTED UNKNOWN_ORDER"),
        ("1", json!({"action": "CANCEL", "investor_id": "Celia"}), "REJECTED NOT_OWNER"),
        ("1", json!({"action": "REPLACE", "order_type": "BUY"}), "REJECTED SIDE_MISMATCH"),
        ("2", buy(json!({"shares": 6, "time_in_force": "FOK"})), "CANCELLED FOK_UNFILLED"),
        ("1", json!({"action": "REPLACE", "shares": 4}), "REPLACED"),
        ("3", buy(json!({"shares": 6, "time_in_force": "IOC"})), "CANCELLED IOC_REMAINDER"),
        ("4", buy(json!({"kind": "MARKET", "price": null})), "CANCELLED NO_LIQUIDITY"),
        ("5", buy(json!({})), "ACCEPTED"),
        ("5", json!({"action": "CANCEL", "investor_id": null}), "CANCELLED"),
    ] {
        assert_eq!(exchange.outcome(&order(order_id, &changes)), expected, "{order_id} {changes}");
    }
}

#[test]
fn settings_decide_who_may_trade() {
    let metrics = MetricsSlot::default();
    let mut listed = Exchange::with("exchange.require_listed = true", &metrics, false);
    assert_eq!(listed.outcome(MARI), "REJECTED UNLISTED");
    listed.asset("asset1", r#"{"asset_id":"asset1"}"#);
    assert_eq!(listed.outcome(MARI), "ACCEPTED");
    listed.pipe("assets", Some("asset1"), None);
    assert_eq!(listed.outcome(CELIA), "REJECTED UNLISTED");

    let mut alone = Exchange::with("exchange.self_trade = 'cancel_newest'", &metrics, false);
    assert_eq!(alone.outcome(MARI), "ACCEPTED");
    assert_eq!(alone.outcome(&order("2", &json!({"order_type": "BUY"}))), "CANCELLED SELF_TRADE");
}

/// An exchange that remembers ids for ten seconds.
fn remembering() -> Exchange {
    Exchange::with("exchange.dedupe_window = 10000", &MetricsSlot::default(), false)
}

const BUY: &str = r#"{"order_id":"b","investor_id":"Celia","asset_id":"asset1","current_shares":0,"shares":5,"price":5.0,"order_type":"BUY"}"#;

#[test]
fn an_order_sent_again_is_refused_even_after_it_closed() {
    let mut exchange = remembering();
    let resent = order("1", &json!({}));
    assert_eq!(exchange.outcome(&resent), "ACCEPTED");
    assert_eq!(exchange.outcome(&resent), "REJECTED DUPLICATE_ORDER_ID");
    assert_eq!(exchange.outcome(BUY), "FILLED");
    assert_eq!(exchange.outcome(&resent), "REJECTED DUPLICATE_ORDER_ID");
    assert_eq!(exchange.outcome(BUY), "REJECTED DUPLICATE_ORDER_ID");
    assert_eq!(exchange.depth("asset1")["asks"], json!([]));
    // A cancel says the id again and is no order sent again.
    assert_eq!(exchange.outcome(&order("2", &json!({}))), "ACCEPTED");
    assert_eq!(exchange.outcome(&order("2", &json!({"action": "CANCEL"}))), "CANCELLED");
    assert_eq!(exchange.outcome(&order("2", &json!({}))), "REJECTED DUPLICATE_ORDER_ID");
}

#[test]
fn without_a_window_an_id_is_free_once_its_order_closed() {
    let mut exchange = Exchange::new();
    assert_eq!(exchange.outcome(&order("1", &json!({}))), "ACCEPTED");
    assert_eq!(exchange.outcome(BUY), "FILLED");
    assert_eq!(exchange.outcome(&order("1", &json!({}))), "ACCEPTED");
}

#[test]
fn an_id_is_remembered_by_its_asset_and_only_from_an_order_that_passed_its_checks() {
    let mut exchange = remembering();
    let wrong = order("1", &json!({"shares": 0}));
    assert_eq!(exchange.outcome(&wrong), "REJECTED NON_POSITIVE_SHARES");
    assert_eq!(exchange.outcome(&order("1", &json!({}))), "ACCEPTED");
    assert_eq!(exchange.outcome(&order("1", &json!({"asset_id": "asset2"}))), "ACCEPTED");
    // The same letters, divided otherwise.
    assert_eq!(exchange.outcome(&order("21", &json!({"asset_id": "asset"}))), "ACCEPTED");
}

#[test]
fn an_id_is_forgotten_when_stream_time_has_passed_its_window_and_not_before() {
    let mut exchange = remembering();
    let resent = order("1", &json!({"time_in_force": "IOC"}));
    assert_eq!(exchange.outcome(&resent), "CANCELLED IOC_REMAINDER");
    let first = exchange.time;
    // Refusals do not make the window longer.
    for later in [5_000, 9_998] {
        exchange.time = first + later;
        assert_eq!(exchange.outcome(&resent), "REJECTED DUPLICATE_ORDER_ID", "{later} ms later");
    }
    assert_eq!(exchange.time, first + 9_999);
    assert_eq!(exchange.outcome(&resent), "CANCELLED IOC_REMAINDER");
    // An older timestamp does not turn the time back.
    exchange.time = first;
    assert_eq!(exchange.outcome(&resent), "REJECTED DUPLICATE_ORDER_ID");
}

#[test]
fn the_ids_that_are_kept_are_bounded_by_their_window() {
    let mut exchange = remembering();
    for at in 0..600 {
        exchange.time += 1_000;
        exchange.order(&order(&format!("o{at}"), &json!({"time_in_force": "IOC"})));
    }
    let kept =
        exchange.driver.entries::<CompactString, i64>(ORDER_IDS).map(|entries| entries.len());
    // Those of two windows.
    let kept = kept.unwrap();
    assert!((10..=20).contains(&kept), "{kept} ids of 600");
}

#[test]
fn ids_are_remembered_across_a_crash() {
    let mut exchange =
        Exchange::with("exchange.dedupe_window = 10000", &MetricsSlot::default(), true);
    let resent = order("1", &json!({"time_in_force": "IOC"}));
    exchange.order(&resent);
    exchange.driver.commit().unwrap();
    exchange.take();
    exchange.driver.restart().unwrap();
    exchange.order(&resent);
    exchange.driver.commit().unwrap();
    let updates = &exchange.take()["order-updates"];
    assert_eq!(updates[0]["reason"], "DUPLICATE_ORDER_ID", "{updates:?}");
}

#[test]
fn what_is_no_order_becomes_a_dead_letter_as_it_came_and_nothing_stops() {
    let mut exchange = Exchange::new();
    let million = format!("{{\"x\":\"{}\"", "y".repeat(1 << 20));
    let bad: [Option<&[u8]>; 12] = [
        None,
        Some(b""),
        Some(b"null"),
        Some(b"\xff\xfe{}"),
        Some(&MARI.as_bytes()[..60]),
        Some(br#"{"order_id":1}"#),
        Some(br#"{"order_id":"1","investor_id":"Mari","asset_id":"a","current_shares":1,"shares":1.5,"price":1,"order_type":"SELL"}"#),
        Some(br#"{"order_id":"1","investor_id":"Mari","asset_id":"a","current_shares":-1,"shares":1,"price":1,"order_type":"SELL"}"#),
        Some(br#"{"order_id":"1","investor_id":"Mari","asset_id":"a","current_shares":1,"shares":9223372036854775808,"price":1,"order_type":"SELL"}"#),
        Some(br#"{"order_id":"1","investor_id":"Mari","asset_id":"a","current_shares":1,"shares":1,"price":NaN,"order_type":"SELL"}"#),
        Some(br#"{"order_id":"1","investor_id":"Mari","asset_id":"","current_shares":1,"shares":1,"price":1,"order_type":"SELL"}"#),
        Some(million.as_bytes()),
    ];
    for (offset, value) in bad.into_iter().enumerate() {
        exchange.pipe("orders", Some("k"), value);
        let [letter] = &exchange.dead_letters()[..] else { panic!("one dead letter for {offset}") };
        assert_eq!((letter.key.as_deref(), letter.value.as_deref()), (Some(&b"k"[..]), value));
        let header = |name: &str| {
            let header = letter.headers.last(&format!("__streams.errors.{name}")).unwrap();
            String::from_utf8(header.value.clone().unwrap()).unwrap()
        };
        assert_eq!((header("topic"), header("partition")), ("orders".to_owned(), "0".to_owned()));
        assert_eq!(header("offset"), offset.to_string());
        assert!(!header("message").is_empty() && !header("exception").is_empty());
    }
    assert_eq!(exchange.outcome(MARI), "ACCEPTED");
}

#[test]
fn a_bad_asset_is_a_dead_letter_and_the_last_good_one_holds() {
    let mut exchange = Exchange::new();
    exchange.asset("asset1", r#"{"asset_id":"asset1","status":"HALTED"}"#);
    exchange.asset("asset1", r#"{"asset_id":"asset1","lot_size":0}"#);
    let [letter] = &exchange.dead_letters()[..] else { panic!("one dead letter") };
    let topic = letter.headers.last("__streams.errors.topic").unwrap();
    assert_eq!(topic.value.as_deref(), Some(&b"assets"[..]));
    assert_eq!(exchange.outcome(MARI), "REJECTED HALTED");
}

#[test]
fn an_order_keyed_by_another_asset_is_a_dead_letter_where_orders_are_keyed() {
    let mut exchange =
        Exchange::with("exchange.orders.keyed = true", &MetricsSlot::default(), false);
    exchange.pipe("orders", Some("asset2"), Some(MARI.as_bytes()));
    exchange.pipe("orders", None, Some(MARI.as_bytes()));
    assert_eq!(exchange.dead_letters().len(), 2);
    exchange.pipe("orders", Some("asset1"), Some(MARI.as_bytes()));
    assert_eq!(exchange.take()["order-updates"][0]["status"], "ACCEPTED");
}

#[test]
fn a_topology_of_keyed_orders_repartitions_only_positions() {
    let topics = |settings: &str| {
        let config = config(settings);
        let topology = exchange_topology(&config.exchange, &MetricsSlot::default()).unwrap();
        topology.repartition_topics().map(|topic| topic.name.to_string()).collect::<Vec<_>>()
    };
    let positions = "positions-by-holder-repartition";
    assert_eq!(topics(""), ["orders-by-asset-repartition", positions]);
    assert_eq!(topics("exchange.orders.keyed = true"), [positions]);
}

#[test]
fn trades_add_up_to_candles_and_positions() {
    let mut exchange = Exchange::with("", &MetricsSlot::default(), true);
    exchange.time = 60_000;
    for (id, price, shares) in [("1", 5.0, 5), ("2", 7.0, 5)] {
        exchange.order(&order(id, &json!({"price": price, "shares": shares})));
    }
    let buy = json!({"order_type": "BUY", "investor_id": "Celia", "price": 8.0, "shares": 7});
    exchange.order(&order("3", &buy));
    exchange.driver.commit().unwrap();
    let outputs = exchange.take();
    let candle = json!({
        "asset_id": "asset1", "window_start": 60_000, "window_end": 120_000,
        "open": 5.0, "high": 7.0, "low": 5.0, "close": 7.0, "volume": 7, "trades": 2,
    });
    assert_eq!(outputs["candles"], [candle]);
    let position = |investor: &str, bought: i64, sold: i64| {
        json!({
            "investor_id": investor, "asset_id": "asset1", "shares": bought - sold, "bought": bought,
            "sold": sold, "cost": if bought > 0 { 39.0 } else { 0.0 },
            "proceeds": if sold > 0 { 39.0 } else { 0.0 }, "timestamp": 60_003,
        })
    };
    assert_eq!(outputs["positions"], [position("Celia", 7, 0), position("Mari", 0, 7)]);
}

/// Orders of a few investors in two assets, many of which trade, with cancels and replaces.
fn flow(orders: u32) -> Vec<String> {
    let mut state = 1_u64;
    let mut random = move |below: u64| {
        // Knuth's multiplier; the high bits are the good ones.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let order = |at: u32| {
        let id = |number: u64| format!("o{number}");
        let changes = json!({
            "investor_id": format!("i{}", random(5)), "asset_id": format!("a{}", random(2)),
            "price": 95 + random(11), "shares": 1 + random(20),
            "order_type": if random(2) == 0 { "BUY" } else { "SELL" },
        });
        let before = id(random(u64::from(at) + 1));
        match random(10) {
            0 => order(
                &before,
                &json!({"asset_id": changes["asset_id"], "action": "CANCEL", "investor_id": null}),
            ),
            1 => {
                let mut changes = changes;
                changes["action"] = json!("REPLACE");
                changes["investor_id"] = Value::Null;
                changes["order_type"] = Value::Null;
                order(&before, &changes)
            }
            _ => order(&id(u64::from(at)), &changes),
        }
    };
    (0..orders).map(order).collect()
}

#[test]
fn crashes_between_orders_change_no_trade_and_no_book() {
    let orders = flow(400);
    let run = |crash_every: Option<usize>| {
        let mut exchange = Exchange::with("", &MetricsSlot::default(), true);
        let mut outputs = Vec::new();
        let mut next = 0;
        let mut crashes = 0;
        while next < orders.len() {
            // A batch that is not committed is lost, and read again.
            let batch = next..(next + 7).min(orders.len());
            let time = exchange.time;
            orders[batch.clone()].iter().for_each(|order| exchange.order(order));
            if crash_every.is_some_and(|every| (next / 7 + crashes) % every == 1) {
                crashes += 1;
                exchange.driver.restart().unwrap();
                exchange.time = time;
                continue;
            }
            exchange.driver.commit().unwrap();
            next = batch.end;
            outputs.push(exchange.take());
        }
        let books = exchange.driver.entries::<Vec<u8>, Vec<u8>>(BOOKS).unwrap();
        (outputs, books, crashes)
    };
    let (outputs, books, _) = run(None);
    let trades: usize =
        outputs.iter().filter_map(|topics| topics.get("trades")).map(Vec::len).sum();
    assert!(trades > 50 && books.len() > 10, "{trades} trades, {} entries", books.len());
    for every in [2, 3] {
        let (crashed_outputs, crashed_books, crashes) = run(Some(every));
        assert!(crashes > 10, "{crashes} crashes");
        assert_eq!(crashed_outputs, outputs);
        assert_eq!(crashed_books, books);
    }
}

#[test]
fn an_order_that_comes_and_goes_between_two_commits_costs_a_header_and_no_more() {
    let mut exchange = Exchange::with("", &MetricsSlot::default(), true);
    exchange.order(MARI);
    exchange.order(CELIA);
    exchange.driver.commit().unwrap();
    let entries = exchange.driver.entries::<Vec<u8>, Vec<u8>>(BOOKS).unwrap();
    assert_eq!(entries.len(), 1);
}

/// Adds up what the exchange counts, by name.
#[derive(Clone, Default)]
struct Counted(Arc<Mutex<BTreeMap<String, i64>>>);

impl Counted {
    fn add(&self, name: &str, count: i64) {
        *self.0.lock().unwrap().entry(name.to_owned()).or_default() += count;
    }
}

impl ExchangeCounts for Counted {
    fn trades(&self, trades: u64, shares: u64) {
        self.add("trades", trades.cast_signed());
        self.add("shares", shares.cast_signed());
    }

    fn orders(&self, action: &str, outcome: &str, orders: u64) {
        self.add(&format!("{action} {outcome}"), orders.cast_signed());
    }

    fn resting(&self, change: i64) {
        self.add("resting", change);
    }

    fn books(&self, _: u64, books: &[BookSummary]) {
        for book in books {
            let BookSummary { asset_id, orders, depth_shares: [buy, sell], best_price } = book;
            let [bid, ask] = best_price.map(|price| price.map(|price| price.to_string()));
            let text = format!("{asset_id}: {orders} orders, {buy} at {bid:?}, {sell} at {ask:?}");
            self.0.lock().unwrap().insert(text, 0);
        }
    }
}

#[test]
fn what_happened_is_counted() {
    let slot = MetricsSlot::default();
    let mut exchange = Exchange::with("", &slot, false);
    exchange.order(MARI);
    exchange.order(CELIA);
    exchange.order(&order("2", &json!({"shares": 0})));
    exchange.order(&order("3", &json!({})));
    // Whoever takes the counts may come after what they count.
    let counted = Counted::default();
    assert!(slot.set(Box::new(counted.clone())).is_ok());
    exchange.driver.advance_wall_clock(Duration::from_secs(1)).unwrap();
    let counts = counted.0.lock().unwrap().clone().into_iter().collect::<Vec<_>>();
    let expected = [
        ("asset1: 1 orders, 0 at None, 5 at Some(\"5.0\")", 0),
        ("new ACCEPTED", 2),
        ("new FILLED", 1),
        ("new NON_POSITIVE_SHARES", 1),
        ("resting", 1),
        ("shares", 5),
        ("trades", 1),
    ];
    assert_eq!(counts, expected.map(|(name, count)| (name.to_owned(), count)));
}
