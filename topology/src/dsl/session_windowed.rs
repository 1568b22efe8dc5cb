//! Aggregations by session.

use std::sync::Arc;

use crate::dsl::aggregation::{MakeAggregate, add_aggregate};
use crate::dsl::builder::PlanRef;
use crate::dsl::options::Materialized;
use crate::dsl::table::{KTable, TableStore};
use crate::dsl::windowed::{SessionWindowedStream, retention_ms, segment_ms};
use crate::dsl::windows::{EmitStrategy, SessionWindows};
use crate::node::Slot;
use crate::operators::session_aggregate::{SessionAggregate, SessionResults};
use crate::serde::{SerdeRef, SessionWindowed};
use crate::store::spec::StoreKind;
use crate::time::Windowed;

/// The store of an aggregate by session.
pub(crate) fn session_store<K: 'static, A: 'static>(
    plan: &PlanRef,
    name: &str,
    windows: SessionWindows,
    emit: EmitStrategy,
    key: SerdeRef<K>,
    materialized: &Materialized<A>,
) -> TableStore {
    let retention_ms = retention_ms(plan, materialized, name, windows.closes_after_ms());
    let kind = StoreKind::Session {
        retention_ms,
        segment_ms: segment_ms(emit, retention_ms, windows.gap_ms()),
    };
    TableStore::of_kind(name.to_owned(), materialized, kind, key, materialized.value.clone())
}

/// Makes the node that folds records into sessions.
pub(crate) fn make_session_aggregate<K, V, A, F, M>(
    windows: SessionWindows,
    fold: Arc<F>,
    merge: Arc<M>,
    emit: EmitStrategy,
) -> MakeAggregate
where
    K: Clone + Send + 'static,
    V: 'static,
    A: Clone + Send + 'static,
    F: Fn(&K, &V, Option<A>) -> Option<A> + Send + Sync + 'static,
    M: Fn(&K, Option<A>, &A) -> Option<A> + Send + Sync + 'static,
{
    Arc::new(move |wiring, store, send_old| {
        Ok(Slot::new::<K, V>(SessionAggregate {
            fold: Arc::clone(&fold),
            merge: Arc::clone(&merge),
            windows,
            stream_time: wiring.time_slot(),
            results: SessionResults::<K, A>::bind(wiring, store, emit, send_old)?,
            key_bytes: Vec::new(),
            found: Vec::new(),
        }))
    })
}

impl<K: Clone + Send + 'static, V: 'static> SessionWindowedStream<K, V> {
    /// How many records each key's session has had.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let clicks = builder.stream("clicks", Consumed::with(Utf8, Utf8));
    /// clicks
    ///     .group_by_key(Grouped::with(Utf8, Utf8))
    ///     .windowed_by(SessionWindows::of(Duration::from_secs(30)))
    ///     .count(Materialized::named("clicks-per-session", I64));
    /// # builder.build().unwrap();
    /// ```
    pub fn count(&self, materialized: Materialized<i64>) -> KTable<Windowed<K>, i64> {
        self.fold(
            "KSTREAM-AGGREGATE-",
            materialized,
            |_, _, count| Some(count.unwrap_or(0) + 1),
            |_, count, other| Some(count.unwrap_or(0) + other),
        )
    }

    /// Folds the values of each key's session into one of the same type, starting from the first;
    /// the reducer also joins the values of sessions that merge.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let sales = builder.stream("sales", Consumed::with(Utf8, I64));
    /// sales
    ///     .group_by_key(Grouped::with(Utf8, I64))
    ///     .windowed_by(SessionWindows::of(Duration::from_secs(30)))
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
        let reduce = Arc::new(move |so_far: Option<V>, value: &V| match so_far {
            Some(so_far) => reducer(&so_far, value),
            None => Some(value.clone()),
        });
        let merge = Arc::clone(&reduce);
        self.fold(
            "KSTREAM-REDUCE-",
            materialized,
            move |_, value, so_far| reduce(so_far, value),
            move |_, so_far, other| merge(so_far, other),
        )
    }

    /// Folds the values of each key's session into an aggregate; `merger` joins the aggregates of
    /// sessions that merge, starting from a fresh one. `None` deletes.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// words
    ///     .group_by_key(Grouped::with(Utf8, Utf8))
    ///     .windowed_by(SessionWindows::of(Duration::from_secs(30)))
    ///     .aggregate(
    ///         || 0,
    ///         |_, word, letters| Some(letters + word.len() as i64),
    ///         |_, letters, other| Some(letters + other),
    ///         Materialized::named("letters", I64),
    ///     );
    /// # builder.build().unwrap();
    /// ```
    pub fn aggregate<A: Clone + Send + 'static>(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        aggregator: impl Fn(&K, &V, A) -> Option<A> + Send + Sync + 'static,
        merger: impl Fn(&K, A, &A) -> Option<A> + Send + Sync + 'static,
        materialized: Materialized<A>,
    ) -> KTable<Windowed<K>, A> {
        let initializer = Arc::new(initializer);
        let fresh = Arc::clone(&initializer);
        self.fold(
            "KSTREAM-AGGREGATE-",
            materialized,
            move |key, value, so_far| {
                aggregator(key, value, so_far.unwrap_or_else(|| initializer()))
            },
            move |key, so_far, other| merger(key, so_far.unwrap_or_else(|| fresh()), other),
        )
    }

    fn fold<A: Clone + Send + 'static>(
        &self,
        prefix: &str,
        mut materialized: Materialized<A>,
        fold: impl Fn(&K, &V, Option<A>) -> Option<A> + Send + Sync + 'static,
        merge: impl Fn(&K, Option<A>, &A) -> Option<A> + Send + Sync + 'static,
    ) -> KTable<Windowed<K>, A> {
        let Self { grouped, windows, emit } = self;
        let plan = &grouped.stream.plan;
        let key = grouped.grouped.key.clone();
        materialized.caching &= *emit == EmitStrategy::OnWindowUpdate;
        let store_name = plan.store_name(materialized.name.as_deref(), prefix);
        let name = plan.name(None, prefix);
        let input = grouped.by_key(&store_name);
        let store = session_store(plan, &store_name, *windows, *emit, key.clone(), &materialized);
        let make = make_session_aggregate::<K, V, A, _, _>(
            *windows,
            Arc::new(fold),
            Arc::new(merge),
            *emit,
        );
        let node = add_aggregate(plan, input.node, &name, &store, make);
        plan.set_window_grace_ms(node, windows.closes_after_ms());
        KTable {
            plan: plan.clone(),
            node,
            name,
            key: Arc::new(SessionWindowed(key)),
            value: Some(materialized.value),
            store,
            sources: input.sources,
            computed: None,
        }
    }
}
