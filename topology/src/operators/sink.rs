//! `to` and `repartition`: serializes records and sends them to a topic. Stateless.

use std::sync::Arc;

use crate::error::Result;
use crate::node::{Context, Operator, SinkTopic};
use crate::record::Record;
use crate::serde::SerdeRef;

/// Chooses a record's topic.
pub(crate) type TopicChooser<K, V> = Arc<dyn Fn(&K, &V, &Context<'_>) -> String + Send + Sync>;

/// Chooses a record's partition out of the topic's number of them; `None` leaves it to the key.
pub(crate) type Partitioner<K, V> = Arc<dyn Fn(&K, &V, i32) -> Option<i32> + Send + Sync>;

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
        let partition = match &self.partitioner {
            Some(choose) => ctx
                .host
                .partitions(topic)
                .and_then(|partitions| choose(record.key, record.value, partitions)),
            None => None,
        };
        ctx.send(topic, partition, &self.key, &self.value, record)
    }
}
