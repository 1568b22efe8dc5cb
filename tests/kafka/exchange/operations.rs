//! What an operator does to the exchange from outside: reset it, describe it, replay its dead
//! letters, copy its stores.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_test_support::KafkaCluster;
use tidemill_test_support::patience::wait_for;
use tidemill_test_support::process::{Finished, run_to_end};
use tidemill_test_support::records::{
    Outgoing, Received, committed, create_topic, produce, read_committed, topics,
};
use tidemill_test_support::{Tidemill, unique};

use super::flow;
use super::market::{LIMIT, Market};
use super::outcome::Outcome;
use super::sender::Sender;

/// The exit code of a command that wants no instance to run.
const ACTIVE: i32 = 4;

/// Runs a command of `tidemill` with the settings of the market's instance.
fn run(market: &Market, args: &[&str]) -> Finished {
    run_to_end(command(market).args(args), b"", LIMIT)
}

fn command(market: &Market) -> Command {
    market.command("one", &[])
}

/// What the command printed as JSON; it must have succeeded.
fn run_json(market: &Market, args: &[&str]) -> Value {
    let finished = run(market, args);
    assert!(finished.status.success(), "{args:?}: {}{}", finished.stdout, finished.stderr);
    serde_json::from_str(&finished.stdout)
        .unwrap_or_else(|error| panic!("{args:?}: {error}: {}", finished.stdout))
}

fn assert_refused_while_active(finished: &Finished, member: &str) {
    assert_eq!(finished.status.code(), Some(ACTIVE), "{}{}", finished.stdout, finished.stderr);
    assert!(finished.stderr.contains("1 member is active"), "{}", finished.stderr);
    assert!(finished.stderr.contains(member), "{}", finished.stderr);
}

#[test]
fn after_a_reset_the_same_orders_give_the_same_outputs_again() {
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 2);
    let orders = flow::generated(4_000, 31);
    let mut instance = market.start_ready("one", &[]);
    Sender::to(&market).send(&orders);
    market.wait_processed();
    let id = instance.json("/tasks")["instance_id"].as_str().expect("an id").to_owned();
    assert_refused_while_active(&run(&market, &["reset", "--execute"]), &id);
    instance.stop();
    let first = Outcome::of(&market);

    let topic = market.topic("orders");
    let offsets = || committed(market.bootstrap(), market.application(), &topic);
    let (before, internal) = (offsets(), internal_topics(&market));
    assert!(internal.len() > 4, "{internal:?}");
    let plan = run_json(&market, &["reset", "--json"]);
    assert_eq!((plan["executed"].clone(), offsets()), (json!(false), before), "a rehearsal acts");
    assert_eq!(internal_topics(&market), internal, "a rehearsal acts");
    assert!(plan["delete_state"].as_array().is_some_and(|tasks| !tasks.is_empty()), "{plan}");

    let done = run_json(&market, &["reset", "--execute", "--json"]);
    assert_eq!(done["executed"], true);
    assert_eq!(done["delete_topics"], json!(internal), "{done}");
    assert_eq!((offsets(), internal_topics(&market)), (vec![Some(0); 2], Vec::new()));
    let outputs = done["keep_outputs"].as_array().expect("a list");
    assert!(outputs.contains(&json!(market.topic("trades"))), "{done}");
    assert_eq!(run_json(&market, &["reset", "--execute", "--json"])["delete_state"], json!([]));

    let mut instance = market.start_ready("one", &[]);
    market.wait_processed();
    instance.stop();
    let mut both = Outcome::of(&market);
    for (name, records) in [("trades", &mut both.trades), ("updates", &mut both.updates)] {
        for (asset, records) in records {
            let again = records.split_off(records.len() / 2);
            assert_eq!(*records, again, "{name} of {asset}: not the same twice");
        }
    }
    both.assert_same(&first);
}

fn internal_topics(market: &Market) -> Vec<String> {
    let mut names = topics(market.bootstrap(), &format!("{}-", market.application()));
    names.retain(|name| name.ends_with("-changelog") || name.ends_with("-repartition"));
    names
}

