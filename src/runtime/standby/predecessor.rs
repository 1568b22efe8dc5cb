//! Ends the transaction that a dead instance left open.
//!
//! A takeover waits for its predecessor's open transaction: the committed offsets are not stable
//! before, and the end of the changelogs cannot be read. The broker ends it after
//! `transaction.timeout.ms`. Sooner ends it whoever opens a producer with the dead thread's
//! transactional id, which is known from what the dead instance last said of itself. Should the
//! thread not be dead after all, it is fenced, rolls back and goes on, as after any fencing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_topology::graph::TaskId;

use crate::clock::Clock;
use crate::kafka::{Admin, Cluster, KafkaError, Producer, ProducerSettings};
use crate::runtime::observe::Shared;
use crate::runtime::stop::StopSignal;

/// How long one call may wait for the cluster.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a member of the group is left alone after it was found to be one.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// One that has said something within this time lives, and ends its transactions itself.
const SILENT_FOR: Duration = Duration::from_secs(4);
/// How long an instance leaves it to each of those whose ids are before its own: of several that got
/// a dead one's tasks one ends the transactions, and the dead one, should it come back just then, is
/// fenced once. So many of them at most.
const STEP: Duration = Duration::from_secs(1);
const STEPS: usize = 3;

/// See the [module](self).
pub struct Predecessors<C> {
    cluster: C,
    clock: Clock,
    application_id: Arc<str>,
    shared: Arc<Shared>,
    /// Which thread of which other instance had a task last.
    had: BTreeMap<TaskId, (String, String)>,
    /// Threads whose transactions were ended, until they are heard of again.
    ended: BTreeSet<String>,
    /// Threads whose transactions are to be ended, and since when.
    due: BTreeMap<String, Instant>,
    looked: Option<Instant>,
}

impl<C: Cluster> Predecessors<C> {
    /// Knows of nobody yet.
    #[must_use]
    pub fn new(cluster: C, application_id: Arc<str>, shared: Arc<Shared>) -> Self {
        let clock = cluster.clock();
        let (had, ended, due) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { cluster, clock, application_id, shared, had, ended, due, looked: None }
    }

    /// Notes who has which task, and ends the transactions of those who are gone and whose tasks
    /// came to this instance, until told to stop.
    pub fn turn(&mut self, stop: &StopSignal) {
        self.note();
        let held = self.shared.held_tasks();
        let waiting = held.iter().filter(|(_, held)| !held.is_running());
        let threads: BTreeSet<String> = waiting
            .filter_map(|(task, _)| self.had.get(task))
            .filter(|(instance, thread)| !self.ended.contains(thread) && self.is_silent(instance))
            .map(|(_, thread)| thread.clone())
            .collect();
        self.due.retain(|thread, _| threads.contains(thread));
        if threads.is_empty() {
            return;
        }
        let now = self.clock.now();
        let patience = STEP * self.rank();
        let threads: Vec<String> = threads
            .into_iter()
            .filter(|thread| {
                let since = *self.due.entry(thread.clone()).or_insert(now);
                now.saturating_duration_since(since) >= patience
            })
            .collect();
        if threads.is_empty()
            || self.looked.is_some_and(|looked| now.saturating_duration_since(looked) < LOOK_AGAIN)
        {
            return;
        }
        self.looked = Some(now);
        for thread in threads {
            if stop.is_told() {
                return;
            }
            match self.end_unless_member(&thread) {
                Ok(true) => {
                    tracing::info!(thread, "ended the transactions of a thread that is gone");
                    self.ended.insert(thread);
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::info!(thread, %error, "cannot end the transactions of a thread that is gone yet");
                }
            }
        }
    }

    fn note(&mut self) {
        for member in self.shared.members.members(self.clock.now()) {
            if member.is_self {
                continue;
            }
            for (task, held) in &member.tasks {
                let thread = (member.instance.clone(), held.thread.clone());
                if self.had.get(task) != Some(&thread) {
                    self.had.insert(*task, thread);
                }
                if !self.is_silent(&member.instance) {
                    self.ended.remove(&held.thread);
                }
            }
        }
    }

    /// How many of the others that live, and so may do it, are before this instance.
    fn rank(&self) -> u32 {
        let members = self.shared.members.members(self.clock.now());
        let before = members.iter().take_while(|member| !member.is_self);
        before.filter(|member| !self.is_silent(&member.instance)).count().min(STEPS) as u32
    }

    fn is_silent(&self, instance: &str) -> bool {
        self.shared
            .members
            .silent_for(instance, self.clock.now())
            .is_some_and(|time| time >= SILENT_FOR)
    }

    /// False while the group still counts on the thread.
    fn end_unless_member(&self, thread: &str) -> Result<bool, KafkaError> {
        let members = self.cluster.admin()?.group_members(&self.application_id, TIMEOUT)?;
        if members.iter().any(|member| member.group_instance_id.as_deref() == Some(thread)) {
            return Ok(false);
        }
        let id: Arc<str> = format!("{}-{thread}", self.application_id).into();
        let mut producer = self.cluster.producer(&ProducerSettings {
            client_id: id.clone(),
            transactional_id: Some(id),
            track_offsets: false,
        })?;
        producer.init_transactions(TIMEOUT)?;
        Ok(true)
    }
}
