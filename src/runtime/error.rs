//! What can go wrong in a running instance, and how the runtime answers.

use std::time::Duration;

use tidemill_state::StateError;
use tidemill_topology::error::{Error as TopologyError, ErrorKind};
use tidemill_topology::graph::{PartitionError, TaskId};

use crate::kafka::{ErrorClass, KafkaError};

/// An error of a running instance.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// Kafka refused or did not answer.
    #[error("Kafka: {0}")]
    Kafka(#[from] KafkaError),
    /// The topology or one of its nodes failed.
    #[error("task {task}: {error}")]
    Task {
        /// The task.
        task: TaskId,
        /// What failed.
        error: TopologyError,
    },
    /// The topology cannot be wired.
    #[error("{0}")]
    Topology(#[from] TopologyError),
    /// The topics do not fit the topology.
    #[error("{0}")]
    Partitions(#[from] PartitionError),
    /// An internal topic that exists is not what the topology needs.
    #[error(
        "internal topic {topic} has {actual}, the topology needs {expected}; \
         reset the application, or delete the topic if nothing in it is needed"
    )]
    InternalTopic {
        /// Its name.
        topic: String,
        /// What it has.
        actual: String,
        /// What it should have.
        expected: String,
    },
    /// A topic is missing or not as it must be.
    #[error("{0}")]
    Topics(KafkaError),
    /// A topic that the topology writes does not exist.
    #[error(
        "output topic {topic} does not exist; create it, or correct its name in the configuration"
    )]
    MissingOutput {
        /// Its name.
        topic: String,
    },
    /// A topic is no longer the one that the instance started with.
    #[error(
        "topic {topic} {what} while the instance ran; what its tasks keep belongs to the topic as it was. \
         Start again where there is no state, otherwise bring the topic back or reset the application"
    )]
    TopicChanged {
        /// Its name.
        topic: String,
        /// What became of it.
        what: String,
    },
    /// Local state failed.
    #[error("state: {0}")]
    State(#[from] StateError),
    /// The metrics registry refused a name.
    #[error("{0}")]
    Metrics(#[from] crate::metrics::MetricsError),
    /// Code of a node panicked, and the processing handler does not want it passed over, or it was on
    /// no record.
    #[error(
        "task {task} panicked on {place}: {message}; the record stays unprocessed, fix the code and restart, \
         or pass it over with processing.exception.handler = \"continue\""
    )]
    Panic {
        /// The task.
        task: TaskId,
        /// Topic, partition and offset of the record.
        place: String,
        /// What the panic said.
        message: String,
    },
    /// Code of a node panicked on a record, for the first time.
    #[error(
        "task {task} panicked on {place}: {message}; what is uncommitted is done again, and the processing \
         handler decides about the record"
    )]
    PanicOnRecord {
        /// The task.
        task: TaskId,
        /// Topic, partition and offset of the record.
        place: String,
        /// What the panic said.
        message: String,
    },
    /// A record could not be delivered.
    #[error("a record for {topic}-{partition} was not delivered: {error}")]
    Delivery {
        /// Its topic.
        topic: String,
        /// Its partition.
        partition: i32,
        /// Why.
        error: KafkaError,
    },
    /// The group is no longer of the identity that the partitions were assigned to.
    #[error(
        "the group membership changed under an open transaction; it is aborted and taken up anew"
    )]
    IdentityChanged,
    /// An input's committed offset does not exist any more.
    #[error(
        "{partition}: the offset to continue from is gone ({detail}); records were lost before they were processed. \
         Set input.out.of.range=skip to go on, or reset the application"
    )]
    InputOutOfRange {
        /// Which partition.
        partition: String,
        /// What the broker said.
        detail: String,
    },
    /// A store's position is not in its changelog, and the configuration says to stop then.
    #[error(
        "store {store} of task {task}: its position {position} is not in its changelog ({reason}). \
         Set changelog.out.of.range=rebuild to clear the store and read the changelog from its start, \
         or find out first who deleted those records"
    )]
    ChangelogOutOfRange {
        /// Which task.
        task: TaskId,
        /// Which store.
        store: String,
        /// Where the store stands.
        position: i64,
        /// Why the changelog does not go on from there, in a word.
        reason: &'static str,
    },
    /// The group's offsets lie before what the local state contains.
    #[error(
        "{partition}: the group's offset ({}) lies before what the local state contains ({kept}): \
         the offsets were reset while the state stayed; reset the state too, or restore the offsets",
        .committed.map_or("none".to_owned(), |offset| offset.to_string())
    )]
    OffsetsReset {
        /// Which partition.
        partition: String,
        /// What the group has committed.
        committed: Option<i64>,
        /// Where the state continues.
        kept: i64,
    },
    /// The consumer cannot be used any more.
    #[error(
        "the group refuses this member for good: {0}; \
         if another process has the same instance.id, give each its own"
    )]
    Consumer(KafkaError),
    /// Another instance has the same transactional id.
    #[error(
        "this instance is fenced again and again: another process uses the same instance id; \
         give each its own instance.id or state.dir"
    )]
    DuplicateInstance,
    /// A process that has the same instance id was started after this one.
    #[error(
        "another process with the instance id {instance}{} started {later:.1?} after this one and takes its \
         place; this one stops. If both are to run, give each its own instance.id or state.dir",
        .host.as_ref().map_or(String::new(), |host| format!(", at {host},"))
    )]
    Replaced {
        /// The id of both.
        instance: String,
        /// Where the other answers HTTP, if it does.
        host: Option<String>,
        /// How much later it started.
        later: Duration,
    },
    /// It was told to stop, and some of its threads work on.
    #[error(
        "the instance did not stop within {seconds} s and is left as it is; the log names the threads that \
         still work. What they had not committed is aborted and processed again at the next start"
    )]
    StillStopping {
        /// How long it was waited for.
        seconds: u64,
    },
    /// A thread of the instance ended unexpectedly.
    #[error("thread {0} ended unexpectedly")]
    ThreadDied(String),
}

