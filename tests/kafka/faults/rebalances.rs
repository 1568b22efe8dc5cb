//! The group divides its tasks anew while instances commit.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tidemill_test_support::patience::wait_for;

use super::words::{LIMIT, Words};

#[test]
fn rebalances_in_the_middle_of_commits_cost_no_count() {
    let words = Words::open_on_shared(6);
    // So many commits that each rebalance finds one under way.
    let settings = [("commit.interval.ms", "10")];
    let first = words.start_with("one", &settings, |_| ());
    words.send(300);
    words.wait_for_counts(300, 1);
    let rounds = AtomicI64::new(1);
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            for _ in 0..20 {
                words.send(300);
                rounds.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        while !sending.is_finished() {
            let second = words.start_with("two", &settings, |_| ());
            std::thread::sleep(Duration::from_millis(1_500));
            let added = first.handle().add_thread();
            second.stop();
            assert_eq!(first.handle().remove_thread(), added);
        }
    });
    words.wait_for_counts(300, rounds.load(Ordering::Relaxed));
    first.stop();
}

/// The other half of a rebalance never comes when the member that was to give tasks up, and to join
/// again, is replaced by another process of its name: that one has its assignment at once.
#[test]
fn tasks_that_the_group_gave_to_nobody_are_given_out_again() {
    let words = Words::open_on_shared(4);
    // Its name is the last, so that it is not the one to act.
    let first = member(&words, "zz");
    wait_for("the member to have everything", LIMIT, || has(&first, 4).then_some(()));
    let instance = words.start("one");
    // Nobody polls the member: it joins in the first half, and does not hear what it has to give up.
    wait_for("an instance in the group", LIMIT, || {
        (instance.metric("tidemill_rebalances_total", "") > 0.0).then_some(())
    });
    assert_eq!(instance.tasks(), Vec::<String>::new());

    let second = member(&words, "zz");
    wait_for("the member to have its part at once", LIMIT, || has(&second, 2).then_some(()));
    wait_for("the rest to be given out", LIMIT, || {
        // It has to be heard of, as the group waits for all that are in it.
        let _ = second.poll(Duration::from_millis(10));
        (instance.tasks().len() == 2).then_some(())
    });
    wait_for("the thread that joined again to be counted as alive", LIMIT, || {
        (instance.metric("tidemill_threads", "") == 1.0).then_some(())
    });
    instance.stop();
    // Closing would wait for an answer that it is not to give.
    std::mem::forget(first);
}

/// A member of the application's group.
fn member(words: &Words, name: &str) -> BaseConsumer {
    let member: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", words.bootstrap())
        .set("group.id", words.application())
        .set("group.instance.id", name)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", "30000")
        .set("heartbeat.interval.ms", "300")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    member.subscribe(&[words.input()]).expect("a subscription");
    member
}

/// Whether a member is assigned so many partitions.
fn has(member: &BaseConsumer, partitions: usize) -> bool {
    // The answers to a rebalance are given while it is polled.
    let _ = member.poll(Duration::from_millis(10));
    member.assignment().expect("an assignment").count() == partitions
}
