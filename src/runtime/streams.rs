//! An instance: prepares the topics, runs the stream threads, and stops them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use tidemill_state::{ApplyPolicy, StateDirectory, StateMemory};
use tidemill_topology::graph::Topology;
use tidemill_topology::handler::{HandlerDecision, Handlers};
use tidemill_topology::node::SinkTopic;

use super::error::RuntimeError;
use super::global::{GlobalStores, GlobalUpdater};
use super::internal_topics;
use super::observe::{Phase, Shared};
use super::plan::Plan;
use super::query::{ANSWER_WITHIN, Entries, StoreRequest};
use super::restore::{Opening, StateUpdater};
use super::stream_thread::{StreamThread, ThreadConfig, ThreadLinks};
use crate::config::{AutoOffsetReset, Config, HandlerChoice, InputOutOfRange, ProcessingGuarantee};
use crate::kafka::{
    Cluster, Consumer, ConsumerRole, ConsumerSettings, Isolation, KafkaError, Librdkafka,
    ProducerSettings, Waker,
};
use crate::status::{Introspect, QueryError};

/// How often the control thread looks after memory and old state.
const LOOK: Duration = Duration::from_secs(1);
/// How long the cluster is waited for between two tries.
const RETRY: Duration = Duration::from_secs(1);

/// A running instance of a topology.
///
/// ```no_run
/// use tidemill::config::Config;
/// use tidemill::prelude::*;
/// use tidemill::runtime::Streams;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let builder = StreamsBuilder::new();
/// builder
///     .stream("words", Consumed::with(Utf8, Utf8))
///     .group_by(|_, word| word.clone(), Grouped::with(Utf8, Utf8))
///     .count(Materialized::named("counts", I64))
///     .to_stream()
///     .to("counts", Produced::with(Utf8, Nullable(I64)));
/// let config = Config::from_toml("inline", r#"
///     application.id = "word-count"
///     bootstrap.servers = "127.0.0.1:9092"
///     state.dir = "/tmp/word-count"
/// "#)?;
/// Streams::start(builder.build()?, &config)?.join()?;
/// # Ok(())
/// # }
/// ```
pub struct Streams {
    shared: Arc<Shared>,
    links: Arc<Links>,
    control: JoinHandle<Result<(), RuntimeError>>,
}

/// What reaches into the instance from outside.
#[derive(Default)]
struct Links {
    stop: Arc<AtomicBool>,
    threads: Mutex<Vec<ThreadHandle>>,
}

struct ThreadHandle {
    requests: Sender<StoreRequest>,
    wake: Box<dyn Fn() + Send>,
}

impl Links {
    fn wake_all(&self) {
        for thread in &*self.threads.lock().unwrap_or_else(PoisonError::into_inner) {
            (thread.wake)();
        }
    }
}

/// Handles a running instance from other threads: stops it, shows it, asks its stores.
#[derive(Clone)]
pub struct StreamsHandle {
    shared: Arc<Shared>,
    links: Arc<Links>,
}

impl StreamsHandle {
    /// Tells the instance to stop; [`Streams::join`] waits for it.
    pub fn stop(&self) {
        self.links.stop.store(true, Ordering::Relaxed);
        self.shared.set_phase(Phase::Stopping);
        self.links.wake_all();
    }

    /// What the instance shows of itself.
    #[must_use]
    pub fn introspect(&self) -> Arc<dyn Introspect> {
        self.shared.clone()
    }

    /// The instance's metrics registry, for series of the application's own.
    #[must_use]
    pub fn metrics(&self) -> &crate::metrics::Metrics {
        &self.shared.metrics
    }

