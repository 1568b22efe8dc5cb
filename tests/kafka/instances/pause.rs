//! An instance that is paused does nothing, keeps its tasks, and goes on where it was.

use std::time::Duration;

use tidemill_test_support::patience::wait_for;

use super::counting::{Counting, PARTITIONS};

const LIMIT: Duration = Duration::from_secs(60);
const WORDS: u32 = 200;

/// Waits until each word was counted so often.
fn wait_for_counts(counting: &Counting, times: i64) {
    wait_for(&format!("every word to be counted {times} times"), LIMIT, || {
        let counts = counting.counts();
        let all = counts.len() == WORDS as usize;
        (all && counts.values().all(|count| *count == times)).then_some(())
    });
}

#[test]
fn a_paused_instance_keeps_its_tasks_and_counts_each_word_once_when_it_goes_on() {
    let counting = Counting::open();
    let instance = counting.start("one", &[]);
    counting.send(WORDS);
    wait_for_counts(&counting, 1);
    instance.handle().pause();
    assert!(instance.handle().is_paused());
    // What was on its way when it was told may still be counted; nothing after that is.
    std::thread::sleep(Duration::from_secs(1));
    let before = counting.all_counts();
    counting.send(WORDS);
    // Longer than the session: a member that did not poll would lose its tasks.
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(counting.all_counts(), before, "a paused instance processed records");
    assert_eq!(instance.running_count(), PARTITIONS as usize, "its tasks are still its own");
    instance.handle().resume();
    wait_for_counts(&counting, 2);
    assert!(counting.all_counts().values().all(|counts| counts[..] == [1, 2]));
    // Threads that come while it is paused wait as well.
    instance.handle().pause();
    std::thread::sleep(Duration::from_secs(1));
    let _added = instance.handle().add_thread().expect("a thread of a running instance");
    counting.send(WORDS);
    wait_for("all tasks to run on two threads", LIMIT, || {
        let running = instance.running();
        (running.len() == 2 && instance.running_count() == PARTITIONS as usize).then_some(())
    });
    assert!(counting.all_counts().values().all(|counts| counts[..] == [1, 2]));
    instance.handle().resume();
    wait_for_counts(&counting, 3);
    instance.stop();
}