#[test]
fn a_reset_goes_where_it_is_told_and_its_offsets_can_be_saved_and_set_again() {
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 1);
    let orders = flow::generated(100, 5);
    Sender::to(&market).send(&orders);
    let orders_topic = market.topic("orders");
    let assets = format!("{}=earliest", market.topic("assets"));
    let offset = || committed(market.bootstrap(), market.application(), &orders_topic)[0];
    let reset = |args: &[&str]| {
        run_json(&market, &[&["reset", "--execute", "--json"][..], args].concat());
        offset()
    };
    assert_eq!(reset(&["--to", "latest", "--to", &assets]), Some(100));
    let time = orders[40].timestamp;
    let first = orders.iter().position(|order| order.timestamp >= time).expect("that order");
    assert_eq!(reset(&["--to", &time.to_string()]), Some(first as i64));
    let saved = market.folder().join("offsets.jsonl").display().to_string();
    assert_eq!(reset(&["--save-offsets", &saved]), Some(0));
    assert_eq!(reset(&["--offsets", &saved]), Some(first as i64));
    let finished = run(&market, &["reset", "--to", "orderz=earliest"]);
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.stderr.contains("orderz is not an input"), "{}", finished.stderr);
}

#[test]
fn repaired_dead_letters_give_their_trades_once() {
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 2);
    let mut instance = market.start_ready("one", &[]);
    let order = |asset: &str, investor: &str, side: &str, price: Value| {
        let order = json!({
            "investor_id": investor, "asset_id": asset, "current_shares": 5, "shares": 5,
            "price": price, "order_type": side,
        });
        Outgoing::keyed(asset.as_bytes(), order.to_string())
    };
    let text = || json!("five");
    let sent = [
        order("asset1", "Mari", "SELL", text()),
        order("asset1", "Celia", "BUY", json!(5.0)),
        order("asset2", "Mari", "SELL", text()),
        order("asset2", "Celia", "BUY", json!(5.0)),
        order("asset3", "Mari", "SELL", text()),
    ];
    produce(market.bootstrap(), &market.topic("orders"), sent);
    market.wait_processed();
    let trades = || read_committed(market.bootstrap(), &market.topic("trades")).len();
    assert_eq!(trades(), 0);

    let listed = run(&market, &["dlq", "list", "--json"]).stdout;
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let only = run(&market, &["dlq", "list", "--json", "--key", "asset1"]).stdout;
    assert_eq!(only.lines().count(), 1, "{only}");
    let letter: Value = serde_json::from_str(&only).expect("a letter as JSON");
    assert_eq!(letter["source"]["topic"], market.topic("orders"));
    let place = letter["letter"].as_str().expect("a place");
    let shown = run(&market, &["dlq", "show", place]);
    assert!(
        shown.stdout.contains("\"five\"") && shown.stdout.contains("replayed  no"),
        "{}",
        shown.stdout
    );
    assert!(run(&market, &["dlq", "list", "--reason", "no such words"]).stdout.contains("No such"));

    // The first from a file, the second in an editor; the third stays.
    let file = market.folder().join("letters.jsonl");
    fs::write(&file, only.replace("\"five\"", "5.0")).expect("a file in a folder of our own");
    let path = file.display().to_string();
    let from_file = ["dlq", "replay", "--json", "--from-file", path.as_str()];
    assert_eq!(run_json(&market, &from_file)["replayed"], 1);
    market.wait_processed();
    assert_eq!(trades(), 0, "a rehearsal acts");
    let replay = [&from_file[..], &["--execute"]].concat();
    assert_eq!(run_json(&market, &replay)["replayed"], 1);
    for _ in 0..2 {
        let again = run_json(&market, &replay);
        assert_eq!((&again["replayed"], &again["replayed_before"]), (&json!(0), &json!(1)));
    }
    let edit = ["dlq", "replay", "--json", "--execute", "--edit", "--key", "asset2"];
    let editor = "sed -i s/\\\"five\\\"/5.0/";
    let edited = run_to_end(command(&market).args(edit).env("VISUAL", editor), b"", LIMIT);
    assert!(edited.stdout.contains("\"replayed\": 1"), "{}{}", edited.stdout, edited.stderr);
    market.wait_processed();

    let mut outcome = Outcome::of(&market);
    assert_eq!(outcome.trade_count(), 2, "{outcome:?}");
    for asset in ["asset1", "asset2"] {
        let trade = outcome.trades.remove(asset).expect("trades of the asset").remove(0);
        assert_eq!((&trade["seller_id"], &trade["shares"]), (&json!("Mari"), &json!(5)));
    }
    let orders = read_committed(market.bootstrap(), &market.topic("orders"));
    let replayed = orders.iter().filter(|order| order.header("tidemill.replay.of").is_some());
    assert_eq!(replayed.count(), 2);
    let unknown = place.replace(':', ":9");
    fs::write(&file, format!("{{\"letter\":\"{unknown}\",\"value\":1}}\n")).expect("our file");
    let finished = run(&market, &replay);
    assert!(!finished.status.success() && finished.stderr.contains("has no letter"));
    instance.stop();
}

