//! The group divides its tasks anew while instances commit.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::words::Words;

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
