//! The state updater: a thread that opens stores and brings them up to their changelogs' ends.
//!
//! The numbers are those of the restore protocol:
//!
//! ```text
//! 1  lock the task directory, open the stores
//! 2  compare their positions with the changelogs: what does not fit is rebuilt
//! 4  target: the high watermark, uncommitted records included; of an input that serves as changelog
//!    what the group has committed, as the task itself reads what follows
//! 5  read committed records until the position reaches the target
//! ```
//!
//! An updater of the same kind, one an instance, keeps the copies that [`standby`](super::standby)
//! decides on. A copy never reaches its target, since the changelog grows on; it is handed over as it
//! is when its task comes to this instance.
//!
//! Steps 3 (stable committed offsets) and 6 (run) are the stream thread's, before it sends a task
//! here and after it got it back. Other tasks keep running meanwhile.

mod copies;
mod listening;
mod misfit;
mod purge;
mod stalls;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use tidemill_state::{Position, TaskStores};
use tidemill_topology::graph::TaskId;
use tidemill_topology::store::StoreIndex;
use tidemill_topology::store::spec::ChangelogEntry;
use tidemill_topology::time::Timestamp;

use self::copies::Source;
use super::error::RuntimeError;
use super::observe::Shared;
use super::opening::{OpenStores, Opening};
use super::plan::Plan;
use crate::clock::Clock;
use crate::kafka::{
    Cluster, Consumer, Event, Isolation, KafkaError, Message, Offset, OffsetSpec, Received, Slot,
    StartAt, TopicPartition,
};
use crate::metrics::StoreMetrics;
use crate::status::RestoreStatus;

/// How long one call may wait for the cluster.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a poll waits for records, and so how soon other work is seen.
const POLL: Duration = Duration::from_millis(5);
/// Records taken at once.
const BATCH: usize = 100_000;
/// How long a batch is gathered.
const BATCH_WAIT: Duration = Duration::from_millis(100);
/// How long a task waits that could not be opened, for another try.
const RETRY: Duration = Duration::from_millis(100);
/// Tasks that are opened together; those that restore already wait meanwhile.
const OPENED_AT_ONCE: usize = 64;
/// How long a task may wait to be opened before the log says why.
const LONG: Duration = Duration::from_secs(10);

/// What the stream thread asks of its updater.
pub enum Work {
    /// Bring a task's stores up to date; opens them unless they are given.
    Restore {
        /// The task.
        task: TaskId,
        /// Its stores, after a rollback.
        stores: Option<OpenStores>,
    },
    /// Give a task's stores back as they are.
    Cancel(TaskId),
    /// Delete the records below these offsets.
    Purge(Vec<(TopicPartition, Offset)>),
    /// Delete what lies before the first record that is as young as this.
    PurgeOlder(Vec<(TopicPartition, Timestamp)>),
    /// Hand over the copy of a task's stores, open as they are, for the task runs here now; `None`
    /// where there is no copy.
    TakeCopy {
        /// The task.
        task: TaskId,
        /// Where the stores go.
        answer: Sender<Option<OpenStores>>,
    },
}

/// What an updater brings stores up to date for.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// To run their tasks: they are handed over at the changelogs' ends. Copies that the instance
    /// keeps are asked for where this leads, if it keeps any.
    Run(Option<Sender<Work>>),
    /// As copies of other instances' tasks: they follow their changelogs until they are taken over
    /// or dropped.
    Copy,
}

/// Up to where a task's changelogs were read.
pub type Reached = Vec<(TopicPartition, Offset)>;

/// What the updater answers.
pub enum Done {
    /// The stores are up to date.
    Restored {
        /// The task.
        task: TaskId,
        /// Its stores.
        stores: OpenStores,
        /// Up to where they are, but for inputs that are changelogs as well.
        reached: Reached,
    },
    /// The stores as they are, after a cancel; none if they were never opened.
    Cancelled {
        /// The task.
        task: TaskId,
    },
    /// The task cannot be restored.
    Failed {
        /// The task.
        task: TaskId,
        /// Why.
        error: RuntimeError,
    },
}

