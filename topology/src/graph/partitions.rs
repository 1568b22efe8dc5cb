//! How many partitions each topic of a topology has, and whether joined ones agree.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::graph::{NodeKind, Subtopology, Topology};

/// Why a topology cannot run on the topics that there are.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PartitionError {
    /// A source topic does not exist.
    #[error(
        "source topic {topic} does not exist; create it, or correct its name in the configuration"
    )]
    Missing {
        /// Its name.
        topic: String,
    },
    /// Joined topics differ.
    #[error(
        "Following topics do not have the same number of partitions: [{}]; \
         repartition one of them, or recreate it with as many partitions as the other",
        .topics.iter().map(|(topic, count)| format!("{topic} ({count})")).collect::<Vec<_>>().join(", ")
    )]
    NotCopartitioned {
        /// The topics and their counts.
        topics: Vec<(String, i32)>,
    },
    /// Repartition topics depend on each other in a circle.
    #[error(
        "the number of partitions of {topic} cannot be derived; give it one with Repartitioned::partitions"
    )]
    Undetermined {
        /// Its name.
        topic: String,
    },
}

impl Topology {
    /// The number of partitions of every source and repartition topic, by name (without the
    /// application's id), given those of the topics that exist.
    ///
    /// A repartition topic has as many as it was declared with, else as many as the topics it is
    /// joined with, else as many as the largest input of the subtopologies that write it.
    ///
    /// # Errors
    /// When a source topic is missing, or co-partitioned topics differ.
    pub fn partition_counts(
        &self,
        existing: &dyn Fn(&str) -> Option<i32>,
    ) -> Result<BTreeMap<Arc<str>, i32>, PartitionError> {
        let mut counts = BTreeMap::new();
        let mut open = Vec::new();
        for topic in self.subtopologies().iter().flat_map(|subtopology| &subtopology.sources) {
            let count = if topic.internal {
                self.graph.repartition_topics.get(&topic.name).and_then(|topic| topic.partitions)
            } else {
                let missing = || PartitionError::Missing { topic: topic.name.to_string() };
                Some(existing(&topic.name).ok_or_else(missing)?)
            };
            match count {
                Some(count) => {
                    counts.insert(topic.name.clone(), count);
                }
                None => open.push(topic.name.clone()),
            }
        }
        while !open.is_empty() {
            let before = open.len();
            open.retain(|topic| match self.derive(topic, &counts) {
                Some(count) => {
                    counts.insert(topic.clone(), count);
                    false
                }
                None => true,
            });
            if open.len() == before {
                return Err(PartitionError::Undetermined { topic: open[0].to_string() });
            }
        }
        for group in &self.graph.copartitioned {
            let topics: Vec<(String, i32)> = group
                .iter()
                .filter_map(|topic| Some((topic.to_string(), *counts.get(topic)?)))
                .collect();
            if topics.iter().any(|(_, count)| *count != topics[0].1) {
                return Err(PartitionError::NotCopartitioned { topics });
            }
        }
        Ok(counts)
    }

    /// How many tasks a subtopology has: the partitions of its largest input.
    #[must_use]
    pub fn task_count(&self, subtopology: &Subtopology, counts: &BTreeMap<Arc<str>, i32>) -> i32 {
        subtopology
            .sources
            .iter()
            .filter_map(|topic| counts.get(&topic.name))
            .copied()
            .max()
            .unwrap_or(0)
    }

    /// What an undeclared repartition topic's count follows from, once that is known.
    fn derive(&self, topic: &Arc<str>, counts: &BTreeMap<Arc<str>, i32>) -> Option<i32> {
        let groups = || self.graph.copartitioned.iter().filter(|group| group.contains(topic));
        if let Some(count) = groups()
            .flatten()
            .filter(|other| !self.graph.repartition_topics.contains_key(*other))
            .find_map(|other| counts.get(other))
        {
            return Some(*count);
        }
        // Joined repartition topics take the largest count of all.
        let mut together: Vec<&Arc<str>> = groups().flatten().collect();
        together.push(topic);
        let mut largest = None;
        for member in together {
            let own = match counts.get(member) {
                Some(count) => *count,
                None => self.inputs_of(member, counts)?,
            };
            largest = largest.max(Some(own));
        }
        largest
    }

    fn inputs_of(&self, topic: &Arc<str>, counts: &BTreeMap<Arc<str>, i32>) -> Option<i32> {
        let mut largest = None;
        for subtopology in self.subtopologies() {
            let writes = subtopology.nodes.iter().any(|node| match &self.graph.nodes[*node].kind {
                NodeKind::Sink { topic: Some(sink) } => sink.internal && sink.name == *topic,
                _ => false,
            });
            if writes {
                for source in &subtopology.sources {
                    largest = largest.max(Some(*counts.get(&source.name)?));
                }
            }
        }
        largest
    }
}
