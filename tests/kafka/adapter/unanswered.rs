//! Offsets that a coordinator does not answer for: librdkafka itself would wait for ever.

use std::time::{Duration, Instant};

use tidemill::kafka::{
    Cluster, Committed, Consumer, ConsumerRole, ErrorClass, GroupMetadata, Librdkafka, Offset,
    Producer, TopicPartition,
};
use tidemill_test_support::patience::wait_for;
use tidemill_test_support::{KafkaCluster, unique};

use super::{LIMIT, consumer, producer, send, topic};

const SOON: Duration = Duration::from_secs(1);

fn position(topic: &str) -> Committed {
    Committed {
        partition: TopicPartition::new(topic, 0),
        offset: Offset(5),
        leader_epoch: None,
        metadata: String::new(),
    }
}

#[test]
fn offsets_whose_coordinator_is_silent_are_waited_for_as_long_as_told_and_can_be_left_behind() {
    let mut broker = KafkaCluster::start(1);
    let properties = [
        ("bootstrap.servers".to_owned(), broker.bootstrap()),
        // Longer than this test: librdkafka gives up nothing by itself.
        ("socket.timeout.ms".to_owned(), "300000".to_owned()),
        ("producer.transaction.timeout.ms".to_owned(), "600000".to_owned()),
    ];
    let cluster = Librdkafka::new(properties.into()).expect("properties that may be set");
    let (name, group, id) = (topic(&cluster, 1), unique("group"), unique("id"));
    let identity = GroupMetadata {
        group_id: group.as_str().into(),
        generation: -1,
        member_id: "".into(),
        group_instance_id: None,
    };
    let committed = || {
        let reader = consumer(&cluster, ConsumerRole::Assigned, &group);
        let asked = [TopicPartition::new(name.as_str(), 0)];
        // A broker that was frozen for long has to become the coordinator again.
        let answer =
            wait_for("the committed offset", LIMIT, || match reader.committed(&asked, LIMIT) {
                Err(error) if error.class().is_retriable() => None,
                answer => Some(answer.expect("an answer")),
            });
        answer[0].as_ref().map(|committed| committed.offset)
    };
    let open = || {
        let mut producer = producer(&cluster, Some(&id));
        producer.init_transactions(LIMIT).expect("a coordinator");
        producer.begin().expect("no transaction is open");
        send(&mut producer, &name, 0, "value");
        producer.flush(LIMIT).expect("deliveries");
        producer
    };
    let wait = |producer: &mut <Librdkafka as Cluster>::Producer| {
        let started = Instant::now();
        let outcome = producer.send_offsets(&[position(&name)], &identity, SOON);
        assert!(started.elapsed() < LIMIT, "it waited for {:?}", started.elapsed());
        let error = outcome.expect_err("nobody answers");
        assert_eq!(error.class(), ErrorClass::TimedOut, "{error}");
    };

    // Left behind: nothing waits for it, and the next producer ends the transaction.
    let mut producer = open();
    broker.pause(1);
    wait(&mut producer);
    wait(&mut producer);
    let error = producer.abort(LIMIT).expect_err("the call is under way");
    assert_eq!(error.class(), ErrorClass::TimedOut, "{error}");
    drop(producer);
    broker.resume(1);
    let mut producer = open();
    assert_eq!(committed(), None);

    // Waited for: the call that is under way is answered, if only to say that it was too late.
    broker.pause(1);
    wait(&mut producer);
    broker.resume(1);
    let outcome = producer.send_offsets(&[position(&name)], &identity, LIMIT);
    if let Err(error) = outcome {
        assert_eq!(error.class(), ErrorClass::TimedOut, "{error}");
        producer.send_offsets(&[position(&name)], &identity, LIMIT).expect("an answer at last");
    }
    producer.commit(LIMIT).expect("an end");
    assert_eq!(committed(), Some(Offset(5)));
}
