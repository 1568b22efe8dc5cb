//! Orders in and trades out over HTTP, on a real broker.

use std::time::Duration;

use serde_json::{Value, json};
use tidemill_test_support::KafkaCluster;
use tidemill_test_support::http::{EventStream, post_json};
use tidemill_test_support::records::{Received, read_committed, read_until};

use super::market::Market;

const LIMIT: Duration = Duration::from_secs(30);

fn order(order_id: &str, investor: &str, side: &str) -> Value {
    json!({
        "order_id": order_id, "investor_id": investor, "asset_id": "asset1", "current_shares": 5,
        "shares": 5, "price": 5.0, "order_type": side,
    })
}

fn texts(records: &[Received]) -> Vec<Value> {
    records.iter().map(|record| serde_json::from_str(record.text()).expect("JSON")).collect()
}

#[test]
fn orders_sent_over_http_become_trades_that_a_client_follows_from_any_offset() {
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 2);
    let mut instance = market.start_ready("one", &[]);
    let address = instance.address();
    let mut live = EventStream::open(&address, "/trades", None);

    let pairs: Vec<Value> = (0..3)
        .flat_map(|n| {
            [order(&format!("s{n}"), "Mari", "SELL"), order(&format!("b{n}"), "Celia", "BUY")]
        })
        .collect();
    let answer = post_json(&address, "/orders", &json!(pairs[..2]).to_string()).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["orders"][1], json!({ "index": 1, "order_id": "b0" }));
    // What is acknowledged is in the topic, whatever becomes of the instance.
    assert_eq!(texts(&read_committed(market.bootstrap(), &market.topic("orders"))).len(), 2);
    let first = live.next(LIMIT);
    let trade: Value = serde_json::from_str(&first.data).expect("a trade");
    assert_eq!((&trade["sell_order_id"], &trade["buy_order_id"]), (&json!("s0"), &json!("b0")));

    drop(live);
    for order in &pairs[2..] {
        let answer = post_json(&address, "/orders", &order.to_string()).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    // A client that comes back misses nothing and sees nothing twice.
    let mut again = EventStream::open(&address, "/trades", Some(&first.id));
    let mut whole = EventStream::open(&address, "/trades?from=earliest", None);
    let ids = |stream: &mut EventStream, count: usize| -> Vec<Value> {
        let trades = (0..count).map(|_| stream.next(LIMIT));
        trades
            .map(|event| serde_json::from_str::<Value>(&event.data).expect("a trade"))
            .map(|trade| trade["trade_id"].clone())
            .collect()
    };
    assert_eq!(ids(&mut again, 2), ["asset1-2", "asset1-3"]);
    assert_eq!(ids(&mut whole, 3), ["asset1-1", "asset1-2", "asset1-3"]);
    let mut of_asset = EventStream::open(&address, "/trades?from=0:1&asset=asset1", None);
    assert_eq!(ids(&mut of_asset, 2), ["asset1-2", "asset1-3"]);
    instance.stop();
}

#[test]
fn orders_that_cannot_be_read_are_named_by_index_and_none_is_sent() {
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 1);
    let mut instance = market.start_ready("one", &[]);
    let address = instance.address();
    let list = json!([order("1", "Mari", "SELL"), {"asset_id": "asset1", "shares": "five"}]);
    let answer = post_json(&address, "/orders", &list.to_string()).unwrap();
    assert_eq!(answer.status, 400, "{answer:?}");
    let errors = &answer.json()["errors"];
    assert_eq!((&errors[0]["index"], errors.as_array().map(Vec::len)), (&json!(1), Some(1)));
    let large = "x".repeat(2 << 20);
    assert_eq!(post_json(&address, "/orders", &large).unwrap().status, 413);
    assert!(read_committed(market.bootstrap(), &market.topic("orders")).is_empty());
    instance.stop();
}

#[test]
fn an_order_resent_within_the_window_makes_no_second_trade() {
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 1);
    let settings = [("exchange.dedupe_window", "600000")];
    let mut instance = market.start_ready("one", &settings);
    let mut address = instance.address();
    let pair = json!([order("s", "Mari", "SELL"), order("b", "Celia", "BUY")]).to_string();
    assert_eq!(post_json(&address, "/orders", &pair).unwrap().status, 200);
    market.wait_processed();
    // The one who sent them heard nothing, and sends them again; once more to an instance that has
    // the ids from the changelog alone.
    assert_eq!(post_json(&address, "/orders", &pair).unwrap().status, 200);
    market.wait_processed();
    instance.stop();
    std::fs::remove_dir_all(market.state("one")).expect("its state");
    let mut instance = market.start_ready("one", &settings);
    address = instance.address();
    assert_eq!(post_json(&address, "/orders", &pair).unwrap().status, 200);
    market.wait_processed();
    let updates = read_until(market.bootstrap(), &market.topic("order-updates"), 7, LIMIT);
    let refused = texts(&updates)
        .into_iter()
        .filter(|update| update["reason"] == "DUPLICATE_ORDER_ID")
        .count();
    assert_eq!(refused, 4, "{updates:?}");
    assert_eq!(read_committed(market.bootstrap(), &market.topic("trades")).len(), 1);
    instance.stop();
}
