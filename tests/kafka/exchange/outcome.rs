//! What an exchange made of its orders, and whether another one made the same of them.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tidemill_test_support::process::run_to_end;
use tidemill_test_support::records::{Received, read_committed};

use super::flow::{self, Sent};
use super::market::Market;

/// Differences that a report lists; more are counted.
const LISTED: usize = 5;

/// All that can be read from an exchange's output topics, in an order that does not depend on how
/// its tasks were spread or when they committed.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The trades of each asset, in their order.
    pub trades: BTreeMap<String, Vec<Value>>,
    /// The order updates of each asset, in their order.
    pub updates: BTreeMap<String, Vec<Value>>,
    /// The last candle of each asset and window.
    pub candles: BTreeMap<String, Value>,
    /// The last position of each investor and asset.
    pub positions: BTreeMap<String, Value>,
}

impl Outcome {
    /// What a `read_committed` consumer sees now.
    pub fn of(market: &Market) -> Self {
        let read = |name: &str| -> Vec<(String, Value)> {
            let records = read_committed(market.bootstrap(), &market.topic(name));
            records.iter().map(parsed).collect()
        };
        Self::new(read("trades"), read("order-updates"), read("candles"), read("positions"))
    }

    /// What `tidemill replay` makes of the same orders, in `market`'s folder.
    pub fn replayed(market: &Market, orders: &[Sent]) -> Self {
        Self::replayed_with(market, &[], orders)
    }

    /// The same, with further settings.
    pub fn replayed_with(market: &Market, more: &[(&str, &str)], orders: &[Sent]) -> Self {
        let file = market.folder().join("orders.jsonl");
        let out = market.folder().join("replayed");
        flow::write(orders, &file);
        let mut command = market.command("replay", more);
        command.arg("replay").arg(&file).arg("--out").arg(&out);
        let finished = run_to_end(&mut command, b"", Duration::from_secs(120));
        assert!(finished.status.success(), "{}", finished.stderr);
        let read = |name: &str| records_in(&out.join(format!("{}.jsonl", market.topic(name))));
        Self::new(read("trades"), read("order-updates"), read("candles"), read("positions"))
    }

    fn new(
        trades: Vec<(String, Value)>,
        updates: Vec<(String, Value)>,
        candles: Vec<(String, Value)>,
        positions: Vec<(String, Value)>,
    ) -> Self {
        let candles = candles.into_iter();
        let candles =
            candles.map(|(key, value)| (format!("{key}@{}", value["window_start"]), value));
        Self {
            trades: by_asset(trades),
            updates: by_asset(updates),
            candles: candles.collect(),
            positions: positions.into_iter().collect(),
        }
    }

    /// How many trades there are.
    pub fn trade_count(&self) -> usize {
        self.trades.values().map(Vec::len).sum()
    }

    /// What differs from the outcome that should be; nothing where they are the same.
    pub fn differences(&self, expected: &Self) -> Vec<String> {
        let mut found = Vec::new();
        compare_sequences("trades", &expected.trades, &self.trades, &mut found);
        compare_sequences("order updates", &expected.updates, &self.updates, &mut found);
        compare_last("candle", &expected.candles, &self.candles, &mut found);
        compare_last("position", &expected.positions, &self.positions, &mut found);
        found
    }

    /// Panics unless this is exactly the outcome that should be.
    pub fn assert_same(&self, expected: &Self) {
        assert!(expected.trade_count() > 0, "an outcome without trades proves nothing");
        let found = self.differences(expected);
        assert!(found.is_empty(), "not what should have come of the orders:\n{}", found.join("\n"));
    }
}

fn parsed(record: &Received) -> (String, Value) {
    let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
    (key, serde_json::from_str(record.text()).expect("a value as JSON"))
}

fn records_in(path: &Path) -> Vec<(String, Value)> {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines()
        .map(|line| {
            let mut record: Value = serde_json::from_str(line).expect("a record as JSON");
            (record["key"].as_str().unwrap_or_default().to_owned(), record["value"].take())
        })
        .collect()
}

fn by_asset(records: Vec<(String, Value)>) -> BTreeMap<String, Vec<Value>> {
    let mut assets: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (_, value) in records {
        let asset = value["asset_id"].as_str().expect("an asset").to_owned();
        assets.entry(asset).or_default().push(value);
    }
    assets
}