#[test]
fn a_replay_that_is_killed_again_and_again_replays_each_letter_once() {
    const LETTERS: usize = 20_000;
    let market = Market::without_topics(&KafkaCluster::shared().bootstrap());
    let (letters, target) = (unique("letters"), unique("target"));
    create_topic(market.bootstrap(), &letters, 2, &[]);
    create_topic(market.bootstrap(), &target, 2, &[]);
    let sent = (0..LETTERS).map(|number| Outgoing::keyed(format!("{number}"), "x".repeat(500)));
    produce(market.bootstrap(), &letters, sent);
    let replay = ["dlq", "replay", "--topic", &letters, "--to", &target, "--execute", "--json"];
    let replayed = || {
        let target = read_committed(market.bootstrap(), &target);
        target.into_iter().filter_map(|record| record.key).collect::<Vec<_>>()
    };
    let mut killed_midway = 0;
    for attempt in 1..=6 {
        let mut process = Tidemill::spawn(command(&market).args(replay));
        // Later each time, so that one of them dies between its first commit and its last.
        std::thread::sleep(Duration::from_millis(150 * attempt));
        process.kill();
        let so_far = replayed().len();
        println!("killed {attempt}: {so_far} of {LETTERS} replayed");
        killed_midway += usize::from((1..LETTERS).contains(&so_far));
    }
    let report = run_json(&market, &replay);
    println!("{killed_midway} times in the midst of it; at last {report}");
    let mut found = replayed();
    assert_eq!(found.len(), LETTERS);
    found.sort();
    found.dedup();
    assert_eq!(found.len(), LETTERS, "a letter was replayed twice");
    assert_eq!(run_json(&market, &replay)["replayed_before"], LETTERS);
}

#[test]
fn a_description_tells_members_tasks_and_lag_with_and_without_an_instance() {
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 2);
    Sender::to(&market).send(&flow::generated(500, 3));
    let before = run_json(&market, &["describe", "--json"]);
    assert_eq!((&before["members"], &before["lag"]), (&json!([]), &json!(500)), "{before}");
    let mut instance = market.start_ready("one", &[]);
    market.wait_processed();
    let address = instance.address();
    // The instance says where it is a moment after it serves.
    let described = wait_for("the instance to be known", LIMIT, || {
        let described = run_json(&market, &["describe", "--json"]);
        described["instances"].get(&address)?;
        Some(described)
    });
    assert_eq!(described["members"].as_array().map(Vec::len), Some(1), "{described}");
    let mut tasks: Vec<String> = Vec::new();
    for task in described["tasks"].as_array().expect("a list of tasks") {
        assert_eq!(task["member"], described["members"][0]["name"], "{task}");
        tasks.push(task["id"].as_str().expect("an id").to_owned());
    }
    assert_eq!(tasks, instance.running_tasks());
    assert_eq!(described["instances"][&address]["state"], "running", "{described}");
    // Markers of transactions count as offsets that are not processed, until the next commit.
    assert!(described["lag"].as_u64().is_some_and(|lag| lag < 50), "{described}");
    let text = run(&market, &["describe", "--instance", &address]).stdout;
    for words in ["task", "committed", "books", "running"] {
        assert!(text.contains(words), "{words} in {text}");
    }
    instance.stop();
}

