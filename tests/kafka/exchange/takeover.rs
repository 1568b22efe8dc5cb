//! Two instances share the tasks of a group; when one dies, the other goes on with all of them, and
//! with all that it has committed.

use std::thread;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use tidemill_test_support::patience::wait_for;
use tidemill_test_support::records::committed;
use tidemill_test_support::{KafkaCluster, unique};

use super::flow;
use super::market::{LIMIT, Market, Running};
use super::outcome::Outcome;
use super::sender::Sender;

const PARTITIONS: i32 = 4;
/// Subtopologies: of orders as they come, of orders by asset, of positions by holder.
const TASKS: usize = 3 * PARTITIONS as usize;

/// A dead member is noticed after the session. The transaction that it left open would hold its tasks
/// up for ten minutes, did nobody end it.
const SETTINGS: [(&str, &str); 4] = [
    ("session.timeout.ms", "6000"),
    ("heartbeat.interval.ms", "1000"),
    ("transaction.timeout.ms", "600000"),
    // Orders of several partitions come in any order: none may be too late for its candle.
    ("exchange.candle.grace.ms", "3600000"),
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

/// The previous owner's transaction has its offsets already when the next one restores, and gets its
/// changes of the state only afterwards: a pause between the two steps of a commit does that.
#[test]
fn what_the_previous_owner_commits_during_a_takeover_is_restored_too() {
    let orders = flow::generated(2_000, 3);
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 1);
    let mut before = market.start_ready("before", &[]);
    Sender::to(&market).send(&orders);
    market.wait_processed();
    before.stop();

    let input = format!("{}-positions-by-holder-repartition", market.application());
    let changelog = format!("{}-positions-changelog", market.application());
    let owner: BaseProducer =
        client(&market).set("transactional.id", unique("owner")).create().expect("a producer");
    let group: BaseConsumer =
        client(&market).set("group.id", market.application()).create().expect("a consumer");
    owner.init_transactions(LIMIT).expect("a coordinator");
    owner.begin_transaction().expect("no open transaction");
    let done = committed(market.bootstrap(), market.application(), &input)[0].expect("an offset");
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(&input, 0, Offset::Offset(done)).expect("an offset");
    let identity = group.group_metadata().expect("an identity");
    owner.send_offsets_to_transaction(&offsets, &identity, LIMIT).expect("a group of nobody");

    let mut after = market.start("after", &[]);
    after.process.wait_for_log("waiting for committed offsets", LIMIT);
    let late = BaseRecord::to(&changelog).partition(0).key("late").payload("change");
    owner.send(late).expect("room for a record");
    owner.commit_transaction(LIMIT).expect("a commit");
    after.wait_ready();
    let log = after.process.log();
    assert!(log.contains("the changelog has grown; restored anew"), "{log}");
    after.stop();
    Outcome::of(&market).assert_same(&Outcome::replayed(&market, &orders));
}

fn client(market: &Market) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", market.bootstrap());
    config
}
