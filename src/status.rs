//! What a running instance says about itself, as plain data: the runtime publishes it, HTTP
//! and the command line show it.

use std::collections::BTreeMap;

use serde::Serialize;
use tidemill_topology::store::Order;
use tidemill_topology::time::Timestamp;

/// The state of a task. The runtime's task lifecycle decides which may follow which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// Assigned, its stores not yet open.
    Created,
    /// Its stores are being read from their changelogs.
    Restoring,
    /// Records are processed.
    Running,
    /// Revoked or being closed; nothing is processed.
    Suspended,
    /// Gone.
    Closed,
}

impl TaskState {
    /// Every state, in the order of a task's life.
    pub const ALL: [Self; 5] =
        [Self::Created, Self::Restoring, Self::Running, Self::Suspended, Self::Closed];

    /// The state as one word, as JSON and metrics have it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Restoring => "restoring",
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::Closed => "closed",
        }
    }
}

/// The life of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceState {
    /// Not yet a member of the group.
    Starting,
    /// Tasks are moving or restoring.
    Rebalancing,
    /// Every assigned task runs.
    Running,
    /// Told to stop.
    Stopping,
    /// A thread died of an error that is not retried.
    Failed,
}

impl InstanceState {
    /// Every state, in the order of an instance's life.
    pub const ALL: [Self; 5] =
        [Self::Starting, Self::Rebalancing, Self::Running, Self::Stopping, Self::Failed];

    /// The state as one word, as JSON and metrics have it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Rebalancing => "rebalancing",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Failed => "failed",
        }
    }
}

/// A task and all there is to know about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskStatus {
    /// `<subtopology>_<partition>`, such as `0_3`.
    pub id: String,
    /// Its state.
    pub state: TaskState,
    /// The stream thread that owns it.
    pub thread: String,
    /// Its inputs.
    pub partitions: Vec<PartitionStatus>,
    /// Its stores.
    pub stores: Vec<StoreStatus>,
    /// Stream time in milliseconds since 1970; `None` before the first record.
    pub stream_time_ms: Option<i64>,
    /// Records processed since the task was opened.
    pub processed: u64,
}

/// One input partition of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartitionStatus {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset of the next record to process; `None` while it is not known.
    pub position: Option<i64>,
    /// Records between the position and the end; `None` while it is not known.
    pub lag: Option<u64>,
}

/// One store of a task.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoreStatus {
    /// Its name.
    pub name: String,
    /// Entries, as an estimate; `None` while the store is closed.
    pub entries: Option<u64>,
    /// The last or running restore.
    pub restore: RestoreStatus,
}

/// How far a restore is.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RestoreStatus {
    /// Records read from the changelog.
    pub restored: u64,
    /// Offsets yet to read; 0 when done.
    pub remaining: u64,
    /// Records a second, at present.
    pub records_per_second: f64,
    /// Seconds to go at that rate; `None` when done or not known.
    pub eta_seconds: Option<f64>,
}

impl RestoreStatus {
    /// Progress from counts and the time they took, in seconds.
    #[must_use]
    pub fn new(restored: u64, remaining: u64, elapsed_seconds: f64) -> Self {
        let rate = if elapsed_seconds > 0.0 { restored as f64 / elapsed_seconds } else { 0.0 };
        let known = remaining > 0 && rate > 0.0;
        Self {
            restored,
            remaining,
            records_per_second: rate,
            eta_seconds: known.then(|| remaining as f64 / rate),
        }
    }
}

/// An instance and its tasks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InstanceStatus {
    /// The application.
    pub application_id: String,
    /// The instance within it.
    pub instance_id: String,
    /// Version of the program.
    pub version: String,
    /// When it started, in milliseconds since 1970.
    pub started_at_ms: i64,
    /// Where it is in its life.
    pub state: InstanceState,
    /// Whether every assigned task runs.
    pub ready: bool,
    /// Why it is not ready; empty when it is.
    pub reason: String,
    /// Its stream threads: name and state in words.
    pub threads: BTreeMap<String, String>,
    /// Its tasks, in the order of their ids.
    pub tasks: Vec<TaskStatus>,
    /// Its copies of other instances' tasks, in the order of their ids.
    pub standbys: Vec<StandbyStatus>,
}

/// A copy of the state of a task that another instance runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StandbyStatus {
    /// The task.
    pub id: String,
    /// Sum of its positions in the task's changelogs.
    pub position: i64,
    /// Records of those changelogs yet to be read; `None` while it is not known.
    pub lag: Option<u64>,
}

/// What an instance has counted since it started: who looks twice has rates.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Totals {
    /// Records that each node was given.
    pub nodes: BTreeMap<String, u64>,
    /// Records sent to the dead-letter topic, by reason.
    pub dead_letters: BTreeMap<String, u64>,
    /// Seconds from a record's timestamp until its results were committed.
    pub age: Distribution,
    /// Seconds that commits took.
    pub commit: Distribution,
}

