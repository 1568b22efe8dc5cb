//! Aggregations by tumbling, hopping and sliding window; [`session_windowed`] has those by session.
//!
//! [`session_windowed`]: crate::dsl::session_windowed

use std::sync::Arc;

use crate::dsl::aggregation::{MakeAggregate, add_aggregate};
use crate::dsl::builder::PlanRef;
use crate::dsl::grouped::KGroupedStream;
use crate::dsl::options::Materialized;
use crate::dsl::table::{KTable, TableStore};
use crate::dsl::windows::{EmitStrategy, SessionWindows, SlidingWindows, TimeWindows};
use crate::node::Slot;
use crate::operators::sliding_aggregate::SlidingAggregate;
use crate::operators::window_results::WindowResults;
use crate::operators::windowed_aggregate::WindowedAggregate;
use crate::serde::{SerdeRef, TimeWindowed};
use crate::store::spec::StoreKind;
use crate::time::Windowed;

/// A grouped stream by window; from [`KGroupedStream::windowed_by`].
pub struct WindowedStream<K, V, W> {
    pub(crate) grouped: KGroupedStream<K, V>,
    pub(crate) windows: W,
    pub(crate) emit: EmitStrategy,
}

/// A grouped stream by tumbling or hopping window.
pub type TimeWindowedStream<K, V> = WindowedStream<K, V, TimeWindows>;
/// A grouped stream by sliding window.
pub type SlidingWindowedStream<K, V> = WindowedStream<K, V, SlidingWindows>;
/// A grouped stream by session.
pub type SessionWindowedStream<K, V> = WindowedStream<K, V, SessionWindows>;

impl<K, V, W> WindowedStream<K, V, W> {
    /// When the results come out: with each update, unless told.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// words
    ///     .group_by_key(Grouped::with(Utf8, Utf8))
    ///     .windowed_by(TimeWindows::of(Duration::from_secs(60)))
    ///     .emit_strategy(EmitStrategy::OnWindowClose)
    ///     .count(Materialized::named("final-per-minute", I64));
    /// # builder.build().unwrap();
    /// ```
    ///
    /// A store's caching has no effect on results that come out on close.
    #[must_use]
    pub fn emit_strategy(self, emit: EmitStrategy) -> Self {
        Self { emit, ..self }
    }
}

/// What a new window counts as having held. Kafka Streams sends an initializer's value along as the
/// old one of a window's first result, so that a table grouped from it subtracts that value.
pub type Initial<A> = Arc<dyn Fn() -> Option<A> + Send + Sync>;

/// Windows whose length is fixed: [`TimeWindows`] and [`SlidingWindows`].
pub trait FixedWindows: Copy + Send + Sync + 'static {
    /// From a window's start to its end, in ms.
    fn length_ms(&self) -> i64;

    /// How long after its end a window still takes records, in ms.
    fn late_ms(&self) -> i64;

    /// What a store has to retain at least, in ms.
    fn covered_ms(&self) -> i64;

    /// A span of starts whose windows close together or nearly so, in ms: the length of a segment
    /// in a store whose results come out on close.
    fn step_ms(&self) -> i64;

    /// Makes the node that folds records into these windows. `fold` gets what is there and says
    /// what shall be; `initial` is what a new window counts as having held.
    fn aggregate<K, V, A, F>(
        self,
        fold: Arc<F>,
        value: SerdeRef<V>,
        initial: Initial<A>,
        emit: EmitStrategy,
    ) -> MakeAggregate
    where
        K: Clone + Send + 'static,
        V: 'static,
        A: Clone + Send + 'static,
        F: Fn(&K, &V, Option<A>) -> Option<A> + Send + Sync + 'static;
}

impl FixedWindows for TimeWindows {
    fn length_ms(&self) -> i64 {
        self.size_ms()
    }

    fn late_ms(&self) -> i64 {
        self.grace_ms()
    }

    fn covered_ms(&self) -> i64 {
        self.size_ms().saturating_add(self.grace_ms())
    }

    fn step_ms(&self) -> i64 {
        self.advance_ms()
    }

