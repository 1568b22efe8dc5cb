//! `max.task.idle.ms` above zero: records of several inputs meet in the order of their timestamps,
//! though the older one is written later.

use serde_json::{Value, json};
use tidemill_test_support::KafkaCluster;
use tidemill_test_support::records::{Outgoing, produce, read_until};

use super::market::{LIMIT, Market};

/// When everything happens, in ms.
const NOON: i64 = 1_700_000_000_000;

#[test]
fn an_older_record_that_comes_within_the_idle_time_is_processed_first() {
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 1);
    // Longer than the test may take, so that the order is judged because all is there.
    let mut instance = market.start_ready("one", &[("max.task.idle.ms", "600000")]);
    let asset = |tick: f64| json!({"asset_id": "asset1", "tick_size": tick}).to_string();
    let order = json!({
        "order_id": "1", "investor_id": "Mari", "asset_id": "asset1", "current_shares": 5,
        "shares": 5, "price": 5.5, "order_type": "BUY",
    });
    let order = Outgoing::unkeyed(order.to_string()).at(NOON);
    produce(market.bootstrap(), &market.topic("orders"), [order]);
    market.wait_repartitioned(1);
    let assets = [
        Outgoing::keyed("asset1", asset(1.0)).at(NOON - 1_000),
        Outgoing::keyed("asset1", asset(0.5)).at(NOON + 1_000),
    ];
    produce(market.bootstrap(), &market.topic("assets"), assets);
    let updates = read_until(market.bootstrap(), &market.topic("order-updates"), 1, LIMIT);
    let update: Value = serde_json::from_str(updates[0].text()).expect("JSON");
    assert_eq!(update["status"], "REJECTED", "judged by the asset as it was then: {update}");
    instance.stop();
}
