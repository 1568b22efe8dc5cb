//! Instances keep copies of each other's state: a takeover, a restart and a newcomer under load.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tidemill_test_support::KafkaCluster;
use tidemill_test_support::patience::wait_for;

use super::flow::{self, Sent};
use super::gaps::Arrivals;
use super::market::{LIMIT, Market, Running};
use super::outcome::Outcome;
use super::sender::Sender;

const PARTITIONS: i32 = 4;
/// Subtopologies: of orders as they come, of orders by asset, of positions by holder.
const TASKS: usize = 3 * PARTITIONS as usize;
/// A dead member is noticed after so long.
const SESSION: Duration = Duration::from_secs(6);
/// Within this tasks are at work again, however busy the machine; what it took is printed.
const AT_WORK_AGAIN: Duration = Duration::from_secs(20);

/// A transaction that a dead instance leaves open would stop a takeover for a minute, were it not
/// ended.
const SETTINGS: [(&str, &str); 4] = [
    ("session.timeout.ms", "6000"),
    ("heartbeat.interval.ms", "500"),
    ("transaction.timeout.ms", "60000"),
    ("standby.replicas", "1"),
];

fn with(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    SETTINGS.iter().chain(more).copied().collect()
}

impl Running {
    /// The tasks with state that it runs.
    fn stateful_tasks(&mut self) -> BTreeSet<String> {
        let status = self.json("/tasks");
        let tasks = status["tasks"].as_array().expect("a list of tasks");
        let stateful = tasks.iter().filter(|task| {
            task["state"] == "running" && task["stores"].as_array().is_some_and(|s| !s.is_empty())
        });
        stateful.map(|task| task["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// The tasks that it has copies of that lag no more than a few commits behind.
    fn warm_copies(&mut self) -> BTreeSet<String> {
        let status = self.json("/tasks");
        let copies = status["standbys"].as_array().expect("a list of copies");
        let warm = copies.iter().filter(|copy| copy["lag"].as_u64().is_some_and(|lag| lag < 1_000));
        warm.map(|copy| copy["id"].as_str().expect("an id").to_owned()).collect()
    }

    fn log_lines(&self, words: &str) -> usize {
        self.process.log().lines().filter(|line| line.contains(words)).count()
    }
}

/// Waits until all tasks run, divided among these, and each task with state has one warm copy, at
/// another instance.
fn wait_until_warm(instances: &mut [&mut Running]) {
    wait_for("each task to run once and to have a warm copy elsewhere", LIMIT, || {
        let mut running = 0;
        let (mut tasks, mut copies) = (BTreeSet::new(), Vec::new());
        for instance in &mut *instances {
            let (own, warm) = (instance.stateful_tasks(), instance.warm_copies());
            running += instance.running_tasks().len();
            if own.intersection(&warm).next().is_some() {
                return None;
            }
            tasks.extend(own);
            copies.extend(warm);
        }
        let apart: BTreeSet<String> = copies.iter().cloned().collect();
        (running == TASKS && apart == tasks && copies.len() == tasks.len()).then_some(())
    });
}

/// Sends orders over a time while `during` runs, and sees to the arrivals of what comes of them
/// until both are done and everything is processed.
fn under_load(
    market: &Market,
    orders: &[Sent],
    time: Duration,
    during: impl FnOnce() + Send,
) -> Arrivals {
    let (done, sender) = (AtomicBool::new(false), Sender::to(market));
    thread::scope(|scope| {
        let arrivals = scope.spawn(|| Arrivals::until(market, &done));
        let slices = usize::try_from(time.as_millis() / 50).expect("a small number");
        let sending = scope.spawn(move || sender.spread(orders, slices, time));
        thread::sleep(Duration::from_secs(2));
        during();
        sending.join().expect("all orders sent");
        market.wait_processed();
        done.store(true, Ordering::Relaxed);
        arrivals.join().expect("all arrivals seen")
    })
}

#[test]
fn a_takeover_with_copies_goes_on_within_seconds_of_the_session_timeout() {
    let orders = flow::generated(24_000, 21);
    let market = Market::open(&KafkaCluster::shared().bootstrap(), PARTITIONS);
    let mut stays = market.start_ready("stays", &SETTINGS);
    let mut dies = market.start_ready("dies", &SETTINGS);
    let (first, rest) = orders.split_at(8_000);
    Sender::to(&market).send(first);
    wait_until_warm(&mut [&mut stays, &mut dies]);
    let restored_before = stays.restored();
    let mut killed = Instant::now();
    let arrivals = under_load(&market, rest, Duration::from_secs(16), || {
        dies.process.kill();
        killed = Instant::now();
        wait_for("the other instance to run all tasks", LIMIT, || {
            (stays.running_tasks().len() == TASKS).then_some(())
        });
    });
    let stood = arrivals.longest_gap_since(killed);
    let restored = stays.restored() - restored_before;
    println!(
        "takeover: from SIGKILL to the last partition's first commit {:.2} s, {:.2} s beyond the \
         session timeout; {restored} records restored of {}",
        stood.as_secs_f64(),
        stood.saturating_sub(SESSION).as_secs_f64(),
        market.changelog_records()
    );
    assert!(stays.log_lines("its copy is taken over") > 0, "{}", stays.process.log());
    assert!(arrivals.assets() > 1);
    assert!(stood <= SESSION + AT_WORK_AGAIN, "stood still for {stood:?}");
    stays.stop();
    Outcome::of(&market).assert_same(&Outcome::replayed(&market, &orders));
}

/// With three instances and one copy of each task, most instances are the wrong ones.
#[test]
fn what_a_dead_instance_had_falls_to_those_that_have_its_copies() {
    /// Copies follow what the group has left alone for five seconds.
    const AT_REST: Duration = Duration::from_secs(8);
    let orders = flow::generated(12_000, 24);
    let market = Market::open(&KafkaCluster::shared().bootstrap(), PARTITIONS);
    let settings = with(&[("threads", "2")]);
    // Neither the order of their names nor that of their starts is that of their deaths.
    let names = ["north", "east", "south"];
    let mut instances = names.map(|name| market.start_ready(name, &settings));
    Sender::to(&market).send(&orders);
    market.wait_processed();
    for dies in 0..names.len() {
        wait_until_warm(&mut instances.each_mut());
        thread::sleep(AT_REST);
        wait_until_warm(&mut instances.each_mut());
        let before = instances.each_mut().map(|one| (one.stateful_tasks(), one.warm_copies()));
        instances[dies].process.kill();
        let others = (0..names.len()).filter(|other| *other != dies);
        wait_for("the others to run all tasks", LIMIT, || {
            let running = others.clone().map(|other| instances[other].running_tasks().len());
            (running.sum::<usize>() == TASKS).then_some(())
        });
        for other in others {
            let (had, copies) = &before[other];
            let now = instances[other].stateful_tasks();
            let inherited: BTreeSet<&String> = now.difference(had).collect();
            println!("{} dies: {} inherits {inherited:?}", names[dies], names[other]);
            assert!(
                inherited.iter().all(|task| copies.contains(*task)),
                "{} had copies of {copies:?} and was given {inherited:?}",
                names[other]
            );
        }
        instances[dies] = market.start_ready(names[dies], &settings);
    }
    for mut instance in instances {
        instance.stop();
    }
    Outcome::of(&market).assert_same(&Outcome::replayed(&market, &orders));
}

#[test]
fn a_static_member_that_restarts_stops_no_task_of_another() {
    let orders = flow::generated(16_000, 22);
    let market = Market::open(&KafkaCluster::shared().bootstrap(), PARTITIONS);
    let mut stays = market.start_ready("stays", &with(&[("instance.id", "stays")]));
    let settings = with(&[("instance.id", "restarts")]);
    let mut restarts = market.start_ready("restarts", &settings);
    wait_until_warm(&mut [&mut stays, &mut restarts]);
    let words = ["assigned", "closed", "restored"];
    let before = words.map(|words| stays.log_lines(words));
    let running = stays.running_tasks();
    let mut stopped = Instant::now();
    let arrivals = under_load(&market, &orders, Duration::from_secs(12), || {
        restarts.stop();
        stopped = Instant::now();
        restarts = market.start_ready("restarts", &settings);
    });
    println!(
        "planned restart: the longest pause of any asset {:.2} s",
        arrivals.longest_gap_since(stopped).as_secs_f64()
    );
    assert_eq!(words.map(|words| stays.log_lines(words)), before, "{}", stays.process.log());
    assert_eq!(stays.running_tasks(), running);
    assert_eq!(restarts.running_tasks().len(), TASKS - running.len());
    restarts.stop();
    stays.stop();
    Outcome::of(&market).assert_same(&Outcome::replayed(&market, &orders));
}

#[test]
fn a_cold_instance_that_joins_warm_stops_no_task_for_long() {
    let orders = flow::generated(60_000, 23);
    let market = Market::open(&KafkaCluster::shared().bootstrap(), PARTITIONS);
    let mut one = market.start_ready("one", &SETTINGS);
    let mut two = market.start_ready("two", &SETTINGS);
    let (first, rest) = orders.split_at(40_000);
    Sender::to(&market).send(first);
    market.wait_processed();
    wait_until_warm(&mut [&mut one, &mut two]);
    let (mut started, mut three) = (Instant::now(), None);
    let arrivals = under_load(&market, rest, Duration::from_secs(20), || {
        started = Instant::now();
        let mut joins = market.start_ready("three", &with(&[("join.when.warm", "true")]));
        wait_for("the third instance to have its share", LIMIT, || {
            let mine = joins.running_tasks().len();
            let all = mine + one.running_tasks().len() + two.running_tasks().len();
            (mine >= TASKS / 4 && all == TASKS).then_some(())
        });
        three = Some(joins);
    });
    let mut three = three.expect("the third instance");
    let stood = arrivals.longest_gap_since(started);
    let stateful = three.stateful_tasks();
    println!(
        "a third instance joins under load: the longest pause of any asset {:.2} s; {} of its {} \
         tasks have state, of {} changelog records; {} restored after it had joined",
        stood.as_secs_f64(),
        stateful.len(),
        three.running_tasks().len(),
        market.changelog_records(),
        three.restored()
    );
    assert!(three.log_lines("its copy is taken over") >= stateful.len(), "{}", three.process.log());
    assert!(stood <= AT_WORK_AGAIN, "a task stood still for {stood:?}");
    wait_until_warm(&mut [&mut one, &mut two, &mut three]);
    for mut instance in [one, two, three] {
        instance.stop();
    }
    Outcome::of(&market).assert_same(&Outcome::replayed(&market, &orders));
}
