//! A stream thread's answers to its group: the rebalance protocol, and tasks that start and close.
//!
//! * Assigned: the partitions are taken at once, paused; the task's stores go to the state updater.
//! * Restored: the committed offsets are fetched (restore step 3), the changelogs' ends are looked at
//!   once more, and the task runs (step 6).
//! * Revoked: everything commits, as the tasks share one transaction; the revoked tasks close.
//! * Lost: the transaction aborts, nothing commits; the lost tasks close.

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, TryRecvError};
use std::time::Duration;

use tidemill_topology::graph::TaskId;

use super::{CALL, MessageOf, OFFSETS_WAIT, PATIENCE, StreamThread};
use crate::kafka::{
    Cluster, Committed, Consumer, Event, GroupMetadata, Isolation, KafkaError, Offset, OffsetSpec,
    StartAt, TopicPartition,
};
use crate::mistake::Mistake;
use crate::runtime::active_task::ActiveTask;
use crate::runtime::collector::TaskHost;
use crate::runtime::commit_metadata::{self, CommitMetadata};
use crate::runtime::error::{Reaction, RuntimeError};
use crate::runtime::input::Place;
use crate::runtime::opening::OpenStores;
use crate::runtime::restore::{Done, Work};
use crate::status::TaskState;

/// How often a thread that waits for its updater looks whether it is to end.
const CANCEL_LOOK: Duration = Duration::from_millis(50);

impl<C: Cluster> StreamThread<C> {
    pub(super) fn answer_events(&mut self) -> Result<(), RuntimeError> {
        let mut events = std::mem::take(&mut self.events);
        let mut result = Ok(());
        for event in events.drain(..) {
            let answered = self.answer(event);
            // Later events are answered even if one went wrong: a rebalance must not hang.
            result = result.and(answered);
        }
        self.events = events;
        result
    }

    pub(super) fn answer(&mut self, event: Event) -> Result<(), RuntimeError> {
        match event {
            Event::Assigned { partitions, identity } => self.assign(&partitions, identity),
            Event::Revoked(partitions) => self.revoke(&partitions),
            Event::Lost(partitions) => self.lose(&partitions),
            Event::OutOfRange { partition, error } | Event::Truncated { partition, error } => {
                self.out_of_range(&partition, &error)
            }
            Event::AllBrokersDown(error) => {
                tracing::warn!(thread = self.config.name, %error, "no broker can be reached; trying on");
                self.shared.client().error("brokers_down");
                Ok(())
            }
            Event::MaxPollExceeded(error) => {
                tracing::warn!(thread = self.config.name, %error, "the group gave this member up");
                Ok(())
            }
            Event::Error { partition, error } => {
                if let Some(fatal) = self.consumer.fatal_error() {
                    return Err(RuntimeError::Consumer(fatal));
                }
                tracing::warn!(thread = self.config.name, ?partition, %error, "consumer");
                self.shared.client().error("consumer");
                Ok(())
            }
            Event::EndOfPartition { .. } => Ok(()),
        }
    }

    /// Rebalance: new tasks. They are assigned at once, paused, and run when they are restored.
    pub(super) fn assign(
        &mut self,
        partitions: &[TopicPartition],
        identity: GroupMetadata,
    ) -> Result<(), RuntimeError> {
        self.shared.client().rebalanced();
        let other = self.identity.as_ref().is_some_and(|old| old.member_id != identity.member_id);
        self.identity = Some(identity);
        self.assigned = true;
        let rolled_back = if other && !self.tasks.is_empty() {
            // The client rejoined under a new identity without a word of loss: what was not
            // committed meanwhile may have been another's to commit.
            self.rollback(false)
        } else {
            Ok(())
        };
        // The group is answered whatever that came to: it would wait, and so would these tasks.
        let mut starts = Vec::new();
        for id in partitions.iter().filter_map(|lead| self.plan.task(lead)).collect::<Vec<_>>() {
            self.take_on(id, &mut starts)?;
        }
        // Without an answer that the client takes, it can do nothing for its group any more.
        self.consumer.incremental_assign(&starts).map_err(RuntimeError::Consumer)?;
        let ids: Vec<String> = partitions
            .iter()
            .filter_map(|lead| self.plan.task(lead))
            .map(|id| id.to_string())
            .collect();
        tracing::info!(thread = self.config.name, tasks = ids.join(" "), "assigned");
        self.publish();
        rolled_back
    }

