//! Windows of events that are years old: the age of a record is no reason to lose the state it made,
//! and event time alone makes a changelog shorter.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidemill_test_support::KafkaCluster;
use tidemill_test_support::patience::wait_for;
use tidemill_test_support::records::{Outgoing, create_topic, produce, watermarks};

use super::flow::{self, Sent};
use super::market::{LIMIT, Market};
use super::outcome::Outcome;
use super::sender::Sender;

/// Windows soon expire, and are purged soon. Who has no state left is known by its name.
const SHORT: [(&str, &str); 4] = [
    ("instance.id", "one"),
    ("exchange.candle.window.ms", "1000"),
    ("exchange.candle.grace.ms", "1000"),
    ("purge.interval.ms", "200"),
];

/// How Kafka Streams creates windowed changelogs.
const BY_AGE: [(&str, &str); 2] =
    [("cleanup.policy", "compact,delete"), ("retention.ms", "86400000")];

#[test]
fn windows_of_old_events_come_back_after_the_state_was_lost() {
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 1);
    let (differences, _) = after_a_loss_of_the_state(&market);
    assert_eq!(differences, Vec::<String>::new());
    assert_eq!(watermarks(market.bootstrap(), &candles_log(&market))[0].0, 0, "it was cut");
}

/// The test above sees what deletion by age would do.
#[test]
fn a_changelog_made_to_delete_by_age_is_warned_of_and_loses_windows_of_old_events() {
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 1);
    create_topic(market.bootstrap(), &candles_log(&market), 1, &BY_AGE);
    let (differences, log) = after_a_loss_of_the_state(&market);
    assert!(differences.iter().any(|line| line.starts_with("candle ")), "{differences:?}");
    assert!(log.contains("delete records of this topic by their age"), "{log}");
}

/// Sends orders of long ago to an instance whose state is deleted before the last of them. What
/// differs from the outcome that should be, and what the instance logged.
fn after_a_loss_of_the_state(market: &Market) -> (Vec<String>, String) {
    let orders = flow::generated(400, 17);
    let sender = Sender::to(market);
    // They are there when it starts, so they are one transaction: its marker begins a new segment of
    // the log, as it carries the present, and what lies before it is old enough to be deleted.
    sender.send(&orders[..390]);
    let mut instance = market.start_ready("one", &[("commit.interval.ms", "2000")]);
    market.wait_processed();
    instance.stop();
    fs::remove_dir_all(market.state("one")).expect("the state of the instance");
    wait_until_age_is_acted_on(market);

    let mut again = market.start_ready("one", &[]);
    sender.send(&orders[390..]);
    market.wait_processed();
    again.stop();
    let expected = Outcome::replayed(market, &orders);
    (Outcome::of(market).differences(&expected), again.process.log())
}

fn candles_log(market: &Market) -> String {
    format!("{}-candles-changelog", market.application())
}

/// Waits until the broker has deleted an old record, written now, of a topic that deletes by age.
fn wait_until_age_is_acted_on(market: &Market) {
    let topic = format!("{}.by-age", market.application());
    create_topic(market.bootstrap(), &topic, 1, &BY_AGE);
    produce(market.bootstrap(), &topic, [Outgoing::keyed("k", "v").at(1_700_000_000_000)]);
    wait_for("the broker to delete a record of long ago", LIMIT, || {
        (watermarks(market.bootstrap(), &topic)[0].0 > 0).then_some(())
    });
}

#[test]
fn expired_windows_leave_the_changelog_and_live_ones_come_back() {
    // Markers of transactions carry the present: only what comes after it is younger than they are.
    let orders = starting_at(flow::generated(20_000, 19), present_ms() + 600_000);
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 1);
    let sender = Sender::to(&market);
    let mut instance = market.start_ready("one", &SHORT);
    let candles = candles_log(&market);
    let (first, rest) = orders.split_at(10_000);
    sender.spread(first, 10, Duration::from_secs(1));
    market.wait_processed();
    // Each commit may purge; the last orders make one more.
    let mut more = rest[..1_000].chunks(50);
    wait_for("expired candles to leave their changelog", LIMIT, || {
        more.next().into_iter().for_each(|orders| sender.send(orders));
        (watermarks(market.bootstrap(), &candles)[0].0 > 0).then_some(())
    });
    more.for_each(|orders| sender.send(orders));
    market.wait_processed();
    instance.process.kill();
    fs::remove_dir_all(market.state("one")).expect("the state of the instance");

    let mut again = market.start_ready("one", &SHORT);
    sender.send(&rest[1_000..]);
    market.wait_processed();
    market.wait_visible();
    again.stop();
    let replayed = Outcome::replayed_with(&market, &SHORT, &orders);
    Outcome::of(&market).assert_same(&replayed);
}

fn present_ms() -> i64 {
    let present = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    present.as_millis() as i64
}

/// The same orders, the first at that time.
fn starting_at(mut orders: Vec<Sent>, start_ms: i64) -> Vec<Sent> {
    let shift = start_ms - orders[0].timestamp;
    orders.iter_mut().for_each(|order| order.timestamp += shift);
    orders
}
