//! Partitions, offsets, and where to start reading: the coordinates of the border.

use std::fmt;
use std::sync::Arc;

/// One partition of one topic.
///
/// ```
/// use tidemill::kafka::TopicPartition;
/// assert_eq!(TopicPartition::new("orders", 3).to_string(), "orders-3");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// Name of the topic; shared, so that a clone never copies it.
    pub topic: Arc<str>,
    /// Partition number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Names a partition.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// An offset in a partition's log: the place of one record, or the place before which one stops.
///
/// Ranges of offsets are half-open: a position or an end offset is the first offset *not* in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub i64);

impl Offset {
    /// The first offset a log can have.
    pub const ZERO: Self = Self(0);

    /// The offset after this one: what is committed once the record at `self` is done.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Kafka writes "no offset" as a negative number.
    #[must_use]
    pub const fn known(raw: i64) -> Option<Self> {
        if raw >= 0 { Some(Self(raw)) } else { None }
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A small number that stands for a partition in one consumer's records.
///
/// A consumer gives a partition its slot when it is first assigned, counting from 0, and never
/// gives it another or gives it to another: the runtime can index a vector with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

impl Slot {
    /// As an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A partition to read, and where to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartAt {
    /// What to read.
    pub partition: TopicPartition,
    /// Where: `None` is the group's committed offset. Without one the consumer reports
    /// [`Event::OutOfRange`](super::Event::OutOfRange); it never picks an end of the log itself.
    pub offset: Option<Offset>,
    /// Leader epoch of the record before `offset`, where known: lets the broker notice that the
    /// log was truncated under the reader.
    pub leader_epoch: Option<i32>,
    /// Hand nothing out before [`Consumer::seek`](super::Consumer::seek) says where to begin and
    /// [`Consumer::resume`](super::Consumer::resume) begins; `offset` then means nothing.
    pub paused: bool,
}

impl StartAt {
    /// At the group's committed offset.
    #[must_use]
    pub fn committed(partition: TopicPartition) -> Self {
        Self { partition, offset: None, leader_epoch: None, paused: false }
    }

    /// At `offset`.
    #[must_use]
    pub fn offset(partition: TopicPartition, offset: Offset) -> Self {
        Self { partition, offset: Some(offset), leader_epoch: None, paused: false }
    }

    /// Assigned, but not read before it is told where to begin.
    #[must_use]
    pub fn paused(partition: TopicPartition) -> Self {
        Self { partition, offset: None, leader_epoch: None, paused: true }
    }
}

/// What a group has committed, or is to commit, for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Whose offset.
    pub partition: TopicPartition,
    /// The next offset to process.
    pub offset: Offset,
    /// Leader epoch of the last processed record, where known.
    pub leader_epoch: Option<i32>,
    /// Free text kept beside the offset; the runtime keeps a partition's stream time here.
    pub metadata: String,
}

/// Whether records and end offsets of open transactions are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// All records; the end is the high watermark.
    ReadUncommitted,
    /// Committed records only; the end is the last stable offset.
    ReadCommitted,
}

impl Isolation {
    /// Kafka's name of it, as `isolation.level` takes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadUncommitted => "read_uncommitted",
            Self::ReadCommitted => "read_committed",
        }
    }
}

/// Which offset of a log to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The log start: the lowest offset that can still be read.
    Earliest,
    /// The end, as far as the isolation level sees.
    Latest,
    /// The first record at or after this time, in milliseconds since the Unix epoch.
    AtTime(i64),
}

/// Answer to an [`OffsetSpec`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndOffset {
    /// Of which partition.
    pub partition: TopicPartition,
    /// The offset; `None` where no record is that young ([`OffsetSpec::AtTime`]).
    pub offset: Option<Offset>,
    /// Leader epoch of the record there, where the broker gives one.
    pub leader_epoch: Option<i32>,
}
