//! How records move inside a task: operators in one vector, each pushing to later ones.
//!
//! A task's nodes lie in topological order, so a node only ever pushes to nodes behind it. A
//! [`Context`] therefore owns the slice *behind* the running node, and a hop splits that slice at
//! the child: no reference counts, no locks, and the whole task moves between threads.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::handler::{HandlerDecision, Handlers};
use crate::held_back::HeldBack;
use crate::record::{Headers, RawRecord, Record};
use crate::serde::SerdeRef;
use crate::store::bytes::{BytesStore, Expired, Pending, StoreIndex};
use crate::store::key_value::{StoreBuffers, Timestamped, TimestampedHandle};
use crate::time::Timestamp;

/// What a task asks of the place that runs it: its stores, its way out, and the wall clock.
pub trait Host {
    /// A store of the task.
    fn store(&mut self, index: StoreIndex) -> &mut dyn BytesStore;

    /// Sends a record to a sink topic within the open commit.
    ///
    /// # Errors
    /// When it cannot be handed to the producer.
    fn send(&mut self, record: Outgoing<'_>) -> Result;

    /// How many partitions a topic has, for partitioners; `None` when it is not known.
    fn partitions(&mut self, topic: &SinkTopic) -> Option<i32>;

    /// The wall clock, in ms since the Unix epoch.
    fn wall_clock(&self) -> Timestamp;

    /// Reads the value under a key of a global store into `into`; false when there is none.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn global_get(&mut self, store: &str, key: &[u8], into: &mut Vec<u8>) -> Result<bool>;
}

/// Where a record goes within its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// By murmur2 of these bytes, as Kafka's default partitioner does; any partition without.
    Key(Option<&'a [u8]>),
    /// To this partition.
    Partition(i32),
}

/// A topic that records are sent to: a name of the user's, or an internal one which the
/// application's id is put in front of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SinkTopic {
    /// Its name, without the application's id.
    pub name: Arc<str>,
    /// Whether the application's id belongs in front.
    pub internal: bool,
}

/// A record on its way out, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The target.
    pub topic: &'a SinkTopic,
    /// Where in the target.
    pub route: Route<'a>,
    /// Key bytes, or null.
    pub key: Option<&'a [u8]>,
    /// Value bytes, or null.
    pub value: Option<&'a [u8]>,
    /// Record timestamp.
    pub timestamp: Timestamp,
    /// Headers.
    pub headers: &'a Headers,
}

/// A step of a topology that takes typed records.
pub trait Operator<K, V>: Send {
    /// Takes one record, and pushes what comes of it to its children.
    ///
    /// # Errors
    /// When user code, a store or a child's fatal error ends it.
    fn process(&mut self, record: Record<'_, K, V>, ctx: &mut Context<'_>) -> Result;

    /// Called once, before any record.
    ///
    /// # Errors
    /// When the operator cannot start.
    fn init(&mut self, ctx: &mut Context<'_>) -> Result {
        let _ = ctx;
        Ok(())
    }

    /// Called before each commit: pushes on what a caching store held back.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    fn flush(&mut self, ctx: &mut Context<'_>) -> Result {
        let _ = ctx;
        Ok(())
    }

    /// Called when a schedule of this node is due; see [`Context::schedule`].
    ///
    /// # Errors
    /// As [`process`](Self::process).
    fn punctuate(&mut self, schedule: ScheduleId, at: Timestamp, ctx: &mut Context<'_>) -> Result {
        let _ = (schedule, at, ctx);
        Ok(())
    }

    /// Called when an entry of the node's store has expired and was taken out of it; see
    /// [`Wiring::keep_expiring`](crate::graph::Wiring::keep_expiring).
    ///
    /// # Errors
    /// As [`process`](Self::process).
    fn expired(&mut self, entry: &Expired, ctx: &mut Context<'_>) -> Result {
        let _ = (entry, ctx);
        Ok(())
    }

    /// Called once, when the task closes.
    fn close(&mut self) {}
}

/// A step that takes records in bytes: a source.
pub trait RawInput: Send {
    /// Reads the record of the context and pushes it on.
    ///
    /// # Errors
    /// As [`Operator::process`].
    fn receive(&mut self, ctx: &mut Context<'_>) -> Result;

    /// As [`Operator::expired`].
    ///
    /// # Errors
    /// As [`Operator::process`].
    fn expired(&mut self, entry: &Expired, ctx: &mut Context<'_>) -> Result {
        let _ = (entry, ctx);
        Ok(())
    }
}

/// Which schedule of a node fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScheduleId(pub(crate) usize);

/// What drives a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PunctuationType {
    /// The task's stream time: it fires only when records move it.
    StreamTime,
    /// The wall clock.
    WallClockTime,
}