    /// A task that begins to restore; its inputs are to be assigned, paused.
    fn take_on(&mut self, id: TaskId, starts: &mut Vec<StartAt>) -> Result<(), RuntimeError> {
        let metrics = self.shared.metrics.task(&id.to_string());
        let operators = self.operators(id)?;
        let mut task = ActiveTask::new(id, operators, &self.plan, &mut self.consumer, metrics)?;
        for (at, input) in task.inputs.iter_mut().enumerate() {
            input.meter = self.meters.input(&input.partition.topic);
            if input.slot.index() >= self.slots.len() {
                self.slots.resize(input.slot.index() + 1, None);
            }
            self.slots[input.slot.index()] = Some((id, at));
            starts.push(StartAt::paused(input.partition.clone()));
        }
        task.become_state(TaskState::Restoring);
        task.restoring_since = Some(self.clock.now());
        self.metrics.task_created();
        self.tasks.insert(id, task);
        self.shared.stores().restoring(id);
        self.request(Work::Restore { task: id, stores: None })
    }

    /// Rebalance: tasks are to be given up. All commit, as they share one transaction.
    pub(super) fn revoke(&mut self, partitions: &[TopicPartition]) -> Result<(), RuntimeError> {
        let committed = match self.commit() {
            Ok(()) => Ok(()),
            // Nothing of an aborted transaction stays; the revoked tasks are given up all the same.
            Err(error) => self.react(error),
        };
        committed.and(self.close_tasks(partitions))
    }

    /// Rebalance: tasks are gone already. Nothing may be committed.
    pub(super) fn lose(&mut self, partitions: &[TopicPartition]) -> Result<(), RuntimeError> {
        tracing::warn!(
            thread = self.config.name,
            "partitions lost; what was not committed is dropped"
        );
        self.assigned = false;
        self.identity = None;
        let lost: Vec<TaskId> = partitions.iter().filter_map(|lead| self.plan.task(lead)).collect();
        let rolled_back = self.rollback_others(&lost);
        rolled_back.and(self.close_tasks(partitions))
    }

    fn close_tasks(&mut self, leads: &[TopicPartition]) -> Result<(), RuntimeError> {
        let mut unassigned = Vec::new();
        for id in leads.iter().filter_map(|lead| self.plan.task(lead)).collect::<Vec<_>>() {
            let Some(mut task) = self.tasks.remove(&id) else { continue };
            unassigned.extend(task.partitions().cloned());
            task.clear_buffers();
            for input in &task.inputs {
                self.slots[input.slot.index()] = None;
            }
            self.close(task);
        }
        self.publish();
        // Even of nothing: the group waits for this answer. Without one that the client takes, it can
        // do nothing for its group any more.
        self.consumer.incremental_unassign(&unassigned).map_err(RuntimeError::Consumer)
    }

    pub(super) fn close(&mut self, mut task: ActiveTask<MessageOf<C>>) {
        let id = task.id;
        if task.state == TaskState::Restoring {
            self.cancel_restore(id);
        }
        self.ready.retain(|ready| *ready != id);
        task.task.close();
        self.meters.take_counts(&mut task);
        task.become_state(TaskState::Closed);
        self.metrics.task_closed();
        self.shared.stores().close(id);
        if let Some(stores) = task.stores.take()
            && let Err(error) = stores.close()
        {
            tracing::warn!(task = %id, %error, "closed without applying; the changelog has it");
        }
        self.directories.remove(&id);
        self.shared.forget(id);
        tracing::info!(task = %id, "closed");
    }

