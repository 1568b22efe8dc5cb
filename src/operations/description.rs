//! [`Description`]: an application as its cluster sees it: group, members, tasks, positions, lag.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tidemill_topology::graph::TaskId;

use super::committed_range::RangeReader;
use super::error::OperationError;
use super::footprint::{Footprint, TIMEOUT};
use crate::kafka::{Admin, Cluster, GroupMember, Isolation, Message, OffsetSpec, TopicPartition};
use crate::runtime::membership::MemberRecord;

/// An instance that has said nothing for so long is taken for dead: many times the interval at
/// which it gives a sign of life, since its clock may differ from ours.
const SILENT_MS: i64 = 60_000;

/// An application.
#[derive(Debug, Serialize)]
pub struct Description {
    /// `application.id`, and the name of its group.
    pub application_id: String,
    /// The cluster.
    pub cluster_id: String,
    /// Who is in the group, in the order of their names.
    pub members: Vec<MemberDescription>,
    /// Its tasks, in the order of their ids.
    pub tasks: Vec<TaskDescription>,
    /// Records that are not processed yet, of all tasks.
    pub lag: u64,
}

/// A member of the group: a stream thread.
#[derive(Debug, Serialize)]
pub struct MemberDescription {
    /// Its `group.instance.id`, or its `client.id` if it has none.
    pub name: String,
    /// Where it connects from.
    pub host: String,
    /// The tasks that the group has assigned to it.
    pub tasks: Vec<String>,
}

/// A task.
#[derive(Debug, Serialize)]
pub struct TaskDescription {
    /// `<subtopology>_<partition>`.
    pub id: String,
    /// The member that it is assigned to.
    pub member: Option<String>,
    /// Its inputs.
    pub inputs: Vec<InputDescription>,
    /// Its stores that are logged.
    pub stores: Vec<StoreDescription>,
    /// Records that are not processed yet.
    pub lag: u64,
}

/// A partition that a task reads.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct InputDescription {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset that is processed next, as committed.
    pub committed: Option<i64>,
    /// The end of what is committed in the partition; `None` where the topic does not exist.
    pub end: Option<i64>,
    /// Records in between, counting markers of transactions.
    pub lag: u64,
}

/// A store of a task, and its changelog.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct StoreDescription {
    /// The store.
    pub name: String,
    /// The changelog's topic.
    pub changelog: String,
    /// Offsets between the changelog's start and its end: no fewer than it has records.
    pub changelog_records: Option<i64>,
}

/// First and last offset of partitions.
type Extents = HashMap<TopicPartition, (i64, i64)>;

impl Description {
    /// Asks the cluster.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn make<A: Admin>(admin: &A, footprint: &Footprint) -> Result<Self, OperationError> {
        let group = admin.group_members(&footprint.application_id, TIMEOUT)?;
        let committed: HashMap<TopicPartition, i64> = admin
            .group_offsets(&footprint.application_id, TIMEOUT)?
            .into_iter()
            .map(|committed| (committed.partition, committed.offset.0))
            .collect();
        let extents = extents(admin, footprint)?;
        let owners = owners(footprint, &group);
        let mut tasks = Vec::new();
        for (subtopology, plan) in footprint.plan.subtopologies() {
            for partition in 0..plan.tasks {
                let task = TaskId { subtopology, partition };
                let inputs: Vec<InputDescription> = footprint
                    .plan
                    .inputs(task)
                    .map(|(_, partition)| input(&partition, &committed, &extents))
                    .collect();
                let stores = plan.stores.iter().zip(&plan.changelogs);
                let stores = stores.filter_map(|(spec, changelog)| {
                    let changelog = changelog.as_ref()?;
                    let partition = TopicPartition::new(changelog.topic.clone(), partition);
                    Some(StoreDescription {
                        name: spec.name.clone(),
                        changelog: changelog.topic.to_string(),
                        changelog_records: extents.get(&partition).map(|(first, end)| end - first),
                    })
                });
                tasks.push(TaskDescription {
                    id: task.to_string(),
                    member: owners.get(&task).cloned(),
                    stores: stores.collect(),
                    lag: inputs.iter().map(|input| input.lag).sum(),
                    inputs,
                });
            }
        }
        let mut members: Vec<MemberDescription> = group
            .iter()
            .map(|member| MemberDescription {
                name: name(member).to_owned(),
                host: member.host.trim_start_matches('/').to_owned(),
                tasks: tasks_of(footprint, member).map(|task| task.to_string()).collect(),
            })
            .collect();
        members.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(Self {
            application_id: footprint.application_id.clone(),
            cluster_id: admin.cluster_id(TIMEOUT)?,
            members,
            lag: tasks.iter().map(|task| task.lag).sum(),
            tasks,
        })
    }
}

