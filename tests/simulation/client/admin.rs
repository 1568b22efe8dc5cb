//! The admin client.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidemill::kafka::{
    Admin, Committed, EndOffset, ErrorClass, GroupMember, Isolation, KafkaError, NewTopic, Offset,
    OffsetSpec, TopicInfo, TopicPartition,
};

use super::call::Reply;
use super::consumer::list_offsets;
use crate::cluster::Brokers;
use crate::cluster::group::Group;
use crate::world::Sim;

/// The broker that answers for the whole cluster.
const CONTROLLER: usize = 0;

/// See the [module](self).
#[derive(Debug)]
pub struct SimAdmin {
    sim: Sim,
}

impl SimAdmin {
    pub(crate) fn new(sim: &Sim) -> Self {
        Self { sim: sim.clone() }
    }
}

fn unsupported(operation: &'static str) -> KafkaError {
    let (class, code) = (ErrorClass::Unsupported, "UNSUPPORTED_VERSION");
    KafkaError::new(class, code, operation, "not part of the simulation")
}

impl Admin for SimAdmin {
    fn describe_topics(
        &self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Option<TopicInfo>>, KafkaError> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.sim.call(CONTROLLER, timeout, "describe topics", move |world| {
            Reply::Done(Ok(names.iter().map(|name| world.brokers.describe(name)).collect()))
        })
    }

    fn list_topics(&self, timeout: Duration) -> Result<Vec<String>, KafkaError> {
        self.sim.call(CONTROLLER, timeout, "list topics", |world| {
            Reply::Done(Ok(world.brokers.topics.keys().map(ToString::to_string).collect()))
        })
    }

    fn create_topics(
        &self,
        topics: &[NewTopic],
        timeout: Duration,
    ) -> Result<Vec<Result<(), KafkaError>>, KafkaError> {
        let topics = topics.to_vec();
        self.sim.call(CONTROLLER, timeout, "create topics", move |world| {
            Reply::Done(Ok(topics.iter().map(|topic| world.brokers.create(topic)).collect()))
        })
    }

    fn delete_topics(
        &self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Result<(), KafkaError>>, KafkaError> {
        let names: Vec<Arc<str>> = names.iter().map(|name| Arc::from(*name)).collect();
        self.sim.call(CONTROLLER, timeout, "delete topics", move |world| {
            Reply::Done(Ok(names
                .iter()
                .map(|name| {
                    let unknown = || {
                        Brokers::unknown(&TopicPartition::new(Arc::clone(name), 0), "delete topics")
                    };
                    world.brokers.topics.remove(name).map(|_| ()).ok_or_else(unknown)
                })
                .collect()))
        })
    }

    fn topic_config(
        &self,
        name: &str,
        timeout: Duration,
    ) -> Result<BTreeMap<String, String>, KafkaError> {
        let name = name.to_owned();
        self.sim.call(CONTROLLER, timeout, "describe topic", move |world| {
            let topic = world.brokers.topics.get(name.as_str());
            Reply::Done(topic.map(|topic| topic.config.clone()).ok_or_else(|| {
                Brokers::unknown(&TopicPartition::new(name.as_str(), 0), "describe topic")
            }))
        })
    }

    fn delete_records(
        &self,
        below: &[(TopicPartition, Offset)],
        timeout: Duration,
    ) -> Result<(), KafkaError> {
        for (partition, offset) in below.iter().cloned() {
            let broker = Brokers::leader(&partition);
            self.sim.call(broker, timeout, "delete records", move |world| {
                Reply::Done(match world.brokers.log_mut(&partition) {
                    Some(log) => {
                        log.delete_below(offset.0);
                        Ok(())
                    }
                    None => Err(Brokers::unknown(&partition, "delete records")),
                })
            })?;
        }
        Ok(())
    }

    fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        spec: OffsetSpec,
        isolation: Isolation,
        timeout: Duration,
    ) -> Result<Vec<EndOffset>, KafkaError> {
        list_offsets(&self.sim, partitions, spec, isolation, timeout)
    }

    fn group_members(
        &self,
        group: &str,
        timeout: Duration,
    ) -> Result<Vec<GroupMember>, KafkaError> {
        let name: Arc<str> = group.into();
        self.sim.call(Brokers::coordinator(group), timeout, "describe group", move |world| {
            let group = world.brokers.groups.get(&name);
            Reply::Done(Ok(group.map(Group::described).unwrap_or_default()))
        })
    }

    fn group_offsets(&self, group: &str, timeout: Duration) -> Result<Vec<Committed>, KafkaError> {
        let name: Arc<str> = group.into();
        self.sim.call(Brokers::coordinator(group), timeout, "list group offsets", move |world| {
            let group = world.brokers.groups.get(&name);
            Reply::Done(Ok(group
                .map(|group| group.committed.values().cloned().collect())
                .unwrap_or_default()))
        })
    }

    fn alter_group_offsets(
        &self,
        _: &str,
        _: &[(TopicPartition, Offset)],
        _: Duration,
    ) -> Result<(), KafkaError> {
        Err(unsupported("alter group offsets"))
    }

    fn delete_group(&self, _: &str, _: Duration) -> Result<(), KafkaError> {
        Err(unsupported("delete group"))
    }

    fn cluster_id(&self, timeout: Duration) -> Result<String, KafkaError> {
        self.sim.call(CONTROLLER, timeout, "describe cluster", |_| {
            Reply::Done(Ok("simulated".to_owned()))
        })
    }
}