    /// Waits until the updater has let go of a task's stores: its directory is then free. A thread
    /// that is to end waits no longer than it has time; its updater lets go of them later.
    pub(super) fn cancel_restore(&mut self, id: TaskId) {
        if self.links.work.send(Work::Cancel(id)).is_err() {
            return;
        }
        let started = self.clock.now();
        loop {
            let is_late = self.links.must_end()
                && !self.links.has_time_for_more(started, PATIENCE, &self.clock);
            let patience = if is_late { Duration::ZERO } else { CANCEL_LOOK };
            match self.clock.receive_within(&self.links.done, patience) {
                Ok(Done::Cancelled { task }) if task == id => return,
                // It was done before it saw the cancel; the stores are closed by being dropped.
                Ok(Done::Restored { task, .. } | Done::Failed { task, .. }) if task == id => {}
                Ok(other) => self.early.push(other),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) if is_late => {
                    tracing::warn!(task = %id, "closed while its restore waits for the cluster");
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// An input's log does not have the position to read from.
    pub(super) fn out_of_range(
        &mut self,
        partition: &TopicPartition,
        error: &KafkaError,
    ) -> Result<(), RuntimeError> {
        if self.cluster.mistake() != Mistake::TakesPurgedForLost {
            let is_held =
                self.tasks.values().any(|task| task.partitions().any(|held| held == partition));
            if !is_held {
                // Another's by now, who has gone on and deleted what is done.
                tracing::info!(thread = self.config.name, %error, "a partition that has left; passed over");
                return Ok(());
            }
            if let Some(committed) = self.committed_within_log(partition)? {
                // The group has gone on without this thread, which may not know yet that it was given up.
                self.read_from(partition, committed)?;
                return Err(RuntimeError::IdentityChanged);
            }
        }
        self.shared.client().error("out_of_range");
        if !self.config.skip_out_of_range {
            return Err(RuntimeError::InputOutOfRange {
                partition: partition.to_string(),
                detail: error.to_string(),
            });
        }
        let first = self.first_offset(partition)?;
        tracing::error!(%partition, continues_at = %first, "records were gone before they were processed; skipped");
        self.read_from(partition, first)
    }

    /// The client does not seek a partition that it stopped reading: it is assigned anew.
    fn read_from(
        &mut self,
        partition: &TopicPartition,
        offset: Offset,
    ) -> Result<(), RuntimeError> {
        self.consumer.incremental_unassign(std::slice::from_ref(partition))?;
        self.consumer.incremental_assign(&[StartAt::offset(partition.clone(), offset)])?;
        Ok(())
    }

    /// What the group has committed of a partition, if its log still has it.
    fn committed_within_log(
        &self,
        partition: &TopicPartition,
    ) -> Result<Option<Offset>, RuntimeError> {
        let asked = std::slice::from_ref(partition);
        let limit = self.links.call_limit(&self.clock);
        let committed = self.consumer.committed(asked, limit)?.into_iter().flatten().next();
        let Some(committed) = committed else { return Ok(None) };
        let bound = |spec| -> Result<Option<Offset>, RuntimeError> {
            let isolation = Isolation::ReadUncommitted;
            let ends = self.consumer.list_offsets(asked, spec, isolation, limit)?;
            Ok(ends.first().and_then(|end| end.offset))
        };
        let (first, end) = (bound(OffsetSpec::Earliest)?, bound(OffsetSpec::Latest)?);
        let is_within = first <= Some(committed.offset) && Some(committed.offset) <= end;
        Ok(is_within.then_some(committed.offset))
    }

    pub(super) fn first_offset(&self, partition: &TopicPartition) -> Result<Offset, RuntimeError> {
        let found = self.first_offsets(std::slice::from_ref(partition))?;
        Ok(found.first().map(|(_, offset)| *offset).unwrap_or_default())
    }

    /// Where to start where nothing was committed.
    fn first_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, Offset)>, RuntimeError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let spec =
            if self.config.reset_to_earliest { OffsetSpec::Earliest } else { OffsetSpec::Latest };
        let limit = self.links.call_limit(&self.clock);
        let ends = self.consumer.list_offsets(partitions, spec, Isolation::ReadCommitted, limit)?;
        Ok(ends.into_iter().map(|end| (end.partition, end.offset.unwrap_or_default())).collect())
    }

    pub(super) fn request(&self, work: Work) -> Result<(), RuntimeError> {
        self.links
            .work
            .send(work)
            .map_err(|_| RuntimeError::ThreadDied(format!("{}-restore", self.config.name)))
    }

    pub(super) fn take_restored(&mut self) -> Result<(), RuntimeError> {
        let mut ready = Vec::new();
        for done in std::mem::take(&mut self.early) {
            self.took(done, &mut ready)?;
        }
        loop {
            match self.links.done.try_recv() {
                Ok(done) => self.took(done, &mut ready)?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    return Err(RuntimeError::ThreadDied(format!("{}-restore", self.config.name)));
                }
            }
        }
        self.ready.extend(ready);
        if !self.ready.is_empty() {
            self.start_ready()?;
        }
        Ok(())
    }

