//! Streams aggregated together: each with an aggregator of its own, into one table.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::dsl::aggregation::{MakeAggregate, add_aggregate};
use crate::dsl::builder::PlanRef;
use crate::dsl::grouped::{KGroupedStream, make_aggregate};
use crate::dsl::options::Materialized;
use crate::dsl::session_windowed::{make_session_aggregate, session_store};
use crate::dsl::table::{KTable, TableStore};
use crate::dsl::windowed::{FixedWindows, window_store};
use crate::dsl::windows::{EmitStrategy, SessionWindows, SlidingWindows, TimeWindows};
use crate::node::Slot;
use crate::operators::change::Change;
use crate::operators::pass_through::PassThrough;
use crate::serde::{SerdeRef, SessionWindowed, TimeWindowed};
use crate::time::Windowed;

const AGGREGATE: &str = "COGROUPKSTREAM-AGGREGATE-";
const MERGE: &str = "COGROUPKSTREAM-MERGE-";

type Initializer<A> = Arc<dyn Fn() -> A + Send + Sync>;
type Merger<K, A> = Arc<dyn Fn(&K, Option<A>, &A) -> Option<A> + Send + Sync>;

type ByKey = Box<dyn Fn(&str) -> (usize, BTreeSet<Arc<str>>)>;
type Make<K, A> = Box<dyn Fn(&Initializer<A>, &Span<K, A>) -> MakeAggregate>;

/// Over what records are folded.
enum Span<K, A> {
    AllTime,
    Time(TimeWindows),
    Sliding(SlidingWindows),
    Session(SessionWindows, Merger<K, A>),
}

/// One of the streams, its type hidden: what leads to it, and how it is folded.
struct Input<K, A> {
    /// The node that has the stream by key, and its source topics, given the name of the store.
    by_key: ByKey,
    make: Make<K, A>,
}

/// Grouped streams that are to be aggregated together; from [`KGroupedStream::cogroup`].
pub struct CogroupedStream<K, A> {
    plan: PlanRef,
    key: SerdeRef<K>,
    inputs: Vec<Input<K, A>>,
}

/// [`CogroupedStream`]s by window; from [`CogroupedStream::windowed_by`].
pub struct WindowedCogroupedStream<K, A, W> {
    cogrouped: CogroupedStream<K, A>,
    windows: W,
}

impl<K: Clone + Send + 'static, V: 'static> KGroupedStream<K, V> {
    /// Aggregates this stream together with others of the same key, each by its own aggregator.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let grouped = |topic: &str| {
    /// #     builder.stream(topic, Consumed::with(Utf8, I64)).group_by_key(Grouped::with(Utf8, I64))
    /// # };
    /// let (deposits, withdrawals) = (grouped("deposits"), grouped("withdrawals"));
    /// deposits
    ///     .cogroup(|_, amount, balance| Some(balance + amount))
    ///     .cogroup(&withdrawals, |_, amount, balance| Some(balance - amount))
    ///     .aggregate(|| 0, Materialized::named("balances", I64));
    /// # builder.build().unwrap();
    /// ```
    pub fn cogroup<A: Clone + Send + 'static>(
        &self,
        aggregator: impl Fn(&K, &V, A) -> Option<A> + Send + Sync + 'static,
    ) -> CogroupedStream<K, A> {
        let plan = self.stream.plan.clone();
        CogroupedStream { plan, key: self.grouped.key.clone(), inputs: Vec::new() }
            .cogroup(self, aggregator)
    }
}

