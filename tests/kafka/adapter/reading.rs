//! What is written comes back as it was, from where it was asked for.

use std::thread;
use std::time::{Duration, Instant};

use tidemill::kafka::{
    Admin, Cluster, Consumer, ConsumerRole, ErrorClass, Event, Offset, Outgoing, ProduceError,
    Producer, StartAt, TopicPartition, Waker,
};
use tidemill_test_support::unique;
use tidemill_topology::record::Headers;
use tidemill_topology::time::Timestamp;

use super::{
    LIMIT, cluster, cluster_with, consumer, poll_for, poll_until, producer, reader, send, send_all,
    topic,
};

#[test]
fn keys_values_nulls_timestamps_and_headers_come_back_as_they_were_sent() {
    let cluster = cluster();
    let name = topic(&cluster, 1);
    let mut headers = Headers::new();
    headers.push("trace", Some(b"1".to_vec()));
    headers.push("trace", None);
    headers.push("empty", Some(Vec::new()));
    let none = Headers::new();
    let mut producer = producer(&cluster, None);
    let id = producer.topic(&name).expect("a topic handle");
    assert_eq!(producer.topic(&name).expect("the same handle"), id);
    let record = |key, value, millis, headers| Outgoing {
        topic: id,
        partition: Some(0),
        key,
        value,
        timestamp: Timestamp::new(millis),
        headers,
    };
    // With and without headers, whichever part of the record stands before them.
    let parts = [Some(&b"part"[..]), Some(&b""[..]), None];
    let mut sent = vec![record(None, None, -1, &none)];
    for key in parts {
        for value in parts {
            for headers in [&headers, &none] {
                sent.push(record(key, value, 1_000 * sent.len() as i64, headers));
            }
        }
    }
    for record in &sent {
        producer.produce(record).expect("room in the queue");
    }
    producer.flush(LIMIT).expect("deliveries");
    assert_eq!(producer.deliveries().highest(id, 0), Some(Offset(18)));
    assert_eq!(producer.in_flight(), 0);

    let mut reader = reader(&cluster, &name, 1);
    let polled =
        poll_until(&mut reader, "all records", |polled| polled.records.len() == sent.len());
    for (sent, found) in sent.iter().zip(&polled.records) {
        assert_eq!(found.key.as_deref(), sent.key);
        assert_eq!(found.value.as_deref(), sent.value);
        assert_eq!(&found.headers, sent.headers);
        if sent.timestamp.millis() >= 0 {
            assert_eq!(found.timestamp, sent.timestamp.millis());
        }
    }
    assert!(polled.records[0].timestamp > 1_700_000_000_000, "the present");
}

#[test]
fn a_key_lands_on_the_partition_that_java_clients_choose() {
    let cluster = cluster();
    let name = topic(&cluster, 4);
    let mut producer = producer(&cluster, None);
    let id = producer.topic(&name).expect("a topic handle");
    // Kafka's Utils.murmur2 of these keys, made positive, modulo 4.
    let expected = [("foobar", 3), ("21", 2), ("a-little-bit-long-string", 2)];
    let murmur2 = |key: &str| (to_positive(murmur2(key.as_bytes())) % 4).cast_signed();
    for (key, _) in expected {
        let headers = Headers::new();
        let record = Outgoing {
            topic: id,
            partition: None,
            key: Some(key.as_bytes()),
            value: Some(key.as_bytes()),
            timestamp: Timestamp::new(1),
            headers: &headers,
        };
        producer.produce(&record).expect("room in the queue");
    }
    producer.flush(LIMIT).expect("deliveries");
    let mut reader = reader(&cluster, &name, 4);
    let polled = poll_until(&mut reader, "three records", |polled| polled.records.len() == 3);
    for record in &polled.records {
        let key = String::from_utf8(record.key.clone().expect("a key")).expect("a text");
        assert_eq!(record.partition, murmur2(&key), "{key}");
    }
}

/// Kafka's `Utils.murmur2`, whose published test vectors are checked here first.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 ^ u32::try_from(data.len()).expect("a short key");
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut word = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        word = word.wrapping_mul(M);
        word ^= word >> 24;
        hash = hash.wrapping_mul(M) ^ word.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    for (index, byte) in rest.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * index);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

fn to_positive(hash: u32) -> u32 {
    hash & 0x7fff_ffff
}

