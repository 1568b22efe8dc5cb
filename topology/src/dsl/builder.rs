//! Where a topology starts: sources, stores, and the graph behind the DSL.
//!
//! Each verb of the DSL adds a logical node, which writes its physical ones when the topology is
//! built. Names are generated as Kafka Streams generates them: a prefix and a counter that every
//! operation advances, named or not.

use std::any::TypeId;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use crate::dsl::options::{Consumed, Materialized};
use crate::dsl::stream::KStream;
use crate::dsl::table::{KTable, TableStore, is_generated};
use crate::error::{Error, Result};
use crate::graph::{Factory, Graph, NodeKind, Optimization, RepartitionTopic, Store, Topology};
use crate::node::{SinkTopic, Slot};
use crate::operators::held_table::KeptTable;
use crate::operators::sink::{Partitioner, Sink, Target};
use crate::operators::source::Source;
use crate::operators::table_source::TableSource;
use crate::operators::table_state::TableState;
use crate::serde::SerdeRef;

/// Writes a logical node's physical ones below the named parents.
pub(crate) type Write = Box<dyn Fn(&[String], &mut Graph) -> Result>;

struct Logical {
    parents: Vec<usize>,
    /// Of a repartitioning that an operation caused by itself: what tells it from others.
    repartition: Option<Repartitioning>,
    /// The physical node that children attach to.
    output: String,
    write: Write,
}

struct Repartitioning {
    types: TypeId,
    topic: Arc<str>,
}

/// What a join has made of a stream whose key had changed, for its next join.
#[derive(Clone)]
struct JoinInput {
    types: TypeId,
    node: usize,
    output: String,
    topic: Arc<str>,
    skips_null_keys: Rc<Cell<bool>>,
}

/// The graph under construction, shared by every stream and table of a builder.
#[derive(Default)]
pub(crate) struct Plan {
    index: Cell<usize>,
    nodes: RefCell<Vec<Logical>>,
    errors: RefCell<Vec<String>>,
    stores: RefCell<Vec<Store>>,
    /// Of the nodes that aggregate by window: how long after its end a window still changes, in ms.
    window_grace_ms: RefCell<BTreeMap<usize, i64>>,
    /// Names that were given to nodes after they had generated ones.
    given_names: RefCell<BTreeMap<String, String>>,
    /// Streams that joins have repartitioned, by node and topic.
    join_inputs: RefCell<BTreeMap<(usize, String), JoinInput>>,
}

pub(crate) type PlanRef = Rc<Plan>;

impl Plan {
    fn next_index(&self) -> usize {
        self.index.replace(self.index.get() + 1)
    }

    /// The given name, or a generated one; the counter moves either way.
    pub(crate) fn name(&self, given: Option<&str>, prefix: &str) -> String {
        let index = self.next_index();
        given.map_or_else(|| format!("{prefix}{index:010}"), str::to_owned)
    }

    /// The given name, or a generated one; the counter moves only in the latter case.
    pub(crate) fn name_unless_given(&self, given: Option<&str>, prefix: &str) -> String {
        given.map_or_else(|| self.name(None, prefix), str::to_owned)
    }

    /// The given store name, or a generated one; the counter moves only in the latter case.
    pub(crate) fn store_name(&self, given: Option<&str>, prefix: &str) -> String {
        given.map_or_else(|| self.generated_store_name(prefix).1, str::to_owned)
    }

    /// A generated store name, with its number; see [`give_back`](Self::give_back).
    pub(crate) fn generated_store_name(&self, prefix: &str) -> (usize, String) {
        let index = self.next_index();
        (index, format!("{prefix}STATE-STORE-{index:010}"))
    }

    /// A store was given a name where its operation was declared: its number is the next one's, as
    /// nothing has been numbered since.
    pub(crate) fn give_back(&self, index: usize) {
        if self.index.get() == index + 1 {
            self.index.set(index);
        }
    }

