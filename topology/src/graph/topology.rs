//! A finished topology: subtopologies, their topics and stores, and the tasks made from them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::graph::{Graph, Node, NodeKind, Optimization, RepartitionTopic, Wiring};
use crate::handler::Handlers;
use crate::held_back::HeldBack;
use crate::node::{EMIT_INTERVAL_MS, Env, SinkTopic};
use crate::store::bytes::StoreIndex;
use crate::store::spec::{StoreKind, StoreSpec};
use crate::task::{ExpiringStore, Task};
use crate::time::Timestamp;

/// Number of a subtopology.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubtopologyId(pub u32);

/// A task: a subtopology and the partition number that it works on. Written `0_3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// Its subtopology.
    pub subtopology: SubtopologyId,
    /// Partition of each of its input topics.
    pub partition: i32,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.subtopology.0, self.partition)
    }
}

impl FromStr for TaskId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once('_').and_then(|(subtopology, partition)| {
            Some(Self {
                subtopology: SubtopologyId(subtopology.parse().ok()?),
                partition: partition.parse().ok()?,
            })
        });
        parts.ok_or_else(|| Error::wiring(format!("`{text}` is no task id; one looks like 0_3")))
    }
}

/// A connected part of a topology: its tasks run each of its nodes.
#[derive(Clone, Debug)]
pub struct Subtopology {
    /// Its number.
    pub id: SubtopologyId,
    /// Its nodes, in topological order.
    pub nodes: Vec<usize>,
    /// Its stores, by position in the topology.
    pub stores: Vec<usize>,
    /// The topics it reads, sorted by name.
    pub sources: Vec<SinkTopic>,
}

/// What an internal topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InternalTopicKind {
    /// Between two subtopologies.
    Repartition,
    /// A store's log.
    Changelog,
}

/// A topic that the application creates for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternalTopic {
    /// Its name, without the application's id.
    pub name: Arc<str>,
    /// What it is for.
    pub kind: InternalTopicKind,
    /// Topic settings it is created with.
    pub config: BTreeMap<String, String>,
}

/// A checked topology, shared by all threads; tasks are made from it.
#[derive(Clone)]
pub struct Topology {
    pub(crate) graph: Arc<Graph>,
    subtopologies: Arc<[Subtopology]>,
    global_subtopologies: Arc<[Subtopology]>,
    optimization: Optimization,
    /// The same with every optimization, where the configuration is to choose.
    optimized: Option<Arc<Topology>>,
}

impl Topology {
    /// Checks a graph and splits it into subtopologies.
    ///
    /// # Errors
    /// When there is no source, or two sources read one topic.
    pub fn new(graph: Graph) -> Result<Self> {
        let mut read: BTreeMap<&str, &str> = BTreeMap::new();
        for node in &graph.nodes {
            let NodeKind::Source { topics } = &node.kind else { continue };
            for topic in topics {
                if let Some(other) = read.insert(&topic.name, &node.name) {
                    return Err(Error::wiring(format!(
                        "topic {} is read by two sources, {other} and {}; read it once and use the stream twice",
                        topic.name, node.name
                    )));
                }
            }
        }
        if read.is_empty() {
            return Err(Error::wiring(
                "the topology reads no topic; start with builder.stream(..)",
            ));
        }
        let (global, partitioned): (Vec<_>, Vec<_>) =
            split(&graph).into_iter().partition(|subtopology| {
                subtopology
                    .stores
                    .iter()
                    .any(|at| graph.global_stores.contains(&graph.stores[*at].spec.name))
            });
        Ok(Self {
            graph: Arc::new(graph),
            subtopologies: partitioned.into(),
            global_subtopologies: global.into(),
            optimization: Optimization::NONE,
            optimized: None,
        })
    }

    /// Notes what it was built with.
    pub(crate) fn built_with(mut self, optimization: Optimization) -> Self {
        self.optimization = optimization;
        self
    }

    /// Leaves the choice between this and `optimized` open.
    pub(crate) fn or_optimized(mut self, optimized: Self) -> Self {
        self.optimized = Some(Arc::new(optimized));
        self
    }

    /// Which internal topics and stores it does without.
    #[must_use]
    pub fn optimization(&self) -> Optimization {
        self.optimization
    }

    /// The topology with [`Optimization::ALL`], as `topology.optimization = "all"` of a
    /// configuration asks for it.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// builder.table("prices", Consumed::with(Utf8, Utf8), Materialized::named("prices", Utf8));
    /// let topology = builder.build().unwrap().optimized().unwrap();
    /// assert_eq!(topology.optimization(), Optimization::ALL);
    /// // The source topic serves as changelog: there is no internal topic.
    /// assert!(topology.internal_topics(&topology.subtopologies()[0]).is_empty());
    /// ```
    ///
    /// # Errors
    /// When it was built with [`build_optimized`](crate::dsl::builder::StreamsBuilder::build_optimized)
    /// and something else: the code has chosen.
    pub fn optimized(&self) -> Result<Self> {
        match &self.optimized {
            Some(optimized) => Ok(Self::clone(optimized)),
            None if self.optimization == Optimization::ALL => Ok(self.clone()),
            None => Err(Error::wiring(format!(
                "the topology was built with {:?}, and topology.optimization asks for all of it; \
                 call build() to let the configuration choose, or leave the key at none",
                self.optimization
            ))),
        }
    }

