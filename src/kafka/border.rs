//! The traits through which the runtime reaches Kafka, so that a simulated cluster can stand in.
//!
//! Everything is synchronous and owned by one thread. A call that can wait takes a timeout and
//! says [`ErrorClass::TimedOut`](super::ErrorClass::TimedOut) when it is over. Nothing of the
//! client library behind an implementation shows through.

use std::collections::BTreeMap;
use std::time::Duration;

use tidemill_topology::record::Headers;
use tidemill_topology::time::Timestamp;

use super::error::KafkaError;
use super::group::{Event, GroupMember, GroupMetadata};
use super::partition::{
    Committed, EndOffset, Isolation, Offset, OffsetSpec, Slot, StartAt, TopicPartition,
};
use super::settings::{ConsumerSettings, ProducerSettings};
use super::statistics::ClientStatistics;
use super::topic::{Deliveries, NewTopic, TopicId, TopicInfo};
use crate::clock::Clock;
use crate::mistake::Mistake;

/// A Kafka cluster, real or simulated: where consumers, producers and admin clients come from.
pub trait Cluster: Clone + Send + Sync + 'static {
    /// Its consumers.
    type Consumer: Consumer;
    /// Its producers.
    type Producer: Producer;
    /// Its admin clients.
    type Admin: Admin;

    /// Opens a consumer; it holds no partition yet.
    ///
    /// # Errors
    /// When a setting is refused. Brokers that cannot be reached are no error: the client keeps
    /// trying and reports [`Event::AllBrokersDown`].
    fn consumer(&self, settings: &ConsumerSettings) -> Result<Self::Consumer, KafkaError>;

    /// Opens a producer.
    ///
    /// # Errors
    /// When a setting is refused.
    fn producer(&self, settings: &ProducerSettings) -> Result<Self::Producer, KafkaError>;

    /// Opens an admin client.
    ///
    /// # Errors
    /// When a setting is refused.
    fn admin(&self) -> Result<Self::Admin, KafkaError>;

    /// The time by which those who use the cluster live; a simulated one has its own.
    fn clock(&self) -> Clock {
        Clock::System
    }

    /// The mistake that those who use the cluster make on purpose: none, but in a simulation that
    /// proves that it would see one.
    #[doc(hidden)]
    #[inline]
    fn mistake(&self) -> Mistake {
        Mistake::None
    }
}

/// A record as the client library holds it: one pointer, freed on drop, its bytes borrowed.
///
/// Messages must be dropped before the consumer they came from: closing it waits for them.
pub trait Message: Send + 'static {
    /// Its partition's number.
    fn partition(&self) -> i32;
    /// Its offset.
    fn offset(&self) -> Offset;
    /// Its timestamp, [`Timestamp::UNKNOWN`] where it has none.
    fn timestamp(&self) -> Timestamp;
    /// Its key, or null.
    fn key(&self) -> Option<&[u8]>;
    /// Its value, or null (a tombstone).
    fn value(&self) -> Option<&[u8]>;
    /// Leader epoch it was written under, where known.
    fn leader_epoch(&self) -> Option<i32>;
    /// Replaces what is in `headers` by this record's; allocates only when it has some.
    fn read_headers(&self, headers: &mut Headers);
}

/// A record and the partition it belongs to.
#[derive(Debug)]
pub struct Received<M> {
    /// Which partition, as a small number: see [`Consumer::slot`].
    pub slot: Slot,
    /// The record.
    pub message: M,
}

/// Ends a [`Consumer::poll`] that waits, from any thread.
pub trait Waker: Clone + Send + Sync + 'static {
    /// Ends the poll that waits now, or else the next one that would. Does nothing after the
    /// consumer was closed.
    fn wake(&self);
}

