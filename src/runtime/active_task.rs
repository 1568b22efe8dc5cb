//! An assigned task: its operators, its stores, and the records that wait for it.
//!
//! ```text
//! Created --> Restoring --> Running --> Closed
//!                 ^            |
//!                 +-- rollback-+
//! ```
//!
//! While it restores, its stores are with the state updater; while it runs, they are here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use tidemill_state::{Applied, InputOffset, TaskStores};
use tidemill_topology::graph::TaskId;
use tidemill_topology::node::DropReason;
use tidemill_topology::record::{Headers, RawRecord};
use tidemill_topology::task::Task;

use super::collector::{Collector, TaskHost};
use super::commit_metadata;
use super::error::RuntimeError;
use super::idle::TaskIdle;
use super::input::{Input, Place, Span};
use super::observe::Shared;
use super::pack::{self, Contents};
use super::plan::Plan;
use super::restore::Reached;
use crate::kafka::{Committed, Consumer, Message, Producer, TopicPartition};
use crate::metrics::{LocalTask, TaskMetrics};
use crate::status::TaskState;

/// A task of a stream thread.
pub struct ActiveTask<M> {
    /// Which task.
    pub id: TaskId,
    /// What it does.
    pub state: TaskState,
    /// Its operators; made anew after a rollback.
    pub task: Task,
    /// Its stores, `None` while the state updater has them.
    pub stores: Option<Box<TaskStores>>,
    /// Up to where its changelogs had been read when the state updater gave the stores back.
    pub reached: Reached,
    /// Its inputs, the lead first.
    pub inputs: Vec<Input<M>>,
    /// Whether something was processed or punctuated since the last commit.
    pub dirty: bool,
    /// Whether its inputs are not fetched, as the instance is paused.
    pub halted: bool,
    /// Records processed in all.
    pub processed: u64,
    /// Counters not yet published.
    pub local: LocalTask,
    /// How many of the operators' dropped records are published, by reason.
    pub dropped_seen: [u64; DropReason::ALL.len()],
    /// The ends of the batch that was last processed.
    pub batch: Span,
    /// When it last began to restore.
    pub restoring_since: Option<Instant>,
    /// Its series.
    pub metrics: TaskMetrics,
    buffered: usize,
    headers: Headers,
    /// Records on which code has panicked: the next time they go to the processing handler instead.
    panicked: Vec<Panicked>,
}

/// A record on which code panicked.
struct Panicked {
    input: usize,
    at: Place,
    /// What the panic said.
    message: String,
}

impl<M: Message> ActiveTask<M> {
    /// A task that has just been assigned, with its operators.
    ///
    /// # Errors
    /// When the operators do not read what the plan says.
    pub fn new<C: Consumer<Message = M>>(
        id: TaskId,
        task: Task,
        plan: &Plan,
        consumer: &mut C,
        metrics: TaskMetrics,
    ) -> Result<Self, RuntimeError> {
        let inputs = plan
            .inputs(id)
            .map(|(input, partition)| {
                let slot = consumer.slot(&partition);
                let index = task.input(&input.name)?;
                let metrics = metrics.partition(&partition.topic, partition.partition);
                Ok(Input::new(partition, slot, input.internal, index, metrics))
            })
            .collect::<Result<Vec<_>, RuntimeError>>()?;
        metrics.set_state(TaskState::Created);
        Ok(Self {
            id,
            state: TaskState::Created,
            task,
            stores: None,
            reached: Reached::new(),
            inputs,
            dirty: false,
            halted: false,
            processed: 0,
            local: LocalTask::default(),
            panicked: Vec::new(),
            dropped_seen: [0; _],
            batch: Span::default(),
            restoring_since: None,
            metrics,
            buffered: 0,
            headers: Headers::new(),
        })
    }

    /// The one place where a task changes its state.
    pub fn become_state(&mut self, state: TaskState) {
        debug_assert!(
            matches!(
                (self.state, state),
                (TaskState::Created | TaskState::Running, TaskState::Restoring)
                    | (TaskState::Restoring, TaskState::Running)
                    | (_, TaskState::Closed)
            ),
            "{} from {:?} to {state:?}",
            self.id,
            self.state
        );
        // A task that is restored has its inputs fetched from where it then starts.
        self.halted = false;
        self.state = state;
        self.metrics.set_state(state);
    }

    /// Queues what was fetched for an input. Says what it holds.
    pub fn buffer(&mut self, input: usize, message: M) -> Contents {
        let contents = self.inputs[input].push(message, &mut self.headers);
        self.buffered += contents.records as usize;
        contents
    }

