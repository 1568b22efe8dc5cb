//! An instance in its parts: what is built before a thread runs it.
//!
//! [`Streams`](super::Streams) gives each part a thread of the system; a simulation takes turns
//! with them instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use tidemill_state::{ApplyPolicy, StateDirectory, StateMemory};
use tidemill_topology::graph::Topology;
use tidemill_topology::handler::Handlers;

use super::error::RuntimeError;
use super::global::{GlobalStores, GlobalUpdater};
use super::held_budget::HeldBudget;
use super::internal_topics;
use super::membership::{MembersRole, MembersSettings, MembersTopic};
use super::memory_bound::MemoryBound;
use super::observe::{Phase, Shared};
use super::opening::Opening;
use super::orphan_watch::OrphanWatch;
use super::plan::Plan;
use super::query::readable::Asker;
use super::restore::{Purpose, StateUpdater, Work};
use super::restore_listener::Hooks;
use super::standby::{Predecessors, StandbySettings, StandbyUpdater, wait_until_warm};
use super::stop::StopSignal;
use super::stream_thread::{StreamThread, ThreadConfig, ThreadLinks};
use super::streams::optimized;
use super::topic_watch::TopicWatch;
use crate::clock::Clock;
use crate::config::{AutoOffsetReset, Config, InputOutOfRange, ProcessingGuarantee};
use crate::kafka::{
    Admin, Cluster, Consumer, ConsumerRole, ConsumerSettings, Isolation, ProducerSettings, Waker,
};

/// How long the cluster is waited for between two tries.
const RETRY: Duration = Duration::from_secs(1);
/// How long the group's coordinator may take to say who its members are.
const GROUP_TIMEOUT: Duration = Duration::from_secs(10);
/// A transaction this large is committed early, so that readers do not wait for a huge one.
const TRANSACTION_MAX_BYTES: u64 = 256 << 20;

/// An instance of a topology on a cluster, none of whose threads runs yet.
pub struct Instance<C> {
    cluster: C,
    clock: Clock,
    topology: Topology,
    handlers: Arc<Handlers>,
    config: Config,
    instance_id: String,
    opening: Opening,
    shared: Arc<Shared>,
    held: HeldBudget,
    stop: Arc<StopSignal>,
    paused: Arc<AtomicBool>,
    is_joining: Arc<AtomicBool>,
}

/// A stream thread and the state updater beside it. Each wants a thread of its own:
/// [`StreamThread::run`] and [`StateUpdater::run`].
pub struct Worker<C: Cluster> {
    /// The thread's name within the group.
    pub name: String,
    /// The stream thread.
    pub thread: StreamThread<C>,
    /// Its updater, which ends when the thread is dropped.
    pub updater: StateUpdater<C>,
    /// Ends this thread alone once it is told; wake the thread after that.
    pub removed: Arc<StopSignal>,
    /// Ends the thread's wait for records.
    pub waker: <C::Consumer as Consumer>::Waker,
}

/// The part that keeps copies of other instances' state. It wants a thread of its own:
/// [`StandbyUpdater::run`].
pub struct Standbys<C: Cluster> {
    /// Keeps them.
    pub updater: StandbyUpdater<C>,
    /// Where stream threads take them over.
    pub copies: Sender<Work>,
}

impl<C: Cluster> Instance<C> {
    /// An instance with the state directory of the configuration, which is locked for it.
    ///
    /// # Errors
    /// When the state directory cannot be used, or the topology does not leave the optimization that
    /// the configuration asks for open.
    pub fn new(
        cluster: C,
        topology: Topology,
        config: &Config,
        hooks: impl Into<Hooks>,
    ) -> Result<Self, RuntimeError> {
        let Hooks { handlers, restores } = hooks.into();
        let topology = optimized(topology, config)?;
        let directory = StateDirectory::open(&config.state.dir, &config.application_id)?;
        let instance_id =
            config.instance_id.clone().unwrap_or_else(|| directory.instance_id().to_owned());
        let clock = cluster.clock();
        let shared =
            Shared::new(&config.application_id, &instance_id, topology.clone(), clock.wall())?;
        if let Some(listener) = restores {
            shared.listen_to_restores(listener);
        }
        shared.set_phase(Phase::Starting("the topics are not checked yet".to_owned()));
        if let Some(host) = &config.http.advertised {
            shared.advertise(host);
        }
        Ok(Self {
            cluster,
            clock,
            topology,
            handlers: Arc::new(handlers),
            config: config.clone(),
            instance_id,
            opening: Opening {
                directory,
                memory: StateMemory::new(size(config.state.memory_bytes)),
                policy: ApplyPolicy {
                    bytes: size(config.state.flush_bytes),
                    interval_ms: i64::try_from(config.state.flush_interval.as_millis())
                        .unwrap_or(i64::MAX),
                },
                out_of_range: config.state.changelog_out_of_range,
            },
            shared,
            held: HeldBudget::new(size(config.state.cache_max_bytes)),
            stop: Arc::default(),
            paused: Arc::default(),
            is_joining: Arc::default(),
        })
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What it shows of itself.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Tells all its parts to stop.
    #[must_use]
    pub fn stop(&self) -> &Arc<StopSignal> {
        &self.stop
    }

    /// Tells all its threads to process nothing while it is set.
    #[must_use]
    pub fn paused(&self) -> &Arc<AtomicBool> {
        &self.paused
    }

    /// Whether it was told to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.is_told()
    }

