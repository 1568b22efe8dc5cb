//! The border to Kafka on a real broker: batches in, and changes of a store out.

use std::cell::LazyCell;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use tidemill::kafka::{
    Cluster, Consumer, ConsumerRole, ConsumerSettings, Isolation, Librdkafka, Message, Offset,
    Outgoing, ProduceError, Producer, ProducerSettings, StartAt, TopicPartition,
};
use tidemill::prelude::{Headers, Timestamp};
use tidemill_test_support::{KafkaCluster, records, unique};

const RECORDS: u64 = 200_000;
const LIMIT: Duration = Duration::from_secs(60);

/// As long as a changelog record of a count, and as an order.
const SIZES: [(&str, usize); 2] = [("a count", 16), ("an order", 150)];

/// Produces changelogs within transactions, and reads them back. The broker starts when the first
/// of them runs.
pub fn consume_and_produce(c: &mut Criterion) {
    let bootstrap = LazyCell::new(|| KafkaCluster::shared().bootstrap());
    let cluster = LazyCell::new(|| {
        Librdkafka::new([("bootstrap.servers".to_owned(), bootstrap.clone())].into()).unwrap()
    });
    for (what, value_bytes) in SIZES {
        // Filled once, so that reading it does not depend on which benchmarks ran.
        let topic = LazyCell::new(|| {
            let topic = unique("layers");
            records::create_topic(&bootstrap, &topic, 1, &[]);
            produce(&mut open_producer(&cluster), &topic, value_bytes);
            topic
        });
        let mut group = c.benchmark_group("kafka");
        group.throughput(Throughput::Elements(RECORDS));
        group.sample_size(10);
        group.bench_function(format!("changelog produce, {what}"), |b| {
            let mut producer = open_producer(&cluster);
            b.iter_custom(|times| {
                (0..times).map(|_| produce(&mut producer, &topic, value_bytes)).sum()
            });
        });
        group.bench_function(format!("consume, {what}"), |b| {
            b.iter_custom(|times| (0..times).map(|_| consume(&cluster, &topic)).sum());
        });
        group.finish();
    }
}

fn open_producer(cluster: &Librdkafka) -> <Librdkafka as Cluster>::Producer {
    let mut producer = cluster
        .producer(&ProducerSettings {
            client_id: "layers".into(),
            transactional_id: Some(unique("layers").into()),
            track_offsets: true,
        })
        .unwrap();
    producer.init_transactions(LIMIT).unwrap();
    producer
}

/// One transaction of [`RECORDS`] records, from the first to the end of the commit.
fn produce(
    producer: &mut <Librdkafka as Cluster>::Producer,
    topic: &str,
    value_bytes: usize,
) -> Duration {
    let topic = producer.topic(topic).unwrap();
    let mut value = vec![b'v'; value_bytes];
    let started = Instant::now();
    producer.begin().unwrap();
    for number in 0..RECORDS {
        let key = number.to_be_bytes();
        value[..8].copy_from_slice(&key);
        let record = Outgoing {
            topic,
            partition: Some(0),
            key: Some(&key),
            value: Some(&value),
            timestamp: Timestamp::new(1),
            headers: Headers::none(),
        };
        while let Err(error) = producer.produce(&record) {
            assert!(matches!(error, ProduceError::QueueFull), "{error:?}");
            producer.poll(Duration::from_millis(1));
        }
    }
    producer.commit(LIMIT).unwrap();
    started.elapsed()
}

/// Reads [`RECORDS`] records from the topic's start, keys and values looked at. Connecting does not
/// count: the clock runs from the first record.
fn consume(cluster: &Librdkafka, topic: &str) -> Duration {
    let mut consumer = cluster
        .consumer(&ConsumerSettings {
            group_id: unique("layers").into(),
            client_id: "layers".into(),
            role: ConsumerRole::Assigned,
            isolation: Isolation::ReadCommitted,
        })
        .unwrap();
    consumer.assign(&[StartAt::offset(TopicPartition::new(topic, 0), Offset::ZERO)]).unwrap();
    let (mut batch, mut events) = (Vec::new(), Vec::new());
    let (mut count, mut bytes) = (0, 0);
    let mut started = None;
    while count < RECORDS {
        consumer.poll(1_000, Duration::from_millis(100), &mut batch, &mut events);
        if !batch.is_empty() {
            started.get_or_insert_with(Instant::now);
        }
        for received in batch.drain(..) {
            count += 1;
            let message = &received.message;
            bytes += message.key().map_or(0, <[u8]>::len) + message.value().map_or(0, <[u8]>::len);
        }
    }
    std::hint::black_box(bytes);
    started.map_or(Duration::ZERO, |started| started.elapsed())
}
