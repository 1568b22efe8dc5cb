//! The application's own code panics, or takes too long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidemill_test_support::records::{create_topic, read_until};

use super::words::{LIMIT, Words};

#[test]
fn a_panic_ends_the_instance_with_its_record_named_and_the_record_is_processed_once_it_is_mended() {
    let words = Words::open_on_shared(1);
    let instance = words.start_with("one", &[], |word| assert!(word != "word70", "no such word"));
    words.send(100);
    let failure = instance.failure();
    let place = format!("{}-0", words.input());
    for told in [place.as_str(), "70", "no such word", "panicked"] {
        assert!(failure.contains(told), "{told} in: {failure}");
    }
    let mended = words.start("one");
    words.wait_for_counts(100, 1);
    mended.stop();
}

#[test]
fn a_handler_may_pass_over_a_record_that_panics_and_all_others_are_counted_once() {
    let words = Words::open_on_shared(2);
    let dead = format!("{}.dead", words.application());
    create_topic(words.bootstrap(), &dead, 1, &[]);
    let settings = [
        ("processing.exception.handler", "continue"),
        ("errors.dead.letter.queue.topic.name", dead.as_str()),
    ];
    let instance =
        words.start_with("one", &settings, |word| assert!(word != "word70", "no such word"));
    words.send(100);
    words.wait_for_counts(99, 1);
    // Both tasks run on.
    words.send(100);
    words.wait_for_counts(99, 2);
    let letters = read_until(words.bootstrap(), &dead, 2, LIMIT);
    for letter in &letters {
        assert_eq!(letter.key.as_deref(), Some(&b"word70"[..]));
        let header = |name| letter.header(&format!("__streams.errors.{name}")).flatten();
        assert_eq!(header("exception"), Some(&b"tidemill.Panic"[..]));
        assert_eq!(header("message"), Some(&b"no such word"[..]));
    }
    assert_eq!(letters.len(), 2);
    instance.stop();
}

#[test]
fn a_processor_slower_than_the_poll_interval_loses_its_tasks_and_nothing_is_counted_twice() {
    let words = Words::open_on_shared(2);
    let slept = Arc::new(AtomicBool::new(false));
    // The member leaves the group after six seconds; its transaction is still open then.
    let settings = [("max.poll.interval.ms", "6000"), ("transaction.timeout.ms", "30000")];
    let slow = Arc::clone(&slept);
    let instance = words.start_with("one", &settings, move |word| {
        if word == "word50" && !slow.swap(true, Ordering::Relaxed) {
            std::thread::sleep(Duration::from_secs(10));
        }
    });
    words.send(100);
    words.wait_for_counts(100, 1);
    assert!(slept.load(Ordering::Relaxed));
    words.send(100);
    words.wait_for_counts(100, 2);
    instance.stop();
}