    /// Waits for the cluster, and checks and makes the topics. `None` when told to stop meanwhile.
    ///
    /// # Errors
    /// When the topics do not fit the topology.
    pub fn prepare(&self) -> Result<Option<Plan>, RuntimeError> {
        let admin = self.cluster.admin()?;
        loop {
            match internal_topics::prepare(
                &admin,
                &self.clock,
                &self.topology,
                &self.config.application_id,
                self.replication(),
                self.handlers.dead_letter_topic.as_ref(),
            ) {
                Ok(plan) => return Ok(Some(plan)),
                Err(RuntimeError::Kafka(error)) if error.class().is_retriable() => {
                    let servers = &self.config.kafka.bootstrap_servers;
                    tracing::warn!(%error, servers, "the cluster does not answer; trying on");
                    self.shared.set_phase(Phase::Starting(format!(
                        "no broker answers at {servers}: {error}"
                    )));
                }
                Err(error) => return Err(error),
            }
            if self.is_stopping() {
                return Ok(None);
            }
            self.clock.sleep(RETRY);
        }
    }

    fn replication(&self) -> Option<i32> {
        Some(self.config.kafka.replication_factor).filter(|factor| *factor > 0)
    }

    /// Watches over the topics of a plan. It wants a thread of its own.
    ///
    /// # Errors
    /// When a client cannot be opened.
    pub(super) fn topic_watch(&self, plan: &Plan) -> Result<TopicWatch<C::Admin>, RuntimeError> {
        let (admin, stop) = (self.cluster.admin()?, Arc::clone(&self.stop));
        Ok(TopicWatch::new(admin, self.clock.clone(), stop, plan))
    }

    /// The watch over tasks that the group gave to nobody.
    pub(super) fn orphan_watch(&self, plan: &Plan) -> OrphanWatch {
        let (clock, stop) = (self.clock.clone(), Arc::clone(&self.stop));
        let session = self.config.kafka.session_timeout;
        OrphanWatch::new(clock, stop, Arc::clone(&self.shared), session, plan)
    }

    /// Reads the global tables to their ends; `None` when there are none, or told to stop
    /// meanwhile.
    ///
    /// # Errors
    /// When a topic is missing, or the cluster does not answer.
    pub fn read_globals(&self) -> Result<Option<GlobalUpdater<C::Consumer>>, RuntimeError> {
        if self.topology.global_subtopologies().is_empty() {
            return Ok(None);
        }
        self.shared.set_phase(Phase::Starting("the global tables are being read".to_owned()));
        let consumer = self.cluster.consumer(&ConsumerSettings {
            group_id: format!("{}-global", self.config.application_id).into(),
            client_id: format!("{}-{}-global", self.config.application_id, self.instance_id).into(),
            role: ConsumerRole::Assigned,
            isolation: Isolation::ReadCommitted,
        })?;
        GlobalUpdater::start(
            consumer,
            &self.cluster.admin()?,
            &self.topology,
            &self.handlers,
            &self.opening.memory,
            self.clock.clone(),
            &self.stop,
        )
    }

    /// Removes the state of tasks that left long ago.
    pub fn clean_up(&self) {
        match self.opening.directory.remove_unused(self.config.state.cleanup_delay) {
            Ok(removed) if removed.is_empty() => {}
            Ok(removed) => {
                tracing::info!(tasks = removed.join(" "), "removed the state of tasks that left");
            }
            Err(error) => tracing::warn!(%error, "cannot remove old state"),
        }
    }

