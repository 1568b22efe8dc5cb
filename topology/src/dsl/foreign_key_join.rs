//! Joins of two tables by a foreign key.

use std::sync::Arc;

use crate::dsl::table::{KTable, TableStore};
use crate::dsl::table_join::TableJoined;
use crate::dsl::table_lookup::TableLookUp;
use crate::error::Result;
use crate::graph::{Factory, Graph, NodeKind, RepartitionTopic, Store};
use crate::node::{SinkTopic, Slot};
use crate::operators::foreign_key::{
    Answer, AnswerForeignChange, AnswerSerde, AnswerSubscription, KeepSubscription, ResolveAnswer,
    Subscribe, Subscription, SubscriptionSerde,
};
use crate::operators::held_table::KeptTable;
use crate::operators::sink::{Destination, Sink, Target};
use crate::operators::source::Source;
use crate::operators::table_state::TableState;
use crate::serde::{Bytes, Missing, Nullable, SerdeRef};
use crate::store::spec::{StoreKind, StoreSpec};

impl<K: 'static, V: 'static> KTable<K, V> {
    /// Each row with the row of the other table that its foreign key points to; a change of either
    /// row changes the result. Rows without a foreign key, or whose key finds nothing, have none.
    /// The values of both tables travel, so they need serdes: a table that is computed from another
    /// and not kept is given one by [`with_values`](Self::with_values).
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// let orders = builder.table("orders", Consumed::with(Utf8, Utf8), Materialized::named("orders", Utf8));
    /// let customers =
    ///     builder.table("customers", Consumed::with(Utf8, Utf8), Materialized::named("customers", Utf8));
    /// orders
    ///     .join_by_foreign_key(
    ///         &customers,
    ///         |_, order| order.split(' ').next().map(str::to_owned),
    ///         |_, order, customer| format!("{order} of {customer}"),
    ///         TableJoined::new().named("with-customer"),
    ///     )
    ///     .materialized(Materialized::named("orders-with-customer", Utf8));
    /// # builder.build().unwrap();
    /// ```
    pub fn join_by_foreign_key<FK: 'static, FV: 'static, R: 'static>(
        &self,
        other: &KTable<FK, FV>,
        foreign_key: impl Fn(&K, &V) -> Option<FK> + Send + Sync + 'static,
        joiner: impl Fn(&K, &V, &FV) -> R + Send + Sync + 'static,
        joined: TableJoined,
    ) -> KTable<K, R> {
        let joiner = move |key: &K, row: &V, foreign: Option<&FV>| Some(joiner(key, row, foreign?));
        ForeignKeyJoin::new(self, other, foreign_key, joiner, false, &joined).add(self, other)
    }

    /// As [`join_by_foreign_key`](Self::join_by_foreign_key), and every row has a result, with or
    /// without a row of the other table.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let orders = builder.table("orders", Consumed::with(Utf8, Utf8), Materialized::named("orders", Utf8));
    /// # let customers =
    /// #     builder.table("customers", Consumed::with(Utf8, Utf8), Materialized::named("customers", Utf8));
    /// orders
    ///     .left_join_by_foreign_key(
    ///         &customers,
    ///         |_, order| order.split(' ').next().map(str::to_owned),
    ///         |_, order, customer| format!("{order} of {customer:?}"),
    ///         TableJoined::new().named("with-customer"),
    ///     )
    ///     .materialized(Materialized::named("orders-with-customer", Utf8));
    /// # builder.build().unwrap();
    /// ```
    pub fn left_join_by_foreign_key<FK: 'static, FV: 'static, R: 'static>(
        &self,
        other: &KTable<FK, FV>,
        foreign_key: impl Fn(&K, &V) -> Option<FK> + Send + Sync + 'static,
        joiner: impl Fn(&K, &V, Option<&FV>) -> R + Send + Sync + 'static,
        joined: TableJoined,
    ) -> KTable<K, R> {
        let joiner = move |key: &K, row: &V, foreign: Option<&FV>| Some(joiner(key, row, foreign));
        ForeignKeyJoin::new(self, other, foreign_key, joiner, true, &joined).add(self, other)
    }
}