#[test]
fn the_murmur2_of_these_tests_is_kafkas() {
    // From Kafka's UtilsTest.
    assert_eq!(murmur2(b"21").cast_signed(), -973_932_308);
    assert_eq!(murmur2(b"foobar").cast_signed(), -790_332_482);
    assert_eq!(murmur2(b"a-little-bit-long-string").cast_signed(), -985_981_536);
}

#[test]
fn batches_keep_the_order_of_each_partition_and_end_with_its_end() {
    let cluster = cluster();
    let name = topic(&cluster, 3);
    let mut producer = producer(&cluster, None);
    for index in 0..30_000 {
        send(&mut producer, &name, index % 3, &index.to_string());
    }
    producer.flush(LIMIT).expect("deliveries");
    let mut reader = reader(&cluster, &name, 3);
    let polled = poll_until(&mut reader, "three ends", |polled| polled.ends().len() == 3);
    assert_eq!(polled.records.len(), 30_000);
    let mut ends = polled.ends();
    ends.sort_unstable();
    assert_eq!(ends, [(0, 10_000), (1, 10_000), (2, 10_000)]);
    for partition in 0..3 {
        let of_partition = TopicPartition::new(name.as_str(), partition);
        let slot = reader.slot(&of_partition);
        let mine: Vec<_> = polled.records.iter().filter(|record| record.slot == slot).collect();
        assert!(mine.iter().all(|record| record.partition == partition));
        assert!(mine.iter().map(|record| record.offset).eq(0..10_000));
        assert_eq!(reader.position(&of_partition), Some(Offset(10_000)));
        assert_eq!(reader.known_end(&of_partition), Some(Offset(10_000)));
    }
}

#[test]
fn a_paused_partition_hands_nothing_out_and_loses_nothing() {
    let cluster = cluster();
    let name = topic(&cluster, 2);
    send_all(&cluster, &name, 0, &["a0", "a1"]);
    send_all(&cluster, &name, 1, &["b0", "b1"]);
    let (first, second) =
        (TopicPartition::new(name.as_str(), 0), TopicPartition::new(name.as_str(), 1));
    let mut reader = consumer(&cluster, ConsumerRole::Assigned, &unique("reader"));
    let held = StartAt::paused(second.clone());
    reader.assign(&[StartAt::offset(first.clone(), Offset::ZERO), held]).expect("an assignment");
    assert_eq!(poll_for(&mut reader, Duration::from_millis(700)).values(), ["a0", "a1"]);

    reader.pause(std::slice::from_ref(&first));
    reader.seek(&[(second.clone(), Offset::ZERO)], LIMIT).expect("an assigned partition");
    reader.resume(&[second]);
    send_all(&cluster, &name, 0, &["a2"]);
    assert_eq!(poll_for(&mut reader, Duration::from_millis(700)).values(), ["b0", "b1"]);

    reader.resume(&[first]);
    let polled = poll_until(&mut reader, "the held record", |polled| !polled.records.is_empty());
    assert_eq!(polled.values(), ["a2"]);
}

#[test]
fn partitions_are_added_and_taken_away_one_by_one() {
    let cluster = cluster();
    let name = topic(&cluster, 2);
    send_all(&cluster, &name, 0, &["a0", "a1", "a2"]);
    send_all(&cluster, &name, 1, &["b0"]);
    let (first, second) =
        (TopicPartition::new(name.as_str(), 0), TopicPartition::new(name.as_str(), 1));
    let mut reader = consumer(&cluster, ConsumerRole::Assigned, &unique("reader"));
    reader
        .incremental_assign(&[StartAt::offset(first.clone(), Offset(1))])
        .expect("a first partition");
    let polled = poll_until(&mut reader, "the first end", |polled| !polled.ends().is_empty());
    assert_eq!(polled.values(), ["a1", "a2"]);
    reader.incremental_assign(&[StartAt::offset(second, Offset(0))]).expect("a second partition");
    reader.incremental_unassign(std::slice::from_ref(&first)).expect("the first is assigned");
    send_all(&cluster, &name, 0, &["a3"]);
    assert_eq!(poll_for(&mut reader, Duration::from_millis(700)).values(), ["b0"]);
    assert!(reader.incremental_unassign(&[first]).is_err(), "it is not assigned any more");
}

