//! Operators of the user's own: the processor API.
//!
//! ```
//! use tidemill_topology::prelude::*;
//!
//! /// Forwards how often each key came.
//! struct Counter {
//!     counts: Option<KeyValueHandle<String, i64>>,
//! }
//!
//! impl Processor<String, String> for Counter {
//!     type KeyOut = String;
//!     type ValueOut = i64;
//!
//!     fn init(&mut self, ctx: &mut ProcessorContext<'_, '_, String, i64>) -> Result {
//!         self.counts = Some(ctx.key_value("counts")?);
//!         Ok(())
//!     }
//!
//!     fn process(
//!         &mut self,
//!         record: Record<'_, String, String>,
//!         ctx: &mut ProcessorContext<'_, '_, String, i64>,
//!     ) -> Result {
//!         let Some(handle) = &self.counts else { return Ok(()) };
//!         let mut counts = ctx.store(handle, record.timestamp);
//!         let count = counts.get(record.key)?.unwrap_or(0) + 1;
//!         counts.put(record.key, &count)?;
//!         ctx.forward(record.with_value(&count))
//!     }
//! }
//!
//! let builder = StreamsBuilder::new();
//! builder.add_state_store(Stores::key_value("counts", Utf8, I64));
//! builder
//!     .stream("words", Consumed::with(Utf8, Utf8))
//!     .process(|| Counter { counts: None }, &["counts"])
//!     .to("counted", Produced::with(Utf8, I64));
//! assert_eq!(builder.build().unwrap().subtopologies().len(), 1);
//! ```

use std::any::Any;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::graph::{Store, StoreSerdes, Wiring};
use crate::node::{Children, Context, DropReason, Operator, PunctuationType, ScheduleId, TimeSlot};
use crate::record::{RawRecord, Record};
use crate::store::bytes::{BytesStore, StoreIndex};
use crate::store::global::GlobalHandle;
use crate::store::key_value::{
    KeyValue, KeyValueHandle, TableHandle, TimestampedHandle, ValueAndTimestamp,
};
use crate::store::session::SessionHandle;
use crate::store::sessions::Sessions;
use crate::store::spec::{StoreKind, StoreSpec};
use crate::store::versioned::{VersionedHandle, Versions};
use crate::store::window::{WindowHandle, Windows};
use crate::time::Timestamp;

/// A step written by the user: it may keep state, forward any number of records and be called by
/// the clock.
pub trait Processor<K: 'static, V: 'static>: Send + 'static {
    /// Key type of what it forwards.
    type KeyOut: 'static;
    /// Value type of what it forwards.
    type ValueOut: 'static;

    /// Called once, before any record: bind stores and schedules here.
    ///
    /// # Errors
    /// When it cannot start; the task stops.
    fn init(&mut self, ctx: &mut ProcessorContext<'_, '_, Self::KeyOut, Self::ValueOut>) -> Result {
        let _ = ctx;
        Ok(())
    }

    /// Takes one record.
    ///
    /// # Errors
    /// [`Error::processing`](crate::error::Error::processing) hands the record to the processing
    /// handler; errors of `ctx` are passed on with `?`.
    fn process(
        &mut self,
        record: Record<'_, K, V>,
        ctx: &mut ProcessorContext<'_, '_, Self::KeyOut, Self::ValueOut>,
    ) -> Result;

    /// Called when a schedule is due; `at` is the stream time or the wall clock.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    fn punctuate(
        &mut self,
        schedule: ScheduleId,
        at: Timestamp,
        ctx: &mut ProcessorContext<'_, '_, Self::KeyOut, Self::ValueOut>,
    ) -> Result {
        let _ = (schedule, at, ctx);
        Ok(())
    }

    /// Called once, when the task closes.
    fn close(&mut self) {}
}

/// Finds a store by name and types; what [`ProcessorContext::key_value`] asks.
type Bind<'c> = Option<&'c BoundStores>;

/// The stores that a processor was connected to, each bound to its types on demand.
pub(crate) struct BoundStores {
    stores: Vec<BoundStore>,
    /// Every global store of the topology, which all may read.
    globals: Vec<Store>,
}

struct BoundStore {
    name: String,
    index: StoreIndex,
    kind: StoreKind,
    /// The store's clock, if its kind has one.
    observed: Option<TimeSlot>,
    time_to_live_ms: Option<i64>,
    serdes: Arc<dyn Any + Send + Sync>,
}