impl<K: Clone + Send + 'static, A: Clone + Send + 'static> CogroupedStream<K, A> {
    /// Adds a stream and its aggregator; see [`KGroupedStream::cogroup`].
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// let east = builder.stream("east", Consumed::with(Utf8, I64)).group_by_key(Grouped::with(Utf8, I64));
    /// let west = builder.stream("west", Consumed::with(Utf8, I64)).group_by_key(Grouped::with(Utf8, I64));
    /// east.cogroup(|_, sales, total| Some(total + sales))
    ///     .cogroup(&west, |_, sales, total| Some(total + sales))
    ///     .aggregate(|| 0, Materialized::named("sales", I64));
    /// # builder.build().unwrap();
    /// ```
    #[must_use]
    pub fn cogroup<V: 'static>(
        mut self,
        stream: &KGroupedStream<K, V>,
        aggregator: impl Fn(&K, &V, A) -> Option<A> + Send + Sync + 'static,
    ) -> Self {
        let source = KGroupedStream::new(stream.stream.clone(), stream.grouped.clone());
        let by_key = Box::new(move |store: &str| {
            let input = source.by_key_of_cogroup(store);
            (input.node, input.sources)
        });
        let (aggregator, value) = (Arc::new(aggregator), stream.grouped.value.clone());
        let make = Box::new(move |initializer: &Initializer<A>, span: &Span<K, A>| {
            let (aggregator, initializer) = (Arc::clone(&aggregator), Arc::clone(initializer));
            let first = Arc::clone(&initializer);
            let initial = Arc::new(move || Some(first()));
            let fold = Arc::new(move |key: &K, new: &V, so_far: Option<A>| {
                aggregator(key, new, so_far.unwrap_or_else(|| initializer()))
            });
            let (value, emit) = (value.clone(), EmitStrategy::OnWindowUpdate);
            match span {
                Span::AllTime => make_aggregate(fold, value),
                Span::Time(windows) => windows.aggregate(fold, value, initial, emit),
                Span::Sliding(windows) => windows.aggregate(fold, value, initial, emit),
                Span::Session(windows, merger) => {
                    let merger = Arc::clone(merger);
                    let merge =
                        Arc::new(move |key: &K, so_far, other: &A| merger(key, so_far, other));
                    make_session_aggregate::<K, V, A, _, _>(*windows, fold, merge, emit)
                }
            }
        });
        self.inputs.push(Input { by_key, make });
        self
    }

    /// Folds each key's records into an aggregate, starting from `initializer`; see
    /// [`KGroupedStream::cogroup`].
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// let east = builder.stream("east", Consumed::with(Utf8, I64)).group_by_key(Grouped::with(Utf8, I64));
    /// # let west = builder.stream("west", Consumed::with(Utf8, I64)).group_by_key(Grouped::with(Utf8, I64));
    /// east.cogroup(|_, sales, total| Some(total + sales)).aggregate(|| 0, Materialized::named("sales", I64));
    /// # builder.build().unwrap();
    /// ```
    pub fn aggregate(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        materialized: Materialized<A>,
    ) -> KTable<K, A> {
        let name = self.plan.store_name(materialized.name.as_deref(), AGGREGATE);
        let store =
            TableStore::new(name, &materialized, self.key.clone(), materialized.value.clone());
        self.fold(
            Arc::new(initializer),
            &Span::AllTime,
            store,
            self.key.clone(),
            materialized,
            None,
        )
    }

    /// Folds by window: [`TimeWindows`], [`SlidingWindows`] or [`SessionWindows`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let grouped = |topic: &str| {
    /// #     builder.stream(topic, Consumed::with(Utf8, I64)).group_by_key(Grouped::with(Utf8, I64))
    /// # };
    /// let (deposits, withdrawals) = (grouped("deposits"), grouped("withdrawals"));
    /// deposits
    ///     .cogroup(|_, amount, change| Some(change + amount))
    ///     .cogroup(&withdrawals, |_, amount, change| Some(change - amount))
    ///     .windowed_by(TimeWindows::of(Duration::from_secs(3600)))
    ///     .aggregate(|| 0, Materialized::named("hourly-change", I64));
    /// # builder.build().unwrap();
    /// ```
    pub fn windowed_by<W>(self, windows: W) -> WindowedCogroupedStream<K, A, W> {
        WindowedCogroupedStream { cogrouped: self, windows }
    }

    /// Adds a node a stream, all over one store, and one that merges their results.
    fn fold<K2: 'static>(
        &self,
        initializer: Initializer<A>,
        span: &Span<K, A>,
        store: TableStore,
        key: SerdeRef<K2>,
        materialized: Materialized<A>,
        window_grace_ms: Option<i64>,
    ) -> KTable<K2, A> {
        let plan = &self.plan;
        let store_name = store.name();
        let mut sources = BTreeSet::new();
        let by_key: Vec<usize> = self
            .inputs
            .iter()
            .map(|input| {
                let (node, topics) = (input.by_key)(&store_name);
                sources.extend(topics);
                node
            })
            .collect();
        let nodes: Vec<usize> = std::iter::zip(&self.inputs, by_key)
            .map(|(input, node)| {
                let make = (input.make)(&initializer, span);
                add_aggregate(plan, node, &plan.name(None, AGGREGATE), &store, make)
            })
            .collect();
        let name = plan.name(None, MERGE);
        let node = plan.processor(
            &nodes,
            &name,
            &[],
            Arc::new(|wiring| {
                Ok(Slot::new(PassThrough::<K2, Change<A>> { children: wiring.children() }))
            }),
        );
        if let Some(grace_ms) = window_grace_ms {
            plan.set_window_grace_ms(node, grace_ms);
        }
        KTable {
            plan: plan.clone(),
            node,
            name,
            key,
            value: Some(materialized.value),
            store,
            sources,
            computed: None,
        }
    }
}

