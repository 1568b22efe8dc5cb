//! What the exchange is for: orders in, trades out.

use std::process::Command;

use serde_json::{Value, json};
use tidemill_test_support::KafkaCluster;
use tidemill_test_support::records::{Outgoing, produce, produce_lines, read_committed};

use super::flow::{self, Sent};
use super::market::Market;
use super::outcome::Outcome;

/// As their senders wrote them: one without an id, with the field's other spelling, and no key.
pub const TWO_ORDERS: [&str; 2] = [
    r#"{"order_id":"1","investor_id":"Mari","asset_id":"asset1","current_shared":10,"shares":5,"price":5.0,"order_type":"SELL"}"#,
    r#"{"investor_id":"Celia","asset_id":"asset1","current_shared":0,"shares":5,"price":5.0,"order_type":"BUY"}"#,
];

/// The one trade that the two orders make.
pub fn assert_is_their_trade(trade: &Value) {
    let expected = json!({
        "asset_id": "asset1", "price": 5.0, "shares": 5, "seller_id": "Mari", "buyer_id": "Celia",
        "sell_order_id": "1",
    });
    for (field, value) in expected.as_object().expect("an object") {
        assert_eq!(trade.get(field), Some(value), "{field} of {trade}");
    }
}

#[test]
fn two_orders_become_one_trade() {
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 1);
    let mut instance = market.start_ready("one", &[]);
    produce_lines(market.bootstrap(), &market.topic("orders"), TWO_ORDERS);
    market.wait_processed();
    let outcome = Outcome::of(&market);
    assert_eq!(outcome.trade_count(), 1, "{outcome:?}");
    assert_is_their_trade(&outcome.trades["asset1"][0]);
    let last = |order: &str| {
        let updates = outcome.updates["asset1"].iter();
        let of_order: Vec<_> = updates.filter(|update| update["order_id"] == order).collect();
        of_order.last().map(|update| update["status"].clone())
    };
    assert_eq!(last("1"), Some(json!("FILLED")), "{outcome:?}");
    let unnamed = format!("{}-0-1", market.topic("orders"));
    assert_eq!(last(&unnamed), Some(json!("FILLED")), "{outcome:?}");
    assert_eq!(read_committed(market.bootstrap(), &market.topic("orders-dlq")), []);
    instance.stop();
}

#[test]
fn the_recorded_half_hour_of_nasdaq_comes_out_as_it_happened() {
    let Some(folder) = flow::recorded_folder("the NASDAQ flow through a broker") else { return };
    let orders = flow::recorded(&folder);
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 1);
    let mut instance = market.start_ready("one", &[]);
    produce(market.bootstrap(), &market.topic("orders"), orders.iter().map(Sent::record));
    market.wait_processed();

    let trades = read_committed(market.bootstrap(), &market.topic("trades"));
    let lines: Vec<&str> =
        trades.iter().map(tidemill_test_support::records::Received::text).collect();
    let file = market.folder().join("trades.jsonl");
    std::fs::write(&file, lines.join("\n")).expect("a file in a folder of our own");
    let check = Command::new("python3")
        .arg(folder.join("../check_trades.py"))
        .arg(&file)
        .arg(folder.join("executions.csv"))
        .arg("--ordered")
        .output()
        .expect("python3, to run the data's own check");
    let said = String::from_utf8_lossy(&check.stdout);
    assert!(check.status.success(), "{said}{}", String::from_utf8_lossy(&check.stderr));
    assert_eq!(trades.len(), 2_075, "{said}");

    let expected = std::fs::read_to_string(folder.join("book-at-end.csv")).expect("the last book");
    assert_eq!(book_as_csv(&instance.json("/books/AAPL?depth=1000")), sorted_lines(&expected));
    Outcome::of(&market).assert_same(&Outcome::replayed(&market, &orders));
    instance.stop();
}

fn sorted_lines(csv: &str) -> Vec<String> {
    let mut lines: Vec<String> = csv.lines().skip(1).map(|line| line.trim().to_owned()).collect();
    lines.sort();
    lines
}

/// Lines of `side,price,shares,orders`, sorted.
fn book_as_csv(book: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for (side, levels) in [("BUY", &book["bids"]), ("SELL", &book["asks"])] {
        for level in levels.as_array().expect("a list of levels") {
            let (price, shares, orders) = (&level["price"], &level["shares"], &level["orders"]);
            lines.push(format!("{side},{price},{shares},{orders}"));
        }
    }
    lines.sort();
    lines
}

/// Two orders that trade at once, for tests that want to see that an exchange still works.
pub fn assert_still_trades(market: &Market) {
    let before = read_committed(market.bootstrap(), &market.topic("trades")).len();
    let asset = tidemill_test_support::unique("asset");
    let order = |investor: &str, side: &str| {
        let order = json!({
            "investor_id": investor, "asset_id": asset, "current_shares": 5, "shares": 5,
            "price": 5.0, "order_type": side,
        });
        Outgoing::keyed(asset.as_bytes(), order.to_string())
    };
    let pair = [order("Mari", "SELL"), order("Celia", "BUY")];
    produce(market.bootstrap(), &market.topic("orders"), pair);
    market.wait_processed();
    let trades = read_committed(market.bootstrap(), &market.topic("trades"));
    assert_eq!(trades.len(), before + 1, "the pair made no trade");
}
