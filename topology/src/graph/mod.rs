//! The physical graph of a topology: nodes with their operators' factories, stores and topics.
//!
//! The DSL builds a [`Graph`]; [`Topology`] is that graph checked, split into subtopologies and
//! ready to make tasks. Names and numbering follow Kafka Streams (`InternalTopologyBuilder`).

mod comparison;
mod describe;
mod description_text;
mod optimization;
mod partitions;
mod topology;

pub use comparison::{Comparison, Difference, Effect};
pub use describe::{
    Description, NodeDescription, NodeRole, RepartitionDescription, StateDescription,
    StoreDescription, SubtopologyDescription,
};
pub use optimization::Optimization;
pub use partitions::PartitionError;
pub use topology::{
    InternalTopic, InternalTopicKind, Subtopology, SubtopologyId, TaskId, Topology,
};

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::node::{Children, SinkTopic, Slot, TimeSlot};
use crate::serde::SerdeRef;
use crate::store::bytes::StoreIndex;
use crate::store::key_value::{KeyValueHandle, TimestampedHandle};
use crate::store::spec::{StoreKind, StoreSpec};
use crate::store::text::StoreText;

/// Makes a node of a task from what surrounds it.
pub type Factory = Arc<dyn Fn(&mut Wiring<'_>) -> Result<Slot> + Send + Sync>;

/// What a node is towards the outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// Reads topics.
    Source {
        /// The topics it reads.
        topics: Vec<SinkTopic>,
    },
    /// Neither reads nor writes topics.
    Processor,
    /// Writes to a topic.
    Sink {
        /// The topic; `None` where each record chooses.
        topic: Option<SinkTopic>,
    },
}

/// A node of the physical graph.
#[derive(Clone)]
pub struct Node {
    /// Unique name.
    pub name: String,
    /// Source, processor or sink.
    pub kind: NodeKind,
    /// Names of the stores that it uses.
    pub stores: Vec<String>,
    /// Positions of its parents.
    pub parents: Vec<usize>,
    /// Positions of its children, in the order in which they were attached.
    pub children: Vec<usize>,
    pub(crate) factory: Factory,
}

/// The serdes of a store, typed, for the nodes that bind it.
pub(crate) struct StoreSerdes<K, V> {
    pub(crate) key: SerdeRef<K>,
    pub(crate) value: SerdeRef<V>,
}

/// A store of the graph, and the serdes that its users share.
#[derive(Clone)]
pub struct Store {
    /// Its declaration.
    pub spec: StoreSpec,
    /// The names of the formats of its keys and values.
    pub(crate) formats: [String; 2],
    pub(crate) serdes: Arc<dyn Any + Send + Sync>,
    /// The same serdes, for those who do not know the types.
    pub(crate) text: Arc<dyn StoreText>,
}

impl Store {
    /// A store whose keys and values these serdes read and write.
    pub fn new<K: 'static, V: 'static>(
        spec: StoreSpec,
        key: SerdeRef<K>,
        value: SerdeRef<V>,
    ) -> Self {
        let formats = [key.format_name(), value.format_name()];
        let serdes = Arc::new(StoreSerdes { key, value });
        Self { spec, formats, text: serdes.clone(), serdes }
    }
}

/// A topic that a topology writes in one subtopology and reads in another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepartitionTopic {
    /// Its name, without the application's id.
    pub name: Arc<str>,
    /// How many partitions; `None` to follow from its inputs.
    pub partitions: Option<i32>,
    /// The names of the formats of its keys and values.
    pub formats: [String; 2],
}

/// A physical graph under construction.
#[derive(Clone, Default)]
pub struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) stores: Vec<Store>,
    pub(crate) repartition_topics: BTreeMap<Arc<str>, RepartitionTopic>,
    /// Source topics that must have as many partitions as each other.
    pub(crate) copartitioned: Vec<BTreeSet<SinkTopicName>>,
    /// Names of the stores that every instance has whole.
    pub(crate) global_stores: BTreeSet<String>,
    /// Whether a table's source topic serves as its changelog.
    pub(crate) reuses_sources: bool,
    /// Whether an inner join of a stream with itself keeps its records once.
    pub(crate) single_store_self_joins: bool,
    /// Names that were given to nodes after they had generated ones.
    pub(crate) given_names: BTreeMap<String, String>,
    /// Repartition topics that an optimisation spares, and those that stand for them.
    pub(crate) merged_topics: BTreeMap<SinkTopicName, SinkTopicName>,
}

