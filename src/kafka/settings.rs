//! What the runtime asks of a new consumer or producer; the rest is the user's own configuration.

use std::sync::Arc;

use super::partition::Isolation;

/// How a consumer comes by its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerRole {
    /// As a member of its group, by the cooperative-sticky protocol.
    Member {
        /// Makes the member static: it keeps its partitions over a restart that is shorter than
        /// `session.timeout.ms`, and leaves only when told to.
        group_instance_id: Option<Arc<str>>,
    },
    /// By `assign` alone: it never joins the group, and reports the end of each partition.
    Assigned,
}

/// A consumer to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// Group whose committed offsets it reads.
    pub group_id: Arc<str>,
    /// Name it shows to brokers in logs, quotas and group descriptions.
    pub client_id: Arc<str>,
    /// Member of the group, or reader of what it is told.
    pub role: ConsumerRole,
    /// Which records it sees; with `ReadCommitted`, committed offsets too wait for open
    /// transactions.
    pub isolation: Isolation,
}

/// A producer to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerSettings {
    /// Name it shows to brokers.
    pub client_id: Arc<str>,
    /// Makes it transactional. Keep it the same over restarts of the same thread: the successor's
    /// `init_transactions` then ends what the predecessor left open.
    pub transactional_id: Option<Arc<str>>,
    /// Whether to learn the offset of every delivered record (changelog positions need them).
    /// Without, only failures are reported, which is cheaper.
    pub track_offsets: bool,
}
