//! What a transaction shows, what it hides, and who may end it.

use std::time::{Duration, Instant};

use tidemill::kafka::{
    Committed, Consumer, ConsumerRole, ErrorClass, GroupMetadata, Isolation, Offset, OffsetSpec,
    Producer, TopicPartition,
};
use tidemill_test_support::unique;

use super::{
    LIMIT, NativeConsumer, cluster, cluster_with, consumer, poll_until, producer, reader, send,
    send_all, topic,
};

fn offset(topic: &str, partition: i32, offset: i64) -> Committed {
    Committed {
        partition: TopicPartition::new(topic, partition),
        offset: Offset(offset),
        leader_epoch: None,
        metadata: "time=7".into(),
    }
}

fn end(consumer: &NativeConsumer, topic: &str, isolation: Isolation) -> i64 {
    let partition = [TopicPartition::new(topic, 0)];
    let ends = consumer.list_offsets(&partition, OffsetSpec::Latest, isolation, LIMIT);
    ends.expect("an answer")[0].offset.expect("an end").0
}

#[test]
fn a_committed_transaction_is_seen_whole_and_an_aborted_one_never() {
    let cluster = cluster();
    let name = topic(&cluster, 1);
    let mut producer = producer(&cluster, Some(&unique("id")));
    producer.init_transactions(LIMIT).expect("a coordinator");
    for (value, keep) in [("dropped", false), ("kept", true)] {
        producer.begin().expect("no transaction is open");
        send(&mut producer, &name, 0, value);
        producer.flush(LIMIT).expect("deliveries");
        if keep { producer.commit(LIMIT) } else { producer.abort(LIMIT) }.expect("an end");
    }
    let mut reader = reader(&cluster, &name, 1);
    let polled = poll_until(&mut reader, "the end", |polled| !polled.ends().is_empty());
    assert_eq!(polled.values(), ["kept"]);
    // Two records and two control records.
    assert_eq!(polled.ends(), [(0, 4)]);
    assert_eq!(reader.position(&TopicPartition::new(name.as_str(), 0)), Some(Offset(4)));
}

#[test]
fn an_open_transaction_holds_the_stable_end_below_the_high_watermark() {
    let cluster = cluster();
    let name = topic(&cluster, 1);
    send_all(&cluster, &name, 0, &["before"]);
    let mut producer = producer(&cluster, Some(&unique("id")));
    producer.init_transactions(LIMIT).expect("a coordinator");
    producer.begin().expect("no transaction is open");
    send(&mut producer, &name, 0, "open");
    producer.flush(LIMIT).expect("deliveries");
    let mut reader = reader(&cluster, &name, 1);
    assert_eq!(end(&reader, &name, Isolation::ReadUncommitted), 2);
    assert_eq!(end(&reader, &name, Isolation::ReadCommitted), 1);
    let partition = [TopicPartition::new(name.as_str(), 0)];
    let first =
        reader.list_offsets(&partition, OffsetSpec::Earliest, Isolation::ReadCommitted, LIMIT);
    assert_eq!(first.expect("an answer")[0].offset, Some(Offset(0)));
    let polled = poll_until(&mut reader, "the stable end", |polled| !polled.ends().is_empty());
    assert_eq!((polled.values(), polled.ends()), (vec!["before".to_owned()], vec![(0, 1)]));
    producer.commit(LIMIT).expect("an end");
    let polled = poll_until(&mut reader, "the rest", |polled| !polled.ends().is_empty());
    assert_eq!((polled.values(), polled.ends()), (vec!["open".to_owned()], vec![(0, 3)]));
}

#[test]
fn a_commit_costs_milliseconds_not_a_poll() {
    let cluster = cluster();
    let name = topic(&cluster, 1);
    let mut producer = producer(&cluster, Some(&unique("id")));
    producer.init_transactions(LIMIT).expect("a coordinator");
    let mut times = Vec::new();
    for _ in 0..40 {
        producer.begin().expect("no transaction is open");
        send(&mut producer, &name, 0, "value");
        let started = Instant::now();
        producer.commit(LIMIT).expect("an end");
        times.push(started.elapsed());
    }
    times.sort_unstable();
    assert!(times[20] < Duration::from_millis(50), "median {:?}", times[20]);
}

#[test]
fn an_abort_does_not_wait_for_what_is_queued() {
    let cluster = cluster_with(&[("producer.linger.ms", "8000")]);
    let name = topic(&cluster, 1);
    let mut producer = producer(&cluster, Some(&unique("id")));
    producer.init_transactions(LIMIT).expect("a coordinator");
    producer.begin().expect("no transaction is open");
    for _ in 0..1_000 {
        send(&mut producer, &name, 0, "dropped");
    }
    let started = Instant::now();
    producer.abort(LIMIT).expect("an end");
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert_eq!(producer.deliveries().failed(), 0, "purged records are not failures");
    assert!(producer.deliveries().take_error().is_none());
}

