//! A stream of records and its verbs.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use crate::dsl::branch::Split;
use crate::dsl::builder::{PlanRef, RepartitionSettings};
use crate::dsl::grouped::KGroupedStream;
use crate::dsl::options::{Grouped, Repartitioned};
use crate::error::{Cause, Error, Result};
use crate::graph::Factory;
use crate::node::Slot;
use crate::operators::filter::Filter;
use crate::operators::map::{FlatMap, FlatMapValues, Map, MapValues, SelectKey};
use crate::operators::pass_through::PassThrough;
use crate::operators::peek::Peek;
use crate::processor::{BoundStores, Processor, ProcessorNode};
use crate::serde::{Serde, SerdeRef};

/// A stream of records: each is a fact of its own.
///
/// It remembers the serdes that it was read with for as long as its types stay, and whether its key
/// has changed since: what groups or joins by key then repartitions first.
pub struct KStream<K, V> {
    pub(crate) plan: PlanRef,
    pub(crate) node: usize,
    pub(crate) name: String,
    pub(crate) key: Option<SerdeRef<K>>,
    pub(crate) value: Option<SerdeRef<V>>,
    pub(crate) key_changed: bool,
    /// The source topics that its partitions come from.
    pub(crate) sources: BTreeSet<Arc<str>>,
}

impl<K, V> Clone for KStream<K, V> {
    fn clone(&self) -> Self {
        Self {
            plan: self.plan.clone(),
            node: self.node,
            name: self.name.clone(),
            key: self.key.clone(),
            value: self.value.clone(),
            key_changed: self.key_changed,
            sources: self.sources.clone(),
        }
    }
}

impl<K: 'static, V: 'static> KStream<K, V> {
    /// A stream below this one, of other types.
    pub(crate) fn below<K2, V2>(
        &self,
        node: usize,
        name: String,
        key: Option<SerdeRef<K2>>,
        value: Option<SerdeRef<V2>>,
        key_changed: bool,
    ) -> KStream<K2, V2> {
        KStream {
            plan: self.plan.clone(),
            node,
            name,
            key,
            value,
            key_changed: self.key_changed || key_changed,
            sources: self.sources.clone(),
        }
    }

    fn step<K2, V2>(
        &self,
        prefix: &str,
        key: Option<SerdeRef<K2>>,
        value: Option<SerdeRef<V2>>,
        key_changed: bool,
        factory: Factory,
    ) -> KStream<K2, V2> {
        let name = self.plan.name(None, prefix);
        let node = self.plan.processor(&[self.node], &name, &[], factory);
        self.below(node, name, key, value, key_changed)
    }

    /// The records for which `predicate` holds.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// words.filter(|_, word| word.len() > 3).to("long", Produced::with(Utf8, Utf8));
    /// # builder.build().unwrap();
    /// ```
    pub fn filter(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filtered(true, predicate)
    }

    /// The records for which `predicate` does not hold.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// words.filter_not(|_, word| word.is_empty()).to("words-only", Produced::with(Utf8, Utf8));
    /// # builder.build().unwrap();
    /// ```
    pub fn filter_not(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filtered(false, predicate)
    }

    fn filtered(
        &self,
        keep: bool,
        predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static,
    ) -> Self {
        let predicate = Arc::new(predicate);
        self.step(
            "KSTREAM-FILTER-",
            self.key.clone(),
            self.value.clone(),
            false,
            Arc::new(move |wiring| {
                let predicate = Arc::clone(&predicate);
                Ok(Slot::new(Filter { predicate, keep, children: wiring.children::<K, V>() }))
            }),
        )
    }

    /// A new key and value for each record. What groups or joins by the new key repartitions first.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// words
    ///     .map(|_, word| (word.clone(), word.len() as i64))
    ///     .to("lengths", Produced::with(Utf8, I64));
    /// # builder.build().unwrap();
    /// ```
    pub fn map<K2: 'static, V2: 'static>(
        &self,
        mapper: impl Fn(&K, &V) -> (K2, V2) + Send + Sync + 'static,
    ) -> KStream<K2, V2> {
        let mapper = Arc::new(mapper);
        self.step(
            "KSTREAM-MAP-",
            None,
            None,
            true,
            Arc::new(move |wiring| {
                let map = Map { mapper: Arc::clone(&mapper), children: wiring.children() };
                Ok(Slot::new::<K, V>(map))
            }),
        )
    }