    /// Gives the operation whose generated name this is another one.
    pub(crate) fn rename(&self, generated: &str, given: &str) {
        if is_generated(generated) {
            self.given_names.borrow_mut().insert(generated.to_owned(), given.to_owned());
        } else {
            self.error(format!(
                "{generated} cannot be named {given} any more; name it where it is declared"
            ));
        }
    }

    /// Adds a logical node.
    pub(crate) fn add(&self, parents: &[usize], output: &str, write: Write) -> usize {
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(Logical {
            parents: parents.to_vec(),
            repartition: None,
            output: output.to_owned(),
            write,
        });
        nodes.len() - 1
    }

    /// Notes that a logical node only repartitions, and may be merged with its like.
    pub(crate) fn may_be_merged<K: 'static, V: 'static>(&self, node: usize, topic: Arc<str>) {
        let types = TypeId::of::<(K, V)>();
        if let Some(logical) = self.nodes.borrow_mut().get_mut(node) {
            logical.repartition = Some(Repartitioning { types, topic });
        }
    }

    /// Of each logical node, the one to write in its place: the first that repartitions the same
    /// stream, where repartitionings are merged.
    fn written_as(&self, merges: bool) -> Vec<usize> {
        let nodes = self.nodes.borrow();
        let is_same = |a: &Logical, b: &Logical| {
            let types =
                |node: &Logical| node.repartition.as_ref().map(|repartition| repartition.types);
            types(a).is_some() && types(a) == types(b) && a.parents == b.parents
        };
        let first = |at: usize| (0..at).find(|other| merges && is_same(&nodes[*other], &nodes[at]));
        (0..nodes.len()).map(|at| first(at).unwrap_or(at)).collect()
    }

    /// Adds a logical node that is one processor.
    pub(crate) fn processor(
        &self,
        parents: &[usize],
        name: &str,
        stores: &[String],
        factory: Factory,
    ) -> usize {
        let (own, stores) = (name.to_owned(), stores.to_vec());
        self.add(
            parents,
            name,
            Box::new(move |parents, graph| {
                graph.add(&own, NodeKind::Processor, parents, &stores, Arc::clone(&factory))
            }),
        )
    }

    /// Notes what is wrong with a topology; `build` reports all of it.
    pub(crate) fn error(&self, what: String) {
        self.errors.borrow_mut().push(what);
    }

    /// Notes how long after their end the windows of a node still change, in ms.
    pub(crate) fn set_window_grace_ms(&self, node: usize, grace_ms: i64) {
        self.window_grace_ms.borrow_mut().insert(node, grace_ms);
    }

    /// How long after their end the windows of a node's keys still change, in ms: as long as those
    /// of the aggregate that its records come from. `None` where no aggregate lies above it.
    pub(crate) fn window_grace_ms(&self, node: usize) -> Option<i64> {
        if let Some(grace_ms) = self.window_grace_ms.borrow().get(&node) {
            return Some(*grace_ms);
        }
        let parents = self.nodes.borrow()[node].parents.clone();
        parents.into_iter().filter_map(|parent| self.window_grace_ms(parent)).max()
    }

    /// As [`repartition`](Self::repartition), for a join: the next join of the stream by a topic of
    /// the same name reads what the first has repartitioned. Null keys are left out only where no
    /// such join wants them.
    pub(crate) fn repartition_for_join<K: 'static, V: 'static>(
        &self,
        parent: usize,
        prefix: &str,
        generated: bool,
        settings: RepartitionSettings<K, V>,
    ) -> (usize, String, Arc<str>) {
        let types = TypeId::of::<(K, V)>();
        let place = (parent, prefix.to_owned());
        let known = self.join_inputs.borrow().get(&place).cloned();
        if let Some(known) = known.filter(|known| known.types == types) {
            // The nodes that are spared have had their numbers.
            (0..3).for_each(|_| {
                self.next_index();
            });
            let skips = &known.skips_null_keys;
            skips.set(skips.get() && settings.skips_null_keys.get());
            return (known.node, known.output, known.topic);
        }
        let skips_null_keys = Rc::clone(&settings.skips_null_keys);
        let (node, output, topic) = self.repartition(parent, prefix, generated, settings);
        let input = JoinInput {
            types,
            node,
            output: output.clone(),
            topic: topic.clone(),
            skips_null_keys,
        };
        self.join_inputs.borrow_mut().insert(place, input);
        (node, output, topic)
    }

