//! Stores for processors of the user's own.

use std::sync::Arc;
use std::time::Duration;

use crate::dsl::windowed::segment_ms;
use crate::dsl::windows::{EmitStrategy, millis};
use crate::graph::Store;
use crate::serde::Serde;
use crate::store::engine::{EngineFactory, StoreEngine};
use crate::store::spec::{StoreKind, StoreSpec};

/// Declares stores for [`add_state_store`](super::builder::StreamsBuilder::add_state_store).
pub struct Stores;

impl Stores {
    /// A persistent key-value store with a changelog.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// builder.add_state_store(Stores::key_value("counts", Utf8, I64));
    /// # builder.stream("words", Consumed::with(Utf8, Utf8));
    /// # builder.build().unwrap();
    /// ```
    pub fn key_value<K: 'static, V: 'static>(
        name: impl Into<String>,
        key: impl Serde<K>,
        value: impl Serde<V>,
    ) -> Store {
        Store::new(StoreSpec::new(name, StoreKind::KeyValue), Arc::new(key), Arc::new(value))
    }

    /// A persistent versioned store with a changelog: it knows the value that each key had at any
    /// time up to `history` before the highest timestamp put.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidemill_topology::prelude::*;
    ///
    /// /// Answers each question, a time, with the price as of then.
    /// struct PriceAsOf {
    ///     prices: Option<VersionedHandle<String, i64>>,
    /// }
    ///
    /// impl Processor<String, i64> for PriceAsOf {
    ///     type KeyOut = String;
    ///     type ValueOut = i64;
    ///
    ///     fn init(&mut self, ctx: &mut ProcessorContext<'_, '_, String, i64>) -> Result {
    ///         self.prices = Some(ctx.versioned("prices")?);
    ///         Ok(())
    ///     }
    ///
    ///     fn process(
    ///         &mut self,
    ///         record: Record<'_, String, i64>,
    ///         ctx: &mut ProcessorContext<'_, '_, String, i64>,
    ///     ) -> Result {
    ///         let Some(prices) = &mut self.prices else { return Ok(()) };
    ///         let asked = Timestamp::new(*record.value);
    ///         match ctx.versions(prices).get_as_of(record.key, asked)? {
    ///             Some(price) => ctx.forward(record.with_value(&price.value)),
    ///             None => Ok(()),
    ///         }
    ///     }
    /// }
    ///
    /// let builder = StreamsBuilder::new();
    /// builder.add_state_store(Stores::versioned("prices", Utf8, I64, Duration::from_secs(3600)));
    /// builder
    ///     .stream("questions", Consumed::with(Utf8, I64))
    ///     .process(|| PriceAsOf { prices: None }, &["prices"])
    ///     .to("answers", Produced::with(Utf8, I64));
    /// builder.build().unwrap();
    /// ```
    pub fn versioned<K: 'static, V: 'static>(
        name: impl Into<String>,
        key: impl Serde<K>,
        value: impl Serde<V>,
        history: Duration,
    ) -> Store {
        let kind = StoreKind::Versioned { history_ms: millis(history) };
        Store::new(StoreSpec::new(name, kind), Arc::new(key), Arc::new(value))
    }