/// Where the instances that live serve HTTP, by their ids, as they tell each other.
///
/// # Errors
/// When the cluster does not answer.
pub fn instance_hosts<C: Cluster>(
    cluster: &C,
    admin: &C::Admin,
    application_id: &str,
) -> Result<BTreeMap<String, String>, OperationError> {
    let topic = format!("{application_id}-members");
    let mut hosts = BTreeMap::new();
    if admin.describe_topics(&[&topic], TIMEOUT)?.iter().all(Option::is_none) {
        return Ok(hosts);
    }
    let mut reader = RangeReader::open(cluster, application_id)?;
    let ranges = reader.ranges(&[TopicPartition::new(topic, 0)])?;
    reader.read(&ranges, |_, message| {
        let id = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
        // The last record of an instance counts; a deletion, or one of another form, has no host.
        let record = message.value().and_then(|value| MemberRecord::from_json(value).ok());
        let silent_since = now_ms() - SILENT_MS;
        match record.filter(|record| record.heartbeat_ms > silent_since) {
            Some(MemberRecord { host: Some(host), .. }) => hosts.insert(id, host),
            _ => hosts.remove(&id),
        };
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(hosts)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn name(member: &GroupMember) -> &str {
    member.group_instance_id.as_deref().unwrap_or(&member.client_id)
}

fn tasks_of(footprint: &Footprint, member: &GroupMember) -> impl Iterator<Item = TaskId> {
    let mut tasks: Vec<TaskId> =
        member.assignment.iter().filter_map(|lead| footprint.plan.task(lead)).collect();
    tasks.sort_unstable();
    tasks.into_iter()
}

fn owners(footprint: &Footprint, group: &[GroupMember]) -> BTreeMap<TaskId, String> {
    let owned = |member| tasks_of(footprint, member).map(|task| (task, name(member).to_owned()));
    group.iter().flat_map(owned).collect()
}

fn input(
    partition: &TopicPartition,
    committed: &HashMap<TopicPartition, i64>,
    extents: &Extents,
) -> InputDescription {
    let committed = committed.get(partition).copied();
    let extent = extents.get(partition).copied();
    let lag = extent.map_or(0, |(first, end)| end - committed.unwrap_or(first).max(first));
    InputDescription {
        topic: partition.topic.to_string(),
        partition: partition.partition,
        committed,
        end: extent.map(|(_, end)| end),
        lag: u64::try_from(lag).unwrap_or(0),
    }
}

/// Where the partitions of inputs and changelogs begin and end, of those that exist.
fn extents<A: Admin>(admin: &A, footprint: &Footprint) -> Result<Extents, OperationError> {
    let mut partitions = Vec::new();
    for (subtopology, plan) in footprint.plan.subtopologies() {
        for partition in 0..plan.tasks {
            let inputs = footprint.plan.inputs(TaskId { subtopology, partition });
            partitions.extend(inputs.map(|(_, partition)| partition));
            let changelogs = plan.changelogs.iter().flatten();
            partitions.extend(
                changelogs.map(|changelog| TopicPartition::new(changelog.topic.clone(), partition)),
            );
        }
    }
    partitions.retain(|partition| footprint.exists(&partition.topic));
    partitions.sort_unstable();
    partitions.dedup();
    if partitions.is_empty() {
        return Ok(Extents::new());
    }
    let ask = |spec| admin.list_offsets(&partitions, spec, Isolation::ReadCommitted, TIMEOUT);
    let (first, end) = (ask(OffsetSpec::Earliest)?, ask(OffsetSpec::Latest)?);
    let extents = first
        .into_iter()
        .zip(end)
        .filter_map(|(first, end)| Some((first.partition, (first.offset?.0, end.offset?.0))));
    Ok(extents.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_counts_from_what_is_committed_and_else_from_the_start() {
        let partition = TopicPartition::new("orders", 0);
        let extents = Extents::from([(partition.clone(), (10, 25))]);
        let lag = |committed: Option<i64>| {
            let committed = committed.map(|offset| (partition.clone(), offset)).into_iter();
            input(&partition, &committed.collect(), &extents).lag
        };
        assert_eq!(lag(Some(20)), 5);
        assert_eq!(lag(Some(25)), 0);
        assert_eq!(lag(Some(5)), 15, "records below the start are gone");
        assert_eq!(lag(None), 15);
        let missing = input(&partition, &HashMap::new(), &Extents::new());
        assert_eq!((missing.end, missing.lag), (None, 0));
    }
}
