//! The adapter keeps the border's promises on a real cluster: what is read and written, what a
//! transaction shows, how a group divides its partitions, what an admin sees.

mod admin;
mod groups;
mod in_process;
mod leaders;
mod reading;
mod transactions;
mod unanswered;

use std::time::{Duration, Instant};

use tidemill::kafka::{
    Admin, Cluster, Consumer, ConsumerRole, ConsumerSettings, Event, Isolation, Librdkafka,
    Message, NewTopic, Offset, Outgoing, ProduceError, Producer, ProducerSettings, Slot, StartAt,
    TopicPartition,
};
use tidemill_test_support::{KafkaCluster, unique};
use tidemill_topology::record::Headers;
use tidemill_topology::time::Timestamp;

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(30);

type NativeConsumer = <Librdkafka as Cluster>::Consumer;
type NativeProducer = <Librdkafka as Cluster>::Producer;

fn cluster_with(properties: &[(&str, &str)]) -> Librdkafka {
    let bootstrap = KafkaCluster::shared().bootstrap();
    let own = [("bootstrap.servers", bootstrap.as_str())];
    let all = properties.iter().chain(&own);
    let all = all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Librdkafka::new(all.collect()).expect("properties that may be set")
}

fn cluster() -> Librdkafka {
    cluster_with(&[])
}

/// A new topic of that many partitions.
fn topic(cluster: &Librdkafka, partitions: i32) -> String {
    let name = unique("adapter");
    let admin = cluster.admin().expect("an admin client");
    for outcome in
        admin.create_topics(&[NewTopic::new(&name, partitions)], LIMIT).expect("an answer")
    {
        outcome.expect("a new topic");
    }
    name
}

fn consumer(cluster: &Librdkafka, role: ConsumerRole, group: &str) -> NativeConsumer {
    cluster
        .consumer(&ConsumerSettings {
            group_id: group.into(),
            client_id: "adapter-test".into(),
            role,
            isolation: Isolation::ReadCommitted,
        })
        .expect("a consumer")
}

/// A consumer that reads every partition of a topic from its start.
fn reader(cluster: &Librdkafka, topic: &str, partitions: i32) -> NativeConsumer {
    let mut reader = consumer(cluster, ConsumerRole::Assigned, &unique("reader"));
    let start = |partition| StartAt::offset(TopicPartition::new(topic, partition), Offset::ZERO);
    reader.assign(&(0..partitions).map(start).collect::<Vec<_>>()).expect("an assignment");
    reader
}

fn producer(cluster: &Librdkafka, transactional_id: Option<&str>) -> NativeProducer {
    cluster
        .producer(&ProducerSettings {
            client_id: "adapter-test".into(),
            transactional_id: transactional_id.map(Into::into),
            track_offsets: true,
        })
        .expect("a producer")
}

/// A record as it was read, copied.
#[derive(Clone, Debug, PartialEq)]
struct Record {
    slot: Slot,
    partition: i32,
    offset: i64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Headers,
}

/// Everything that polls brought.
#[derive(Debug, Default)]
struct Polled {
    records: Vec<Record>,
    events: Vec<Event>,
}

impl Polled {
    fn values(&self) -> Vec<String> {
        let values = self.records.iter().filter_map(|record| record.value.as_deref());
        values.map(|value| String::from_utf8_lossy(value).into_owned()).collect()
    }

    fn ends(&self) -> Vec<(i32, i64)> {
        let end = |event: &Event| match event {
            Event::EndOfPartition { partition, offset } => Some((partition.partition, offset.0)),
            _ => None,
        };
        self.events.iter().filter_map(end).collect()
    }
}

/// Polls once, adding to `polled`.
fn poll_into(consumer: &mut NativeConsumer, polled: &mut Polled) {
    let mut batch = Vec::new();
    consumer.poll(1_000, Duration::from_millis(50), &mut batch, &mut polled.events);
    for received in batch {
        let mut headers = Headers::new();
        received.message.read_headers(&mut headers);
        polled.records.push(Record {
            slot: received.slot,
            partition: received.message.partition(),
            offset: received.message.offset().0,
            timestamp: received.message.timestamp().millis(),
            key: received.message.key().map(<[u8]>::to_vec),
            value: received.message.value().map(<[u8]>::to_vec),
            headers,
        });
    }
}

/// Polls until `enough` says so.
fn poll_until(
    consumer: &mut NativeConsumer,
    what: &str,
    mut enough: impl FnMut(&Polled) -> bool,
) -> Polled {
    let started = Instant::now();
    let mut polled = Polled::default();
    while !enough(&polled) {
        assert!(started.elapsed() < LIMIT, "waited for {what}, got {polled:?}");
        poll_into(consumer, &mut polled);
    }
    polled
}

fn poll_for(consumer: &mut NativeConsumer, duration: Duration) -> Polled {
    let started = Instant::now();
    let mut polled = Polled::default();
    while started.elapsed() < duration {
        poll_into(consumer, &mut polled);
    }
    polled
}

/// Hands a text over to a partition, waiting while the queue is full.
fn send(producer: &mut NativeProducer, topic: &str, partition: i32, value: &str) {
    let topic = producer.topic(topic).expect("a topic handle");
    let headers = Headers::new();
    let record = Outgoing {
        topic,
        partition: Some(partition),
        key: Some(b"key"),
        value: Some(value.as_bytes()),
        timestamp: Timestamp::new(1_700_000_000_000),
        headers: &headers,
    };
    loop {
        match producer.produce(&record) {
            Ok(()) => return,
            Err(ProduceError::QueueFull) => producer.poll(Duration::from_millis(10)),
            Err(ProduceError::Refused(error)) => panic!("{error}"),
        }
    }
}

/// Hands texts over and waits for their delivery.
fn send_all(cluster: &Librdkafka, topic: &str, partition: i32, values: &[&str]) {
    let mut producer = producer(cluster, None);
    for value in values {
        send(&mut producer, topic, partition, value);
    }
    producer.flush(LIMIT).expect("deliveries");
    assert_eq!(producer.deliveries().delivered(), values.len() as u64);
}
