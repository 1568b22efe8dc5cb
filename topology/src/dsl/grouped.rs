//! A grouped stream and its aggregations.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use crate::dsl::aggregation::{MakeAggregate, add_aggregate};
use crate::dsl::builder::RepartitionSettings;
use crate::dsl::options::{Grouped, Materialized};
use crate::dsl::stream::KStream;
use crate::dsl::table::{KTable, TableStore};
use crate::dsl::windowed::WindowedStream;
use crate::dsl::windows::EmitStrategy;
use crate::node::Slot;
use crate::operators::aggregate::Aggregate;
use crate::operators::held_table::HeldTable;
use crate::serde::SerdeRef;

/// A stream grouped by its key; from [`KStream::group_by_key`] and [`KStream::group_by`].
pub struct KGroupedStream<K, V> {
    pub(crate) stream: KStream<K, V>,
    pub(crate) grouped: Grouped<K, V>,
}

impl<K: 'static, V: 'static> KGroupedStream<K, V> {
    pub(crate) fn new(stream: KStream<K, V>, grouped: Grouped<K, V>) -> Self {
        Self { stream, grouped }
    }

    /// The stream by key: as it is, or through a repartition topic if its key has changed.
    pub(crate) fn by_key(&self, store: &str) -> KStream<K, V> {
        self.through(store, self.grouped.name.is_none() && crate::dsl::table::is_generated(store))
    }

    /// As [`by_key`](Self::by_key), with nodes that are called after their topic even where nobody
    /// has named it, as those of a cogrouping are.
    pub(crate) fn by_key_of_cogroup(&self, store: &str) -> KStream<K, V> {
        self.through(store, false)
    }

    fn through(&self, store: &str, generated: bool) -> KStream<K, V> {
        let Grouped { key, value, name } = self.grouped.clone();
        if !self.stream.key_changed {
            return self.stream.clone();
        }
        let prefix = name.as_deref().unwrap_or(store);
        let settings = RepartitionSettings {
            key: key.clone(),
            value: value.clone(),
            partitions: None,
            partitioner: None,
            skips_null_keys: Rc::new(Cell::new(true)),
        };
        let stream = self.stream.through(prefix, generated, key, value, settings);
        for topic in &stream.sources {
            stream.plan.may_be_merged::<K, V>(stream.node, topic.clone());
        }
        stream
    }

    /// How many records each key has had.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// words
    ///     .group_by_key(Grouped::with(Utf8, Utf8))
    ///     .count(Materialized::named("counts", I64))
    ///     .to_stream()
    ///     .to("counts", Produced::with(Utf8, Nullable(I64)));
    /// # builder.build().unwrap();
    /// ```
    pub fn count(&self, materialized: Materialized<i64>) -> KTable<K, i64> {
        self.fold("KSTREAM-AGGREGATE-", materialized, |_, _, count| Some(count.unwrap_or(0) + 1))
    }

    /// Folds each key's values into one of the same type, starting from the first.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let sales = builder.stream("sales", Consumed::with(Utf8, I64));
    /// sales
    ///     .group_by_key(Grouped::with(Utf8, I64))
    ///     .reduce(|total, sale| Some(total + sale), Materialized::named("totals", I64));
    /// # builder.build().unwrap();
    /// ```
    ///
    /// `None` deletes the key; the next record then is its first again.
    pub fn reduce(
        &self,
        reducer: impl Fn(&V, &V) -> Option<V> + Send + Sync + 'static,
        materialized: Materialized<V>,
    ) -> KTable<K, V>
    where
        V: Clone,
    {
        self.fold(
            "KSTREAM-REDUCE-",
            materialized,
            move |_, value, so_far: Option<V>| match so_far {
                Some(so_far) => reducer(&so_far, value),
                None => Some(value.clone()),
            },
        )
    }

    /// Folds each key's values into an aggregate, starting from `initializer`.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// words.group_by_key(Grouped::with(Utf8, Utf8)).aggregate(
    ///     || 0,
    ///     |_, word, letters| Some(letters + word.len() as i64),
    ///     Materialized::named("letters", I64),
    /// );
    /// # builder.build().unwrap();
    /// ```
    ///
    /// `None` deletes the key; the next record then starts from the initializer again.
    pub fn aggregate<A: Clone + 'static>(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        aggregator: impl Fn(&K, &V, A) -> Option<A> + Send + Sync + 'static,
        materialized: Materialized<A>,
    ) -> KTable<K, A> {
        self.fold("KSTREAM-AGGREGATE-", materialized, move |key, value, so_far| {
            aggregator(key, value, so_far.unwrap_or_else(&initializer))
        })
    }

    fn fold<A: Clone + 'static>(
        &self,
        prefix: &str,
        materialized: Materialized<A>,
        fold: impl Fn(&K, &V, Option<A>) -> Option<A> + Send + Sync + 'static,
    ) -> KTable<K, A> {
        let plan = &self.stream.plan;
        let store_name = plan.store_name(materialized.name.as_deref(), prefix);
        let name = plan.name(None, prefix);
        let input = self.by_key(&store_name);
        let value_serde = materialized.value.clone();
        let store = TableStore::new(
            store_name.clone(),
            &materialized,
            self.grouped.key.clone(),
            value_serde.clone(),
        );
        let value = self.grouped.value.clone();
        let make = make_aggregate(Arc::new(fold), value);
        let node = add_aggregate(plan, input.node, &name, &store, make);
        KTable {
            plan: plan.clone(),
            node,
            name,
            key: self.grouped.key.clone(),
            value: Some(value_serde),
            store,
            sources: input.sources,
            computed: None,
        }
    }

    /// Folds each key's records by window: [`TimeWindows`](crate::dsl::windows::TimeWindows),
    /// [`SlidingWindows`](crate::dsl::windows::SlidingWindows) or
    /// [`SessionWindows`](crate::dsl::windows::SessionWindows).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// words
    ///     .group_by_key(Grouped::with(Utf8, Utf8))
    ///     .windowed_by(TimeWindows::of(Duration::from_secs(60)).grace(Duration::from_secs(5)))
    ///     .count(Materialized::named("per-minute", I64));
    /// # builder.build().unwrap();
    /// ```
    pub fn windowed_by<W>(self, windows: W) -> WindowedStream<K, V, W> {
        WindowedStream { grouped: self, windows, emit: EmitStrategy::default() }
    }
}

/// Makes the node that folds records into one value a key. `fold` gets what is there and says what
/// shall be.
pub(crate) fn make_aggregate<K, V, A, F>(fold: Arc<F>, value: SerdeRef<V>) -> MakeAggregate
where
    K: 'static,
    V: 'static,
    A: Clone + 'static,
    F: Fn(&K, &V, Option<A>) -> Option<A> + Send + Sync + 'static,
{
    Arc::new(move |wiring, store, send_old| {
        wiring.keep_expiring(store)?;
        Ok(Slot::new::<K, V>(Aggregate {
            fold: Arc::clone(&fold),
            value: Some(value.clone()),
            store: wiring.timestamped::<K, A>(store)?,
            held: HeldTable::bind(wiring, Some(store), send_old)?,
            send_old,
            key_bytes: Vec::new(),
            children: wiring.children(),
        }))
    })
}
