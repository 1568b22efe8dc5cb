//! Results that their brokers cannot take for now: they are sent again, and when that takes too long,
//! made again. Either way each is committed once.

use std::time::Duration;

use tidemill_test_support::KafkaCluster;
use tidemill_test_support::patience::wait_for;

use super::counting::{Counter, Counting};

const LIMIT: Duration = Duration::from_secs(90);
const WORDS: u32 = 100;
const ABORTS: &str = "tidemill_transaction_aborts_total";
/// The broker that goes away: its replicas are missed by topics that want all three.
const AWAY: u32 = 3;

/// Waits until every word was counted `times` times, and checks that each count is there once.
fn wait_for_each_count_once(counting: &Counting, times: i64) {
    wait_for(&format!("every word to be counted {times} times"), LIMIT, || {
        let counts = counting.counts();
        let all = counts.len() == WORDS as usize;
        (all && counts.values().all(|count| *count == times)).then_some(())
    });
    let expected: Vec<i64> = (1..=times).collect();
    for (word, counts) in counting.all_counts() {
        assert_eq!(counts, expected, "the counts of {word}");
    }
}

/// Three brokers, an application whose results all three must have, and an instance that has counted
/// each word once.
fn counted_once(settings: &[(&str, &str)]) -> (KafkaCluster, Counting, Counter) {
    let cluster = KafkaCluster::start(3);
    let counting = Counting::open_on(&cluster, &[("min.insync.replicas", "3")]);
    let instance = counting.start("one", settings);
    counting.send(WORDS);
    wait_for_each_count_once(&counting, 1);
    (cluster, counting, instance)
}

#[test]
fn results_that_too_few_replicas_can_take_are_sent_again_until_they_are_taken() {
    let (mut cluster, counting, instance) = counted_once(&[
        ("transaction.timeout.ms", "60000"),
        ("retry.backoff.ms", "50"),
        ("retry.backoff.max.ms", "500"),
    ]);
    cluster.stop(AWAY);
    let aborts = instance.metric(ABORTS);
    counting.send(WORDS);
    std::thread::sleep(Duration::from_secs(5));
    assert!(counting.counts().values().all(|count| *count == 1), "nobody could take the results");
    cluster.restart(AWAY);
    wait_for_each_count_once(&counting, 2);
    assert_eq!(instance.metric(ABORTS), aborts, "they were not given up, but sent again");
    instance.stop();
}

#[test]
fn results_that_are_given_up_after_too_long_are_made_again_and_committed_once() {
    let (mut cluster, counting, instance) = counted_once(&[("transaction.timeout.ms", "3000")]);
    cluster.stop(AWAY);
    let aborts = instance.metric(ABORTS);
    counting.send(WORDS);
    wait_for("results to be given up", LIMIT, || (instance.metric(ABORTS) > aborts).then_some(()));
    assert!(counting.counts().values().all(|count| *count == 1), "nobody could take the results");
    cluster.restart(AWAY);
    wait_for_each_count_once(&counting, 2);
    instance.stop();
}
