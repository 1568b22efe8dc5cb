//! A task of a local run: operators, stores, and what of both survives a crash.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tidemill_state::{ApplyPolicy, InputOffset, Position, StateError, StateMemory, TaskStores};
use tidemill_topology::graph::{Subtopology, TaskId, Topology};
use tidemill_topology::handler::Handlers;
use tidemill_topology::held_back::HeldLimit;
use tidemill_topology::store::{StoreIndex, StoreSpec};
use tidemill_topology::task::Task;
use tidemill_topology::time::Timestamp;

use super::changelog::Changelog;
use super::error::Result;

/// Where a task's stores live, and how it is run.
pub(crate) struct TaskSettings<'s> {
    pub(crate) handlers: &'s Arc<Handlers>,
    pub(crate) emit_interval_ms: i64,
    pub(crate) held: &'s HeldLimit,
    pub(crate) directory: Option<&'s Path>,
    pub(crate) memory: &'s StateMemory,
    pub(crate) apply: ApplyPolicy,
}

/// A subtopology at work on the one partition that every topic has.
pub(crate) struct LocalTask {
    pub(crate) task: Task,
    pub(crate) stores: TaskStores,
    pub(crate) specs: Vec<StoreSpec>,
    survivors: Survivors,
}

/// What a crash leaves: the changelogs up to the last commit, and that commit's metadata.
pub(crate) struct Survivors {
    changelogs: Vec<Changelog>,
    times: Option<Vec<Timestamp>>,
}

impl Survivors {
    /// Of a task that never ran.
    pub(crate) fn none(stores: usize, keeps_changelogs: bool) -> Self {
        let changelogs =
            std::iter::repeat_with(|| Changelog::new(keeps_changelogs)).take(stores).collect();
        Self { changelogs, times: None }
    }
}

impl LocalTask {
    /// Opens the stores, restores them from their changelogs, and makes the operators.
    ///
    /// `source_log` gives the changelog of a store whose source topic serves as one.
    pub(crate) fn open<'l>(
        topology: &Topology,
        subtopology: &Subtopology,
        settings: &TaskSettings<'_>,
        survivors: Survivors,
        source_log: impl Fn(&str) -> Option<&'l Changelog>,
    ) -> Result<Self> {
        let name = TaskId { subtopology: subtopology.id, partition: 0 }.to_string();
        let specs = topology.stores(subtopology);
        let directory = settings.directory.map(|directory| directory.join(&name));
        if let Some(path) = &directory {
            fs::create_dir_all(path).map_err(|cause| StateError::Io {
                action: "create",
                path: path.clone(),
                cause,
            })?;
        }
        let mut stores =
            TaskStores::open(&name, &specs, directory.as_deref(), settings.memory, settings.apply)?;
        for (at, spec) in specs.iter().enumerate().filter(|(_, spec)| spec.logged) {
            let log = match &spec.changelog_source {
                Some(topic) => source_log(topic),
                None => survivors.changelogs.get(at),
            };
            let Some(log) = log else { continue };
            let index = StoreIndex(at);
            let from = stores.position(index).map_or(0, |position| position.offset);
            // A table's own topic may hold what the table refused.
            let records = log
                .from(from)
                .filter(|entry| spec.changelog_source.is_none() || !entry.key.is_empty());
            stores.restore(index, records, position(log.end(), Timestamp::UNKNOWN))?;
        }
        let mut task = topology.task(subtopology.id, Arc::clone(settings.handlers))?;
        task.set_emit_interval_ms(settings.emit_interval_ms);
        task.share_held_limit(settings.held.clone());
        if let Some(times) = &survivors.times {
            task.restore_times(times);
        }
        Ok(Self { task, stores, specs, survivors })
    }

    /// Steps 2 to 6 of the commit protocol; a local changelog takes the place of the transaction.
    pub(crate) fn commit(&mut self, inputs: &[InputOffset], now: Timestamp) -> Result {
        let Survivors { changelogs, times } = &mut self.survivors;
        self.stores.for_each_unlogged(|index, entry| {
            changelogs[index.0].append(entry);
            Ok::<(), StateError>(())
        })?;
        let mut positions = Vec::with_capacity(self.specs.len());
        for (at, spec) in self.specs.iter().enumerate() {
            let own = changelogs[at].commit();
            let offset = match &spec.changelog_source {
                Some(topic) => inputs
                    .iter()
                    .find(|input| input.topic == *topic)
                    .map_or(0, |input| input.offset),
                None => own,
            };
            positions.push((StoreIndex(at), position(offset, now)));
        }
        self.stores.committed(&positions, inputs, now.millis())?;
        self.stores.apply_if_due(now.millis())?;
        *times = Some(self.task.times());
        Ok(())
    }

    /// Ends as a crash does: what was not committed is gone.
    pub(crate) fn crash(self) -> Survivors {
        let mut survivors = self.survivors;
        survivors.changelogs.iter_mut().for_each(Changelog::abort);
        survivors
    }

    /// The index of a store of this task.
    pub(crate) fn store_index(&self, name: &str) -> Option<StoreIndex> {
        self.specs.iter().position(|spec| spec.name == name).map(StoreIndex)
    }
}

fn position(offset: i64, now: Timestamp) -> Position {
    Position { offset, topic_id: None, leader_epoch: None, caught_up_at_ms: now.millis() }
}
