//! The verbs of a table that make another table of it, key by key.

use std::rc::Rc;
use std::sync::Arc;

use crate::dsl::table::{KTable, TableStore};
use crate::dsl::table_lookup::{MappedTable, TransformedTable};
use crate::error::Result;
use crate::graph::{NodeKind, Wiring};
use crate::node::{Children, Slot};
use crate::operators::change::Change;
use crate::operators::derived_table::DerivedTable;
use crate::operators::table_filter::TableFilter;
use crate::operators::table_map_values::TableMapValues;
use crate::operators::table_state::TableState;
use crate::operators::table_transform::{TableTransformValues, TableTransformer};
use crate::processor::BoundStores;
use crate::serde::SerdeRef;

impl<K: 'static, V: 'static> KTable<K, V> {
    /// The entries for which `predicate` holds; the others are not there.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// let stock = builder.table("stock", Consumed::with(Utf8, I64), Materialized::named("stock", I64));
    /// let available = stock.filter(|_, count| *count > 0);
    /// available.to_stream().to("available", Produced::with(Utf8, Nullable(I64)));
    /// # builder.build().unwrap();
    /// ```
    ///
    /// An entry that ceases to pass is deleted downstream. Where neither table is kept in a store,
    /// nobody knows whether the old value had passed, and every value that fails is told as a
    /// deletion.
    #[must_use]
    pub fn filter(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self
    where
        V: Clone,
    {
        self.filtered(true, predicate)
    }

    /// The entries for which `predicate` does not hold; otherwise as [`filter`](Self::filter).
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let stock = builder.table("stock", Consumed::with(Utf8, I64), Materialized::named("stock", I64));
    /// stock.filter_not(|_, count| *count > 0).to_stream().to("sold-out", Produced::with(Utf8, Nullable(I64)));
    /// # builder.build().unwrap();
    /// ```
    #[must_use]
    pub fn filter_not(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self
    where
        V: Clone,
    {
        self.filtered(false, predicate)
    }

    fn filtered(
        &self,
        keep: bool,
        predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static,
    ) -> Self
    where
        V: Clone,
    {
        // What is known of old values spares deletions of what was never there.
        let told = self.store.request_old(false);
        let predicate = Arc::new(predicate);
        let passing = {
            let predicate = Arc::clone(&predicate);
            move |key: &K, value: V| (predicate(key, &value) == keep).then_some(value)
        };
        let computed = MappedTable { above: self.look_up(), map: Arc::new(passing) };
        let mut filtered =
            self.derived("KTABLE-FILTER-", self.value.clone(), &[], move |wiring, mut result| {
                result.send_old |= told;
                Ok(Slot::new(TableFilter {
                    predicate: Arc::clone(&predicate),
                    keep,
                    knows_old: result.send_old || result.kept.is_some(),
                    result,
                    children: wiring.children::<K, Change<V>>(),
                }))
            });
        filtered.computed = Some(Rc::new(computed));
        filtered
    }

    /// A new value for each entry.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let stock = builder.table("stock", Consumed::with(Utf8, I64), Materialized::named("stock", I64));
    /// stock
    ///     .map_values(|count| count * 12)
    ///     .materialized(Materialized::named("pieces", I64));
    /// # builder.build().unwrap();
    /// ```
    #[must_use]
    pub fn map_values<V2: 'static>(
        &self,
        mapper: impl Fn(&V) -> V2 + Send + Sync + 'static,
    ) -> KTable<K, V2> {
        self.filter_map_values(move |_, value| Some(mapper(value)))
    }

    /// A new value for each entry, from its key and value; where it is `None` there is no entry.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let stock = builder.table("stock", Consumed::with(Utf8, I64), Materialized::named("stock", I64));
    /// stock
    ///     .filter_map_values(|item, count| (*count > 0).then(|| format!("{count} of {item}")))
    ///     .to_stream()
    ///     .to("labels", Produced::with(Utf8, Nullable(Utf8)));
    /// # builder.build().unwrap();
    /// ```
    #[must_use]
    pub fn filter_map_values<V2: 'static>(
        &self,
        mapper: impl Fn(&K, &V) -> Option<V2> + Send + Sync + 'static,
    ) -> KTable<K, V2> {
        let mapper = Arc::new(mapper);
        let computed = MappedTable {
            above: self.look_up(),
            map: Arc::new({
                let mapper = Arc::clone(&mapper);
                move |key: &K, value: V| mapper(key, &value)
            }),
        };
        let mut mapped = self.derived("KTABLE-MAPVALUES-", None, &[], move |wiring, result| {
            let mapper = Arc::clone(&mapper);
            Ok(Slot::new::<K, Change<V>>(TableMapValues {
                mapper,
                result,
                children: wiring.children(),
            }))
        });
        mapped.computed = Some(Rc::new(computed));
        mapped
    }

