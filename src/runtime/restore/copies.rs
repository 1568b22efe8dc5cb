//! What an updater does that keeps copies of other instances' tasks, and how another takes one over.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};

use tidemill_topology::graph::TaskId;

use super::{Job, StateUpdater, Work};
use crate::kafka::{Cluster, Consumer};
use crate::runtime::membership::StandbyCopy;
use crate::runtime::opening::OpenStores;
use crate::runtime::query::readable::ReadableCopy;

/// Where the stores of a task come from that is to be restored.
pub(super) enum Source {
    /// Whoever asked has them open.
    Given(OpenStores),
    /// The copy that this instance keeps of it, if any; it answers here.
    Copy(Receiver<Option<OpenStores>>),
    /// They are opened.
    Disk,
}

impl Job {
    /// Records of its changelogs that are yet to be read.
    pub(super) fn lag(&self) -> i64 {
        self.open.iter().map(|log| (log.target.0 - log.position.0).max(0)).sum()
    }
}

impl<C: Cluster> StateUpdater<C> {
    /// Asks for the copy that this instance keeps of a task. Copies are handed over between two
    /// batches that are read for others: who wants several asks for all of them first.
    pub(super) fn ask_for_copy(&self, task: TaskId) -> Source {
        let (answer, answered) = channel();
        let asked =
            self.take_from.as_ref().map(|copies| copies.send(Work::TakeCopy { task, answer }));
        if asked.is_some_and(|sent| sent.is_ok()) { Source::Copy(answered) } else { Source::Disk }
    }

    /// The open stores that a task begins with, if there are any: a copy is a few records behind at
    /// most.
    pub(super) fn stores_of(&self, task: TaskId, source: Source) -> Option<OpenStores> {
        match source {
            Source::Given(stores) => Some(stores),
            Source::Disk => None,
            Source::Copy(answered) => {
                let copy = self.clock.receive(&answered).ok().flatten();
                if copy.is_some() {
                    tracing::info!(%task, "its copy is taken over");
                }
                copy
            }
        }
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
            lag: job.lag(),
        };
        self.jobs.iter().map(|job| (job.task, copy(job))).collect()
    }

    /// Lets readers see the copies. How far behind each is comes first: one that was emptied, and so
    /// hidden, is seen only with the lag that it has since.
    pub(in crate::runtime) fn show_copies(&mut self) {
        let copy = |job: &Job| ReadableCopy {
            view: job.stores.stores.view(),
            lag: u64::try_from(job.lag()).unwrap_or(0),
        };
        let copies = self.jobs.iter().map(|job| (job.task, copy(job))).collect();
        self.shared.stores().set_copies(copies);
        for job in &mut self.jobs {
            // A copy has nothing uncommitted that would keep it from being shown.
            job.stores.stores.show();
        }
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
