//! Exactly-once, seen from outside: an instance that is killed again and again while orders come
//! in makes what an instance makes that nobody disturbs.

use std::fs;
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidemill_test_support::KafkaCluster;

use super::flow::{self, Sent};
use super::market::{Market, Running};
use super::outcome::Outcome;
use super::sender::Sender;
use super::tail::Tail;

/// How often it is killed with its state kept, and after that with its state deleted.
const KEPT: usize = 10;
const DELETED: usize = 5;
/// From its start on, an instance that kept its state has something new committed within this.
const BACK_WITHIN: Duration = Duration::from_secs(3);
/// How long the orders of one round take to come in.
const ROUND: Duration = Duration::from_millis(1_500);
/// Orders are sent so many at a time, so that they keep coming while an instance dies.
const SLICES: usize = 15;

#[test]
fn kills_while_orders_come_in_change_no_outcome() {
    let orders = flow::generated(30_000, 7);
    survive(&orders, 2, 0x7469_6465);
}

#[test]
fn kills_change_nothing_of_the_recorded_half_hour() {
    let Some(folder) = flow::recorded_folder("the NASDAQ flow under kills") else { return };
    survive(&flow::recorded(&folder), 1, 0x6d69_6c6c);
}

/// Sends the orders while it kills and restarts the one instance of an exchange; what a consumer
/// sees at the end must be what `tidemill replay` makes of the orders.
fn survive(orders: &[Sent], partitions: i32, seed: u64) {
    println!("seed {seed:#x}");
    let mut random = StdRng::seed_from_u64(seed);
    let market = Market::open(&KafkaCluster::shared().bootstrap(), partitions);
    let sender = Sender::to(&market);
    let mut tail = Tail::of(market.bootstrap(), &market.topic("order-updates"));
    let rounds = KEPT + DELETED;
    let mut shares = orders.chunks(orders.len() / (rounds + 1));
    let (mut id, mut restored, mut written) = (None, 0, 0);
    for round in 0..rounds {
        let share = shares.next().unwrap_or_default();
        let keeps_state = (1..=KEPT).contains(&round);
        // Every third time at any moment, be it before its tasks run or in the midst of a restore.
        let any_moment = round % 3 == 2;
        let changelogs = market.changelog_records();
        thread::scope(|scope| {
            scope.spawn(|| sender.spread(share, SLICES, ROUND));
            let mut instance = start(&market, id.as_deref());
            if any_moment {
                thread::sleep(random.random_range(Duration::ZERO..ROUND));
            } else {
                let back = tail.wait_for_more() - instance.started;
                println!("round {round}: back in {back:?}, {} restored", instance.restored());
                assert!(!keeps_state || back < BACK_WITHIN, "round {round}: back in {back:?} only");
                if keeps_state {
                    restored += instance.restored();
                    written += changelogs;
                }
                thread::sleep(random.random_range(Duration::ZERO..ROUND / 2));
            }
            if id.is_none() {
                id = instance.json("/tasks")["instance_id"].as_str().map(str::to_owned);
            }
            instance.process.kill();
        });
        if round >= KEPT {
            fs::remove_dir_all(market.state("one")).expect("the state of the instance");
        }
        tail.drain();
    }
    println!("restored {restored} changelog records where there were {written}");
    assert!(restored * 2 < written, "restored {restored} of {written} that were kept");
    let mut instance = start(&market, id.as_deref());
    shares.for_each(|share| sender.send(share));
    market.wait_processed();
    instance.stop();
    Outcome::of(&market).assert_same(&Outcome::replayed(&market, orders));
}

/// Starts the instance. `id` is the one that it found for itself at first: with its state it loses
/// that too, and whoever names an instance needs not wait until the group gave its old self up.
fn start(market: &Market, id: Option<&str>) -> Running {
    let often = ("state.flush.interval.ms", "500");
    match id {
        Some(id) => market.start("one", &[often, ("instance.id", id)]),
        None => market.start("one", &[often]),
    }
}

#[test]
fn after_a_kill_only_the_tail_of_the_changelogs_is_read() {
    let orders = flow::generated(20_000, 13);
    let (history, last) = orders.split_at(19_800);
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 1);
    let sender = Sender::to(&market);
    let mut first = market.start_ready("one", &[]);
    sender.spread(history, 20, Duration::from_secs(3));
    market.wait_processed();
    // The stores' engines are given all this as it ends, and the next one's only in an hour.
    first.stop();
    let settings = [("state.flush.interval.ms", "3600000")];
    let mut instance = market.start_ready("one", &settings);
    assert_eq!(instance.restored(), 0, "a stop in order leaves nothing to restore");
    let before = market.changelog_records();
    let mut tail = Tail::of(market.bootstrap(), &market.topic("order-updates"));
    tail.drain();
    sender.send(last);
    tail.wait_for_more();
    instance.process.kill();

    let mut again = market.start_ready("one", &settings);
    let restored = again.restored();
    println!("{restored} restored, {before} written before the tail");
    assert!(restored > 0, "the last orders had been given to the engines before the kill");
    // Each of the tail's 200 orders changes a few entries.
    assert!(before > 5_000 && restored < 1_000, "{restored} of {before} restored");
    assert_eq!(restored_by_metrics(&mut again), restored, "the metrics and the log differ");
    again.stop();
    Outcome::of(&market).assert_same(&Outcome::replayed(&market, &orders));
}

fn restored_by_metrics(instance: &mut Running) -> u64 {
    let (_, text) = instance.get("/metrics");
    let lines = text.lines().filter(|line| line.starts_with("tidemill_restored_records_total"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
}