/// The names of a foreign-key join's nodes, topics and store, in the order in which Kafka Streams
/// numbers them.
struct Names {
    subscription_topic: String,
    subscribe: String,
    subscription_sink: String,
    subscription_source: String,
    store: String,
    keep: String,
    answer_subscription: String,
    answer_change: String,
    answer_topic: String,
    answer_sink: String,
    answer_source: String,
    resolve: String,
    result: String,
}

impl Names {
    fn new(joined: &TableJoined, mut generated: impl FnMut(&str) -> String) -> Self {
        let mut part = |suffix: &str, prefix: &str| joined.part(suffix, generated(prefix));
        const REGISTRATION: &str = "KTABLE-FK-JOIN-SUBSCRIPTION-REGISTRATION-";
        const PROCESSOR: &str = "KTABLE-FK-JOIN-SUBSCRIPTION-PROCESSOR-";
        Self {
            subscription_topic: part("-subscription-registration", REGISTRATION) + "-topic",
            subscribe: part("-subscription-registration-processor", REGISTRATION),
            subscription_sink: part("-subscription-registration-sink", "KTABLE-SINK-"),
            subscription_source: part("-subscription-registration-source", "KTABLE-SOURCE-"),
            store: part("-subscription-store", "KTABLE-FK-JOIN-SUBSCRIPTION-STATE-STORE-"),
            keep: part("-subscription-receive", PROCESSOR),
            answer_subscription: part("-subscription-join-foreign", PROCESSOR),
            answer_change: part("-foreign-join-subscription", PROCESSOR),
            answer_topic: part("-subscription-response", "KTABLE-FK-JOIN-SUBSCRIPTION-RESPONSE-")
                + "-topic",
            answer_sink: part("-subscription-response-sink", "KTABLE-SINK-"),
            answer_source: part("-subscription-response-source", "KTABLE-SOURCE-"),
            resolve: part(
                "-subscription-response-resolver",
                "KTABLE-FK-JOIN-SUBSCRIPTION-RESPONSE-RESOLVER-PROCESSOR-",
            ),
            result: part("-result", "KTABLE-FK-JOIN-OUTPUT-"),
        }
    }
}

/// A foreign-key join, as declared: its functions, names and serdes.
struct ForeignKeyJoin<K, V, FK, FV, E, J> {
    extract: Arc<E>,
    joiner: Arc<J>,
    left: bool,
    names: Names,
    key: SerdeRef<K>,
    value: SerdeRef<V>,
    foreign_key: SerdeRef<FK>,
    foreign_value: SerdeRef<FV>,
    left_table: TableLookUp<K, V>,
    right_table: TableLookUp<FK, FV>,
}