    /// The topology with every update forwarded at once, as
    /// `statestore.cache.max.bytes = 0` of a configuration asks for it.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// let calmer = Materialized::named("prices", F64).caching(true);
    /// builder.table("prices", Consumed::with(Utf8, F64), calmer);
    /// let topology = builder.build().unwrap().without_caching();
    /// assert!(!topology.stores(&topology.subtopologies()[0])[0].caching);
    /// ```
    #[must_use]
    pub fn without_caching(&self) -> Self {
        let mut graph = Graph::clone(&self.graph);
        for store in &mut graph.stores {
            store.spec.caching = false;
        }
        let optimized = self.optimized.as_ref();
        Self {
            graph: Arc::new(graph),
            optimized: optimized.map(|optimized| Arc::new(optimized.without_caching())),
            ..self.clone()
        }
    }

    /// Its subtopologies, in order of their numbers. Global ones, which have numbers too, are not
    /// among them.
    #[must_use]
    pub fn subtopologies(&self) -> &[Subtopology] {
        &self.subtopologies
    }

    /// The subtopologies that keep global stores: every instance runs each of them once, over all
    /// partitions of its topic, and its tasks read the stores by name.
    #[must_use]
    pub fn global_subtopologies(&self) -> &[Subtopology] {
        &self.global_subtopologies
    }

    /// The subtopology of a number, global or not.
    ///
    /// # Errors
    /// When there is none.
    pub fn subtopology(&self, id: SubtopologyId) -> Result<&Subtopology> {
        let mut all = self.subtopologies.iter().chain(&*self.global_subtopologies);
        all.find(|subtopology| subtopology.id == id)
            .ok_or_else(|| Error::wiring(format!("the topology has no subtopology {}", id.0)))
    }

    /// The declarations of a subtopology's stores, in the order of their indices in a task.
    #[must_use]
    pub fn stores(&self, subtopology: &Subtopology) -> Vec<StoreSpec> {
        subtopology.stores.iter().map(|at| self.graph.stores[*at].spec.clone()).collect()
    }

    /// Every node, of all subtopologies.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.graph.nodes.iter()
    }

    /// Repartition topics, by name.
    pub fn repartition_topics(&self) -> impl Iterator<Item = &RepartitionTopic> {
        self.graph.repartition_topics.values()
    }

    /// The name of a store's changelog: its own internal topic, or the source that serves as one.
    #[must_use]
    pub fn changelog(store: &StoreSpec) -> SinkTopic {
        match &store.changelog_source {
            Some(source) => SinkTopic { name: source.as_str().into(), internal: false },
            None => SinkTopic { name: format!("{}-changelog", store.name).into(), internal: true },
        }
    }

    /// The internal topics that a subtopology reads or logs to, with their settings.
    #[must_use]
    pub fn internal_topics(&self, subtopology: &Subtopology) -> Vec<InternalTopic> {
        let repartition =
            subtopology.sources.iter().filter(|topic| topic.internal).map(|topic| InternalTopic {
                name: topic.name.clone(),
                kind: InternalTopicKind::Repartition,
                config: config([
                    ("cleanup.policy", "delete".to_owned()),
                    ("message.timestamp.type", "CreateTime".to_owned()),
                    ("retention.ms", "-1".to_owned()),
                    ("segment.bytes", "52428800".to_owned()),
                ]),
            });
        let stores = subtopology.stores.iter().map(|at| &self.graph.stores[*at].spec);
        let changelogs = stores
            .filter(|store| store.logged && store.changelog_source.is_none())
            .map(|store| InternalTopic {
                name: Self::changelog(store).name,
                kind: InternalTopicKind::Changelog,
                config: changelog_config(store),
            });
        repartition.chain(changelogs).collect()
    }

    /// Makes a task of a subtopology.
    ///
    /// # Errors
    /// When types or stores do not fit together.
    pub fn task(&self, id: SubtopologyId, handlers: Arc<Handlers>) -> Result<Task> {
        let subtopology = self.subtopology(id)?;
        let at: BTreeMap<usize, u32> =
            (0..).zip(&subtopology.nodes).map(|(at, node)| (*node, at)).collect();
        let mut times = 0;
        let mut store_times = BTreeMap::new();
        let mut keepers = BTreeMap::new();
        let mut slots = Vec::with_capacity(subtopology.nodes.len());
        let mut sources = Vec::new();
        for position in &subtopology.nodes {
            let node = &self.graph.nodes[*position];
            let mut wiring = Wiring {
                children: node.children.iter().map(|child| at[child]).collect(),
                child_names: node
                    .children
                    .iter()
                    .map(|child| &*self.graph.nodes[*child].name)
                    .collect(),
                stores: &self.graph.stores,
                global_stores: &self.graph.global_stores,
                task_stores: &subtopology.stores,
                times: &mut times,
                store_times: &mut store_times,
                kept: Vec::new(),
            };
            slots.push((node.factory)(&mut wiring)?);
            for store in wiring.kept {
                // Several nodes may fold into one store, all with the same children: one tells them.
                keepers.entry(store).or_insert(at[position]);
            }
            if let NodeKind::Source { topics } = &node.kind {
                sources.extend(topics.iter().map(|topic| (topic.clone(), at[position])));
            }
        }
        let names: Arc<[String]> =
            subtopology.nodes.iter().map(|node| self.graph.nodes[*node].name.clone()).collect();
        let stores = (0..).map(StoreIndex).zip(&subtopology.stores);
        let expiring = stores
            .filter(|(_, at)| self.graph.stores[**at].spec.time_to_live_ms.is_some())
            .map(|(store, _)| ExpiringStore { store, keeper: keepers.get(&store).copied() });
        Ok(Task::new(
            slots,
            sources,
            store_times,
            expiring.collect(),
            Env {
                stream_time: Timestamp::UNKNOWN,
                times: vec![Timestamp::UNKNOWN; times],
                schedules: Vec::new(),
                dropped: [0; _],
                dead_letters: 0,
                node_records: vec![0; names.len()].into(),
                emit_interval_ms: EMIT_INTERVAL_MS,
                partition: 0,
                held: HeldBack::nothing(subtopology.stores.len()),
                names,
                handlers,
                buffers: Default::default(),
                out_key: Vec::new(),
                out_value: Vec::new(),
            },
        ))
    }
}

