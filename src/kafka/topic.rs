//! Topics: what they are, what they should be, and what a producer has delivered to them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::error::KafkaError;
use super::partition::{Offset, TopicPartition};

/// A producer's handle of a topic: looked up by name once, then an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub u32);

impl TopicId {
    /// As an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The id a cluster gave a topic at its creation: a topic that was deleted and created again
/// under its old name has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicUuid(pub u128);

impl fmt::Display for TopicUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A topic as the cluster describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: Arc<str>,
    /// Its id; `None` from clusters that do not give one.
    pub id: Option<TopicUuid>,
    /// Its partitions, by number from 0.
    pub partitions: Vec<PartitionInfo>,
}

/// One partition of a [`TopicInfo`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Broker that leads it; `None` while there is no leader.
    pub leader: Option<i32>,
    /// Brokers that hold it.
    pub replicas: Vec<i32>,
    /// Of those, the ones in sync.
    pub in_sync: Vec<i32>,
}

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Number of partitions, at least 1.
    pub partitions: i32,
    /// Number of replicas; `None` is the broker's default.
    pub replication: Option<i32>,
    /// Topic settings, such as `cleanup.policy`.
    pub config: BTreeMap<String, String>,
}

impl NewTopic {
    /// With the broker's defaults.
    pub fn new(name: impl Into<String>, partitions: i32) -> Self {
        Self { name: name.into(), partitions, replication: None, config: BTreeMap::new() }
    }

    /// With one setting more.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }
}

/// What a producer's delivery reports added up to.
#[derive(Debug, Default)]
pub struct Deliveries {
    /// Indexed by [`TopicId`], then by partition: the highest offset a broker acknowledged, -1
    /// where there is none yet.
    highest: Vec<Vec<i64>>,
    /// First failure since the last [`Deliveries::take_error`].
    first_error: Option<(TopicPartition, KafkaError)>,
    /// Records acknowledged since the producer was made.
    delivered: u64,
    /// Records that failed since the producer was made; records purged by an abort are not counted.
    failed: u64,
}

impl Deliveries {
    /// Highest acknowledged offset of a partition. An acknowledgement can come without an offset
    /// (a retried batch the broker knew already), so this may lag behind the log, never lead.
    #[must_use]
    pub fn highest(&self, topic: TopicId, partition: i32) -> Option<Offset> {
        let partition = usize::try_from(partition).ok()?;
        let raw = *self.highest.get(topic.index())?.get(partition)?;
        Offset::known(raw)
    }

    /// First delivery failure since the last call, and where.
    pub fn take_error(&mut self) -> Option<(TopicPartition, KafkaError)> {
        self.first_error.take()
    }

    /// Records acknowledged since the producer was made.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Records that failed since the producer was made, without those an abort purged.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// Notes an acknowledged record; `offset` is negative where the broker gave none.
    pub fn note_delivered(&mut self, topic: TopicId, partition: i32, offset: i64) {
        self.delivered += 1;
        let Ok(partition) = usize::try_from(partition) else { return };
        if topic.index() >= self.highest.len() {
            self.highest.resize_with(topic.index() + 1, Vec::new);
        }
        let partitions = &mut self.highest[topic.index()];
        if partition >= partitions.len() {
            partitions.resize(partition + 1, -1);
        }
        if offset > partitions[partition] {
            partitions[partition] = offset;
        }
    }

    /// Notes a record that could not be delivered.
    pub fn note_failed(&mut self, failure: impl FnOnce() -> (TopicPartition, KafkaError)) {
        self.failed += 1;
        self.first_error.get_or_insert_with(failure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_delivered_offset_never_falls_and_ignores_reports_without_one() {
        let mut deliveries = Deliveries::default();
        let topic = TopicId(2);
        assert_eq!(deliveries.highest(topic, 1), None);
        deliveries.note_delivered(topic, 1, -1001);
        assert_eq!(deliveries.highest(topic, 1), None);
        deliveries.note_delivered(topic, 1, 7);
        deliveries.note_delivered(topic, 1, 5);
        deliveries.note_delivered(topic, 1, -1001);
        assert_eq!(deliveries.highest(topic, 1), Some(Offset(7)));
        assert_eq!(deliveries.highest(topic, 0), None);
        assert_eq!(deliveries.delivered(), 4);
    }
}
