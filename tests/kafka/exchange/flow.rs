//! Orders to send: the recorded half hour of NASDAQ, or a generated flow of all that an order can
//! be.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tidemill_test_support::data;
use tidemill_test_support::records::Outgoing;

/// One order, as it is sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The asset, so that the orders of an asset keep their order.
    pub key: String,
    /// The order as JSON.
    pub value: String,
    /// Its event time, in milliseconds since the epoch.
    pub timestamp: i64,
}

impl Sent {
    /// The record that carries it.
    pub fn record(&self) -> Outgoing {
        Outgoing::keyed(self.key.as_bytes(), self.value.as_bytes()).at(self.timestamp)
    }
}

/// The folder of the recorded NASDAQ half hour, where it is at hand; `what` needs it.
pub fn recorded_folder(what: &str) -> Option<PathBuf> {
    data::recorded("aapl-first-half-hour", what)
}

/// The orders of the recorded half hour.
pub fn recorded(folder: &Path) -> Vec<Sent> {
    let file = File::open(folder.join("orders.jsonl.gz")).expect("the recorded orders");
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    lines
        .map(|line| {
            let line: Value =
                serde_json::from_str(&line.expect("a line of text")).expect("a record as JSON");
            Sent {
                key: line["key"].as_str().expect("a key").to_owned(),
                // Its prices have few enough digits to come out of a float as they went in.
                value: line["value"].to_string(),
                timestamp: line["timestamp"].as_i64().expect("a timestamp"),
            }
        })
        .collect()
}

/// Writes a flow as `tidemill replay` reads it.
pub fn write(flow: &[Sent], path: &Path) {
    let line = |sent: &Sent| {
        let Sent { key, value, timestamp } = sent;
        format!("{{\"key\":\"{key}\",\"value\":{value},\"timestamp\":{timestamp}}}\n")
    };
    let lines: String = flow.iter().map(line).collect();
    fs::write(path, lines).expect("a file in a folder of our own");
}

/// Generated orders: most of them rest or trade, others are cancelled, replaced, of every kind and
/// time in force, or refused. The same seed gives the same orders.
pub fn generated(count: usize, seed: u64) -> Vec<Sent> {
    generated_of(7, count, seed)
}

/// The same for so many assets.
pub fn generated_of(assets: u32, count: usize, seed: u64) -> Vec<Sent> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut timestamp = 1_700_000_000_000;
    let mut placed: Vec<(u32, String, String)> = Vec::new();
    let mut flow = Vec::with_capacity(count);
    for number in 0..count {
        timestamp += random.random_range(0..50);
        let kind = random.random_range(0..100);
        let earlier = (kind < 20 && !placed.is_empty())
            .then(|| placed[random.random_range(0..placed.len())].clone());
        let (asset, value) = match earlier {
            Some((asset, order, investor)) if kind < 12 => {
                (asset, cancel(asset, &order, &investor))
            }
            Some((asset, order, _)) => (asset, replace(&mut random, asset, &order)),
            None => {
                let asset = random.random_range(0..assets);
                let order = format!("o{number}");
                let investor = format!("investor{}", random.random_range(0..20));
                let value = place(&mut random, asset, &order, &investor);
                placed.push((asset, order, investor));
                (asset, value)
            }
        };
        flow.push(Sent { key: asset_name(asset), value: value.to_string(), timestamp });
    }
    flow
}

fn asset_name(asset: u32) -> String {
    format!("asset{asset}")
}

fn price(random: &mut StdRng) -> f64 {
    f64::from(random.random_range(9_950..=10_050)) / 100.0
}

fn cancel(asset: u32, order: &str, investor: &str) -> Value {
    json!({"order_id": order, "investor_id": investor, "asset_id": asset_name(asset), "action": "CANCEL"})
}

fn replace(random: &mut StdRng, asset: u32, order: &str) -> Value {
    json!({
        "order_id": order, "asset_id": asset_name(asset), "action": "REPLACE",
        "shares": random.random_range(1..120), "price": price(random),
    })
}

fn place(random: &mut StdRng, asset: u32, order: &str, investor: &str) -> Value {
    let sells = random.random_bool(0.5);
    // One in fifty has no shares, or sells more than it has, and is refused.
    let shares = if random.random_bool(0.02) { 0 } else { random.random_range(1..=100) };
    let owned = if random.random_bool(0.02) { 1 } else { 1_000 };
    let mut value = json!({
        "order_id": order, "investor_id": investor, "asset_id": asset_name(asset),
        "current_shares": owned, "shares": shares, "order_type": if sells { "SELL" } else { "BUY" },
    });
    match random.random_range(0..10) {
        0 => value["kind"] = json!("MARKET"),
        1 => value["time_in_force"] = json!("IOC"),
        2 => value["time_in_force"] = json!("FOK"),
        _ => {}
    }
    if value["kind"].is_null() {
        value["price"] = json!(price(random));
    }
    value
}
