//! Two instances share the tasks of a group; when one dies, the other goes on with all of them.

use std::thread;
use std::time::Duration;

use tidemill_test_support::KafkaCluster;
use tidemill_test_support::patience::wait_for;

use super::flow;
use super::market::{LIMIT, Market, Running};
use super::outcome::Outcome;
use super::sender::Sender;

const PARTITIONS: i32 = 4;
/// Subtopologies: of orders as they come, of orders by asset, of positions by holder.
const TASKS: usize = 3 * PARTITIONS as usize;

/// A dead member is noticed after the session; what it left open ends after the transaction's
/// time, when the broker next looks.
const SETTINGS: [(&str, &str); 3] = [
    ("session.timeout.ms", "6000"),
    ("heartbeat.interval.ms", "1000"),
    ("transaction.timeout.ms", "3000"),
];

#[test]
fn the_other_instance_finishes_what_a_killed_one_began() {
    let orders = flow::generated(20_000, 11);
    let market = Market::open(&KafkaCluster::shared().bootstrap(), PARTITIONS);
    let mut stays = market.start_ready("stays", &SETTINGS);
    let mut dies = market.start_ready("dies", &SETTINGS);
    wait_until_they_share(&mut stays, &mut dies);

    let sender = Sender::to(&market);
    thread::scope(|scope| {
        scope.spawn(|| sender.spread(&orders, 40, Duration::from_secs(2)));
        thread::sleep(Duration::from_millis(800));
        dies.process.kill();
    });
    wait_for("the other instance to run all tasks", LIMIT, || {
        (stays.running_tasks().len() == TASKS).then_some(())
    });
    market.wait_processed();
    market.wait_visible();
    stays.stop();
    Outcome::of(&market).assert_same(&Outcome::replayed(&market, &orders));
}

/// Waits until every task runs on exactly one of the two, and each has a fair part.
fn wait_until_they_share(one: &mut Running, other: &mut Running) {
    wait_for("two instances to share the tasks", LIMIT, || {
        let (mine, yours) = (one.running_tasks(), other.running_tasks());
        let is_fair = mine.len().min(yours.len()) >= TASKS / 3;
        let are_apart = mine.iter().all(|task| !yours.contains(task));
        (mine.len() + yours.len() == TASKS && is_fair && are_apart).then_some(())
    });
}
