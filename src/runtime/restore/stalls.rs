//! The watch over changelogs that bring nothing before their targets are reached.
//!
//! An open transaction may hold one back, or a broker that is away; but a client can also lose its way,
//! as [`stream_thread::stalls`](crate::runtime::stream_thread) tells of inputs. To fetch anew from where
//! a changelog stands neither skips nor repeats a record, so a false alarm costs a request.

use std::time::Duration;

use super::StateUpdater;
use crate::kafka::{Cluster, Consumer};

/// How long a changelog may stand still.
const QUIET: Duration = Duration::from_secs(10);
/// How long brokers may take to answer, while all that is restored stands still.
const ANSWER: Duration = Duration::from_secs(1);

impl<C: Cluster> StateUpdater<C> {
    /// Has changelogs fetched anew that stand still, each as often as it was quiet for so long.
    pub(super) fn look_for_stalls(&mut self) {
        let now = self.clock.now();
        let mut stalled = Vec::new();
        for job in &mut self.jobs {
            for log in &mut job.open {
                if log.position < log.target && now.saturating_duration_since(log.moved) > QUIET {
                    log.moved = now;
                    tracing::warn!(task = %job.task, store = log.name, position = %log.position, target = %log.target,
                        "restore waits: an open transaction, or a broker, holds the changelog back; fetched anew");
                    stalled.push((log.partition.clone(), log.position));
                }
            }
        }
        if !stalled.is_empty()
            && let Err(error) = self.consumer.refetch(&stalled, ANSWER)
        {
            tracing::warn!(%error, "fetching changelogs anew");
        }
    }
}
