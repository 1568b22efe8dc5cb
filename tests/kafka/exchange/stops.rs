//! An instance that is told to stop ends in time, whatever its brokers and its group do meanwhile,
//! and leaves nothing behind that is lost or done twice.

use std::time::{Duration, Instant};

use tidemill_test_support::KafkaCluster;
use tidemill_test_support::patience::wait_for;
use tidemill_test_support::records::watermarks;

use super::flow;
use super::market::{LIMIT, Market, Running};
use super::outcome::Outcome;
use super::sender::Sender;

/// What a stop may take at most is 20 seconds; commits are repeated for a minute unless they are cut
/// short.
const IN_TIME: Duration = Duration::from_secs(40);
/// Orders of several partitions come in any order: none may be too late for its candle.
const PATIENT: (&str, &str) = ("exchange.candle.grace.ms", "3600000");
/// Megabytes for a broker of this test's own.
const HEAP_MIB: u32 = 256;

/// One of these in the log says that brokers do not answer: a call of a commit is repeated, or the
/// transaction failed and the producer that is to end it cannot begin either.
const WITHOUT_ANSWER: [&str; 2] =
    ["repeating the call", "coordinator cannot be reached; trying on"];

/// SIGTERM, and how long it took to end.
fn stop(instance: &mut Running) -> Duration {
    let told = Instant::now();
    let status = instance.process.terminate(IN_TIME);
    assert!(status.success(), "ended with {status}:\n{}", instance.process.log());
    told.elapsed()
}

/// Stops an instance whose brokers fell silent while it worked, once it has noticed; it finishes when
/// they answer again.
fn stop_in_silence(seed: u64, more: &[(&str, &str)]) {
    let orders = flow::generated(20_000, seed);
    let cluster = KafkaCluster::start_behind_proxies(1, HEAP_MIB, &[]);
    let market = Market::open(&cluster.bootstrap(), 2);
    let behind = cluster.proxied_bootstrap();
    let usual = [("bootstrap.servers", behind.as_str()), PATIENT];
    let settings: Vec<_> = usual.into_iter().chain(more.iter().copied()).collect();
    let mut one = market.start_ready("one", &settings);
    std::thread::scope(|scope| {
        // Past the proxies, and for longer than it takes to fall silent: each of the instance's turns
        // has something to commit then.
        scope.spawn(|| Sender::to(&market).spread(&orders, 100, Duration::from_secs(5)));
        let results = format!("{}-orders-by-asset-repartition", market.application());
        wait_for("the first results", LIMIT, || {
            let ends = watermarks(market.bootstrap(), &results);
            ends.iter().any(|(_, end)| *end > 0).then_some(())
        });
        cluster.proxies().iter().for_each(|proxy| proxy.silence());
    });
    let said = one.process.wait_for_any_log(&WITHOUT_ANSWER, LIMIT);
    let took = stop(&mut one);
    println!("brokers do not answer, `{said}`: stopped within {:.1} s", took.as_secs_f64());
    cluster.proxies().iter().for_each(|proxy| proxy.clear());
    let mut again = market.start_ready("one", &usual);
    market.wait_processed();
    market.wait_visible();
    again.stop();
    Outcome::of(&market).assert_same(&Outcome::replayed(&market, &orders));
}

#[test]
fn a_stop_ends_although_the_brokers_do_not_answer_a_commit() {
    stop_in_silence(31, &[("max.poll.records", "100")]);
}

#[test]
fn a_stop_ends_although_the_brokers_do_not_take_results() {
    // They time out long before a commit is due.
    let settings = [
        ("commit.interval.ms", "60000"),
        ("transaction.timeout.ms", "60000"),
        ("kafka.producer.message.timeout.ms", "3000"),
    ];
    stop_in_silence(33, &settings);
}

#[test]
fn instances_that_stop_one_right_after_the_other_do_not_wait_for_their_group() {
    let orders = flow::generated(6_000, 32);
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 4);
    let settings = [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "500"), PATIENT];
    let mut instances = ["one", "two", "three"].map(|name| market.start_ready(name, &settings));
    Sender::to(&market).send(&orders);
    let took = instances.each_mut().map(stop);
    println!("one after the other: {took:?}");
    let mut last = market.start_ready("four", &settings);
    market.wait_processed();
    market.wait_visible();
    last.stop();
    Outcome::of(&market).assert_same(&Outcome::replayed(&market, &orders));
}
