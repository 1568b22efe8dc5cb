//! The exchange with `topology.optimization = "all"`: its table of assets has no changelog of its
//! own, and comes back from the topic that it is read from.

use serde_json::{Value, json};
use tidemill_test_support::KafkaCluster;
use tidemill_test_support::records::{Outgoing, committed, produce, read_committed, topics};

use super::market::{LIMIT, Market};
use tidemill_test_support::patience::wait_for;

fn list(market: &Market, asset: &str, tick_size: f64) {
    let record = json!({"asset_id": asset, "tick_size": tick_size}).to_string();
    produce(market.bootstrap(), &market.topic("assets"), [Outgoing::keyed(asset, record)]);
}

/// Sends an order, and gives the status that it got.
fn status_of(market: &Market, id: &str, price: f64) -> Value {
    let order = json!({
        "order_id": id, "investor_id": "Mari", "asset_id": "asset1", "current_shares": 5,
        "shares": 5, "price": price, "order_type": "BUY",
    });
    produce(market.bootstrap(), &market.topic("orders"), [Outgoing::unkeyed(order.to_string())]);
    market.wait_processed();
    let updates = read_committed(market.bootstrap(), &market.topic("order-updates"));
    let last = updates.last().expect("an update of the order");
    let update: Value = serde_json::from_str(last.text()).expect("JSON");
    assert_eq!(update["order_id"], id);
    update["status"].clone()
}

#[test]
fn an_optimized_table_is_restored_from_its_source_topic() {
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 1);
    let more = [("topology.optimization", "all")];
    let mut first = market.start_ready("one", &more);
    list(&market, "asset1", 1.0);
    wait_for("the asset to be read", LIMIT, || {
        let read = committed(market.bootstrap(), market.application(), &market.topic("assets"))[0];
        read.filter(|offset| *offset >= 1)
    });
    assert_eq!(status_of(&market, "1", 5.5), "REJECTED");
    assert_eq!(status_of(&market, "2", 5.0), "ACCEPTED");
    first.stop();

    let internal = topics(market.bootstrap(), market.application());
    assert!(internal.iter().any(|name| name.ends_with("-books-changelog")), "{internal:?}");
    assert!(!internal.iter().any(|name| name.ends_with("-assets-changelog")), "{internal:?}");

    // An instance without local state.
    let mut second = market.start_ready("two", &more);
    assert_eq!(status_of(&market, "3", 5.5), "REJECTED");
    list(&market, "asset1", 0.5);
    wait_for("the asset's new record to be read", LIMIT, || {
        let read = committed(market.bootstrap(), market.application(), &market.topic("assets"))[0];
        read.filter(|offset| *offset >= 2)
    });
    assert_eq!(status_of(&market, "4", 5.5), "ACCEPTED");
    second.stop();
}

#[test]
fn a_stopped_instance_does_not_restore_what_it_has_not_processed() {
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 1);
    let more = [("topology.optimization", "all")];
    let mut first = market.start_ready("one", &more);
    list(&market, "asset1", 1.0);
    wait_for("the asset to be read", LIMIT, || {
        let read = committed(market.bootstrap(), market.application(), &market.topic("assets"))[0];
        read.filter(|offset| *offset >= 1)
    });
    first.stop();
    for number in 0..10 {
        list(&market, &format!("asset{number}"), 0.5);
    }
    let mut second = market.start_ready("two", &more);
    // The one record that was processed: the others reach the table as records.
    assert_eq!(second.restored(), 1);
    second.stop();
}