/// How often values of each size came.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Distribution {
    /// Upper bounds of its buckets, rising.
    pub bounds: Vec<f64>,
    /// How many values lie at or below each bound.
    pub counts: Vec<u64>,
    /// How many values there are; those above the last bound are in no bucket.
    pub total: u64,
}

impl Distribution {
    /// Adds the values of another one with the same buckets; the first to be added decides on them.
    pub fn add(&mut self, other: &Self) {
        if self.bounds.is_empty() {
            *self = other.clone();
        } else if self.bounds == other.bounds {
            self.counts.iter_mut().zip(&other.counts).for_each(|(sum, count)| *sum += count);
            self.total += other.total;
        }
    }

    /// The values that came since `earlier`; all, when that has other buckets or more values.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        if self.bounds != earlier.bounds || self.total < earlier.total {
            return self.clone();
        }
        let counts = self.counts.iter().zip(&earlier.counts);
        Self {
            bounds: self.bounds.clone(),
            counts: counts.map(|(now, then)| now.saturating_sub(*then)).collect(),
            total: self.total - earlier.total,
        }
    }

    /// The value that this share of all values does not exceed, by the buckets; `None` when there
    /// are no values. What lies above the last bound reads as that bound.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let wanted = share * self.total as f64;
        let last = *self.bounds.last().filter(|_| self.total > 0)?;
        let Some(at) = self.counts.iter().position(|count| *count as f64 >= wanted) else {
            return Some(last);
        };
        let (below, low) =
            at.checked_sub(1).map_or((0, 0.0), |at| (self.counts[at], self.bounds[at]));
        let within = self.counts[at] - below;
        let part = if within == 0 { 0.0 } else { (wanted - below as f64) / within as f64 };
        Some(low + (self.bounds[at] - low) * part)
    }
}

/// A form in which a topology is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopologyFormat {
    /// Kafka Streams' own text.
    Text,
    /// JSON.
    Json,
    /// A Mermaid flowchart.
    Mermaid,
}

/// A question to the state of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Query {
    /// The best `depth` price levels of each side of an asset's book.
    Book {
        /// The asset.
        asset: String,
        /// Levels a side.
        depth: usize,
    },
    /// What stores there are.
    Stores,
    /// Entries of a store, as far as this instance has it.
    Store(StoreQuestion),
    /// About how many entries it has there; the question names no keys and no times.
    Count(StoreQuestion),
    /// Which instance hosts what.
    Metadata,
}

/// A question for entries of a store, by somebody who does not know its types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreQuestion {
    /// The store's name.
    pub store: String,
    /// Which keys.
    pub keys: StoreKeys,
    /// In windowed stores: only windows that start, or sessions that end, at this time or later.
    pub since: Option<Timestamp>,
    /// In windowed stores: only windows or sessions that start at this time or earlier.
    pub until: Option<Timestamp>,
    /// In versioned stores: what was valid at this time.
    pub as_of: Option<Timestamp>,
    /// Ascending or descending.
    pub order: Order,
    /// Most entries of the answer.
    pub limit: usize,
    /// Where the answer before ended, as its `next` said.
    pub after: Option<String>,
    /// These partitions alone; otherwise a key's partition is that of its hash, and a range is of
    /// all partitions.
    pub partitions: Option<Vec<i32>>,
    /// Whether each entry of a page tells the cursor behind it.
    pub cursors: bool,
    /// A copy of a task that runs elsewhere may answer if it lags no more records behind than this;
    /// `None` where its owner alone is to answer.
    pub max_lag: Option<u64>,
}

/// An instance of the application, as others reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Owner {
    /// Its id.
    pub instance: String,
    /// Where it serves HTTP, `host:port`; `None` where it does not.
    pub host: Option<String>,
}

/// Who has a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// This instance.
    Here,
    /// Another one.
    Other(Owner),
    /// Nobody that is known: it is about to be assigned.
    Nobody,
}

/// Partitions of a store that one instance has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorePart {
    /// The partitions.
    pub partitions: Vec<i32>,
    /// The instance.
    pub holder: Holder,
    /// Other instances that have copies of them, the least behind first; none where the question
    /// accepts no copy.
    pub copies: Vec<Owner>,
}

impl StorePart {
    /// What to tell those who ask for partitions that nobody has.
    #[must_use]
    pub fn nobody(&self) -> String {
        let partitions: Vec<_> = self.partitions.iter().map(i32::to_string).collect();
        format!("no instance has partition {} at present", partitions.join(", "))
    }
}

/// Which keys of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreKeys {
    /// This one.
    One(KeyText),
    /// From the first (inclusive) to the other (exclusive), in the order of their bytes.
    Range(Option<KeyText>, Option<KeyText>),
    /// Those whose bytes start with these.
    Prefix(KeyText),
}

/// A key as somebody wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyText {
    /// As text that the key's serde reads; of a prefix, the bytes of the text.
    Plain(String),
    /// Its bytes, as URL-safe base64.
    Base64(String),
}

