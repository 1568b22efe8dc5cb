//! What an updater does that keeps copies of other instances' tasks, and how another takes one over.

use std::collections::BTreeMap;
use std::sync::mpsc::channel;

use tidemill_topology::graph::TaskId;

use super::{Job, StateUpdater, Work};
use crate::kafka::{Cluster, Consumer};
use crate::runtime::membership::StandbyCopy;
use crate::runtime::opening::OpenStores;

impl<C: Cluster> StateUpdater<C> {
    /// The copy that this instance keeps of a task: open, and a few records behind at most.
    pub(super) fn take_copy(&self, task: TaskId) -> Option<OpenStores> {
        let (answer, answered) = channel();
        self.take_from.as_ref()?.send(Work::TakeCopy { task, answer }).ok()?;
        let copy = self.clock.receive(&answered).ok().flatten();
        if copy.is_some() {
            tracing::info!(%task, "its copy is taken over");
        }
        copy
    }

    /// Begins to keep copies of tasks.
    pub(in crate::runtime) fn begin_copies(&mut self, tasks: Vec<TaskId>) {
        self.begin(tasks.into_iter().map(|task| (task, None)).collect());
    }

    /// Keeps a copy no longer; its stores as they are.
    pub(in crate::runtime) fn end_copy(&mut self, task: TaskId) -> Option<OpenStores> {
        self.waiting.retain(|(waiting, ..)| *waiting != task);
        let at = self.jobs.iter().position(|job| job.task == task)?;
        let mut job = self.jobs.swap_remove(at);
        self.unassign(job.task, &job.open);
        for log in job.open.iter().filter(|log| log.position >= log.target) {
            // It is caught up as of now, however long ago the last record came.
            let now = log.position_at(None, &self.clock);
            if let Err(error) = job.stores.stores.restore(log.index, [], now) {
                tracing::warn!(%task, %error, "a copy cannot be used; its task is restored anew");
                return None;
            }
        }
        Some(job.stores)
    }

    /// The copies that it keeps, and how far they are.
    pub(in crate::runtime) fn copies(&self) -> BTreeMap<TaskId, StandbyCopy> {
        let copy = |job: &Job| StandbyCopy {
            position: job.open.iter().map(|log| log.position.0).sum(),
            lag: job.open.iter().map(|log| (log.target.0 - log.position.0).max(0)).sum(),
        };
        self.jobs.iter().map(|job| (job.task, copy(job))).collect()
    }

    /// Whether a task's stores are here, or are to be as soon as they can be opened.
    pub(in crate::runtime) fn holds(&self, task: TaskId) -> bool {
        self.jobs.iter().any(|job| job.task == task)
            || self.waiting.iter().any(|(waiting, ..)| *waiting == task)
    }

    /// The changelogs grow on: a copy is as far behind as its last fetch saw.
    pub(super) fn move_targets(&mut self) {
        for log in self.jobs.iter_mut().flat_map(|job| &mut job.open) {
            log.target = self.consumer.known_end(&log.partition).unwrap_or(log.target);
        }
    }
}