    /// Writes a stream to a repartition topic and reads it back. Returns the logical node, its
    /// name, and the topic.
    pub(crate) fn repartition<K: 'static, V: 'static>(
        &self,
        parent: usize,
        prefix: &str,
        generated: bool,
        settings: RepartitionSettings<K, V>,
    ) -> (usize, String, Arc<str>) {
        let names = ["KSTREAM-SINK-", "KSTREAM-FILTER-", "KSTREAM-SOURCE-"]
            .map(|name| self.name(None, name));
        let [sink, filter, source] = if generated {
            names
        } else {
            ["sink", "filter", "source"].map(|part| format!("{prefix}-repartition-{part}"))
        };
        let topic: Arc<str> = format!("{prefix}-repartition").into();
        let internal = SinkTopic { name: topic.clone(), internal: true };
        let output = source.clone();
        let RepartitionSettings { key, value, partitions, partitioner, skips_null_keys } = settings;
        let node = self.add(
            &[parent],
            &output,
            Box::new(move |parents, graph| {
                graph.add_repartition_topic(RepartitionTopic {
                    name: internal.name.clone(),
                    partitions,
                    formats: [key.format_name(), value.format_name()],
                });
                let (checked, skips) = (key.clone(), skips_null_keys.get());
                graph.add(
                    &filter,
                    NodeKind::Processor,
                    parents,
                    &[],
                    Arc::new(move |wiring| {
                        let checked = checked.clone();
                        Ok(Slot::new(crate::operators::filter::Filter {
                            predicate: Arc::new(move |key: &K, _: &V| {
                                !(skips && checked.is_null(key))
                            }),
                            keep: true,
                            children: wiring.children(),
                        }))
                    }),
                )?;
                let (target, k, v, p) =
                    (internal.clone(), key.clone(), value.clone(), partitioner.clone());
                graph.add(
                    &sink,
                    NodeKind::Sink { topic: Some(internal.clone()) },
                    std::slice::from_ref(&filter),
                    &[],
                    Arc::new(move |_| {
                        Ok(Slot::new(Sink {
                            target: Target::Fixed(target.clone()),
                            key: k.clone(),
                            value: v.clone(),
                            partitioner: p.clone(),
                        }))
                    }),
                )?;
                let (k, v) = (key.clone(), value.clone());
                graph.add(
                    &source,
                    NodeKind::Source { topics: vec![internal.clone()] },
                    &[],
                    &[],
                    Arc::new(move |wiring| {
                        Ok(Slot::source(Source {
                            key: k.clone(),
                            value: v.clone(),
                            extractor: None,
                            times: Vec::new(),
                            children: wiring.children(),
                        }))
                    }),
                )
            }),
        );
        (node, output, topic)
    }
}

/// How a repartition topic is written.
pub(crate) struct RepartitionSettings<K, V> {
    pub(crate) key: SerdeRef<K>,
    pub(crate) value: SerdeRef<V>,
    pub(crate) partitions: Option<i32>,
    pub(crate) partitioner: Option<Partitioner<K, V>>,
    /// Whether null keys are left out, as is known once all is declared.
    pub(crate) skips_null_keys: Rc<Cell<bool>>,
}