impl BoundStores {
    pub(crate) fn new(wiring: &mut Wiring<'_>, names: &[String]) -> Result<Self> {
        let stores = names.iter().map(|name| {
            let index = wiring.store_index(name)?;
            let StoreSpec { kind, time_to_live_ms, .. } = *wiring.store_spec(name)?;
            let observed = match kind {
                StoreKind::Versioned { .. }
                | StoreKind::TimestampedWindow { .. }
                | StoreKind::Session { .. } => Some(wiring.store_time(name)?),
                _ => None,
            };
            let serdes = Arc::clone(&wiring.stores[wiring.task_stores[index.0]].serdes);
            Ok(BoundStore { name: name.clone(), index, kind, observed, time_to_live_ms, serdes })
        });
        let stores = stores.collect::<Result<_>>()?;
        let is_global = |store: &&Store| wiring.global_stores.contains(&store.spec.name);
        Ok(Self { stores, globals: wiring.stores.iter().filter(is_global).cloned().collect() })
    }
}

/// The serdes of a store of these types.
fn typed<'s, K: 'static, V: 'static>(
    name: &str,
    serdes: &'s Arc<dyn Any + Send + Sync>,
) -> Result<&'s StoreSerdes<K, V>> {
    serdes.downcast_ref().ok_or_else(|| {
        Error::wiring(format!(
            "store {name} does not hold ({}, {})",
            std::any::type_name::<K>(),
            std::any::type_name::<V>()
        ))
    })
}

/// What a processor can reach while it runs.
pub struct ProcessorContext<'c, 't, K, V> {
    ctx: &'c mut Context<'t>,
    children: &'c Children<K, V>,
    stores: Bind<'c>,
}

impl<'c, 't, K: 'static, V: 'static> ProcessorContext<'c, 't, K, V> {
    pub(crate) fn new(
        ctx: &'c mut Context<'t>,
        children: &'c Children<K, V>,
        stores: Option<&'c BoundStores>,
    ) -> Self {
        Self { ctx, children, stores }
    }

    /// Binds a key-value store that the processor was connected to; in `init`.
    ///
    /// # Errors
    /// When it was not connected, or holds other types.
    pub fn key_value<SK: 'static, SV: 'static>(
        &self,
        name: &str,
    ) -> Result<KeyValueHandle<SK, SV>> {
        let bound = self.bound(name)?;
        match bound.kind {
            StoreKind::KeyValue => self.handle(bound),
            // Entries that expire are kept with their timestamps.
            StoreKind::TimestampedKeyValue if bound.time_to_live_ms.is_some() => self.handle(bound),
            kind => Err(Error::wiring(format!(
                "store {name} is of kind {}; bind it with {}",
                kind.name(),
                match kind {
                    StoreKind::TimestampedKeyValue => "table",
                    StoreKind::Versioned { .. } => "versioned",
                    StoreKind::Session { .. } => "session",
                    _ => "window",
                }
            ))),
        }
    }

    /// Binds the store of a table that the processor was connected to, to read it; in `init`. The
    /// records that the processor is given must be in the same partitions as the table's.
    ///
    /// A table that is only there to be read like this is what Kafka Streams calls a read-only state
    /// store: with [`Optimization::ALL`](crate::graph::Optimization) its topic is its changelog.
    ///
    /// ```
    /// use tidemill_topology::prelude::*;
    ///
    /// /// Gives each order the price of its asset.
    /// struct Priced(Option<TableHandle<String, f64>>);
    ///
    /// impl Processor<String, i64> for Priced {
    ///     type KeyOut = String;
    ///     type ValueOut = f64;
    ///
    ///     fn init(&mut self, ctx: &mut ProcessorContext<'_, '_, String, f64>) -> Result {
    ///         self.0 = Some(ctx.table("prices")?);
    ///         Ok(())
    ///     }
    ///
    ///     fn process(
    ///         &mut self,
    ///         order: Record<'_, String, i64>,
    ///         ctx: &mut ProcessorContext<'_, '_, String, f64>,
    ///     ) -> Result {
    ///         let Some(prices) = &self.0 else { return Ok(()) };
    ///         match ctx.get_table(prices, order.key)? {
    ///             Some(price) => ctx.forward(order.with_value(&(price.value * *order.value as f64))),
    ///             None => Ok(()),
    ///         }
    ///     }
    /// }
    ///
    /// let builder = StreamsBuilder::new();
    /// builder.table("prices", Consumed::with(Utf8, F64), Materialized::named("prices", F64));
    /// builder
    ///     .stream("orders", Consumed::with(Utf8, I64))
    ///     .process(|| Priced(None), &["prices"])
    ///     .to("values", Produced::with(Utf8, F64));
    /// builder.build().unwrap();
    /// ```
    ///
    /// # Errors
    /// When it was not connected, is no table's store, or holds other types.
    pub fn table<SK: 'static, SV: 'static>(&self, name: &str) -> Result<TableHandle<SK, SV>> {
        let bound = self.bound(name)?;
        match bound.kind {
            StoreKind::TimestampedKeyValue => {
                Ok(TableHandle(TimestampedHandle(self.handle(bound)?)))
            }
            kind => Err(Error::wiring(format!(
                "store {name} is of kind {} and no table's",
                kind.name()
            ))),
        }
    }

