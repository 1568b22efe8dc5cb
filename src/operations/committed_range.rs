//! Reads what is committed of some partitions, from where they begin to where they ended when the
//! reading began.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::error::OperationError;
use super::footprint::TIMEOUT;
use crate::kafka::{
    Cluster, Consumer, ConsumerRole, ConsumerSettings, Event, Isolation, Offset, OffsetSpec, Slot,
    StartAt, TopicPartition,
};

/// Records taken at once.
const BATCH: usize = 10_000;
/// How long a poll waits for records.
const POLL: Duration = Duration::from_millis(100);
/// How long nothing may come before the reading is given up.
const STALL: Duration = Duration::from_secs(60);

/// Part of a partition: from `first` on, up to and without `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedRange {
    /// The partition.
    pub partition: TopicPartition,
    /// The first offset.
    pub first: Offset,
    /// The offset behind the last.
    pub end: Offset,
}

impl CommittedRange {
    fn is_empty(&self) -> bool {
        self.first >= self.end
    }
}

/// A reader of committed records, which is a member of no group.
pub struct RangeReader<C: Cluster> {
    consumer: C::Consumer,
}

impl<C: Cluster> RangeReader<C> {
    /// A reader for an operation on the application.
    ///
    /// # Errors
    /// When the cluster refuses the settings.
    pub fn open(cluster: &C, application_id: &str) -> Result<Self, OperationError> {
        let consumer = cluster.consumer(&ConsumerSettings {
            group_id: application_id.into(),
            client_id: format!("{application_id}-operations").into(),
            role: ConsumerRole::Assigned,
            isolation: Isolation::ReadCommitted,
        })?;
        Ok(Self { consumer })
    }

    /// All that is committed of these partitions now.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn ranges(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<CommittedRange>, OperationError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let ask =
            |spec| self.consumer.list_offsets(partitions, spec, Isolation::ReadCommitted, TIMEOUT);
        let (first, end) = (ask(OffsetSpec::Earliest)?, ask(OffsetSpec::Latest)?);
        let ranges =
            partitions.iter().zip(first.iter().zip(&end)).map(|(partition, (first, end))| {
                CommittedRange {
                    partition: partition.clone(),
                    first: first.offset.unwrap_or_default(),
                    end: end.offset.unwrap_or_default(),
                }
            });
        Ok(ranges.collect())
    }

    /// Hands every record of the ranges to `each`, those of a partition in order, until it breaks.
    ///
    /// # Errors
    /// What `each` answers; when offsets are gone, or nothing comes any more.
    pub fn read(
        &mut self,
        ranges: &[CommittedRange],
        mut each: impl FnMut(
            &TopicPartition,
            &<C::Consumer as Consumer>::Message,
        ) -> Result<ControlFlow<()>, OperationError>,
    ) -> Result<(), OperationError> {
        let mut open: BTreeMap<&TopicPartition, &CommittedRange> = ranges
            .iter()
            .filter(|range| !range.is_empty())
            .map(|range| (&range.partition, range))
            .collect();
        let starts: Vec<StartAt> = open
            .values()
            .map(|range| StartAt::offset(range.partition.clone(), range.first))
            .collect();
        if starts.is_empty() {
            return Ok(());
        }
        self.consumer.assign(&starts)?;
        let by_slot: HashMap<Slot, &CommittedRange> =
            open.values().map(|range| (self.consumer.slot(&range.partition), *range)).collect();
        let (mut records, mut events) = (Vec::new(), Vec::new());
        let mut moved = Instant::now();
        while !open.is_empty() {
            self.consumer.poll(BATCH, POLL, &mut records, &mut events);
            if !records.is_empty() {
                moved = Instant::now();
            }
            for received in records.drain(..) {
                use crate::kafka::Message as _;
                let Some(range) = by_slot.get(&received.slot) else { continue };
                if received.message.offset() < range.end
                    && each(&range.partition, &received.message)?.is_break()
                {
                    return Ok(self.consumer.assign(&[])?);
                }
            }
            for event in events.drain(..) {
                match event {
                    Event::OutOfRange { error, .. } | Event::Truncated { error, .. } => {
                        return Err(error.into());
                    }
                    Event::EndOfPartition { partition, offset } => {
                        open.retain(|of, range| **of != partition || offset < range.end);
                    }
                    Event::Error { error, .. } if !error.class().is_retriable() => {
                        return Err(error.into());
                    }
                    // librdkafka keeps trying, and the stall ends it.
                    _ => {}
                }
            }
            let consumer = &self.consumer;
            open.retain(|of, range| consumer.position(of).is_none_or(|at| at < range.end));
            if let Some(range) = open.values().next()
                && moved.elapsed() > STALL
            {
                return Err(OperationError::Stalled {
                    partition: range.partition.to_string(),
                    at: self.consumer.position(&range.partition).unwrap_or(range.first).0,
                    seconds: STALL.as_secs(),
                });
            }
        }
        Ok(self.consumer.assign(&[])?)
    }
}