/// A source topic's name, without the application's id.
pub(crate) type SinkTopicName = Arc<str>;

impl Graph {
    /// Adds a node below the named parents.
    ///
    /// # Errors
    /// When the name is taken, or a parent or store does not exist.
    pub fn add(
        &mut self,
        name: &str,
        kind: NodeKind,
        parents: &[String],
        stores: &[String],
        factory: Factory,
    ) -> Result {
        let name = self.final_name(name);
        if self.position(name).is_some() {
            return Err(Error::wiring(format!(
                "there are two nodes named {name}; name one of them differently"
            )));
        }
        let parents = parents
            .iter()
            .map(|parent| {
                self.position(parent).ok_or_else(|| {
                    Error::wiring(format!("node {name} has an unknown parent {parent}"))
                })
            })
            .collect::<Result<Vec<_>>>()?;
        for store in stores {
            if !self.stores.iter().any(|known| known.spec.name == *store) {
                return Err(Error::wiring(format!(
                    "node {name} uses store {store}, which was never added; call add_state_store first"
                )));
            }
        }
        let name = name.to_owned();
        let at = self.nodes.len();
        for parent in &parents {
            self.nodes[*parent].children.push(at);
        }
        self.nodes.push(Node {
            name,
            kind,
            stores: stores.to_vec(),
            parents,
            children: Vec::new(),
            factory,
        });
        Ok(())
    }

    /// Adds a store.
    ///
    /// # Errors
    /// When the name is taken by another store.
    pub fn add_store(&mut self, store: Store) -> Result {
        check_time_to_live(&store.spec)?;
        match self.stores.iter().find(|known| known.spec.name == store.spec.name) {
            Some(known) if Arc::ptr_eq(&known.serdes, &store.serdes) => Ok(()),
            Some(_) => Err(Error::wiring(format!(
                "there are two stores named {}; name one of them differently",
                store.spec.name
            ))),
            None => {
                self.stores.push(store);
                Ok(())
            }
        }
    }

    /// Adds a store that every instance has whole. The nodes that use it, a source and what keeps
    /// the store, become a global subtopology; others read it by name.
    ///
    /// # Errors
    /// When the name is taken by another store.
    pub fn add_global_store(&mut self, store: Store) -> Result {
        if store.spec.time_to_live_ms.is_some() {
            return Err(Error::wiring(format!(
                "global store {} cannot have a time to live: global stores take no part in stream time",
                store.spec.name
            )));
        }
        self.global_stores.insert(store.spec.name.clone());
        self.add_store(store)
    }

    /// Lets a node that is there already use one more store.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn connect(&mut self, node: &str, store: &str) -> Result {
        let at =
            self.position(node).ok_or_else(|| Error::wiring(format!("no node is named {node}")))?;
        let stores = &mut self.nodes[at].stores;
        if !stores.iter().any(|known| known == store) {
            stores.push(store.to_owned());
        }
        Ok(())
    }

    /// Declares a repartition topic.
    pub fn add_repartition_topic(&mut self, topic: RepartitionTopic) {
        self.repartition_topics.insert(topic.name.clone(), topic);
    }

    /// Demands that these source topics have as many partitions as each other.
    pub fn copartition(&mut self, topics: BTreeSet<Arc<str>>) {
        let kept = |topic| self.merged_topics.get(&topic).cloned().unwrap_or(topic);
        let topics: BTreeSet<_> = topics.into_iter().map(kept).collect();
        if topics.len() > 1 {
            self.copartitioned.push(topics);
        }
    }

    /// The name that a node ends up with.
    fn final_name<'n>(&'n self, name: &'n str) -> &'n str {
        self.given_names.get(name).map_or(name, String::as_str)
    }

    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        let name = self.final_name(name);
        self.nodes.iter().position(|node| node.name == name)
    }
}

fn check_time_to_live(spec: &StoreSpec) -> Result {
    let Some(live_ms) = spec.time_to_live_ms else { return Ok(()) };
    let StoreSpec { name, kind, .. } = spec;
    if *kind != StoreKind::TimestampedKeyValue {
        return Err(Error::wiring(format!(
            "store {name} is of kind {}, which has a retention or history and no time to live",
            kind.name()
        )));
    }
    if live_ms <= 0 {
        return Err(Error::wiring(format!(
            "the time to live of store {name} is {live_ms} ms; it has to be at least 1 ms"
        )));
    }
    Ok(())
}

