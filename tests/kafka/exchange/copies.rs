//! Queries while the instance that has a task is dead: those who accept a copy are answered from
//! it, all the way until the task runs elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tidemill_test_support::KafkaCluster;
use tidemill_test_support::http::{Answer, get};
use tidemill_test_support::patience::wait_for;

use super::flow::generated;
use super::market::{LIMIT, Market, Running};
use super::prometheus::encoded;
use super::sender::Sender;

const PARTITIONS: i32 = 4;
/// Tasks with state: of orders by asset, of positions by holder.
const STATEFUL: usize = 2 * PARTITIONS as usize;
const SETTINGS: [(&str, &str); 4] = [
    ("session.timeout.ms", "6000"),
    ("heartbeat.interval.ms", "500"),
    ("transaction.timeout.ms", "60000"),
    ("standby.replicas", "1"),
];

/// All positions as an instance answers with them, by holder: the value and, of a copy, its lag.
fn positions(address: &str, more: &str) -> Result<(BTreeMap<String, Value>, Option<u64>), Answer> {
    let (mut found, mut lag, mut after) = (BTreeMap::new(), None, String::new());
    loop {
        let path = format!("/stores/positions?limit=500{more}{after}");
        let answer = get(address, &path).expect("an answer");
        if answer.status != 200 {
            return Err(answer);
        }
        let page = answer.json();
        lag = lag.max(page["lag"].as_u64());
        for entry in page["entries"].as_array().expect("entries") {
            found.insert(entry["key"].to_string(), entry["value"].clone());
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return Ok((found, lag)),
        }
    }
}

/// Waits until an instance has copies, without any lag, of all tasks with state that it does not run.
fn wait_for_copies(instance: &mut Running) {
    wait_for("a copy of every task of the other", LIMIT, || {
        let status = instance.json("/tasks");
        let tasks = status["tasks"].as_array().expect("a list of tasks");
        let is_stateful = |task: &&Value| task["stores"].as_array().is_some_and(|s| !s.is_empty());
        let own = tasks.iter().filter(is_stateful).count();
        let copies = status["standbys"].as_array().expect("a list of copies");
        let even = copies.iter().filter(|copy| copy["lag"] == 0).count();
        (own > 0 && own < STATEFUL && own + even == STATEFUL).then_some(())
    });
}

#[test]
fn a_copy_answers_for_a_dead_owner_until_its_task_runs_again() {
    let market = Market::open(&KafkaCluster::shared().bootstrap(), PARTITIONS);
    let mut stays = market.start_ready("stays", &SETTINGS);
    let mut dies = market.start_ready("dies", &SETTINGS);
    Sender::to(&market).send(&generated(6_000, 31));
    market.wait_processed();
    wait_for_copies(&mut stays);
    wait_for_copies(&mut dies);
    let (asked, dead) = (stays.address(), dies.address());
    let (all, lag) = positions(&asked, "").expect("all positions, of both instances");
    assert_eq!(lag, None, "of the owners alone");
    // The lag is that of the last fetch: for a moment there may be more.
    wait_for("a copy that has everything", LIMIT, || {
        let copied = positions(&asked, "&max_lag=0").ok()?;
        (copied == (all.clone(), Some(0))).then_some(())
    });

    // A key of each instance.
    let metadata = stays.json("/metadata");
    let stores = metadata["stores"].as_array().expect("stores");
    let store = stores.iter().find(|store| store["name"] == "positions").expect("positions");
    let partitions = store["partitions"].as_array().expect("partitions");
    let of_dead = partitions.iter().find(|part| part["owner"]["host"] == dead.as_str());
    let of_dead = of_dead.expect("a partition of the one that dies");
    assert_eq!(of_dead["copies"][0]["host"], asked.as_str(), "{metadata}");
    let partition = &of_dead["partition"];
    let page = get(&asked, &format!("/stores/positions?limit=1&partition={partition}&max_lag=0"));
    let page = page.expect("an answer").json();
    assert_eq!(page["lag"], 0, "{page}");
    let key = page["entries"][0]["key"].to_string();
    let path = format!("/stores/positions/{}", encoded(&key));
    let fresh = get(&asked, &path).expect("an answer").json();
    assert!(fresh.get("lag").is_none(), "its owner lives and answers: {fresh}");

    dies.process.kill();
    let refused = get(&asked, &path).expect("an answer");
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.head.contains("retry-after: 1"), "{}", refused.head);
    assert!(refused.head.contains(&format!("tidemill-owner: {dead}")), "{}", refused.head);
    let (mut answers, mut refusals) = (0, 0);
    loop {
        let copied = get(&asked, &format!("{path}?max_lag=100")).expect("an answer");
        assert_eq!(copied.status, 200, "after {answers} answers: {}", copied.body);
        let copied = copied.json();
        assert_eq!(copied["value"], fresh["value"]);
        let (whole, _) = positions(&asked, "&max_lag=100").unwrap_or_else(|answer| {
            panic!("after {answers} answers: {} {}", answer.status, answer.body)
        });
        assert_eq!(whole, all);
        answers += 1;
        let owner = get(&asked, &path).expect("an answer");
        if owner.status == 200 {
            assert_eq!(owner.json()["value"], fresh["value"]);
            break;
        }
        assert_eq!(owner.status, 503, "{}", owner.body);
        refusals += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("{answers} answers of the copy, {refusals} refusals without it");
    assert!(refusals > 10, "the task moved before anything could be asked");
    stays.wait_ready();
    let (whole, lag) = positions(&asked, "&max_lag=0").expect("all positions");
    assert_eq!((whole, lag), (all, None), "all of it runs here now");
    stays.stop();
}