/// Builds a topology.
///
/// ```
/// use tidemill_topology::prelude::*;
///
/// let builder = StreamsBuilder::new();
/// builder
///     .stream("words", Consumed::with(Utf8, Utf8))
///     .filter(|_, word| !word.is_empty())
///     .to("checked", Produced::with(Utf8, Utf8));
/// let topology = builder.build().unwrap();
/// assert!(topology.describe().to_string().contains("Sink: KSTREAM-SINK-0000000002 (topic: checked)"));
/// ```
#[derive(Default)]
pub struct StreamsBuilder {
    pub(crate) plan: PlanRef,
}

impl StreamsBuilder {
    /// An empty topology.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a topic as a stream of records.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// let words = builder.stream("words", Consumed::with(Utf8, Utf8).named("words-source"));
    /// words.to("copied", Produced::with(Utf8, Utf8));
    /// # builder.build().unwrap();
    /// ```
    pub fn stream<K: 'static, V: 'static>(
        &self,
        topic: impl Into<String>,
        consumed: Consumed<K, V>,
    ) -> KStream<K, V> {
        self.stream_of(&[topic.into()], consumed)
    }

    /// Reads several topics of one format as one stream.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// let topics = ["orders-east", "orders-west"].map(str::to_owned);
    /// builder.stream_of(&topics, Consumed::with(Utf8, I64)).to("orders", Produced::with(Utf8, I64));
    /// # builder.build().unwrap();
    /// ```
    pub fn stream_of<K: 'static, V: 'static>(
        &self,
        topics: &[String],
        consumed: Consumed<K, V>,
    ) -> KStream<K, V> {
        let name = self.plan.name(consumed.name.as_deref(), "KSTREAM-SOURCE-");
        let topics: Vec<SinkTopic> = topics
            .iter()
            .map(|topic| SinkTopic { name: topic.as_str().into(), internal: false })
            .collect();
        let sources = topics.iter().map(|topic| topic.name.clone()).collect();
        let (own, settings) = (name.clone(), consumed.clone());
        let node = self.plan.add(
            &[],
            &name,
            Box::new(move |_, graph| {
                let (settings, read) = (settings.clone(), topics.clone());
                graph.add(
                    &own,
                    NodeKind::Source { topics: topics.clone() },
                    &[],
                    &[],
                    Arc::new(move |wiring| {
                        let times = read
                            .iter()
                            .map(|topic| (topic.name.to_string(), wiring.time_slot()))
                            .collect();
                        Ok(Slot::source(Source {
                            key: settings.key.clone(),
                            value: settings.value.clone(),
                            extractor: settings.extractor.clone(),
                            times,
                            children: wiring.children(),
                        }))
                    }),
                )
            }),
        );
        KStream {
            plan: self.plan.clone(),
            node,
            name,
            key: Some(consumed.key),
            value: Some(consumed.value),
            key_changed: false,
            sources,
        }
    }