    /// A persistent window store with a changelog: a value by key and window start. What started
    /// longer than `retention` before the latest start put is dropped, from the changelog as well.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidemill_topology::prelude::*;
    ///
    /// /// Forwards a key once an hour at most.
    /// struct OnceAnHour {
    ///     seen: Option<WindowHandle<String, i64>>,
    /// }
    ///
    /// const HOUR: Duration = Duration::from_secs(3_600);
    ///
    /// impl Processor<String, i64> for OnceAnHour {
    ///     type KeyOut = String;
    ///     type ValueOut = i64;
    ///
    ///     fn init(&mut self, ctx: &mut ProcessorContext<'_, '_, String, i64>) -> Result {
    ///         self.seen = Some(ctx.window("seen")?);
    ///         Ok(())
    ///     }
    ///
    ///     fn process(
    ///         &mut self,
    ///         record: Record<'_, String, i64>,
    ///         ctx: &mut ProcessorContext<'_, '_, String, i64>,
    ///     ) -> Result {
    ///         let Some(handle) = &mut self.seen else { return Ok(()) };
    ///         let hour = record.timestamp.millis() / 3_600_000 * 3_600_000;
    ///         let mut seen = ctx.windows(handle);
    ///         if seen.get(record.key, Timestamp::new(hour))?.is_some() {
    ///             return Ok(());
    ///         }
    ///         seen.put(record.key, Timestamp::new(hour), Some(record.value), record.timestamp)?;
    ///         ctx.forward(record)
    ///     }
    /// }
    ///
    /// let builder = StreamsBuilder::new();
    /// builder.add_state_store(Stores::window("seen", Utf8, I64, HOUR, 2 * HOUR));
    /// builder
    ///     .stream("events", Consumed::with(Utf8, I64))
    ///     .process(|| OnceAnHour { seen: None }, &["seen"])
    ///     .to("hourly", Produced::with(Utf8, I64));
    /// builder.build().unwrap();
    /// ```
    pub fn window<K: 'static, V: 'static>(
        name: impl Into<String>,
        key: impl Serde<K>,
        value: impl Serde<V>,
        window: Duration,
        retention: Duration,
    ) -> Store {
        let retention_ms = millis(retention);
        let kind = StoreKind::TimestampedWindow {
            window_ms: millis(window),
            retention_ms,
            segment_ms: segment_ms(EmitStrategy::OnWindowUpdate, retention_ms, 0),
        };
        Store::new(StoreSpec::new(name, kind), Arc::new(key), Arc::new(value))
    }

    /// A persistent session store with a changelog: a value by key, start and end. What ended longer
    /// than `retention` before the latest end put is dropped, from the changelog as well.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use std::time::Duration;
    /// use tidemill_topology::prelude::*;
    ///
    /// /// Tells how long a visitor has been here: until nothing was heard for a minute.
    /// struct Visits {
    ///     visits: Option<SessionHandle<String, i64>>,
    /// }
    ///
    /// const GAP_MS: i64 = 60_000;
    ///
    /// impl Processor<String, i64> for Visits {
    ///     type KeyOut = String;
    ///     type ValueOut = i64;
    ///
    ///     fn init(&mut self, ctx: &mut ProcessorContext<'_, '_, String, i64>) -> Result {
    ///         self.visits = Some(ctx.session("visits")?);
    ///         Ok(())
    ///     }
    ///
    ///     fn process(
    ///         &mut self,
    ///         click: Record<'_, String, i64>,
    ///         ctx: &mut ProcessorContext<'_, '_, String, i64>,
    ///     ) -> Result {
    ///         let Some(handle) = &mut self.visits else { return Ok(()) };
    ///         let at = click.timestamp;
    ///         let mut visits = ctx.sessions(handle);
    ///         let (mut visit, mut clicks) = (Window { start: at, end: at }, 1);
    ///         let mut earlier = Vec::new();
    ///         visits.fetch(click.key, at - GAP_MS, at + GAP_MS, Order::Forward, |session, count| {
    ///             visit.start = visit.start.min(session.start);
    ///             visit.end = visit.end.max(session.end);
    ///             clicks += count;
    ///             earlier.push(session);
    ///             Ok(ControlFlow::Continue(()))
    ///         })?;
    ///         for session in earlier {
    ///             visits.remove(click.key, session, at)?;
    ///         }
    ///         visits.put(click.key, visit, &clicks, at)?;
    ///         ctx.forward(click.with_value(&(visit.end - visit.start)))
    ///     }
    /// }
    ///
    /// let builder = StreamsBuilder::new();
    /// builder.add_state_store(Stores::session("visits", Utf8, I64, Duration::from_secs(3_600)));
    /// builder
    ///     .stream("clicks", Consumed::with(Utf8, I64))
    ///     .process(|| Visits { visits: None }, &["visits"])
    ///     .to("lengths", Produced::with(Utf8, I64));
    /// builder.build().unwrap();
    /// ```
    pub fn session<K: 'static, V: 'static>(
        name: impl Into<String>,
        key: impl Serde<K>,
        value: impl Serde<V>,
        retention: Duration,
    ) -> Store {
        let retention_ms = millis(retention);
        let kind = StoreKind::Session {
            retention_ms,
            segment_ms: segment_ms(EmitStrategy::OnWindowUpdate, retention_ms, 0),
        };
        Store::new(StoreSpec::new(name, kind), Arc::new(key), Arc::new(value))
    }
}