    /// Records that wait.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffered
    }

    /// Forgets the records that wait.
    pub fn clear_buffers(&mut self) {
        self.inputs.iter_mut().for_each(Input::clear);
        self.buffered = 0;
    }

    /// Takes up to `limit` records through the task, lowest timestamp first. Says how many.
    ///
    /// # Errors
    /// When a handler stops the task, a store or the producer fails, or code panics: then the task
    /// has to be rolled back, for what was half done is in its operators and stores.
    pub fn process<C, P>(
        &mut self,
        limit: usize,
        idle: TaskIdle,
        consumer: &C,
        collector: &mut Collector<P>,
    ) -> Result<usize, RuntimeError>
    where
        C: Consumer<Message = M>,
        P: Producer,
    {
        let Some(mut stores) = self.stores.take() else { return Ok(0) };
        let mut place = None;
        let run = catch_unwind(AssertUnwindSafe(|| {
            self.process_batch(limit, idle, consumer, collector, &mut stores, &mut place)
        }));
        self.stores = Some(stores);
        run.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            let (task, message) = (self.id, text.unwrap_or_default());
            let Some((input, at)) = place else {
                return Err(RuntimeError::Panic { task, place: "no record".to_owned(), message });
            };
            self.panicked.push(Panicked { input, at, message: message.clone() });
            let place = format!("{}@{at}", self.inputs[input].partition);
            Err(RuntimeError::PanicOnRecord { task, place, message })
        })
    }

    fn process_batch<C, P>(
        &mut self,
        limit: usize,
        idle: TaskIdle,
        consumer: &C,
        collector: &mut Collector<P>,
        stores: &mut TaskStores,
        place: &mut Option<(usize, Place)>,
    ) -> Result<usize, RuntimeError>
    where
        C: Consumer<Message = M>,
        P: Producer,
    {
        for input in &mut self.inputs {
            input.drained = false;
        }
        let mut host = TaskHost { stores, collector };
        let mut batch = Span::default();
        let mut count = 0;
        while count < limit {
            let Some(at) = self.choose(idle, consumer) else { break };
            let input = &mut self.inputs[at];
            let Some(head) = input.head() else { break };
            let here = head.place();
            *place = Some((at, here));
            let read = head.read(&mut self.headers);
            let (packed, end) = read.unwrap_or_else(|| (head.read_whole(&mut self.headers), 0));
            let record = RawRecord {
                topic: &input.partition.topic,
                partition: input.partition.partition,
                offset: here.offset.0,
                timestamp: packed.timestamp,
                key: packed.key,
                value: packed.value,
                headers: &self.headers,
            };
            let known = self.panicked.iter().find(|known| (known.input, known.at) == (at, here));
            if let Some(Panicked { message, .. }) = known {
                let refused = self.task.refuse(input.index, &record, message, &mut host);
                refused.map_err(|error| match error.is_processing() {
                    true => RuntimeError::Panic {
                        task: self.id,
                        place: format!("{}@{here}", input.partition),
                        message: message.clone(),
                    },
                    false => RuntimeError::Task { task: self.id, error },
                })?;
            } else {
                let processed = match read {
                    Some(_) => self.task.process(input.index, &record, &mut host),
                    None => {
                        let why = pack::unreadable();
                        self.task.refuse_unreadable(&record, "pack", why, &mut host)
                    }
                };
                processed.map_err(|error| RuntimeError::Task { task: self.id, error })?;
            }
            let timestamp = packed.timestamp;
            input.advance(end);
            input.last_timestamp = Some(timestamp);
            input.uncommitted.add(input.meter, timestamp);
            batch.add(input.meter, timestamp);
            self.buffered -= 1;
            count += 1;
        }
        self.batch = batch;
        self.dirty |= count > 0;
        self.processed += count as u64;
        self.local.processed += count as u64;
        Ok(count)
    }

    /// The input whose head has the lowest timestamp; none while an empty input may still have a
    /// lower one on its way.
    fn choose<C: Consumer<Message = M>>(&mut self, idle: TaskIdle, consumer: &C) -> Option<usize> {
        if let [only] = &self.inputs[..] {
            return only.head().is_some().then_some(0);
        }
        let mut best = None;
        for at in 0..self.inputs.len() {
            match self.inputs[at].waiting_since() {
                Some(timestamp) if best.is_none_or(|(lowest, _)| timestamp < lowest) => {
                    best = Some((timestamp, at));
                }
                None if !self.inputs[at].drained => {
                    let mut caught_up = self.inputs[at].caught_up;
                    let waits =
                        caught_up.is_waited_for(idle, || at_end(&self.inputs[at], consumer));
                    self.inputs[at].caught_up = caught_up;
                    if waits {
                        return None;
                    }
                    self.inputs[at].drained = true;
                }
                _ => {}
            }
        }
        best.map(|(_, at)| at)
    }

    /// Fires wall-clock punctuations.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn punctuate<P: Producer>(
        &mut self,
        collector: &mut Collector<P>,
    ) -> Result<(), RuntimeError> {
        let Some(stores) = &mut self.stores else { return Ok(()) };
        let sent = collector.sent;
        let mut host = TaskHost { stores, collector };
        self.task
            .punctuate_wall_clock(&mut host)
            .map_err(|error| RuntimeError::Task { task: self.id, error })?;
        self.dirty |= collector.sent != sent || stores.has_uncommitted();
        Ok(())
    }

    /// Commit step 1: pushes on what caching operators held back.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn flush<P: Producer>(&mut self, collector: &mut Collector<P>) -> Result<(), RuntimeError> {
        let Some(stores) = &mut self.stores else { return Ok(()) };
        let mut host = TaskHost { stores, collector };
        self.task.flush(&mut host).map_err(|error| RuntimeError::Task { task: self.id, error })
    }

    /// What is to be committed of the inputs: where they moved since the last commit.
    pub fn offsets<C: Consumer<Message = M>>(&mut self, consumer: &C) -> Vec<Committed> {
        let mut clocks = None;
        let mut offsets = Vec::new();
        for input in &mut self.inputs {
            // Behind the last record there may be only the markers of transactions: step over them.
            if input.head().is_none()
                && let Some(position) = consumer.position(&input.partition)
            {
                input.next = input.next.map(|next| next.max(Place::before(position)));
            }
            input.offered = input.next.filter(|next| Some(*next) != input.committed);
            let Some(next) = input.offered else { continue };
            let clocks = clocks.get_or_insert_with(|| self.task.times());
            offsets.push(Committed {
                partition: input.partition.clone(),
                offset: next.offset,
                leader_epoch: None,
                metadata: commit_metadata::encode(next.done, clocks),
            });
        }
        offsets
    }

    /// The group has committed what [`offsets`](Self::offsets) gave; what the stores keep of it.
    pub fn note_committed(&mut self) -> Vec<InputOffset> {
        self.dirty = false;
        let mut kept = Vec::new();
        for (at, input) in self.inputs.iter_mut().enumerate() {
            let Some(place) = input.offered.take() else { continue };
            input.committed = Some(place);
            // They do not come back.
            self.panicked.retain(|known| known.input != at || known.at >= place);
            kept.push(InputOffset {
                topic: input.partition.topic.to_string(),
                partition: input.partition.partition,
                offset: place.offset.0,
            });
        }
        kept
    }

    /// The ends of what was processed of each input since the last call: right after a commit, of
    /// what it committed.
    pub fn take_uncommitted(&mut self) -> impl Iterator<Item = Span> {
        self.inputs.iter_mut().map(|input| std::mem::take(&mut input.uncommitted))
    }

    /// Makes the operators anew, after a rollback.
    pub fn renew(&mut self, task: Task) {
        self.task = task;
        self.dropped_seen = [0; _];
        for input in &mut self.inputs {
            input.uncommitted = Span::default();
        }
    }

    /// Bytes that its stores' engines do not have yet.
    #[must_use]
    pub fn dirty_bytes(&self) -> usize {
        self.stores.as_ref().map_or(0, |stores| stores.dirty_bytes())
    }

    /// Whether its stores' engines refuse so much of what is committed that no more may wait.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.stores.as_ref().is_some_and(|stores| stores.refused_ratio() >= 1.0)
    }

    /// Commit step 6, if it is due: what is committed moves on to the stores' engines.
    ///
    /// A failure is logged and counted, no more: the write set is the state, and stays; the engine
    /// is tried again a second later, and the task reads on until it [`is_full`](Self::is_full).
    /// Says whether anything moved.
    pub fn apply_if_due(&mut self, now_ms: i64, shared: &Shared) -> bool {
        let Some(stores) = &mut self.stores else { return false };
        match stores.apply_if_due(now_ms) {
            Ok(applied) => applied == Applied::All,
            Err(error) => {
                tracing::error!(task = %self.id, %error, "the store engine cannot be written; trying on");
                shared.client().error("state");
                false
            }
        }
    }

    /// The partitions that it reads.
    pub fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.inputs.iter().map(|input| &input.partition)
    }
}

/// Whether an empty input has nothing that was not handed out yet.
fn at_end<M: Message, C: Consumer<Message = M>>(input: &Input<M>, consumer: &C) -> bool {
    let next = || input.next.map(|next| next.offset);
    let position = consumer.position(&input.partition).or_else(next);
    match (consumer.known_end(&input.partition), position) {
        (Some(end), Some(position)) => position >= end,
        _ => false,
    }
}
