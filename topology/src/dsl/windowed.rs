//! Aggregations by window.

use std::sync::Arc;

use crate::dsl::grouped::{HELD_UPDATES_MAX_BYTES, KGroupedStream};
use crate::dsl::options::Materialized;
use crate::dsl::table::{KTable, TableStore};
use crate::dsl::windows::TimeWindows;
use crate::graph::NodeKind;
use crate::node::Slot;
use crate::operators::aggregate::HeldUpdates;
use crate::operators::windowed_aggregate::WindowedAggregate;
use crate::serde::{SerdeRef, TimeWindowed};
use crate::store::spec::StoreKind;
use crate::store::window::WindowHandle;
use crate::time::Windowed;

/// A grouped stream by tumbling or hopping window; from [`KGroupedStream::windowed_by`].
pub struct TimeWindowedStream<K, V> {
    pub(crate) grouped: KGroupedStream<K, V>,
    pub(crate) windows: TimeWindows,
}

impl<K: Clone + Send + 'static, V: 'static> TimeWindowedStream<K, V> {
    /// How many records each key's window has had.
    pub fn count(&self, materialized: Materialized<i64>) -> KTable<Windowed<K>, i64> {
        self.fold("KSTREAM-AGGREGATE-", materialized, |_, _, count| Some(count.unwrap_or(0) + 1))
    }

    /// Folds the values of each key's window into one of the same type, starting from the first.
    pub fn reduce(
        &self,
        reducer: impl Fn(&V, &V) -> Option<V> + Send + Sync + 'static,
        materialized: Materialized<V>,
    ) -> KTable<Windowed<K>, V>
    where
        V: Clone + Send,
    {
        self.fold("KSTREAM-REDUCE-", materialized, move |_, value, so_far: Option<V>| match so_far {
            Some(so_far) => reducer(&so_far, value),
            None => Some(value.clone()),
        })
    }

    /// Folds the values of each key's window into an aggregate.
    pub fn aggregate<A: Clone + Send + 'static>(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        aggregator: impl Fn(&K, &V, A) -> Option<A> + Send + Sync + 'static,
        materialized: Materialized<A>,
    ) -> KTable<Windowed<K>, A> {
        self.fold("KSTREAM-AGGREGATE-", materialized, move |key, value, so_far| {
            aggregator(key, value, so_far.unwrap_or_else(&initializer))
        })
    }

    fn fold<A: Clone + Send + 'static>(
        &self,
        prefix: &str,
        materialized: Materialized<A>,
        fold: impl Fn(&K, &V, Option<A>) -> Option<A> + Send + Sync + 'static,
    ) -> KTable<Windowed<K>, A> {
        let (grouped, windows) = (&self.grouped, self.windows);
        let plan = &grouped.stream.plan;
        let store_name = plan.store_name(materialized.name.as_deref(), prefix);
        let name = plan.name(None, prefix);
        let input = grouped.by_key(&store_name);
        let covered_ms = windows.size_ms().saturating_add(windows.grace_ms());
        let retention_ms = materialized.retention_ms.unwrap_or(covered_ms);
        if retention_ms < covered_ms {
            plan.error(format!(
                "store {store_name} retains {retention_ms} ms, less than its windows' size and grace ({covered_ms} ms)"
            ));
        }
        let value_serde = materialized.value.clone();
        let kind = StoreKind::TimestampedWindow {
            window_ms: windows.size_ms(),
            retention_ms,
            segment_ms: (retention_ms / 2).max(60_000),
        };
        let key_serde = grouped.grouped.key.clone();
        let store = TableStore::of_kind(
            store_name.clone(),
            &materialized,
            kind,
            key_serde.clone(),
            value_serde.clone(),
        );
        store.require();
        let (fold, caching) = (Arc::new(fold), materialized.caching);
        let (own, kept) = (name.clone(), store.clone());
        let node = plan.add(
            &[input.node],
            &name,
            Box::new(move |parents, graph| {
                let stores = kept.write(graph)?;
                let (fold, store_name, send_old) = (Arc::clone(&fold), store_name.clone(), kept.sends_old());
                graph.add(
                    &own,
                    NodeKind::Processor,
                    parents,
                    &stores,
                    Arc::new(move |wiring| {
                        Ok(Slot::new::<K, V>(WindowedAggregate {
                            fold: Arc::clone(&fold),
                            windows,
                            store: WindowHandle::<K, A>::bind(wiring, &store_name)?,
                            stream_time: wiring.time_slot(),
                            held: HeldUpdates {
                                caching,
                                max_bytes: HELD_UPDATES_MAX_BYTES,
                                drained: Vec::new(),
                            },
                            send_old,
                            key_bytes: Vec::new(),
                            children: wiring.children(),
                        }))
                    }),
                )
            }),
        );
        let windowed: SerdeRef<Windowed<K>> = Arc::new(TimeWindowed::new(key_serde, windows.size_ms()));
        KTable {
            plan: plan.clone(),
            node,
            name,
            key: windowed,
            value: Some(value_serde),
            store,
            sources: input.sources,
        }
    }
}