/// Reads records, as a member of a group or of partitions it is told.
pub trait Consumer: Send + 'static {
    /// What it reads.
    type Message: Message;
    /// See [`Consumer::waker`].
    type Waker: Waker;

    /// Joins the group and takes part in the division of these topics. Its outcome comes as
    /// [`Event::Assigned`].
    ///
    /// # Errors
    /// When the client refuses the call (closed, fatal error).
    fn subscribe(&mut self, topics: &[&str]) -> Result<(), KafkaError>;

    /// Appends up to `limit` records to `records` and whatever else happened to `events`.
    ///
    /// Waits up to `timeout` for the first of either, no longer than that for more. Must be
    /// called within every `max.poll.interval.ms`, paused or not. Records of a partition come in
    /// the order of their offsets; those fetched before an unassign or a seek never come after it.
    fn poll(
        &mut self,
        limit: usize,
        timeout: Duration,
        records: &mut Vec<Received<Self::Message>>,
        events: &mut Vec<Event>,
    );

    /// A handle that ends a waiting poll.
    fn waker(&self) -> Self::Waker;

    /// The slot of a partition; gives it one if it has none.
    fn slot(&mut self, partition: &TopicPartition) -> Slot;

    /// Replaces the whole assignment (readers that are no member of a group).
    ///
    /// # Errors
    /// When the client refuses it.
    fn assign(&mut self, partitions: &[StartAt]) -> Result<(), KafkaError>;

    /// Adds partitions: the answer to [`Event::Assigned`], with any co-partitions the caller adds.
    ///
    /// # Errors
    /// When the client refuses it, for instance since one is assigned already.
    fn incremental_assign(&mut self, partitions: &[StartAt]) -> Result<(), KafkaError>;

    /// Takes partitions away: the answer to [`Event::Revoked`] and [`Event::Lost`].
    ///
    /// # Errors
    /// When the client refuses it, for instance since one is not assigned.
    fn incremental_unassign(&mut self, partitions: &[TopicPartition]) -> Result<(), KafkaError>;

    /// Stops handing out records of these partitions and keeps what was fetched. Records that an
    /// earlier fetch already queued for the next poll still come.
    fn pause(&mut self, partitions: &[TopicPartition]);

    /// Hands out records of these partitions again, from where it stopped.
    fn resume(&mut self, partitions: &[TopicPartition]);

    /// Moves the position of assigned partitions; records fetched before are dropped.
    ///
    /// # Errors
    /// When a partition is not assigned or the time is up.
    fn seek(
        &mut self,
        positions: &[(TopicPartition, Offset)],
        timeout: Duration,
    ) -> Result<(), KafkaError>;

    /// Fetches assigned partitions anew from these positions, whatever it was that stopped them:
    /// asks for their leaders again, and hands their records out. Records fetched before are
    /// dropped.
    ///
    /// # Errors
    /// As [`seek`](Self::seek).
    fn refetch(
        &mut self,
        positions: &[(TopicPartition, Offset)],
        timeout: Duration,
    ) -> Result<(), KafkaError> {
        let partitions: Vec<_> = positions.iter().map(|(partition, _)| partition.clone()).collect();
        self.resume(&partitions);
        self.seek(positions, timeout)
    }

    /// The next offset `poll` would hand out: past the last record handed out and past the control
    /// records behind it. `None` before the first. Never asks the cluster.
    fn position(&self, partition: &TopicPartition) -> Option<Offset>;

    /// The end of a partition as the last fetch saw it (of committed records, if the consumer
    /// reads those only). `None` before the first fetch. Never asks the cluster.
    fn known_end(&self, partition: &TopicPartition) -> Option<Offset>;

    /// What the group committed, in the order asked; `None` where it committed nothing. A
    /// read-committed consumer waits for open transactions that carry offsets of these partitions.
    ///
    /// # Errors
    /// `TimedOut` while such a transaction stays open (never answer that with the earliest
    /// offset); otherwise what the coordinator says.
    fn committed(
        &self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<Option<Committed>>, KafkaError>;

    /// Asks the leaders for an offset of each partition, in the order asked.
    ///
    /// # Errors
    /// When any of them cannot be had in time.
    fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        spec: OffsetSpec,
        isolation: Isolation,
        timeout: Duration,
    ) -> Result<Vec<EndOffset>, KafkaError>;

    /// Commits outside of a transaction, and waits for the answer.
    ///
    /// # Errors
    /// `NotAMember` when the partitions have been given away meanwhile.
    fn commit(&mut self, offsets: &[Committed]) -> Result<(), KafkaError>;

    /// The member's identity now.
    fn group_metadata(&self) -> GroupMetadata;

    /// Whether what is assigned was lost (session timeout, fenced, polled too rarely), perhaps
    /// before an event said so.
    fn assignment_lost(&self) -> bool;

    /// The error that made this consumer useless, if one did.
    fn fatal_error(&self) -> Option<KafkaError>;

    /// What the client last said of itself, once; `None` if it said nothing since.
    fn take_statistics(&mut self) -> Option<ClientStatistics> {
        None
    }

    /// Ends it; answers rebalances that are under way by giving everything up. A dynamic member
    /// leaves its group; a static one does so only with `leave`, and otherwise stays in it until
    /// its session ends. Dropping a consumer closes it without `leave`, within a few seconds.
    ///
    /// # Errors
    /// When it was not over in time; the rest is then given up without the group.
    fn close(self, timeout: Duration, leave: bool) -> Result<(), KafkaError>
    where
        Self: Sized;
}

