//! The commit protocol, and the rollback that takes its place when it fails.
//!
//! 1. Operators push on what their caches held back, and open packs go to the producer.
//! 2. Each store's write set goes to its changelog, the newest value a key.
//! 3. The producer delivers.
//! 4. The identity is checked, and the inputs' next offsets join the transaction.
//! 5. The transaction commits.
//! 6. The write sets move on to the stores' engines, with their positions, when that is due.
//! 7. Consumed repartition records are deleted, and what has expired in windowed changelogs.
//!
//! A crash before 5 loses nothing: the transaction aborts, and the engines were not touched. A
//! crash after 5 replays the changelogs from the engines' positions.

use std::time::{Duration, Instant};

use tidemill_state::Position;
use tidemill_topology::graph::TaskId;
use tidemill_topology::record::Headers;
use tidemill_topology::store::StoreIndex;
use tidemill_topology::time::Timestamp;

use super::{PATIENCE, StreamThread, ThreadLinks};
use crate::clock::Clock;
use crate::config::ProcessingGuarantee;
use crate::kafka::{
    Cluster, Committed, Consumer, KafkaError, Message, Outgoing, Producer, TopicPartition,
};
use crate::metrics::{CommitStep, ThreadMetrics};
use crate::mistake::Mistake;
use crate::runtime::active_task::ActiveTask;
use crate::runtime::error::RuntimeError;
use crate::runtime::observe::Shared;
use crate::runtime::opening::OpenStores;
use crate::runtime::restore::Work;
use crate::status::TaskState;

/// How long offsets may take to join the transaction: nothing is decided by it, so giving up costs no
/// more than doing the work again.
const OFFSETS: Duration = Duration::from_secs(10);

impl<C: Cluster> StreamThread<C> {
    pub(super) fn has_work_to_commit(&self) -> bool {
        self.in_transaction || self.tasks.values().any(|task| task.dirty)
    }

    pub(super) fn commit_is_due(&mut self) -> bool {
        let interval = self.clock.elapsed(self.last_commit) >= self.config.commit_interval;
        let full = self.uncommitted_bytes > self.config.write_set_max_bytes
            || self.collector.open_bytes > self.config.transaction_max_bytes;
        if !interval && !full {
            return false;
        }
        if self.has_work_to_commit() {
            return true;
        }
        self.last_commit = self.clock.now();
        // What waits for the engines does not wait for another record.
        let wall = self.clock.wall();
        for task in self.tasks.values_mut().filter(|task| task.state == TaskState::Running) {
            apply_if_due(task, wall, &self.shared, &self.clock, &self.metrics);
        }
        // Only positions may have moved, over the markers of other transactions.
        let consumer = &self.consumer;
        self.tasks
            .values_mut()
            .filter(|task| task.state == TaskState::Running)
            .any(|task| !task.offsets(consumer).is_empty())
    }

    /// The commit protocol; the steps are those of the architecture page.
    pub(super) fn commit(&mut self) -> Result<(), RuntimeError> {
        let committed = self.try_commit();
        if committed.is_err() {
            self.metrics.commit_failed();
        }
        committed
    }