impl<K: Clone + Send + 'static, A: Clone + Send + 'static>
    WindowedCogroupedStream<K, A, TimeWindows>
{
    /// Folds the records of each key's window into an aggregate; see
    /// [`CogroupedStream::windowed_by`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// let sales = builder.stream("sales", Consumed::with(Utf8, I64)).group_by_key(Grouped::with(Utf8, I64));
    /// sales
    ///     .cogroup(|_, sale, total| Some(total + sale))
    ///     .windowed_by(TimeWindows::of(Duration::from_secs(60)))
    ///     .aggregate(|| 0, Materialized::named("totals", I64));
    /// # builder.build().unwrap();
    /// ```
    pub fn aggregate(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        materialized: Materialized<A>,
    ) -> KTable<Windowed<K>, A> {
        self.over(initializer, Span::Time(self.windows), materialized)
    }
}

impl<K: Clone + Send + 'static, A: Clone + Send + 'static>
    WindowedCogroupedStream<K, A, SlidingWindows>
{
    /// Folds the records of each key's window into an aggregate; see
    /// [`CogroupedStream::windowed_by`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// let sales = builder.stream("sales", Consumed::with(Utf8, I64)).group_by_key(Grouped::with(Utf8, I64));
    /// sales
    ///     .cogroup(|_, sale, total| Some(total + sale))
    ///     .windowed_by(SlidingWindows::of(Duration::from_secs(60)))
    ///     .aggregate(|| 0, Materialized::named("totals", I64));
    /// # builder.build().unwrap();
    /// ```
    pub fn aggregate(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        materialized: Materialized<A>,
    ) -> KTable<Windowed<K>, A> {
        self.over(initializer, Span::Sliding(self.windows), materialized)
    }
}

impl<K: Clone + Send + 'static, A: Clone + Send + 'static, W: FixedWindows>
    WindowedCogroupedStream<K, A, W>
{
    fn over(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        span: Span<K, A>,
        materialized: Materialized<A>,
    ) -> KTable<Windowed<K>, A> {
        let Self { cogrouped, windows } = self;
        let (plan, key) = (&cogrouped.plan, cogrouped.key.clone());
        let name = plan.store_name(materialized.name.as_deref(), AGGREGATE);
        let emit = EmitStrategy::OnWindowUpdate;
        let store = window_store(plan, &name, windows, emit, key.clone(), &materialized);
        let windowed: SerdeRef<Windowed<K>> = Arc::new(TimeWindowed::new(key, windows.length_ms()));
        let grace_ms = Some(windows.late_ms());
        cogrouped.fold(Arc::new(initializer), &span, store, windowed, materialized, grace_ms)
    }
}

impl<K: Clone + Send + 'static, A: Clone + Send + 'static>
    WindowedCogroupedStream<K, A, SessionWindows>
{
    /// Folds the records of each key's session into an aggregate; `merger` joins the aggregates of
    /// sessions that merge, starting from a fresh one.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let clicks = builder.stream("clicks", Consumed::with(Utf8, I64));
    /// clicks
    ///     .group_by_key(Grouped::with(Utf8, I64))
    ///     .cogroup(|_, weight, sum| Some(sum + weight))
    ///     .windowed_by(SessionWindows::of(Duration::from_secs(30)))
    ///     .aggregate(|| 0, |_, sum, other| Some(sum + other), Materialized::named("sessions", I64));
    /// # builder.build().unwrap();
    /// ```
    pub fn aggregate(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        merger: impl Fn(&K, A, &A) -> Option<A> + Send + Sync + 'static,
        materialized: Materialized<A>,
    ) -> KTable<Windowed<K>, A> {
        let Self { cogrouped, windows } = self;
        let (plan, key) = (&cogrouped.plan, cogrouped.key.clone());
        let initializer: Initializer<A> = Arc::new(initializer);
        let fresh = Arc::clone(&initializer);
        let merger: Merger<K, A> = Arc::new(move |key, so_far, other| {
            merger(key, so_far.unwrap_or_else(|| fresh()), other)
        });
        let name = plan.store_name(materialized.name.as_deref(), AGGREGATE);
        let emit = EmitStrategy::OnWindowUpdate;
        let store = session_store(plan, &name, *windows, emit, key.clone(), &materialized);
        let windowed: SerdeRef<Windowed<K>> = Arc::new(SessionWindowed(key));
        let span = Span::Session(*windows, merger);
        cogrouped.fold(
            initializer,
            &span,
            store,
            windowed,
            materialized,
            Some(windows.closes_after_ms()),
        )
    }
}
