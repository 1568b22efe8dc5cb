//! Makes sure that the topics are there: inputs are checked, internal topics created or checked.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tidemill_topology::graph::{NodeKind, Topology};
use tidemill_topology::node::SinkTopic;

use super::error::RuntimeError;
use super::plan::{FOREVER, Plan, RETENTION, WantedTopic, wanted_topics};
use crate::clock::Clock;
use crate::kafka::{Admin, ErrorClass, KafkaError, NewTopic, TopicInfo};

/// How long one call may wait for the cluster. It is repeated when that was too short; until then
/// nobody hears that the cluster is away, and nobody can stop the instance.
const TIMEOUT: Duration = Duration::from_secs(5);

type Known = HashMap<Arc<str>, TopicInfo>;

/// Checks the inputs, creates what is missing, and says what the topology becomes on the cluster.
///
/// # Errors
/// When the cluster does not answer (retriable), an input or output is missing, joined inputs differ in their
/// partitions, or an internal topic is not what the topology needs.
pub fn prepare<A: Admin>(
    admin: &A,
    clock: &Clock,
    topology: &Topology,
    application_id: &str,
    replication: Option<i32>,
    dead_letters: Option<&SinkTopic>,
) -> Result<Plan, RuntimeError> {
    let mut known = Known::new();
    let sources: Vec<&str> = topology
        .subtopologies()
        .iter()
        .flat_map(|subtopology| &subtopology.sources)
        .filter(|source| !source.internal)
        .map(|source| &*source.name)
        .collect();
    describe(admin, &sources, &mut known)?;
    let counts = topology.partition_counts(&|topic| count(&known, topic))?;
    let wanted = wanted_topics(topology, application_id, &counts)?;
    ensure(admin, clock, &wanted, replication, &mut known)?;
    let mut sinks = sink_topics(topology);
    sinks.extend(dead_letters.map(|topic| topic.name.to_string()));
    describe(admin, &sinks.iter().map(String::as_str).collect::<Vec<_>>(), &mut known)?;
    if let Some(topic) = sinks.into_iter().find(|topic| !known.contains_key(&**topic)) {
        return Err(RuntimeError::MissingOutput { topic });
    }
    Ok(Plan::new(topology, application_id, &counts, &known))
}

/// Creates or checks one internal topic that no subtopology asks for.
///
/// # Errors
/// As [`prepare`].
pub fn ensure_one<A: Admin>(
    admin: &A,
    clock: &Clock,
    wanted: WantedTopic,
    replication: Option<i32>,
) -> Result<(), RuntimeError> {
    ensure(admin, clock, &[wanted], replication, &mut Known::new())
}

/// The topics that a topology writes for others, by the names in its declaration.
#[must_use]
pub fn sink_topics(topology: &Topology) -> Vec<String> {
    topology
        .nodes()
        .filter_map(|node| match &node.kind {
            NodeKind::Sink { topic: Some(topic) } if !topic.internal => {
                Some(topic.name.to_string())
            }
            _ => None,
        })
        .collect()
}

fn describe<A: Admin>(admin: &A, names: &[&str], known: &mut Known) -> Result<(), KafkaError> {
    if names.is_empty() {
        return Ok(());
    }
    for info in admin.describe_topics(names, TIMEOUT)?.into_iter().flatten() {
        known.insert(info.name.clone(), info);
    }
    Ok(())
}

fn count(known: &Known, topic: &str) -> Option<i32> {
    known.get(topic).map(|info| i32::try_from(info.partitions.len()).unwrap_or(i32::MAX))
}

