//! Whatever lies in the orders topic, the exchange says what is wrong with it and goes on.

use serde_json::{Value, json};
use tidemill_test_support::KafkaCluster;
use tidemill_test_support::records::{Outgoing, Received, produce, read_committed};

use super::market::Market;
use super::outcome::Outcome;
use super::two_orders::assert_still_trades;

/// What must become of an input.
enum Fate {
    /// It cannot be decoded: its bytes go to the dead letters.
    Dead,
    /// It is refused with this reason.
    Refused(&'static str),
    /// It is an order like any other.
    Accepted,
}

use Fate::{Accepted, Dead, Refused};

/// An order that is right, but for what `change` does to it.
fn order(id: &str, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut order = json!({
        "order_id": id, "investor_id": "Mari", "asset_id": "asset1", "current_shares": 10,
        "shares": 5, "price": 5.0, "order_type": "SELL",
    });
    change(&mut order);
    order.to_string().into_bytes()
}

/// An order with `field` spelled as JSON has no way to build it.
fn spelled(id: &str, field: &str, text: &str) -> Vec<u8> {
    let order = String::from_utf8(order(id, |order| order[field] = json!("PLACE")));
    order.expect("JSON is text").replace("\"PLACE\"", text).into_bytes()
}

/// Every kind of bad input, with the id of the order where it has one.
fn inputs() -> Vec<(&'static str, Option<Vec<u8>>, Fate)> {
    let with =
        |id, field: &'static str, value: Value| Some(order(id, |order| order[field] = value));
    let as_text = |id, field, text| Some(spelled(id, field, text));
    let large = "x".repeat(1 << 20);
    let truncated = order("truncated", |_| ());
    vec![
        ("null value", None, Dead),
        ("empty value", Some(Vec::new()), Dead),
        ("bad UTF-8", Some(b"\xff\xfe{\"order_id\":\"\xc3\x28\"}".to_vec()), Dead),
        ("bad UTF-8 in an id", Some(b"{\"order_id\":\"\xc3\x28\"}".to_vec()), Dead),
        ("truncated JSON", Some(truncated[..truncated.len() - 9].to_vec()), Dead),
        ("an array", Some(b"[1,2]".to_vec()), Dead),
        ("a number", Some(b"17".to_vec()), Dead),
        ("JSON null", Some(b"null".to_vec()), Dead),
        ("nothing in it", Some(b"{}".to_vec()), Dead),
        ("deep nesting", Some("[".repeat(100_000).into_bytes()), Dead),
        ("shares as text", with("text-shares", "shares", json!("5")), Dead),
        ("price as text", with("text-price", "price", json!("5.0")), Dead),
        ("price as a list", with("list-price", "price", json!([5])), Dead),
        ("id as a number", with("-", "order_id", json!(1)), Dead),
        ("another side", with("side", "order_type", json!("HOLD")), Dead),
        ("another action", with("action", "action", json!("GRANT")), Dead),
        ("fractional shares", with("fraction", "shares", json!(1.5)), Dead),
        ("shares with an exponent", as_text("exponent", "shares", "1e3"), Dead),
        ("shares beyond 64 bits", as_text("beyond", "shares", "9223372036854775808"), Dead),
        ("price as NaN", as_text("nan", "price", "NaN"), Dead),
        ("price as Infinity", as_text("infinity", "price", "Infinity"), Dead),
        ("price of 1e999", as_text("e999", "price", "1e999"), Dead),
        ("price of nine places", as_text("places", "price", "5.000000001"), Dead),
        ("negative holdings", with("holdings", "current_shares", json!(-1)), Dead),
        ("empty order id", with("-", "order_id", json!("")), Dead),
        ("empty investor", with("investor", "investor_id", json!("")), Dead),
        ("empty asset", with("asset", "asset_id", json!("")), Dead),
        ("1 MiB of nothing", Some(large.clone().into_bytes()), Dead),
        ("an id of 1 MiB", with("-", "order_id", json!(large)), Dead),
        ("a field of 1 MiB", with("large", "note", json!(large)), Accepted),
        ("negative shares", with("negative", "shares", json!(-5)), Refused("NON_POSITIVE_SHARES")),
        ("no shares", with("zero", "shares", json!(0)), Refused("NON_POSITIVE_SHARES")),
        ("negative price", with("below", "price", json!(-5.0)), Refused("NON_POSITIVE_PRICE")),
        ("no price", with("free", "price", Value::Null), Refused("NON_POSITIVE_PRICE")),
        ("off the tick", with("off-tick", "price", json!(5.00001)), Refused("OFF_TICK")),
        ("too few shares", with("poor", "shares", json!(11)), Refused("INSUFFICIENT_SHARES")),
        ("an id again", with("large", "shares", json!(5)), Refused("DUPLICATE_ORDER_ID")),
        ("unknown cancel", with("ghost", "action", json!("CANCEL")), Refused("UNKNOWN_ORDER")),
        ("unknown replace", with("shade", "action", json!("REPLACE")), Refused("UNKNOWN_ORDER")),
        ("most shares", with("most", "shares", json!(i64::MAX)), Refused("INSUFFICIENT_SHARES")),
    ]
}

#[test]
fn every_bad_input_is_named_and_the_exchange_goes_on() {
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 1);
    // As large as the topics take, so that large records find their way on.
    let large = [("kafka.producer.message.max.bytes", "4194304")];
    let mut instance = market.start_ready("one", &large);
    let inputs = inputs();
    let sent: Vec<Outgoing> = (0..)
        .zip(&inputs)
        .map(|(number, (_, value, _))| Outgoing {
            key: Some(format!("key {number}").into_bytes()),
            value: value.clone(),
            headers: vec![("sender".to_owned(), Some(b"a test".to_vec()))],
            ..Outgoing::default()
        })
        .collect();
    produce(market.bootstrap(), &market.topic("orders"), sent.iter().cloned());
    market.wait_processed();