    fn try_commit(&mut self) -> Result<(), RuntimeError> {
        let started = self.clock.now();
        let transactional = self.config.guarantee == ProcessingGuarantee::ExactlyOnce;
        // 1. Push on what caching operators held back.
        for task in self.tasks.values_mut().filter(|task| task.state == TaskState::Running) {
            if task.dirty {
                if transactional && !self.in_transaction {
                    self.collector.producer().begin()?;
                    self.in_transaction = true;
                }
                task.flush(&mut self.collector)?;
            }
        }
        let consumer = &self.consumer;
        let offsets: Vec<Committed> = self
            .tasks
            .values_mut()
            .filter(|task| task.state == TaskState::Running)
            .flat_map(|task| task.offsets(consumer))
            .collect();
        if offsets.is_empty() && !self.has_work_to_commit() {
            return Ok(());
        }
        if transactional && !self.in_transaction {
            self.collector.producer().begin()?;
            self.in_transaction = true;
        }
        self.collector.send_packs()?;
        if !transactional {
            // Nothing holds results and changes of state together: were a change kept and a result
            // before it lost, the record that made both would find its work done when it comes
            // again.
            self.deliver()?;
        }
        let step = self.note_step(CommitStep::Flush, started);
        // 2. Produce each store's write set to its changelog.
        self.log_changes()?;
        self.note_step(CommitStep::Changelog, step);
        if self.cluster.mistake() == Mistake::AppliesBeforeCommit {
            self.apply()?;
        }
        if transactional {
            self.commit_transaction(&offsets)?;
        } else {
            self.commit_offsets(&offsets)?;
        }
        self.in_transaction = false;
        self.collector.open_bytes = 0;
        self.uncommitted_bytes = 0;
        // 6. Hand what is committed to the stores' engines.
        let step = self.clock.now();
        self.apply()?;
        self.note_step(CommitStep::Apply, step);
        // From start to start, so that what a commit takes does not make the next one later. But a
        // coordinator that still ends the last transaction puts the next one off by 20 ms: it gets
        // most of the interval for that.
        let rest = self.config.commit_interval.mul_f32(0.9);
        let now = self.clock.now();
        self.last_commit =
            started.max(now.checked_sub(self.config.commit_interval - rest).unwrap_or(now));
        self.metrics.commit_seconds(self.clock.elapsed(started).as_secs_f64());
        // 7. What was consumed, or has expired, is not needed any more.
        self.purge_if_due();
        Ok(())
    }

    /// Adds the time since `since` to a step's, and says what time it is.
    fn note_step(&self, step: CommitStep, since: Instant) -> Instant {
        let now = self.clock.now();
        let taken = now.saturating_duration_since(since);
        self.metrics.commit_step_seconds(step, taken.as_secs_f64());
        now
    }

    pub(super) fn log_changes(&mut self) -> Result<(), RuntimeError> {
        let collector = &mut self.collector;
        for task in self.tasks.values_mut().filter(|task| task.dirty) {
            let plan = self.plan.subtopology(task.id.subtopology);
            let partition = Some(task.id.partition);
            let Some(stores) = &mut task.stores else { continue };
            let mut topics = Vec::new();
            for changelog in &plan.changelogs {
                topics.push(match changelog {
                    Some(changelog) => Some(collector.topic_id(&changelog.topic)?),
                    None => None,
                });
            }
            stores.for_each_unlogged(|index, entry| {
                let Some(topic) = topics[index.0] else { return Ok(()) };
                collector.produce(&Outgoing {
                    topic,
                    partition,
                    key: Some(entry.key),
                    value: entry.value,
                    timestamp: entry.timestamp.max(Timestamp::new(0)),
                    headers: Headers::none(),
                })
            })?;
        }
        Ok(())
    }

    /// Steps 3 to 5 under exactly-once.
    pub(super) fn commit_transaction(&mut self, offsets: &[Committed]) -> Result<(), RuntimeError> {
        let step = self.clock.now();
        // 4. The broker checks nothing of an empty identity, so it is checked here.
        let group = self.consumer.group_metadata();
        let same =
            self.identity.as_ref().is_some_and(|identity| identity.member_id == group.member_id);
        if !offsets.is_empty() {
            let trusted = self.cluster.mistake() == Mistake::TrustsIdentity;
            if !trusted && (self.consumer.assignment_lost() || !group.is_member() || !same) {
                return Err(RuntimeError::IdentityChanged);
            }
            patiently(&self.clock, &self.links, OFFSETS, |limit| {
                self.collector.producer().send_offsets(offsets, &group, limit)
            })?;
        }
        let step = self.note_step(CommitStep::Offsets, step);
        // 3 and 5. Committing waits for every delivery first, and fails if one failed.
        let result = patiently(&self.clock, &self.links, PATIENCE, |limit| {
            self.collector.producer().commit(limit)
        });
        self.collector.producer().poll(Duration::ZERO);
        self.note_step(CommitStep::Transaction, step);
        match result {
            Ok(()) => Ok(()),
            Err(error) => Err(self.delivery_error().unwrap_or(error.into())),
        }
    }

