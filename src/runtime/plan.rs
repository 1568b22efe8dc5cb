//! What a topology becomes on a cluster: full topic names, partitions, lead topics and tasks.
//!
//! The group subscribes to one *lead topic* a subtopology, its largest input, so what the group
//! hands out are tasks: partition p of the lead topic stands for task `<subtopology>_p`. The other
//! inputs' partitions of that number are assigned along with it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tidemill_topology::graph::{InternalTopicKind, Subtopology, SubtopologyId, TaskId, Topology};
use tidemill_topology::node::SinkTopic;
use tidemill_topology::store::StoreSpec;

use super::error::RuntimeError;
use crate::kafka::{TopicInfo, TopicPartition};

/// How old, in ms of the broker's clock, the records of a topic become.
pub(super) const RETENTION: &str = "retention.ms";
/// Brokers delete by a record's timestamp, which is its event's: where events of long ago are
/// processed, state that still lives would be deleted from windowed changelogs, and missed by the
/// next restore. Tasks purge them instead, as their windows expire.
pub(super) const FOREVER: &str = "-1";

/// A topology on a cluster.
#[derive(Debug)]
pub struct Plan {
    subtopologies: BTreeMap<SubtopologyId, SubtopologyPlan>,
    partitions: HashMap<Arc<str>, i32>,
}

/// A subtopology on a cluster.
#[derive(Debug)]
pub struct SubtopologyPlan {
    /// Its inputs; the lead topic first.
    pub inputs: Vec<InputPlan>,
    /// Its stores, in the order of their indices in a task.
    pub stores: Vec<StoreSpec>,
    /// Each store's changelog, `None` for a store without one.
    pub changelogs: Vec<Option<ChangelogPlan>>,
    /// How many tasks.
    pub tasks: i32,
}

/// An input topic of a subtopology.
#[derive(Clone, Debug)]
pub struct InputPlan {
    /// Its name within the topology.
    pub name: Arc<str>,
    /// Its name on the cluster.
    pub topic: Arc<str>,
    /// How many partitions.
    pub partitions: i32,
    /// Whether it is a repartition topic, whose consumed records are purged.
    pub internal: bool,
}

/// The changelog of a store.
#[derive(Clone, Debug)]
pub struct ChangelogPlan {
    /// Its name on the cluster.
    pub topic: Arc<str>,
    /// Its id, where the cluster tells one.
    pub id: Option<[u8; 16]>,
    /// Whether it is an input topic, read as the store's log.
    pub is_input: bool,
    /// Of a windowed store: how far behind the store's time, in ms, its records are not needed any
    /// more.
    pub gone_after_ms: Option<i64>,
}

/// An internal topic as it must be on the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedTopic {
    /// Its name on the cluster.
    pub topic: String,
    /// How many partitions.
    pub partitions: i32,
    /// Changelog or repartition.
    pub kind: InternalTopicKind,
    /// Settings to create it with.
    pub config: BTreeMap<String, String>,
}

/// The name on the cluster of a topic of the topology.
#[must_use]
pub fn full_name(application_id: &str, topic: &SinkTopic) -> Arc<str> {
    if topic.internal {
        format!("{application_id}-{}", topic.name).into()
    } else {
        topic.name.clone()
    }
}

/// The internal topics that a topology needs, given the partition counts of all its inputs.
///
/// # Errors
/// When the topology is inconsistent in itself.
pub fn wanted_topics(
    topology: &Topology,
    application_id: &str,
    counts: &BTreeMap<Arc<str>, i32>,
) -> Result<Vec<WantedTopic>, RuntimeError> {
    let mut wanted = Vec::new();
    for subtopology in topology.subtopologies() {
        let tasks = topology.task_count(subtopology, counts);
        let kept_by_age = kept_by_age(topology, subtopology);
        for mut internal in topology.internal_topics(subtopology) {
            if internal.kind == InternalTopicKind::Changelog
                && internal.config.contains_key(RETENTION)
                && !kept_by_age.contains(&internal.name)
            {
                internal.config.insert(RETENTION.to_owned(), FOREVER.to_owned());
            }
            let partitions = match internal.kind {
                InternalTopicKind::Repartition => {
                    counts.get(&internal.name).copied().unwrap_or(tasks)
                }
                InternalTopicKind::Changelog => tasks,
            };
            wanted.push(WantedTopic {
                topic: format!("{application_id}-{}", internal.name),
                partitions,
                kind: internal.kind,
                config: internal.config,
            });
        }
    }
    Ok(wanted)
}

