//! What can go wrong in a local run, and what to do about it.

use tidemill_state::StateError;
use tidemill_topology::error::Error as TopologyError;

/// The result of everything in this module.
pub type Result<T = (), E = DriverError> = std::result::Result<T, E>;

/// What happened, where, and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// The topology stopped at a record, as its handlers or operators said.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// The stores could not be opened, written or restored.
    #[error(transparent)]
    State(#[from] StateError),
    /// A record was piped to a topic that nothing reads.
    #[error("the topology does not read topic {topic}; it reads {}", .known.join(", "))]
    UnknownTopic {
        /// The topic given.
        topic: String,
        /// The topics that the topology reads.
        known: Vec<String>,
    },
    /// A store was asked for that the topology does not have.
    #[error("the topology has no store named {store}; it has {}", .known.join(", "))]
    UnknownStore {
        /// The name given.
        store: String,
        /// The stores that there are.
        known: Vec<String>,
    },
    /// A record of a test could not be written or read as the topic's types.
    #[error(
        "the {part} of a record of {topic} does not fit its serde: {cause}; give the topic's own serdes"
    )]
    Serde {
        /// `key` or `value`.
        part: &'static str,
        /// The topic.
        topic: String,
        /// What the serde said.
        cause: tidemill_topology::error::Cause,
    },
    /// A restart was asked of a runner that keeps no changelogs.
    #[error("nothing was kept to restart from; set RunnerSettings::keeps_changelogs")]
    NoChangelogs,
}