struct Job {
    task: TaskId,
    stores: OpenStores,
    open: Vec<Log>,
    /// The target of each changelog.
    reached: Reached,
    restored: u64,
    started: Instant,
}

/// The first offset of changelog partitions, and the one past the last.
type LogEnds = HashMap<TopicPartition, (Offset, Offset)>;

/// A changelog being read.
struct Log {
    index: StoreIndex,
    name: String,
    partition: TopicPartition,
    id: Option<[u8; 16]>,
    is_input: bool,
    is_windowed: bool,
    slot: Slot,
    position: Offset,
    target: Offset,
    restored: u64,
    moved: Instant,
    metrics: Arc<StoreMetrics>,
}

/// The updater of one stream thread.
pub struct StateUpdater<C: Cluster> {
    consumer: C::Consumer,
    admin: C::Admin,
    clock: Clock,
    plan: Arc<Plan>,
    opening: Opening,
    shared: Arc<Shared>,
    work: Receiver<Work>,
    done: Sender<Done>,
    wake: Box<dyn Fn() + Send>,
    keeps_copies: bool,
    /// Where copies are taken from, if the instance keeps any.
    take_from: Option<Sender<Work>>,
    jobs: Vec<Job>,
    /// Tasks whose directory another thread still holds, or whose cluster calls failed.
    waiting: VecDeque<(TaskId, Option<OpenStores>, Instant)>,
    /// When the log last said why a task cannot be opened.
    told: HashMap<TaskId, Instant>,
}