#[test]
fn a_newer_producer_of_the_same_id_fences_the_older_and_ends_its_transaction() {
    let cluster = cluster();
    let name = topic(&cluster, 1);
    let id = unique("id");
    let mut older = producer(&cluster, Some(&id));
    older.init_transactions(LIMIT).expect("a coordinator");
    older.begin().expect("no transaction is open");
    send(&mut older, &name, 0, "abandoned");
    older.flush(LIMIT).expect("deliveries");
    let mut newer = producer(&cluster, Some(&id));
    newer.init_transactions(LIMIT).expect("the older one's transaction is aborted");
    let mut reader = reader(&cluster, &name, 1);
    let polled = poll_until(&mut reader, "the end", |polled| !polled.ends().is_empty());
    assert_eq!((polled.values(), polled.ends()), (Vec::new(), vec![(0, 2)]));

    let error = older.commit(LIMIT).expect_err("it is fenced");
    assert_eq!(error.class(), ErrorClass::Fenced, "{error}");
    assert_eq!(older.fatal_error().expect("it is dead").class(), ErrorClass::Fenced);
    newer.begin().expect("no transaction is open");
    send(&mut newer, &name, 0, "kept");
    newer.commit(LIMIT).expect("an end");
}

#[test]
fn offsets_are_committed_with_the_transaction_and_waited_for_while_it_is_open() {
    let cluster = cluster();
    let (name, group) = (topic(&cluster, 2), unique("group"));
    let mut producer = producer(&cluster, Some(&unique("id")));
    producer.init_transactions(LIMIT).expect("a coordinator");
    let partitions = [0, 1].map(|partition| TopicPartition::new(name.as_str(), partition));
    let reader = consumer(&cluster, ConsumerRole::Assigned, &group);
    assert_eq!(reader.committed(&partitions, LIMIT).expect("an answer"), [None, None]);

    // Outside of a generation a broker checks nothing, which is why callers have to.
    let identity = GroupMetadata {
        group_id: group.as_str().into(),
        generation: -1,
        member_id: "".into(),
        group_instance_id: None,
    };
    assert!(!identity.is_member());
    producer.begin().expect("no transaction is open");
    send(&mut producer, &name, 0, "value");
    producer.send_offsets(&[offset(&name, 1, 5)], &identity, LIMIT).expect("an unchecked identity");
    let error = reader.committed(&partitions, Duration::from_secs(1)).expect_err("it is open");
    assert!(error.class().is_retriable(), "{error}");
    producer.commit(LIMIT).expect("an end");
    let committed = reader.committed(&partitions, LIMIT).expect("an answer");
    assert_eq!(committed[0], None);
    let committed = committed[1].as_ref().expect("an offset");
    assert_eq!((committed.offset, committed.metadata.as_str()), (Offset(5), "time=7"));
}

#[test]
fn offsets_of_a_member_that_the_group_does_not_know_abort_the_transaction() {
    let cluster = cluster();
    let (name, group) = (topic(&cluster, 1), unique("group"));
    let mut producer = producer(&cluster, Some(&unique("id")));
    producer.init_transactions(LIMIT).expect("a coordinator");
    producer.begin().expect("no transaction is open");
    send(&mut producer, &name, 0, "dropped");
    let identity = GroupMetadata {
        group_id: group.as_str().into(),
        generation: 3,
        member_id: "somebody-else".into(),
        group_instance_id: None,
    };
    let outcome = producer.send_offsets(&[offset(&name, 0, 1)], &identity, LIMIT);
    let error = outcome.expect_err("an unknown member");
    assert_eq!(error.class(), ErrorClass::Abortable, "{error}");
    producer.abort(LIMIT).expect("an end");
    producer.begin().expect("the producer lives on");
    send(&mut producer, &name, 0, "kept");
    producer.commit(LIMIT).expect("an end");
}

#[test]
fn a_transaction_that_the_broker_timed_out_leaves_the_producer_fenced() {
    let cluster = cluster_with(&[("producer.transaction.timeout.ms", "1000")]);
    let name = topic(&cluster, 1);
    let mut producer = producer(&cluster, Some(&unique("id")));
    producer.init_transactions(LIMIT).expect("a coordinator");
    producer.begin().expect("no transaction is open");
    send(&mut producer, &name, 0, "late");
    producer.flush(LIMIT).expect("deliveries");
    let reader = reader(&cluster, &name, 1);
    // The broker looks for such transactions every ten seconds.
    let started = Instant::now();
    while end(&reader, &name, Isolation::ReadCommitted) < 2 {
        assert!(started.elapsed() < LIMIT, "the broker never timed it out");
        std::thread::sleep(Duration::from_millis(100));
    }
    let error = producer.commit(LIMIT).expect_err("the broker ended it");
    assert!(error.class().is_fatal(), "{error}");
}
