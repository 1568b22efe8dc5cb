//! Topics are deleted or grow under an instance, or refuse what it writes.

use tidemill_test_support::KafkaCluster;
use tidemill_test_support::records::{create_topic, delete_topic, produce};

use super::words::Words;

#[test]
fn an_input_that_is_deleted_ends_the_instance_and_is_named() {
    let words = Words::open_on_shared(2);
    let instance = words.start("one");
    words.send(50);
    words.wait_for_counts(50, 1);
    delete_topic(words.bootstrap(), words.input());
    let failure = instance.failure();
    assert!(failure.contains(&format!("topic {} was deleted", words.input())), "{failure}");
}

#[test]
fn an_input_that_is_created_anew_is_not_taken_for_the_old_one() {
    let words = Words::open_on_shared(2);
    let instance = words.start("one");
    words.send(50);
    words.wait_for_counts(50, 1);
    delete_topic(words.bootstrap(), words.input());
    tidemill_test_support::patience::wait_for("the topic to be gone", super::words::LIMIT, || {
        let left = tidemill_test_support::records::topics(words.bootstrap(), words.input());
        left.is_empty().then_some(())
    });
    create_topic(words.bootstrap(), words.input(), 2, &[]);
    let failure = instance.failure();
    // The reader may be the first to see that its offset means nothing in the new topic.
    let deleted = failure.contains(&format!("topic {} was deleted", words.input()));
    let gone = failure.contains(words.input()) && failure.contains("the offset to continue from");
    assert!(deleted || gone, "{failure}");
}

#[test]
fn an_input_that_grows_ends_the_instance_with_both_counts() {
    let words = Words::open_on_shared(2);
    let instance = words.start("one");
    words.send(50);
    words.wait_for_counts(50, 1);
    KafkaCluster::shared().tool(
        "org.apache.kafka.tools.TopicCommand",
        &["--alter", "--topic", words.input(), "--partitions", "4"],
    );
    let failure = instance.failure();
    assert!(failure.contains("has 4 partitions instead of 2"), "{failure}");
    // Its store's changelog has the old number still, which is said before anything is processed.
    let failure = words.start("one").failure();
    assert!(failure.contains(&words.changelog()) && failure.contains("needs 4"), "{failure}");
}

#[test]
fn a_result_too_large_for_its_topic_ends_the_instance_and_nothing_of_it_is_committed() {
    let shared = KafkaCluster::shared().bootstrap();
    let words = Words::open_with(&shared, 1, &[("max.message.bytes", "1000")]);
    let instance = words.start("one");
    words.send(10);
    words.wait_for_counts(10, 1);
    let long = tidemill_test_support::records::Outgoing::keyed(random_text(3_000), "");
    produce(&shared, words.input(), [long]);
    let failure = instance.failure();
    assert!(failure.contains(words.output()) && failure.contains("too large"), "{failure}");
    assert_eq!(words.counts().len(), 10);
}

/// Text that does not compress.
fn random_text(length: usize) -> String {
    let mut state = 7_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'!' + (state >> 33) as u8 % 90)
    };
    std::iter::repeat_with(next).take(length).collect()
}