    /// Shows what the state takes of memory and disk, and what RocksDB counts.
    pub fn publish_state(&self, plan: &Plan) {
        let memory = &self.opening.memory;
        self.shared.metrics.engine().publish(&memory.engine_statistics(), &memory.engine_counts());
        let bound =
            MemoryBound::new(&self.config, memory.open_tasks(), plan.repartitioned_partitions());
        self.shared.client().set_memory_bound(bound.parts());
        // What cannot be asked is not shown; writing there will say why.
        if let Ok(disk) = rustix::fs::statvfs(&self.config.state.dir) {
            let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
            self.shared.client().set_state_disk(bytes(disk.f_blocks), bytes(disk.f_bavail));
        }
    }

    /// The part that speaks with the other instances. It wants a thread of its own:
    /// [`MembersRole::run`].
    #[must_use]
    pub fn members(&self) -> MembersRole<C, MembersTopic<C>> {
        let settings = MembersSettings {
            application_id: self.config.application_id.as_str().into(),
            instance: self.instance_id.as_str().into(),
            replication: self.replication(),
        };
        let shared = Arc::clone(&self.shared);
        let transactional = self.config.runtime.guarantee == ProcessingGuarantee::ExactlyOnce;
        let application_id = Arc::clone(&settings.application_id);
        let predecessors = transactional
            .then(|| Predecessors::new(self.cluster.clone(), application_id, Arc::clone(&shared)));
        MembersRole {
            predecessors,
            membership: MembersTopic::new(self.cluster.clone(), settings, Arc::clone(&shared)),
            shared,
            stop: Arc::clone(&self.stop),
            says_goodbye: self.config.instance_id.is_none(),
        }
    }

    /// The part that keeps copies of other instances' state; `None` where the configuration asks
    /// for none.
    ///
    /// # Errors
    /// When a client cannot be opened.
    pub fn standbys(&self, plan: &Arc<Plan>) -> Result<Option<Standbys<C>>, RuntimeError> {
        let state = &self.config.state;
        if state.standby_replicas == 0 {
            return Ok(None);
        }
        let exactly_once = self.config.runtime.guarantee == ProcessingGuarantee::ExactlyOnce;
        let application_id = &self.config.application_id;
        let consumer = self.cluster.consumer(&ConsumerSettings {
            group_id: format!("{application_id}-standby").into(),
            client_id: format!("{application_id}-{}-standby", self.instance_id).into(),
            role: ConsumerRole::Assigned,
            isolation: isolation(exactly_once),
        })?;
        let (work, work_in) = channel();
        let (done, failed) = channel();
        let updater = StateUpdater::<C>::new(
            consumer,
            self.cluster.admin()?,
            self.clock.clone(),
            Arc::clone(plan),
            self.opening.clone(),
            self.shared.clone(),
            work_in,
            done,
            Box::new(|| ()),
            Purpose::Copy,
        );
        let updater = StandbyUpdater::new(
            updater,
            failed,
            self.clock.clone(),
            Arc::clone(&self.shared),
            Arc::clone(&self.stop),
            plan,
            self.standby_settings(),
        );
        Ok(Some(Standbys { updater, copies: work }))
    }

    fn standby_settings(&self) -> StandbySettings {
        let state = &self.config.state;
        StandbySettings {
            replicas: state.standby_replicas,
            acceptable_lag: i64::try_from(state.acceptable_recovery_lag).unwrap_or(i64::MAX),
            is_joining: Arc::clone(&self.is_joining),
        }
    }

    /// Whether it is to warm up before it joins the group: it was asked to, and the group does not
    /// count on it already, as on a member that comes back.
    ///
    /// # Errors
    /// When the group refuses to be asked. A coordinator that does not answer is waited for.
    pub fn warms_up(&self) -> Result<bool, RuntimeError> {
        let state = &self.config.state;
        if !state.join_when_warm || state.standby_replicas == 0 {
            return Ok(false);
        }
        let group = &self.config.application_id;
        let admin = self.cluster.admin()?;
        let members = loop {
            match admin.group_members(group, GROUP_TIMEOUT) {
                Ok(members) => break members,
                Err(_) if self.is_stopping() => return Ok(false),
                Err(error) if error.class().is_retriable() => {
                    tracing::warn!(%error, "the group cannot be asked for its members; trying on");
                    self.clock.sleep(RETRY);
                }
                Err(error) => return Err(error.into()),
            }
        };
        let own = |number| Some(self.thread_name(number));
        let mut threads = (0..self.config.runtime.threads).map(own);
        let warms_up =
            !threads.any(|thread| members.iter().any(|member| member.group_instance_id == thread));
        self.is_joining.store(warms_up, Ordering::Relaxed);
        Ok(warms_up)
    }