/// Compares what must be the same records in the same order, and names what is lost, what is there
/// too often and what was never to be there.
fn compare_sequences(
    what: &str,
    expected: &BTreeMap<String, Vec<Value>>,
    actual: &BTreeMap<String, Vec<Value>>,
    found: &mut Vec<String>,
) {
    let empty = Vec::new();
    let assets =
        expected.keys().chain(actual.keys().filter(|asset| !expected.contains_key(*asset)));
    for asset in assets {
        let wanted = expected.get(asset).unwrap_or(&empty);
        let got = actual.get(asset).unwrap_or(&empty);
        if wanted == got {
            continue;
        }
        let mut counts: HashMap<String, (i64, i64)> = HashMap::new();
        wanted.iter().for_each(|value| counts.entry(value.to_string()).or_default().0 += 1);
        got.iter().for_each(|value| counts.entry(value.to_string()).or_default().1 += 1);
        let differing = counts.iter().filter(|(_, (wanted, got))| wanted != got);
        let mut differing: Vec<String> = differing
            .map(|(value, (wanted, got))| match (wanted, got) {
                (0, _) => format!("  never to be: {value}"),
                (_, 0) => format!("  lost: {value}"),
                (wanted, got) => format!("  {got} times instead of {wanted}: {value}"),
            })
            .collect();
        differing.sort();
        let first = wanted.iter().zip(got).take_while(|(wanted, got)| wanted == got).count();
        let (wanted, got, all) = (wanted.len(), got.len(), differing.len());
        found.push(format!(
            "{what} of {asset}: {got} instead of {wanted}, the first difference at number {first}, \
             {all} records differ in number"
        ));
        found.extend(differing.into_iter().take(LISTED));
    }
}

fn compare_last(
    what: &str,
    expected: &BTreeMap<String, Value>,
    actual: &BTreeMap<String, Value>,
    found: &mut Vec<String>,
) {
    let keys = expected.keys().chain(actual.keys().filter(|key| !expected.contains_key(*key)));
    let differing = keys.filter(|key| expected.get(*key) != actual.get(*key));
    let lines = differing.map(|key| {
        format!("{what} {key}: {:?} instead of {:?}", actual.get(key), expected.get(key))
    });
    found.extend(lines.take(LISTED));
}

/// The comparison itself is put to the test: one that finds nothing proves nothing.
mod tests {
    use serde_json::json;

    use super::*;

    fn outcome() -> Outcome {
        let trade = |number: u32| json!({"trade_id": format!("a-{number}"), "asset_id": "a", "price": 5.0, "shares": number});
        let trades = (1..=5).map(|number| ("a".to_owned(), trade(number))).collect();
        let updates = vec![("a".to_owned(), json!({"asset_id": "a", "order_id": "1"}))];
        let candles = vec![("a".to_owned(), json!({"window_start": 0, "volume": 15}))];
        let positions = vec![("Mari a".to_owned(), json!({"shares": 3}))];
        Outcome::new(trades, updates, candles, positions)
    }

    /// The differences after `change` was done to the trades.
    fn after(change: impl FnOnce(&mut Vec<Value>)) -> String {
        let mut changed = outcome();
        change(changed.trades.get_mut("a").expect("the trades of the asset"));
        changed.differences(&outcome()).join("\n")
    }

    #[test]
    fn the_same_outcome_has_no_differences() {
        assert_eq!(outcome().differences(&outcome()), Vec::<String>::new());
        outcome().assert_same(&outcome());
    }

    #[test]
    fn a_lost_a_repeated_a_changed_and_a_moved_trade_are_seen() {
        let lost = after(|trades| drop(trades.remove(2)));
        assert!(lost.contains("lost: ") && lost.contains("a-3"), "{lost}");
        let repeated = after(|trades| trades.insert(2, trades[2].clone()));
        assert!(
            repeated.contains("2 times instead of 1") && repeated.contains("a-3"),
            "{repeated}"
        );
        let changed = after(|trades| trades[2]["shares"] = json!(4));
        assert!(changed.contains("never to be") && changed.contains("lost"), "{changed}");
        let moved = after(|trades| trades.swap(1, 2));
        assert!(moved.contains("first difference at number 1"), "{moved}");
    }

    #[test]
    fn other_last_values_are_seen() {
        let mut other = outcome();
        other.candles.clear();
        other.positions.insert("Celia a".to_owned(), json!({"shares": -3}));
        other.updates.clear();
        let found = other.differences(&outcome()).join("\n");
        for what in ["candle a@0", "position Celia a", "order updates of a"] {
            assert!(found.contains(what), "{what} in {found}");
        }
    }

    #[test]
    #[should_panic(expected = "proves nothing")]
    fn an_outcome_without_trades_is_not_accepted() {
        Outcome::default().assert_same(&Outcome::default());
    }
}
