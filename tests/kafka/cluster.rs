//! The cluster that the other tests rely on does what they rely on.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tidemill_test_support::records::{
    Outgoing, Received, committed, create_topic, delete_topic, produce, produce_lines,
    read_committed, read_until, topics, watermarks,
};
use tidemill_test_support::{KafkaCluster, unique};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_record_comes_back_as_it_was_sent() {
    let bootstrap = KafkaCluster::shared().bootstrap();
    let topic = unique("records");
    create_topic(&bootstrap, &topic, 2, &[("cleanup.policy", "compact")]);
    let sent = Outgoing {
        partition: Some(1),
        key: Some(b"key".to_vec()),
        value: None,
        timestamp: Some(1_700_000_000_123),
        headers: vec![("a".into(), Some(b"1".to_vec())), ("a".into(), None)],
    };
    produce(&bootstrap, &topic, [sent.clone()]);
    let found = read_committed(&bootstrap, &topic);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].partition, found[0].offset), (1, 0));
    assert_eq!((&found[0].key, &found[0].value), (&sent.key, &sent.value));
    assert_eq!((found[0].timestamp, &found[0].headers), (1_700_000_000_123, &sent.headers));
    assert_eq!(found[0].header("a"), Some(Some(&b"1"[..])));
    assert_eq!(watermarks(&bootstrap, &topic), [(0, 0), (0, 1)]);
    assert_eq!(topics(&bootstrap, &topic), std::slice::from_ref(&topic));
    assert_eq!(committed(&bootstrap, &unique("group"), &topic), [None, None]);
    delete_topic(&bootstrap, &topic);
}

#[test]
fn an_aborted_transaction_is_not_read() {
    let bootstrap = KafkaCluster::shared().bootstrap();
    let topic = unique("aborted");
    create_topic(&bootstrap, &topic, 1, &[]);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &bootstrap)
        .set("transactional.id", unique("id"))
        .create()
        .expect("a producer");
    producer.init_transactions(LIMIT).expect("a coordinator");
    for (text, keep) in [("dropped", false), ("kept", true)] {
        producer.begin_transaction().expect("no transaction is open");
        producer.send(BaseRecord::<(), str>::to(&topic).payload(text)).expect("room for a record");
        producer.flush(LIMIT).expect("delivery");
        match keep {
            true => producer.commit_transaction(LIMIT).expect("a commit"),
            false => producer.abort_transaction(LIMIT).expect("an abort"),
        }
    }
    let found = read_committed(&bootstrap, &topic);
    assert_eq!(found.iter().map(Received::text).collect::<Vec<_>>(), ["kept"]);
}

#[test]
fn a_killed_broker_comes_back_with_its_records() {
    let mut cluster = KafkaCluster::start(1);
    let bootstrap = cluster.bootstrap();
    create_topic(&bootstrap, "orders", 1, &[]);
    produce_lines(&bootstrap, "orders", ["one", "two"]);
    cluster.kill(1);
    cluster.restart(1);
    produce_lines(&bootstrap, "orders", ["three"]);
    let found = read_until(&bootstrap, "orders", 3, LIMIT);
    assert_eq!(found.iter().map(Received::text).collect::<Vec<_>>(), ["one", "two", "three"]);
    cluster.stop(1);
    cluster.restart(1);
    assert_eq!(read_until(&bootstrap, "orders", 3, LIMIT), found);
}

#[test]
fn a_frozen_broker_answers_nothing_until_it_goes_on() {
    const FROZEN: Duration = Duration::from_secs(2);
    let mut cluster = KafkaCluster::start(1);
    let bootstrap = cluster.bootstrap();
    create_topic(&bootstrap, "orders", 1, &[]);
    cluster.pause(1);
    let asked = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(FROZEN);
            cluster.resume(1);
        });
        produce_lines(&bootstrap, "orders", ["late"]);
    });
    assert!(asked.elapsed() >= FROZEN, "a frozen broker took a record");
    assert_eq!(read_committed(&bootstrap, "orders").len(), 1);
}

#[test]
fn three_brokers_lose_nothing_with_one_of_them() {
    let mut cluster = KafkaCluster::start(3);
    let bootstrap = cluster.bootstrap();
    create_topic(&bootstrap, "orders", 3, &[]);
    let lines: Vec<String> = (0..300).map(|number| format!("order {number}")).collect();
    produce_lines(&bootstrap, "orders", lines[..150].iter().map(String::as_str));
    cluster.kill(2);
    produce_lines(&bootstrap, "orders", lines[150..].iter().map(String::as_str));
    let found = read_until(&bootstrap, "orders", lines.len(), LIMIT);
    let mut texts: Vec<&str> = found.iter().map(Received::text).collect();
    texts.sort_unstable();
    let mut expected: Vec<&str> = lines.iter().map(String::as_str).collect();
    expected.sort_unstable();
    assert_eq!(texts, expected);
}
