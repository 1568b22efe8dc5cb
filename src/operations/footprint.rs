//! [`Footprint`]: what an application has on a cluster, found without changing anything.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_topology::graph::Topology;
use tidemill_topology::store::StoreSpec;

use super::error::OperationError;
use crate::kafka::{Admin, GroupMember, TopicInfo, TopicPartition};
use crate::runtime::internal_topics::sink_topics;
use crate::runtime::plan::{ChangelogPlan, Plan, WantedTopic, wanted_topics};

/// How long one call may wait for the cluster.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);
/// How often the group is looked at while its members are waited for.
const LOOK: Duration = Duration::from_millis(500);
/// What the names of internal topics end in.
const INTERNAL_SUFFIXES: [&str; 2] = ["-changelog", "-repartition"];

/// An application's topics and tasks, as its topology and the cluster have them.
#[derive(Debug)]
pub struct Footprint {
    /// `application.id`: the group, and the prefix of internal topics.
    pub application_id: String,
    /// Its tasks, with their inputs and stores.
    pub plan: Plan,
    /// The internal topics that the topology needs, whether they exist or not.
    pub internal: Vec<WantedTopic>,
    /// Topics that it writes for others.
    pub outputs: Vec<String>,
    /// The topics above that exist.
    known: HashMap<Arc<str>, TopicInfo>,
}

impl Footprint {
    /// Asks the cluster.
    ///
    /// # Errors
    /// When it does not answer, an input does not exist, or inputs do not fit each other.
    pub fn find<A: Admin>(
        admin: &A,
        topology: &Topology,
        application_id: &str,
    ) -> Result<Self, OperationError> {
        let inputs: Vec<&str> = topology
            .subtopologies()
            .iter()
            .flat_map(|subtopology| &subtopology.sources)
            .filter(|source| !source.internal)
            .map(|source| &*source.name)
            .collect();
        let mut known = HashMap::new();
        describe(admin, &inputs, &mut known)?;
        let counts = topology.partition_counts(&|topic| {
            let info: &TopicInfo = known.get(topic)?;
            i32::try_from(info.partitions.len()).ok()
        })?;
        let internal = wanted_topics(topology, application_id, &counts)?;
        let names: Vec<&str> = internal.iter().map(|topic| &*topic.topic).collect();
        describe(admin, &names, &mut known)?;
        let plan = Plan::new(topology, application_id, &counts, &known);
        let outputs = sink_topics(topology);
        Ok(Self { application_id: application_id.to_owned(), plan, internal, outputs, known })
    }

    /// Whether a topic of the application exists.
    #[must_use]
    pub fn exists(&self, topic: &str) -> bool {
        self.known.contains_key(topic)
    }

    /// The topics that it reads and others write, in the order of their names.
    #[must_use]
    pub fn inputs(&self) -> BTreeSet<Arc<str>> {
        let inputs = self.plan.subtopologies().flat_map(|(_, plan)| &plan.inputs);
        inputs.filter(|input| !input.internal).map(|input| input.topic.clone()).collect()
    }

    /// Every partition of the inputs, in order.
    #[must_use]
    pub fn input_partitions(&self) -> Vec<TopicPartition> {
        let inputs = self.inputs();
        let counted = inputs.iter().map(|topic| (topic, self.plan.partitions(topic).unwrap_or(0)));
        counted
            .flat_map(|(topic, count)| (0..count).map(|at| TopicPartition::new(topic.clone(), at)))
            .collect()
    }

    /// A store with a changelog, and how many partitions that has.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn store(&self, name: &str) -> Result<LoggedStore<'_>, OperationError> {
        let mut names = Vec::new();
        for (_, subtopology) in self.plan.subtopologies() {
            for (spec, changelog) in subtopology.stores.iter().zip(&subtopology.changelogs) {
                let Some(changelog) = changelog else { continue };
                if spec.name == name {
                    return Ok(LoggedStore { spec, changelog, partitions: subtopology.tasks });
                }
                names.push(spec.name.as_str());
            }
        }
        Err(OperationError::NoStore { store: name.to_owned(), known: names.join(", ") })
    }

    /// Topics of the cluster that look like the application's internal ones and are not: of an
    /// older topology of its, or of another application whose id starts with this one's.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn look_alikes<A: Admin>(&self, admin: &A) -> Result<Vec<String>, OperationError> {
        let prefix = format!("{}-", self.application_id);
        let is_internal = |name: &String| {
            name.starts_with(&prefix)
                && INTERNAL_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
        };
        let mut names = admin.list_topics(TIMEOUT)?;
        names.retain(|name| is_internal(name) && !self.exists(name));
        names.sort_unstable();
        Ok(names)
    }
}

/// A store and where it is logged.
#[derive(Clone, Copy, Debug)]
pub struct LoggedStore<'a> {
    /// The store.
    pub spec: &'a StoreSpec,
    /// Its changelog.
    pub changelog: &'a ChangelogPlan,
    /// How many tasks have the store.
    pub partitions: i32,
}

impl LoggedStore<'_> {
    /// A partition of the changelog.
    #[must_use]
    pub fn partition(&self, number: i32) -> TopicPartition {
        TopicPartition::new(self.changelog.topic.clone(), number)
    }
}

fn describe<A: Admin>(
    admin: &A,
    names: &[&str],
    known: &mut HashMap<Arc<str>, TopicInfo>,
) -> Result<(), OperationError> {
    if !names.is_empty() {
        let found = admin.describe_topics(names, TIMEOUT)?.into_iter().flatten();
        known.extend(found.map(|info| (info.name.clone(), info)));
    }
    Ok(())
}

/// Waits until the application's group has no members, but no longer than `wait`.
///
/// # Errors
/// [`OperationError::ActiveMembers`] when it still has some then.
pub fn require_idle<A: Admin>(
    admin: &A,
    application_id: &str,
    wait: Duration,
) -> Result<(), OperationError> {
    let started = Instant::now();
    loop {
        let members: Vec<GroupMember> = admin.group_members(application_id, TIMEOUT)?;
        if members.is_empty() {
            return Ok(());
        }
        if started.elapsed() >= wait {
            return Err(OperationError::ActiveMembers {
                group: application_id.to_owned(),
                members,
            });
        }
        std::thread::sleep(LOOK.min(wait));
    }
}
