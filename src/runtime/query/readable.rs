//! Which tasks of an instance can be read now, and how their threads are asked to show them.
//!
//! A task that another instance runs can be read where its state is copied, by those who accept how
//! far the copy is behind. While such a task moves here, its copy answers until it runs:
//!
//! ```text
//! copied --assigned to this instance--> copied, and restoring --runs--> readable
//!    |                                          |
//!    +------- kept no longer, or revoked -------+--> not here
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use tidemill_state::{Committed, CommittedView, Unreadable};
use tidemill_topology::graph::{SubtopologyId, TaskId, Topology};
use tidemill_topology::store::{StoreIndex, StoreSpec};

use crate::runtime::membership::{Member, MembersView};
use crate::runtime::plan::Plan;
use crate::status::{Holder, Owner, QueryError, TaskState};

/// How long a reader waits for a thread to show its stores: it does so after a commit.
const SHOWN_WITHIN: Duration = Duration::from_secs(5);
/// How soon a thread is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Asks a thread to show the stores of its tasks.
pub struct Asker {
    asked: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Asker {
    /// For a thread that `wake` calls to its work.
    #[must_use]
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { asked: AtomicBool::new(false), wake: Box::new(wake) })
    }

    fn ask(&self) {
        if !self.asked.swap(true, Ordering::Relaxed) {
            (self.wake)();
        }
    }

    /// Whether somebody has asked since the last call.
    pub fn take(&self) -> bool {
        self.asked.load(Ordering::Relaxed) && self.asked.swap(false, Ordering::Relaxed)
    }
}

/// A task of this instance.
#[derive(Clone)]
enum Here {
    /// Its stores are being restored.
    Restoring,
    /// Its stores can be read.
    Readable { view: Arc<CommittedView>, asker: Arc<Asker> },
}

/// A copy of a task's stores, as readers see it.
#[derive(Clone)]
pub struct ReadableCopy {
    /// Its stores.
    pub view: Arc<CommittedView>,
    /// Records of its changelogs that it has yet to read, as its last fetch saw them.
    pub lag: u64,
}

/// Where a store is in the topology.
#[derive(Clone, Debug)]
pub struct StorePlace {
    /// Its declaration.
    pub spec: StoreSpec,
    /// The subtopology whose tasks have it.
    pub subtopology: SubtopologyId,
    /// Which of the task's stores it is.
    pub index: StoreIndex,
    /// How many tasks have a part of it; 1 for a global store, which every instance has whole.
    /// `None` while the cluster's topics are not known.
    pub partitions: Option<i32>,
    /// Whether every instance has it whole.
    pub is_global: bool,
}

impl StorePlace {
    /// The task that has a partition of it.
    #[must_use]
    pub fn task(&self, partition: i32) -> TaskId {
        TaskId { subtopology: self.subtopology, partition }
    }
}

/// See the [module](self).
pub struct ReadableStores {
    topology: Topology,
    members: Arc<MembersView>,
    plan: OnceLock<Arc<Plan>>,
    tasks: RwLock<BTreeMap<TaskId, Here>>,
    /// Locked after the tasks where both are.
    copies: RwLock<BTreeMap<TaskId, ReadableCopy>>,
}

impl ReadableStores {
    /// Of an instance of this topology, none of whose tasks can be read yet.
    #[must_use]
    pub fn new(topology: Topology, members: Arc<MembersView>) -> Self {
        let (tasks, copies) = (RwLock::default(), RwLock::default());
        Self { topology, members, plan: OnceLock::new(), tasks, copies }
    }

    /// Takes note of how many partitions there are. Later calls change nothing.
    pub fn set_plan(&self, plan: &Arc<Plan>) {
        // A plan is made once a start.
        let _ = self.plan.set(Arc::clone(plan));
    }