#[test]
fn a_seek_goes_back_and_drops_what_was_fetched() {
    let cluster = cluster();
    let name = topic(&cluster, 1);
    send_all(&cluster, &name, 0, &["0", "1", "2"]);
    let mut reader = reader(&cluster, &name, 1);
    poll_until(&mut reader, "the end", |polled| !polled.ends().is_empty());
    let partition = TopicPartition::new(name.as_str(), 0);
    reader.seek(&[(partition.clone(), Offset(1))], LIMIT).expect("an assigned partition");
    let polled = poll_until(&mut reader, "two again", |polled| polled.records.len() == 2);
    assert_eq!(polled.values(), ["1", "2"]);
    assert_eq!(reader.position(&partition), Some(Offset(3)));
}

#[test]
fn a_partition_that_waited_for_its_position_begins_wherever_the_log_does() {
    let cluster = cluster();
    let name = topic(&cluster, 1);
    send_all(&cluster, &name, 0, &["0", "1", "2"]);
    let partition = TopicPartition::new(name.as_str(), 0);
    let admin = cluster.admin().expect("an admin client");
    admin.delete_records(&[(partition.clone(), Offset(1))], LIMIT).expect("a purge");
    let mut reader = consumer(&cluster, ConsumerRole::Assigned, &unique("reader"));
    reader.assign(&[StartAt::paused(partition.clone())]).expect("an assignment");
    assert_eq!(poll_for(&mut reader, Duration::from_millis(700)).values(), Vec::<String>::new());
    reader.seek(&[(partition.clone(), Offset(1))], LIMIT).expect("a partition that is read");
    reader.resume(&[partition]);
    let polled = poll_until(&mut reader, "what is left", |polled| polled.records.len() == 2);
    assert_eq!(polled.values(), ["1", "2"]);
}

#[test]
fn a_position_that_comes_right_after_the_assignment_stays() {
    // More than is fetched ahead: a position that moved meanwhile would leave a gap behind that.
    const RECORDS: usize = 30_000;
    let cluster = cluster();
    let name = topic(&cluster, 1);
    let values: Vec<String> = (0..RECORDS).map(|number| number.to_string()).collect();
    send_all(&cluster, &name, 0, &values.iter().map(String::as_str).collect::<Vec<_>>());
    let partition = TopicPartition::new(name.as_str(), 0);
    let mut reader = consumer(&cluster, ConsumerRole::Assigned, &unique("reader"));
    reader.assign(&[StartAt::paused(partition.clone())]).expect("an assignment");
    reader.seek(&[(partition.clone(), Offset::ZERO)], LIMIT).expect("a partition that is read");
    reader.resume(std::slice::from_ref(&partition));
    reader.pause(std::slice::from_ref(&partition));
    let early = poll_for(&mut reader, Duration::from_millis(1_500)).records.len();
    reader.resume(&[partition]);
    let polled = poll_until(&mut reader, "the end", |polled| !polled.ends().is_empty());
    assert_eq!(early + polled.records.len(), RECORDS);
}

#[test]
fn a_partition_that_is_held_let_go_and_held_again_begins_where_it_is_told() {
    let cluster = cluster();
    let name = topic(&cluster, 1);
    send_all(&cluster, &name, 0, &["0", "1", "2"]);
    let partition = TopicPartition::new(name.as_str(), 0);
    let mut reader = consumer(&cluster, ConsumerRole::Assigned, &unique("reader"));
    for first in 0..3 {
        let held = StartAt::paused(partition.clone());
        // Given up while it is still held, and then again after it was read.
        reader.incremental_assign(std::slice::from_ref(&held)).expect("it is not assigned");
        reader.incremental_unassign(std::slice::from_ref(&partition)).expect("it is assigned");
        reader.incremental_assign(&[held]).expect("it is not assigned any more");
        reader.seek(&[(partition.clone(), Offset(first))], LIMIT).expect("it is assigned");
        reader.resume(std::slice::from_ref(&partition));
        let polled = poll_until(&mut reader, "the end", |polled| !polled.ends().is_empty());
        let expected: Vec<String> = (first..3).map(|offset| offset.to_string()).collect();
        assert_eq!(polled.values(), expected);
        reader.incremental_unassign(std::slice::from_ref(&partition)).expect("it is assigned");
    }
}