    fn aggregate<K, V, A, F>(
        self,
        fold: Arc<F>,
        _: SerdeRef<V>,
        initial: Initial<A>,
        emit: EmitStrategy,
    ) -> MakeAggregate
    where
        K: Clone + Send + 'static,
        V: 'static,
        A: Clone + Send + 'static,
        F: Fn(&K, &V, Option<A>) -> Option<A> + Send + Sync + 'static,
    {
        Arc::new(move |wiring, store, send_old| {
            Ok(Slot::new::<K, V>(WindowedAggregate {
                fold: Arc::clone(&fold),
                windows: self,
                stream_time: wiring.time_slot(),
                results: WindowResults::<K, A>::bind(wiring, store, emit)?
                    .sending_old(send_old, Arc::clone(&initial)),
                key_bytes: Vec::new(),
            }))
        })
    }
}

impl FixedWindows for SlidingWindows {
    fn length_ms(&self) -> i64 {
        self.difference_ms()
    }

    fn late_ms(&self) -> i64 {
        self.grace_ms()
    }

    fn covered_ms(&self) -> i64 {
        self.difference_ms().saturating_mul(2).saturating_add(self.grace_ms())
    }

    fn step_ms(&self) -> i64 {
        self.difference_ms()
    }

    fn aggregate<K, V, A, F>(
        self,
        fold: Arc<F>,
        value: SerdeRef<V>,
        initial: Initial<A>,
        emit: EmitStrategy,
    ) -> MakeAggregate
    where
        K: Clone + Send + 'static,
        V: 'static,
        A: Clone + Send + 'static,
        F: Fn(&K, &V, Option<A>) -> Option<A> + Send + Sync + 'static,
    {
        Arc::new(move |wiring, store, send_old| {
            Ok(Slot::new::<K, V>(SlidingAggregate {
                fold: Arc::clone(&fold),
                windows: self,
                value: value.clone(),
                stream_time: wiring.time_slot(),
                results: WindowResults::<K, A>::bind(wiring, store, emit)?
                    .sending_old(send_old, Arc::clone(&initial)),
                key_bytes: Vec::new(),
                found: Vec::new(),
            }))
        })
    }
}

/// Segments are never shorter than this: each costs a range deletion when it expires.
const SHORTEST_SEGMENT_MS: i64 = 1_000;

/// Length of a windowed store's segments in ms: half the retention, as in Kafka Streams; where
/// results come out on close, `step_ms`, so that what closes together lies together.
pub(crate) fn segment_ms(emit: EmitStrategy, retention_ms: i64, step_ms: i64) -> i64 {
    match emit {
        EmitStrategy::OnWindowUpdate => (retention_ms / 2).max(60_000),
        EmitStrategy::OnWindowClose => step_ms.max(SHORTEST_SEGMENT_MS),
    }
}

/// The retention that was asked for, or the least possible.
pub(crate) fn retention_ms<A>(
    plan: &PlanRef,
    materialized: &Materialized<A>,
    store: &str,
    covered_ms: i64,
) -> i64 {
    let retention_ms = materialized.retention_ms.unwrap_or(covered_ms);
    if retention_ms < covered_ms {
        plan.error(format!(
            "store {store} retains {retention_ms} ms, but its windows with their grace need {covered_ms} ms"
        ));
    }
    retention_ms
}

/// The store of an aggregate over windows of a fixed length.
pub(crate) fn window_store<K: 'static, A: 'static>(
    plan: &PlanRef,
    name: &str,
    windows: &impl FixedWindows,
    emit: EmitStrategy,
    key: SerdeRef<K>,
    materialized: &Materialized<A>,
) -> TableStore {
    let retention_ms = retention_ms(plan, materialized, name, windows.covered_ms());
    let kind = StoreKind::TimestampedWindow {
        window_ms: windows.length_ms(),
        retention_ms,
        segment_ms: segment_ms(emit, retention_ms, windows.step_ms()),
    };
    TableStore::of_kind(name.to_owned(), materialized, kind, key, materialized.value.clone())
}