impl<C: Cluster> StateUpdater<C> {
    /// An updater that answers to `done`, and calls `wake` when it has.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        consumer: C::Consumer,
        admin: C::Admin,
        clock: Clock,
        plan: Arc<Plan>,
        opening: Opening,
        shared: Arc<Shared>,
        work: Receiver<Work>,
        done: Sender<Done>,
        wake: Box<dyn Fn() + Send>,
        purpose: Purpose,
    ) -> Self {
        let (keeps_copies, take_from) = match purpose {
            Purpose::Run(copies) => (false, copies),
            Purpose::Copy => (true, None),
        };
        Self {
            consumer,
            admin,
            clock,
            plan,
            opening,
            shared,
            work,
            done,
            wake,
            keeps_copies,
            take_from,
            jobs: Vec::new(),
            waiting: VecDeque::new(),
            told: HashMap::new(),
        }
    }

    /// Works until the stream thread is gone.
    pub fn run(mut self) {
        loop {
            let patience = match (self.jobs.is_empty(), self.waiting.is_empty()) {
                (false, _) => Duration::ZERO,
                (true, false) => Duration::from_millis(20),
                (true, true) => Duration::from_secs(1),
            };
            if !self.run_once(patience) {
                return;
            }
        }
    }

    /// One turn: takes what has been asked, waiting up to `patience` for more of it, and reads a
    /// batch. False when the stream thread is gone.
    pub fn run_once(&mut self, patience: Duration) -> bool {
        if !self.take_work(patience) {
            return false;
        }
        self.retry_waiting();
        if !self.jobs.is_empty() {
            self.read();
            self.look_for_stalls();
            if !self.keeps_copies {
                self.finish();
            }
        }
        true
    }

    /// Whether it restores anything now.
    #[must_use]
    pub fn is_restoring(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Takes what has been asked; waits for more while there is nothing to restore.
    fn take_work(&mut self, patience: Duration) -> bool {
        let mut wanted = Vec::new();
        let is_connected = loop {
            let idle = self.jobs.is_empty() && wanted.is_empty();
            match self.work.recv_timeout(if idle { patience } else { Duration::ZERO }) {
                Ok(Work::Restore { task, stores }) => {
                    let stores = stores.map_or_else(|| self.ask_for_copy(task), Source::Given);
                    wanted.push((task, stores));
                    if wanted.len() == OPENED_AT_ONCE {
                        self.begin_from(std::mem::take(&mut wanted));
                    }
                }
                Ok(Work::Cancel(task)) => {
                    wanted.retain(|(wanted, _)| *wanted != task);
                    self.cancel(task);
                }
                Ok(Work::Purge(below)) => self.purge(&below),
                Ok(Work::PurgeOlder(than)) => self.purge_older(&than),
                Ok(Work::TakeCopy { task, answer }) => {
                    // Whoever asked takes it, or has ended.
                    let _ = answer.send(self.end_copy(task));
                }
                Err(RecvTimeoutError::Timeout) => break true,
                Err(RecvTimeoutError::Disconnected) => break false,
            }
        };
        self.begin_from(wanted);
        is_connected
    }

    /// Begins with the stores that it is given, or that the copies were, each when it comes.
    fn begin_from(&mut self, wanted: Vec<(TaskId, Source)>) {
        let opened = wanted.into_iter().map(|(task, source)| (task, self.stores_of(task, source)));
        let opened = opened.collect();
        self.begin(opened);
    }

    fn answer(&self, done: Done) {
        // The stream thread is gone only when nobody waits for an answer any more.
        let _ = self.done.send(done);
        (self.wake)();
    }

    fn retry_waiting(&mut self) {
        let mut due = Vec::new();
        for _ in 0..self.waiting.len() {
            let Some((task, stores, since)) = self.waiting.pop_front() else { break };
            if self.clock.elapsed(since) < RETRY {
                self.waiting.push_back((task, stores, since));
            } else {
                due.push((task, stores));
            }
        }
        self.begin(due);
    }

    /// Steps 1, 2 and 4, for many tasks together: their databases open side by side, and the
    /// cluster is asked once.
    fn begin(&mut self, wanted: Vec<(TaskId, Option<OpenStores>)>) {
        let mut opened = Vec::new();
        for (task, stores) in self.opening.open_all(wanted, &self.plan, &self.shared) {
            match stores {
                Ok(stores) => opened.push((task, stores)),
                Err(error) => self.not_begun(task, None, error),
            }
        }
        let partitions: Vec<TopicPartition> =
            opened.iter().flat_map(|(task, _)| self.changelogs(*task)).collect();
        let ends = match self.log_ends(&partitions) {
            Ok(ends) => ends,
            // One partition that cannot be asked for must not hold the other tasks up.
            Err(error) if opened.len() > 1 && !error.class().is_retriable() => {
                for (task, stores) in opened {
                    self.begin(vec![(task, Some(stores))]);
                }
                return;
            }
            Err(error) => {
                for (task, stores) in opened {
                    self.not_begun(task, Some(stores), error.clone().into());
                }
                return;
            }
        };
        let (mut starts, known) = (Vec::new(), self.jobs.len());
        for (task, mut stores) in opened {
            match self.logs(task, &mut stores.stores, &ends, &mut starts) {
                Ok((open, reached)) => {
                    self.told.remove(&task);
                    let started = self.clock.now();
                    let job = Job { task, stores, open, reached, restored: 0, started };
                    if !self.keeps_copies {
                        let lag = u64::try_from(job.lag()).unwrap_or(0);
                        self.shared.stores().set_copy_lag(task, lag);
                        // Also of a restore that stands still from its first record on.
                        for log in &job.open {
                            log.progress(task, Duration::ZERO, &self.shared);
                        }
                    }
                    self.jobs.push(job);
                }
                Err(error) => self.not_begun(task, Some(stores), error),
            }
        }
        if !starts.is_empty()
            && let Err(error) = self.consumer.incremental_assign(&starts)
        {
            let assigned = |log: &Log| starts.iter().any(|start| start.partition == log.partition);
            let (failed, jobs) = std::mem::take(&mut self.jobs)
                .into_iter()
                .partition(|job| job.open.iter().any(assigned));
            self.jobs = jobs;
            for Job { task, stores, .. } in failed {
                self.not_begun(task, Some(stores), error.clone().into());
            }
            return;
        }
        self.tell_started(known);
    }

    fn not_begun(&mut self, task: TaskId, stores: Option<OpenStores>, error: RuntimeError) {
        if is_passing(&error) {
            let now = self.clock.now();
            let told = self.told.get(&task);
            if told.is_none_or(|told| now.saturating_duration_since(*told) >= LONG) {
                tracing::info!(%task, %error, "cannot restore yet; trying on");
                self.told.insert(task, now);
            }
            self.waiting.push_back((task, stores, now));
        } else {
            self.answer(Done::Failed { task, error });
        }
    }

    /// The partitions of a task's changelogs.
    fn changelogs(&self, task: TaskId) -> impl Iterator<Item = TopicPartition> {
        let changelogs = self.plan.subtopology(task.subtopology).changelogs.iter().flatten();
        changelogs.map(move |log| TopicPartition::new(log.topic.clone(), task.partition))
    }

    /// The first offset of each partition, and the one past the last, uncommitted records included.
    fn log_ends(&self, partitions: &[TopicPartition]) -> Result<LogEnds, KafkaError> {
        if partitions.is_empty() {
            return Ok(LogEnds::default());
        }
        let offsets = |spec| {
            self.consumer.list_offsets(partitions, spec, Isolation::ReadUncommitted, TIMEOUT)
        };
        let firsts = offsets(OffsetSpec::Earliest)?;
        let lasts = offsets(OffsetSpec::Latest)?;
        let ends = firsts.into_iter().zip(lasts).map(|(first, last)| {
            (first.partition, (first.offset.unwrap_or_default(), last.offset.unwrap_or_default()))
        });
        Ok(ends.collect())
    }

    /// Steps 2 and 4: where each changelog is read from, and up to where; and where the task will be.
    fn logs(
        &mut self,
        task: TaskId,
        stores: &mut TaskStores,
        ends: &LogEnds,
        starts: &mut Vec<StartAt>,
    ) -> Result<(Vec<Log>, Reached), RuntimeError> {
        let plan = Arc::clone(&self.plan);
        let subtopology = plan.subtopology(task.subtopology);
        let now_ms = self.clock.wall().millis();
        let (mut logs, mut reached) = (Vec::new(), Reached::new());
        let mut own_starts = Vec::new();
        for (at, changelog) in subtopology.changelogs.iter().enumerate() {
            let Some(changelog) = changelog else { continue };
            if self.keeps_copies && changelog.is_input {
                // How far a copy may read an input, only the task's owner knows: up to what it has
                // processed. Whoever takes the copy over reads the rest.
                continue;
            }
            let index = StoreIndex(at);
            let partition = TopicPartition::new(changelog.topic.clone(), task.partition);
            let (first, last) = ends.get(&partition).copied().unwrap_or_default();
            let target = match changelog.is_input {
                true => self.processed(&partition)?.map_or(first, |offset| last.min(offset)),
                false => last,
            };
            let name = &subtopology.stores[at].name;
            let start = match stores.position(index) {
                Some(position) => match misfit::of(&position, changelog, first, last, now_ms) {
                    None => first.max(Offset(position.offset)),
                    Some(reason)
                        if misfit::ends_the_instance(reason, self.opening.out_of_range) =>
                    {
                        return Err(RuntimeError::ChangelogOutOfRange {
                            task,
                            store: name.clone(),
                            position: position.offset,
                            reason,
                        });
                    }
                    Some(reason) => {
                        tracing::warn!(%task, store = name, reason, position = position.offset, %first, %last,
                            "local state does not fit its changelog; it is rebuilt");
                        self.shared.client().store_rebuilt(name, reason);
                        stores.wipe(index)?;
                        first
                    }
                },
                None => first,
            };
            // An input that is its own changelog grows all the time; its offset is the committed one.
            if !changelog.is_input {
                reached.push((partition.clone(), last));
            }
            let metrics = self.shared.store_metrics(task, name);
            if start >= target && !self.keeps_copies {
                self.shared.set_restore(task, name, RestoreStatus::default());
                continue;
            }
            own_starts.push(StartAt::offset(partition.clone(), start));
            logs.push(Log {
                index,
                name: name.clone(),
                slot: self.consumer.slot(&partition),
                partition,
                id: changelog.id,
                is_input: changelog.is_input,
                is_windowed: changelog.gone_after_ms.is_some(),
                position: start,
                target,
                restored: 0,
                moved: self.clock.now(),
                metrics,
            });
        }
        starts.append(&mut own_starts);
        Ok((logs, reached))
    }

    /// Up to where the group has processed an input; `None` where it has not begun.
    fn processed(&self, input: &TopicPartition) -> Result<Option<Offset>, KafkaError> {
        let committed = self.consumer.committed(std::slice::from_ref(input), TIMEOUT)?;
        Ok(committed.into_iter().flatten().next().map(|committed| committed.offset))
    }

    /// Step 5: one batch of records, into their stores.
    fn read(&mut self) {
        let (mut records, mut events) = (Vec::new(), Vec::new());
        // Large batches sort and fold better; but nobody waits long for one.
        let started = self.clock.now();
        loop {
            let before = records.len();
            self.consumer.poll(BATCH, POLL, &mut records, &mut events);
            let enough = records.len() >= BATCH || self.clock.elapsed(started) > BATCH_WAIT;
            if enough || records.len() == before || !events.is_empty() {
                break;
            }
        }
        for event in events {
            self.handle(event);
        }
        let mut by_slot: HashMap<Slot, Vec<<C::Consumer as Consumer>::Message>> = HashMap::new();
        for Received { slot, message } in records {
            by_slot.entry(slot).or_default().push(message);
        }
        if self.keeps_copies {
            self.move_targets();
        }
        let listener = self.shared.restore_listener().filter(|_| !self.keeps_copies);
        let mut failed = Vec::new();
        for job in &mut self.jobs {
            for log in &mut job.open {
                let batch = by_slot.remove(&log.slot).unwrap_or_default();
                let before = log.position;
                match put(log, &batch, &self.consumer, &mut job.stores.stores, &self.clock) {
                    // The last of a changelog may be markers alone.
                    Ok(_) if log.position == before => {}
                    Ok(count) => {
                        job.restored += count;
                        if !self.keeps_copies {
                            log.progress(job.task, self.clock.elapsed(job.started), &self.shared);
                        }
                        if count > 0
                            && let Some(listener) = listener
                        {
                            listener.progressed(log.seen(job.task), count);
                        }
                    }
                    Err(error) => {
                        // The job ends with the first of its stores that fails.
                        failed.push((job.task, error));
                        break;
                    }
                }
            }
        }
        for (task, error) in failed {
            self.drop_job(task);
            self.answer(Done::Failed { task, error });
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::OutOfRange { partition, error } => self.position_gone(&partition, &error, true),
            Event::Truncated { partition, error } => self.position_gone(&partition, &error, false),
            Event::AllBrokersDown(error) => tracing::warn!(%error, "restore waits for the brokers"),
            Event::Error { partition, error } => {
                tracing::warn!(?partition, %error, "restore consumer");
            }
            Event::EndOfPartition { .. }
            | Event::Assigned { .. }
            | Event::Revoked(_)
            | Event::Lost(_)
            | Event::MaxPollExceeded(_) => {}
        }
    }

    fn finish(&mut self) {
        let mut at = 0;
        while at < self.jobs.len() {
            let job = &mut self.jobs[at];
            let (reached, open): (Vec<Log>, Vec<Log>) = std::mem::take(&mut job.open)
                .into_iter()
                .partition(|log| log.position >= log.target);
            job.open = open;
            let task = job.task;
            let (restored, elapsed) = (job.restored, self.clock.elapsed(job.started));
            let is_done = job.open.is_empty();
            self.tell_ended(task, &reached);
            if !reached.is_empty() {
                let partitions: Vec<TopicPartition> =
                    reached.iter().map(|log| log.partition.clone()).collect();
                if let Err(error) = self.consumer.incremental_unassign(&partitions) {
                    tracing::debug!(%error, "restore consumer: unassign");
                }
            }
            if is_done {
                let job = self.jobs.swap_remove(at);
                tracing::info!(%task, records = restored, elapsed_ms = elapsed.as_millis() as u64, "restored");
                self.answer(Done::Restored { task, stores: job.stores, reached: job.reached });
            } else {
                at += 1;
            }
        }
    }

    fn unassign(&mut self, task: TaskId, logs: &[Log]) {
        self.tell_suspended(task, logs);
        let partitions: Vec<TopicPartition> =
            logs.iter().map(|log| log.partition.clone()).collect();
        if !partitions.is_empty()
            && let Err(error) = self.consumer.incremental_unassign(&partitions)
        {
            tracing::debug!(%error, "restore consumer: unassign");
        }
    }

    fn drop_job(&mut self, task: TaskId) {
        if let Some(at) = self.jobs.iter().position(|job| job.task == task) {
            let job = self.jobs.swap_remove(at);
            self.unassign(job.task, &job.open);
        }
    }

    fn cancel(&mut self, task: TaskId) {
        self.drop_job(task);
        self.waiting.retain(|(waiting, ..)| *waiting != task);
        self.answer(Done::Cancelled { task });
    }
}

