//! What can go wrong in an operation on an application, and what to do about it.

use tidemill_state::StateError;
use tidemill_topology::error::Error as TopologyError;
use tidemill_topology::graph::PartitionError;

use crate::kafka::{GroupMember, KafkaError};
use crate::runtime::RuntimeError;

/// An operation that was not done, or not to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// Kafka refused or did not answer.
    #[error("Kafka: {0}")]
    Kafka(#[from] KafkaError),
    /// The application's topics do not fit its topology.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// Local state cannot be read or removed.
    #[error("state: {0}")]
    State(#[from] StateError),
    /// An input of the topology does not exist.
    #[error(transparent)]
    Inputs(#[from] PartitionError),
    /// A store cannot be read.
    #[error("store: {0}")]
    Topology(#[from] TopologyError),
    /// Instances of the application run.
    #[error(
        "{} in group {group}: {}; stop them and try again. A stopped instance with a \
         configured instance.id counts as active until session.timeout.ms is over: --wait SECONDS \
         waits for that",
        members_active(.members.len()),
        named(.members)
    )]
    ActiveMembers {
        /// The application's group.
        group: String,
        /// Who is in it.
        members: Vec<GroupMember>,
    },
    /// There is no such topic.
    #[error("there is no topic {topic}; {next}")]
    NoTopic {
        /// Its name.
        topic: String,
        /// What to do.
        next: &'static str,
    },
    /// A topic was named that is not one of the application's.
    #[error("{topic} is not {role}; those are: {known}")]
    NotOurs {
        /// The topic.
        topic: String,
        /// What it should be.
        role: &'static str,
        /// Which topics are.
        known: String,
    },
    /// There is no such store, or it has no changelog.
    #[error("there is no store {store} with a changelog; those with one are: {known}")]
    NoStore {
        /// Its name.
        store: String,
        /// Which stores there are.
        known: String,
    },
    /// A store cannot be written through its changelog, which belongs to others.
    #[error("store {store} is logged to topic {topic}, which others write; write there instead")]
    LoggedElsewhere {
        /// The store.
        store: String,
        /// The topic.
        topic: String,
    },
    /// Letters were named that the dead-letter topic does not have.
    #[error("{topic} has no letter {letters}; nothing was replayed")]
    NoLetters {
        /// The dead-letter topic.
        topic: String,
        /// Their places, as `partition:offset`.
        letters: String,
    },
    /// A line of an input file cannot be used.
    #[error("line {line}: {reason}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The reader stands still.
    #[error(
        "nothing more of {partition} came after offset {at} for {seconds} s; \
         an open transaction, or a broker, holds it back"
    )]
    Stalled {
        /// The partition.
        partition: String,
        /// Where the reader stands.
        at: i64,
        /// How long it waited.
        seconds: u64,
    },
    /// The caller's own function failed, such as one that writes to a file.
    #[error("{0}")]
    Sink(#[from] std::io::Error),
    /// Another run of the same operation took over.
    #[error(
        "another run of this command on application {application} took over; what it has committed \
         is not done again, so it is safe to run this again"
    )]
    TakenOver {
        /// The application.
        application: String,
    },
}

fn members_active(number: usize) -> String {
    if number == 1 {
        "1 member is active".to_owned()
    } else {
        format!("{number} members are active")
    }
}

fn named(members: &[GroupMember]) -> String {
    let names: Vec<String> = members
        .iter()
        .map(|member| {
            let id = member.group_instance_id.as_deref().unwrap_or(&member.client_id);
            format!("{id} at {}", member.host.trim_start_matches('/'))
        })
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn active_members_are_named_with_their_hosts() {
        let member = GroupMember {
            client_id: "exchange-one-0".to_owned(),
            member_id: "x".to_owned(),
            group_instance_id: Some("one-0".to_owned()),
            host: "/10.0.0.1".to_owned(),
            assignment: Vec::new(),
        };
        let error =
            OperationError::ActiveMembers { group: "exchange".to_owned(), members: vec![member] };
        let text = error.to_string();
        assert!(text.starts_with("1 member is active in group exchange"), "{text}");
        assert!(text.contains("one-0 at 10.0.0.1"), "{text}");
    }
}
