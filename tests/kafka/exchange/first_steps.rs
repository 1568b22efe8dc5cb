//! What a new user runs into, and how clearly the program says so.

use std::time::{Duration, Instant};

use tidemill_test_support::process::{Finished, run_to_end};
use tidemill_test_support::records::{create_topic, delete_topic};
use tidemill_test_support::{KafkaCluster, Tidemill};

use super::market::{LIMIT, Market};
use super::outcome::Outcome;
use super::two_orders::assert_still_trades;

/// Within this a mistake is told and the program ended.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

/// Runs an instance that is to end by itself, with exit status 1, and gives what it said.
fn refused(market: &Market, instance: &str) -> String {
    let mut command = market.command(instance, &[]);
    let Finished { status, stdout, stderr } = run_to_end(command.arg("run"), b"", TOLD_WITHIN);
    assert_eq!(status.code(), Some(1), "{stdout}{stderr}");
    let said = stderr.lines().last().unwrap_or_default().to_owned();
    assert!(said.starts_with("tidemill: "), "the last line tells the user: {stderr}");
    said
}

#[test]
fn a_cluster_that_is_away_is_waited_for() {
    let mut cluster = KafkaCluster::start(1);
    let market = Market::open(&cluster.bootstrap(), 1);
    cluster.kill(1);
    let mut instance = market.start("one", &[]);
    let said = instance.process.wait_for_log("the cluster does not answer; trying on", LIMIT);
    assert!(said.contains(&cluster.bootstrap()), "names the address: {said}");
    let (status, body) = instance.get("/readyz");
    assert_eq!(status, 503, "{body}");
    assert!(body.contains(&cluster.bootstrap()), "names the address: {body}");
    assert_eq!(instance.get("/healthz").0, 200, "it is healthy, only not ready");
    cluster.restart(1);
    instance.wait_ready();
    assert_still_trades(&market);
    instance.stop();
}

#[test]
fn an_instance_stops_in_order_while_the_cluster_is_away() {
    // A port that nobody listens on.
    let market = Market::without_topics("127.0.0.1:1");
    let mut instance = market.start("one", &[]);
    instance.process.wait_for_log("trying on", LIMIT);
    instance.stop();
}

#[test]
fn a_missing_input_topic_is_named() {
    let market = Market::without_topics(&KafkaCluster::shared().bootstrap());
    create_topic(market.bootstrap(), &market.topic("assets"), 1, &[]);
    let said = refused(&market, "one");
    assert!(said.contains(&market.topic("orders")), "{said}");
}

#[test]
fn a_missing_output_topic_is_named() {
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 1);
    delete_topic(market.bootstrap(), &market.topic("trades"));
    let said = refused(&market, "one");
    assert!(said.contains(&market.topic("trades")), "{said}");
}

#[test]
fn an_internal_topic_with_other_partitions_is_named_with_both_counts() {
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 2);
    let changelog = format!("{}-books-changelog", market.application());
    create_topic(market.bootstrap(), &changelog, 3, &[("cleanup.policy", "compact")]);
    let said = refused(&market, "one");
    for part in [changelog.as_str(), "3 partitions", "needs 2"] {
        assert!(said.contains(part), "{part} in: {said}");
    }
}

#[test]
fn inputs_that_are_joined_need_as_many_partitions() {
    let market = Market::without_topics(&KafkaCluster::shared().bootstrap());
    create_topic(market.bootstrap(), &market.topic("orders"), 2, &[]);
    create_topic(market.bootstrap(), &market.topic("assets"), 3, &[]);
    let more = [("exchange.orders.keyed", "true")];
    let mut command = market.command("one", &more);
    let finished = run_to_end(command.arg("run"), b"", TOLD_WITHIN);
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    for part in [&market.topic("orders"), &market.topic("assets"), "2", "3"] {
        assert!(finished.stderr.contains(part), "{part} in: {}", finished.stderr);
    }
}

#[test]
fn a_state_folder_belongs_to_one_process() {
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 1);
    let mut first = market.start_ready("one", &[]);
    let said = refused(&market, "one");
    let holder = format!("in use by process {}", first.process.id());
    assert!(said.contains(&holder), "{holder} in: {said}");
    assert_still_trades(&market);
    first.stop();
}

#[test]
fn a_stopped_instance_has_left_its_group_and_starts_again_at_once() {
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 1);
    let mut first = market.start_ready("one", &[]);
    assert_still_trades(&market);
    first.stop();
    // Another instance: it has its tasks only if the first one is no member any more.
    let mut second = market.start_ready("two", &[]);
    let took = second.started.elapsed();
    assert!(took < Duration::from_secs(5), "ready in {took:?} only");
    second.stop();
    let mut third = market.start_ready("one", &[]);
    let took = third.started.elapsed();
    assert!(took < Duration::from_secs(5), "ready in {took:?} only");
    assert_still_trades(&market);
    third.stop();
    assert_eq!(Outcome::of(&market).trade_count(), 2);
}

#[test]
fn two_signals_end_it_at_once() {
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 1);
    let mut instance = market.start_ready("one", &[]);
    instance.process.signal("TERM");
    let signalled = Instant::now();
    let end = |process: &mut Tidemill| process.wait(Duration::from_secs(10));
    // The first one may have been answered before the second comes.
    if instance.process.exit_status().is_none() {
        instance.process.signal("TERM");
    }
    let status = end(&mut instance.process);
    assert!(status.success() || status.code() == Some(128 + 15), "{status}");
    assert!(signalled.elapsed() < Duration::from_secs(5));
}