    fn tasks(&self) -> RwLockReadGuard<'_, BTreeMap<TaskId, Here>> {
        // Every change under the lock is one call.
        self.tasks.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tasks_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<TaskId, Here>> {
        self.tasks.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task is here, and restores its stores.
    pub fn restoring(&self, task: TaskId) {
        self.tasks_mut().insert(task, Here::Restoring);
    }

    /// A task's stores can be read from now on.
    pub fn open(&self, task: TaskId, view: Arc<CommittedView>, asker: &Arc<Asker>) {
        let mut tasks = self.tasks_mut();
        tasks.insert(task, Here::Readable { view, asker: Arc::clone(asker) });
        self.copies_mut().remove(&task);
    }

    /// A task is not here any more.
    pub fn close(&self, task: TaskId) {
        let mut tasks = self.tasks_mut();
        tasks.remove(&task);
        self.copies_mut().remove(&task);
    }

    fn copies(&self) -> RwLockReadGuard<'_, BTreeMap<TaskId, ReadableCopy>> {
        self.copies.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn copies_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<TaskId, ReadableCopy>> {
        self.copies.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The copies that this instance keeps. One that was handed over to its task, which restores
    /// what it lacks, answers until the task runs.
    pub fn set_copies(&self, kept: BTreeMap<TaskId, ReadableCopy>) {
        let tasks = self.tasks();
        let mut copies = self.copies_mut();
        copies.retain(|task, _| matches!(tasks.get(task), Some(Here::Restoring)));
        copies.extend(kept);
    }

    /// A copy that was handed over lags so many records behind the end that its task restores to.
    pub fn set_copy_lag(&self, task: TaskId, lag: u64) {
        if let Some(copy) = self.copies_mut().get_mut(&task) {
            copy.lag = lag;
        }
    }

    /// How far behind the copy of a store's task is; `None` where there is none, or the store has
    /// no changelog that a copy could follow.
    #[must_use]
    pub fn copy_lag(&self, place: &StorePlace, partition: i32) -> Option<u64> {
        let lag = self.copies().get(&place.task(partition)).map(|copy| copy.lag);
        lag.filter(|_| self.is_copied(place))
    }

    /// Whether copies have a store: not one without a changelog, and not one whose changelog is an
    /// input, as only the task's owner knows how far that is processed.
    fn is_copied(&self, place: &StorePlace) -> bool {
        let Some(plan) = self.plan.get().filter(|_| !place.is_global) else { return false };
        let changelogs = &plan.subtopology(place.subtopology).changelogs;
        changelogs.get(place.index.0).and_then(Option::as_ref).is_some_and(|log| !log.is_input)
    }

    /// The partitions of a store of whose tasks copies are here, and how far those are behind.
    #[must_use]
    pub fn copied_partitions(&self, place: &StorePlace) -> BTreeMap<i32, u64> {
        if !self.is_copied(place) {
            return BTreeMap::new();
        }
        let copies = self.copies();
        let of_store = copies.iter().filter(|(task, _)| task.subtopology == place.subtopology);
        of_store.map(|(task, copy)| (task.partition, copy.lag)).collect()
    }

    /// Other instances that keep a copy of a task, the least behind first.
    #[must_use]
    pub fn copiers(&self, task: TaskId) -> Vec<Owner> {
        let members = self.members();
        let others = members.iter().filter(|member| member.is_alive && !member.is_self);
        let mut copiers: Vec<_> = others
            .filter_map(|member| Some((member.standbys.get(&task)?.lag, owner(member))))
            .filter(|(lag, _)| *lag >= 0)
            .collect();
        copiers.sort_by_key(|(lag, _)| *lag);
        copiers.into_iter().map(|(_, owner)| owner).collect()
    }

    /// All instances that are known.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.members.members(Instant::now())
    }

    /// This instance, as others reach it.
    #[must_use]
    pub fn own(&self) -> Option<Owner> {
        self.members().iter().find(|member| member.is_self).map(owner)
    }

    /// Who has a task. Of several who say so, as while it moves, one that runs it.
    #[must_use]
    pub fn holder(&self, task: TaskId) -> Holder {
        if self.tasks().contains_key(&task) {
            return Holder::Here;
        }
        let members = self.members();
        let others = members.iter().filter(|member| member.is_alive && !member.is_self);
        let holders = others.filter_map(|member| Some((member, member.tasks.get(&task)?)));
        let running = TaskState::Running.word();
        holders
            .min_by_key(|(_, held)| held.state != running)
            .map_or(Holder::Nobody, |(member, _)| Holder::Other(owner(member)))
    }

    /// Whether a task runs here.
    #[must_use]
    pub fn is_readable(&self, task: TaskId) -> bool {
        matches!(self.tasks().get(&task), Some(Here::Readable { .. }))
    }

    /// The topology.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The names of all stores.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let (parted, global) =
            (self.topology.subtopologies(), self.topology.global_subtopologies());
        let specs = parted.iter().chain(global).flat_map(|part| self.topology.stores(part));
        specs.map(|spec| spec.name).collect()
    }

