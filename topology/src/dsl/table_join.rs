//! Joins of two tables by their own key.

use std::rc::Rc;
use std::sync::Arc;

use crate::dsl::table::{KTable, TableStore};
use crate::dsl::table_lookup::{JoinedTables, MakeView};
use crate::graph::{Factory, NodeKind};
use crate::node::Slot;
use crate::operators::change::Change;
use crate::operators::held_table::KeptTable;
use crate::operators::table_join::TableJoin;
use crate::operators::table_state::TableState;

/// How tables are joined.
#[derive(Clone, Debug, Default)]
pub struct TableJoined {
    pub(crate) name: Option<String>,
}

impl TableJoined {
    /// Under generated names.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the join's nodes and, where it has them, its topics and store.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The name of a part of the join: of the given name, or a generated one.
    pub(crate) fn part(&self, suffix: &str, generated: String) -> String {
        match &self.name {
            Some(name) => format!("{name}{suffix}"),
            None => generated,
        }
    }
}

impl<K: 'static, V: 'static> KTable<K, V> {
    /// The keys that both tables have, with what `joiner` makes of the two values; a change of
    /// either table changes it.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// let stock = builder.table("stock", Consumed::with(Utf8, I64), Materialized::named("stock", I64));
    /// let prices = builder.table("prices", Consumed::with(Utf8, I64), Materialized::named("prices", I64));
    /// stock
    ///     .join(&prices, |_, count, price| count * price, TableJoined::new())
    ///     .materialized(Materialized::named("worth", I64));
    /// # builder.build().unwrap();
    /// ```
    pub fn join<O: 'static, R: 'static>(
        &self,
        other: &KTable<K, O>,
        joiner: impl Fn(&K, &V, &O) -> R + Send + Sync + 'static,
        joined: TableJoined,
    ) -> KTable<K, R> {
        let joiner =
            move |key: &K, left: Option<&V>, right: Option<&O>| Some(joiner(key, left?, right?));
        self.joined(other, joiner, (false, false), &joined)
    }

    /// The keys of this table, with what the other has under them or nothing.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let stock = builder.table("stock", Consumed::with(Utf8, I64), Materialized::named("stock", I64));
    /// # let prices = builder.table("prices", Consumed::with(Utf8, I64), Materialized::named("prices", I64));
    /// stock
    ///     .left_join(&prices, |_, count, price| price.map_or(0, |price| count * price), TableJoined::new())
    ///     .materialized(Materialized::named("worth", I64));
    /// # builder.build().unwrap();
    /// ```
    pub fn left_join<O: 'static, R: 'static>(
        &self,
        other: &KTable<K, O>,
        joiner: impl Fn(&K, &V, Option<&O>) -> R + Send + Sync + 'static,
        joined: TableJoined,
    ) -> KTable<K, R> {
        let joiner =
            move |key: &K, left: Option<&V>, right: Option<&O>| Some(joiner(key, left?, right));
        self.joined(other, joiner, (true, false), &joined)
    }

    /// The keys that either table has; at least one of the two values is there.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let stock = builder.table("stock", Consumed::with(Utf8, I64), Materialized::named("stock", I64));
    /// # let prices = builder.table("prices", Consumed::with(Utf8, I64), Materialized::named("prices", I64));
    /// stock
    ///     .outer_join(&prices, |_, count, price| format!("{count:?} at {price:?}"), TableJoined::new())
    ///     .materialized(Materialized::named("listed", Utf8));
    /// # builder.build().unwrap();
    /// ```
    pub fn outer_join<O: 'static, R: 'static>(
        &self,
        other: &KTable<K, O>,
        joiner: impl Fn(&K, Option<&V>, Option<&O>) -> R + Send + Sync + 'static,
        joined: TableJoined,
    ) -> KTable<K, R> {
        let joiner =
            move |key: &K, left: Option<&V>, right: Option<&O>| Some(joiner(key, left, right));
        self.joined(other, joiner, (true, true), &joined)
    }

