//! Stream threads come and go while an instance runs, and instances learn of each other.

use std::collections::BTreeSet;
use std::time::Duration;

use tidemill_test_support::patience::wait_for;

use super::counting::{Counter, Counting, PARTITIONS};

const LIMIT: Duration = Duration::from_secs(60);
const TASKS: usize = PARTITIONS as usize;

/// Waits until all tasks run, on so many threads of one instance.
fn wait_for_threads(instance: &Counter, threads: usize) {
    wait_for(&format!("all tasks to run on {threads} threads"), LIMIT, || {
        let running = instance.running();
        let count: usize = running.values().map(Vec::len).sum();
        let told = instance.metric("tidemill_threads");
        (running.len() == threads && count == TASKS && told == threads as f64).then_some(())
    });
}

#[test]
fn a_thread_that_is_added_gets_tasks_and_one_that_is_removed_gives_them_back() {
    let counting = Counting::open();
    let instance = counting.start("one", &[]);
    wait_for_threads(&instance, 1);
    counting.send(500);
    let added = instance.handle().add_thread().expect("a thread of a running instance");
    assert!(added.ends_with("-1"), "{added}");
    wait_for_threads(&instance, 2);
    counting.send(500);
    assert_eq!(instance.handle().remove_thread(), Some(added));
    wait_for_threads(&instance, 1);
    assert_eq!(instance.handle().remove_thread(), None, "the last thread stays");
    counting.send(500);
    wait_for("every word to be counted three times", LIMIT, || {
        let counts = counting.counts();
        (counts.len() == 500 && counts.values().all(|count| *count == 3)).then_some(())
    });
    let handle = instance.handle();
    instance.stop();
    assert_eq!(handle.add_thread(), None, "an instance that has stopped starts no thread");
}

#[test]
fn instances_know_each_others_addresses_and_tasks() {
    let counting = Counting::open();
    let one = counting.start("one", &[("http.advertised", "'one.example:9464'")]);
    let two = counting.start("two", &[("http.advertised", "'two.example:9464'")]);
    for instance in [&one, &two] {
        wait_for("all tasks to be known of, each at one instance", LIMIT, || {
            let members = instance.handle().members();
            let hosts: BTreeSet<_> = members.iter().filter_map(|m| m.host.as_deref()).collect();
            let tasks = members.iter().flat_map(|member| &member.tasks);
            let running: Vec<_> =
                tasks.filter(|(_, held)| held.is_running()).map(|(task, _)| *task).collect();
            let apart: BTreeSet<_> = running.iter().copied().collect();
            let all = apart.len() == TASKS && running.len() == TASKS;
            (all && hosts == BTreeSet::from(["one.example:9464", "two.example:9464"])).then_some(())
        });
    }
    two.stop();
    wait_for("the instance that left to be forgotten", LIMIT, || {
        let members = one.handle().members();
        (members.len() == 1 && members[0].is_self && one.running_count() == TASKS).then_some(())
    });
    one.stop();
}
