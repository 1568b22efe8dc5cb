//! A whole topology in one thread, without Kafka: one task a subtopology, one partition a topic.
//!
//! A record goes through the task that reads its topic; what that sends to a topic which another
//! task reads follows at once, in the order in which it was sent; what goes to the topology's
//! outside is handed to the caller. A commit follows the numbered protocol of the stores.

use std::path::PathBuf;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use tidemill_state::{ApplyPolicy, InputOffset, StateMemory};
use tidemill_topology::error::{Error as TopologyError, Result as TopologyResult};
use tidemill_topology::graph::{Subtopology, Topology};
use tidemill_topology::handler::Handlers;
use tidemill_topology::held_back::HeldLimit;
use tidemill_topology::node::{DropReason, EMIT_INTERVAL_MS, Host, Outgoing, SinkTopic};
use tidemill_topology::record::{Headers, RawRecord};
use tidemill_topology::store::{BytesStore, StoreEntry, StoreIndex};
use tidemill_topology::task::InputIndex;
use tidemill_topology::time::Timestamp;

use super::changelog::Changelog;
use super::error::{DriverError, Result};
use super::feedback::Feedback;
use super::local_task::{LocalTask, Survivors, TaskSettings};

/// What is called with every record that leaves the topology.
pub type Output<'o> = dyn FnMut(Outgoing<'_>) -> TopologyResult + 'o;

/// How a topology is run.
#[derive(Clone)]
pub struct RunnerSettings {
    /// Put in front of the names of internal topics.
    pub application_id: String,
    /// What happens to records that fail.
    pub handlers: Arc<Handlers>,
    /// Where the wall clock starts; it moves only when told.
    pub wall_clock: Timestamp,
    /// How long operators pause between two looks for closed windows, in ms of that clock.
    pub emit_interval_ms: i64,
    /// Where persistent stores live; `None` keeps all stores in memory.
    pub directory: Option<PathBuf>,
    /// What the stores may use of the process's memory, in bytes.
    pub memory_bytes: usize,
    /// What caching stores may hold back between commits, in bytes; 0 forwards every update.
    pub cache_max_bytes: usize,
    /// When committed entries move on to the stores' engine.
    pub apply: ApplyPolicy,
    /// Whether changelogs are kept, in memory, so that the runner can be restarted.
    pub keeps_changelogs: bool,
}

impl Default for RunnerSettings {
    /// Application `local`, stores in memory (64 MiB of cache), errors stop the run, the clock at 0.
    fn default() -> Self {
        Self {
            application_id: "local".to_owned(),
            handlers: Arc::default(),
            wall_clock: Timestamp::new(0),
            emit_interval_ms: EMIT_INTERVAL_MS,
            directory: None,
            memory_bytes: 64 << 20,
            cache_max_bytes: 10 << 20,
            apply: ApplyPolicy::default(),
            keeps_changelogs: false,
        }
    }
}

/// A record for an input topic.
#[derive(Clone, Copy, Debug)]
pub struct InputRecord<'a> {
    /// Key bytes, or null.
    pub key: Option<&'a [u8]>,
    /// Value bytes, or null.
    pub value: Option<&'a [u8]>,
    /// Record timestamp.
    pub timestamp: Timestamp,
    /// Headers.
    pub headers: &'a Headers,
}

/// An input topic of a runner; see [`LocalRunner::input`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalInput(usize);

/// A topic that a task reads.
struct Input {
    topic: SinkTopic,
    /// As a cluster would know it: with the application's id if it is internal.
    full_name: String,
    task: Place,
    index: InputIndex,
    next_offset: i64,
    committed_offset: i64,
    /// The topic's records, where a store is restored from them.
    log: Option<Changelog>,
}

#[derive(Clone, Copy)]
enum Place {
    Task(usize),
    Global(usize),
}

