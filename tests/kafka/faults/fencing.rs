//! Another takes the instance's names, or the broker ends its transaction.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, Producer};
use tidemill_test_support::patience::wait_for;

use super::words::{LIMIT, Words};

/// Takes the transactional id of the instance's only thread, and leaves it again.
fn fence(words: &Words, instance: &str) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", words.bootstrap())
        .set("transactional.id", format!("{}-{instance}-0", words.application()))
        .create()
        .expect("a producer");
    producer.init_transactions(LIMIT).expect("a coordinator");
}

#[test]
fn a_producer_that_is_fenced_is_replaced_and_nothing_is_counted_twice() {
    let words = Words::open_on_shared(2);
    let instance = words.start("one");
    words.send(300);
    words.wait_for_counts(300, 1);
    // Several others may take a thread for dead at once.
    for round in 1..=3 {
        fence(&words, "one");
        words.send(300);
        words.wait_for_counts(300, 1 + round);
        assert_eq!(instance.metric("tidemill_fences_total", ""), round as f64);
    }
    instance.stop();
}

#[test]
fn an_instance_that_is_fenced_again_and_again_stops_and_names_the_cause() {
    let words = Words::open_on_shared(2);
    let instance = words.start("one");
    words.send(100);
    words.wait_for_counts(100, 1);
    let ended = AtomicBool::new(false);
    let failure = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                fence(&words, "one");
                words.send(1);
                std::thread::sleep(Duration::from_millis(300));
            }
        });
        let failure = instance.failure();
        ended.store(true, Ordering::Relaxed);
        failure
    });
    assert!(failure.contains("another process uses the same instance id"), "{failure}");
}

#[test]
fn of_two_instances_of_one_name_the_one_that_started_later_stays() {
    let words = Words::open_on_shared(2);
    let first = words.start("one");
    words.send(100);
    words.wait_for_counts(100, 1);
    let elsewhere = words.state("elsewhere").display().to_string();
    let second = words.start_with("one", &[("state.dir", &elsewhere)], |_| ());
    let failure = first.failure();
    assert!(failure.contains("another process with the instance id one started"), "{failure}");
    words.send(100);
    words.wait_for_counts(100, 2);
    second.stop();
}

#[test]
fn a_transaction_that_the_broker_ended_is_done_again() {
    let words = Words::open_on_shared(1);
    let slept = AtomicBool::new(false);
    let settings = [("transaction.timeout.ms", "3000"), ("commit.interval.ms", "500")];
    let instance = words.start_with("one", &settings, move |word| {
        // Longer than the broker waits, which looks for such transactions every ten seconds.
        if word == "word50" && !slept.swap(true, Ordering::Relaxed) {
            std::thread::sleep(Duration::from_secs(15));
        }
    });
    words.send(100);
    words.wait_for_counts(100, 1);
    assert!(instance.metric("tidemill_fences_total", "") > 0.0);
    instance.stop();
}

#[test]
fn a_member_whose_name_another_takes_joins_anew() {
    let words = Words::open_on_shared(2);
    let instance = words.start("one");
    words.send(100);
    words.wait_for_counts(100, 1);
    let other: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", words.bootstrap())
        .set("group.id", words.application())
        .set("group.instance.id", "one-0")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", "6000")
        .create()
        .expect("a consumer");
    other.subscribe(&[words.input()]).expect("a topic that exists");
    wait_for("the other to be the member", LIMIT, || {
        let _ = other.poll(Duration::from_millis(100));
        (other.assignment().map_or(0, |partitions| partitions.count()) > 0).then_some(())
    });
    drop(other);
    words.send(100);
    words.wait_for_counts(100, 2);
    instance.stop();
}
