//! A stream thread: one consumer, one producer with its transaction, and the tasks assigned to it.
//!
//! [`StreamThread::run_once`] is a turn of its loop: poll, answer events, take tasks back from the
//! state updater, process, punctuate, commit when due. Every error comes out of it and is answered
//! in one place, by its [`Reaction`].
//!
//! ```text
//!            +-------------------- Rollback / NewProducer --------------------+
//!            v                                                                |
//! Starting --> Running (poll, events, process, punctuate, commit) --> error --+--> Stop
//!                 |
//!                 +-- told to stop --> commit, close tasks, leave --> Stopped
//! ```

mod commit;
mod meters;
mod pause;
mod publish;
mod purge;
mod rebalance;
mod stalls;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use tidemill_state::TaskDirectory;
use tidemill_topology::graph::{TaskId, Topology};
use tidemill_topology::handler::Handlers;
use tidemill_topology::held_back::HeldLimit;
use tidemill_topology::task::Task;
use tidemill_topology::time::Timestamp;

use super::active_task::ActiveTask;
use super::collector::Collector;
use super::error::{Reaction, RuntimeError};
use super::global::GlobalStores;
use super::held_budget::HeldShare;
use super::idle::TaskIdle;
use super::observe::Shared;
use super::plan::Plan;
use super::query::readable::Asker;
use super::recent::Recent;
use super::restore::{Done, Work};
use super::stop::{FINISHING, LEAVING, StopSignal, call_limit};
use crate::clock::Clock;
use crate::config::ProcessingGuarantee;
use crate::kafka::{Cluster, Consumer, Event, GroupMetadata, Producer, ProducerSettings, Received};
use crate::metrics::{LocalThread, ThreadMetrics};
use crate::status::TaskState;
use commit::apply_if_due;
use meters::Meters;
use purge::Purges;
use stalls::StallWatch;

/// How long a call of the commit may wait before its outcome counts as unknown and it is repeated.
const CALL: Duration = Duration::from_secs(5);
/// How long such calls are repeated before the thread rolls back.
const PATIENCE: Duration = Duration::from_secs(60);
const MINUTE: Duration = Duration::from_secs(60);
/// So many fencings within a minute mean that another process has the same id. A thread that others
/// took for dead is fenced by each of them that ends its transaction, and may be fenced by one of them
/// twice: the coordinator aborts at the first request, and gives the id away only at a later one, when
/// the thread may be back already.
const FENCED_TOO_OFTEN: usize = 8;
/// How long committed offsets are waited for at first, while other tasks stand still.
const OFFSETS_WAIT: Duration = Duration::from_millis(200);
/// How often status and metrics are published, at most.
const PUBLISH: Duration = Duration::from_millis(200);
/// Publishing may take one part in so many of the time.
const PUBLISH_SHARE: u32 = 50;
/// Longest wait of a poll with nothing to do.
const IDLE: Duration = Duration::from_millis(100);
/// How long a poll waits while all tasks with records wait for other inputs.
const INPUT_WAIT: Duration = Duration::from_millis(1);

/// What a stream thread is configured with.
#[derive(Clone)]
pub struct ThreadConfig {
    /// Its name, for logs and metrics.
    pub name: String,
    /// Exactly-once or at-least-once.
    pub guarantee: ProcessingGuarantee,
    /// How often it commits.
    pub commit_interval: Duration,
    /// Records taken from the client at once.
    pub max_poll_records: usize,
    /// Records of a partition that may wait before its fetching is paused.
    pub buffered_records: usize,
    /// How long a task waits for the other inputs after they seem drained; `None` never waits.
    pub max_task_idle: Option<Duration>,
    /// How often internal topics are purged.
    pub purge_interval: Duration,
    /// Uncommitted bytes of state after which it commits early.
    pub write_set_max_bytes: usize,
    /// Sent bytes of a transaction after which it commits early.
    pub transaction_max_bytes: u64,
    /// Whether it leaves the group when it stops.
    pub leave_group: bool,
    /// Where to start where nothing was committed.
    pub reset_to_earliest: bool,
    /// Whether records that are gone before they were processed are skipped (and counted).
    pub skip_out_of_range: bool,
    /// How its producer is opened, again after it was fenced.
    pub producer: ProducerSettings,
}