/// How a stream thread answers an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Abort the transaction, drop all write sets, and restore every task from what is committed.
    Rollback,
    /// As `Rollback`, with a new producer of the same transactional id.
    NewProducer,
    /// End the instance and say why.
    Stop,
}

impl RuntimeError {
    /// How the runtime answers it.
    #[must_use]
    pub fn reaction(&self) -> Reaction {
        match self {
            Self::Kafka(error) | Self::Delivery { error, .. } => of_kafka(error),
            Self::Task { error, .. } | Self::Topology(error) => of_topology(error),
            Self::IdentityChanged | Self::PanicOnRecord { .. } => Reaction::Rollback,
            Self::State(error) if error.is_retriable() => Reaction::Rollback,
            Self::State(_)
            | Self::Metrics(_)
            | Self::Partitions(_)
            | Self::InternalTopic { .. }
            | Self::MissingOutput { .. }
            | Self::Topics(_)
            | Self::TopicChanged { .. }
            | Self::Panic { .. }
            | Self::InputOutOfRange { .. }
            | Self::ChangelogOutOfRange { .. }
            | Self::OffsetsReset { .. }
            | Self::Consumer(_)
            | Self::DuplicateInstance
            | Self::Replaced { .. }
            | Self::StillStopping { .. }
            | Self::ThreadDied(_) => Reaction::Stop,
        }
    }

    /// Its class in metrics.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::Kafka(_) => "kafka",
            Self::Task { .. } => "task",
            Self::Topology(_) => "topology",
            Self::Partitions(_)
            | Self::InternalTopic { .. }
            | Self::MissingOutput { .. }
            | Self::TopicChanged { .. }
            | Self::Topics(_) => "topics",
            Self::State(_) => "state",
            Self::Metrics(_) => "metrics",
            Self::Panic { .. } | Self::PanicOnRecord { .. } => "panic",
            Self::Delivery { .. } => "delivery",
            Self::IdentityChanged => "identity",
            Self::InputOutOfRange { .. } => "out_of_range",
            Self::ChangelogOutOfRange { .. } => "changelog_out_of_range",
            Self::OffsetsReset { .. } => "offsets_reset",
            Self::Consumer(_) => "consumer",
            Self::DuplicateInstance | Self::Replaced { .. } => "duplicate_instance",
            Self::StillStopping { .. } | Self::ThreadDied(_) => "thread",
        }
    }
}

fn of_kafka(error: &KafkaError) -> Reaction {
    match error.class() {
        ErrorClass::Fenced | ErrorClass::Fatal => Reaction::NewProducer,
        ErrorClass::Abortable
        | ErrorClass::Retriable
        | ErrorClass::TimedOut
        | ErrorClass::NotAMember
        | ErrorClass::UnknownTopicOrPartition
        | ErrorClass::OffsetOutOfRange
        | ErrorClass::Other => Reaction::Rollback,
        ErrorClass::RecordTooLarge
        | ErrorClass::AlreadyExists
        | ErrorClass::Authorization
        | ErrorClass::Configuration
        | ErrorClass::Unsupported => Reaction::Stop,
    }
}

fn of_topology(error: &TopologyError) -> Reaction {
    match error.kind() {
        ErrorKind::Store { .. } => Reaction::Rollback,
        ErrorKind::Send { cause, .. } => {
            cause.downcast_ref::<KafkaError>().map_or(Reaction::Rollback, of_kafka)
        }
        _ => Reaction::Stop,
    }
}