    /// The committed entries of a store on this instance whose keys lie in `from..to`, at most
    /// `limit` of them, in the order of their keys within each task.
    ///
    /// # Errors
    /// When no task here has the store at present, or it cannot be read.
    pub fn scan(
        &self,
        store: &str,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Entries, QueryError> {
        let (maker, answers) = StoreRequest::maker(store, from, to, limit);
        let mut asked = 0;
        {
            let threads = self.links.threads.lock().unwrap_or_else(PoisonError::into_inner);
            for thread in &*threads {
                asked += usize::from(thread.requests.send(maker.make()).is_ok());
                (thread.wake)();
            }
        }
        let unavailable = |reason: &str| QueryError::Unavailable {
            what: format!("store {store}"),
            reason: reason.to_owned(),
        };
        let (mut tasks, mut found) = (0, Vec::new());
        for _ in 0..asked {
            match answers.recv_timeout(ANSWER_WITHIN) {
                Ok(Ok((count, entries))) => {
                    tasks += count;
                    found.extend(entries);
                }
                Ok(Err(reason)) => {
                    return Err(QueryError::Failed { what: format!("store {store}"), reason });
                }
                Err(_) => return Err(unavailable("its thread did not answer in time")),
            }
        }
        if tasks == 0 {
            return Err(unavailable("no task of this instance has it running"));
        }
        found.truncate(limit);
        Ok(found)
    }
}

impl Streams {
    /// Starts an instance on the Kafka cluster of the configuration, with the error handlers that
    /// it names.
    ///
    /// # Errors
    /// When the state directory cannot be used. Whatever the cluster says comes out of
    /// [`join`](Self::join).
    pub fn start(topology: Topology, config: &Config) -> Result<Self, RuntimeError> {
        Self::start_with(topology, config, handlers(config))
    }

    /// As [`start`](Self::start), with handlers of one's own.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(
        topology: Topology,
        config: &Config,
        handlers: Handlers,
    ) -> Result<Self, RuntimeError> {
        let cluster = Librdkafka::new(properties(config))?;
        Self::start_on(cluster, topology, config, handlers)
    }

    /// As [`start_with`](Self::start_with), on any cluster.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_on<C: Cluster>(
        cluster: C,
        topology: Topology,
        config: &Config,
        handlers: Handlers,
    ) -> Result<Self, RuntimeError> {
        let directory = StateDirectory::open(&config.state.dir, &config.application_id)?;
        let instance_id =
            config.instance_id.clone().unwrap_or_else(|| directory.instance_id().to_owned());
        let shared = Shared::new(&config.application_id, &instance_id, topology.clone())?;
        shared.set_phase(Phase::Starting("the topics are not checked yet".to_owned()));
        let links = Arc::new(Links::default());
        let instance = Instance {
            cluster,
            topology,
            handlers: Arc::new(handlers),
            config: config.clone(),
            instance_id,
            opening: Opening {
                directory,
                memory: memory(config)?,
                policy: ApplyPolicy {
                    bytes: size(config.state.flush_bytes),
                    interval_ms: i64::try_from(config.state.flush_interval.as_millis())
                        .unwrap_or(i64::MAX),
                },
            },
            shared: shared.clone(),
            links: links.clone(),
        };
        let control =
            Builder::new().name("tidemill-control".to_owned()).spawn(move || instance.run());
        let control = control
            .map_err(|error| RuntimeError::ThreadDied(format!("tidemill-control ({error})")))?;
        Ok(Self { shared, links, control })
    }

    /// Handles the instance from elsewhere.
    #[must_use]
    pub fn handle(&self) -> StreamsHandle {
        StreamsHandle { shared: self.shared.clone(), links: self.links.clone() }
    }

    /// Waits until the instance has stopped.
    ///
    /// # Errors
    /// What ended it, if it was not told to stop.
    pub fn join(self) -> Result<(), RuntimeError> {
        match self.control.join() {
            Ok(result) => result,
            Err(_) => Err(RuntimeError::ThreadDied("tidemill-control".to_owned())),
        }
    }
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn memory(config: &Config) -> Result<StateMemory, RuntimeError> {
    Ok(StateMemory::new(size(config.state.memory_bytes)))
}

