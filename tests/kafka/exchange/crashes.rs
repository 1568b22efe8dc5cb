//! Exactly-once, seen from outside: an instance that is killed again and again while orders come
//! in makes what an instance makes that nobody disturbs.

use std::fs;
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidemill_test_support::KafkaCluster;
use tidemill_test_support::records::produce;

use super::flow::{self, Sent};
use super::market::{Market, Running};
use super::outcome::Outcome;
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
    let mut tail = Tail::of(market.bootstrap(), &market.topic("order-updates"));
    let rounds = KEPT + DELETED;
    let mut shares = orders.chunks(orders.len() / (rounds + 1));
    let mut id = None;
    for round in 0..rounds {
        let share = shares.next().unwrap_or_default();
        // Every third time at any moment, be it before its tasks run or in the midst of a restore.
        let any_moment = round % 3 == 2;
        thread::scope(|scope| {
            scope.spawn(|| feed(&market, share));
            let changelogs = market.changelog_records();
            let mut instance = start(&market, id.as_deref());
            if any_moment {
                thread::sleep(random.random_range(Duration::ZERO..ROUND));
            } else {
                let back = tail.wait_for_more() - instance.started;
                let restored = instance.restored();
                println!("round {round}: back in {back:?}, {restored} of {changelogs} restored");
                if (1..=KEPT).contains(&round) {
                    assert!(back < BACK_WITHIN, "round {round}: back in {back:?} only");
                    assert_only_the_tail(&mut instance, restored, changelogs, round);
                }
                thread::sleep(random.random_range(Duration::ZERO..ROUND / 2));
            }
            if id.is_none() {
                id = instance.json("/tasks")["instance_id"].as_str().map(str::to_owned);
            }
            instance.process.kill();
        });
        if round + 1 > KEPT {
            fs::remove_dir_all(market.state("one")).expect("the state of the instance");
        }
        tail.drain();
    }
    let mut instance = start(&market, id.as_deref());
    shares.for_each(|share| feed(&market, share));
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

/// After a kill with its state kept, an instance reads what it had not applied yet, and no more.
fn assert_only_the_tail(instance: &mut Running, restored: u64, changelogs: u64, round: usize) {
    // At first all there is has just been written.
    if round >= 4 {
        assert!(restored * 2 < changelogs, "round {round}: {restored} of {changelogs} restored");
    }
    assert_eq!(restored_by_metrics(instance), restored, "the metrics and the log differ");
}

fn restored_by_metrics(instance: &mut Running) -> u64 {
    let (_, text) = instance.get("/metrics");
    let lines = text.lines().filter(|line| line.starts_with("tidemill_restored_records_total"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
}

/// Sends orders in slices, spread over the time of a round.
fn feed(market: &Market, orders: &[Sent]) {
    for slice in orders.chunks(orders.len() / SLICES + 1) {
        produce(market.bootstrap(), &market.topic("orders"), slice.iter().map(Sent::record));
        thread::sleep(ROUND / SLICES as u32);
    }
}
