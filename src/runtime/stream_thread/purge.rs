//! Commit step 7: internal topics lose what is not needed any more.
//!
//! Of repartition topics it is what has been consumed. Of windowed changelogs it is what has expired,
//! by the clocks of their stores: brokers could only go by their own clock, and would delete the
//! state of windows of long ago while these still live.

use std::collections::BTreeMap;
use std::time::Instant;

use tidemill_topology::store::StoreIndex;
use tidemill_topology::time::Timestamp;

use super::StreamThread;
use crate::kafka::{Cluster, Offset, TopicPartition};
use crate::runtime::restore::Work;
use crate::status::TaskState;

/// What was purged last.
pub(super) struct Purges {
    last: Instant,
    /// The time before which each windowed changelog was last purged.
    older: BTreeMap<TopicPartition, Timestamp>,
}

impl Purges {
    pub(super) fn new(now: Instant) -> Self {
        Self { last: now, older: BTreeMap::new() }
    }

    /// Whether the log is to be purged of what is older: not for less than a thirtieth of what it
    /// keeps, as each time asks its broker twice.
    fn is_worth_it(&mut self, log: &TopicPartition, time: Timestamp, kept_ms: i64) -> bool {
        let before = self.older.get(log).map_or(0, |time| time.millis());
        let is_worth_it = time.millis() > before + kept_ms / 30;
        if is_worth_it {
            self.older.insert(log.clone(), time);
        }
        is_worth_it
    }
}

impl<C: Cluster> StreamThread<C> {
    /// Right after a commit, when the stores' clocks are committed ones.
    pub(super) fn purge_if_due(&mut self) {
        if self.clock.elapsed(self.purges.last) < self.config.purge_interval {
            return;
        }
        self.purges.last = self.clock.now();
        let consumed: Vec<(TopicPartition, Offset)> = self
            .tasks
            .values()
            .flat_map(|task| &task.inputs)
            .filter(|input| input.internal)
            .filter_map(|input| Some((input.partition.clone(), input.committed?.offset)))
            .collect();
        let mut expired = Vec::new();
        for task in self.tasks.values().filter(|task| task.state == TaskState::Running) {
            let changelogs = &self.plan.subtopology(task.id.subtopology).changelogs;
            for (at, changelog) in changelogs.iter().enumerate() {
                let Some(changelog) = changelog else { continue };
                let Some(kept_ms) = changelog.gone_after_ms else { continue };
                let observed = task.task.store_time(StoreIndex(at));
                if observed == Timestamp::UNKNOWN {
                    continue;
                }
                let time = Timestamp::new(observed.millis().saturating_sub(kept_ms));
                let log = TopicPartition::new(changelog.topic.clone(), task.id.partition);
                if self.purges.is_worth_it(&log, time, kept_ms) {
                    expired.push((log, time));
                }
            }
        }
        // The updater is gone only when the thread ends.
        if !consumed.is_empty() {
            let _ = self.links.work.send(Work::Purge(consumed));
        }
        if !expired.is_empty() {
            let _ = self.links.work.send(Work::PurgeOlder(expired));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_purged_once_for_what_expires_in_a_thirtieth_of_its_time() {
        let mut purges = Purges::new(Instant::now());
        let log = TopicPartition::new("counts-changelog", 0);
        let mut at = |ms| purges.is_worth_it(&log, Timestamp::new(ms), 3_000);
        assert!(!at(-500), "nothing is that old");
        assert!(at(200_000));
        assert!(!at(200_100));
        assert!(at(200_101));
    }
}