impl<K: Clone + Send + 'static, V: 'static, W: FixedWindows> WindowedStream<K, V, W> {
    /// How many records each key's window has had.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// words
    ///     .group_by_key(Grouped::with(Utf8, Utf8))
    ///     .windowed_by(SlidingWindows::of(Duration::from_secs(10)))
    ///     .count(Materialized::named("around-each-word", I64));
    /// # builder.build().unwrap();
    /// ```
    pub fn count(&self, materialized: Materialized<i64>) -> KTable<Windowed<K>, i64> {
        let fold = |_: &K, _: &V, count: Option<i64>| Some(count.unwrap_or(0) + 1);
        self.fold("KSTREAM-AGGREGATE-", materialized, Arc::new(|| Some(0)), fold)
    }

    /// Folds the values of each key's window into one of the same type, starting from the first.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let sales = builder.stream("sales", Consumed::with(Utf8, I64));
    /// sales
    ///     .group_by_key(Grouped::with(Utf8, I64))
    ///     .windowed_by(TimeWindows::of(Duration::from_secs(60)))
    ///     .reduce(|total, sale| Some(total + sale), Materialized::named("totals", I64));
    /// # builder.build().unwrap();
    /// ```
    pub fn reduce(
        &self,
        reducer: impl Fn(&V, &V) -> Option<V> + Send + Sync + 'static,
        materialized: Materialized<V>,
    ) -> KTable<Windowed<K>, V>
    where
        V: Clone + Send,
    {
        let fold = move |_: &K, value: &V, so_far: Option<V>| match so_far {
            Some(so_far) => reducer(&so_far, value),
            None => Some(value.clone()),
        };
        self.fold("KSTREAM-REDUCE-", materialized, Arc::new(|| None), fold)
    }

    /// Folds the values of each key's window into an aggregate; `None` deletes it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// words
    ///     .group_by_key(Grouped::with(Utf8, Utf8))
    ///     .windowed_by(TimeWindows::of(Duration::from_secs(60)).advance_by(Duration::from_secs(20)))
    ///     .aggregate(
    ///         || 0,
    ///         |_, word, letters| Some(letters + word.len() as i64),
    ///         Materialized::named("letters", I64),
    ///     );
    /// # builder.build().unwrap();
    /// ```
    pub fn aggregate<A: Clone + Send + 'static>(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        aggregator: impl Fn(&K, &V, A) -> Option<A> + Send + Sync + 'static,
        materialized: Materialized<A>,
    ) -> KTable<Windowed<K>, A> {
        let initializer = Arc::new(initializer);
        let first = Arc::clone(&initializer);
        self.fold(
            "KSTREAM-AGGREGATE-",
            materialized,
            Arc::new(move || Some(first())),
            move |key, value, so_far| {
                aggregator(key, value, so_far.unwrap_or_else(|| initializer()))
            },
        )
    }

    fn fold<A: Clone + Send + 'static>(
        &self,
        prefix: &str,
        mut materialized: Materialized<A>,
        initial: Initial<A>,
        fold: impl Fn(&K, &V, Option<A>) -> Option<A> + Send + Sync + 'static,
    ) -> KTable<Windowed<K>, A> {
        let Self { grouped, windows, emit } = self;
        let plan = &grouped.stream.plan;
        let key = grouped.grouped.key.clone();
        materialized.caching &= *emit == EmitStrategy::OnWindowUpdate;
        let store_name = plan.store_name(materialized.name.as_deref(), prefix);
        let name = plan.name(None, prefix);
        let input = grouped.by_key(&store_name);
        let store = window_store(plan, &store_name, windows, *emit, key.clone(), &materialized);
        let value = grouped.grouped.value.clone();
        let make = windows.aggregate(Arc::new(fold), value, initial, *emit);
        let node = add_aggregate(plan, input.node, &name, &store, make);
        plan.set_window_grace_ms(node, windows.late_ms());
        KTable {
            plan: plan.clone(),
            node,
            name,
            key: Arc::new(TimeWindowed::new(key, windows.length_ms())),
            value: Some(materialized.value),
            store,
            sources: input.sources,
            computed: None,
        }
    }
}
