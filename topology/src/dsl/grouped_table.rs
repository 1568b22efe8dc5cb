//! A table grouped by other keys, and its aggregations.

use std::sync::Arc;

use crate::dsl::options::{Grouped, Materialized};
use crate::dsl::table::{KTable, TableStore};
use crate::graph::{NodeKind, RepartitionTopic};
use crate::node::{SinkTopic, Slot};
use crate::operators::aggregate::Aggregate;
use crate::operators::change::{Change, ChangeSerde};
use crate::operators::held_table::HeldTable;
use crate::operators::regroup::Regroup;
use crate::operators::sink::{Sink, Target};
use crate::operators::source::Source;
use crate::serde::SerdeRef;

/// A table grouped by other keys than its own; from [`KTable::group_by`].
pub struct KGroupedTable<K, V> {
    /// The changes under their groups' keys.
    table: KTable<K, V>,
    grouped: Grouped<K, V>,
}

impl<K: 'static, V: 'static> KTable<K, V> {
    /// Groups the table's entries by other keys; they travel through a repartition topic.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// let users = builder.table("users", Consumed::with(Utf8, Utf8), Materialized::named("users", Utf8));
    /// users
    ///     .group_by(|user, city| (city.clone(), user.clone()), Grouped::with(Utf8, Utf8))
    ///     .count(Materialized::named("users-by-city", I64));
    /// # builder.build().unwrap();
    /// ```
    ///
    /// As old values have to be taken out of their groups, the table is kept in a store.
    pub fn group_by<K2: PartialEq + 'static, V2: 'static>(
        &self,
        selector: impl Fn(&K, &V) -> (K2, V2) + Send + Sync + 'static,
        grouped: Grouped<K2, V2>,
    ) -> KGroupedTable<K2, V2> {
        self.store.request_old(true);
        let name = self.plan.name(grouped.name.as_deref(), "KTABLE-SELECT-");
        let selector = Arc::new(selector);
        let Grouped { key, value, .. } = grouped.clone();
        let node = self.plan.processor(
            &[self.node],
            &name,
            &[],
            Arc::new(move |wiring| {
                Ok(Slot::new::<K, Change<V>>(Regroup {
                    selector: Arc::clone(&selector),
                    key: key.clone(),
                    value: value.clone(),
                    children: wiring.children::<K2, Change<V2>>(),
                }))
            }),
        );
        let Grouped { key, value, .. } = grouped.clone();
        let store = TableStore::derived(&name, &self.store, key.clone(), Some(value.clone()));
        let sources = self.sources.clone();
        let table = KTable {
            plan: self.plan.clone(),
            node,
            name,
            key,
            value: Some(value),
            store,
            sources,
            computed: None,
        };
        KGroupedTable { table, grouped }
    }
}

impl<K: 'static, V: 'static> KGroupedTable<K, V> {
    /// How many entries each group has. A group that has lost its last one stays, with 0.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let users = builder.table("users", Consumed::with(Utf8, Utf8), Materialized::named("users", Utf8));
    /// users
    ///     .group_by(|user, city| (city.clone(), user.clone()), Grouped::with(Utf8, Utf8))
    ///     .count(Materialized::named("users-by-city", I64))
    ///     .to_stream()
    ///     .to("cities", Produced::with(Utf8, Nullable(I64)));
    /// # builder.build().unwrap();
    /// ```
    pub fn count(&self, materialized: Materialized<i64>) -> KTable<K, i64> {
        self.aggregate(
            || 0,
            |_, _, count| Some(count + 1),
            |_, _, count| Some(count - 1),
            materialized,
        )
    }

    /// Folds each group's values into one of the same type: `adder` takes a new value in,
    /// `subtractor` an old one out. A group's first value is its first result.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// let parts = builder.table("parts", Consumed::with(Utf8, I64), Materialized::named("parts", I64));
    /// parts
    ///     .group_by(|part, weight| (part[..1].to_owned(), *weight), Grouped::with(Utf8, I64))
    ///     .reduce(|sum, new| Some(sum + new), |sum, old| Some(sum - old), Materialized::named("weights", I64));
    /// # builder.build().unwrap();
    /// ```
    pub fn reduce(
        &self,
        adder: impl Fn(&V, &V) -> Option<V> + Send + Sync + 'static,
        subtractor: impl Fn(&V, &V) -> Option<V> + Send + Sync + 'static,
        materialized: Materialized<V>,
    ) -> KTable<K, V>
    where
        V: Clone,
    {
        self.fold("KTABLE-REDUCE-", materialized, move |_, change, so_far: Option<V>| {
            let so_far = match (&change.old, so_far) {
                (Some(old), Some(so_far)) => subtractor(&so_far, old),
                (_, so_far) => so_far,
            };
            match (&change.new, so_far) {
                (Some(new), Some(so_far)) => adder(&so_far, new),
                (Some(new), None) => Some(new.clone()),
                (None, so_far) => so_far,
            }
        })
    }