/// A record to produce; its bytes are copied.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Where to.
    pub topic: TopicId,
    /// Which partition; `None` hashes the key as Java clients do (murmur2).
    pub partition: Option<i32>,
    /// Key, or null.
    pub key: Option<&'a [u8]>,
    /// Value, or null.
    pub value: Option<&'a [u8]>,
    /// Event time. [`Timestamp::UNKNOWN`] and anything negative becomes the present.
    pub timestamp: Timestamp,
    /// Headers.
    pub headers: &'a Headers,
}

/// Why a record was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// The send queue is full: poll the producer and offer the same record again.
    #[error("the producer's send queue is full; poll and offer the record again")]
    QueueFull,
    /// It will not be taken.
    #[error(transparent)]
    Refused(#[from] KafkaError),
}

/// Writes records, in transactions or without.
///
/// A transaction is `begin`, any number of `produce`, `send_offsets`, then `commit` or `abort`. A
/// failed call's [`KafkaError::class`] says what follows; `send_offsets` is repeated with the same
/// arguments, `commit` and `abort` resume where they were.
pub trait Producer: Send + 'static {
    /// Ends what a predecessor with the same transactional id left open, and fences it. Once.
    ///
    /// # Errors
    /// `TimedOut` and `Retriable`: repeat it.
    fn init_transactions(&mut self, timeout: Duration) -> Result<(), KafkaError>;

    /// Opens a transaction.
    ///
    /// # Errors
    /// When one is open, or the producer is fenced.
    fn begin(&mut self) -> Result<(), KafkaError>;

    /// Adds the group's next offsets to the transaction. Check the identity first:
    /// [`GroupMetadata`].
    ///
    /// # Errors
    /// `Retriable` and `TimedOut`: repeat with the same arguments. `Abortable` when the group
    /// refuses the member.
    fn send_offsets(
        &mut self,
        offsets: &[Committed],
        group: &GroupMetadata,
        timeout: Duration,
    ) -> Result<(), KafkaError>;

    /// Waits for all deliveries and commits.
    ///
    /// # Errors
    /// `TimedOut`: the outcome is unknown and the same call resumes.
    fn commit(&mut self, timeout: Duration) -> Result<(), KafkaError>;

    /// Drops what is queued and aborts.
    ///
    /// # Errors
    /// `TimedOut`: the same call resumes.
    fn abort(&mut self, timeout: Duration) -> Result<(), KafkaError>;

    /// Sends what is queued and waits for its delivery reports.
    ///
    /// # Errors
    /// `TimedOut` when some are still missing.
    fn flush(&mut self, timeout: Duration) -> Result<(), KafkaError>;

    /// The handle of a topic; the same for the same name.
    ///
    /// # Errors
    /// When the client refuses the name.
    fn topic(&mut self, name: &str) -> Result<TopicId, KafkaError>;

    /// Hands a record over. It is on its way, not yet delivered.
    ///
    /// # Errors
    /// [`ProduceError::QueueFull`]: nothing was taken. Any other: this record cannot be sent.
    fn produce(&mut self, record: &Outgoing<'_>) -> Result<(), ProduceError>;

    /// Takes delivery reports in, waiting up to `timeout` for the first.
    fn poll(&mut self, timeout: Duration);

    /// What delivery reports have said so far.
    fn deliveries(&mut self) -> &mut Deliveries;

    /// Records handed over whose report has not been seen.
    fn in_flight(&self) -> usize;

    /// Drops what is queued, in flight too. The reports come with the next poll.
    fn purge(&mut self);

    /// The error that made this producer useless, if one did.
    fn fatal_error(&self) -> Option<KafkaError>;

    /// What the client last said of itself, once; `None` if it said nothing since.
    fn take_statistics(&mut self) -> Option<ClientStatistics> {
        None
    }
}