/// Creates the internal topics that are missing, and checks the others.
fn ensure<A: Admin>(
    admin: &A,
    clock: &Clock,
    wanted: &[WantedTopic],
    replication: Option<i32>,
    known: &mut Known,
) -> Result<(), RuntimeError> {
    let names: Vec<&str> = wanted.iter().map(|topic| &*topic.topic).collect();
    describe(admin, &names, known)?;
    let missing: Vec<NewTopic> = wanted
        .iter()
        .filter(|topic| !known.contains_key(&*topic.topic))
        .map(|topic| NewTopic {
            name: topic.topic.clone(),
            partitions: topic.partitions,
            replication,
            config: topic.config.clone(),
        })
        .collect();
    if !missing.is_empty() {
        for (topic, result) in missing.iter().zip(admin.create_topics(&missing, TIMEOUT)?) {
            match result {
                Ok(()) => tracing::info!(
                    topic = topic.name,
                    partitions = topic.partitions,
                    "created internal topic"
                ),
                // Another instance was faster.
                Err(error) if error.class() == ErrorClass::AlreadyExists => {}
                Err(error) => return Err(error.into()),
            }
        }
        await_topics(admin, clock, &names, known)?;
    }
    for topic in wanted {
        let Some(actual) = count(known, &topic.topic) else { continue };
        if actual != topic.partitions {
            return Err(RuntimeError::InternalTopic {
                topic: topic.topic.clone(),
                actual: format!("{actual} partitions"),
                expected: topic.partitions.to_string(),
            });
        }
        if !missing.iter().any(|new| new.name == topic.topic) {
            check_policy(admin, topic)?;
        }
    }
    Ok(())
}

/// A new topic shows up in the metadata a little later than its creation is answered.
fn await_topics<A: Admin>(
    admin: &A,
    clock: &Clock,
    names: &[&str],
    known: &mut Known,
) -> Result<(), RuntimeError> {
    let settled = |known: &Known| {
        names.iter().all(|name| {
            known.get(*name).is_some_and(|info| {
                !info.partitions.is_empty()
                    && info.partitions.iter().all(|partition| partition.leader.is_some())
            })
        })
    };
    for wait_ms in [0, 10, 20, 50, 100, 200, 400, 800, 1600, 3200] {
        clock.sleep(Duration::from_millis(wait_ms));
        describe(admin, names, known)?;
        if settled(known) {
            return Ok(());
        }
    }
    let message = "new internal topics have no leader yet";
    Err(KafkaError::new(ErrorClass::Retriable, "LEADER_NOT_AVAILABLE", "create topics", message)
        .into())
}

/// A changelog whose cleanup policy deletes by age would lose state; a windowed one whose age is
/// bounded may.
fn check_policy<A: Admin>(admin: &A, topic: &WantedTopic) -> Result<(), RuntimeError> {
    let Some(expected) = topic.config.get("cleanup.policy") else { return Ok(()) };
    let config: BTreeMap<String, String> = match admin.topic_config(&topic.topic, TIMEOUT) {
        Ok(config) => config,
        // Some clusters, or rights, do not let one look; the topic is there and has its partitions.
        Err(error)
            if matches!(error.class(), ErrorClass::Unsupported | ErrorClass::Authorization) =>
        {
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let parts = |policy: &str| {
        let mut parts: Vec<String> = policy.split(',').map(|part| part.trim().to_owned()).collect();
        parts.sort_unstable();
        parts
    };
    if topic.config.get(RETENTION).is_some_and(|wanted| wanted == FOREVER)
        && let Some(found) = config.get(RETENTION).filter(|found| *found != FOREVER)
    {
        tracing::warn!(
            topic = topic.topic,
            retention_ms = found,
            "the brokers delete records of this topic by their age; state of old events would be lost \
             to the next restore: set retention.ms to -1 with kafka-configs.sh --alter"
        );
    }
    match config.get("cleanup.policy") {
        Some(actual) if parts(actual) != parts(expected) => Err(RuntimeError::InternalTopic {
            topic: topic.topic.clone(),
            actual: format!("cleanup.policy={actual}"),
            expected: format!("cleanup.policy={expected}"),
        }),
        _ => Ok(()),
    }
}
