//! Topics created, filled and read to their end, with plain rdkafka clients: what Tidemill is
//! judged by must not be Tidemill.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::patience::wait_for;

const PATIENCE: Duration = Duration::from_secs(30);

/// A name that no other test uses, on this broker or after a restart of the test program.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{}-{number}", std::process::id())
}

/// A record to be produced.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    /// `None` leaves the choice to the murmur2 partitioner, as Java clients do.
    pub partition: Option<i32>,
    /// `None` is Kafka's null.
    pub key: Option<Vec<u8>>,
    /// `None` is Kafka's null: a tombstone.
    pub value: Option<Vec<u8>>,
    /// In milliseconds since the epoch; `None` is the time of producing.
    pub timestamp: Option<i64>,
    /// In the order in which they are sent.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Outgoing {
    /// A record with a key and a value.
    pub fn keyed(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Outgoing { key: Some(key.into()), value: Some(value.into()), ..Outgoing::default() }
    }

    /// A record with a value and a null key.
    pub fn unkeyed(value: impl Into<Vec<u8>>) -> Self {
        Outgoing { value: Some(value.into()), ..Outgoing::default() }
    }

    /// The same record at an event time, in milliseconds since the epoch.
    pub fn at(self, timestamp: i64) -> Self {
        Outgoing { timestamp: Some(timestamp), ..self }
    }
}

/// A record as a consumer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The partition it lay in.
    pub partition: i32,
    /// Its offset in that partition.
    pub offset: i64,
    /// In milliseconds since the epoch, -1 where it has none.
    pub timestamp: i64,
    /// `None` is Kafka's null.
    pub key: Option<Vec<u8>>,
    /// `None` is Kafka's null: a tombstone.
    pub value: Option<Vec<u8>>,
    /// In the order of the record.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Received {
    fn of(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            let owned = |header: Header<'_, &[u8]>| {
                (header.key.to_owned(), header.value.map(<[u8]>::to_vec))
            };
            headers.iter().map(owned).collect()
        });
        Received {
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis().unwrap_or(-1),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
        }
    }

    /// The value as text; empty for a tombstone.
    ///
    /// # Panics
    /// When it is not UTF-8.
    pub fn text(&self) -> &str {
        let bytes = self.value.as_deref().unwrap_or_default();
        std::str::from_utf8(bytes).expect("a value that is text")
    }

    /// The first header of a name; `Some(None)` where its value is null.
    pub fn header(&self, name: &str) -> Option<Option<&[u8]>> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_deref())
    }
}

/// Creates a topic with the cluster's default replication and waits until it can be written to.
/// `configs` are topic properties such as `("cleanup.policy", "compact")`.
pub fn create_topic(bootstrap: &str, topic: &str, partitions: i32, configs: &[(&str, &str)]) {
    let admin = admin(bootstrap);
    let wanted = configs.iter().fold(
        NewTopic::new(topic, partitions, TopicReplication::Fixed(-1)),
        |new, (name, value)| new.set(name, value),
    );
    let created = block_on(admin.create_topics([&wanted], &AdminOptions::new()));
    for result in created.expect("an answer of the brokers") {
        match result {
            // On a busy machine the client repeats a request that was carried out.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, error)) => panic!("creating {name}: {error}"),
        }
    }
    crate::patience::wait_for(&format!("leaders of {topic}"), PATIENCE, || {
        let metadata = admin.inner().fetch_metadata(Some(topic), PATIENCE).ok()?;
        let found = metadata.topics().first()?;
        let led = found.partitions().iter().filter(|partition| partition.leader() >= 0).count();
        (led == partitions as usize).then_some(())
    });
}