    /// The value that a table's store has under a key, and since when.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn get_table<SK: 'static, SV: 'static>(
        &mut self,
        handle: &TableHandle<SK, SV>,
        key: &SK,
    ) -> Result<Option<ValueAndTimestamp<SV>>> {
        let mut bytes = std::mem::take(&mut self.ctx.env.buffers.key);
        handle.0.0.write_key(key, &mut bytes)?;
        let found = self.ctx.timestamped(&handle.0).get(&bytes);
        self.ctx.env.buffers.key = bytes;
        found
    }

    /// Binds a versioned store that the processor was connected to; in `init`.
    ///
    /// # Errors
    /// When it was not connected, keeps no versions, or holds other types.
    pub fn versioned<SK: 'static, SV: 'static>(
        &self,
        name: &str,
    ) -> Result<VersionedHandle<SK, SV>> {
        let bound = self.bound(name)?;
        let Some(observed) = bound.observed else {
            return Err(Error::wiring(format!(
                "store {name} keeps no versions; bind it with key_value"
            )));
        };
        VersionedHandle::new(self.handle(bound)?, bound.kind, observed)
    }

    /// Binds a global table or store, which a processor reads without being connected to it; in
    /// `init`.
    ///
    /// ```
    /// use tidemill_topology::prelude::*;
    ///
    /// /// Lets orders through that keep the limit of their asset.
    /// struct WithinLimit {
    ///     limits: Option<GlobalHandle<String, i64>>,
    /// }
    ///
    /// impl Processor<String, i64> for WithinLimit {
    ///     type KeyOut = String;
    ///     type ValueOut = i64;
    ///
    ///     fn init(&mut self, ctx: &mut ProcessorContext<'_, '_, String, i64>) -> Result {
    ///         self.limits = Some(ctx.global("limits")?);
    ///         Ok(())
    ///     }
    ///
    ///     fn process(
    ///         &mut self,
    ///         order: Record<'_, String, i64>,
    ///         ctx: &mut ProcessorContext<'_, '_, String, i64>,
    ///     ) -> Result {
    ///         let Some(limits) = &self.limits else { return Ok(()) };
    ///         match ctx.get_global(limits, order.key)? {
    ///             Some(limit) if *order.value > limit => Ok(()),
    ///             _ => ctx.forward(order),
    ///         }
    ///     }
    /// }
    ///
    /// let builder = StreamsBuilder::new();
    /// builder.global_table("limits", Consumed::with(Utf8, I64), Materialized::named("limits", I64));
    /// builder
    ///     .stream("orders", Consumed::with(Utf8, I64))
    ///     .process(|| WithinLimit { limits: None }, &[])
    ///     .to("checked", Produced::with(Utf8, I64));
    /// builder.build().unwrap();
    /// ```
    ///
    /// # Errors
    /// When there is no such global store, it holds other types, or it keeps versions or windows.
    pub fn global<SK: 'static, SV: 'static>(&self, name: &str) -> Result<GlobalHandle<SK, SV>> {
        let globals = self.stores.map_or(&[][..], |stores| &stores.globals);
        let store = globals.iter().find(|store| store.spec.name == name).ok_or_else(|| {
            Error::wiring(format!("no global table or store is named {name}; add it first"))
        })?;
        let serdes = typed::<SK, SV>(name, &store.serdes)?;
        match store.spec.kind {
            StoreKind::KeyValue | StoreKind::TimestampedKeyValue => Ok(GlobalHandle {
                name: name.to_owned(),
                key: serdes.key.clone(),
                value: serdes.value.clone(),
                has_timestamps: store.spec.kind.has_timestamps(),
            }),
            kind => Err(Error::wiring(format!(
                "global store {name} is of kind {}, which processors cannot look up",
                kind.name()
            ))),
        }
    }

    /// The value that a global table or store has under a key.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn get_global<SK: 'static, SV: 'static>(
        &mut self,
        handle: &GlobalHandle<SK, SV>,
        key: &SK,
    ) -> Result<Option<SV>> {
        handle.get(key, self.ctx)
    }

    /// Binds a window store that the processor was connected to; in `init`.
    ///
    /// # Errors
    /// When it was not connected, keeps no windows, or holds other types.
    pub fn window<SK: 'static, SV: 'static>(&self, name: &str) -> Result<WindowHandle<SK, SV>> {
        let bound = self.bound(name)?;
        let Some(observed) = bound.observed else {
            return Err(Error::wiring(format!(
                "store {name} keeps no windows; bind it with key_value"
            )));
        };
        WindowHandle::new(TimestampedHandle(self.handle(bound)?), bound.kind, observed)
    }

    /// Binds a session store that the processor was connected to; in `init`.
    ///
    /// # Errors
    /// When it was not connected, keeps no sessions, or holds other types.
    pub fn session<SK: 'static, SV: 'static>(&self, name: &str) -> Result<SessionHandle<SK, SV>> {
        let bound = self.bound(name)?;
        let Some(observed) = bound.observed else {
            return Err(Error::wiring(format!(
                "store {name} keeps no sessions; bind it with key_value"
            )));
        };
        SessionHandle::new(self.handle(bound)?, bound.kind, observed)
    }

    fn bound(&self, name: &str) -> Result<&'c BoundStore> {
        let known =
            self.stores.and_then(|stores| stores.stores.iter().find(|bound| bound.name == name));
        known.ok_or_else(|| {
            Error::wiring(format!(
                "the processor is not connected to a store named {name}; name it where you call process(..)"
            ))
        })
    }

    fn handle<SK: 'static, SV: 'static>(
        &self,
        bound: &BoundStore,
    ) -> Result<KeyValueHandle<SK, SV>> {
        let BoundStore { name, index, serdes, .. } = bound;
        let serdes = typed::<SK, SV>(name, serdes)?;
        Ok(KeyValueHandle {
            index: *index,
            name: name.clone(),
            key: serdes.key.clone(),
            value: serdes.value.clone(),
            has_timestamps: bound.kind == StoreKind::TimestampedKeyValue,
            time_to_live_ms: bound.time_to_live_ms,
        })
    }

    /// A store to read and write; `timestamp` is what its changelog records carry.
    pub fn store<'s, SK, SV>(
        &'s mut self,
        handle: &'s KeyValueHandle<SK, SV>,
        timestamp: Timestamp,
    ) -> KeyValue<'s, SK, SV> {
        KeyValue {
            handle,
            store: self.ctx.host.store(handle.index),
            buffers: &mut self.ctx.env.buffers,
            timestamp,
            now: self.ctx.env.stream_time,
        }
    }

    /// A versioned store to read and write.
    pub fn versions<'s, SK, SV>(
        &'s mut self,
        handle: &'s mut VersionedHandle<SK, SV>,
    ) -> Versions<'s, 't, SK, SV> {
        Versions { handle, ctx: self.ctx }
    }

    /// A window store to read and write.
    pub fn windows<'s, SK, SV>(
        &'s mut self,
        handle: &'s mut WindowHandle<SK, SV>,
    ) -> Windows<'s, 't, SK, SV> {
        Windows { handle, ctx: self.ctx }
    }

    /// A session store to read and write.
    pub fn sessions<'s, SK, SV>(
        &'s mut self,
        handle: &'s mut SessionHandle<SK, SV>,
    ) -> Sessions<'s, 't, SK, SV> {
        Sessions { handle, ctx: self.ctx }
    }

    /// A store in bytes, for processors that lay their entries out themselves and would otherwise
    /// copy each key and value once more.
    ///
    /// A store of one's own is such a layout with a type around it:
    ///
    /// ```
    /// use std::ops::ControlFlow;
    ///
    /// use tidemill_topology::prelude::*;
    /// use tidemill_topology::store::{BytesStore, KeyRange, Order};
    ///
    /// /// Scores in order, the lowest first, each with the player who made it.
    /// struct Scores<'s>(&'s mut dyn BytesStore);
    ///
    /// impl Scores<'_> {
    ///     fn add(&mut self, score: u64, player: &str, at: Timestamp) -> Result {
    ///         let mut key = score.to_be_bytes().to_vec();
    ///         key.extend_from_slice(player.as_bytes());
    ///         self.0.put(&key, &[], at)
    ///     }
    ///
    ///     fn highest(&mut self) -> Result<Option<u64>> {
    ///         let mut found = None;
    ///         let all = KeyRange { from: &[], to: None };
    ///         self.0.scan(all, Order::Backward, &mut |key, _| {
    ///             found = key.first_chunk().map(|score| u64::from_be_bytes(*score));
    ///             ControlFlow::Break(())
    ///         })?;
    ///         Ok(found)
    ///     }
    /// }
    ///
    /// /// Lets through what is higher than all before.
    /// struct Records(Option<KeyValueHandle<Vec<u8>, Vec<u8>>>);
    ///
    /// impl Processor<String, u64> for Records {
    ///     type KeyOut = String;
    ///     type ValueOut = u64;
    ///
    ///     fn init(&mut self, ctx: &mut ProcessorContext<'_, '_, String, u64>) -> Result {
    ///         self.0 = Some(ctx.key_value("scores")?);
    ///         Ok(())
    ///     }
    ///
    ///     fn process(
    ///         &mut self,
    ///         game: Record<'_, String, u64>,
    ///         ctx: &mut ProcessorContext<'_, '_, String, u64>,
    ///     ) -> Result {
    ///         let Some(handle) = &self.0 else { return Ok(()) };
    ///         let mut scores = Scores(ctx.bytes_store(handle));
    ///         let is_record = scores.highest()?.is_none_or(|highest| *game.value > highest);
    ///         scores.add(*game.value, game.key, game.timestamp)?;
    ///         if is_record { ctx.forward(game) } else { Ok(()) }
    ///     }
    /// }
    ///
    /// let builder = StreamsBuilder::new();
    /// builder.add_state_store(Stores::key_value("scores", Bytes, Bytes));
    /// builder
    ///     .stream("games", Consumed::with(Utf8, U64))
    ///     .process(|| Records(None), &["scores"])
    ///     .to("records", Produced::with(Utf8, U64));
    /// builder.build().unwrap();
    /// ```
    pub fn bytes_store<SK, SV>(&mut self, handle: &KeyValueHandle<SK, SV>) -> &mut dyn BytesStore {
        self.ctx.host.store(handle.index)
    }

    /// Pushes a record to every child.
    ///
    /// # Errors
    /// A child's fatal error; pass it on with `?`.
    #[inline]
    pub fn forward(&mut self, record: Record<'_, K, V>) -> Result {
        self.children.forward(record, self.ctx)
    }

    /// The record that is being processed, as it was read.
    #[must_use]
    pub fn source(&self) -> &RawRecord<'_> {
        self.ctx.source()
    }

    /// Highest timestamp that the task has seen.
    #[must_use]
    pub fn stream_time(&self) -> Timestamp {
        self.ctx.stream_time()
    }

    /// The wall clock.
    #[must_use]
    pub fn wall_clock(&self) -> Timestamp {
        self.ctx.wall_clock()
    }

    /// Asks for a call of [`Processor::punctuate`] every `interval_ms`.
    pub fn schedule(&mut self, interval_ms: i64, kind: PunctuationType) -> ScheduleId {
        self.ctx.schedule(interval_ms, kind)
    }

    /// Ends a schedule, at once.
    pub fn cancel(&mut self, schedule: ScheduleId) {
        self.ctx.cancel(schedule);
    }

    /// Counts a record that goes no further.
    pub fn drop_record(&mut self, reason: DropReason) {
        self.ctx.drop_record(reason);
    }
}

