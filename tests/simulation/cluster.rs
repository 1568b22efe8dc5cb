//! The brokers: topics, and what they know of groups and transactions.
//!
//! Semantics are Kafka's. Of transactions: `TransactionCoordinator` and KIP-98, with the
//! verification of KIP-890's first part (a partition takes records of a transaction only while its
//! coordinator says that it is open). Of groups: the classic protocol, as `ClassicGroup` and
//! `GroupMetadataManager` have it.

pub mod assignor;
pub mod group;
pub mod log;
pub mod transactions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidemill::kafka::{
    ErrorClass, KafkaError, NewTopic, PartitionInfo, TopicInfo, TopicPartition, TopicUuid,
};

use crate::client::ConsumerId;
use crate::world::{Micros, World};
use group::Group;
use log::Log;
use transactions::Transactional;

/// How many brokers there are.
pub const BROKERS: usize = 3;

/// What the brokers know.
#[derive(Debug, Default)]
pub struct Brokers {
    pub(crate) topics: BTreeMap<Arc<str>, Topic>,
    pub(crate) groups: BTreeMap<Arc<str>, Group>,
    pub(crate) transactions: BTreeMap<Arc<str>, Transactional>,
    pub(crate) producers: u64,
    /// When each broker answers again.
    down_until: [Micros; BROKERS],
}

/// A topic.
#[derive(Debug)]
pub struct Topic {
    pub(crate) id: TopicUuid,
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) partitions: Vec<Log>,
    /// Consumers that wait for more, by partition.
    pub(crate) readers: Vec<BTreeSet<ConsumerId>>,
}

impl Brokers {
    pub(crate) fn up_at(&self, broker: usize) -> Micros {
        self.down_until[broker % BROKERS]
    }

    pub(crate) fn take_down(&mut self, broker: usize, until: Micros) {
        let down = &mut self.down_until[broker % BROKERS];
        *down = until.max(*down);
    }

    /// The broker that leads a partition.
    pub(crate) fn leader(partition: &TopicPartition) -> usize {
        let name =
            partition.topic.bytes().fold(7_usize, |sum, byte| sum * 31 % 1009 + byte as usize);
        name + usize::try_from(partition.partition).unwrap_or(0)
    }

    /// The broker that coordinates a group or a transactional id.
    pub(crate) fn coordinator(name: &str) -> usize {
        name.bytes().fold(3_usize, |sum, byte| sum * 31 % 1009 + byte as usize)
    }

    /// A partition's log.
    #[must_use]
    pub fn log(&self, partition: &TopicPartition) -> Option<&Log> {
        let number = usize::try_from(partition.partition).ok()?;
        self.topics.get(&partition.topic)?.partitions.get(number)
    }

    pub(crate) fn log_mut(&mut self, partition: &TopicPartition) -> Option<&mut Log> {
        let number = usize::try_from(partition.partition).ok()?;
        self.topics.get_mut(&partition.topic)?.partitions.get_mut(number)
    }

    /// The partitions of a topic.
    #[must_use]
    pub fn partitions(&self, topic: &str) -> Vec<TopicPartition> {
        let Some((name, found)) = self.topics.get_key_value(topic) else { return Vec::new() };
        let count = i32::try_from(found.partitions.len()).unwrap_or(i32::MAX);
        (0..count).map(|number| TopicPartition::new(Arc::clone(name), number)).collect()
    }

    pub(crate) fn create(&mut self, topic: &NewTopic) -> Result<(), KafkaError> {
        if self.topics.contains_key(topic.name.as_str()) {
            let (class, code) = (ErrorClass::AlreadyExists, "TOPIC_ALREADY_EXISTS");
            return Err(KafkaError::new(class, code, "create topics", "it exists already")
                .of_topic(&topic.name));
        }
        let count = usize::try_from(topic.partitions).unwrap_or(1);
        let id = TopicUuid(self.topics.len() as u128 + 1);
        let created = Topic {
            id,
            config: topic.config.clone(),
            partitions: std::iter::repeat_with(Log::default).take(count).collect(),
            readers: vec![BTreeSet::new(); count],
        };
        self.topics.insert(topic.name.as_str().into(), created);
        Ok(())
    }

    pub(crate) fn describe(&self, name: &str) -> Option<TopicInfo> {
        let (name, topic) = self.topics.get_key_value(name)?;
        let info = |_| PartitionInfo { leader: Some(1), replicas: vec![1], in_sync: vec![1] };
        Some(TopicInfo {
            name: Arc::clone(name),
            id: Some(topic.id),
            partitions: topic.partitions.iter().map(info).collect(),
        })
    }

    pub(crate) fn unknown(partition: &TopicPartition, operation: &'static str) -> KafkaError {
        let (class, code) = (ErrorClass::UnknownTopicOrPartition, "UNKNOWN_TOPIC_OR_PART");
        KafkaError::new(class, code, operation, "there is none").of_partition(partition)
    }
}

impl World {
    /// Tells readers that a partition may have more for them.
    pub(crate) fn grown(&mut self, partition: &TopicPartition) {
        let Ok(number) = usize::try_from(partition.partition) else { return };
        let topic = self.brokers.topics.get_mut(&partition.topic);
        let Some(readers) = topic.and_then(|topic| topic.readers.get_mut(number)) else { return };
        for reader in std::mem::take(readers) {
            self.fetch(reader, partition);
        }
    }

    /// Compacts the topics that ask for it.
    pub(crate) fn compact(&mut self) {
        for topic in self.brokers.topics.values_mut() {
            let policy = topic.config.get("cleanup.policy");
            if policy.is_some_and(|policy| policy.contains("compact")) {
                topic.partitions.iter_mut().for_each(Log::compact);
            }
        }
    }
}
