//! The brokers go away and come back.

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