impl<K, V, FK, FV, E, J> ForeignKeyJoin<K, V, FK, FV, E, J>
where
    K: 'static,
    V: 'static,
    FK: 'static,
    FV: 'static,
    E: Fn(&K, &V) -> Option<FK> + Send + Sync + 'static,
{
    fn new(
        table: &KTable<K, V>,
        other: &KTable<FK, FV>,
        extract: E,
        joiner: J,
        left: bool,
        joined: &TableJoined,
    ) -> Self {
        let (left_table, right_table) = (table.look_up(), other.look_up());
        left_table.require();
        table.store.request_old(true);
        right_table.require();
        // A filter above then tells no deletion of what it had not let through.
        other.store.request_old(true);
        if table.value.is_none() || other.value.is_none() {
            table.plan.error(format!(
                "the foreign-key join of {} and {} needs serdes for both tables' values: call with_values(..) on them",
                table.name, other.name
            ));
        }
        Self {
            extract: Arc::new(extract),
            joiner: Arc::new(joiner),
            left,
            names: Names::new(joined, |prefix| table.plan.name(None, prefix)),
            key: table.key.clone(),
            value: table.value.clone().unwrap_or_else(|| Arc::new(Missing)),
            foreign_key: other.key.clone(),
            foreign_value: other.value.clone().unwrap_or_else(|| Arc::new(Missing)),
            left_table,
            right_table,
        }
    }

    fn add<R: 'static>(self, table: &KTable<K, V>, other: &KTable<FK, FV>) -> KTable<K, R>
    where
        J: Fn(&K, &V, Option<&FV>) -> Option<R> + Send + Sync + 'static,
    {
        let name = self.names.result.clone();
        let (index, store) = table.plan.generated_store_name("KTABLE-FK-JOIN-OUTPUT-");
        let store = TableStore::of_join::<K, R>(store, index, self.key.clone());
        let with = |topic: &str, sources: &std::collections::BTreeSet<Arc<str>>| {
            let mut together = sources.clone();
            together.insert(topic.into());
            together
        };
        let left_together = with(&self.names.answer_topic, &table.sources);
        let right_together = with(&self.names.subscription_topic, &other.sources);
        let kept = store.clone();
        let node = table.plan.add(
            &[table.node, other.node],
            &name,
            Box::new(move |parents, graph| {
                graph.copartition(left_together.clone());
                graph.copartition(right_together.clone());
                self.subscribe(&parents[0], graph)?;
                self.answer(&parents[1], graph)?;
                self.resolve(&kept, graph)
            }),
        );
        KTable {
            plan: table.plan.clone(),
            node,
            name,
            key: table.key.clone(),
            value: None,
            store,
            sources: table.sources.clone(),
            computed: None,
        }
    }

    /// The left task's way to the right one.
    fn subscribe(&self, parent: &String, graph: &mut Graph) -> Result {
        let Names { subscribe, subscription_sink, subscription_topic, .. } = &self.names;
        let (extract, left) = (Arc::clone(&self.extract), self.left);
        let (key, value, foreign_key) =
            (self.key.clone(), self.value.clone(), self.foreign_key.clone());
        let factory: Factory = Arc::new(move |wiring| {
            Ok(Slot::new(Subscribe {
                extract: Arc::clone(&extract),
                key: key.clone(),
                value: value.clone(),
                foreign_key: foreign_key.clone(),
                left,
                children: wiring.children(),
            }))
        });
        graph.add(subscribe, NodeKind::Processor, std::slice::from_ref(parent), &[], factory)?;
        let topic = internal(subscription_topic, graph);
        let target = topic.clone();
        graph.add(
            subscription_sink,
            NodeKind::Sink { topic: Some(topic) },
            std::slice::from_ref(subscribe),
            &[],
            Arc::new(move |_| {
                Ok(Slot::new(Sink::<Option<Vec<u8>>, Subscription> {
                    target: Target::Fixed(target.clone()),
                    key: Arc::new(Nullable(Bytes)),
                    value: Arc::new(SubscriptionSerde),
                    partitioner: None,
                }))
            }),
        )
    }

    /// The right task: who asked, and the answers.
    fn answer(&self, parent: &String, graph: &mut Graph) -> Result {
        let names = &self.names;
        let source: Factory = Arc::new(|wiring| {
            Ok(Slot::source(Source::<Option<Vec<u8>>, Subscription> {
                key: Arc::new(Nullable(Bytes)),
                value: Arc::new(SubscriptionSerde),
                extractor: None,
                times: Vec::new(),
                children: wiring.children(),
            }))
        });
        let read = NodeKind::Source { topics: vec![internal(&names.subscription_topic, graph)] };
        graph.add(&names.subscription_source, read, &[], &[], source)?;
        let spec = StoreSpec::new(names.store.clone(), StoreKind::TimestampedKeyValue);
        graph.add_store(Store::new::<Vec<u8>, Subscription>(
            spec,
            Arc::new(Bytes),
            Arc::new(SubscriptionSerde),
        ))?;
        let stores = std::slice::from_ref(&names.store);
        let store = names.store.clone();
        graph.add(
            &names.keep,
            NodeKind::Processor,
            std::slice::from_ref(&names.subscription_source),
            stores,
            Arc::new(move |wiring| {
                let store = wiring.timestamped(&store)?;
                Ok(Slot::new(KeepSubscription {
                    store,
                    key: Vec::new(),
                    children: wiring.children(),
                }))
            }),
        )?;
        let (store, key, value) =
            (names.store.clone(), self.foreign_key.clone(), self.foreign_value.clone());
        let (table, serde) = (self.right_table.view(), value.clone());
        graph.add(
            &names.answer_subscription,
            NodeKind::Processor,
            std::slice::from_ref(&names.keep),
            &self.right_table.stores(),
            Arc::new(move |wiring| {
                let (table, value) = (table(wiring)?, serde.clone());
                Ok(Slot::new(AnswerSubscription { table, value, children: wiring.children() }))
            }),
        )?;
        graph.add(
            &names.answer_change,
            NodeKind::Processor,
            std::slice::from_ref(parent),
            stores,
            Arc::new(move |wiring| {
                Ok(Slot::new(AnswerForeignChange {
                    key: key.clone(),
                    value: value.clone(),
                    store: wiring.timestamped(&store)?,
                    children: wiring.children(),
                }))
            }),
        )?;
        let topic = internal(&names.answer_topic, graph);
        let target = topic.clone();
        graph.add(
            &names.answer_sink,
            NodeKind::Sink { topic: Some(topic) },
            &[names.answer_subscription.clone(), names.answer_change.clone()],
            &[],
            Arc::new(move |_| {
                Ok(Slot::new(Sink::<Vec<u8>, Answer> {
                    target: Target::Fixed(target.clone()),
                    key: Arc::new(Bytes),
                    value: Arc::new(AnswerSerde),
                    partitioner: Some(Arc::new(|_, answer, _| Destination::One(answer.partition))),
                }))
            }),
        )
    }

    /// The left task again: answers become results.
    fn resolve<R: 'static>(&self, kept: &TableStore, graph: &mut Graph) -> Result
    where
        J: Fn(&K, &V, Option<&FV>) -> Option<R> + Send + Sync + 'static,
    {
        let names = &self.names;
        let key = self.key.clone();
        let source: Factory = Arc::new(move |wiring| {
            Ok(Slot::source(Source::<K, Answer> {
                key: key.clone(),
                value: Arc::new(AnswerSerde),
                extractor: None,
                times: Vec::new(),
                children: wiring.children(),
            }))
        });
        let read = NodeKind::Source { topics: vec![internal(&names.answer_topic, graph)] };
        graph.add(&names.answer_source, read, &[], &[], source)?;
        let stores = kept.write(graph)?;
        let (joiner, left) = (Arc::clone(&self.joiner), self.left);
        let (table, value) = (self.left_table.view(), self.value.clone());
        let foreign_value = self.foreign_value.clone();
        let (result, sends_old) = (stores.first().cloned(), kept.sends_old());
        let held = result.clone();
        graph.add(
            &names.resolve,
            NodeKind::Processor,
            std::slice::from_ref(&names.answer_source),
            &self.left_table.stores(),
            Arc::new(move |wiring| {
                Ok(Slot::new(ResolveAnswer::<J, K, V, FV, R> {
                    joiner: Arc::clone(&joiner),
                    left,
                    table: table(wiring)?,
                    value: value.clone(),
                    foreign_value: foreign_value.clone(),
                    result: TableState::bind(wiring, result.as_deref(), sends_old)?,
                    key_bytes: Vec::new(),
                    value_bytes: Vec::new(),
                    children: wiring.children(),
                }))
            }),
        )?;
        // The node above keeps the result; this one stands for it in the graph.
        graph.add(
            &names.result,
            NodeKind::Processor,
            std::slice::from_ref(&names.resolve),
            &stores,
            Arc::new(move |wiring| {
                Ok(Slot::new(KeptTable::<K, R>::bind(wiring, held.as_deref(), sends_old)?))
            }),
        )
    }
}

/// A topic between the two tasks.
fn internal(name: &str, graph: &mut Graph) -> SinkTopic {
    let topic = SinkTopic { name: name.into(), internal: true };
    graph.add_repartition_topic(RepartitionTopic {
        name: topic.name.clone(),
        partitions: None,
        formats: ["foreign-key join".to_owned(), "foreign-key join".to_owned()],
    });
    topic
}