    let letters = read_committed(market.bootstrap(), &market.topic("orders-dlq"));
    let mut updates = Outcome::of(&market).updates.remove("asset1").unwrap_or_default();
    let mut dead = 0;
    for (offset, ((what, _, fate), sent)) in inputs.iter().zip(&sent).enumerate() {
        let of_input = |letter: &&Received| {
            header(letter, "__streams.errors.offset").as_deref() == Some(&offset.to_string())
        };
        let letter = letters.iter().find(of_input);
        match fate {
            Dead => {
                let letter = letter.unwrap_or_else(|| panic!("{what}: no dead letter"));
                assert_is_letter_of(&market, letter, sent, what);
                dead += 1;
                continue;
            }
            Refused(_) | Accepted => assert!(letter.is_none(), "{what}: a dead letter"),
        }
        // The updates come in the order of the orders.
        let update = updates.remove(0);
        let (status, reason) = match fate {
            Refused(reason) => ("REJECTED", json!(reason)),
            Accepted | Dead => ("ACCEPTED", Value::Null),
        };
        assert_eq!((&update["status"], &update["reason"]), (&json!(status), &reason), "{what}");
    }
    assert_eq!(letters.len(), dead, "a dead letter that no input has");
    assert_eq!(updates, Vec::<Value>::new(), "an update that no input has");
    assert_still_trades(&market);
    instance.stop();
}

#[test]
fn a_dead_letter_that_is_too_large_goes_without_its_bytes() {
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 1);
    let mut instance = market.start_ready("one", &[]);
    let large = Outgoing::keyed("large", "x".repeat(1 << 20));
    produce(market.bootstrap(), &market.topic("orders"), [large]);
    market.wait_processed();
    let letters = read_committed(market.bootstrap(), &market.topic("orders-dlq"));
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((&letter.key, &letter.value), (&None, &None));
    let place = ["topic", "partition", "offset"];
    let place = place.map(|name| header(letter, &format!("__streams.errors.{name}")));
    assert_eq!(place, [Some(market.topic("orders")), Some("0".into()), Some("0".into())]);
    assert_still_trades(&market);
    instance.stop();
}

/// The letter is the record as it was, and says whence it came and why it is dead.
fn assert_is_letter_of(market: &Market, letter: &Received, sent: &Outgoing, what: &str) {
    assert_eq!(letter.value, sent.value, "{what}: other bytes");
    assert_eq!(letter.key, sent.key, "{what}: another key");
    let expected = [
        ("__streams.errors.topic", market.topic("orders")),
        ("__streams.errors.partition", "0".to_owned()),
        ("sender", "a test".to_owned()),
    ];
    for (name, value) in expected {
        assert_eq!(header(letter, name), Some(value), "{what}: header {name}");
    }
    for name in ["exception", "message"] {
        let header = header(letter, &format!("__streams.errors.{name}"));
        assert!(header.is_some_and(|text| !text.is_empty()), "{what}: header {name}");
    }
}

fn header(letter: &Received, name: &str) -> Option<String> {
    Some(String::from_utf8_lossy(letter.header(name)??).into_owned())
}
