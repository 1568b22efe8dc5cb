//! A topology's description: as text like Kafka Streams' `describe()`, as JSON, and as Mermaid.

use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::graph::{NodeKind, Topology};
use crate::node::SinkTopic;
use crate::store::spec::StoreKind;

/// What a topology consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Its subtopologies, global ones included, by number.
    pub subtopologies: Vec<SubtopologyDescription>,
    /// What lies in its stores and internal topics; `None` where it was read from text, which does
    /// not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateDescription>,
}

/// What lies in a topology's stores and internal topics, and which topics belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDescription {
    /// Its stores.
    pub stores: Vec<StoreDescription>,
    /// Its repartition topics, by name.
    pub repartition_topics: Vec<RepartitionDescription>,
    /// Topics that must have as many partitions as each other.
    pub copartitioned: BTreeSet<BTreeSet<String>>,
}

/// What a store keeps, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreDescription {
    /// Its name.
    pub name: String,
    /// Its layout.
    #[serde(flatten)]
    pub kind: StoreKind,
    /// The name of its keys' format.
    pub key: String,
    /// The name of its values' format.
    pub value: String,
    /// Whether it lies on disk.
    pub persistent: bool,
    /// Whether results are held back until the commit.
    pub caching: bool,
    /// The topic that it is logged to, without the application's id.
    pub changelog: Option<String>,
    /// Whether that is an input topic and not one of the application's own.
    pub reuses_source: bool,
}

/// What lies in a repartition topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepartitionDescription {
    /// Its name, without the application's id.
    pub name: String,
    /// The partitions that it was declared with, if it was.
    pub partitions: Option<i32>,
    /// The name of its keys' format.
    pub key: String,
    /// The name of its values' format.
    pub value: String,
}

/// What a node is towards the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeRole {
    /// Reads topics.
    Source,
    /// Neither reads nor writes topics.
    Processor,
    /// Writes to a topic.
    Sink,
}

/// What a subtopology consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubtopologyDescription {
    /// Its number.
    pub id: u32,
    /// Whether every instance runs it whole, for a global table or store.
    pub is_global: bool,
    /// Its nodes, in the order in which Kafka Streams lists them.
    pub nodes: Vec<NodeDescription>,
    /// The names of its stores.
    pub stores: Vec<String>,
}

/// A node and its neighbours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDescription {
    /// Source, processor or sink.
    pub kind: NodeRole,
    /// Its name.
    pub name: String,
    /// The topics that it reads or writes, without the application's id.
    pub topics: Vec<String>,
    /// The stores that it uses.
    pub stores: Vec<String>,
    /// Its parents' names.
    pub predecessors: Vec<String>,
    /// Its children's names.
    pub successors: Vec<String>,
    /// How many nodes are below it, itself included.
    #[serde(skip)]
    pub(super) size: usize,
}