/// How a stream thread reaches its surroundings.
pub struct ThreadLinks {
    /// To the state updater.
    pub work: Sender<Work>,
    /// From the state updater.
    pub done: Receiver<Done>,
    /// Tells when readers wait to be shown the stores.
    pub asker: Arc<Asker>,
    /// Its part of what caching stores may hold back.
    pub held: HeldShare,
    /// Set when the instance is told to stop.
    pub stop: Arc<StopSignal>,
    /// Set while the instance processes nothing.
    pub paused: Arc<AtomicBool>,
    /// Set when this thread alone is to end, and others are to have its tasks.
    pub removed: Arc<StopSignal>,
}

impl ThreadLinks {
    /// Whether the thread is to end.
    fn must_end(&self) -> bool {
        self.stop.is_told() || self.removed.is_told()
    }

    /// When it was told to end.
    fn told_at(&self) -> Option<Instant> {
        self.removed.told_at().into_iter().chain(self.stop.told_at()).min()
    }

    /// How long one more call may wait: not long when told to end, as what is not committed is
    /// aborted and done again at the next start.
    fn call_limit(&self, clock: &Clock) -> Duration {
        call_limit(self.told_at(), clock.now(), FINISHING, CALL)
    }

    /// Whether a call is worth repeating that was first made at `started`.
    fn has_time_for_more(&self, started: Instant, patience: Duration, clock: &Clock) -> bool {
        match self.told_at() {
            None => clock.elapsed(started) < patience,
            Some(told) => clock.elapsed(told) < FINISHING,
        }
    }
}

/// Whether the loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Yes.
    Continue,
    /// The thread was told to stop.
    Stop,
}

/// See the [module](self).
pub struct StreamThread<C: Cluster> {
    config: ThreadConfig,
    cluster: C,
    clock: Clock,
    topology: Topology,
    handlers: Arc<Handlers>,
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    links: ThreadLinks,
    tasks: BTreeMap<TaskId, ActiveTask<MessageOf<C>>>,
    /// The task and input that a consumer slot belongs to.
    slots: Vec<Option<(TaskId, usize)>>,
    /// Tasks with records that wait: a turn costs nothing for the others, however many there are.
    busy: Vec<TaskId>,
    /// Whether the last turn processed nothing: the busy tasks wait for other inputs.
    waits_for_inputs: bool,
    /// Bytes that this thread's stores grew by since the last commit.
    uncommitted_bytes: usize,
    /// What its tasks' caching stores hold back, and may.
    held: HeldLimit,
    /// The wall clock when punctuations were last looked for.
    last_punctuated: Timestamp,
    records: Vec<Received<MessageOf<C>>>,
    events: Vec<Event>,
    consumer: C::Consumer,
    collector: Collector<C::Producer>,
    /// The locked directories of tasks whose stores are here.
    directories: BTreeMap<TaskId, TaskDirectory>,
    /// The updater's answers that came while another was waited for.
    early: Vec<Done>,
    /// Restored tasks that wait for their committed offsets.
    ready: Vec<TaskId>,
    /// How long the next call waits for them.
    offsets_wait: Duration,
    /// The identity under which the tasks were assigned.
    identity: Option<GroupMetadata>,
    assigned: bool,
    in_transaction: bool,
    last_commit: Instant,
    last_publish: Instant,
    publish_interval: Duration,
    purges: Purges,
    fencings: Recent,
    stalls: StallWatch,
    metrics: ThreadMetrics,
    local: LocalThread,
    meters: Meters,
}

type MessageOf<C> = <<C as Cluster>::Consumer as Consumer>::Message;