/// Runs all of a topology in this process, without Kafka.
pub struct LocalRunner {
    topology: Topology,
    settings: RunnerSettings,
    /// What the tasks' caching stores hold back, and may.
    held: HeldLimit,
    memory: StateMemory,
    tasks: Vec<LocalTask>,
    globals: Vec<LocalTask>,
    inputs: Vec<Input>,
    readers: FxHashMap<SinkTopic, usize>,
    sent: Feedback,
    wall_clock: Timestamp,
    /// Records dropped by tasks that a restart has replaced.
    dropped_before: [u64; DropReason::ALL.len()],
}

impl LocalRunner {
    /// Makes a topology's tasks and opens their stores.
    ///
    /// # Errors
    /// When the topology cannot be wired, or the stores cannot be opened.
    pub fn new(topology: &Topology, settings: RunnerSettings) -> Result<Self> {
        let mut runner = Self {
            topology: match settings.cache_max_bytes {
                0 => topology.without_caching(),
                _ => topology.clone(),
            },
            held: HeldLimit::new(settings.cache_max_bytes),
            memory: StateMemory::new(settings.memory_bytes),
            tasks: Vec::new(),
            globals: Vec::new(),
            inputs: Vec::new(),
            readers: FxHashMap::default(),
            sent: Feedback::default(),
            wall_clock: settings.wall_clock,
            dropped_before: [0; _],
            settings,
        };
        let none = |subtopology: &Subtopology| {
            Survivors::none(subtopology.stores.len(), runner.settings.keeps_changelogs)
        };
        let tasks = topology.subtopologies().iter().map(none).collect();
        let globals = topology.global_subtopologies().iter().map(none).collect();
        runner.open(tasks, globals)?;
        runner.find_inputs()?;
        runner.init(&mut |_| Ok(()))?;
        Ok(runner)
    }

    /// The input that reads a topic: its name, without the application's id if it is internal.
    ///
    /// # Errors
    /// When the topology does not read it.
    pub fn input(&self, topic: &str) -> Result<LocalInput> {
        let at = self
            .inputs
            .iter()
            .position(|input| *input.topic.name == *topic || input.full_name == topic);
        at.map(LocalInput).ok_or_else(|| DriverError::UnknownTopic {
            topic: topic.to_owned(),
            known: self.inputs.iter().map(|input| input.topic.name.to_string()).collect(),
        })
    }

    /// Takes a record through the topology, with all that it causes.
    ///
    /// # Errors
    /// When a handler stops the run, a store fails, or `output` does.
    pub fn process(
        &mut self,
        input: LocalInput,
        record: &InputRecord<'_>,
        output: &mut Output<'_>,
    ) -> Result {
        self.run_one(input.0, record, output)?;
        self.run_sent(output)
    }

