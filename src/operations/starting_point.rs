//! [`StartingPoint`]: where an application is to begin to read its inputs.

use std::collections::BTreeMap;

use super::error::OperationError;
use super::footprint::{Footprint, TIMEOUT};
use crate::kafka::{Admin, Isolation, Offset, OffsetSpec, TopicPartition};

/// A place in every partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartingPoint {
    /// The first record that there still is.
    Earliest,
    /// Behind the last committed record.
    Latest,
    /// The first record at or after this time, in milliseconds since 1970; the end, where no
    /// record is that young.
    Time(i64),
}

/// Where to begin to read which input.
#[derive(Clone, Debug)]
pub struct StartingPoints {
    /// For inputs that are not named.
    pub others: StartingPoint,
    /// For inputs by their names.
    pub topics: BTreeMap<String, StartingPoint>,
    /// For partitions; these win.
    pub partitions: BTreeMap<TopicPartition, Offset>,
}

impl StartingPoints {
    /// The same point for every input.
    #[must_use]
    pub fn all(point: StartingPoint) -> Self {
        Self { others: point, topics: BTreeMap::new(), partitions: BTreeMap::new() }
    }

    /// The offset of every input partition.
    ///
    /// # Errors
    /// When a named topic is no input, an offset is not in its partition, or the cluster does not
    /// answer.
    pub fn resolve<A: Admin>(
        &self,
        admin: &A,
        footprint: &Footprint,
    ) -> Result<Vec<(TopicPartition, Offset)>, OperationError> {
        let inputs = footprint.inputs();
        let known = inputs.iter().map(|topic| &**topic).collect::<Vec<_>>().join(", ");
        let named = self.partitions.keys().map(|partition| &*partition.topic);
        if let Some(topic) = self
            .topics
            .keys()
            .map(String::as_str)
            .chain(named)
            .find(|topic| !inputs.contains(*topic))
        {
            let role = "an input of the application";
            return Err(OperationError::NotOurs { topic: topic.to_owned(), role, known });
        }
        let partitions = footprint.input_partitions();
        if let Some(partition) = self.partitions.keys().find(|of| !partitions.contains(of)) {
            let role = "a partition of an input";
            let topic = partition.to_string();
            return Err(OperationError::NotOurs { topic, role, known });
        }
        let ask = |partitions: &[TopicPartition], spec| {
            let ends = admin.list_offsets(partitions, spec, Isolation::ReadCommitted, TIMEOUT)?;
            Ok::<_, OperationError>(ends.into_iter().map(|end| end.offset).collect::<Vec<_>>())
        };
        let first = ask(&partitions, OffsetSpec::Earliest)?;
        let end = ask(&partitions, OffsetSpec::Latest)?;
        let mut resolved = Vec::with_capacity(partitions.len());
        for (at, partition) in partitions.iter().enumerate() {
            let (first, end) = (first[at].unwrap_or_default(), end[at].unwrap_or_default());
            let point = self.topics.get(&*partition.topic).copied().unwrap_or(self.others);
            let offset = match (self.partitions.get(partition), point) {
                (Some(offset), _) => within(*offset, first, end, partition)?,
                (None, StartingPoint::Earliest) => first,
                (None, StartingPoint::Latest) => end,
                (None, StartingPoint::Time(time)) => {
                    let found = ask(std::slice::from_ref(partition), OffsetSpec::AtTime(time))?;
                    found.into_iter().flatten().next().unwrap_or(end)
                }
            };
            resolved.push((partition.clone(), offset));
        }
        Ok(resolved)
    }
}

fn within(
    offset: Offset,
    first: Offset,
    end: Offset,
    partition: &TopicPartition,
) -> Result<Offset, OperationError> {
    if (first..=end).contains(&offset) {
        return Ok(offset);
    }
    Err(OperationError::NotOurs {
        topic: format!("offset {offset}"),
        role: "in its partition",
        known: format!("{first} to {end} in {partition}"),
    })
}
