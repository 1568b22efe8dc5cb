//! Joins of a stream with a table.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use crate::dsl::builder::RepartitionSettings;
use crate::dsl::options::Joined;
use crate::dsl::stream::KStream;
use crate::dsl::table::KTable;
use crate::error::Error;
use crate::graph::{NodeKind, Store};
use crate::node::Slot;
use crate::operators::held_records::HeldRecords;
use crate::operators::read_values::ReadValues;
use crate::operators::stream_table_join::StreamTableJoin;
use crate::serde::{Bytes, SerdeRef};
use crate::store::spec::{StoreKind, StoreSpec};

impl<K: 'static, V: 'static> KStream<K, V> {
    /// Each record with the table's value under its key; records that find none go no further.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// let orders = builder.stream("orders", Consumed::with(Utf8, Utf8));
    /// let prices = builder.table("prices", Consumed::with(Utf8, Utf8), Materialized::named("prices", Utf8));
    /// orders
    ///     .join(&prices, |_, order, price| format!("{order} at {price}"), Joined::new())
    ///     .to("priced", Produced::with(Utf8, Utf8));
    /// # builder.build().unwrap();
    /// ```
    pub fn join<VT: Send + 'static, VR: 'static>(
        &self,
        table: &KTable<K, VT>,
        joiner: impl Fn(&K, &V, &VT) -> VR + Send + Sync + 'static,
        joined: Joined<K, V>,
    ) -> KStream<K, VR> {
        // The operator calls an inner joiner only with a value found.
        let joiner = move |key: &K, value: &V, found: Option<&VT>| {
            found.map(|found| joiner(key, value, found))
        };
        self.joined(table, false, joiner, joined, "KSTREAM-JOIN-")
    }

    /// Each record with the table's value under its key, or with none.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let orders = builder.stream("orders", Consumed::with(Utf8, Utf8));
    /// # let prices = builder.table("prices", Consumed::with(Utf8, Utf8), Materialized::named("prices", Utf8));
    /// orders
    ///     .left_join(&prices, |_, order, price| format!("{order} at {price:?}"), Joined::new())
    ///     .to("priced", Produced::with(Utf8, Utf8));
    /// # builder.build().unwrap();
    /// ```
    pub fn left_join<VT: Send + 'static, VR: 'static>(
        &self,
        table: &KTable<K, VT>,
        joiner: impl Fn(&K, &V, Option<&VT>) -> VR + Send + Sync + 'static,
        joined: Joined<K, V>,
    ) -> KStream<K, VR> {
        let joiner = move |key: &K, value: &V, found: Option<&VT>| Some(joiner(key, value, found));
        self.joined(table, true, joiner, joined, "KSTREAM-LEFTJOIN-")
    }

    fn joined<VT: Send + 'static, VR: 'static>(
        &self,
        table: &KTable<K, VT>,
        left: bool,
        joiner: impl Fn(&K, &V, Option<&VT>) -> Option<VR> + Send + Sync + 'static,
        joined: Joined<K, V>,
        prefix: &str,
    ) -> KStream<K, VR> {
        let key_serde = joined.key.or_else(|| self.key.clone());
        let value_serde = joined.value.or_else(|| self.value.clone());
        let mut stream = self.clone();
        if self.key_changed {
            let (Some(key), Some(value)) = (key_serde.clone(), value_serde.clone()) else {
                self.plan.error(format!(
                    "the join of {} must repartition, as the key has changed, and needs serdes: use Joined::with",
                    self.name
                ));
                return self.below(self.node, self.name.clone(), None, None, false);
            };
            let settings = RepartitionSettings {
                key: key.clone(),
                value: value.clone(),
                partitions: None,
                partitioner: None,
                skips_null_keys: Rc::new(Cell::new(!left)),
            };
            let prefix = joined.name.as_deref().unwrap_or(&self.name);
            stream = self.through_for_join(prefix, joined.name.is_none(), key, value, settings);
        }
        let name = self.plan.name(joined.name.as_deref(), prefix);
        let looked_up = table.look_up();
        looked_up.require();
        let (joiner, own) = (Arc::new(joiner), name.clone());
        let together = stream.sources.iter().chain(&table.sources).cloned().collect();
        let checked = value_serde.clone();
        let held = self.held_records(&name, joined.grace_ms, value_serde);
        // The table was declared before, so its store is there.
        let node = self.plan.add(
            &[stream.node],
            &name,
            Box::new(move |parents, graph| {
                graph.copartition(Clone::clone(&together));
                let mut stores = looked_up.stores();
                if let Some((spec, ..)) = &held {
                    if !matches!(looked_up.kind(), Some(StoreKind::Versioned { .. })) {
                        return Err(Error::wiring(format!(
                            "join {own} has a grace period, so table {} must be versioned: use Materialized::versioned",
                            stores.join(", ")
                        )));
                    }
                    graph.add_store(Store::new::<Vec<u8>, Vec<u8>>(spec.clone(), Arc::new(Bytes), Arc::new(Bytes)))?;
                    stores.push(spec.name.clone());
                }
                let (joiner, checked, view) = (Arc::clone(&joiner), checked.clone(), looked_up.view());
                let held = held.clone();
                graph.add(
                    &own,
                    NodeKind::Processor,
                    parents,
                    &stores,
                    Arc::new(move |wiring| {
                        let held = match &held {
                            Some((spec, grace_ms, value)) => {
                                Some((HeldRecords::bind(wiring, &spec.name, *grace_ms)?, value.clone()))
                            }
                            None => None,
                        };
                        Ok(Slot::new::<K, V>(StreamTableJoin {
                            joiner: Arc::clone(&joiner),
                            value: checked.clone(),
                            table: view(wiring)?,
                            left,
                            held,
                            key_bytes: Vec::new(),
                            known: ReadValues::default(),
                            children: wiring.children::<K, VR>(),
                        }))
                    }),
                )
            }),
        );
        let mut result = stream.below(node, name, key_serde, None, false);
        result.sources.extend(table.sources.iter().cloned());
        result
    }

    /// The store of a join with a grace period, that period in ms, and the serde of what waits.
    fn held_records(
        &self,
        name: &str,
        grace_ms: Option<i64>,
        value: Option<SerdeRef<V>>,
    ) -> Option<(StoreSpec, i64, SerdeRef<V>)> {
        let grace_ms = grace_ms?;
        let Some(value) = value else {
            self.plan.error(format!(
                "join {name} has a grace period and needs serdes: use Joined::with"
            ));
            return None;
        };
        Some((StoreSpec::new(format!("{name}-Buffer"), StoreKind::KeyValue), grace_ms, value))
    }
}
