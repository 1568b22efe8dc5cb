//! What a consumer learns about its group while it polls.

use std::sync::Arc;

use super::error::KafkaError;
use super::partition::{Offset, TopicPartition};

/// A consumer's identity in its group at one moment, to be sent with the offsets of a transaction.
///
/// It is live, not the assignment's: after the consumer lost its place it is empty, and a broker
/// checks nothing of an empty one. Compare it with the identity seen in [`Event::Assigned`] before
/// every use: see [`GroupMetadata::is_member`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadata {
    /// The group.
    pub group_id: Arc<str>,
    /// Generation of the group; negative outside of one.
    pub generation: i32,
    /// Id the broker gave the member; empty outside of a generation.
    pub member_id: Arc<str>,
    /// The static member's `group.instance.id`.
    pub group_instance_id: Option<Arc<str>>,
}

impl GroupMetadata {
    /// Whether this identity belongs to a generation at all, so that a broker will check it.
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.generation >= 0 && !self.member_id.is_empty()
    }
}

/// One thing a poll brought besides records.
///
/// `Assigned`, `Revoked` and `Lost` are questions: the group waits until the runtime answers them
/// with `incremental_assign` or `incremental_unassign`, and takes the member out when the answer
/// takes longer than `max.poll.interval.ms`.
#[derive(Debug)]
pub enum Event {
    /// The group hands these partitions over (an empty list too is to be answered).
    Assigned {
        /// Added to what is held already.
        partitions: Vec<TopicPartition>,
        /// The member's identity at that moment.
        identity: GroupMetadata,
    },
    /// The group takes these back; the member may still commit for them.
    Revoked(Vec<TopicPartition>),
    /// These were given to others already: a commit would fail, so roll back.
    Lost(Vec<TopicPartition>),
    /// The reader stands at the end of what its isolation level lets it see. Only with
    /// [`ConsumerRole::Assigned`](super::ConsumerRole::Assigned).
    EndOfPartition {
        /// Where.
        partition: TopicPartition,
        /// The position: past control records too.
        offset: Offset,
    },
    /// The start offset does not exist in the log, or there is none.
    OutOfRange {
        /// Where; it is read no further until it was unassigned and assigned anew.
        partition: TopicPartition,
        /// What librdkafka says about it.
        error: KafkaError,
    },
    /// The log was truncated below the position (unclean leader election).
    Truncated {
        /// Where.
        partition: TopicPartition,
        /// What librdkafka says about it.
        error: KafkaError,
    },
    /// No broker can be reached; librdkafka keeps trying.
    AllBrokersDown(KafkaError),
    /// The member did not poll for `max.poll.interval.ms` and was taken out of its group.
    MaxPollExceeded(KafkaError),
    /// Anything else; [`KafkaError::class`] says whether it passes by itself.
    Error {
        /// The partition, when it concerns one.
        partition: Option<TopicPartition>,
        /// What happened.
        error: KafkaError,
    },
}

/// A member of a consumer group, as the group's coordinator describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// Its `client.id`.
    pub client_id: String,
    /// Id the coordinator gave it.
    pub member_id: String,
    /// Its `group.instance.id`, if it is static.
    pub group_instance_id: Option<String>,
    /// Address it connected from.
    pub host: String,
    /// What it is assigned.
    pub assignment: Vec<TopicPartition>,
}