    /// Steps 3 to 5 under at-least-once: no transaction, so outputs first, offsets second.
    pub(super) fn commit_offsets(&mut self, offsets: &[Committed]) -> Result<(), RuntimeError> {
        let step = self.clock.now();
        self.deliver()?;
        let step = self.note_step(CommitStep::Transaction, step);
        if !offsets.is_empty() {
            self.consumer.commit(offsets)?;
        }
        self.note_step(CommitStep::Offsets, step);
        Ok(())
    }

    /// Waits until everything that was produced is delivered.
    fn deliver(&mut self) -> Result<(), RuntimeError> {
        patiently(&self.clock, &self.links, PATIENCE, |limit| {
            self.collector.producer().flush(limit)
        })?;
        self.delivery_error().map_or(Ok(()), Err)
    }

    pub(super) fn delivery_error(&mut self) -> Option<RuntimeError> {
        let (partition, error) = self.collector.producer().deliveries().take_error()?;
        Some(RuntimeError::Delivery {
            topic: partition.topic.to_string(),
            partition: partition.partition,
            error,
        })
    }

    pub(super) fn apply(&mut self) -> Result<(), RuntimeError> {
        let wall = self.clock.wall();
        let now = wall.millis();
        for task in self.tasks.values_mut().filter(|task| task.state == TaskState::Running) {
            let was_dirty = task.dirty;
            let inputs = task.note_committed();
            for span in task.take_uncommitted() {
                self.meters.committed(&span, wall);
            }
            if !was_dirty && inputs.is_empty() {
                apply_if_due(task, wall, &self.shared, &self.clock, &self.metrics);
                continue;
            }
            let plan = self.plan.subtopology(task.id.subtopology);
            let Some(stores) = &mut task.stores else { continue };
            let mut positions = Vec::new();
            for (at, changelog) in plan.changelogs.iter().enumerate() {
                let Some(changelog) = changelog else { continue };
                let index = StoreIndex(at);
                let next = if changelog.is_input {
                    inputs
                        .iter()
                        .find(|input| *input.topic == *changelog.topic)
                        .map(|input| input.offset)
                } else {
                    let topic = self.collector.topic_id(&changelog.topic)?;
                    let delivered =
                        self.collector.producer().deliveries().highest(topic, task.id.partition);
                    delivered.map(|offset| offset.next().0)
                };
                // Nothing delivered yet: the position of the restore stays.
                let Some(next) = next else { continue };
                if stores.committed_position(index).is_some_and(|position| position.offset > next) {
                    continue;
                }
                positions.push((
                    index,
                    Position {
                        offset: next,
                        topic_id: changelog.id,
                        leader_epoch: None,
                        caught_up_at_ms: now,
                    },
                ));
            }
            stores.committed(&positions, &inputs, now)?;
            stores.show_times(|index| task.task.store_time(index));
            apply_if_due(task, wall, &self.shared, &self.clock, &self.metrics);
        }
        Ok(())
    }