    /// Reads a compacted topic as a table: the latest value of each key; null deletes.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// let prices = builder.table("prices", Consumed::with(Utf8, F64), Materialized::named("prices", F64));
    /// prices.filter(|_, price| *price > 100.0).to_stream().to("dear", Produced::with(Utf8, Nullable(F64)));
    /// # builder.build().unwrap();
    /// ```
    pub fn table<K: 'static, V: 'static>(
        &self,
        topic: impl Into<String>,
        consumed: Consumed<K, V>,
        materialized: Materialized<V>,
    ) -> KTable<K, V> {
        let topic = SinkTopic { name: topic.into().into(), internal: false };
        let store_name =
            self.plan.store_name(materialized.name.as_deref(), &format!("{}-", topic.name));
        let source = self.plan.name(consumed.name.as_deref(), "KSTREAM-SOURCE-");
        let name = self.plan.name(None, "KTABLE-SOURCE-");
        let store = TableStore::new(
            store_name,
            &materialized,
            consumed.key.clone(),
            consumed.value.clone(),
        );
        let sources = BTreeSet::from([topic.name.clone()]);
        let (node_name, kept, settings) = (name.clone(), store.clone(), consumed.clone());
        let node = self.plan.add(
            &[],
            &name,
            Box::new(move |_, graph| {
                kept.log_to_source(graph.reuses_sources.then_some(&topic.name));
                let stores = kept.write(graph)?;
                let (kept_name, send_old) = (stores.first().cloned(), kept.sends_old());
                let held_name = kept_name.clone();
                let (settings, topic_name) = (settings.clone(), topic.name.to_string());
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
                            times: vec![(topic_name.clone(), wiring.time_slot())],
                            table: TableState::bind(wiring, kept_name.as_deref(), send_old)?,
                            children: wiring.children(),
                        }))
                    }),
                )?;
                // The source above does this node's work, which needs the record's own bytes; the
                // node stands for the table in the graph, with its store and what that holds back.
                graph.add(
                    &node_name,
                    NodeKind::Processor,
                    std::slice::from_ref(&source),
                    &stores,
                    Arc::new(move |wiring| {
                        let held = held_name.as_deref();
                        Ok(Slot::new(KeptTable::<K, V>::bind(wiring, held, send_old)?))
                    }),
                )
            }),
        );
        KTable {
            plan: self.plan.clone(),
            node,
            name,
            key: consumed.key,
            value: Some(consumed.value),
            store,
            sources,
            computed: None,
        }
    }

    /// Adds a store for processors to use.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// builder.add_state_store(Stores::key_value("seen", Utf8, I64).in_memory());
    /// # builder.stream("words", Consumed::with(Utf8, Utf8));
    /// # builder.build().unwrap();
    /// ```
    pub fn add_state_store(&self, store: Store) {
        self.plan.stores.borrow_mut().push(store);
    }

    /// Checks the topology and makes it ready to run: with a topic and a store for each operation,
    /// unless the configuration that it is run with has `topology.optimization = "all"`.
    ///
    /// # Errors
    /// Everything that is wrong with it, together.
    pub fn build(&self) -> Result<Topology> {
        let plain = self.build_optimized(Optimization::NONE)?;
        Ok(plain.or_optimized(self.build_optimized(Optimization::ALL)?))
    }

    /// As [`build`](Self::build), with fewer internal topics, whatever the configuration says; one
    /// that asks for another optimization is refused. An application that has run without
    /// an optimization, or with it, must be reset before that changes.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// builder.table("prices", Consumed::with(Utf8, Utf8), Materialized::named("prices", Utf8));
    /// let topology = builder.build_optimized(Optimization::ALL).unwrap();
    /// let prices = &topology.stores(&topology.subtopologies()[0])[0];
    /// assert_eq!(prices.changelog_source.as_deref(), Some("prices"));
    /// ```
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_optimized(&self, optimization: Optimization) -> Result<Topology> {
        let errors = self.plan.errors.borrow();
        if !errors.is_empty() {
            return Err(Error::wiring(errors.join("; ")));
        }
        let mut graph = Graph {
            reuses_sources: optimization.reuse_sources,
            single_store_self_joins: optimization.single_store_self_joins,
            given_names: self.plan.given_names.borrow().clone(),
            ..Graph::default()
        };
        for store in &*self.plan.stores.borrow() {
            graph.add_store(store.clone())?;
        }
        let nodes = self.plan.nodes.borrow();
        let written_as = self.plan.written_as(optimization.merge_repartitions);
        for (at, node) in nodes.iter().enumerate() {
            if written_as[at] != at {
                let topic = |at: usize| {
                    nodes[at].repartition.as_ref().map(|repartition| repartition.topic.clone())
                };
                if let (Some(merged), Some(kept)) = (topic(at), topic(written_as[at])) {
                    graph.merged_topics.insert(merged, kept);
                }
                continue;
            }
            let parents: Vec<String> = node
                .parents
                .iter()
                .map(|parent| nodes[written_as[*parent]].output.clone())
                .collect();
            (node.write)(&parents, &mut graph)?;
        }
        Ok(Topology::new(graph)?.built_with(optimization))
    }
}