impl<C: Cluster> StreamThread<C> {
    /// A thread that joins the group with its first turn.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        config: ThreadConfig,
        cluster: C,
        consumer: C::Consumer,
        producer: C::Producer,
        topology: Topology,
        handlers: Arc<Handlers>,
        plan: Arc<Plan>,
        shared: Arc<Shared>,
        application_id: Arc<str>,
        globals: GlobalStores,
        links: ThreadLinks,
    ) -> Self {
        let metrics = shared.metrics.thread(&config.name);
        let dead_letters = handlers.dead_letter_topic.as_ref().map(|topic| topic.name.clone());
        let meters = Meters::new(&config.name, &shared, dead_letters);
        let clock = cluster.clock();
        metrics.set_started(clock.wall().millis());
        let now = clock.now();
        let held = HeldLimit::new(links.held.bytes());
        Self {
            collector: Collector::new(
                producer,
                application_id,
                Arc::clone(&plan),
                globals,
                clock.clone(),
            ),
            config,
            cluster,
            clock,
            topology,
            handlers,
            plan,
            shared,
            links,
            tasks: BTreeMap::new(),
            slots: Vec::new(),
            busy: Vec::new(),
            waits_for_inputs: false,
            uncommitted_bytes: 0,
            held,
            last_punctuated: Timestamp::UNKNOWN,
            records: Vec::new(),
            events: Vec::new(),
            consumer,
            directories: BTreeMap::new(),
            early: Vec::new(),
            ready: Vec::new(),
            offsets_wait: OFFSETS_WAIT,
            identity: None,
            assigned: false,
            in_transaction: false,
            last_commit: now,
            last_publish: now,
            publish_interval: PUBLISH,
            purges: Purges::new(now),
            fencings: Recent::within(MINUTE),
            stalls: StallWatch::new(now),
            metrics,
            local: LocalThread::default(),
            meters,
        }
    }

    /// Runs until told to stop, or until an error that only people can answer.
    ///
    /// # Errors
    /// That error; everything uncommitted was aborted.
    pub fn run(mut self) -> Result<(), RuntimeError> {
        let result = self.run_loop();
        if let Err(error) = &result {
            tracing::error!(thread = self.config.name, %error, "stream thread ends");
            self.shared.client().error(error.class());
            self.shared.client().thread_failed();
            self.abandon();
        }
        self.leave();
        result
    }

    fn run_loop(&mut self) -> Result<(), RuntimeError> {
        self.open_producer()?;
        self.consumer.subscribe(&self.plan.lead_topics())?;
        loop {
            match self.run_once() {
                Ok(Turn::Continue) => {}
                Ok(Turn::Stop) => return self.finish(),
                Err(error) => self.react(error)?,
            }
        }
    }

    /// One turn of the loop.
    ///
    /// # Errors
    /// Whatever went wrong; [`react`](Self::react) answers it.
    pub fn run_once(&mut self) -> Result<Turn, RuntimeError> {
        if self.links.must_end() {
            return Ok(Turn::Stop);
        }
        self.poll();
        self.answer_events()?;
        self.take_restored()?;
        if self.is_halted() {
            self.halt_tasks();
        } else {
            self.go_on();
            self.process()?;
            self.punctuate()?;
            if self.config.guarantee == ProcessingGuarantee::AtLeastOnce {
                // Readers see them at once; those of a transaction see nothing before its commit.
                self.collector.send_packs()?;
            }
            self.look_for_stalls();
        }
        if self.commit_is_due() {
            self.commit()?;
        }
        self.show_stores()?;
        self.publish_if_due();
        Ok(Turn::Continue)
    }

    /// Answers an error.
    ///
    /// # Errors
    /// The same error, if the answer is to stop.
    pub fn react(&mut self, error: RuntimeError) -> Result<(), RuntimeError> {
        let reaction = error.reaction();
        tracing::warn!(thread = self.config.name, %error, ?reaction, "error");
        self.shared.client().error(error.class());
        match reaction {
            Reaction::Stop => Err(error),
            Reaction::Rollback => self.rollback(false),
            Reaction::NewProducer => {
                self.metrics.fenced();
                if self.fencings.note(self.clock.now()) >= FENCED_TOO_OFTEN {
                    return Err(RuntimeError::DuplicateInstance);
                }
                self.rollback(true)
            }
        }
    }

    fn poll(&mut self) {
        let timeout = if !self.busy.is_empty() && !self.is_halted() {
            if self.waits_for_inputs { INPUT_WAIT } else { Duration::ZERO }
        } else if self.has_work_to_commit() {
            self.config
                .commit_interval
                .saturating_sub(self.clock.elapsed(self.last_commit))
                .min(IDLE)
        } else {
            IDLE
        };
        let started = self.clock.now();
        self.consumer.poll(
            self.config.max_poll_records,
            timeout,
            &mut self.records,
            &mut self.events,
        );
        if !self.records.is_empty() {
            self.metrics.poll_seconds(self.clock.elapsed(started).as_secs_f64());
        }
        self.distribute();
        self.collector.producer().poll(Duration::ZERO);
    }

    /// Hands records to the tasks they belong to.
    fn distribute(&mut self) {
        let mut last = None;
        let Self { records, tasks, slots, busy, meters, .. } = self;
        let mut target: Option<(&mut ActiveTask<MessageOf<C>>, usize)> = None;
        for Received { slot, message } in records.drain(..) {
            if last != Some(slot) {
                last = Some(slot);
                target = slots
                    .get(slot.index())
                    .copied()
                    .flatten()
                    .and_then(|(task, input)| Some((tasks.get_mut(&task)?, input)));
            }
            // A record of a task that left meanwhile is its next owner's.
            if let Some((task, input)) = &mut target
                && task.state == TaskState::Running
            {
                if task.buffered() == 0 {
                    busy.push(task.id);
                }
                let contents = task.buffer(*input, message);
                meters.read(task.inputs[*input].meter, contents);
            }
        }
    }

    fn process(&mut self) -> Result<(), RuntimeError> {
        let started = self.clock.now();
        let (mut total, mut task_started) = (0, started);
        let idle = TaskIdle { max: self.config.max_task_idle, now: started };
        let transactional = self.config.guarantee == ProcessingGuarantee::ExactlyOnce;
        self.held.set_max_bytes(self.links.held.bytes());
        // Tasks take turns in the order of their ids, whichever got records first.
        self.busy.sort_unstable();
        self.busy.dedup();
        for id in &self.busy {
            let Some(task) = self.tasks.get_mut(id).filter(|task| task.state == TaskState::Running)
            else {
                continue;
            };
            if task.is_full() {
                // More would only pile up. Records wait, and soon their inputs are not fetched.
                apply_if_due(task, self.clock.wall(), &self.shared, &self.clock, &self.metrics);
                if task.is_full() {
                    continue;
                }
            }
            if transactional && !self.in_transaction {
                self.collector.producer().begin()?;
                self.in_transaction = true;
            }
            let before = task.dirty_bytes();
            let count = task.process(
                self.config.max_poll_records,
                idle,
                &self.consumer,
                &mut self.collector,
            )?;
            self.uncommitted_bytes += task.dirty_bytes().saturating_sub(before);
            if count > 0 {
                let now = self.clock.now();
                let taken = now.saturating_duration_since(task_started);
                task.local.busy_seconds += taken.as_secs_f64();
                task_started = now;
                self.meters.processed(&task.batch, self.clock.wall());
            }
            total += count;
        }
        self.make_room_for_updates()?;
        self.waits_for_inputs = total == 0;
        if total > 0 {
            self.stalls.came();
            self.local.processed += total as u64;
            self.metrics.process_seconds(self.clock.elapsed(started).as_secs_f64());
        }
        self.balance_fetching();
        let tasks = &self.tasks;
        self.busy.retain(|id| tasks.get(id).is_some_and(|task| task.buffered() > 0));
        Ok(())
    }

    /// The operators of a task, at its beginning.
    fn operators(&self, id: TaskId) -> Result<Task, RuntimeError> {
        let mut task = self.topology.task(id.subtopology, Arc::clone(&self.handlers))?;
        task.set_partition(id.partition);
        task.share_held_limit(self.held.clone());
        Ok(task)
    }

    /// Pushes on what every task holds back, once it is most of what this thread may: otherwise the
    /// tasks that came first would leave the others no room to merge updates in.
    fn make_room_for_updates(&mut self) -> Result<(), RuntimeError> {
        if self.held.bytes() <= self.held.max_bytes() / 4 * 3 {
            return Ok(());
        }
        for task in self.tasks.values_mut().filter(|task| task.state == TaskState::Running) {
            task.flush(&mut self.collector)?;
        }
        Ok(())
    }

    /// Pauses inputs of which too much waits, and resumes those that have worked it off.
    fn balance_fetching(&mut self) {
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        for id in &self.busy {
            let running = |task: &&mut ActiveTask<_>| task.state == TaskState::Running;
            let Some(task) = self.tasks.get_mut(id).filter(running) else { continue };
            for input in &mut task.inputs {
                let waiting = input.waiting();
                if !input.paused && waiting > self.config.buffered_records {
                    input.paused = true;
                    pause.push(input.partition.clone());
                } else if input.paused && waiting <= self.config.buffered_records / 2 {
                    input.paused = false;
                    resume.push(input.partition.clone());
                }
            }
        }
        if !pause.is_empty() {
            self.consumer.pause(&pause);
        }
        if !resume.is_empty() {
            self.consumer.resume(&resume);
        }
    }

    fn punctuate(&mut self) -> Result<(), RuntimeError> {
        let now = self.clock.wall();
        // The clock ticks in milliseconds: between two ticks nothing becomes due.
        if now == self.last_punctuated {
            return Ok(());
        }
        self.last_punctuated = now;
        let (started, called) = (self.clock.now(), self.local.punctuations);
        for task in self.tasks.values_mut().filter(|task| task.state == TaskState::Running) {
            if task.is_full() || !task.task.has_wall_clock_punctuation_due(now) {
                continue;
            }
            if self.config.guarantee == ProcessingGuarantee::ExactlyOnce && !self.in_transaction {
                self.collector.producer().begin()?;
                self.in_transaction = true;
            }
            let before = task.dirty_bytes();
            task.punctuate(&mut self.collector)?;
            self.uncommitted_bytes += task.dirty_bytes().saturating_sub(before);
            self.local.punctuations += 1;
        }
        if self.local.punctuations > called {
            self.metrics.punctuate_seconds(self.clock.elapsed(started).as_secs_f64());
        }
        Ok(())
    }

    /// Told to stop: commits, closes the tasks.
    fn finish(&mut self) -> Result<(), RuntimeError> {
        if let Err(error) = self.commit() {
            // What is aborted here is done again at the next start.
            tracing::warn!(thread = self.config.name, %error, "stopping without a last commit");
            self.abandon();
        }
        self.close_all();
        Ok(())
    }

    /// Gives everything up without committing.
    fn abandon(&mut self) {
        if self.in_transaction {
            let limit = self.links.call_limit(&self.clock);
            if let Err(error) = self.collector.producer().abort(limit) {
                tracing::warn!(thread = self.config.name, %error, "abort");
            }
            self.in_transaction = false;
        }
        for task in self.tasks.values_mut() {
            if let Some(stores) = &mut task.stores {
                stores.rollback();
            }
        }
        self.close_all();
    }

    fn close_all(&mut self) {
        self.records.clear();
        for (_, mut task) in std::mem::take(&mut self.tasks) {
            task.clear_buffers();
            self.close(task);
        }
    }

    fn leave(mut self) {
        self.publish();
        let Self { consumer, config, links, clock, .. } = self;
        let limit = call_limit(links.told_at(), clock.now(), FINISHING + LEAVING, LEAVING);
        // A thread that was removed does not come back, whatever its instance promises.
        let leaves = config.leave_group || links.removed.is_told();
        let closed = consumer.close(limit, leaves);
        if let Err(error) = closed {
            tracing::warn!(thread = config.name, %error, "closing the consumer");
        }
    }
}