    pub(super) fn open_producer(&mut self) -> Result<(), RuntimeError> {
        if self.config.guarantee == ProcessingGuarantee::AtLeastOnce {
            return Ok(());
        }
        // Ends what a predecessor with this id left open. Brokers that are away are waited for.
        loop {
            let limit = self.links.call_limit(&self.clock);
            match self.collector.producer().init_transactions(limit) {
                Ok(()) => return Ok(()),
                Err(error) if error.class().is_retriable() => {
                    if self.links.must_end() {
                        return Ok(());
                    }
                    tracing::warn!(thread = self.config.name, %error, "the transaction coordinator cannot be reached; trying on");
                    // The group must see signs of life meanwhile.
                    self.poll();
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Aborts, and takes every task back to what is committed.
    pub(super) fn rollback(&mut self, new_producer: bool) -> Result<(), RuntimeError> {
        self.metrics.aborted();
        self.end_transaction(new_producer)?;
        let ids: Vec<TaskId> = self.tasks.keys().copied().collect();
        for id in ids {
            self.roll_task_back(id)?;
        }
        self.publish();
        Ok(())
    }

    /// As `rollback`, for the tasks that stay.
    pub(super) fn rollback_others(&mut self, lost: &[TaskId]) -> Result<(), RuntimeError> {
        self.metrics.aborted();
        self.end_transaction(false)?;
        let ids: Vec<TaskId> = self.tasks.keys().copied().filter(|id| !lost.contains(id)).collect();
        for id in ids {
            self.roll_task_back(id)?;
        }
        for id in lost {
            // What they have not committed is not theirs to keep.
            if let Some(stores) = self.tasks.get_mut(id).and_then(|task| task.stores.as_mut()) {
                stores.rollback();
            }
        }
        Ok(())
    }

    pub(super) fn end_transaction(&mut self, new_producer: bool) -> Result<(), RuntimeError> {
        let aborted = if self.in_transaction && !new_producer {
            // Once: a new producer ends the transaction as well, and waits for nothing that the old
            // one has under way to a broker that does not answer.
            let limit = self.links.call_limit(&self.clock);
            self.collector.producer().abort(limit)
        } else {
            if self.config.guarantee == ProcessingGuarantee::AtLeastOnce {
                self.collector.producer().purge();
            }
            Ok(())
        };
        self.in_transaction = false;
        self.collector.forget_unsent();
        self.uncommitted_bytes = 0;
        if let Err(error) = &aborted {
            tracing::warn!(thread = self.config.name, %error, "abort; a new producer ends the transaction");
        }
        // A thread that is to end opens no other: the next start ends the transaction.
        if (new_producer || aborted.is_err()) && !self.links.must_end() {
            let producer = self.cluster.producer(&self.config.producer)?;
            self.collector.replace(producer);
            self.open_producer()?;
        }
        self.collector.producer().poll(Duration::ZERO);
        self.collector.producer().deliveries().take_error();
        Ok(())
    }

    /// Takes one task back: nothing of the aborted transaction stays in operators, stores, clocks
    /// or queues.
    pub(super) fn roll_task_back(&mut self, id: TaskId) -> Result<(), RuntimeError> {
        let operators = self.operators(id)?;
        let Some(task) = self.tasks.get_mut(&id) else { return Ok(()) };
        task.clear_buffers();
        task.dirty = false;
        let partitions: Vec<TopicPartition> = task.partitions().cloned().collect();
        if task.state != TaskState::Running {
            return Ok(());
        }
        self.consumer.pause(&partitions);
        self.meters.take_counts(task);
        task.renew(operators);
        task.become_state(TaskState::Restoring);
        task.restoring_since = Some(self.clock.now());
        self.shared.stores().restoring(id);
        let stores = task.stores.take().map(|mut stores| {
            stores.rollback();
            OpenStores { stores, directory: self.directories.remove(&id) }
        });
        self.request(Work::Restore { task: id, stores })
    }
}

/// Commit step 6 for one task, timed if it is due.
pub(super) fn apply_if_due<M: Message>(
    task: &mut ActiveTask<M>,
    wall: Timestamp,
    shared: &Shared,
    clock: &Clock,
    metrics: &ThreadMetrics,
) {
    let started = clock.now();
    if task.apply_if_due(wall.millis(), shared) {
        metrics.apply_seconds(clock.elapsed(started).as_secs_f64());
    }
}

/// Repeats a call whose outcome is open, with the same arguments, until it is known or too late. The
/// call is told how long it may wait.
fn patiently(
    clock: &Clock,
    links: &ThreadLinks,
    patience: Duration,
    mut call: impl FnMut(Duration) -> Result<(), KafkaError>,
) -> Result<(), KafkaError> {
    let started = clock.now();
    loop {
        match call(links.call_limit(clock)) {
            Err(error)
                if error.class().is_retriable()
                    && links.has_time_for_more(started, patience, clock) =>
            {
                tracing::warn!(%error, "repeating the call");
            }
            result => return result,
        }
    }
}