    /// Where a store is.
    ///
    /// # Errors
    /// When the topology has no such store.
    pub fn place(&self, store: &str) -> Result<StorePlace, QueryError> {
        let (parted, global) =
            (self.topology.subtopologies(), self.topology.global_subtopologies());
        for (at, subtopology) in parted.iter().chain(global).enumerate() {
            let specs = self.topology.stores(subtopology);
            let Some(index) = specs.iter().position(|spec| spec.name == store) else { continue };
            let is_global = at >= parted.len();
            let partitions = match is_global {
                true => Some(1),
                false => self.plan.get().map(|plan| plan.subtopology(subtopology.id).tasks),
            };
            return Ok(StorePlace {
                spec: specs[index].clone(),
                subtopology: subtopology.id,
                index: StoreIndex(index),
                partitions,
                is_global,
            });
        }
        Err(unknown(store, &self.names()))
    }

    /// The partitions of a subtopology whose tasks can be read here.
    #[must_use]
    pub fn partitions(&self, subtopology: SubtopologyId) -> Vec<i32> {
        let tasks = self.tasks();
        let readable = tasks.iter().filter(|(_, here)| matches!(here, Here::Readable { .. }));
        let partitions = readable.filter(|(task, _)| task.subtopology == subtopology);
        partitions.map(|(task, _)| task.partition).collect()
    }

    /// Reads a task's stores, all of one commit; `None` when the task is not here to be read.
    ///
    /// # Errors
    /// When its thread does not show them in time, and what `read` returns.
    pub fn read<T>(
        &self,
        task: TaskId,
        mut read: impl FnMut(&Committed<'_>) -> Result<T, QueryError>,
    ) -> Result<Option<T>, QueryError> {
        let started = Instant::now();
        loop {
            let Some(Here::Readable { view, asker }) = self.tasks().get(&task).cloned() else {
                return Ok(None);
            };
            match view.read() {
                Ok(committed) => return read(&committed).map(Some),
                Err(Unreadable::Closed) => return Ok(None),
                Err(Unreadable::Hidden) => {}
            }
            if started.elapsed() >= SHOWN_WITHIN {
                return Err(QueryError::Unavailable {
                    what: format!("task {task}"),
                    reason: "its thread did not finish a commit in time".to_owned(),
                });
            }
            asker.ask();
            view.wait(ASK_AGAIN);
        }
    }

    /// Reads the copy of a store's task if it lags no more than `max_lag` records behind, and says
    /// how far it does; `None` when there is no such copy.
    ///
    /// # Errors
    /// What `read` returns.
    pub fn read_copy<T>(
        &self,
        place: &StorePlace,
        partition: i32,
        max_lag: u64,
        mut read: impl FnMut(&Committed<'_>) -> Result<T, QueryError>,
    ) -> Result<Option<(T, u64)>, QueryError> {
        let view = self.copies().get(&place.task(partition)).map(|copy| Arc::clone(&copy.view));
        let Some(Ok(committed)) = view.as_ref().map(|view| view.read()) else { return Ok(None) };
        // Looked at while the stores are held: a copy that was emptied to be read anew is hidden
        // until its new lag is known here.
        match self.copy_lag(place, partition).filter(|lag| *lag <= max_lag) {
            Some(lag) => read(&committed).map(|found| Some((found, lag))),
            None => Ok(None),
        }
    }
}

fn owner(member: &Member) -> Owner {
    Owner { instance: member.instance.clone(), host: member.host.clone() }
}

/// There is no store of that name; the nearest one, or all of them, are named.
fn unknown(store: &str, names: &[String]) -> QueryError {
    let nearest = names
        .iter()
        .map(|name| (strsim::damerau_levenshtein(name, store), name))
        .min()
        .filter(|(distance, _)| *distance <= 2.max(store.len() / 3));
    let hint = match nearest {
        Some((_, name)) => format!("did you mean {name}?"),
        None if names.is_empty() => "the topology has none".to_owned(),
        None => format!("there are {}", names.join(", ")),
    };
    QueryError::UnknownStore { name: store.to_owned(), hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_not_there_is_answered_with_the_nearest_name() {
        let names = ["positions".to_owned(), "candles".to_owned()];
        let hint = |name| unknown(name, &names).to_string();
        assert_eq!(hint("position"), "no store is named position; did you mean positions?");
        assert_eq!(hint("x"), "no store is named x; there are positions, candles");
        assert_eq!(unknown("x", &[]).to_string(), "no store is named x; the topology has none");
    }
}