#[test]
fn a_partition_that_is_fetched_anew_hands_out_each_record_once() {
    let cluster = cluster();
    let name = topic(&cluster, 2);
    send_all(&cluster, &name, 0, &["a0", "a1"]);
    send_all(&cluster, &name, 1, &["b0"]);
    let (first, second) =
        (TopicPartition::new(name.as_str(), 0), TopicPartition::new(name.as_str(), 1));
    let mut reader = consumer(&cluster, ConsumerRole::Assigned, &unique("reader"));
    let held = StartAt::paused(second.clone());
    reader.assign(&[StartAt::offset(first.clone(), Offset::ZERO), held]).expect("an assignment");
    let polled = poll_until(&mut reader, "two records", |polled| polled.records.len() == 2);
    assert_eq!(polled.values(), ["a0", "a1"]);
    // One stands with records that it keeps back, the other has not even begun.
    reader.pause(std::slice::from_ref(&first));
    send_all(&cluster, &name, 0, &["a2"]);
    assert_eq!(poll_for(&mut reader, Duration::from_millis(700)).values(), Vec::<String>::new());
    let positions = [(first.clone(), Offset(2)), (second, Offset::ZERO)];
    reader.refetch(&positions, LIMIT).expect("assigned partitions");
    let mut values = poll_for(&mut reader, Duration::from_millis(1_500)).values();
    values.sort_unstable();
    assert_eq!(values, ["a2", "b0"]);
    assert_eq!(reader.position(&first), Some(Offset(3)));
}

#[test]
fn a_start_below_the_log_or_beyond_it_is_reported_and_never_moved() {
    let cluster = cluster();
    let name = topic(&cluster, 2);
    send_all(&cluster, &name, 0, &["0", "1", "2"]);
    let (first, second) =
        (TopicPartition::new(name.as_str(), 0), TopicPartition::new(name.as_str(), 1));
    let admin = cluster.admin().expect("an admin client");
    admin.delete_records(&[(first.clone(), Offset(2))], LIMIT).expect("a purge");
    let mut reader = consumer(&cluster, ConsumerRole::Assigned, &unique("reader"));
    let starts = [StartAt::offset(first.clone(), Offset(1)), StartAt::offset(second, Offset(5))];
    reader.assign(&starts).expect("an assignment");
    let out_of_range = |event: &Event| matches!(event, Event::OutOfRange { .. });
    let polled = poll_until(&mut reader, "two events", |polled| {
        polled.events.iter().filter(|event| out_of_range(event)).count() == 2
    });
    assert_eq!(polled.values(), Vec::<String>::new());
    for event in &polled.events {
        if let Event::OutOfRange { error, .. } = event {
            assert_eq!(error.class(), ErrorClass::OffsetOutOfRange, "{error}");
        }
    }
    reader.incremental_unassign(std::slice::from_ref(&first)).expect("it is assigned");
    reader.incremental_assign(&[StartAt::offset(first, Offset(2))]).expect("a new start");
    let polled = poll_until(&mut reader, "the rest", |polled| !polled.records.is_empty());
    assert_eq!(polled.values(), ["2"]);
}

/// librdkafka stops fetching some time after it was told, and ends the forwarding of what is fetched
/// then, whoever has the partition by now.
#[test]
fn a_partition_that_is_taken_away_and_given_back_at_once_is_read() {
    let cluster = cluster_with(&[("consumer.fetch.wait.max.ms", "1")]);
    let name = topic(&cluster, 1);
    send_all(&cluster, &name, 0, &["0"]);
    let mut reader = reader(&cluster, &name, 1);
    let first = TopicPartition::new(name.as_str(), 0);
    let start = [StartAt::offset(first.clone(), Offset::ZERO)];
    for round in 0..200 {
        let polled = poll_until(&mut reader, "the record", |polled| !polled.records.is_empty());
        assert_eq!(polled.values(), ["0"], "round {round}");
        if round % 2 == 0 {
            reader.incremental_unassign(std::slice::from_ref(&first)).expect("it is assigned");
            reader.incremental_assign(&start).expect("a new start");
        } else {
            reader.assign(&start).expect("a new start");
        }
    }
}

#[test]
fn a_start_without_a_committed_offset_is_reported() {
    let cluster = cluster();
    let name = topic(&cluster, 1);
    send_all(&cluster, &name, 0, &["0"]);
    let partition = TopicPartition::new(name.as_str(), 0);
    let mut reader = consumer(&cluster, ConsumerRole::Assigned, &unique("reader"));
    reader.assign(&[StartAt::committed(partition)]).expect("an assignment");
    let polled = poll_until(&mut reader, "an event", |polled| !polled.events.is_empty());
    assert!(matches!(polled.events[0], Event::OutOfRange { .. }), "{:?}", polled.events);
}