/// What a factory finds around the node that it makes.
pub struct Wiring<'w> {
    pub(crate) children: Vec<u32>,
    pub(crate) child_names: Vec<&'w str>,
    pub(crate) stores: &'w [Store],
    pub(crate) global_stores: &'w BTreeSet<String>,
    /// The task's stores: their positions in `stores`.
    pub(crate) task_stores: &'w [usize],
    pub(crate) times: &'w mut usize,
    pub(crate) store_times: &'w mut BTreeMap<usize, TimeSlot>,
    /// Stores whose deletions by time the node tells.
    pub(crate) kept: Vec<StoreIndex>,
}

impl Wiring<'_> {
    /// The node's children; all take the same type.
    #[must_use]
    pub fn children<K: 'static, V: 'static>(&self) -> Children<K, V> {
        Children::new(&self.children)
    }

    /// The child of that name alone.
    ///
    /// # Errors
    /// When there is no such child.
    pub fn child<K: 'static, V: 'static>(&self, name: &str) -> Result<Children<K, V>> {
        let at = self.child_names.iter().position(|child| *child == name);
        let at = at.ok_or_else(|| Error::wiring(format!("no child is named {name}")))?;
        Ok(Children::new(&self.children[at..=at]))
    }

    /// A clock of the node's own.
    pub fn time_slot(&mut self) -> TimeSlot {
        *self.times += 1;
        TimeSlot(*self.times - 1)
    }

    /// The clock of a store, the same for each node that uses it.
    ///
    /// # Errors
    /// When the task has no such store.
    pub fn store_time(&mut self, name: &str) -> Result<TimeSlot> {
        let StoreIndex(index) = self.store_index(name)?;
        if let Some(slot) = self.store_times.get(&index) {
            return Ok(*slot);
        }
        let slot = self.time_slot();
        self.store_times.insert(index, slot);
        Ok(slot)
    }

    /// Which of the task's stores has that name.
    ///
    /// # Errors
    /// When the task has no such store.
    pub fn store_index(&self, name: &str) -> Result<StoreIndex> {
        self.task_stores
            .iter()
            .position(|store| self.stores[*store].spec.name == name)
            .map(StoreIndex)
            .ok_or_else(|| {
                Error::wiring(format!(
                    "no store of this task is named {name}; connect it to the node"
                ))
            })
    }

    /// The declaration of one of the task's stores.
    ///
    /// # Errors
    /// When the task has no such store.
    pub fn store_spec(&self, name: &str) -> Result<&StoreSpec> {
        let StoreIndex(index) = self.store_index(name)?;
        Ok(&self.stores[self.task_stores[index]].spec)
    }

    /// A store bound to its types.
    ///
    /// # Errors
    /// When the task has no such store, or it is of other types.
    pub fn key_value<K: 'static, V: 'static>(&self, name: &str) -> Result<KeyValueHandle<K, V>> {
        let index = self.store_index(name)?;
        let store = &self.stores[self.task_stores[index.0]];
        let serdes = store.serdes.downcast_ref::<StoreSerdes<K, V>>().ok_or_else(|| {
            Error::wiring(format!(
                "store {name} does not hold ({}, {})",
                std::any::type_name::<K>(),
                std::any::type_name::<V>()
            ))
        })?;
        Ok(KeyValueHandle {
            index,
            name: name.to_owned(),
            key: serdes.key.clone(),
            value: serdes.value.clone(),
            has_timestamps: store.spec.kind == StoreKind::TimestampedKeyValue,
            time_to_live_ms: store.spec.time_to_live_ms,
        })
    }

    /// Has the node told, by [`Operator::expired`](crate::node::Operator::expired), of each entry of
    /// the store that expires. A store has one such node at most; the first that asks is told.
    ///
    /// # Errors
    /// When the task has no such store.
    pub fn keep_expiring(&mut self, name: &str) -> Result {
        self.kept.push(self.store_index(name)?);
        Ok(())
    }

    /// A timestamped store bound to its types.
    ///
    /// # Errors
    /// As [`key_value`](Self::key_value).
    pub fn timestamped<K: 'static, V: 'static>(
        &self,
        name: &str,
    ) -> Result<TimestampedHandle<K, V>> {
        if !self.store_spec(name)?.kind.has_timestamps() {
            return Err(Error::wiring(format!("store {name} keeps no timestamps")));
        }
        self.key_value(name).map(TimestampedHandle)
    }
}