    fn joined<O: 'static, R: 'static>(
        &self,
        other: &KTable<K, O>,
        joiner: impl Fn(&K, Option<&V>, Option<&O>) -> Option<R> + Send + Sync + 'static,
        (left_outer, right_outer): (bool, bool),
        joined: &TableJoined,
    ) -> KTable<K, R> {
        let [merge, this, that] = ["KTABLE-MERGE-", "KTABLE-JOINTHIS-", "KTABLE-JOINOTHER-"]
            .map(|prefix| self.plan.name(None, prefix));
        let name = joined.part("", merge);
        let (this, that) = (joined.part("-join-this", this), joined.part("-join-other", that));
        let (left, right) = (self.look_up(), other.look_up());
        left.require();
        right.require();
        if left_outer {
            self.store.request_old(true);
        }
        if right_outer {
            other.store.request_old(true);
        }
        let above = vec![self.store.clone(), other.store.clone()];
        let store = TableStore::derived_from::<K, R>(&name, above, self.key.clone(), None);
        let together = self.sources.iter().chain(&other.sources).cloned().collect();
        let (kept, own) = (store.clone(), name.clone());
        let joiner = Arc::new(joiner);
        let computed = JoinedTables {
            left: self.look_up(),
            right: other.look_up(),
            joiner: Arc::clone(&joiner),
        };
        let node = self.plan.add(
            &[self.node, other.node],
            &name,
            Box::new(move |parents, graph| {
                graph.copartition(Clone::clone(&together));
                let stores = kept.write(graph)?;
                let result =
                    JoinResult { store: stores.first().cloned(), sends_old: kept.sends_old() };
                let mut add = |name: &str, parent: &String, stores: &[String], factory: Factory| {
                    let parent = std::slice::from_ref(parent);
                    graph.add(name, NodeKind::Processor, parent, stores, factory)
                };
                let factory = side(&joiner, right.view(), left_outer, result.clone());
                add(&this, &parents[0], &right.stores(), factory)?;
                let joiner = Arc::clone(&joiner);
                let reversed = Arc::new(move |key: &K, right: Option<&O>, left: Option<&V>| {
                    joiner(key, left, right)
                });
                let factory = side(&reversed, left.view(), right_outer, result);
                add(&that, &parents[1], &left.stores(), factory)?;
                // The nodes above keep the result; this one stands for it in the graph.
                let (held, sends_old) = (stores.first().cloned(), kept.sends_old());
                graph.add(
                    &own,
                    NodeKind::Processor,
                    &[this.clone(), that.clone()],
                    &stores,
                    Arc::new(move |wiring| {
                        let held = held.as_deref();
                        Ok(Slot::new(KeptTable::<K, R>::bind(wiring, held, sends_old)?))
                    }),
                )
            }),
        );
        let sources = self.sources.union(&other.sources).cloned().collect();
        KTable {
            plan: self.plan.clone(),
            node,
            name,
            key: self.key.clone(),
            value: None,
            store,
            sources,
            computed: Some(Rc::new(computed)),
        }
    }
}

/// What becomes of a join's results.
#[derive(Clone)]
struct JoinResult {
    store: Option<String>,
    sends_old: bool,
}

/// One side's operator: `A` are its values, `B` those of the other table.
fn side<F, K, A, B, R>(
    joiner: &Arc<F>,
    other: MakeView<K, B>,
    outer: bool,
    result: JoinResult,
) -> Factory
where
    F: Fn(&K, Option<&A>, Option<&B>) -> Option<R> + Send + Sync + 'static,
    K: 'static,
    A: 'static,
    B: 'static,
    R: 'static,
{
    let joiner = Arc::clone(joiner);
    Arc::new(move |wiring| {
        let JoinResult { store, sends_old } = &result;
        Ok(Slot::new::<K, Change<A>>(TableJoin::<F, K, B, R> {
            joiner: Arc::clone(&joiner),
            other: other(wiring)?,
            outer,
            computes_old: *sends_old && store.is_none(),
            result: TableState::bind(wiring, store.as_deref(), *sends_old)?,
            key_bytes: Vec::new(),
            children: wiring.children(),
        }))
    })
}