#[test]
fn a_full_queue_hands_the_record_back_and_takes_it_later() {
    let cluster = cluster_with(&[("producer.queue.buffering.max.messages", "10")]);
    let name = topic(&cluster, 1);
    let mut producer = producer(&cluster, None);
    let id = producer.topic(&name).expect("a topic handle");
    let headers = Headers::new();
    let record = Outgoing {
        topic: id,
        partition: Some(0),
        key: None,
        value: Some(b"value"),
        timestamp: Timestamp::new(1),
        headers: &headers,
    };
    let mut refused = 0;
    for _ in 0..1_000 {
        while let Err(error) = producer.produce(&record) {
            assert!(matches!(error, ProduceError::QueueFull), "{error}");
            refused += 1;
            producer.poll(Duration::from_millis(5));
        }
    }
    producer.flush(LIMIT).expect("deliveries");
    assert!(refused > 0);
    assert_eq!(producer.deliveries().delivered(), 1_000);
    assert_eq!(producer.deliveries().highest(id, 0), Some(Offset(999)));
}

#[test]
fn a_record_that_is_too_large_is_refused_by_name() {
    let cluster = cluster();
    let name = topic(&cluster, 1);
    let mut producer = producer(&cluster, None);
    let id = producer.topic(&name).expect("a topic handle");
    let (headers, value) = (Headers::new(), vec![0; 2_000_000]);
    let record = Outgoing {
        topic: id,
        partition: Some(0),
        key: None,
        value: Some(&value),
        timestamp: Timestamp::new(1),
        headers: &headers,
    };
    let Err(ProduceError::Refused(error)) = producer.produce(&record) else {
        panic!("it should be refused")
    };
    assert_eq!((error.class(), error.topic()), (ErrorClass::RecordTooLarge, Some(name.as_str())));
}

#[test]
fn a_failed_delivery_is_kept_with_its_place() {
    let cluster = cluster_with(&[("producer.message.timeout.ms", "1500")]);
    let name = unique("no-such-topic");
    let mut producer = producer(&cluster, None);
    send(&mut producer, &name, 0, "lost");
    producer.flush(LIMIT).expect("a report, if a bad one");
    let (partition, error) = producer.deliveries().take_error().expect("a failure");
    assert_eq!(partition.topic.as_ref(), name);
    assert_eq!((error.class(), error.code()), (ErrorClass::Abortable, "_MSG_TIMED_OUT"));
    assert_eq!((producer.deliveries().failed(), producer.deliveries().delivered()), (1, 0));
    assert!(producer.deliveries().take_error().is_none());
}

#[test]
fn a_waiting_poll_ends_when_it_is_woken_even_before_it_waits() {
    let cluster = cluster();
    let name = topic(&cluster, 1);
    let mut reader = reader(&cluster, &name, 1);
    poll_until(&mut reader, "the end", |polled| !polled.ends().is_empty());
    let waker = reader.waker();
    let timed = |reader: &mut super::NativeConsumer| {
        let started = Instant::now();
        reader.poll(10, Duration::from_secs(20), &mut Vec::new(), &mut Vec::new());
        started.elapsed()
    };
    waker.wake();
    assert!(timed(&mut reader) < Duration::from_secs(2));
    let other = waker.clone();
    let thread = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        other.wake();
    });
    let waited = timed(&mut reader);
    thread.join().expect("no panic");
    assert!((Duration::from_millis(200)..Duration::from_secs(2)).contains(&waited), "{waited:?}");
    drop(reader);
    waker.wake();
}

#[test]
fn ending_a_consumer_waits_for_its_messages() {
    let cluster = cluster();
    let name = topic(&cluster, 1);
    send_all(&cluster, &name, 0, &["kept"]);
    let mut reader = reader(&cluster, &name, 1);
    let mut records = Vec::new();
    let started = Instant::now();
    while records.is_empty() && started.elapsed() < LIMIT {
        reader.poll(10, Duration::from_millis(100), &mut records, &mut Vec::new());
    }
    let ending = thread::spawn(move || drop(reader));
    thread::sleep(Duration::from_millis(500));
    assert!(!ending.is_finished(), "a message is alive");
    drop(records);
    ending.join().expect("no panic");
}