    pub(super) fn took(&mut self, done: Done, ready: &mut Vec<TaskId>) -> Result<(), RuntimeError> {
        match done {
            Done::Restored { task, stores, reached } => {
                let OpenStores { stores, directory } = stores;
                if let Some(active) = self.tasks.get_mut(&task) {
                    active.stores = Some(stores);
                    active.reached = reached;
                    if let Some(directory) = directory {
                        self.directories.insert(task, directory);
                    }
                    ready.push(task);
                }
                Ok(())
            }
            Done::Cancelled { .. } => Ok(()),
            Done::Failed { task, error } => {
                if error.reaction() == Reaction::Stop {
                    return Err(error);
                }
                tracing::warn!(%task, %error, "restore failed; it begins anew");
                self.shared.client().error(error.class());
                if self.tasks.contains_key(&task) {
                    self.request(Work::Restore { task, stores: None })?;
                }
                Ok(())
            }
        }
    }

    /// Restore steps 3 and 6, for all tasks that are ready: one look at the committed offsets.
    pub(super) fn start_ready(&mut self) -> Result<(), RuntimeError> {
        let Self { ready, tasks, .. } = self;
        ready.retain(|id| tasks.contains_key(id));
        let partitions = self.ready_inputs();
        let limit = self.offsets_wait.min(self.links.call_limit(&self.clock));
        let committed = match self.consumer.committed(&partitions, limit) {
            Ok(committed) => committed,
            // A transaction with offsets of ours is still open somewhere: its end is waited for. The
            // tasks that run have their turns meanwhile; a slow coordinator is given more time.
            Err(error) if error.class().is_retriable() => {
                tracing::info!(thread = self.config.name, %error, "waiting for committed offsets");
                self.offsets_wait = (self.offsets_wait * 2).min(CALL);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.offsets_wait = OFFSETS_WAIT;
        self.send_back_grown()?;
        if self.ready.is_empty() {
            return Ok(());
        }
        let committed: BTreeMap<TopicPartition, Committed> = partitions
            .into_iter()
            .zip(committed)
            .filter_map(|(partition, committed)| Some((partition, committed?)))
            .collect();
        self.check_against_state(&committed)?;
        let (known, new): (Vec<TopicPartition>, Vec<TopicPartition>) = self
            .ready_inputs()
            .into_iter()
            .partition(|partition| committed.contains_key(partition));
        let mut offsets: BTreeMap<TopicPartition, Offset> =
            known.into_iter().map(|known| (known.clone(), committed[&known].offset)).collect();
        offsets.extend(self.first_offsets(&new)?);
        // One call for all tasks: it waits until each broker's thread has answered.
        let positions: Vec<_> = offsets.clone().into_iter().collect();
        self.consumer.seek(&positions, self.links.call_limit(&self.clock))?;
        let (mut started, mut inputs) = (Ok(()), Vec::new());
        for id in std::mem::take(&mut self.ready) {
            // One that fails counts as running, and is rolled back so; the others run.
            let begun = self.start(id, &committed, &offsets);
            started = started.and(begun.map(|of_task| inputs.extend(of_task)));
        }
        self.consumer.resume(&inputs);
        self.publish();
        started
    }

    fn ready_inputs(&self) -> Vec<TopicPartition> {
        let inputs = self.ready.iter().flat_map(|id| self.plan.inputs(*id));
        inputs.map(|(_, partition)| partition).collect()
    }

    /// Restore step 4 once more: who had a task before may have committed after its changelogs' ends
    /// were looked at. Now that the offsets are stable nobody but us can, and what was written until
    /// then is read before the task runs.
    fn send_back_grown(&mut self) -> Result<(), RuntimeError> {
        let ready = self.ready.iter().filter_map(|id| self.tasks.get(id));
        let reached: Vec<(TaskId, TopicPartition, Offset)> = ready
            .flat_map(|task| task.reached.iter().map(|(log, end)| (task.id, log.clone(), *end)))
            .collect();
        if reached.is_empty() {
            return Ok(());
        }
        let logs: Vec<TopicPartition> = reached.iter().map(|(_, log, _)| log.clone()).collect();
        let (latest, all) = (OffsetSpec::Latest, Isolation::ReadUncommitted);
        let limit = self.links.call_limit(&self.clock);
        let ends = self.consumer.list_offsets(&logs, latest, all, limit)?;
        for ((id, log, reached), end) in reached.into_iter().zip(ends) {
            let end = end.offset.unwrap_or_default();
            if end <= reached || !self.ready.contains(&id) {
                continue;
            }
            tracing::info!(task = %id, changelog = %log, %reached, %end, "the changelog has grown; restored anew");
            self.ready.retain(|ready| *ready != id);
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            let directory = self.directories.remove(&id);
            let stores = task.stores.take().map(|stores| OpenStores { stores, directory });
            self.request(Work::Restore { task: id, stores })?;
        }
        Ok(())
    }

    /// Refuses offsets that someone set back while the state stayed.
    fn check_against_state(
        &self,
        committed: &BTreeMap<TopicPartition, Committed>,
    ) -> Result<(), RuntimeError> {
        for task in self.ready.iter().filter_map(|id| self.tasks.get(id)) {
            let Some(stores) = &task.stores else { continue };
            for partition in task.partitions() {
                let found = committed.get(partition).map(|found| found.offset.0);
                if let Some(kept) = stores.input_offset(&partition.topic, partition.partition)
                    && found.is_none_or(|found| found < kept)
                {
                    return Err(RuntimeError::OffsetsReset {
                        partition: partition.to_string(),
                        committed: found,
                        kept,
                    });
                }
            }
        }
        Ok(())
    }

    /// Starts a restored task, whose inputs stand at `offsets`; they are to be fetched from then on.
    fn start(
        &mut self,
        id: TaskId,
        committed: &BTreeMap<TopicPartition, Committed>,
        offsets: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<Vec<TopicPartition>, RuntimeError> {
        let Some(task) = self.tasks.get_mut(&id) else { return Ok(Vec::new()) };
        for input in &mut task.inputs {
            let found = committed.get(&input.partition);
            let said = found.and_then(|found| commit_metadata::decode(&found.metadata));
            let CommitMetadata { mut done, clocks } = said.unwrap_or_default();
            if self.cluster.mistake() == Mistake::ForgetsPartOfPack {
                done = 0;
            }
            task.task.restore_times(&clocks);
            input.committed = found.map(|found| Place { offset: found.offset, done });
            let next = offsets.get(&input.partition).map(|next| Place::before(*next));
            input.next = input.committed.or(next);
            input.paused = false;
        }
        task.become_state(TaskState::Running);
        if let Some(stores) = &mut task.stores {
            let mut host = TaskHost { stores, collector: &mut self.collector };
            task.task.init(&mut host).map_err(|error| RuntimeError::Task { task: id, error })?;
            self.shared.stores().open(id, stores.view(), &self.links.asker);
        }
        if let Some(since) = task.restoring_since.take() {
            self.metrics.restore_seconds(self.clock.elapsed(since).as_secs_f64());
        }
        Ok(task.partitions().cloned().collect())
    }
}