/// The changelogs whose settings, in the topology, say themselves how old their records become.
fn kept_by_age(topology: &Topology, subtopology: &Subtopology) -> Vec<Arc<str>> {
    let stores = topology.stores(subtopology).into_iter();
    let by_age = stores.filter(|store| store.changelog_config.contains_key(RETENTION));
    by_age.map(|store| Topology::changelog(&store).name).collect()
}

impl Plan {
    /// The plan, once all topics exist; `describe` says what the cluster knows of each.
    #[must_use]
    pub fn new(
        topology: &Topology,
        application_id: &str,
        counts: &BTreeMap<Arc<str>, i32>,
        describe: &HashMap<Arc<str>, TopicInfo>,
    ) -> Self {
        let subtopologies = topology.subtopologies().iter().map(|subtopology| {
            let mut inputs: Vec<InputPlan> = subtopology
                .sources
                .iter()
                .map(|source| InputPlan {
                    name: source.name.clone(),
                    topic: full_name(application_id, source),
                    partitions: counts.get(&source.name).copied().unwrap_or(0),
                    internal: source.internal,
                })
                .collect();
            // The largest first: each task has a partition of it.
            inputs.sort_by_key(|input| std::cmp::Reverse(input.partitions));
            let stores = topology.stores(subtopology);
            let changelogs = stores.iter().map(|store| {
                store.logged.then(|| {
                    let topic = full_name(application_id, &Topology::changelog(store));
                    let id =
                        describe.get(&topic).and_then(|info| info.id).map(|id| id.0.to_be_bytes());
                    ChangelogPlan {
                        topic,
                        id,
                        is_input: store.changelog_source.is_some(),
                        gone_after_ms: store.kind.gone_after_ms(),
                    }
                })
            });
            let changelogs = changelogs.collect();
            let tasks = topology.task_count(subtopology, counts);
            (subtopology.id, SubtopologyPlan { inputs, stores, changelogs, tasks })
        });
        let partitions = describe
            .iter()
            .map(|(topic, info)| {
                (topic.clone(), i32::try_from(info.partitions.len()).unwrap_or(i32::MAX))
            })
            .collect();
        Self { subtopologies: subtopologies.collect(), partitions }
    }

    /// A subtopology of the topology that the plan was made of.
    #[must_use]
    pub fn subtopology(&self, id: SubtopologyId) -> &SubtopologyPlan {
        &self.subtopologies[&id]
    }

    /// Whether any store is logged to a topic of its own.
    #[must_use]
    pub fn has_changelogs(&self) -> bool {
        let changelogs = self.subtopologies.values().flat_map(|plan| &plan.changelogs);
        changelogs.flatten().any(|changelog| !changelog.is_input)
    }

    /// How many partitions its repartition topics have together.
    #[must_use]
    pub fn repartitioned_partitions(&self) -> u64 {
        let inputs = self.subtopologies.values().flat_map(|subtopology| &subtopology.inputs);
        let internal = inputs.filter(|input| input.internal);
        internal.map(|input| u64::try_from(input.partitions).unwrap_or_default()).sum()
    }

    /// All of them, by number.
    pub fn subtopologies(&self) -> impl Iterator<Item = (SubtopologyId, &SubtopologyPlan)> {
        self.subtopologies.iter().map(|(id, plan)| (*id, plan))
    }

    /// The topics that the group subscribes to: one a subtopology.
    #[must_use]
    pub fn lead_topics(&self) -> Vec<&str> {
        self.subtopologies
            .values()
            .filter_map(|subtopology| subtopology.inputs.first())
            .map(|lead| &*lead.topic)
            .collect()
    }

    /// The task that a partition of a lead topic stands for.
    #[must_use]
    pub fn task(&self, lead: &TopicPartition) -> Option<TaskId> {
        self.subtopologies()
            .find(|(_, plan)| plan.inputs.first().is_some_and(|input| input.topic == lead.topic))
            .map(|(subtopology, _)| TaskId { subtopology, partition: lead.partition })
    }

    /// A task's input partitions, the lead first.
    pub fn inputs(&self, task: TaskId) -> impl Iterator<Item = (&InputPlan, TopicPartition)> {
        self.subtopology(task.subtopology)
            .inputs
            .iter()
            .filter(move |input| task.partition < input.partitions)
            .map(move |input| (input, TopicPartition::new(input.topic.clone(), task.partition)))
    }

    /// How many partitions a topic has, where that is known.
    #[must_use]
    pub fn partitions(&self, topic: &str) -> Option<i32> {
        self.partitions.get(topic).copied()
    }
}