/// What a configuration means for librdkafka; the user's own properties win.
#[must_use]
pub fn properties(config: &Config) -> BTreeMap<String, String> {
    let kafka = &config.kafka;
    let millis = |duration: Duration| duration.as_millis().to_string();
    // The budget is for all threads; each has a consumer that fetches and one that restores.
    let fetch_kib = kafka.fetch_memory_bytes / 1024 / config.runtime.threads.max(1) as u64;
    let mut properties = BTreeMap::from(
        [
            ("bootstrap.servers", kafka.bootstrap_servers.clone()),
            ("consumer.session.timeout.ms", millis(kafka.session_timeout)),
            ("consumer.heartbeat.interval.ms", millis(kafka.heartbeat_interval)),
            ("consumer.max.poll.interval.ms", millis(kafka.max_poll_interval)),
            ("consumer.queued.max.messages.kbytes", fetch_kib.clamp(1024, 2_097_151).to_string()),
            ("producer.transaction.timeout.ms", millis(kafka.transaction_timeout)),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    properties
        .extend(kafka.properties.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
    properties
}

/// The error handlers that a configuration names.
#[must_use]
pub fn handlers(config: &Config) -> Handlers {
    let decide = |choice: HandlerChoice| match choice {
        HandlerChoice::Fail => HandlerDecision::Fail,
        HandlerChoice::Continue => HandlerDecision::Continue,
    };
    let (read, run, write) = (
        decide(config.errors.deserialization),
        decide(config.errors.processing),
        decide(config.errors.production),
    );
    Handlers {
        deserialization: Arc::new(move |_, _| read),
        processing: Arc::new(move |_, _, _| run),
        production: Arc::new(move |_, _, _| write),
        dead_letter_topic: config
            .errors
            .dead_letter_topic
            .as_ref()
            .map(|topic| SinkTopic { name: topic.as_str().into(), internal: false }),
    }
}

/// Everything that the control thread needs.
struct Instance<C> {
    cluster: C,
    topology: Topology,
    handlers: Arc<Handlers>,
    config: Config,
    instance_id: String,
    opening: Opening,
    shared: Arc<Shared>,
    links: Arc<Links>,
}

type ThreadJoin = (String, JoinHandle<Result<(), RuntimeError>>);

impl<C: Cluster> Instance<C> {
    fn run(self) -> Result<(), RuntimeError> {
        let result = self.run_threads();
        if let Err(error) = &result {
            self.shared.set_phase(Phase::Failed(error.to_string()));
        }
        result
    }

    fn run_threads(&self) -> Result<(), RuntimeError> {
        let Some(plan) = self.prepare()? else { return Ok(()) };
        let plan = Arc::new(plan);
        let mut threads = Vec::new();
        let mut globals = GlobalStores::default();
        if !self.topology.global_subtopologies().is_empty() {
            let Some(updater) = self.read_globals()? else { return Ok(()) };
            globals = updater.stores();
            let stop = Arc::clone(&self.links.stop);
            let name = "global".to_owned();
            threads.push((name.clone(), spawn(name, move || updater.run(&stop))?));
        }
        for number in 0..self.config.runtime.threads {
            threads.push(self.start_thread(number, &plan, globals.clone())?);
        }
        if !self.links.stop.load(Ordering::Relaxed) {
            self.shared.set_phase(Phase::Running);
        }
        self.shared.client().set_threads(threads.len());
        self.watch(threads)
    }

    /// Waits for the cluster, and checks and makes the topics. `None` when told to stop meanwhile.
    fn prepare(&self) -> Result<Option<Plan>, RuntimeError> {
        let admin = self.cluster.admin()?;
        let replication = Some(self.config.kafka.replication_factor).filter(|factor| *factor > 0);
        loop {
            match internal_topics::prepare(
                &admin,
                &self.topology,
                &self.config.application_id,
                replication,
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
            if self.links.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            std::thread::sleep(RETRY);
        }
    }

    /// Reads the global tables to their ends; `None` when told to stop meanwhile.
    fn read_globals(&self) -> Result<Option<GlobalUpdater<C::Consumer>>, RuntimeError> {
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
            &self.links.stop,
        )
    }

    /// Waits for the threads; when one fails, the others are told to stop.
    fn watch(&self, mut threads: Vec<ThreadJoin>) -> Result<(), RuntimeError> {
        let mut result = Ok(());
        let mut looked: Option<Instant> = None;
        while !threads.is_empty() {
            let Some(at) = threads.iter().position(|(_, thread)| thread.is_finished()) else {
                if looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
                    looked = Some(Instant::now());
                    self.clean_up();
                    self.publish_memory();
                }
                std::thread::sleep(Duration::from_millis(20));
                continue;
            };
            let (name, thread) = threads.swap_remove(at);
            let ended = thread.join().unwrap_or(Err(RuntimeError::ThreadDied(name)));
            self.shared.client().set_threads(threads.len());
            if let Err(error) = ended {
                self.links.stop.store(true, Ordering::Relaxed);
                self.links.wake_all();
                result = result.and(Err(error));
            }
        }
        result
    }

    fn publish_memory(&self) {
        let engine = self.opening.memory.engine_statistics();
        // Write buffers are charged to the block cache, so its use is all of RocksDB's.
        let (used, limit) = (engine.block_cache_used_bytes, engine.block_cache_capacity_bytes);
        self.shared.client().set_rocksdb_memory(used as u64, limit as u64);
    }

    /// Removes the state of tasks that left long ago.
    fn clean_up(&self) {
        match self.opening.directory.remove_unused(self.config.state.cleanup_delay) {
            Ok(removed) if removed.is_empty() => {}
            Ok(removed) => {
                tracing::info!(tasks = removed.join(" "), "removed the state of tasks that left");
            }
            Err(error) => tracing::warn!(%error, "cannot remove old state"),
        }
    }

    fn start_thread(
        &self,
        number: usize,
        plan: &Arc<Plan>,
        globals: GlobalStores,
    ) -> Result<ThreadJoin, RuntimeError> {
        let config = &self.config;
        let name = format!("{}-{number}", self.instance_id);
        let client_id: Arc<str> = format!("{}-{name}", config.application_id).into();
        let application_id: Arc<str> = config.application_id.as_str().into();
        let exactly_once = config.runtime.guarantee == ProcessingGuarantee::ExactlyOnce;
        let isolation =
            if exactly_once { Isolation::ReadCommitted } else { Isolation::ReadUncommitted };
        let consumer = self.cluster.consumer(&ConsumerSettings {
            group_id: application_id.clone(),
            client_id: client_id.clone(),
            role: ConsumerRole::Member { group_instance_id: Some(name.as_str().into()) },
            isolation,
        })?;
        let restore_consumer = self.cluster.consumer(&ConsumerSettings {
            group_id: format!("{application_id}-restore").into(),
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
        let (requests_out, requests) = channel();
        let waker = consumer.waker();
        let wake_thread = waker.clone();
        let updater = StateUpdater::<C>::new(
            restore_consumer,
            self.cluster.admin()?,
            Arc::clone(plan),
            self.opening.clone(),
            self.shared.clone(),
            work_in,
            done_out,
            Box::new(move || waker.wake()),
        );
        spawn(format!("restore-{number}"), move || updater.run())?;
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
            ThreadLinks { work, done, requests, stop: self.links.stop.clone() },
        );
        let handle =
            ThreadHandle { requests: requests_out, wake: Box::new(move || wake_thread.wake()) };
        self.links.threads.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
        Ok((name, spawn(format!("stream-{number}"), move || thread.run())?))
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

/// A transaction this large is committed early, so that readers do not wait for a huge one.
const TRANSACTION_MAX_BYTES: u64 = 256 << 20;

fn spawn<T: Send + 'static>(
    name: String,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, RuntimeError> {
    let text = name.clone();
    Builder::new().name(name).spawn(run).map_err(|error| {
        let cause = KafkaError::new(
            crate::kafka::ErrorClass::Other,
            "spawn",
            "start a thread",
            error.to_string(),
        );
        tracing::error!(thread = text, %cause, "cannot start a thread");
        RuntimeError::ThreadDied(text)
    })
}
