//! A stream taken as a table.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use crate::dsl::builder::RepartitionSettings;
use crate::dsl::options::Materialized;
use crate::dsl::stream::KStream;
use crate::dsl::table::{KTable, TableStore};
use crate::graph::NodeKind;
use crate::node::Slot;
use crate::operators::table_state::TableState;
use crate::operators::to_table::ToTable;
use crate::serde::{Missing, Nullable, SerdeRef};

impl<K: 'static, V: Clone + 'static> KStream<K, Option<V>> {
    /// The stream as a table: each record is its key's latest value, `None` deletes it. A stream
    /// whose key has changed is repartitioned first.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// let moves = builder.stream("moves", Consumed::with(Utf8, Nullable(Utf8)));
    /// let places = moves.to_table(Materialized::named("places", Utf8));
    /// # builder.build().unwrap();
    /// ```
    ///
    /// Where values are never null, `map_values(|value| Some(value.clone()))` comes first.
    pub fn to_table(&self, materialized: Materialized<V>) -> KTable<K, V> {
        let name = self.plan.name(None, "KSTREAM-TOTABLE-");
        let store_name = self.plan.store_name(materialized.name.as_deref(), "KSTREAM-TOTABLE-");
        let value = materialized.value.clone();
        let key = self.key.clone().unwrap_or_else(|| {
            self.plan.error(format!(
                "to_table of {} needs the serde of its key, which has changed: use with_serdes",
                self.name
            ));
            Arc::new(Missing)
        });
        let stream = if self.key_changed {
            let nullable: SerdeRef<Option<V>> = Arc::new(Nullable(value.clone()));
            let settings = RepartitionSettings {
                key: key.clone(),
                value: nullable.clone(),
                partitions: None,
                partitioner: None,
                skips_null_keys: Rc::new(Cell::new(true)),
            };
            self.through(&name, true, key.clone(), nullable, settings)
        } else {
            self.clone()
        };
        let store = TableStore::new(store_name, &materialized, key.clone(), value.clone());
        let (own, kept, serde) = (name.clone(), store.clone(), key.clone());
        let node = self.plan.add(
            &[stream.node],
            &name,
            Box::new(move |parents, graph| {
                let stores = kept.write(graph)?;
                let (kept_name, send_old, key) =
                    (stores.first().cloned(), kept.sends_old(), serde.clone());
                graph.add(
                    &own,
                    NodeKind::Processor,
                    parents,
                    &stores,
                    Arc::new(move |wiring| {
                        Ok(Slot::new(ToTable::<K, V> {
                            key: key.clone(),
                            table: TableState::bind(wiring, kept_name.as_deref(), send_old)?,
                            key_bytes: Vec::new(),
                            children: wiring.children(),
                        }))
                    }),
                )
            }),
        );
        KTable {
            plan: self.plan.clone(),
            node,
            name,
            key,
            value: Some(value),
            store,
            sources: stream.sources,
            computed: None,
        }
    }
}