/// Runs a [`Processor`] as a node.
pub(crate) struct ProcessorNode<P, K, V> {
    processor: P,
    children: Children<K, V>,
    stores: BoundStores,
}

impl<P, K, V> ProcessorNode<P, K, V> {
    pub(crate) fn new(processor: P, children: Children<K, V>, stores: BoundStores) -> Self {
        Self { processor, children, stores }
    }
}

impl<KIn: 'static, VIn: 'static, P: Processor<KIn, VIn>> Operator<KIn, VIn>
    for ProcessorNode<P, P::KeyOut, P::ValueOut>
{
    fn init(&mut self, ctx: &mut Context<'_>) -> Result {
        self.processor.init(&mut ProcessorContext::new(ctx, &self.children, Some(&self.stores)))
    }

    #[inline]
    fn process(&mut self, record: Record<'_, KIn, VIn>, ctx: &mut Context<'_>) -> Result {
        self.processor
            .process(record, &mut ProcessorContext::new(ctx, &self.children, Some(&self.stores)))
    }

    fn punctuate(&mut self, schedule: ScheduleId, at: Timestamp, ctx: &mut Context<'_>) -> Result {
        let mut ctx = ProcessorContext::new(ctx, &self.children, Some(&self.stores));
        self.processor.punctuate(schedule, at, &mut ctx)
    }

    fn close(&mut self) {
        self.processor.close();
    }
}
