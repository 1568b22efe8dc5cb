//! Joins of a stream with a table.

use std::sync::Arc;

use crate::dsl::builder::RepartitionSettings;
use crate::dsl::options::Joined;
use crate::dsl::stream::KStream;
use crate::dsl::table::KTable;
use crate::graph::NodeKind;
use crate::node::Slot;
use crate::operators::stream_table_join::StreamTableJoin;

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
    pub fn join<VT: 'static, VR: 'static>(
        &self,
        table: &KTable<K, VT>,
        joiner: impl Fn(&K, &V, &VT) -> VR + Send + Sync + 'static,
        joined: Joined<K, V>,
    ) -> KStream<K, VR> {
        // The operator calls an inner joiner only with a value found.
        let joiner = move |key: &K, value: &V, found: Option<&VT>| found.map(|found| joiner(key, value, found));
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
    pub fn left_join<VT: 'static, VR: 'static>(
        &self,
        table: &KTable<K, VT>,
        joiner: impl Fn(&K, &V, Option<&VT>) -> VR + Send + Sync + 'static,
        joined: Joined<K, V>,
    ) -> KStream<K, VR> {
        let joiner = move |key: &K, value: &V, found: Option<&VT>| Some(joiner(key, value, found));
        self.joined(table, true, joiner, joined, "KSTREAM-LEFTJOIN-")
    }

    fn joined<VT: 'static, VR: 'static>(
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
                skip_null_keys: !left,
            };
            let prefix = joined.name.as_deref().unwrap_or(&self.name);
            stream = self.through(prefix, joined.name.is_none(), key, value, settings);
        }
        let name = self.plan.name(joined.name.as_deref(), prefix);
        table.store.require();
        let (joiner, store, own) = (Arc::new(joiner), table.store.name().to_owned(), name.clone());
        let together = stream.sources.iter().chain(&table.sources).cloned().collect();
        let checked = value_serde.clone();
        // The table is a parent only of the order in which nodes are written: its store comes first.
        let node = self.plan.add(
            &[stream.node],
            &name,
            Box::new(move |parents, graph| {
                graph.copartition(Clone::clone(&together));
                let (joiner, checked, bound) = (Arc::clone(&joiner), checked.clone(), store.clone());
                graph.add(
                    &own,
                    NodeKind::Processor,
                    parents,
                    std::slice::from_ref(&store),
                    Arc::new(move |wiring| {
                        Ok(Slot::new::<K, V>(StreamTableJoin {
                            joiner: Arc::clone(&joiner),
                            value: checked.clone(),
                            table: wiring.timestamped::<K, VT>(&bound)?,
                            left,
                            key_bytes: Vec::new(),
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
}
