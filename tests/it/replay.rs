//! `tidemill replay` as a user runs it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tidemill_test_support::data;

const TWO_ORDERS: &str = r#"{"order_id":"1","investor_id":"Mari","asset_id":"asset1","current_shared":10,"shares":5,"price":5.0,"order_type":"SELL"}
{"investor_id":"Celia","asset_id":"asset1","current_shared":0,"shares":5,"price":5.0,"order_type":"BUY"}
"#;

fn replay(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidemill"))
        .arg("replay")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// Replays into a folder, which must succeed.
fn replay_into(folder: &Path, arguments: &[&str], input: &[u8]) -> String {
    let folder = folder.to_str().unwrap();
    let output = replay(&[arguments, &["--out", folder]].concat(), input);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn lines(folder: &Path, topic: &str) -> Vec<Value> {
    let text = fs::read_to_string(folder.join(format!("{topic}.jsonl"))).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_trades_of_standard_input_go_to_standard_output() {
    let output = replay(&["-"], TWO_ORDERS.as_bytes());
    assert!(output.status.success());
    let trades = String::from_utf8(output.stdout).unwrap();
    let trade: Value = serde_json::from_str(trades.trim_end()).unwrap();
    for (field, expected) in
        [("shares", "5"), ("price", "5.0"), ("seller_id", "\"Mari\""), ("buyer_id", "\"Celia\"")]
    {
        assert_eq!(trade[field].to_string(), expected);
    }
    let summary = String::from_utf8(output.stderr).unwrap();
    assert!(summary.starts_with("2 orders in ") && summary.contains("orders/s"), "{summary}");
}

#[test]
fn every_form_of_a_line_is_understood_and_none_stops_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let mari = TWO_ORDERS.lines().next().unwrap();
    let mut input = Vec::new();
    input.extend_from_slice(
        format!("{{\"key\":null,\"value\":{mari},\"timestamp\":60000}}\n\n").as_bytes(),
    );
    input.extend_from_slice(b"{\"key\":\"gone\",\"value\":null,\"timestamp\":60001}\n");
    input.extend_from_slice(b"{\"value_base64\":\"//4=\",\"timestamp\":60002}\n");
    input.extend_from_slice(b"{\"order_id\":\"cut\n\xff\xfe\n[]");
    let summary = replay_into(folder.path(), &["-", "--json"], &input);
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(
        (summary["orders"].as_u64(), summary["records"]["orders-dlq"].as_u64()),
        (Some(6), Some(5))
    );
    let updates = lines(folder.path(), "order-updates");
    assert_eq!(updates.len(), 1);
    assert_eq!(updates[0]["timestamp"], 60_000);
    assert_eq!(updates[0]["value"]["status"], "ACCEPTED");
    let letters = lines(folder.path(), "orders-dlq");
    let offsets: Vec<_> = letters
        .iter()
        .map(|letter| letter["headers"]["__streams.errors.offset"].as_str().unwrap())
        .collect();
    assert_eq!(offsets, ["1", "2", "3", "4", "5"]);
    assert_eq!(letters[0]["key"], "gone");
    assert_eq!(letters[1]["value_base64"], "//4=");
    assert_eq!(letters[3]["value_base64"], "//4=");
    assert_eq!(letters[4]["value"], serde_json::json!([]));
    let books = fs::read_to_string(folder.path().join("books.csv")).unwrap();
    assert_eq!(books, "asset_id,side,price,shares,orders\nasset1,SELL,5.0,5,1\n");
}

#[test]
fn assets_are_read_before_the_orders() {
    let folder = tempfile::tempdir().unwrap();
    let assets = folder.path().join("assets.jsonl");
    fs::write(&assets, "{\"asset_id\":\"asset1\",\"status\":\"HALTED\"}\n").unwrap();
    replay_into(folder.path(), &["-", "--assets", assets.to_str().unwrap()], TWO_ORDERS.as_bytes());
    let updates = lines(folder.path(), "order-updates");
    assert!(updates.iter().all(|update| update["value"]["reason"] == "HALTED"), "{updates:?}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let output = replay(&["nowhere/orders.jsonl"], b"");
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("cannot open nowhere/orders.jsonl"), "{message}");
}

#[test]
fn half_an_hour_of_nasdaq_comes_out_execution_for_execution() {
    let Some(data) = data::recorded("aapl-first-half-hour", "the replay of recorded orders") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    replay_into(folder.path(), &[data.join("orders.jsonl.gz").to_str().unwrap()], b"");

    let trades: Vec<[String; 4]> = lines(folder.path(), "trades")
        .iter()
        .map(|trade| {
            let field = |name: &str| trade["value"][name].to_string().trim_matches('"').to_owned();
            [
                field("maker_order_id"),
                price(&field("price")),
                field("shares"),
                field("taker_order_id"),
            ]
        })
        .collect();
    let executions: Vec<[String; 4]> = csv(&data.join("executions.csv"))
        .iter()
        .map(|row| [row[1].clone(), price(&row[2]), row[3].clone(), row[4].clone()])
        .collect();
    assert!(executions.len() > 2_000);
    assert_eq!(trades, executions);

    let levels = |rows: Vec<Vec<String>>, skip: usize| -> BTreeSet<Vec<String>> {
        rows.into_iter()
            .map(|row| {
                vec![
                    row[skip].clone(),
                    price(&row[skip + 1]),
                    row[skip + 2].clone(),
                    row[skip + 3].clone(),
                ]
            })
            .collect()
    };
    let expected = levels(csv(&data.join("book-at-end.csv")), 0);
    assert!(expected.len() > 100);
    assert_eq!(levels(csv(&folder.path().join("books.csv")), 1), expected);
    assert_eq!(lines(folder.path(), "orders-dlq").len(), 0);
    let rejected = lines(folder.path(), "order-updates");
    assert!(rejected.iter().all(|update| update["value"]["status"] != "REJECTED"));
}

/// A price in one spelling: 587, 587.0 and 587.00 are the same.
fn price(text: &str) -> String {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text.to_owned()
    }
}

/// The rows of a CSV file without quotes, below its heading.
fn csv(path: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}
