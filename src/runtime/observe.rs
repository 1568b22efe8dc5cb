//! What an instance shows of itself: threads publish, HTTP and the command line read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tidemill_topology::graph::{TaskId, Topology};
use tidemill_topology::time::Timestamp;

use super::error::RuntimeError;
use super::membership::{HeldTask, MembersView, StandbyCopy};
use super::query::ReadableStores;
use super::query::json::{self, JsonStore};
use super::query::metadata::metadata;
use super::restore_listener::RestoreListener;
use crate::metrics::{ClientMetrics, Format, Metrics, StandbyMetrics, StoreMetrics};
use crate::status::{
    InstanceState, InstanceStatus, Introspect, Query, QueryError, RestoreStatus, StandbyStatus,
    StorePart, StoreQuestion, TaskState, TaskStatus, TopologyFormat, Totals,
};

/// What the threads of an instance share. No record path touches it.
pub struct Shared {
    application_id: String,
    instance_id: String,
    started_at_ms: i64,
    stores: Arc<ReadableStores>,
    /// The registry of all series.
    pub metrics: Metrics,
    /// What is known of all instances.
    pub members: Arc<MembersView>,
    restore_listener: OnceLock<Arc<dyn RestoreListener>>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    phase: Phase,
    host: Option<String>,
    standbys: BTreeMap<TaskId, StandbyCopy>,
    /// The series of the copies.
    standby_metrics: BTreeMap<TaskId, StandbyMetrics>,
    threads: BTreeMap<String, ThreadView>,
    restores: HashMap<(TaskId, String), RestoreStatus>,
    stores: HashMap<(TaskId, String), Arc<StoreMetrics>>,
}

/// What the instance as a whole does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Waits for the cluster or for its topics.
    Starting(String),
    /// Its threads run.
    #[default]
    Running,
    /// Told to stop.
    Stopping,
    /// Ended by an error.
    Failed(String),
}

/// What a thread last said.
#[derive(Clone, Debug, Default)]
pub struct ThreadView {
    /// One word.
    pub state: &'static str,
    /// Whether the group has given it an assignment since it last had none.
    pub assigned: bool,
    /// Its tasks.
    pub tasks: Vec<TaskStatus>,
    /// Bytes of its tasks' write sets.
    pub write_set_bytes: u64,
}

impl Shared {
    /// For an instance that starts at this time.
    ///
    /// # Errors
    /// When its name cannot be a label.
    pub fn new(
        application_id: &str,
        instance_id: &str,
        topology: Topology,
        started_at: Timestamp,
    ) -> Result<Arc<Self>, RuntimeError> {
        let metrics = Metrics::new(application_id, instance_id)?;
        let members = Arc::new(MembersView::new(instance_id));
        Ok(Arc::new(Self {
            application_id: application_id.to_owned(),
            instance_id: instance_id.to_owned(),
            started_at_ms: started_at.millis(),
            stores: Arc::new(ReadableStores::new(topology, Arc::clone(&members))),
            metrics,
            members,
            restore_listener: OnceLock::new(),
            seen: Mutex::default(),
        }))
    }

    /// The stores that can be read here.
    #[must_use]
    pub fn stores(&self) -> &Arc<ReadableStores> {
        &self.stores
    }

    /// Who is told of restores, if anyone.
    pub fn restore_listener(&self) -> Option<&dyn RestoreListener> {
        self.restore_listener.get().map(|listener| &**listener)
    }

    /// Tells a listener of restores; the first counts.
    pub fn listen_to_restores(&self, listener: Arc<dyn RestoreListener>) {
        self.restore_listener.get_or_init(|| listener);
    }

    /// The instance's own series.
    pub fn client(&self) -> &ClientMetrics {
        self.metrics.client()
    }

    /// The instance's id.
    #[must_use]
    pub fn instance_id(&self) -> &str {
        &self.instance_id
    }

    /// When the process started, in milliseconds since 1970.
    #[must_use]
    pub fn started_at_ms(&self) -> i64 {
        self.started_at_ms
    }

    /// Under which address other instances and clients reach its HTTP server.
    #[must_use]
    pub fn host(&self) -> Option<String> {
        self.seen().host.clone()
    }

    /// Says what [`host`](Self::host) is; the first word counts, which is the configuration's.
    pub fn advertise(&self, host: &str) {
        self.seen().host.get_or_insert_with(|| host.to_owned());
    }

    /// Its stream threads that are members of the group.
    #[must_use]
    pub fn group_threads(&self) -> BTreeSet<String> {
        let seen = self.seen();
        let members = seen.threads.iter().filter(|(_, thread)| thread.assigned);
        members.map(|(name, _)| name.clone()).collect()
    }

    /// The tasks that its threads were assigned.
    #[must_use]
    pub fn held_tasks(&self) -> BTreeMap<TaskId, HeldTask> {
        let seen = self.seen();
        let tasks = seen.threads.values().flat_map(|thread| &thread.tasks);
        let held = tasks.filter_map(|task| {
            let held =
                HeldTask { state: task.state.word().to_owned(), thread: task.thread.clone() };
            Some((task.id.parse().ok()?, held))
        });
        held.collect()
    }

    /// The copies of others' state that the instance keeps.
    #[must_use]
    pub fn standbys(&self) -> BTreeMap<TaskId, StandbyCopy> {
        self.seen().standbys.clone()
    }