fn config<const N: usize>(entries: [(&str, String); N]) -> BTreeMap<String, String> {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The settings that Kafka Streams creates a store's changelog with.
fn changelog_config(store: &StoreSpec) -> BTreeMap<String, String> {
    let create_time = ("message.timestamp.type", "CreateTime".to_owned());
    let mut settings = match (store.kind, store.kind.retention_ms()) {
        (StoreKind::Window { .. }, Some(retention)) => config([
            ("cleanup.policy", "delete".to_owned()),
            create_time,
            ("retention.ms", (retention + DAY_MS).to_string()),
        ]),
        (_, Some(retention)) => config([
            ("cleanup.policy", "compact,delete".to_owned()),
            create_time,
            ("retention.ms", (retention + DAY_MS).to_string()),
        ]),
        (StoreKind::Versioned { history_ms }, None) => config([
            ("cleanup.policy", "compact".to_owned()),
            create_time,
            ("min.compaction.lag.ms", (history_ms + DAY_MS).to_string()),
        ]),
        (_, None) => config([("cleanup.policy", "compact".to_owned()), create_time]),
    };
    settings.extend(store.changelog_config.clone());
    settings
}

/// Groups nodes that are connected by edges or shared stores, numbered as Kafka Streams does: in the
/// order in which their first sources were declared.
fn split(graph: &Graph) -> Vec<Subtopology> {
    let mut group: Vec<usize> = (0..graph.nodes.len()).collect();
    fn root(group: &[usize], mut node: usize) -> usize {
        while group[node] != node {
            node = group[node];
        }
        node
    }
    let mut by_store: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, node) in graph.nodes.iter().enumerate() {
        let neighbours = node.stores.iter().map(|store| *by_store.entry(store).or_insert(at));
        for other in neighbours.chain(node.parents.iter().copied()).collect::<Vec<_>>() {
            let (a, b) = (root(&group, at), root(&group, other));
            group[a.max(b)] = a.min(b);
        }
    }
    let sources = (0..graph.nodes.len())
        .filter(|at| matches!(graph.nodes[*at].kind, NodeKind::Source { .. }));
    let mut roots: Vec<usize> = Vec::new();
    for at in sources {
        let root = root(&group, at);
        if !roots.contains(&root) {
            roots.push(root);
        }
    }
    let number = |at: usize| roots.iter().position(|known| *known == root(&group, at));
    (0..)
        .zip(&roots)
        .map(|(id, _)| {
            // Nodes were added after their parents, so their own order is topological.
            let nodes: Vec<usize> =
                (0..graph.nodes.len()).filter(|at| number(*at) == Some(id as usize)).collect();
            let used: BTreeSet<&str> =
                nodes.iter().flat_map(|at| &graph.nodes[*at].stores).map(String::as_str).collect();
            let stores = (0..graph.stores.len())
                .filter(|at| used.contains(graph.stores[*at].spec.name.as_str()))
                .collect();
            let mut sources: Vec<SinkTopic> = nodes
                .iter()
                .filter_map(|at| match &graph.nodes[*at].kind {
                    NodeKind::Source { topics } => Some(topics.clone()),
                    _ => None,
                })
                .flatten()
                .collect();
            sources.sort_by(|a, b| a.name.cmp(&b.name));
            Subtopology { id: SubtopologyId(id), nodes, stores, sources }
        })
        .collect()
}