/// Looks after topics and groups. Every call waits for the cluster's answer, up to `timeout`.
pub trait Admin: Send + 'static {
    /// Describes topics, in the order asked; `None` where there is none of that name. Brokers hear
    /// of created and deleted topics a moment after the call that did it was answered.
    ///
    /// # Errors
    /// When the cluster does not answer, or denies it.
    fn describe_topics(
        &self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Option<TopicInfo>>, KafkaError>;

    /// Names all topics.
    ///
    /// # Errors
    /// When the cluster does not answer.
    fn list_topics(&self, timeout: Duration) -> Result<Vec<String>, KafkaError>;

    /// Creates topics; the results are in the order asked.
    ///
    /// # Errors
    /// When the call as a whole failed.
    fn create_topics(
        &self,
        topics: &[NewTopic],
        timeout: Duration,
    ) -> Result<Vec<Result<(), KafkaError>>, KafkaError>;

    /// Deletes topics; the results are in the order asked.
    ///
    /// # Errors
    /// When the call as a whole failed.
    fn delete_topics(
        &self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Result<(), KafkaError>>, KafkaError>;

    /// A topic's settings as they are in force, defaults included.
    ///
    /// # Errors
    /// When there is no such topic, or the cluster does not answer.
    fn topic_config(
        &self,
        name: &str,
        timeout: Duration,
    ) -> Result<BTreeMap<String, String>, KafkaError>;

    /// Deletes the records below each offset.
    ///
    /// # Errors
    /// The first partition's that failed.
    fn delete_records(
        &self,
        below: &[(TopicPartition, Offset)],
        timeout: Duration,
    ) -> Result<(), KafkaError>;

    /// Asks the leaders for an offset of each partition, in the order asked.
    ///
    /// # Errors
    /// When any of them cannot be had in time.
    fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        spec: OffsetSpec,
        isolation: Isolation,
        timeout: Duration,
    ) -> Result<Vec<EndOffset>, KafkaError>;

    /// The members of a group; empty when the group has none or does not exist.
    ///
    /// # Errors
    /// When the coordinator does not answer, or denies it.
    fn group_members(&self, group: &str, timeout: Duration)
    -> Result<Vec<GroupMember>, KafkaError>;

    /// All offsets a group has committed, by partition.
    ///
    /// # Errors
    /// When the coordinator does not answer, or denies it.
    fn group_offsets(&self, group: &str, timeout: Duration) -> Result<Vec<Committed>, KafkaError>;

    /// Sets offsets of a group that has no members.
    ///
    /// # Errors
    /// When it has members, or the coordinator does not answer.
    fn alter_group_offsets(
        &self,
        group: &str,
        offsets: &[(TopicPartition, Offset)],
        timeout: Duration,
    ) -> Result<(), KafkaError>;

    /// Forgets a group that has no members, its offsets with it.
    ///
    /// # Errors
    /// When it has members, or the coordinator does not answer.
    fn delete_group(&self, group: &str, timeout: Duration) -> Result<(), KafkaError>;

    /// The id of the cluster, which tells two clusters apart whatever their addresses.
    ///
    /// # Errors
    /// When the cluster does not answer.
    fn cluster_id(&self, timeout: Duration) -> Result<String, KafkaError>;
}
