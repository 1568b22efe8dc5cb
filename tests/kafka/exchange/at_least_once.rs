//! At-least-once: whatever is killed when, no order stays without its trade. Some trade twice.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tidemill_test_support::KafkaCluster;
use tidemill_test_support::records::read_committed;

use super::flow::Sent;
use super::market::Market;
use super::sender::Sender;

const PAIRS: usize = 6_000;
const KILLS: usize = 6;

/// The sell and the buy order of a pair, in an asset of its own: done again, they trade again, and
/// meet no others.
fn pair(number: usize) -> [Sent; 2] {
    let asset = format!("asset{number}");
    [("Mari", "SELL"), ("Celia", "BUY")].map(|(investor, side)| {
        let order = json!({
            "order_id": format!("{side}{number}"), "investor_id": investor, "asset_id": asset,
            "current_shares": 5, "shares": 5, "price": 5.0, "order_type": side,
        });
        Sent { key: asset.clone(), value: order.to_string(), timestamp: 1_700_000_000_000 }
    })
}

#[test]
fn no_trade_is_lost_to_kills_under_at_least_once() {
    let seed = 0x0061_6c6f;
    println!("seed {seed:#x}");
    let mut random = StdRng::seed_from_u64(seed);
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 2);
    let sender = Sender::to(&market);
    let settings = [("processing.guarantee", "at_least_once"), ("state.flush.interval.ms", "300")];
    let mut rounds = (0..PAIRS).collect::<Vec<_>>();
    let last = rounds.split_off(PAIRS * KILLS / (KILLS + 1));
    for round in rounds.chunks(rounds.len() / KILLS) {
        thread::scope(|scope| {
            scope.spawn(|| {
                // Sells and buys of a slice apart, so that a kill may come between them.
                for slice in round.chunks(50) {
                    for side in [0, 1] {
                        let orders = slice.iter().map(|number| pair(*number)[side].clone());
                        sender.send(&orders.collect::<Vec<_>>());
                        thread::sleep(Duration::from_millis(40));
                    }
                }
            });
            let mut instance = market.start_ready("one", &settings);
            thread::sleep(random.random_range(Duration::ZERO..Duration::from_millis(1_000)));
            instance.process.kill();
        });
    }
    let mut instance = market.start("one", &settings);
    sender.send(&last.iter().flat_map(|number| pair(*number)).collect::<Vec<_>>());
    market.wait_processed();
    instance.stop();

    let trades = read_committed(market.bootstrap(), &market.topic("trades"));
    let traded: BTreeSet<String> = trades
        .iter()
        .map(|trade| {
            let trade: serde_json::Value = serde_json::from_str(trade.text()).expect("JSON");
            let fields = ["asset_id", "sell_order_id", "buy_order_id", "shares"];
            fields.map(|field| trade[field].to_string()).join(" ")
        })
        .collect();
    let expected: BTreeSet<String> = (0..PAIRS)
        .map(|number| format!("\"asset{number}\" \"SELL{number}\" \"BUY{number}\" 5"))
        .collect();
    let lost: Vec<_> = expected.difference(&traded).take(5).collect();
    assert!(lost.is_empty(), "lost, the first of them: {lost:?}");
    println!("{} trades of {PAIRS} pairs", trades.len());
}
