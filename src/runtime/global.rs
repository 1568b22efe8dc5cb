//! Global tables: every instance holds all partitions of their topics, in memory.
//!
//! They are read to their ends before the first task runs, and kept up by a thread of their own
//! after that. Tasks look them up under a lock that is held for one look-up or one batch.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidemill_state::{ApplyPolicy, StateMemory, TaskStores};
use tidemill_topology::error::{Error, Result as TopologyResult};
use tidemill_topology::graph::{SubtopologyId, TaskId, Topology};
use tidemill_topology::handler::Handlers;
use tidemill_topology::node::{Host, Outgoing, SinkTopic};
use tidemill_topology::record::{Headers, RawRecord};
use tidemill_topology::store::{BytesStore, StoreIndex};
use tidemill_topology::task::{InputIndex, Task};
use tidemill_topology::time::Timestamp;

use super::error::RuntimeError;
use super::query::ReadableStores;
use super::query::readable::Asker;
use super::stop::StopSignal;
use crate::clock::Clock;
use crate::kafka::{
    Admin, Consumer, ErrorClass, Event, Isolation, KafkaError, Message, Offset, OffsetSpec,
    Received, Slot, StartAt, TopicPartition,
};

const TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);
const BATCH: usize = 10_000;

/// The global stores of an instance, for every thread to read.
#[derive(Clone, Default)]
pub struct GlobalStores(Arc<Vec<Part>>);

/// The stores of one global subtopology.
struct Part {
    subtopology: SubtopologyId,
    names: Vec<String>,
    stores: Mutex<TaskStores>,
}