/// Why a [`Query`] has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// There is no such thing.
    #[error("{0} is not known here")]
    NotFound(String),
    /// The topology has no such store.
    #[error("no store is named {name}; {hint}")]
    UnknownStore {
        /// The name that was asked for.
        name: String,
        /// The nearest name, or all names.
        hint: String,
    },
    /// The question does not fit the store.
    #[error("{0}")]
    Misfit(String),
    /// Another instance has it, as far as this one knows.
    #[error("{what}: task {task} is {}", owner_text(.owner.as_ref()))]
    Elsewhere {
        /// What was asked for.
        what: String,
        /// The task that has it.
        task: String,
        /// Who has the task; `None` when nobody is known to.
        owner: Option<Owner>,
    },
    /// The task is here, and cannot be read yet.
    #[error("{what}: task {task} restores its stores; ask again in a moment")]
    Moving {
        /// What was asked for.
        what: String,
        /// The task that has it.
        task: String,
        /// This instance.
        owner: Option<Owner>,
    },
    /// A copy of the task is here, but further behind than the question accepts.
    #[error(
        "{what}: the copy here lags {lag} records behind, more than max_lag={max_lag}; task {task} is {}",
        owner_text(.owner.as_ref())
    )]
    Behind {
        /// What was asked for.
        what: String,
        /// The task that has it.
        task: String,
        /// How far the copy is behind.
        lag: u64,
        /// How far it was allowed to be.
        max_lag: u64,
        /// Who has the task; `None` when nobody is known to.
        owner: Option<Owner>,
    },
    /// The running topology has no state of that kind.
    #[error("this application has no {0}")]
    Unsupported(&'static str),
    /// The task is moving or restoring.
    #[error("{what} cannot be read at present: {reason}")]
    Unavailable {
        /// What was asked for.
        what: String,
        /// Why not.
        reason: String,
    },
    /// The state could not be read.
    #[error("cannot read {what}: {reason}")]
    Failed {
        /// What was asked for.
        what: String,
        /// What went wrong.
        reason: String,
    },
}

fn owner_text(owner: Option<&Owner>) -> String {
    match owner {
        None => "on no instance at present; ask again in a moment".to_owned(),
        Some(Owner { instance, host: None }) => {
            format!("on instance {instance}, which serves no HTTP; ask it in another way")
        }
        Some(Owner { instance, host: Some(host) }) => {
            format!("on instance {instance}; ask it at {host}")
        }
    }
}

/// What can be asked of a running instance. The calls may wait for a stream thread, so a
/// server makes them where waiting is allowed.
pub trait Introspect: Send + Sync {
    /// The instance and its tasks, as last published.
    fn status(&self) -> InstanceStatus;

    /// What it has counted so far.
    fn totals(&self) -> Totals;

    /// The metrics, in the format that `accept`, an HTTP `Accept` header, prefers: content
    /// type and text.
    fn metrics(&self, accept: &str) -> (&'static str, String);

    /// The topology.
    fn topology(&self, format: TopologyFormat) -> String;

    /// Who has the partitions of a store that a question concerns.
    ///
    /// # Errors
    /// When the question does not fit the store.
    fn holders(&self, question: &StoreQuestion) -> Result<Vec<StorePart>, QueryError>;

    /// The answer to a query, as JSON, of what this instance has.
    ///
    /// # Errors
    /// Those of [`QueryError`].
    fn query(&self, query: &Query) -> Result<serde_json::Value, QueryError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restore_tells_its_rate_and_the_time_to_go() {
        let half = RestoreStatus::new(1000, 500, 2.0);
        assert_eq!(half.records_per_second, 500.0);
        assert_eq!(half.eta_seconds, Some(1.0));
        assert_eq!(RestoreStatus::new(1500, 0, 3.0).eta_seconds, None);
        assert_eq!(RestoreStatus::new(0, 10, 0.0).eta_seconds, None);
    }

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let values =
            Distribution { bounds: vec![1.0, 2.0, 4.0], counts: vec![0, 10, 20], total: 20 };
        assert_eq!(values.quantile(0.25), Some(1.5));
        assert_eq!(values.quantile(0.75), Some(3.0));
        assert_eq!(values.quantile(1.0), Some(4.0));
        assert_eq!(Distribution::default().quantile(0.5), None);
        let beyond = Distribution { bounds: vec![1.0], counts: vec![0], total: 3 };
        assert_eq!(beyond.quantile(0.5), Some(1.0));
    }

    #[test]
    fn what_came_since_is_what_is_counted_in_between() {
        let now = Distribution { bounds: vec![1.0, 2.0], counts: vec![5, 9], total: 9 };
        let then = Distribution { bounds: vec![1.0, 2.0], counts: vec![5, 6], total: 6 };
        assert_eq!(now.since(&then).counts, [0, 3]);
        assert_eq!(now.since(&Distribution::default()), now);
        let mut sum = Distribution::default();
        sum.add(&now);
        sum.add(&then);
        assert_eq!((sum.counts, sum.total), (vec![10, 15], 15));
    }

    #[test]
    fn a_state_is_the_same_word_in_json_and_in_metrics() {
        for state in TaskState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.word());
        }
        for state in InstanceState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.word());
        }
    }
}