    /// Folds each group's values into an aggregate that starts from `initializer`: `adder` takes a
    /// new value in, `subtractor` an old one out. `None` deletes the group.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let parts = builder.table("parts", Consumed::with(Utf8, I64), Materialized::named("parts", I64));
    /// parts
    ///     .group_by(|part, weight| (part[..1].to_owned(), *weight), Grouped::with(Utf8, I64))
    ///     .aggregate(
    ///         || 0.0,
    ///         |_, new, tons| Some(tons + *new as f64 / 1000.0),
    ///         |_, old, tons| Some(tons - *old as f64 / 1000.0),
    ///         Materialized::named("tons", F64),
    ///     );
    /// # builder.build().unwrap();
    /// ```
    pub fn aggregate<A: Clone + 'static>(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        adder: impl Fn(&K, &V, A) -> Option<A> + Send + Sync + 'static,
        subtractor: impl Fn(&K, &V, A) -> Option<A> + Send + Sync + 'static,
        materialized: Materialized<A>,
    ) -> KTable<K, A> {
        self.fold("KTABLE-AGGREGATE-", materialized, move |key, change, so_far| {
            let so_far = match (&change.old, so_far) {
                (Some(old), Some(so_far)) => subtractor(key, old, so_far),
                (_, so_far) => so_far,
            };
            match &change.new {
                Some(new) => adder(key, new, so_far.unwrap_or_else(&initializer)),
                None => so_far,
            }
        })
    }

    fn fold<A: Clone + 'static>(
        &self,
        prefix: &str,
        materialized: Materialized<A>,
        fold: impl Fn(&K, &Change<V>, Option<A>) -> Option<A> + Send + Sync + 'static,
    ) -> KTable<K, A> {
        let plan = &self.table.plan;
        let store_name = plan.store_name(materialized.name.as_deref(), prefix);
        if materialized.time_to_live_ms.is_some() {
            plan.error(format!(
                "aggregate {store_name} of a table cannot have a time to live: what expired could \
                 not be subtracted any more; set it on the table that is grouped"
            ));
        }
        let (input, topic) = self.repartitioned(&store_name);
        let name = plan.name(None, prefix);
        let (key_serde, value_serde) = (self.grouped.key.clone(), materialized.value.clone());
        let store = TableStore::new(
            store_name.clone(),
            &materialized,
            key_serde.clone(),
            value_serde.clone(),
        );
        store.require();
        let fold = Arc::new(fold);
        let (own, kept) = (name.clone(), store.clone());
        let node = plan.add(
            &[input],
            &name,
            Box::new(move |parents, graph| {
                let stores = kept.write(graph)?;
                let (fold, store_name, send_old) =
                    (Arc::clone(&fold), store_name.clone(), kept.sends_old());
                graph.add(
                    &own,
                    NodeKind::Processor,
                    parents,
                    &stores,
                    Arc::new(move |wiring| {
                        Ok(Slot::new::<K, Change<V>>(Aggregate {
                            fold: Arc::clone(&fold),
                            value: None,
                            store: wiring.timestamped::<K, A>(&store_name)?,
                            held: HeldTable::bind(wiring, Some(&store_name), send_old)?,
                            send_old,
                            key_bytes: Vec::new(),
                            children: wiring.children(),
                        }))
                    }),
                )
            }),
        );
        KTable {
            plan: plan.clone(),
            node,
            name,
            key: key_serde,
            value: Some(value_serde),
            store,
            sources: [topic].into(),
            computed: None,
        }
    }

    /// The changes read back from their repartition topic: the logical node, and the topic.
    fn repartitioned(&self, store: &str) -> (usize, Arc<str>) {
        let plan = &self.table.plan;
        let sink = plan.name(None, "KSTREAM-SINK-");
        let source = plan.name(None, "KSTREAM-SOURCE-");
        let prefix = self.grouped.name.as_deref().unwrap_or(store);
        let topic = SinkTopic { name: format!("{prefix}-repartition").into(), internal: true };
        let read_topic = topic.name.clone();
        let key = self.grouped.key.clone();
        let value: SerdeRef<Change<V>> = Arc::new(ChangeSerde(self.grouped.value.clone()));
        let node = plan.add(
            &[self.table.node],
            &source.clone(),
            Box::new(move |parents, graph| {
                graph.add_repartition_topic(RepartitionTopic {
                    name: topic.name.clone(),
                    partitions: None,
                    formats: [key.format_name(), value.format_name()],
                });
                let (target, k, v) = (topic.clone(), key.clone(), value.clone());
                graph.add(
                    &sink,
                    NodeKind::Sink { topic: Some(topic.clone()) },
                    parents,
                    &[],
                    Arc::new(move |_| {
                        Ok(Slot::new(Sink {
                            target: Target::Fixed(target.clone()),
                            key: k.clone(),
                            value: v.clone(),
                            partitioner: None,
                        }))
                    }),
                )?;
                let (key, value) = (key.clone(), value.clone());
                graph.add(
                    &source,
                    NodeKind::Source { topics: vec![topic.clone()] },
                    &[],
                    &[],
                    Arc::new(move |wiring| {
                        Ok(Slot::source(Source {
                            key: key.clone(),
                            value: value.clone(),
                            extractor: None,
                            times: Vec::new(),
                            children: wiring.children(),
                        }))
                    }),
                )
            }),
        );
        (node, read_topic)
    }
}
