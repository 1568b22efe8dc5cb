//! Brokers go away and come back; leaders and coordinators move.

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
