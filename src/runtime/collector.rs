//! A thread's way out: the producer, its transaction, and the handles of its topics.

use std::sync::Arc;
use std::time::Duration;

use tidemill_state::TaskStores;
use tidemill_topology::error::{Error, ErrorKind, Result};
use tidemill_topology::node::{Host, Outgoing as Sent, Route, SinkTopic};
use tidemill_topology::partition::by_key;
use tidemill_topology::store::{BytesStore, StoreIndex};
use tidemill_topology::time::Timestamp;

use super::global::GlobalStores;
use super::plan::{Plan, full_name};
use crate::clock::Clock;
use crate::kafka::{ErrorClass, KafkaError, Outgoing, ProduceError, Producer, TopicId};
use crate::metrics::LocalTopic;

/// How long a full send queue is waited for at a time.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(5);

/// The place of a handle that was not looked up here.
const UNKNOWN: usize = usize::MAX;

/// A topic that a thread writes to.
pub struct Output {
    /// Its full name.
    pub topic: Arc<str>,
    /// What was sent since the counts were last taken.
    pub counts: LocalTopic,
}

/// The producer of a stream thread.
pub struct Collector<P> {
    producer: P,
    application_id: Arc<str>,
    plan: Arc<Plan>,
    globals: GlobalStores,
    clock: Clock,
    /// Handles by the topology's own name object: a comparison of pointers on the record path.
    topics: Vec<(SinkTopic, TopicId, Option<i32>)>,
    /// The topics that were written to, and what was sent to each.
    outputs: Vec<Output>,
    /// The place of a topic in `outputs`, by the producer's handle.
    output_of: Vec<usize>,
    /// Records sent in all.
    pub sent: u64,
    /// Bytes sent in the open transaction.
    pub open_bytes: u64,
}

impl<P: Producer> Collector<P> {
    /// A collector that sends with `producer`.
    pub fn new(
        producer: P,
        application_id: Arc<str>,
        plan: Arc<Plan>,
        globals: GlobalStores,
        clock: Clock,
    ) -> Self {
        Self {
            producer,
            application_id,
            plan,
            globals,
            clock,
            topics: Vec::new(),
            outputs: Vec::new(),
            output_of: Vec::new(),
            sent: 0,
            open_bytes: 0,
        }
    }

    /// The producer itself.
    pub fn producer(&mut self) -> &mut P {
        &mut self.producer
    }

    /// Puts another producer in place; topic handles are looked up anew.
    pub fn replace(&mut self, producer: P) {
        self.producer = producer;
        self.topics.clear();
        self.output_of.clear();
        self.open_bytes = 0;
    }

    /// The producer's handle of a topic, by its full name, under which what is sent is counted.
    ///
    /// # Errors
    /// When the client refuses the name.
    pub fn topic_id(&mut self, name: &Arc<str>) -> Result<TopicId, KafkaError> {
        let id = self.producer.topic(name)?;
        if self.output_of.get(id.index()).is_none_or(|at| *at == UNKNOWN) {
            let known = self.outputs.iter().position(|output| output.topic == *name);
            let at = known.unwrap_or_else(|| {
                let counts = LocalTopic::default();
                self.outputs.push(Output { topic: Arc::clone(name), counts });
                self.outputs.len() - 1
            });
            if id.index() >= self.output_of.len() {
                self.output_of.resize(id.index() + 1, UNKNOWN);
            }
            self.output_of[id.index()] = at;
        }
        Ok(id)
    }

    /// The topics that were written to.
    pub fn outputs(&mut self) -> &mut [Output] {
        &mut self.outputs
    }

    /// The handle and, where it is known, the number of partitions of a topic of the topology.
    fn topic(&mut self, topic: &SinkTopic) -> Result<(TopicId, Option<i32>), KafkaError> {
        let known = self.topics.iter().find(|(known, ..)| {
            known.internal == topic.internal
                && (Arc::ptr_eq(&known.name, &topic.name) || known.name == topic.name)
        });
        if let Some((_, id, partitions)) = known {
            return Ok((*id, *partitions));
        }
        let name = full_name(&self.application_id, topic);
        let id = self.topic_id(&name)?;
        let partitions = self.plan.partitions(&name);
        self.topics.push((topic.clone(), id, partitions));
        Ok((id, partitions))
    }

    /// Hands a record to the producer, waiting while its queue is full.
    ///
    /// # Errors
    /// When the producer will not take it.
    pub fn produce(&mut self, record: &Outgoing<'_>) -> Result<(), KafkaError> {
        loop {
            match self.producer.produce(record) {
                Ok(()) => {
                    let bytes =
                        record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
                    self.sent += 1;
                    // A handle comes from `topic_id`, which makes its place.
                    let output = &mut self.outputs[self.output_of[record.topic.index()]];
                    output.counts.records += 1;
                    output.counts.bytes += bytes as u64;
                    self.open_bytes += bytes as u64;
                    return Ok(());
                }
                Err(ProduceError::QueueFull) => self.producer.poll(QUEUE_FULL_WAIT),
                Err(ProduceError::Refused(error)) => return Err(error),
            }
        }
    }

    fn send(&mut self, record: &Sent<'_>) -> Result<(), KafkaError> {
        let (topic, partitions) = self.topic(record.topic)?;
        // Hashed here, as the client's own hashing costs twice as much; a record without a key, or
        // for a topic whose partitions are not known, is left to the client.
        let partition = match record.route {
            Route::Partition(partition) => Some(partition),
            Route::Key(Some(key)) => partitions.map(|partitions| by_key(key, partitions)),
            Route::Key(None) => None,
        };
        self.produce(&Outgoing {
            topic,
            partition,
            key: record.key,
            value: record.value,
            timestamp: record.timestamp,
            headers: record.headers,
        })
    }
}

/// What a task sees of its thread: its own stores, and the thread's collector.
pub struct TaskHost<'h, P> {
    /// The task's stores.
    pub stores: &'h mut TaskStores,
    /// The thread's way out.
    pub collector: &'h mut Collector<P>,
}

impl<P: Producer> Host for TaskHost<'_, P> {
    #[inline]
    fn store(&mut self, index: StoreIndex) -> &mut dyn BytesStore {
        self.stores.bound(index)
    }

    #[inline]
    fn send(&mut self, record: Sent<'_>) -> Result {
        self.collector.send(&record).map_err(|error| {
            let topic = record.topic.name.to_string();
            Error::new(match error.class() {
                ErrorClass::RecordTooLarge => ErrorKind::TooLarge { topic, cause: Box::new(error) },
                _ => ErrorKind::Send { topic, cause: Box::new(error) },
            })
        })
    }

    fn partitions(&mut self, topic: &SinkTopic) -> Option<i32> {
        self.collector.topic(topic).ok().and_then(|(_, partitions)| partitions)
    }

    fn wall_clock(&self) -> Timestamp {
        self.collector.clock.wall()
    }

    fn global_get(&mut self, store: &str, key: &[u8], into: &mut Vec<u8>) -> Result<bool> {
        self.collector.globals.get(store, key, into)
    }
}
