//! Local state that does not fit its changelog: why, and what follows.

use tidemill_state::Position;

use super::{Done, Job, StateUpdater};
use crate::config::ChangelogOutOfRange;
use crate::kafka::{Cluster, KafkaError, Offset, TopicPartition};
use crate::runtime::error::RuntimeError;
use crate::runtime::plan::ChangelogPlan;

/// A store not caught up for longer may have missed deletions: Kafka keeps tombstones so long.
const TOMBSTONE_RETENTION_MS: i64 = 24 * 60 * 60 * 1000;
/// Why a store is rebuilt that may have missed deletions.
const TOO_OLD: &str = "older_than_tombstones";
/// Why a store is rebuilt whose position the broker no longer knows.
pub(super) const GONE: &str = "out_of_range";

/// Why a position cannot be continued from; `None` if it can.
pub(super) fn of(
    position: &Position,
    changelog: &ChangelogPlan,
    first: Offset,
    last: Offset,
    now_ms: i64,
) -> Option<&'static str> {
    if changelog.id.is_some() && position.topic_id.is_some() && position.topic_id != changelog.id {
        Some("topic_recreated")
    } else if position.offset < first.0 && changelog.gone_after_ms.is_none() {
        // The log of a windowed store starts with what still lives: nothing is missing of it.
        Some("below_log_start")
    } else if position.offset > last.0 {
        Some("beyond_log_end")
    } else if now_ms - position.caught_up_at_ms > TOMBSTONE_RETENTION_MS {
        Some(TOO_OLD)
    } else {
        None
    }
}

/// Whether a misfit ends the instance. A store that is merely too old is rebuilt whatever the
/// configuration says: nothing is missing.
pub(super) fn ends_the_instance(reason: &str, policy: ChangelogOutOfRange) -> bool {
    policy == ChangelogOutOfRange::Fail && reason != TOO_OLD
}

impl<C: Cluster> StateUpdater<C> {
    /// The log no longer has what was to be read next: its start moved past it meanwhile, or its end
    /// was taken back.
    pub(super) fn position_gone(
        &mut self,
        partition: &TopicPartition,
        error: &KafkaError,
        is_old: bool,
    ) {
        let holds = |job: &Job| job.open.iter().any(|log| log.partition == *partition);
        let Some(at) = self.jobs.iter().position(holds) else { return };
        let Job { task, mut stores, open, .. } = self.jobs.swap_remove(at);
        self.unassign(task, &open);
        for log in open.iter().filter(|log| log.partition == *partition) {
            if is_old && log.is_windowed {
                // Its owner purged what has expired. Where it stands is looked at anew.
                continue;
            }
            if ends_the_instance(GONE, self.opening.out_of_range) {
                let (store, position) = (log.name.clone(), log.position.0);
                let reason = GONE;
                let error = RuntimeError::ChangelogOutOfRange { task, store, position, reason };
                self.answer(Done::Failed { task, error });
                return;
            }
            tracing::warn!(%partition, %error, "changelog position is gone; the store is rebuilt");
            self.shared.client().store_rebuilt(&log.name, GONE);
            if let Err(error) = stores.stores.wipe(log.index) {
                self.answer(Done::Failed { task, error: error.into() });
                return;
            }
        }
        self.begin(vec![(task, Some(stores))]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 10 * TOMBSTONE_RETENTION_MS;

    fn reason(offset: i64, topic: u8, caught_up_at_ms: i64) -> Option<&'static str> {
        let position =
            Position { offset, topic_id: Some([topic; 16]), leader_epoch: None, caught_up_at_ms };
        of(&position, &changelog(None), Offset(10), Offset(20), NOW)
    }

    fn changelog(gone_after_ms: Option<i64>) -> ChangelogPlan {
        ChangelogPlan { topic: "log".into(), id: Some([1; 16]), is_input: false, gone_after_ms }
    }

    #[test]
    fn a_windowed_store_goes_on_where_its_purged_changelog_starts() {
        let position = |offset| Position {
            offset,
            topic_id: Some([1; 16]),
            leader_epoch: None,
            caught_up_at_ms: NOW,
        };
        let windowed = changelog(Some(1000));
        assert_eq!(of(&position(9), &windowed, Offset(10), Offset(20), NOW), None);
        let beyond = of(&position(21), &windowed, Offset(10), Offset(20), NOW);
        assert_eq!(beyond, Some("beyond_log_end"));
    }

    #[test]
    fn a_position_fits_from_the_first_offset_to_the_end_of_the_same_topic() {
        assert_eq!(reason(10, 1, NOW), None);
        assert_eq!(reason(20, 1, NOW), None);
        assert_eq!(reason(9, 1, NOW), Some("below_log_start"));
        assert_eq!(reason(21, 1, NOW), Some("beyond_log_end"));
        assert_eq!(reason(15, 2, NOW), Some("topic_recreated"));
        assert_eq!(reason(15, 1, NOW - TOMBSTONE_RETENTION_MS - 1), Some(TOO_OLD));
    }

    #[test]
    fn only_what_is_missing_ends_an_instance_that_is_to_fail() {
        for reason in ["below_log_start", "beyond_log_end", "topic_recreated", GONE] {
            assert!(ends_the_instance(reason, ChangelogOutOfRange::Fail));
            assert!(!ends_the_instance(reason, ChangelogOutOfRange::Rebuild));
        }
        assert!(!ends_the_instance(TOO_OLD, ChangelogOutOfRange::Fail));
    }
}