pub(crate) struct Schedule {
    pub(crate) node: u32,
    pub(crate) kind: PunctuationType,
    pub(crate) interval_ms: i64,
    pub(crate) next: Timestamp,
    pub(crate) cancelled: bool,
}

type Flush = fn(&mut dyn Any, &mut Context<'_>) -> Result;
type Punctuate = fn(&mut dyn Any, ScheduleId, Timestamp, &mut Context<'_>) -> Result;
type TellExpired = fn(&mut dyn Any, &Expired, &mut Context<'_>) -> Result;

/// A node of a task: its operator, boxed by its input types, and its life cycle.
pub struct Slot {
    operator: Box<dyn Any + Send>,
    init: Flush,
    flush: Flush,
    punctuate: Punctuate,
    expired: TellExpired,
    close: fn(&mut dyn Any),
}

type Typed<K, V> = Box<dyn Operator<K, V>>;

fn typed<K: 'static, V: 'static>(operator: &mut dyn Any) -> Result<&mut Typed<K, V>> {
    operator.downcast_mut().ok_or_else(|| mismatch::<K, V>("its own type"))
}

fn raw_input(operator: &mut dyn Any) -> Result<&mut Box<dyn RawInput>> {
    operator
        .downcast_mut()
        .ok_or_else(|| Error::wiring("a record was given to a node that is no source"))
}

fn mismatch<K, V>(what: &str) -> Error {
    Error::wiring(format!(
        "a node does not take ({}, {}) records as {what}",
        std::any::type_name::<K>(),
        std::any::type_name::<V>()
    ))
}

impl Slot {
    /// A node that takes typed records.
    pub fn new<K: 'static, V: 'static>(operator: impl Operator<K, V> + 'static) -> Self {
        let operator: Typed<K, V> = Box::new(operator);
        Self {
            operator: Box::new(operator),
            init: |operator, ctx| typed::<K, V>(operator)?.init(ctx),
            flush: |operator, ctx| typed::<K, V>(operator)?.flush(ctx),
            punctuate: |operator, id, at, ctx| typed::<K, V>(operator)?.punctuate(id, at, ctx),
            expired: |operator, entry, ctx| typed::<K, V>(operator)?.expired(entry, ctx),
            close: |operator| {
                if let Ok(operator) = typed::<K, V>(operator) {
                    operator.close();
                }
            },
        }
    }

    /// A source.
    pub fn source(input: impl RawInput + 'static) -> Self {
        let input: Box<dyn RawInput> = Box::new(input);
        Self {
            operator: Box::new(input),
            init: |_, _| Ok(()),
            flush: |_, _| Ok(()),
            punctuate: |_, _, _, _| Ok(()),
            expired: |operator, entry, ctx| raw_input(operator)?.expired(entry, ctx),
            close: |_| (),
        }
    }

    pub(crate) fn close(&mut self) {
        (self.close)(&mut *self.operator);
    }
}

/// Why a record was dropped; each has a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[non_exhaustive]
pub enum DropReason {
    /// Its key is null where an operator needs one.
    NullKey,
    /// Its value is null where an operator needs one.
    NullValue,
    /// Its key or value was null in a join.
    NullJoinKey,
    /// Its window had closed.
    LateRecord,
    /// It is older than what a store retains.
    ExpiredRecord,
    /// Its timestamp is negative.
    InvalidTimestamp,
    /// It could not be deserialized, and the handler continued.
    Deserialization,
    /// A node failed on it, and the handler continued.
    Processing,
    /// It could not be serialized or sent, and the handler continued.
    Production,
    /// It is out of order for a versioned table.
    OutOfOrder,
    /// Its sink's partitioner chose no partition.
    NoPartition,
}

impl DropReason {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 11] = [
        Self::NullKey,
        Self::NullValue,
        Self::NullJoinKey,
        Self::LateRecord,
        Self::ExpiredRecord,
        Self::InvalidTimestamp,
        Self::Deserialization,
        Self::Processing,
        Self::Production,
        Self::OutOfOrder,
        Self::NoPartition,
    ];

    /// Whether each such record is sent to the dead-letter topic, if there is one.
    #[must_use]
    pub fn has_dead_letter(self) -> bool {
        matches!(self, Self::Deserialization | Self::Processing | Self::Production)
    }

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NullKey => "null_key",
            Self::NullValue => "null_value",
            Self::NullJoinKey => "null_join_key",
            Self::LateRecord => "late_record",
            Self::ExpiredRecord => "expired_record",
            Self::InvalidTimestamp => "invalid_timestamp",
            Self::Deserialization => "deserialization",
            Self::Processing => "processing",
            Self::Production => "production",
            Self::OutOfOrder => "out_of_order",
            Self::NoPartition => "no_partition",
        }
    }
}