    /// Moves the wall clock to a later time, and fires the punctuations that are due by then.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn set_wall_clock(&mut self, to: Timestamp, output: &mut Output<'_>) -> Result {
        self.wall_clock = self.wall_clock.max(to);
        for at in 0..self.tasks.len() {
            let (task, mut host) = self.host(Place::Task(at), output);
            task.punctuate_wall_clock(&mut host)?;
            self.run_sent(output)?;
        }
        Ok(())
    }

    /// Commits: what caching operators held back goes on its way (step 1), then every task's stores
    /// go through the rest of the protocol.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn commit(&mut self, output: &mut Output<'_>) -> Result {
        loop {
            for at in 0..self.tasks.len() {
                let (task, mut host) = self.host(Place::Task(at), output);
                task.flush(&mut host)?;
            }
            if self.sent.is_empty() {
                break;
            }
            self.run_sent(output)?;
        }
        for input in &mut self.inputs {
            input.committed_offset = input.next_offset;
            if let Some(log) = &mut input.log {
                log.commit();
            }
        }
        for place in self.places() {
            let offsets: Vec<InputOffset> = self
                .inputs
                .iter()
                .filter(|input| input.task.is(place))
                .map(|input| InputOffset {
                    topic: input.topic.name.to_string(),
                    partition: 0,
                    offset: input.next_offset,
                })
                .collect();
            let now = self.wall_clock;
            self.task_mut(place).commit(&offsets, now)?;
        }
        Ok(())
    }

    /// Crashes and starts again: everything since the last commit is lost, the stores are restored
    /// from their changelogs, the clocks from the commit. What was piped since has to be piped again.
    ///
    /// # Errors
    /// When the runner keeps no changelogs, or the stores cannot be opened and restored.
    pub fn restart(&mut self) -> Result {
        if !self.settings.keeps_changelogs {
            return Err(DriverError::NoChangelogs);
        }
        for reason in DropReason::ALL {
            self.dropped_before[reason as usize] = self.dropped(reason);
        }
        let crash = |tasks: &mut Vec<LocalTask>| tasks.drain(..).map(LocalTask::crash).collect();
        let (tasks, globals) = (crash(&mut self.tasks), crash(&mut self.globals));
        self.sent.clear();
        for input in &mut self.inputs {
            input.next_offset = input.committed_offset;
            if let Some(log) = &mut input.log {
                log.abort();
            }
        }
        self.open(tasks, globals)?;
        self.read_globals_again()?;
        self.init(&mut |_| Ok(()))
    }

    /// Closes the stores, which then have everything that was committed.
    ///
    /// # Errors
    /// When a store cannot be written.
    pub fn close(self) -> Result {
        for mut task in self.tasks.into_iter().chain(self.globals) {
            task.task.close();
            task.stores.close()?;
        }
        Ok(())
    }

    /// The wall clock.
    #[must_use]
    pub fn wall_clock(&self) -> Timestamp {
        self.wall_clock
    }

    /// Records dropped for a reason so far, over all tasks.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        let now: u64 =
            self.tasks.iter().chain(&self.globals).map(|task| task.task.dropped(reason)).sum();
        self.dropped_before[reason as usize] + now
    }

    /// Records dropped so far.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        DropReason::ALL.iter().map(|reason| self.dropped(*reason)).sum()
    }

    /// The value under a key of a key-value store, uncommitted changes included.
    ///
    /// # Errors
    /// When there is no such store, it is of another kind or other types, or it cannot be read.
    pub fn get<K: 'static, V: 'static>(&mut self, store: &str, key: &K) -> Result<Option<V>> {
        let reader = self.topology.store_reader::<K, V>(store)?;
        let (task, index) = self.find_store(store)?;
        Ok(reader.get(task.stores.bound(index), key)?)
    }

    /// All entries of a store, uncommitted changes included; of a windowed store those that its
    /// retention still covers, of a versioned one the latest versions.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn entries<K: 'static, V: 'static>(
        &mut self,
        store: &str,
    ) -> Result<Vec<StoreEntry<K, V>>> {
        let reader = self.topology.store_reader::<K, V>(store)?;
        let (task, index) = self.find_store(store)?;
        let observed = task.task.store_time(index);
        Ok(reader.entries(task.stores.bound(index), observed)?)
    }

    fn find_store(&mut self, name: &str) -> Result<(&mut LocalTask, StoreIndex)> {
        let place =
            self.places().find_map(|place| Some((place, self.task_mut(place).store_index(name)?)));
        match place {
            Some((place, index)) => Ok((self.task_mut(place), index)),
            None => {
                let tasks = self.tasks.iter().chain(&self.globals);
                let known =
                    tasks.flat_map(|task| &task.specs).map(|spec| spec.name.clone()).collect();
                Err(DriverError::UnknownStore { store: name.to_owned(), known })
            }
        }
    }

    fn places(&self) -> impl Iterator<Item = Place> + use<> {
        (0..self.tasks.len()).map(Place::Task).chain((0..self.globals.len()).map(Place::Global))
    }

    fn task_mut(&mut self, place: Place) -> &mut LocalTask {
        match place {
            Place::Task(at) => &mut self.tasks[at],
            Place::Global(at) => &mut self.globals[at],
        }
    }

    /// Opens the tasks with what is left of them.
    fn open(&mut self, tasks: Vec<Survivors>, globals: Vec<Survivors>) -> Result {
        let settings = TaskSettings {
            handlers: &self.settings.handlers,
            emit_interval_ms: self.settings.emit_interval_ms,
            held: &self.held,
            directory: self.settings.directory.as_deref(),
            memory: &self.memory,
            apply: self.settings.apply,
        };
        let log = |topic: &str| {
            let input = self.inputs.iter().find(|input| *input.topic.name == *topic)?;
            input.log.as_ref()
        };
        let open = |subtopologies: &[Subtopology], survivors: Vec<Survivors>| {
            subtopologies
                .iter()
                .zip(survivors)
                .map(|(subtopology, survivors)| {
                    LocalTask::open(&self.topology, subtopology, &settings, survivors, log)
                })
                .collect::<Result<Vec<_>>>()
        };
        let opened = (
            open(self.topology.subtopologies(), tasks)?,
            open(self.topology.global_subtopologies(), globals)?,
        );
        (self.tasks, self.globals) = opened;
        Ok(())
    }

    fn find_inputs(&mut self) -> Result {
        for place in self.places() {
            let keeps = self.settings.keeps_changelogs;
            let application_id = self.settings.application_id.clone();
            let is_global = matches!(place, Place::Global(_));
            let task = self.task_mut(place);
            let mut inputs = Vec::new();
            for topic in task.task.inputs() {
                let full_name = match topic.internal {
                    true => format!("{application_id}-{}", topic.name),
                    false => topic.name.to_string(),
                };
                let is_log = |spec: &&str| **spec == *topic.name;
                let logged = task
                    .specs
                    .iter()
                    .filter_map(|spec| spec.changelog_source.as_deref())
                    .any(|s| is_log(&s));
                inputs.push(Input {
                    topic: topic.clone(),
                    full_name,
                    task: place,
                    index: task.task.input(&topic.name)?,
                    next_offset: 0,
                    committed_offset: 0,
                    log: (keeps && (logged || is_global)).then(|| Changelog::new(true)),
                });
            }
            for input in inputs {
                self.readers.insert(input.topic.clone(), self.inputs.len());
                self.inputs.push(input);
            }
        }
        Ok(())
    }

    fn init(&mut self, output: &mut Output<'_>) -> Result {
        for place in self.places() {
            let (task, mut host) = self.host(place, output);
            task.init(&mut host)?;
        }
        self.run_sent(output)
    }

    /// A global store is not logged: what its engine lacks is read from its topic again.
    fn read_globals_again(&mut self) -> Result {
        for at in 0..self.inputs.len() {
            let input = &self.inputs[at];
            let (Place::Global(global), Some(log)) = (input.task, input.log.as_ref()) else {
                continue;
            };
            let from = self.globals[global].stores.input_offset(&input.topic.name, 0).unwrap_or(0);
            let records: Vec<_> = log
                .from(from)
                // What the table refused for its null key.
                .filter(|entry| !entry.key.is_empty())
                .map(|entry| (entry.key.to_vec(), entry.value.map(<[u8]>::to_vec), entry.timestamp))
                .collect();
            let next = log.end();
            self.inputs[at].next_offset = from;
            let log = self.inputs[at].log.take();
            for (key, value, timestamp) in &records {
                let (key, value) = (Some(&key[..]), value.as_deref());
                let record =
                    InputRecord { key, value, timestamp: *timestamp, headers: Headers::none() };
                self.run_one(at, &record, &mut |_| Ok(()))?;
            }
            let input = &mut self.inputs[at];
            input.next_offset = next;
            input.log = log;
            let offset =
                InputOffset { topic: input.topic.name.to_string(), partition: 0, offset: next };
            let now = self.wall_clock;
            self.globals[global].commit(&[offset], now)?;
        }
        Ok(())
    }

    /// The task of a place, and what it sees of the world.
    fn host<'r, 'o>(
        &'r mut self,
        place: Place,
        output: &'r mut Output<'o>,
    ) -> (&'r mut tidemill_topology::task::Task, LocalHost<'r, 'o>) {
        let (LocalTask { task, stores, .. }, globals) = match place {
            Place::Task(at) => (&mut self.tasks[at], &mut self.globals[..]),
            Place::Global(at) => (&mut self.globals[at], &mut [][..]),
        };
        let host = LocalHost {
            stores,
            globals,
            readers: &self.readers,
            sent: &mut self.sent,
            wall_clock: self.wall_clock,
            output,
        };
        (task, host)
    }

    /// Takes a record through the task that reads it.
    fn run_one(&mut self, at: usize, record: &InputRecord<'_>, output: &mut Output<'_>) -> Result {
        let input = &mut self.inputs[at];
        let InputRecord { key, value, timestamp, headers } = *record;
        if let Some(log) = &mut input.log {
            let key = key.unwrap_or_default();
            log.append(tidemill_topology::store::spec::ChangelogEntry { key, value, timestamp });
        }
        let offset = input.next_offset;
        input.next_offset += 1;
        // Taken for the length of the call: the task may look at its topic's name.
        let topic = std::mem::take(&mut input.full_name);
        let (place, index) = (input.task, input.index);
        let raw = RawRecord { topic: &topic, partition: 0, offset, timestamp, key, value, headers };
        let (task, mut host) = self.host(place, output);
        let done = task.process(index, &raw, &mut host);
        self.inputs[at].full_name = topic;
        Ok(done?)
    }

    /// Takes what was sent to the topology's own topics through the tasks that read them.
    fn run_sent(&mut self, output: &mut Output<'_>) -> Result {
        let mut batch = Feedback::default();
        while !self.sent.is_empty() {
            std::mem::swap(&mut batch, &mut self.sent);
            for record in &batch.records {
                let fed_back = InputRecord {
                    key: batch.key(record),
                    value: batch.value(record),
                    timestamp: record.timestamp,
                    headers: &record.headers,
                };
                self.run_one(record.input, &fed_back, output)?;
            }
            batch.clear();
        }
        // The larger buffer is the better one to keep.
        self.sent = batch;
        Ok(())
    }
}

