//! The in-process cluster carries what the demo needs of one.

use tidemill::kafka::{
    Admin, Cluster, Committed, Consumer, ConsumerRole, Event, Isolation, Librdkafka, MockCluster,
    Offset, OffsetSpec, Producer, StartAt, TopicPartition,
};
use tidemill_test_support::unique;

use super::{LIMIT, consumer, poll_until, producer, reader, send};

#[test]
fn the_in_process_cluster_serves_groups_transactions_and_offsets() {
    let mock = MockCluster::start(1).expect("a free port");
    mock.set_group_delay_ms(0);
    mock.create_topic("orders", 2).expect("a new topic");
    let properties = [("bootstrap.servers", mock.bootstrap()), ("consumer.fetch.wait.max.ms", "5")];
    let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let cluster = Librdkafka::new(properties.into()).expect("properties that may be set");

    let admin = cluster.admin().expect("an admin client");
    let described = admin.describe_topics(&["orders"], LIMIT).expect("an answer").remove(0);
    assert_eq!(described.expect("a topic").partitions.len(), 2);

    let role = ConsumerRole::Member { group_instance_id: None };
    let mut member = consumer(&cluster, role, &unique("group"));
    member.subscribe(&["orders"]).expect("a subscription");
    let assigned = |event: &Event| matches!(event, Event::Assigned { .. });
    let polled = poll_until(&mut member, "an assignment", |p| p.events.iter().any(assigned));
    let Some(Event::Assigned { partitions, identity }) = polled.events.into_iter().find(assigned)
    else {
        unreachable!("just seen")
    };
    assert_eq!(partitions.len(), 2);
    let start = partitions.into_iter().map(|partition| StartAt::offset(partition, Offset::ZERO));
    member.incremental_assign(&start.collect::<Vec<_>>()).expect("an assignment");

    let mut producer = producer(&cluster, Some("demo"));
    producer.init_transactions(LIMIT).expect("a coordinator");
    producer.begin().expect("no transaction is open");
    send(&mut producer, "orders", 1, "sell");
    producer.flush(LIMIT).expect("deliveries");
    let polled = poll_until(&mut member, "the order", |polled| !polled.records.is_empty());
    assert_eq!(polled.values(), ["sell"]);
    let next = Committed {
        partition: TopicPartition::new("orders", 1),
        offset: Offset(1),
        leader_epoch: None,
        metadata: String::new(),
    };
    producer.send_offsets(&[next], &identity, LIMIT).expect("a member");
    producer.commit(LIMIT).expect("an end");

    let reader = reader(&cluster, "orders", 2);
    let partition = [TopicPartition::new("orders", 1)];
    let end =
        reader.list_offsets(&partition, OffsetSpec::Latest, Isolation::ReadUncommitted, LIMIT);
    assert!(end.expect("an answer")[0].offset >= Some(Offset(1)));
    member.close(LIMIT, false).expect("a quick end");
}