impl Log {
    /// Its position, as the store keeps it.
    fn position_at(&self, leader_epoch: Option<i32>, clock: &Clock) -> Position {
        Position {
            offset: self.position.0,
            topic_id: self.id,
            leader_epoch,
            caught_up_at_ms: clock.wall().millis(),
        }
    }

    fn progress(&self, task: TaskId, elapsed: Duration, shared: &Shared) {
        let remaining = u64::try_from(self.target.0 - self.position.0).unwrap_or(0);
        let status = RestoreStatus::new(self.restored, remaining, elapsed.as_secs_f64());
        self.metrics.set_restore_remaining(remaining);
        // A rate is a whole number of records, far below 2^53; none is left when it is done.
        let rate = if remaining == 0 { 0 } else { status.records_per_second as u64 };
        self.metrics.set_restore_rate(rate);
        shared.set_restore(task, &self.name, status);
    }
}

/// Puts a batch into its store and moves the position. Says how many records there were.
fn put<C: Consumer>(
    log: &mut Log,
    batch: &[C::Message],
    consumer: &C,
    stores: &mut TaskStores,
    clock: &Clock,
) -> Result<u64, RuntimeError> {
    let Some(position) =
        consumer.position(&log.partition).filter(|position| *position > log.position)
    else {
        return Ok(0);
    };
    // The task itself processes what follows the target of an input.
    let (batch, position) = match log.is_input {
        true => {
            let below = batch.partition_point(|message| message.offset() < log.target);
            (&batch[..below], position.min(log.target))
        }
        false => (batch, position),
    };
    log.position = position;
    let next = log.position_at(batch.last().and_then(Message::leader_epoch), clock);
    let size = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len) as u64;
    let bytes = batch.iter().map(|message| size(message.key()) + size(message.value())).sum();
    // A table has no entry under a null key; a changelog of our own has no such record.
    let keyed = batch.iter().filter(|message| message.key().is_some());
    let entries = keyed.map(|message| ChangelogEntry {
        key: message.key().unwrap_or_default(),
        value: message.value(),
        timestamp: message.timestamp(),
    });
    let count = stores.restore(log.index, entries, next)?;
    log.restored += count;
    log.moved = clock.now();
    log.metrics.restored(count, bytes);
    Ok(count)
}

/// Whether it is worth trying again.
fn is_passing(error: &RuntimeError) -> bool {
    match error {
        RuntimeError::Kafka(error) => error.class().is_retriable(),
        RuntimeError::State(error) => error.is_retriable(),
        _ => false,
    }
}
