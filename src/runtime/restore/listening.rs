//! What an updater tells the application of the restores that it makes.

use tidemill_topology::graph::TaskId;

use super::{Log, StateUpdater};
use crate::kafka::Cluster;
use crate::runtime::restore_listener::{RestoreListener, RestoringStore};

impl<C: Cluster> StateUpdater<C> {
    /// Who is told of restores, if anyone; copies are none.
    fn listener(&self) -> Option<&dyn RestoreListener> {
        self.shared.restore_listener().filter(|_| !self.keeps_copies)
    }

    /// The jobs from that place on begin.
    pub(super) fn tell_started(&self, from: usize) {
        let Some(listener) = self.listener() else { return };
        for job in self.jobs.iter().skip(from) {
            job.open.iter().for_each(|log| listener.started(log.seen(job.task)));
        }
    }

    /// These changelogs are read to their targets.
    pub(super) fn tell_ended(&self, task: TaskId, logs: &[Log]) {
        let Some(listener) = self.listener() else { return };
        logs.iter().for_each(|log| listener.ended(log.seen(task), log.restored));
    }

    /// These changelogs are read no further, before their targets.
    pub(super) fn tell_suspended(&self, task: TaskId, logs: &[Log]) {
        let Some(listener) = self.listener() else { return };
        logs.iter().for_each(|log| listener.suspended(log.seen(task), log.restored));
    }
}

impl Log {
    /// As a listener sees it.
    pub(super) fn seen(&self, task: TaskId) -> RestoringStore<'_> {
        RestoringStore {
            task,
            store: &self.name,
            topic: &self.partition.topic,
            partition: self.partition.partition,
            position: self.position.0,
            end: self.target.0,
        }
    }
}