    /// A new value for each entry, made by a [`TableTransformer`] that may use the stores named. It
    /// is called for deletions too, and may answer with a value.
    ///
    /// Where the table is not kept, a join that looks it up asks a transformer once more, and also
    /// for keys that the table above does not have: one that changes its stores with each call had
    /// better be [`materialized`](Self::materialized).
    ///
    /// ```
    /// use tidemill_topology::prelude::*;
    ///
    /// /// Remembers the highest value that each key ever had.
    /// struct Peak {
    ///     peaks: Option<KeyValueHandle<String, i64>>,
    /// }
    ///
    /// impl TableTransformer<String, i64> for Peak {
    ///     type Out = i64;
    ///
    ///     fn init(&mut self, ctx: &mut ProcessorContext<'_, '_, (), ()>) -> Result {
    ///         self.peaks = Some(ctx.key_value("peaks")?);
    ///         Ok(())
    ///     }
    ///
    ///     fn transform(
    ///         &mut self,
    ///         key: &String,
    ///         value: Option<&i64>,
    ///         ctx: &mut ProcessorContext<'_, '_, (), ()>,
    ///     ) -> Result<Option<i64>> {
    ///         let Some(handle) = &self.peaks else { return Ok(None) };
    ///         let mut peaks = ctx.store(handle, Timestamp::new(0));
    ///         let peak = peaks.get(key)?.max(value.copied());
    ///         if let Some(peak) = &peak {
    ///             peaks.put(key, peak)?;
    ///         }
    ///         Ok(peak)
    ///     }
    /// }
    ///
    /// let builder = StreamsBuilder::new();
    /// builder.add_state_store(Stores::key_value("peaks", Utf8, I64));
    /// let stock = builder.table("stock", Consumed::with(Utf8, I64), Materialized::named("stock", I64));
    /// stock
    ///     .transform_values(|| Peak { peaks: None }, &["peaks"])
    ///     .to_stream()
    ///     .to("peaks", Produced::with(Utf8, Nullable(I64)));
    /// builder.build().unwrap();
    /// ```
    #[must_use]
    pub fn transform_values<T: TableTransformer<K, V>>(
        &self,
        supplier: impl Fn() -> T + Send + Sync + 'static,
        stores: &[&str],
    ) -> KTable<K, T::Out> {
        let stores: Vec<String> = stores.iter().map(|store| (*store).to_owned()).collect();
        let (bound, supplier) = (stores.clone(), Arc::new(supplier));
        let computed = TransformedTable {
            above: self.look_up(),
            supplier: Arc::clone(&supplier),
            stores: stores.clone(),
        };
        let make = move |wiring: &mut Wiring<'_>, result| {
            Ok(Slot::new::<K, Change<V>>(TableTransformValues {
                transformer: supplier(),
                stores: BoundStores::new(wiring, &bound)?,
                nobody: Children::new(&[]),
                result,
                children: wiring.children(),
            }))
        };
        let mut transformed = self.derived("KTABLE-TRANSFORMVALUES-", None, &stores, make);
        transformed.computed = Some(Rc::new(computed));
        transformed
    }

    /// A table below this one whose node `make` makes.
    fn derived<V2: 'static>(
        &self,
        prefix: &str,
        value: Option<SerdeRef<V2>>,
        stores: &[String],
        make: impl Fn(&mut Wiring<'_>, DerivedTable<K, V2>) -> Result<Slot> + Send + Sync + 'static,
    ) -> KTable<K, V2> {
        let name = self.plan.name(None, prefix);
        let store = TableStore::derived(&name, &self.store, self.key.clone(), value.clone());
        let (own, kept, key, others) =
            (name.clone(), store.clone(), self.key.clone(), stores.to_vec());
        let make = Arc::new(make);
        let node = self.plan.add(
            &[self.node],
            &name,
            Box::new(move |parents, graph| {
                let mut stores = kept.write(graph)?;
                let (kept_name, send_old) = (stores.first().cloned(), kept.sends_old());
                stores.extend(others.iter().cloned());
                let (make, key) = (Arc::clone(&make), key.clone());
                graph.add(
                    &own,
                    NodeKind::Processor,
                    parents,
                    &stores,
                    Arc::new(move |wiring| {
                        // A filter tells deletions by the old value, asked for or not.
                        let kept = kept_name.as_deref();
                        let kept = kept
                            .map(|name| TableState::bind(wiring, Some(name), true))
                            .transpose()?;
                        make(
                            wiring,
                            DerivedTable {
                                kept,
                                send_old,
                                key: key.clone(),
                                key_bytes: Vec::new(),
                            },
                        )
                    }),
                )
            }),
        );
        KTable {
            plan: self.plan.clone(),
            node,
            name,
            key: self.key.clone(),
            value,
            store,
            sources: self.sources.clone(),
            computed: None,
        }
    }
}
