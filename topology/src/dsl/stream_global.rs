//! Joins of a stream with a global table.

use std::sync::Arc;

use crate::dsl::global_table::GlobalKTable;
use crate::dsl::stream::KStream;
use crate::node::Slot;
use crate::operators::stream_global_join::StreamGlobalJoin;

impl<K: 'static, V: 'static> KStream<K, V> {
    /// Each record with the global table's value under the key that `selector` makes of it; records
    /// that find none go no further. Nothing is repartitioned: every instance has the whole table.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// let orders = builder.stream("orders", Consumed::with(Utf8, Utf8));
    /// let assets = builder.global_table("assets", Consumed::with(Utf8, Utf8), Materialized::named("assets", Utf8));
    /// orders
    ///     .join_global(
    ///         &assets,
    ///         |_, order| order.split(' ').next().map(str::to_owned),
    ///         |_, order, asset| format!("{order} in {asset}"),
    ///     )
    ///     .to("orders-in-assets", Produced::with(Utf8, Utf8));
    /// # builder.build().unwrap();
    /// ```
    pub fn join_global<K2: 'static, VT: 'static, VR: 'static>(
        &self,
        table: &GlobalKTable<K2, VT>,
        selector: impl Fn(&K, &V) -> Option<K2> + Send + Sync + 'static,
        joiner: impl Fn(&K, &V, &VT) -> VR + Send + Sync + 'static,
    ) -> KStream<K, VR> {
        let joiner = move |key: &K, value: &V, found: Option<&VT>| Some(joiner(key, value, found?));
        self.joined_globally(table, false, selector, joiner)
    }

    /// Each record with the global table's value under the key that `selector` makes of it, or with
    /// none.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let orders = builder.stream("orders", Consumed::with(Utf8, Utf8));
    /// # let assets =
    /// #     builder.global_table("assets", Consumed::with(Utf8, Utf8), Materialized::named("assets", Utf8));
    /// orders
    ///     .left_join_global(
    ///         &assets,
    ///         |_, order| order.split(' ').next().map(str::to_owned),
    ///         |_, order, asset| format!("{order} in {asset:?}"),
    ///     )
    ///     .to("orders-in-assets", Produced::with(Utf8, Utf8));
    /// # builder.build().unwrap();
    /// ```
    pub fn left_join_global<K2: 'static, VT: 'static, VR: 'static>(
        &self,
        table: &GlobalKTable<K2, VT>,
        selector: impl Fn(&K, &V) -> Option<K2> + Send + Sync + 'static,
        joiner: impl Fn(&K, &V, Option<&VT>) -> VR + Send + Sync + 'static,
    ) -> KStream<K, VR> {
        let joiner = move |key: &K, value: &V, found: Option<&VT>| Some(joiner(key, value, found));
        self.joined_globally(table, true, selector, joiner)
    }

    fn joined_globally<K2: 'static, VT: 'static, VR: 'static>(
        &self,
        table: &GlobalKTable<K2, VT>,
        left: bool,
        selector: impl Fn(&K, &V) -> Option<K2> + Send + Sync + 'static,
        joiner: impl Fn(&K, &V, Option<&VT>) -> Option<VR> + Send + Sync + 'static,
    ) -> KStream<K, VR> {
        // Kafka Streams calls an inner join so, too.
        let name = self.plan.name(None, "KSTREAM-LEFTJOIN-");
        let (selector, joiner) = (Arc::new(selector), Arc::new(joiner));
        let (table, value) = (table.clone(), self.value.clone());
        let node = self.plan.processor(
            &[self.node],
            &name,
            &[],
            Arc::new(move |wiring| {
                Ok(Slot::new::<K, V>(StreamGlobalJoin {
                    selector: Arc::clone(&selector),
                    joiner: Arc::clone(&joiner),
                    value: value.clone(),
                    store: table.store.clone(),
                    table_key: table.key.clone(),
                    table_value: table.value.clone(),
                    left,
                    key_bytes: Vec::new(),
                    found: Vec::new(),
                    children: wiring.children::<K, VR>(),
                }))
            }),
        );
        self.below(node, name, self.key.clone(), None, false)
    }
}