/// Gives a topic these properties, and the cluster's defaults for all others.
pub fn configure_topic(bootstrap: &str, topic: &str, configs: &[(&str, &str)]) {
    let wanted = configs
        .iter()
        .fold(AlterConfig::new(ResourceSpecifier::Topic(topic)), |config, (name, value)| {
            config.set(name, value)
        });
    let altered = block_on(admin(bootstrap).alter_configs([&wanted], &AdminOptions::new()));
    for result in altered.expect("an answer of the brokers") {
        result.unwrap_or_else(|(resource, error)| panic!("configuring {resource:?}: {error}"));
    }
}

/// Deletes a topic; its absence is no error.
pub fn delete_topic(bootstrap: &str, topic: &str) {
    let deleted = block_on(admin(bootstrap).delete_topics(&[topic], &AdminOptions::new()));
    for result in deleted.expect("an answer of the brokers") {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
            Err((name, error)) => panic!("deleting {name}: {error}"),
        }
    }
}

/// The names of all topics that start with `prefix`, sorted.
pub fn topics(bootstrap: &str, prefix: &str) -> Vec<String> {
    let admin = admin(bootstrap);
    let metadata = admin.inner().fetch_metadata(None, PATIENCE).expect("metadata of the cluster");
    let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
    names.sort();
    names
}

/// Produces records in their order and waits until the brokers have them all.
pub fn produce(bootstrap: &str, topic: &str, records: impl IntoIterator<Item = Outgoing>) {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("partitioner", "murmur2_random")
        .set("enable.idempotence", "true")
        .set("linger.ms", "5")
        .set("message.max.bytes", "8388608")
        .create()
        .expect("a producer");
    for record in records {
        send(&producer, topic, &record);
    }
    producer.flush(PATIENCE).expect("all records delivered");
}

/// Produces each line as the value of a record with a null key.
pub fn produce_lines<'a>(bootstrap: &str, topic: &str, lines: impl IntoIterator<Item = &'a str>) {
    produce(bootstrap, topic, lines.into_iter().map(Outgoing::unkeyed));
}

fn send(producer: &ThreadedProducer<DefaultProducerContext>, topic: &str, record: &Outgoing) {
    let mut message: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
    message.key = record.key.as_deref();
    message.payload = record.value.as_deref();
    message.partition = record.partition;
    message.timestamp = record.timestamp;
    if !record.headers.is_empty() {
        let empty = OwnedHeaders::new_with_capacity(record.headers.len());
        message.headers = Some(record.headers.iter().fold(empty, |headers, (key, value)| {
            headers.insert(Header { key, value: value.as_deref() })
        }));
    }
    while let Err((error, unsent)) = producer.send(message) {
        let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
        assert!(error == full, "producing to {topic}: {error}");
        std::thread::sleep(Duration::from_millis(1));
        message = unsent;
    }
}

/// Every committed record up to the end that a `read_committed` consumer sees now, in order within
/// a partition. An open transaction hides what lies behind its start.
pub fn read_committed(bootstrap: &str, topic: &str) -> Vec<Received> {
    read(bootstrap, topic, |_, open| open == 0, PATIENCE)
}

/// Reads committed records from the earliest on until there are `count` of them.
///
/// # Panics
/// After `limit`, saying how many came.
pub fn read_until(bootstrap: &str, topic: &str, count: usize, limit: Duration) -> Vec<Received> {
    read(bootstrap, topic, |records, _| records.len() >= count, limit)
}