impl Part {
    fn stores(&self) -> MutexGuard<'_, TaskStores> {
        // A batch that panicked ends the instance; what it left is not read again.
        self.stores.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GlobalStores {
    /// Puts the value under a key into `into`; false when there is none.
    ///
    /// # Errors
    /// When no global store has that name, or it cannot be read.
    pub fn get(&self, store: &str, key: &[u8], into: &mut Vec<u8>) -> TopologyResult<bool> {
        for part in &*self.0 {
            let Some(at) = part.names.iter().position(|name| name == store) else { continue };
            let mut stores = part.stores();
            let found = stores.bound(StoreIndex(at)).get(key)?;
            into.clear();
            into.extend_from_slice(found.unwrap_or_default());
            return Ok(found.is_some());
        }
        Err(Error::wiring(format!("no global store is named {store}")))
    }
}

/// Keeps the global stores up to date.
pub struct GlobalUpdater<C: Consumer> {
    consumer: C,
    stores: GlobalStores,
    /// Tells when readers wait to be shown the stores.
    asker: Arc<Asker>,
    readers: Vec<Reader>,
    records: Vec<Received<C::Message>>,
    events: Vec<Event>,
    headers: Headers,
    clock: Clock,
}

/// The operators of one global subtopology, and the partitions that they read.
struct Reader {
    task: Task,
    inputs: Vec<Input>,
}

struct Input {
    slot: Slot,
    partition: TopicPartition,
    index: InputIndex,
    end: Offset,
}

impl<C: Consumer> GlobalUpdater<C> {
    /// Opens the global stores of a topology and reads their topics to the ends; `None` when the
    /// topology has none, or when told to stop meanwhile.
    ///
    /// # Errors
    /// When a topic is missing, or the cluster does not answer.
    pub fn start<A: Admin>(
        mut consumer: C,
        admin: &A,
        topology: &Topology,
        handlers: &Arc<Handlers>,
        memory: &StateMemory,
        clock: Clock,
        stop: &StopSignal,
    ) -> Result<Option<Self>, RuntimeError> {
        let (mut parts, mut readers, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        for subtopology in topology.global_subtopologies() {
            let specs = topology.stores(subtopology);
            let name = format!("global-{}", subtopology.id.0);
            parts.push(Part {
                subtopology: subtopology.id,
                names: specs.iter().map(|spec| spec.name.clone()).collect(),
                stores: Mutex::new(TaskStores::open(
                    &name,
                    &specs,
                    None,
                    memory,
                    ApplyPolicy::default(),
                )?),
            });
            let task = topology.task(subtopology.id, Arc::clone(handlers))?;
            let mut inputs = Vec::new();
            for source in &subtopology.sources {
                for (partition, end) in ends(admin, &source.name)? {
                    starts.push(StartAt::offset(partition.clone(), Offset::ZERO));
                    inputs.push(Input {
                        slot: consumer.slot(&partition),
                        index: task.input(&source.name)?,
                        partition,
                        end,
                    });
                }
            }
            readers.push(Reader { task, inputs });
        }
        consumer.assign(&starts)?;
        let stores = GlobalStores(Arc::new(parts));
        let mut updater = Self {
            consumer,
            stores,
            // It looks at least once a poll.
            asker: Asker::new(|| {}),
            readers,
            records: Vec::new(),
            events: Vec::new(),
            headers: Headers::new(),
            clock,
        };
        for (reader, part) in updater.readers.iter_mut().zip(&*updater.stores.0) {
            reader
                .task
                .init(&mut GlobalHost { stores: &mut part.stores(), clock: &updater.clock })?;
        }
        while !updater.is_caught_up() {
            if stop.is_told() {
                return Ok(None);
            }
            updater.turn()?;
        }
        Ok(Some(updater))
    }

    /// The stores, for the threads.
    #[must_use]
    pub fn stores(&self) -> GlobalStores {
        self.stores.clone()
    }

    /// Lets the stores be queried from now on.
    pub fn open(&self, readable: &ReadableStores) {
        for part in &*self.stores.0 {
            // Every instance has them whole: there is one task of them.
            let task = TaskId { subtopology: part.subtopology, partition: 0 };
            readable.open(task, part.stores().view(), &self.asker);
        }
    }

    /// Keeps the stores up until told to stop.
    ///
    /// # Errors
    /// When a record cannot be applied.
    pub fn run(mut self, stop: &StopSignal) -> Result<(), RuntimeError> {
        while !stop.is_told() {
            self.turn()?;
        }
        Ok(())
    }

    fn is_caught_up(&self) -> bool {
        self.readers.iter().flat_map(|reader| &reader.inputs).all(|input| {
            input.end == Offset::ZERO
                || self.consumer.position(&input.partition).is_some_and(|at| at >= input.end)
        })
    }

    fn turn(&mut self) -> Result<(), RuntimeError> {
        if self.asker.take() {
            for part in &*self.stores.0 {
                part.stores().show();
            }
        }
        self.consumer.poll(BATCH, POLL, &mut self.records, &mut self.events);
        for event in self.events.drain(..) {
            if let Event::Error { error, .. } | Event::AllBrokersDown(error) = event {
                tracing::warn!(%error, "global consumer");
            }
        }
        if self.records.is_empty() {
            return Ok(());
        }
        let records = std::mem::take(&mut self.records);
        for (reader, part) in self.readers.iter_mut().zip(&*self.stores.0) {
            let mut stores = part.stores();
            for Received { slot, message } in &records {
                let Some(input) = reader.inputs.iter().find(|input| input.slot == *slot) else {
                    continue;
                };
                message.read_headers(&mut self.headers);
                let record = RawRecord {
                    topic: &input.partition.topic,
                    partition: input.partition.partition,
                    offset: message.offset().0,
                    timestamp: message.timestamp(),
                    key: message.key(),
                    value: message.value(),
                    headers: &self.headers,
                };
                reader.task.process(
                    input.index,
                    &record,
                    &mut GlobalHost { stores: &mut stores, clock: &self.clock },
                )?;
            }
            // The topic itself is the log: nothing is handed on, everything counts as committed.
            stores.for_each_unlogged(|_, _| Ok::<(), RuntimeError>(()))?;
            stores.committed(&[], &[], self.clock.wall().millis())?;
            stores.apply()?;
        }
        self.records = records;
        self.records.clear();
        Ok(())
    }
}

/// The partitions of a topic, and where their committed records end.
fn ends<A: Admin>(admin: &A, topic: &str) -> Result<Vec<(TopicPartition, Offset)>, RuntimeError> {
    let info = admin.describe_topics(&[topic], TIMEOUT)?.pop().flatten();
    let Some(info) = info else {
        let message = "the topic of a global table does not exist; create it";
        let code = "UNKNOWN_TOPIC_OR_PART";
        let error = KafkaError::new(
            ErrorClass::UnknownTopicOrPartition,
            code,
            "read global table",
            message,
        );
        return Err(RuntimeError::Topics(error.of_topic(topic)));
    };
    let count = i32::try_from(info.partitions.len()).unwrap_or(i32::MAX);
    let partitions: Vec<TopicPartition> =
        (0..count).map(|partition| TopicPartition::new(topic, partition)).collect();
    let ends =
        admin.list_offsets(&partitions, OffsetSpec::Latest, Isolation::ReadCommitted, TIMEOUT)?;
    Ok(ends.into_iter().map(|end| (end.partition, end.offset.unwrap_or_default())).collect())
}

/// What a global subtopology's operators see: their stores, and no way out.
struct GlobalHost<'h> {
    stores: &'h mut TaskStores,
    clock: &'h Clock,
}

impl Host for GlobalHost<'_> {
    fn store(&mut self, index: StoreIndex) -> &mut dyn BytesStore {
        self.stores.bound(index)
    }

    /// Only dead letters come here: there is no transaction that they could be part of. The log
    /// has them, with the record's place in their headers.
    fn send(&mut self, record: Outgoing<'_>) -> TopologyResult {
        let headers = record.headers.iter().filter_map(|header| {
            let value = String::from_utf8_lossy(header.value.as_deref()?).into_owned();
            Some(format!("{}={value}", header.name))
        });
        tracing::error!(
            topic = &*record.topic.name,
            headers = headers.collect::<Vec<_>>().join(" "),
            "a record of a global table was passed over; it is not sent as a dead letter"
        );
        Ok(())
    }

    fn partitions(&mut self, _: &SinkTopic) -> Option<i32> {
        None
    }

    fn wall_clock(&self) -> Timestamp {
        self.clock.wall()
    }

    fn global_get(&mut self, store: &str, _: &[u8], _: &mut Vec<u8>) -> TopologyResult<bool> {
        Err(Error::wiring(format!("a global table's processor cannot read global store {store}")))
    }
}
