//! Offsets that an instance is to go on from are gone, in an input and in a changelog.

use std::time::Duration;

use tidemill::kafka::{Admin, Cluster, Librdkafka, Offset, TopicPartition};
use tidemill_test_support::records::watermarks;

use super::words::Words;

/// The end of a topic's only partition.
fn end(words: &Words, topic: &str) -> i64 {
    watermarks(words.bootstrap(), topic)[0].1
}

/// Deletes the records of a topic's only partition below an offset.
fn delete_below(words: &Words, topic: &str, offset: i64) {
    let properties = [("bootstrap.servers".to_owned(), words.bootstrap().to_owned())];
    let cluster = Librdkafka::new(properties.into()).expect("properties that are right");
    let admin = cluster.admin().expect("a client");
    let below = [(TopicPartition::new(topic, 0), Offset(offset))];
    admin.delete_records(&below, Duration::from_secs(30)).expect("an answer of the broker");
}

#[test]
fn records_deleted_before_they_were_processed_stop_the_instance_unless_it_may_skip_them() {
    let words = Words::open_on_shared(1);
    let instance = words.start("one");
    words.send(20);
    words.wait_for_counts(20, 1);
    instance.stop();
    words.send(20);
    let lost = end(&words, words.input());
    words.send(20);
    delete_below(&words, words.input(), lost);
    let failure = words.start("one").failure();
    assert!(failure.contains("input.out.of.range=skip"), "{failure}");
    assert!(failure.contains(words.input()), "{failure}");
    let skipping = words.start_with("one", &[("input.out.of.range", "skip")], |_| ());
    // One of the three rounds is lost, and said to be.
    words.wait_for_counts(20, 2);
    assert!(skipping.metric("tidemill_errors_total", "out_of_range") > 0.0);
    skipping.stop();
}