impl Place {
    fn is(self, other: Self) -> bool {
        match (self, other) {
            (Self::Task(a), Self::Task(b)) | (Self::Global(a), Self::Global(b)) => a == b,
            _ => false,
        }
    }
}

/// What a task sees of a local run.
struct LocalHost<'r, 'o> {
    stores: &'r mut tidemill_state::TaskStores,
    globals: &'r mut [LocalTask],
    readers: &'r FxHashMap<SinkTopic, usize>,
    sent: &'r mut Feedback,
    wall_clock: Timestamp,
    output: &'r mut Output<'o>,
}

impl Host for LocalHost<'_, '_> {
    #[inline]
    fn store(&mut self, index: StoreIndex) -> &mut dyn BytesStore {
        self.stores.bound(index)
    }

    fn send(&mut self, record: Outgoing<'_>) -> TopologyResult {
        if let Some(input) = self.readers.get(record.topic) {
            self.sent.push(*input, &record);
        }
        if record.topic.internal { Ok(()) } else { (self.output)(record) }
    }

    fn partitions(&mut self, _: &SinkTopic) -> Option<i32> {
        Some(1)
    }

    fn wall_clock(&self) -> Timestamp {
        self.wall_clock
    }

    fn global_get(&mut self, store: &str, key: &[u8], into: &mut Vec<u8>) -> TopologyResult<bool> {
        into.clear();
        for global in &mut *self.globals {
            let Some(index) = global.store_index(store) else { continue };
            let found = global.stores.bound(index).get(key)?;
            into.extend_from_slice(found.unwrap_or_default());
            return Ok(found.is_some());
        }
        Err(TopologyError::wiring(format!("no global store is named {store}")))
    }
}