/// Reads until `enough` says so, which is asked with the records and the number of partitions
/// whose end was not seen yet.
fn read(
    bootstrap: &str,
    topic: &str,
    enough: impl Fn(&[Received], usize) -> bool,
    limit: Duration,
) -> Vec<Received> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        // librdkafka wants one; nothing joins or commits it.
        .set("group.id", "tidemill-test-reader")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "20")
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.message.max.bytes", "8388608")
        .create()
        .expect("a consumer");
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("metadata of the topic");
    let partitions = metadata.topics().first().map_or(0, |found| found.partitions().len()) as i32;
    assert!(partitions > 0, "there is no topic {topic}");
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment
            .add_partition_offset(topic, partition, Offset::Beginning)
            .expect("the beginning is an offset");
    }
    consumer.assign(&assignment).expect("partitions of a topic that exists");

    let started = Instant::now();
    let mut open: HashSet<i32> = (0..partitions).collect();
    let mut records = Vec::new();
    while !enough(&records, open.len()) {
        assert!(
            started.elapsed() < limit,
            "waited {} s at {topic}: {} records, {} partitions not at their end",
            limit.as_secs_f32(),
            records.len(),
            open.len()
        );
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => records.push(Received::of(&message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(error)) => {
                // A broker that is being restarted; the limit bounds it.
                let lost = [
                    RDKafkaErrorCode::BrokerTransportFailure,
                    RDKafkaErrorCode::AllBrokersDown,
                    RDKafkaErrorCode::OperationTimedOut,
                ];
                let code = error.rdkafka_error_code();
                assert!(code.is_some_and(|code| lost.contains(&code)), "reading {topic}: {error}");
            }
            None => {}
        }
    }
    records
}

/// (earliest, end) of each partition, by number; the end counts uncommitted records too.
pub fn watermarks(bootstrap: &str, topic: &str) -> Vec<(i64, i64)> {
    let admin = admin(bootstrap);
    let client = admin.inner();
    let metadata = while_leaders_move("metadata", || client.fetch_metadata(Some(topic), PATIENCE));
    let partitions = metadata.topics().first().map_or(0, |found| found.partitions().len()) as i32;
    let of = |partition| client.fetch_watermarks(topic, partition, PATIENCE);
    (0..partitions)
        .map(|partition| while_leaders_move("watermarks of a partition", || of(partition)))
        .collect()
}

/// Asks again while brokers hand over what they lead.
///
/// # Panics
/// After [`PATIENCE`], and at once with an error that asking again does not mend.
fn while_leaders_move<T>(what: &str, ask: impl Fn() -> Result<T, KafkaError>) -> T {
    let moving = [
        RDKafkaErrorCode::NotLeaderForPartition,
        RDKafkaErrorCode::LeaderNotAvailable,
        RDKafkaErrorCode::FencedLeaderEpoch,
        RDKafkaErrorCode::UnknownLeaderEpoch,
        RDKafkaErrorCode::OffsetNotAvailable,
        RDKafkaErrorCode::NotCoordinator,
        RDKafkaErrorCode::CoordinatorNotAvailable,
        RDKafkaErrorCode::CoordinatorLoadInProgress,
        RDKafkaErrorCode::BrokerTransportFailure,
        RDKafkaErrorCode::OperationTimedOut,
    ];
    wait_for(what, PATIENCE, || match ask() {
        Ok(answer) => Some(answer),
        Err(error) => {
            let code = error.rdkafka_error_code();
            assert!(code.is_some_and(|code| moving.contains(&code)), "{what}: {error}");
            None
        }
    })
}

/// The committed offset of each partition of a topic in a group, `None` where there is none.
pub fn committed(bootstrap: &str, group: &str, topic: &str) -> Vec<Option<i64>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        // Under read_committed a broker does not answer while a transaction holds offsets.
        .set("isolation.level", "read_uncommitted")
        .create()
        .expect("a consumer");
    let partitions = watermarks(bootstrap, topic).len() as i32;
    let mut list = TopicPartitionList::new();
    list.add_partition_range(topic, 0, partitions - 1);
    let answer = while_leaders_move("committed offsets", || {
        consumer.committed_offsets(list.clone(), PATIENCE)
    });
    let offset = |offset: Offset| match offset {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    };
    answer.elements().iter().map(|element| offset(element.offset())).collect()
}

fn admin(bootstrap: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        // Without it the end of a partition is where its first open transaction starts.
        .set("isolation.level", "read_uncommitted")
        .create()
        .expect("an admin client")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}