    /// A new value for each record, under its key.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// words.map_values(|word| word.to_uppercase()).to("loud", Produced::with(Utf8, Utf8));
    /// # builder.build().unwrap();
    /// ```
    pub fn map_values<V2: 'static>(
        &self,
        mapper: impl Fn(&V) -> V2 + Send + Sync + 'static,
    ) -> KStream<K, V2> {
        self.map_values_with_key(move |_, value| mapper(value))
    }

    /// A new value for each record, from its key and value.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// words.map_values_with_key(|key, word| format!("{key}: {word}")).to("lines", Produced::with(Utf8, Utf8));
    /// # builder.build().unwrap();
    /// ```
    pub fn map_values_with_key<V2: 'static>(
        &self,
        mapper: impl Fn(&K, &V) -> V2 + Send + Sync + 'static,
    ) -> KStream<K, V2> {
        self.values_mapped(move |key, value| Ok(mapper(key, value)))
    }

    /// A new value for each record, or an error, which goes to the processing handler.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// words
    ///     .try_map_values(|_, word| Ok(word.parse::<i64>()?))
    ///     .to("numbers", Produced::with(Utf8, I64));
    /// # builder.build().unwrap();
    /// ```
    pub fn try_map_values<V2: 'static>(
        &self,
        mapper: impl Fn(&K, &V) -> Result<V2, Cause> + Send + Sync + 'static,
    ) -> KStream<K, V2> {
        self.values_mapped(move |key, value| mapper(key, value).map_err(Error::processing))
    }

    fn values_mapped<V2: 'static>(
        &self,
        mapper: impl Fn(&K, &V) -> Result<V2> + Send + Sync + 'static,
    ) -> KStream<K, V2> {
        let mapper = Arc::new(mapper);
        self.step(
            "KSTREAM-MAPVALUES-",
            self.key.clone(),
            None,
            false,
            Arc::new(move |wiring| {
                let map =
                    MapValues { mapper: Arc::clone(&mapper), children: wiring.children::<K, V2>() };
                Ok(Slot::new::<K, V>(map))
            }),
        )
    }

    /// Any number of records for each.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let lines = builder.stream("lines", Consumed::with(Utf8, Utf8));
    /// lines
    ///     .flat_map(|_, line| line.split(' ').map(|word| (word.to_owned(), 1)).collect::<Vec<_>>())
    ///     .to("ones", Produced::with(Utf8, I64));
    /// # fn types(_: i64) {}
    /// # builder.build().unwrap();
    /// ```
    pub fn flat_map<I, K2: 'static, V2: 'static>(
        &self,
        mapper: impl Fn(&K, &V) -> I + Send + Sync + 'static,
    ) -> KStream<K2, V2>
    where
        I: IntoIterator<Item = (K2, V2)> + 'static,
    {
        let mapper = Arc::new(mapper);
        self.step(
            "KSTREAM-FLATMAP-",
            None,
            None,
            true,
            Arc::new(move |wiring| {
                let map = FlatMap { mapper: Arc::clone(&mapper), children: wiring.children() };
                Ok(Slot::new::<K, V>(map))
            }),
        )
    }

    /// Any number of values for each record, under its key.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let lines = builder.stream("lines", Consumed::with(Utf8, Utf8));
    /// lines
    ///     .flat_map_values(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    ///     .to("words", Produced::with(Utf8, Utf8));
    /// # builder.build().unwrap();
    /// ```
    pub fn flat_map_values<I, V2: 'static>(
        &self,
        mapper: impl Fn(&V) -> I + Send + Sync + 'static,
    ) -> KStream<K, V2>
    where
        I: IntoIterator<Item = V2> + 'static,
    {
        let mapper = Arc::new(move |_: &K, value: &V| mapper(value));
        self.step(
            "KSTREAM-FLATMAPVALUES-",
            self.key.clone(),
            None,
            false,
            Arc::new(move |wiring| {
                let map = FlatMapValues {
                    mapper: Arc::clone(&mapper),
                    children: wiring.children::<K, V2>(),
                };
                Ok(Slot::new::<K, V>(map))
            }),
        )
    }

    /// A new key for each record.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// words.select_key(|_, word| word.clone()).to("by-word", Produced::with(Utf8, Utf8));
    /// # builder.build().unwrap();
    /// ```
    pub fn select_key<K2: 'static>(
        &self,
        selector: impl Fn(&K, &V) -> K2 + Send + Sync + 'static,
    ) -> KStream<K2, V> {
        self.keyed_by(self.plan.name(None, "KSTREAM-KEY-SELECT-"), selector)
    }

    fn keyed_by<K2: 'static>(
        &self,
        name: String,
        selector: impl Fn(&K, &V) -> K2 + Send + Sync + 'static,
    ) -> KStream<K2, V> {
        let selector = Arc::new(selector);
        let factory: Factory = Arc::new(move |wiring| {
            let map =
                SelectKey { selector: Arc::clone(&selector), children: wiring.children::<K2, V>() };
            Ok(Slot::new::<K, V>(map))
        });
        let node = self.plan.processor(&[self.node], &name, &[], factory);
        self.below(node, name, None, self.value.clone(), true)
    }

    /// Shows each record to `action` on its way.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// words.peek(|key, word| eprintln!("{key}: {word}")).to("seen", Produced::with(Utf8, Utf8));
    /// # builder.build().unwrap();
    /// ```
    pub fn peek(&self, action: impl Fn(&K, &V) + Send + Sync + 'static) -> Self {
        self.looked_at("KSTREAM-PEEK-", action)
    }

    /// Gives the operation that made this stream a name, in descriptions, errors and metrics: the
    /// `Named` of Kafka Streams. Other operations keep the numbers in their generated names.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// let long = words.filter(|_, word| word.len() > 3).named("long-words");
    /// long.map_values(|word| word.to_uppercase()).to("shouted", Produced::with(Utf8, Utf8));
    /// let described = builder.build().unwrap().describe().to_string();
    /// assert!(described.contains("Processor: long-words (stores: [])"));
    /// assert!(described.contains("--> KSTREAM-MAPVALUES-0000000002"));
    /// ```
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.plan.rename(&self.name, &name);
        self.name = name;
        self
    }

    /// Shows each record to `action`, as the end of the stream.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// words.for_each(|key, word| eprintln!("{key}: {word}"));
    /// # builder.build().unwrap();
    /// ```
    pub fn for_each(&self, action: impl Fn(&K, &V) + Send + Sync + 'static) {
        self.looked_at("KSTREAM-FOREACH-", action);
    }

    /// As [`for_each`](Self::for_each), with a name for the node.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// words.for_each_named("show", |key, word| eprintln!("{key}: {word}"));
    /// assert!(builder.build().unwrap().describe().to_string().contains("Processor: show"));
    /// ```
    pub fn for_each_named(
        &self,
        name: impl Into<String>,
        action: impl Fn(&K, &V) + Send + Sync + 'static,
    ) {
        let _ = self.looked_at("KSTREAM-FOREACH-", action).named(name);
    }

    fn looked_at(&self, prefix: &str, action: impl Fn(&K, &V) + Send + Sync + 'static) -> Self {
        let action = Arc::new(action);
        self.step(
            prefix,
            self.key.clone(),
            self.value.clone(),
            false,
            Arc::new(move |wiring| {
                let action = Arc::clone(&action);
                Ok(Slot::new(Peek { action, children: wiring.children::<K, V>() }))
            }),
        )
    }

    /// This stream's records and another's, in the order in which they are processed.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// let buys = builder.stream("buys", Consumed::with(Utf8, Utf8));
    /// let sells = builder.stream("sells", Consumed::with(Utf8, Utf8));
    /// buys.merge(&sells).to("orders", Produced::with(Utf8, Utf8));
    /// # builder.build().unwrap();
    /// ```
    pub fn merge(&self, other: &Self) -> Self {
        let name = self.plan.name(None, "KSTREAM-MERGE-");
        let node = self.plan.processor(
            &[self.node, other.node],
            &name,
            &[],
            Arc::new(|wiring| Ok(Slot::new(PassThrough { children: wiring.children::<K, V>() }))),
        );
        let mut merged =
            self.below(node, name, self.key.clone(), self.value.clone(), other.key_changed);
        merged.sources.extend(other.sources.iter().cloned());
        merged
    }

    /// Sends each record down the first of several branches that takes it.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// let branches = words
    ///     .split()
    ///     .branch("short", |_, word| word.len() < 4)
    ///     .branch("long", |_, word| word.len() > 9)
    ///     .default_branch("rest");
    /// branches["short"].to("short-words", Produced::with(Utf8, Utf8));
    /// # builder.build().unwrap();
    /// ```
    #[must_use]
    pub fn split(&self) -> Split<K, V> {
        Split::new(self.clone(), None)
    }

    /// As [`split`](Self::split), with a name that the branches' names start with.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// let branches = words.split_named("by-length-").branch("short", |_, word| word.len() < 4).no_default_branch();
    /// # assert!(branches.get("short").is_some());
    /// assert!(builder.build().unwrap().describe().to_string().contains("by-length-1"));
    /// ```
    #[must_use]
    pub fn split_named(&self, name: impl Into<String>) -> Split<K, V> {
        Split::new(self.clone(), Some(name.into()))
    }

    /// Runs a [`Processor`] of one's own over the stream, connected to the stores named.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// /// Answers each word with its length.
    /// struct Length;
    /// impl Processor<String, String> for Length {
    ///     type KeyOut = String;
    ///     type ValueOut = i64;
    ///     fn process(
    ///         &mut self,
    ///         word: Record<'_, String, String>,
    ///         ctx: &mut ProcessorContext<'_, '_, String, i64>,
    ///     ) -> Result {
    ///         ctx.forward(word.with_value(&(word.value.len() as i64)))
    ///     }
    /// }
    /// words.process(|| Length, &[]).to("lengths", Produced::with(Utf8, I64));
    /// # builder.build().unwrap();
    /// ```
    pub fn process<P: Processor<K, V>>(
        &self,
        supplier: impl Fn() -> P + Send + Sync + 'static,
        stores: &[&str],
    ) -> KStream<P::KeyOut, P::ValueOut> {
        self.process_named(None, supplier, stores)
    }

    /// As [`process`](Self::process), with a name for the node.
    pub fn process_named<P: Processor<K, V>>(
        &self,
        name: Option<&str>,
        supplier: impl Fn() -> P + Send + Sync + 'static,
        stores: &[&str],
    ) -> KStream<P::KeyOut, P::ValueOut> {
        let name = self.plan.name_unless_given(name, "KSTREAM-PROCESSOR-");
        let node = self.processed(&name, supplier, stores);
        self.below(node, name, None, None, true)
    }

    /// Runs a [`Processor`] that keeps each record's key: the stream need not be repartitioned
    /// afterwards. That the key is kept is the processor's word.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// # struct Length;
    /// # impl Processor<String, String> for Length {
    /// #     type KeyOut = String;
    /// #     type ValueOut = i64;
    /// #     fn process(&mut self, word: Record<'_, String, String>, ctx: &mut ProcessorContext<'_, '_, String, i64>) -> Result {
    /// #         ctx.forward(word.with_value(&(word.value.len() as i64)))
    /// #     }
    /// # }
    /// words
    ///     .process_values(|| Length, &[])
    ///     .with_serdes(Utf8, I64)
    ///     .group_by_key(Grouped::with(Utf8, I64))
    ///     .count(Materialized::named("counts", I64));
    /// // No repartition topic is needed.
    /// assert_eq!(builder.build().unwrap().subtopologies().len(), 1);
    /// ```
    pub fn process_values<V2: 'static, P: Processor<K, V, KeyOut = K, ValueOut = V2>>(
        &self,
        supplier: impl Fn() -> P + Send + Sync + 'static,
        stores: &[&str],
    ) -> KStream<K, V2> {
        self.process_values_named(None, supplier, stores)
    }

    /// As [`process_values`](Self::process_values), with a name for the node.
    pub fn process_values_named<V2: 'static, P: Processor<K, V, KeyOut = K, ValueOut = V2>>(
        &self,
        name: Option<&str>,
        supplier: impl Fn() -> P + Send + Sync + 'static,
        stores: &[&str],
    ) -> KStream<K, V2> {
        let name = self.plan.name_unless_given(name, "KSTREAM-PROCESSVALUES-");
        let node = self.processed(&name, supplier, stores);
        self.below(node, name, self.key.clone(), None, false)
    }

    fn processed<P: Processor<K, V>>(
        &self,
        name: &str,
        supplier: impl Fn() -> P + Send + Sync + 'static,
        stores: &[&str],
    ) -> usize {
        let stores: Vec<String> = stores.iter().map(|store| (*store).to_owned()).collect();
        let bound = stores.clone();
        self.plan.processor(
            &[self.node],
            name,
            &stores,
            Arc::new(move |wiring| {
                let stores = BoundStores::new(wiring, &bound)?;
                Ok(Slot::new::<K, V>(ProcessorNode::new(supplier(), wiring.children(), stores)))
            }),
        )
    }

    /// Writes the stream to an internal topic and reads it back, so that records of one key meet in
    /// one task. Records with a null key go no further, uncounted.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// words
    ///     .select_key(|_, word| word.clone())
    ///     .repartition(Repartitioned::with(Utf8, Utf8).named("by-word"))
    ///     .to("by-word", Produced::with(Utf8, Utf8));
    /// assert_eq!(builder.build().unwrap().subtopologies().len(), 2);
    /// ```
    pub fn repartition(&self, repartitioned: Repartitioned<K, V>) -> Self {
        let given = repartitioned.name.is_some();
        let prefix =
            self.plan.name_unless_given(repartitioned.name.as_deref(), "KSTREAM-REPARTITION-");
        let (key, value) = (repartitioned.key.clone(), repartitioned.value.clone());
        let settings = RepartitionSettings {
            key: repartitioned.key,
            value: repartitioned.value,
            partitions: repartitioned.partitions,
            partitioner: repartitioned.partitioner,
            skips_null_keys: Rc::new(Cell::new(true)),
        };
        self.through(&prefix, !given, key, value, settings)
    }

    /// The stream read back from a repartition topic.
    pub(crate) fn through(
        &self,
        prefix: &str,
        generated: bool,
        key: SerdeRef<K>,
        value: SerdeRef<V>,
        settings: RepartitionSettings<K, V>,
    ) -> Self {
        let read = self.plan.repartition(self.node, prefix, generated, settings);
        self.read_back(read, key, value)
    }

    /// As [`through`](Self::through), for a join, which shares it with others of the same name.
    pub(crate) fn through_for_join(
        &self,
        prefix: &str,
        generated: bool,
        key: SerdeRef<K>,
        value: SerdeRef<V>,
        settings: RepartitionSettings<K, V>,
    ) -> Self {
        let read = self.plan.repartition_for_join(self.node, prefix, generated, settings);
        self.read_back(read, key, value)
    }

    fn read_back(
        &self,
        (node, name, topic): (usize, String, Arc<str>),
        key: SerdeRef<K>,
        value: SerdeRef<V>,
    ) -> Self {
        KStream {
            plan: self.plan.clone(),
            node,
            name,
            key: Some(key),
            value: Some(value),
            key_changed: false,
            sources: BTreeSet::from([topic]),
        }
    }

    /// Groups the stream by its key; a stream whose key has changed is repartitioned first.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// words
    ///     .group_by_key(Grouped::with(Utf8, Utf8))
    ///     .count(Materialized::named("counts", I64))
    ///     .to_stream();
    /// # builder.build().unwrap();
    /// ```
    pub fn group_by_key(&self, grouped: Grouped<K, V>) -> KGroupedStream<K, V> {
        KGroupedStream::new(self.clone(), grouped)
    }

    /// Groups the stream by another key; it is repartitioned first.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// words
    ///     .group_by(|_, word| word.clone(), Grouped::with(Utf8, Utf8))
    ///     .count(Materialized::named("counts", I64))
    ///     .to_stream();
    /// # builder.build().unwrap();
    /// ```
    pub fn group_by<K2: 'static>(
        &self,
        selector: impl Fn(&K, &V) -> K2 + Send + Sync + 'static,
        grouped: Grouped<K2, V>,
    ) -> KGroupedStream<K2, V> {
        let name = self.plan.name(grouped.name.as_deref(), "KSTREAM-KEY-SELECT-");
        KGroupedStream::new(self.keyed_by(name, selector), grouped)
    }

    /// The same stream with serdes for types that an operation made: what groups or joins it later
    /// uses them.
    #[must_use]
    pub fn with_serdes(mut self, key: impl Serde<K>, value: impl Serde<V>) -> Self {
        self.key = Some(Arc::new(key));
        self.value = Some(Arc::new(value));
        self
    }
}