impl Store {
    /// Kept in memory alone; restored from its changelog at each start.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// builder.add_state_store(Stores::key_value("counts", Utf8, I64).in_memory());
    /// # builder.stream("words", Consumed::with(Utf8, Utf8));
    /// # builder.build().unwrap();
    /// ```
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.spec.persistent = false;
        self
    }

    /// Kept by an engine of one's own, which is filled from the store's changelog at each start; see
    /// [`engine`](crate::store::engine).
    #[must_use]
    pub fn with_engine<E: StoreEngine + 'static>(
        mut self,
        make: impl Fn() -> E + Send + Sync + 'static,
    ) -> Self {
        self.spec.persistent = false;
        self.spec.engine = Some(EngineFactory::new(make));
        self
    }

    /// Without a changelog: what is lost with the disk is lost.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// builder.add_state_store(Stores::key_value("cache", Utf8, I64).without_logging());
    /// # builder.stream("words", Consumed::with(Utf8, Utf8));
    /// # builder.build().unwrap();
    /// ```
    #[must_use]
    pub fn without_logging(mut self) -> Self {
        self.spec.logged = false;
        self
    }
}

impl Store {
    /// Lets each entry live for that long past the timestamp that it was put with, by the task's
    /// stream time, which is the highest timestamp of its records. It is then deleted, from the
    /// changelog as well. Such a store keeps the timestamps beside its values, and a put reads what
    /// it takes the place of.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidemill_topology::prelude::*;
    ///
    /// /// Lets the first payment of each id through, and another one an hour after the last.
    /// struct Once(Option<KeyValueHandle<String, i64>>);
    ///
    /// impl Processor<String, i64> for Once {
    ///     type KeyOut = String;
    ///     type ValueOut = i64;
    ///
    ///     fn init(&mut self, ctx: &mut ProcessorContext<'_, '_, String, i64>) -> Result {
    ///         self.0 = Some(ctx.key_value("seen")?);
    ///         Ok(())
    ///     }
    ///
    ///     fn process(
    ///         &mut self,
    ///         payment: Record<'_, String, i64>,
    ///         ctx: &mut ProcessorContext<'_, '_, String, i64>,
    ///     ) -> Result {
    ///         let Some(handle) = &self.0 else { return Ok(()) };
    ///         let mut seen = ctx.store(handle, payment.timestamp);
    ///         let is_new = seen.get(payment.key)?.is_none();
    ///         seen.put(payment.key, payment.value)?;
    ///         if is_new { ctx.forward(payment) } else { Ok(()) }
    ///     }
    /// }
    ///
    /// let builder = StreamsBuilder::new();
    /// let seen = Stores::key_value("seen", Utf8, I64).time_to_live(Duration::from_secs(3_600));
    /// builder.add_state_store(seen);
    /// builder
    ///     .stream("payments", Consumed::with(Utf8, I64))
    ///     .process(|| Once(None), &["seen"])
    ///     .to("payments-once", Produced::with(Utf8, I64));
    /// builder.build().unwrap();
    /// ```
    ///
    /// Seen as bytes (`ProcessorContext::bytes_store`), its values start with eight bytes of
    /// timestamp, and an entry that has just expired may still be there.
    #[must_use]
    pub fn time_to_live(mut self, time_to_live: Duration) -> Self {
        if self.spec.kind == StoreKind::KeyValue {
            self.spec.kind = StoreKind::TimestampedKeyValue;
        }
        self.spec.time_to_live_ms = Some(millis(time_to_live));
        self
    }
}