#[test]
fn a_store_that_is_exported_and_imported_is_the_same_and_an_edited_entry_counts() {
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 2);
    let orders = flow::generated(2_000, 17);
    let mut instance = market.start_ready("one", &[]);
    Sender::to(&market).send(&orders);
    market.wait_processed();
    let export = |store: &str| {
        let exported = run(&market, &["export", store]);
        assert!(exported.status.success(), "{}", exported.stderr);
        exported.stdout
    };
    let positions = export("positions");
    // What the store says is what its topic said last.
    let outcome = Outcome::of(&market);
    assert_eq!(positions.lines().count(), outcome.positions.len());
    let (books, candles) = (export("books"), export("candles"));
    assert!(!books.is_empty() && !candles.is_empty());

    let file = market.folder().join("store.jsonl");
    let path = file.display().to_string();
    fs::write(&file, &positions).expect("a file in a folder of our own");
    let id = instance.json("/tasks")["instance_id"].as_str().expect("an id").to_owned();
    let import = ["import", "positions", path.as_str(), "--json", "--execute"];
    assert_refused_while_active(&run(&market, &import), &id);
    instance.stop();

    // A store that is replaced by itself is the same, whatever its layout.
    for (store, contents) in [("books", &books), ("candles", &candles)] {
        fs::write(&file, contents).expect("our file");
        let report =
            run_json(&market, &["import", store, &path, "--json", "--execute", "--replace"]);
        let lines = contents.lines().count();
        assert_eq!((&report["written"], &report["deleted"]), (&json!(lines), &json!(0)));
        assert_eq!(&export(store), contents, "{store}");
    }
    // One entry is kept and changed, all others go.
    let first = positions.lines().next().expect("an entry");
    let mut entry: Value = serde_json::from_str(first).expect("an entry as JSON");
    let changed: BTreeMap<String, Value> = entry["value"]
        .as_object()
        .expect("a turnover")
        .iter()
        .map(|(name, _)| (name.clone(), json!(7)))
        .collect();
    entry["value"] = json!(changed);
    fs::write(&file, format!("{entry}\n")).expect("our file");
    let replace = [&import[..], &["--replace"]].concat();
    let rehearsal = run_json(&market, &[&import[..3], &["--json", "--replace"]].concat());
    assert_eq!(rehearsal["executed"], false);
    assert_eq!(export("positions"), positions, "a rehearsal acts");
    let report = run_json(&market, &replace);
    assert_eq!(report["written"], 1);
    assert_eq!(report["deleted"], positions.lines().count() - 1);
    let now: Value = serde_json::from_str(&export("positions")).expect("one entry");
    assert_eq!((&now["key"], &now["value"]), (&entry["key"], &entry["value"]));

    // The instance kept its local state, and still has the imported entries.
    let mut instance = market.start_ready("one", &[]);
    let book = instance.json("/books/asset1");
    assert!(book["bids"].as_array().is_some_and(|bids| !bids.is_empty()), "{book}");
    let key: Value = serde_json::from_str(entry["key"].as_str().expect("a key")).expect("JSON");
    let seen = trade_once_more(&market, &key);
    assert_eq!((&seen["bought"], &seen["sold"]), (&json!(8), &json!(7)), "{seen}");
    instance.stop();
    let unknown = run(&market, &["export", "positionz"]);
    assert!(unknown.stderr.contains("positions"), "the stores are named: {}", unknown.stderr);
}

/// Lets the holder trade one share, and returns the position that follows.
fn trade_once_more(market: &Market, holding: &Value) -> Value {
    let asset = holding["asset_id"].as_str().expect("an asset");
    let before = read_committed(market.bootstrap(), &market.topic("positions")).len();
    let order = |investor: &Value, side: &str, price: f64| {
        let order = json!({
            "investor_id": investor, "asset_id": asset, "current_shares": 1000, "shares": 1,
            "price": price, "order_type": side,
        });
        Outgoing::keyed(asset.as_bytes(), order.to_string())
    };
    let investor = &holding["investor_id"];
    // The buyer takes whatever asks there are, at worst the other's.
    let pair = [order(&json!("somebody"), "SELL", 105.0), order(investor, "BUY", 110.0)];
    produce(market.bootstrap(), &market.topic("orders"), pair);
    market.wait_processed();
    let of_holder = |record: &Received| {
        let key = record.key.as_deref().unwrap_or_default();
        serde_json::from_slice::<Value>(key).is_ok_and(|key| key == *holding)
    };
    wait_for("the holder's new position", LIMIT, || {
        let all = read_committed(market.bootstrap(), &market.topic("positions"));
        let found = all.iter().skip(before).rfind(|record| of_holder(record))?;
        serde_json::from_str(found.text()).ok()
    })
}