    /// See [`standbys`](Self::standbys).
    pub fn set_standbys(&self, standbys: BTreeMap<TaskId, StandbyCopy>) {
        let mut seen = self.seen();
        seen.standby_metrics.retain(|task, _| standbys.contains_key(task));
        for (task, copy) in &standbys {
            let series = seen.standby_metrics.entry(*task);
            let series = series.or_insert_with(|| self.metrics.standby(&task.to_string()));
            series.set_lag(u64::try_from(copy.lag).unwrap_or(0));
        }
        seen.standbys = standbys;
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Every change under the lock is one assignment: nothing can be left half done.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the instance does.
    pub fn set_phase(&self, phase: Phase) {
        self.seen().phase = phase;
        self.publish_state();
    }

    /// What a thread does.
    pub fn set_thread(&self, name: &str, view: ThreadView) {
        let mut seen = self.seen();
        seen.threads.insert(name.to_owned(), view);
        let write_sets = seen.threads.values().map(|thread| thread.write_set_bytes).sum();
        drop(seen);
        self.client().set_write_set_bytes(write_sets);
        self.publish_state();
    }

    fn publish_state(&self) {
        let status = self.status();
        self.client().set_ready(status.ready);
        self.client().set_state(status.state);
    }

    /// Forgets a thread that was removed.
    pub fn forget_thread(&self, name: &str) {
        self.seen().threads.remove(name);
        self.client().set_ready(self.status().ready);
    }

    /// How far the restore of a store is.
    pub fn set_restore(&self, task: TaskId, store: &str, status: RestoreStatus) {
        self.seen().restores.insert((task, store.to_owned()), status);
    }

    /// How far the restore of a store is.
    #[must_use]
    pub fn restore(&self, task: TaskId, store: &str) -> RestoreStatus {
        self.seen().restores.get(&(task, store.to_owned())).cloned().unwrap_or_default()
    }

    /// A store's series, kept as long as the task is here.
    #[must_use]
    pub fn store_metrics(&self, task: TaskId, store: &str) -> Arc<StoreMetrics> {
        let mut seen = self.seen();
        let key = (task, store.to_owned());
        seen.stores
            .entry(key)
            .or_insert_with(|| Arc::new(self.metrics.store(&task.to_string(), store)))
            .clone()
    }

    /// Forgets a task that left.
    pub fn forget(&self, task: TaskId) {
        let mut seen = self.seen();
        seen.restores.retain(|(of, _), _| *of != task);
        seen.stores.retain(|(of, _), _| *of != task);
    }
}

impl Introspect for Shared {
    fn status(&self) -> InstanceStatus {
        let seen = self.seen();
        let tasks: Vec<TaskStatus> =
            seen.threads.values().flat_map(|thread| thread.tasks.iter().cloned()).collect();
        let waiting =
            seen.threads.iter().find(|(_, thread)| !thread.assigned).map(|(name, _)| name.clone());
        let restoring = tasks.iter().find(|task| task.state != TaskState::Running);
        let (state, reason) = match &seen.phase {
            Phase::Starting(reason) => (InstanceState::Starting, reason.clone()),
            Phase::Stopping => (InstanceState::Stopping, "told to stop".to_owned()),
            Phase::Failed(reason) => (InstanceState::Failed, reason.clone()),
            Phase::Running if seen.threads.is_empty() => {
                (InstanceState::Starting, "threads start".to_owned())
            }
            Phase::Running => match (waiting, restoring) {
                (Some(thread), _) => {
                    (InstanceState::Rebalancing, format!("{thread} waits for an assignment"))
                }
                (None, Some(task)) => (
                    InstanceState::Rebalancing,
                    format!("task {} is {}", task.id, task.state.word()),
                ),
                (None, None) => (InstanceState::Running, String::new()),
            },
        };
        InstanceStatus {
            application_id: self.application_id.clone(),
            instance_id: self.instance_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at_ms: self.started_at_ms,
            ready: state == InstanceState::Running,
            state,
            reason,
            threads: seen
                .threads
                .iter()
                .map(|(name, thread)| (name.clone(), thread.state.to_owned()))
                .collect(),
            tasks,
            standbys: seen
                .standbys
                .iter()
                .map(|(task, copy)| StandbyStatus {
                    id: task.to_string(),
                    position: copy.position,
                    lag: u64::try_from(copy.lag).ok(),
                })
                .collect(),
        }
    }

    fn totals(&self) -> Totals {
        let reading = self.metrics.read();
        Totals {
            nodes: reading.sums("node_records_total", "node"),
            dead_letters: reading.sums("dead_letter_records_total", "reason"),
            age: reading.distribution("record_age_seconds", Some(("stage", "committed"))),
            commit: reading.distribution("commit_seconds", None),
        }
    }

    fn metrics(&self, accept: &str) -> (&'static str, String) {
        let format = Format::accepted(accept);
        (format.content_type(), self.metrics.encode(format))
    }

    fn topology(&self, format: TopologyFormat) -> String {
        let description = self.stores.topology().describe();
        match format {
            TopologyFormat::Text => description.to_string(),
            TopologyFormat::Json => description.to_json().to_string(),
            TopologyFormat::Mermaid => description.to_mermaid(),
        }
    }

    fn holders(&self, question: &StoreQuestion) -> Result<Vec<StorePart>, QueryError> {
        JsonStore::asked(&self.stores, question)?.holders(question)
    }

    fn query(&self, query: &Query) -> Result<serde_json::Value, QueryError> {
        match query {
            Query::Stores => json::list(&self.stores),
            Query::Store(question) => JsonStore::asked(&self.stores, question)?.answer(question),
            Query::Count(question) => JsonStore::asked(&self.stores, question)?.count(question),
            Query::Metadata => metadata(&self.stores),
            Query::Book { .. } => Err(QueryError::Unsupported("books")),
        }
    }
}
