//! A thread's way out: the producer, its transaction, the handles of its topics, and the packs of
//! its repartition topics.

use std::sync::Arc;
use std::time::Duration;

use tidemill_state::TaskStores;
use tidemill_topology::error::{Error, ErrorKind, Result};
use tidemill_topology::node::{Host, Outgoing as Sent, Route, SinkTopic};
use tidemill_topology::partition::by_key;
use tidemill_topology::record::Headers;
use tidemill_topology::store::{BytesStore, StoreIndex};
use tidemill_topology::time::Timestamp;

use super::global::GlobalStores;
use super::pack::{self, PACK_BYTES, Packed, Packer, bytes_of};
use super::plan::{Plan, full_name};
use crate::clock::Clock;
use crate::kafka::{ErrorClass, KafkaError, Outgoing, ProduceError, Producer, TopicId};
use crate::metrics::LocalTopic;

/// How long a full send queue is waited for at a time.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(5);

/// The place of a handle that was not looked up here.
const UNKNOWN: usize = usize::MAX;

/// A topic of the topology.
struct Target {
    /// The topology's own name object: a comparison of pointers on the record path.
    topic: SinkTopic,
    id: TopicId,
    /// How many partitions it has, where that is known.
    partitions: Option<i32>,
    /// Of a repartition topic, what is not sent yet, a pack for each partition.
    packs: Vec<Packer>,
}

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
    targets: Vec<Target>,
    /// The packs that are open: their places in `targets` and among its packs.
    open_packs: Vec<(usize, usize)>,
    pack_headers: Headers,
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
            targets: Vec::new(),
            open_packs: Vec::new(),
            pack_headers: pack::headers(),
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
        self.forget_unsent();
        self.producer = producer;
        self.targets.clear();
        self.output_of.clear();
    }

    /// Drops what the producer does not have yet, as it was aborted.
    pub fn forget_unsent(&mut self) {
        for (target, partition) in self.open_packs.drain(..) {
            self.targets[target].packs[partition].clear();
        }
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

    /// The place of a topic of the topology in `targets`.
    fn target(&mut self, topic: &SinkTopic) -> Result<usize, KafkaError> {
        let known = self.targets.iter().position(|Target { topic: known, .. }| {
            known.internal == topic.internal
                && (Arc::ptr_eq(&known.name, &topic.name) || known.name == topic.name)
        });
        if let Some(known) = known {
            return Ok(known);
        }
        let name = full_name(&self.application_id, topic);
        let id = self.topic_id(&name)?;
        let partitions = self.plan.partitions(&name);
        let packed =
            partitions.filter(|_| topic.internal).and_then(|all| usize::try_from(all).ok());
        let packs = std::iter::repeat_with(Packer::default).take(packed.unwrap_or(0)).collect();
        self.targets.push(Target { topic: topic.clone(), id, partitions, packs });
        Ok(self.targets.len() - 1)
    }

    /// Hands a record to the producer, waiting while its queue is full.
    ///
    /// # Errors
    /// When the producer will not take it.
    pub fn produce(&mut self, record: &Outgoing<'_>) -> Result<(), KafkaError> {
        hand_over(&mut self.producer, record)?;
        self.count(record.topic, bytes_of(record.key, record.value));
        Ok(())
    }

    /// Counts a record that is on its way.
    #[inline]
    fn count(&mut self, topic: TopicId, bytes: u64) {
        self.sent += 1;
        // A handle comes from `topic_id`, which makes its place.
        self.outputs[self.output_of[topic.index()]].counts.add(1, bytes);
        self.open_bytes += bytes;
    }

    fn send(&mut self, record: &Sent<'_>) -> Result<(), KafkaError> {
        let at = self.target(record.topic)?;
        let Target { id, partitions, ref packs, .. } = self.targets[at];
        // Hashed here, as the client's own hashing costs twice as much; a record without a key, or
        // for a topic whose partitions are not known, is left to the client, but for what is packed.
        let partition = match record.route {
            Route::Partition(partition) => Some(partition),
            Route::Key(Some(key)) => partitions.map(|partitions| by_key(key, partitions)),
            Route::Key(None) if packs.is_empty() => None,
            Route::Key(None) => i32::try_from(self.sent % packs.len() as u64).ok(),
        };
        let packed = partition.and_then(|partition| usize::try_from(partition).ok());
        if let Some(partition) = packed.filter(|partition| *partition < packs.len()) {
            return self.pack(at, partition, record);
        }
        self.produce(&Outgoing {
            topic: id,
            partition,
            key: record.key,
            value: record.value,
            timestamp: record.timestamp,
            headers: record.headers,
        })
    }

    /// Adds a record to the pack of its partition, which is sent when it is full.
    fn pack(&mut self, at: usize, partition: usize, record: &Sent<'_>) -> Result<(), KafkaError> {
        let Sent { key, value, headers, .. } = *record;
        // As brokers and clients take it: what is not said is the present.
        let timestamp = match record.timestamp {
            timestamp if timestamp < Timestamp::new(0) => self.clock.wall(),
            timestamp => timestamp,
        };
        let bytes = bytes_of(key, value);
        let traced: u64 =
            headers.iter().map(|header| bytes_of(None, header.value.as_deref())).sum();
        let is_large = bytes + traced >= PACK_BYTES as u64;
        if is_large {
            // It travels by itself, behind what came before it: if it is too large, it alone is refused.
            self.send_pack(at, partition)?;
        }
        let pack = &mut self.targets[at].packs[partition];
        if pack.bytes().is_empty() {
            self.open_packs.push((at, partition));
        }
        pack.push(Packed { key, value, timestamp }, headers);
        if pack.bytes().len() >= PACK_BYTES
            && let Err(refused) = self.send_pack(at, partition)
        {
            if is_large {
                self.close_pack(at, partition);
            }
            return Err(refused);
        }
        self.count(self.targets[at].id, bytes);
        Ok(())
    }

    /// Hands the open packs to the producer.
    ///
    /// # Errors
    /// When the producer will not take one; what is not sent has to be [forgotten](Self::forget_unsent).
    pub fn send_packs(&mut self) -> Result<(), KafkaError> {
        while let Some((target, partition)) = self.open_packs.last().copied() {
            self.send_pack(target, partition)?;
        }
        Ok(())
    }

    fn send_pack(&mut self, at: usize, partition: usize) -> Result<(), KafkaError> {
        let target = &self.targets[at];
        let pack = &target.packs[partition];
        if !pack.bytes().is_empty() {
            let outgoing = packed(target.id, partition, pack, &self.pack_headers);
            hand_over(&mut self.producer, &outgoing)?;
        }
        self.close_pack(at, partition);
        Ok(())
    }

    fn close_pack(&mut self, at: usize, partition: usize) {
        self.targets[at].packs[partition].clear();
        // Mostly the last, as packs are sent from the end.
        let known = self.open_packs.iter().rposition(|open| *open == (at, partition));
        if let Some(known) = known {
            self.open_packs.swap_remove(known);
        }
    }
}

/// A pack as a record.
fn packed<'p>(
    topic: TopicId,
    partition: usize,
    pack: &'p Packer,
    headers: &'p Headers,
) -> Outgoing<'p> {
    Outgoing {
        topic,
        // It came from such a number.
        partition: i32::try_from(partition).ok(),
        key: None,
        value: Some(pack.bytes()),
        timestamp: pack.latest(),
        headers,
    }
}

/// Hands a record to the producer, waiting while its queue is full.
fn hand_over<P: Producer>(producer: &mut P, record: &Outgoing<'_>) -> Result<(), KafkaError> {
    loop {
        match producer.produce(record) {
            Ok(()) => return Ok(()),
            Err(ProduceError::QueueFull) => producer.poll(QUEUE_FULL_WAIT),
            Err(ProduceError::Refused(error)) => return Err(error),
        }
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
        let at = self.collector.target(topic).ok()?;
        self.collector.targets[at].partitions
    }

    fn wall_clock(&self) -> Timestamp {
        self.collector.clock.wall()
    }

    fn global_get(&mut self, store: &str, key: &[u8], into: &mut Vec<u8>) -> Result<bool> {
        self.collector.globals.get(store, key, into)
    }
}