impl Topology {
    /// Describes the topology.
    #[must_use]
    pub fn describe(&self) -> Description {
        let names = |at: &[usize]| at.iter().map(|at| self.graph.nodes[*at].name.clone()).collect();
        let is_global = |id| self.global_subtopologies().iter().any(|global| global.id == id);
        let mut all: Vec<_> =
            self.subtopologies().iter().chain(self.global_subtopologies()).collect();
        all.sort_by_key(|subtopology| subtopology.id);
        let subtopologies = all.into_iter().map(|subtopology| {
            let mut sizes = vec![0; self.graph.nodes.len()];
            for at in subtopology.nodes.iter().rev() {
                let children = &self.graph.nodes[*at].children;
                sizes[*at] = 1 + children.iter().map(|child| sizes[*child]).sum::<usize>();
            }
            let mut nodes: Vec<NodeDescription> = subtopology
                .nodes
                .iter()
                .map(|at| {
                    let node = &self.graph.nodes[*at];
                    let topic_names = |topics: &[SinkTopic]| {
                        topics.iter().map(|topic| topic.name.to_string()).collect()
                    };
                    let (kind, topics) = match &node.kind {
                        NodeKind::Source { topics } => (NodeRole::Source, topic_names(topics)),
                        NodeKind::Processor => (NodeRole::Processor, Vec::new()),
                        NodeKind::Sink { topic } => (NodeRole::Sink, topic_names(topic.as_slice())),
                    };
                    NodeDescription {
                        kind,
                        name: node.name.clone(),
                        topics,
                        stores: node.stores.clone(),
                        predecessors: names(&node.parents),
                        successors: names(&node.children),
                        size: sizes[*at],
                    }
                })
                .collect();
            // Kafka Streams lists the nodes with the most below them first, then by name.
            nodes.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.name.cmp(&b.name)));
            let stores = self.stores(subtopology).into_iter().map(|store| store.name).collect();
            SubtopologyDescription {
                id: subtopology.id.0,
                is_global: is_global(subtopology.id),
                nodes,
                stores,
            }
        });
        Description { subtopologies: subtopologies.collect(), state: Some(self.describe_state()) }
    }

    fn describe_state(&self) -> StateDescription {
        let stores = self.graph.stores.iter().map(|store| {
            let [key, value] = store.formats.clone();
            let spec = &store.spec;
            StoreDescription {
                name: spec.name.clone(),
                kind: spec.kind,
                key,
                value,
                persistent: spec.persistent,
                caching: spec.caching,
                changelog: spec.logged.then(|| Self::changelog(spec).name.to_string()),
                reuses_source: spec.changelog_source.is_some(),
            }
        });
        let repartition_topics = self.repartition_topics().map(|topic| {
            let [key, value] = topic.formats.clone();
            let (name, partitions) = (topic.name.to_string(), topic.partitions);
            RepartitionDescription { name, partitions, key, value }
        });
        StateDescription {
            stores: stores.collect(),
            repartition_topics: repartition_topics.collect(),
            copartitioned: self
                .graph
                .copartitioned
                .iter()
                .map(|group| group.iter().map(ToString::to_string).collect())
                .collect(),
        }
    }
}

impl Description {
    /// As a JSON document.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        // A description holds strings and numbers alone, which always have a JSON form.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// As a Mermaid flow chart: topics, nodes and stores.
    #[must_use]
    pub fn to_mermaid(&self) -> String {
        let mut out = String::from("flowchart TD\n");
        let id = |kind: &str, name: &str| {
            let name: String =
                name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
            format!("{kind}_{name}")
        };
        for subtopology in &self.subtopologies {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "  subgraph sub{0}[\"Subtopology {0}\"]", subtopology.id);
            for node in &subtopology.nodes {
                let _ = writeln!(out, "    {}[\"{}\"]", id("n", &node.name), node.name);
            }
            for store in &subtopology.stores {
                let _ = writeln!(out, "    {}[(\"{store}\")]", id("s", store));
            }
            out.push_str("  end\n");
            for node in &subtopology.nodes {
                let own = id("n", &node.name);
                for topic in &node.topics {
                    let at = id("t", topic);
                    let _ = match node.kind {
                        NodeRole::Source => writeln!(out, "  {at}>\"{topic}\"] --> {own}"),
                        _ => writeln!(out, "  {own} --> {at}>\"{topic}\"]"),
                    };
                }
                for child in &node.successors {
                    let _ = writeln!(out, "  {own} --> {}", id("n", child));
                }
                for store in &node.stores {
                    let _ = writeln!(out, "  {own} -.- {}", id("s", store));
                }
            }
        }
        out
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list =
            |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        // Spaces and blank lines are Kafka Streams' own.
        write!(f, "Topologies:\n ")?;
        for subtopology in &self.subtopologies {
            let note = if subtopology.is_global {
                " for global store (will not generate tasks)"
            } else {
                ""
            };
            writeln!(f, "  Sub-topology: {}{note}", subtopology.id)?;
            for node in &subtopology.nodes {
                match node.kind {
                    NodeRole::Source => writeln!(
                        f,
                        "    Source: {} (topics: [{}])",
                        node.name,
                        node.topics.join(", ")
                    )?,
                    NodeRole::Sink => {
                        let topic =
                            node.topics.first().map_or("chosen by each record", String::as_str);
                        writeln!(f, "    Sink: {} (topic: {topic})", node.name)?;
                    }
                    _ => writeln!(
                        f,
                        "    Processor: {} (stores: [{}])",
                        node.name,
                        node.stores.join(", ")
                    )?,
                }
                if node.kind != NodeRole::Sink {
                    writeln!(f, "      --> {}", list(&node.successors))?;
                }
                if node.kind != NodeRole::Source {
                    writeln!(f, "      <-- {}", list(&node.predecessors))?;
                }
            }
            if !subtopology.is_global {
                writeln!(f)?;
            }
        }
        Ok(())
    }
}