/// Which of a task's clocks: each windowed operator and store keeps its own highest timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeSlot(pub(crate) usize);

/// How long operators that wait for windows to close pause between two looks, in ms of wall clock.
pub const EMIT_INTERVAL_MS: i64 = 1_000;

/// What belongs to a task besides its nodes: times, schedules, counters and reused buffers.
pub struct Env {
    pub(crate) stream_time: Timestamp,
    /// Highest timestamps by [`TimeSlot`]; part of what a commit saves.
    pub(crate) times: Vec<Timestamp>,
    pub(crate) schedules: Vec<Schedule>,
    pub(crate) dropped: [u64; DropReason::ALL.len()],
    /// Records that each node was given since the counts were last taken.
    pub(crate) node_records: Box<[u64]>,
    pub(crate) dead_letters: u64,
    pub(crate) emit_interval_ms: i64,
    /// The partition that the task works on.
    pub(crate) partition: i32,
    /// What its caching stores hold back.
    pub(crate) held: HeldBack,
    pub(crate) names: Arc<[String]>,
    pub(crate) handlers: Arc<Handlers>,
    pub(crate) buffers: StoreBuffers,
    pub(crate) out_key: Vec<u8>,
    pub(crate) out_value: Vec<u8>,
}

/// What an operator can reach while it runs.
pub struct Context<'t> {
    pub(crate) nodes: &'t mut [Slot],
    pub(crate) base: usize,
    pub(crate) node: u32,
    pub(crate) env: &'t mut Env,
    pub(crate) host: &'t mut dyn Host,
    pub(crate) source: &'t RawRecord<'t>,
}

