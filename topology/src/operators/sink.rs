//! `to` and `repartition`: serializes records and sends them to a topic. Stateless. Drops, counted:
//! records that a partitioner sends to no partition.

use std::sync::Arc;

use crate::error::Result;
use crate::node::{Context, DropReason, Operator, SinkTopic};
use crate::record::Record;
use crate::serde::SerdeRef;

/// Chooses a record's topic.
pub(crate) type TopicChooser<K, V> = Arc<dyn Fn(&K, &V, &Context<'_>) -> String + Send + Sync>;

/// Chooses where a record goes, out of the topic's number of partitions.
pub(crate) type Partitioner<K, V> = Arc<dyn Fn(&K, &V, i32) -> Destination + Send + Sync>;

/// The partitions that a record goes to.
pub(crate) enum Destination {
    /// The one that its key hashes to.
    OfKey,
    /// This one.
    One(i32),
    /// Each of these.
    Each(Vec<i32>),
}

impl From<Option<i32>> for Destination {
    fn from(partition: Option<i32>) -> Self {
        partition.map_or(Self::OfKey, Self::One)
    }
}

/// Where a sink writes.
pub(crate) enum Target<K, V> {
    /// Always there.
    Fixed(SinkTopic),
    /// Each record chooses; the topics chosen so far are kept.
    Chosen(TopicChooser<K, V>, Vec<SinkTopic>),
}

/// Sends each record.
pub(crate) struct Sink<K, V> {
    pub(crate) target: Target<K, V>,
    pub(crate) key: SerdeRef<K>,
    pub(crate) value: SerdeRef<V>,
    pub(crate) partitioner: Option<Partitioner<K, V>>,
}

impl<K: 'static, V: 'static> Operator<K, V> for Sink<K, V> {
    #[inline]
    fn process(&mut self, record: Record<'_, K, V>, ctx: &mut Context<'_>) -> Result {
        let topic = match &mut self.target {
            Target::Fixed(topic) => &*topic,
            Target::Chosen(choose, known) => {
                let name = choose(record.key, record.value, ctx);
                let at = match known.iter().position(|topic| *topic.name == *name) {
                    Some(at) => at,
                    None => {
                        known.push(SinkTopic { name: name.into(), internal: false });
                        known.len() - 1
                    }
                };
                &known[at]
            }
        };
        let Some(choose) = &self.partitioner else {
            return ctx.send(topic, None, &self.key, &self.value, record);
        };
        let destination = ctx
            .host
            .partitions(topic)
            .map_or(Destination::OfKey, |partitions| choose(record.key, record.value, partitions));
        match destination {
            Destination::OfKey => ctx.send(topic, None, &self.key, &self.value, record),
            Destination::One(partition) => {
                ctx.send(topic, Some(partition), &self.key, &self.value, record)
            }
            Destination::Each(partitions) => {
                if partitions.is_empty() {
                    ctx.drop_record(DropReason::NoPartition);
                }
                for partition in partitions {
                    ctx.send(topic, Some(partition), &self.key, &self.value, record)?;
                }
                Ok(())
            }
        }
    }
}
