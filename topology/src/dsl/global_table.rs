//! Global tables and stores: data that every instance has whole, whatever its partitions.

use std::sync::Arc;

use crate::dsl::builder::StreamsBuilder;
use crate::dsl::options::{Consumed, Materialized};
use crate::graph::{NodeKind, Store};
use crate::node::{SinkTopic, Slot};
use crate::operators::change::Change;
use crate::operators::pass_through::PassThrough;
use crate::operators::source::Source;
use crate::operators::table_source::TableSource;
use crate::operators::table_state::TableState;
use crate::processor::{BoundStores, Processor, ProcessorNode};
use crate::serde::SerdeRef;
use crate::store::spec::{StoreKind, StoreSpec};

/// A table that every instance has whole: streams join it by any key, without repartitioning.
///
/// It is read to its end before the first record is processed, and takes no part in stream time.
pub struct GlobalKTable<K, V> {
    pub(crate) store: String,
    pub(crate) key: SerdeRef<K>,
    pub(crate) value: SerdeRef<V>,
}

impl<K, V> Clone for GlobalKTable<K, V> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), key: self.key.clone(), value: self.value.clone() }
    }
}

impl StreamsBuilder {
    /// Reads all partitions of a compacted topic as a table that every instance has whole.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// let assets = builder.global_table("assets", Consumed::with(Utf8, Utf8), Materialized::named("assets", Utf8));
    /// # builder.build().unwrap();
    /// ```
    pub fn global_table<K: 'static, V: 'static>(
        &self,
        topic: impl Into<String>,
        consumed: Consumed<K, V>,
        materialized: Materialized<V>,
    ) -> GlobalKTable<K, V> {
        let topic = SinkTopic { name: topic.into().into(), internal: false };
        let store_name =
            self.plan.store_name(materialized.name.as_deref(), &format!("{}-", topic.name));
        let source = self.plan.name(consumed.name.as_deref(), "KSTREAM-SOURCE-");
        let name = self.plan.name(None, "KTABLE-SOURCE-");
        // The topic itself is what the store is restored from.
        let spec = StoreSpec {
            persistent: materialized.persistent,
            logged: false,
            time_to_live_ms: materialized.time_to_live_ms,
            ..StoreSpec::new(store_name.clone(), StoreKind::TimestampedKeyValue)
        };
        let table = GlobalKTable {
            store: store_name.clone(),
            key: consumed.key.clone(),
            value: materialized.value.clone(),
        };
        let store = Store::new(spec, consumed.key.clone(), materialized.value);
        let own = name.clone();
        self.plan.add(
            &[],
            &name,
            Box::new(move |_, graph| {
                graph.add_global_store(store.clone())?;
                let (settings, read, kept) =
                    (consumed.clone(), topic.name.to_string(), store_name.clone());
                graph.add(
                    &source,
                    NodeKind::Source { topics: vec![topic.clone()] },
                    &[],
                    &[],
                    Arc::new(move |wiring| {
                        Ok(Slot::source(TableSource {
                            key: settings.key.clone(),
                            value: settings.value.clone(),
                            extractor: settings.extractor.clone(),
                            times: vec![(read.clone(), wiring.time_slot())],
                            table: TableState::bind(wiring, Some(&kept), false)?,
                            children: wiring.children(),
                        }))
                    }),
                )?;
                graph.add(
                    &own,
                    NodeKind::Processor,
                    std::slice::from_ref(&source),
                    std::slice::from_ref(&store_name),
                    Arc::new(|wiring| {
                        Ok(Slot::new(PassThrough::<K, Change<V>> { children: wiring.children() }))
                    }),
                )
            }),
        );
        table
    }

    /// Reads all partitions of a topic into a store that every instance has whole, by a
    /// [`Processor`] of one's own: it has to put each record into the store, which is restored by
    /// running it over the topic again.
    ///
    /// ```
    /// use tidemill_topology::prelude::*;
    ///
    /// /// Keeps the limits that are above zero.
    /// struct KeepLimits {
    ///     limits: Option<KeyValueHandle<String, i64>>,
    /// }
    ///
    /// impl Processor<String, i64> for KeepLimits {
    ///     type KeyOut = ();
    ///     type ValueOut = ();
    ///
    ///     fn init(&mut self, ctx: &mut ProcessorContext<'_, '_, (), ()>) -> Result {
    ///         self.limits = Some(ctx.key_value("limits")?);
    ///         Ok(())
    ///     }
    ///
    ///     fn process(
    ///         &mut self,
    ///         record: Record<'_, String, i64>,
    ///         ctx: &mut ProcessorContext<'_, '_, (), ()>,
    ///     ) -> Result {
    ///         match &self.limits {
    ///             Some(limits) if *record.value > 0 => {
    ///                 ctx.store(limits, record.timestamp).put(record.key, record.value)
    ///             }
    ///             _ => Ok(()),
    ///         }
    ///     }
    /// }
    ///
    /// let builder = StreamsBuilder::new();
    /// builder.add_global_store(
    ///     Stores::key_value("limits", Utf8, I64),
    ///     "limits",
    ///     Consumed::with(Utf8, I64),
    ///     || KeepLimits { limits: None },
    /// );
    /// builder.build().unwrap();
    /// ```
    pub fn add_global_store<K: 'static, V: 'static, P: Processor<K, V>>(
        &self,
        mut store: Store,
        topic: impl Into<String>,
        consumed: Consumed<K, V>,
        supplier: impl Fn() -> P + Send + Sync + 'static,
    ) {
        store.spec.logged = false;
        let topic = SinkTopic { name: topic.into().into(), internal: false };
        let source = self.plan.name(consumed.name.as_deref(), "KSTREAM-SOURCE-");
        let name = self.plan.name(None, "KTABLE-SOURCE-");
        let supplier = Arc::new(supplier);
        let own = name.clone();
        self.plan.add(
            &[],
            &name,
            Box::new(move |_, graph| {
                graph.add_global_store(store.clone())?;
                let (settings, read) = (consumed.clone(), topic.name.to_string());
                graph.add(
                    &source,
                    NodeKind::Source { topics: vec![topic.clone()] },
                    &[],
                    &[],
                    Arc::new(move |wiring| {
                        Ok(Slot::source(Source {
                            key: settings.key.clone(),
                            value: settings.value.clone(),
                            extractor: settings.extractor.clone(),
                            times: vec![(read.clone(), wiring.time_slot())],
                            children: wiring.children::<K, V>(),
                        }))
                    }),
                )?;
                let (supplier, stores) = (Arc::clone(&supplier), [store.spec.name.clone()]);
                let bound = stores.clone();
                graph.add(
                    &own,
                    NodeKind::Processor,
                    std::slice::from_ref(&source),
                    &stores,
                    Arc::new(move |wiring| {
                        let stores = BoundStores::new(wiring, &bound)?;
                        Ok(Slot::new::<K, V>(ProcessorNode::new(
                            supplier(),
                            wiring.children(),
                            stores,
                        )))
                    }),
                )
            }),
        );
    }
}