    /// Waits until it has warm copies of all tasks that others run.
    pub fn wait_until_warm(&self, plan: &Plan) {
        let settings = self.standby_settings();
        wait_until_warm(plan, &self.shared, &settings, &self.clock, &self.stop);
    }

    /// The name of a stream thread within the group; threads are numbered from 0.
    #[must_use]
    pub fn thread_name(&self, number: usize) -> String {
        format!("{}-{number}", self.instance_id)
    }

    /// The parts of a stream thread; threads are numbered from 0. Copies of tasks that come to it
    /// are taken over through `copies`.
    ///
    /// # Errors
    /// When a client cannot be opened.
    pub fn worker(
        &self,
        number: usize,
        plan: &Arc<Plan>,
        globals: GlobalStores,
        copies: Option<Sender<Work>>,
    ) -> Result<Worker<C>, RuntimeError> {
        let config = &self.config;
        let name = self.thread_name(number);
        let client_id: Arc<str> = format!("{}-{name}", config.application_id).into();
        let application_id: Arc<str> = config.application_id.as_str().into();
        let exactly_once = config.runtime.guarantee == ProcessingGuarantee::ExactlyOnce;
        let isolation = isolation(exactly_once);
        let consumer = self.cluster.consumer(&ConsumerSettings {
            group_id: application_id.clone(),
            client_id: client_id.clone(),
            role: ConsumerRole::Member { group_instance_id: Some(name.as_str().into()) },
            isolation,
        })?;
        let restore_consumer = self.cluster.consumer(&ConsumerSettings {
            // It is no member, and asks what the group has committed.
            group_id: application_id.clone(),
            client_id: format!("{client_id}-restore").into(),
            role: ConsumerRole::Assigned,
            isolation,
        })?;
        let producer = ProducerSettings {
            client_id: client_id.clone(),
            transactional_id: exactly_once.then(|| client_id.clone()),
            track_offsets: plan.has_changelogs(),
        };
        let (work, work_in) = channel();
        let (done_out, done) = channel();
        let removed = Arc::new(StopSignal::default());
        let waker = consumer.waker();
        let (wake, wake_to_show) = (waker.clone(), waker.clone());
        let asker = Asker::new(move || wake_to_show.wake());
        let updater = StateUpdater::<C>::new(
            restore_consumer,
            self.cluster.admin()?,
            self.clock.clone(),
            Arc::clone(plan),
            self.opening.clone(),
            self.shared.clone(),
            work_in,
            done_out,
            Box::new(move || wake.wake()),
            Purpose::Run(copies),
        );
        let thread = StreamThread::new(
            self.thread_config(&name, producer.clone()),
            self.cluster.clone(),
            consumer,
            self.cluster.producer(&producer)?,
            self.topology.clone(),
            Arc::clone(&self.handlers),
            Arc::clone(plan),
            self.shared.clone(),
            application_id,
            globals,
            ThreadLinks {
                work,
                done,
                asker,
                held: self.held.share(),
                stop: Arc::clone(&self.stop),
                paused: Arc::clone(&self.paused),
                removed: Arc::clone(&removed),
            },
        );
        Ok(Worker { name, thread, updater, removed, waker })
    }

    fn thread_config(&self, name: &str, producer: ProducerSettings) -> ThreadConfig {
        let config = &self.config;
        ThreadConfig {
            name: name.to_owned(),
            guarantee: config.runtime.guarantee,
            commit_interval: config.runtime.commit_interval,
            max_poll_records: config.runtime.max_poll_records,
            buffered_records: config.runtime.buffered_records_per_partition,
            max_task_idle: config.runtime.max_task_idle,
            write_set_max_bytes: size(config.runtime.write_set_max_bytes),
            purge_interval: config.runtime.purge_interval,
            transaction_max_bytes: TRANSACTION_MAX_BYTES,
            // A generated id is for recovery after a crash; only one that was configured promises
            // that the same member comes back.
            leave_group: config.instance_id.is_none(),
            reset_to_earliest: config.kafka.auto_offset_reset == AutoOffsetReset::Earliest,
            skip_out_of_range: config.errors.input_out_of_range == InputOutOfRange::Skip,
            producer,
        }
    }
}

/// What changelogs are read with.
fn isolation(exactly_once: bool) -> Isolation {
    if exactly_once { Isolation::ReadCommitted } else { Isolation::ReadUncommitted }
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