impl Context<'_> {
    /// Pushes a record to a child.
    ///
    /// # Errors
    /// The child's, unless the processing handler continues past it.
    #[inline]
    pub fn forward<K: 'static, V: 'static>(
        &mut self,
        child: u32,
        record: Record<'_, K, V>,
    ) -> Result {
        let at = child as usize - self.base;
        self.env.node_records[child as usize] += 1;
        let (head, tail) = self.nodes.split_at_mut(at + 1);
        let operator = head[at]
            .operator
            .downcast_mut::<Typed<K, V>>()
            .ok_or_else(|| mismatch::<K, V>("its parent's output"))?;
        let mut ctx = Context {
            nodes: tail,
            base: child as usize + 1,
            node: child,
            env: self.env,
            host: self.host,
            source: self.source,
        };
        match operator.process(record, &mut ctx) {
            Ok(()) => Ok(()),
            Err(error) => self.decide(child, error, record.timestamp),
        }
    }

    /// Runs a node's life-cycle step or punctuation with the context that belongs to it.
    pub(crate) fn enter(
        &mut self,
        node: u32,
        run: impl FnOnce(&mut Slot, &mut Context<'_>) -> Result,
    ) -> Result {
        let at = node as usize - self.base;
        let (head, tail) = self.nodes.split_at_mut(at + 1);
        let mut ctx = Context {
            nodes: tail,
            base: node as usize + 1,
            node,
            env: self.env,
            host: self.host,
            source: self.source,
        };
        match run(&mut head[at], &mut ctx) {
            Ok(()) => Ok(()),
            Err(error) => self.decide(node, error, self.source.timestamp),
        }
    }

    /// The processing handler's say: an error of one record ends the branch below its node, or all.
    #[cold]
    pub(crate) fn decide(&mut self, node: u32, error: Error, timestamp: Timestamp) -> Result {
        if !error.is_processing() {
            return Err(error);
        }
        let ErrorKind::Processing { node: mut name, cause } = error.into_kind() else {
            return Ok(());
        };
        if name.is_empty() {
            name.clone_from(&self.env.names[node as usize]);
        }
        let handlers = Arc::clone(&self.env.handlers);
        let decision = (handlers.processing)(&name, self.source, &*cause);
        if decision == HandlerDecision::Fail {
            return Err(Error::new(ErrorKind::Processing { node: name, cause }));
        }
        self.drop_record(DropReason::Processing);
        self.dead_letter(&handlers, &*cause, Some(&name), timestamp)
    }

    /// Sends the source record to the dead-letter topic, if one is configured, with the time of the
    /// record that failed, which may be another's of its making.
    ///
    /// # Errors
    /// When it cannot be handed to the producer.
    pub(crate) fn dead_letter(
        &mut self,
        handlers: &Handlers,
        cause: &(dyn std::error::Error + Send + Sync + 'static),
        node: Option<&str>,
        timestamp: Timestamp,
    ) -> Result {
        let Some(topic) = &handlers.dead_letter_topic else { return Ok(()) };
        let headers = handlers.dead_letter_headers(self.source, cause, node);
        self.env.dead_letters += 1;
        let letter = Outgoing {
            topic,
            route: Route::Key(self.source.key),
            key: self.source.key,
            value: self.source.value,
            timestamp,
            headers: &headers,
        };
        match self.host.send(letter) {
            // With its headers the record is too large for the topic. It goes without its bytes:
            // the headers say where those are.
            Err(error) if matches!(error.kind(), ErrorKind::TooLarge { .. }) => self
                .host
                .send(Outgoing { route: Route::Key(None), key: None, value: None, ..letter }),
            sent => sent,
        }
    }

    /// The record that is being processed, as it was read.
    #[must_use]
    pub fn source(&self) -> &RawRecord<'_> {
        self.source
    }

    /// The partition that the task works on, whether a record is being processed or not.
    #[must_use]
    pub fn partition(&self) -> i32 {
        self.env.partition
    }

    /// Highest timestamp that the task has seen.
    #[must_use]
    pub fn stream_time(&self) -> Timestamp {
        self.env.stream_time
    }

    /// How long to pause, by the wall clock, between two looks for windows that have closed.
    #[must_use]
    pub fn emit_interval_ms(&self) -> i64 {
        self.env.emit_interval_ms
    }

    /// The wall clock.
    #[must_use]
    pub fn wall_clock(&self) -> Timestamp {
        self.host.wall_clock()
    }

    /// A clock of an operator or store, highest timestamp so far ([`Timestamp::UNKNOWN`] at first).
    #[must_use]
    pub fn time(&self, slot: TimeSlot) -> Timestamp {
        self.env.times[slot.0]
    }

    /// Moves a clock forward, never back, and says where it stands.
    pub fn advance(&mut self, slot: TimeSlot, to: Timestamp) -> Timestamp {
        let time = &mut self.env.times[slot.0];
        *time = (*time).max(to);
        *time
    }

    /// Counts a record that goes no further.
    pub fn drop_record(&mut self, reason: DropReason) {
        self.env.dropped[reason as usize] += 1;
    }

    /// Asks to be called with [`Operator::punctuate`] every `interval_ms`.
    pub fn schedule(&mut self, interval_ms: i64, kind: PunctuationType) -> ScheduleId {
        let next = match kind {
            PunctuationType::StreamTime => Timestamp::new(0),
            PunctuationType::WallClockTime => self.host.wall_clock() + interval_ms,
        };
        let schedules = &mut self.env.schedules;
        schedules.push(Schedule { node: self.node, kind, interval_ms, next, cancelled: false });
        ScheduleId(schedules.len() - 1)
    }

    /// Ends a schedule, at once.
    pub fn cancel(&mut self, schedule: ScheduleId) {
        self.env.schedules[schedule.0].cancelled = true;
    }

    /// A store, in bytes.
    pub fn bytes_store(&mut self, index: StoreIndex) -> &mut dyn BytesStore {
        self.host.store(index)
    }

    /// Takes note of what a caching store holds back, after a change of it. Once there is too much,
    /// all of the task's is pushed on when the record has been processed.
    #[inline]
    pub(crate) fn note_held(&mut self, store: StoreIndex) {
        let bytes = self.host.store(store).pending_bytes();
        self.env.held.note(store, bytes);
    }

    /// Takes the updates that a caching store holds back, to be pushed on.
    pub(crate) fn take_held(&mut self, store: StoreIndex, into: &mut Vec<Pending>) {
        self.host.store(store).drain_pending(into);
        self.env.held.note(store, 0);
    }

    /// A timestamped store, typed. The buffer for keys is the caller's.
    pub fn timestamped<'c, K: 'static, V: 'static>(
        &'c mut self,
        handle: &'c TimestampedHandle<K, V>,
    ) -> Timestamped<'c, K, V> {
        Timestamped {
            handle: &handle.0,
            store: self.host.store(handle.0.index),
            value: &mut self.env.buffers.value,
            now: self.env.stream_time,
        }
    }

    /// Serializes and sends a record.
    ///
    /// # Errors
    /// When the key or value has no bytes and the production handler fails, or when it cannot be
    /// handed to the producer.
    pub fn send<K: 'static, V: 'static>(
        &mut self,
        topic: &SinkTopic,
        partition: Option<i32>,
        key_serde: &SerdeRef<K>,
        value_serde: &SerdeRef<V>,
        record: Record<'_, K, V>,
    ) -> Result {
        let env = &mut *self.env;
        let written = crate::serde::write(&**key_serde, record.key, &mut env.out_key)
            .map_err(|cause| ("key", cause))
            .and_then(|key| {
                let value = crate::serde::write(&**value_serde, record.value, &mut env.out_value)
                    .map_err(|cause| ("value", cause))?;
                Ok((key, value))
            });
        let (key, value) = match written {
            Ok(written) => written,
            Err((part, cause)) => {
                let handlers = Arc::clone(&env.handlers);
                if (handlers.production)(&topic.name, self.source, &*cause) == HandlerDecision::Fail
                {
                    let target = format!("topic {}", topic.name);
                    return Err(Error::new(ErrorKind::Serialization { part, target, cause }));
                }
                self.drop_record(DropReason::Production);
                return self.dead_letter(&handlers, &*cause, None, record.timestamp);
            }
        };
        let route = match partition {
            Some(partition) => Route::Partition(partition),
            None => Route::Key(key.map(|key| key_serde.partition_bytes(key))),
        };
        let timestamp = record.timestamp;
        let sent = self.host.send(Outgoing {
            topic,
            route,
            key,
            value,
            timestamp,
            headers: record.headers,
        });
        match sent {
            Err(error) if matches!(error.kind(), ErrorKind::TooLarge { .. }) => {
                self.refused(topic, timestamp, error)
            }
            sent => sent,
        }
    }

    /// The production handler's say on a record that the producer refused.
    #[cold]
    fn refused(&mut self, topic: &SinkTopic, timestamp: Timestamp, error: Error) -> Result {
        let handlers = Arc::clone(&self.env.handlers);
        if (handlers.production)(&topic.name, self.source, &error) == HandlerDecision::Fail {
            return Err(error);
        }
        self.drop_record(DropReason::Production);
        self.dead_letter(&handlers, &error, None, timestamp)
    }
}

