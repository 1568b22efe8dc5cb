//! Brokers go away and come back; leaders and coordinators move.

use std::thread;
use std::time::{Duration, Instant};

use tidemill_test_support::KafkaCluster;
use tidemill_test_support::patience::wait_for;

use super::words::{LIMIT, Words};

#[test]
fn an_instance_waits_for_its_only_broker_and_goes_on() {
    let mut cluster = KafkaCluster::start(1);
    let words = Words::open(&cluster.bootstrap(), 2);
    let instance = words.start("one");
    words.send(200);
    words.wait_for_counts(200, 1);
    cluster.kill(1);
    wait_for("the instance to notice", LIMIT, || {
        (!instance.handle().introspect().status().ready
            || instance.metric("tidemill_errors_total", "") > 0.0)
            .then_some(())
    });
    cluster.restart(1);
    words.send(200);
    words.wait_for_counts(200, 2);
    instance.stop();
}

#[test]
fn leaders_and_coordinators_that_move_cost_no_count() {
    let mut cluster = KafkaCluster::start(3);
    let words = Words::open(&cluster.bootstrap(), 3);
    let instance = words.start("one");
    words.send(200);
    words.wait_for_counts(200, 1);
    // Each broker leads a partition of each topic, and coordinates groups and transactions. It stays
    // away until the others have done its work.
    for broker in 1..=3 {
        cluster.stop(broker);
        words.send(200);
        words.wait_for_counts(200, 2 * i64::from(broker));
        cluster.restart(broker);
        words.send(200);
        words.wait_for_counts(200, 2 * i64::from(broker) + 1);
    }
    instance.stop();
}

/// The worst way to fail: its connections stay, and nothing is answered, so that only patience that
/// runs out tells.
#[test]
fn a_frozen_broker_is_given_up_for_those_that_answer() {
    const ROUNDS: u32 = 60;
    const WORDS: u32 = 200;
    const HEAP_MIB: u32 = 256;
    // For so long brokers wait for each other: before, no transaction ends that wrote to the frozen
    // one. It is thirty seconds where nobody sets it.
    let mut cluster = KafkaCluster::start_with(3, HEAP_MIB, &[("request.timeout.ms", "5000")]);
    let words = Words::open(&cluster.bootstrap(), 3);
    (0..ROUNDS).for_each(|_| words.send(WORDS));
    // Slow, so that most is still to come when a broker freezes.
    let instance = words.start_with("one", &[], |_| thread::sleep(Duration::from_millis(2)));
    let committed = || instance.metric("tidemill_partition_committed_offset", "");
    wait_for("the first commits", LIMIT, || (committed() > 0.0).then_some(()));
    cluster.pause(2);
    let frozen = Instant::now();
    let at = committed();
    wait_for("the rest to be committed without it", LIMIT, || {
        (committed() >= f64::from(ROUNDS * WORDS)).then_some(())
    });
    println!(
        "with a frozen broker, from {at} to {} records in {:.1} s",
        ROUNDS * WORDS,
        frozen.elapsed().as_secs_f64()
    );
    cluster.resume(2);
    words.wait_for_counts(WORDS as usize, i64::from(ROUNDS));
    instance.stop();
}