/// A node's children, all of one type, in the order in which they were attached.
pub struct Children<K, V> {
    nodes: Box<[u32]>,
    types: PhantomData<fn(&K, &V)>,
}

impl<K: 'static, V: 'static> Children<K, V> {
    /// The nodes of these positions in the task's vector.
    #[must_use]
    pub fn new(nodes: &[u32]) -> Self {
        Self { nodes: nodes.into(), types: PhantomData }
    }

    /// Pushes a record to each, depth first.
    ///
    /// # Errors
    /// The first child's that fails fatally.
    #[inline]
    pub fn forward(&self, record: Record<'_, K, V>, ctx: &mut Context<'_>) -> Result {
        for child in &self.nodes {
            ctx.forward(*child, record)?;
        }
        Ok(())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

pub(crate) fn run_init(slot: &mut Slot, ctx: &mut Context<'_>) -> Result {
    (slot.init)(&mut *slot.operator, ctx)
}

pub(crate) fn run_flush(slot: &mut Slot, ctx: &mut Context<'_>) -> Result {
    (slot.flush)(&mut *slot.operator, ctx)
}

pub(crate) fn run_punctuate(
    slot: &mut Slot,
    id: ScheduleId,
    at: Timestamp,
    ctx: &mut Context<'_>,
) -> Result {
    (slot.punctuate)(&mut *slot.operator, id, at, ctx)
}

pub(crate) fn run_source(slot: &mut Slot, ctx: &mut Context<'_>) -> Result {
    raw_input(&mut *slot.operator)?.receive(ctx)
}

pub(crate) fn run_expired(slot: &mut Slot, entry: &Expired, ctx: &mut Context<'_>) -> Result {
    (slot.expired)(&mut *slot.operator, entry, ctx)
}
