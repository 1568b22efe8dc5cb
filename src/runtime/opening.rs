//! Restore step 1: the directories of tasks are locked and their stores opened, many side by side.
//!
//! Opening a database is mostly waiting for the disk, about a dozen times in a row, so an instance
//! with many tasks would start slowly if it opened one after the other.

use std::panic::resume_unwind;
use std::thread::{ScopedJoinHandle, scope};

use tidemill_state::{ApplyPolicy, StateDirectory, StateMemory, TaskDirectory, TaskStores};
use tidemill_topology::graph::TaskId;

use super::error::RuntimeError;
use super::observe::Shared;
use super::plan::Plan;
use crate::config::ChangelogOutOfRange;

/// Databases that are opened at the same time.
const SIDE_BY_SIDE: usize = 8;

/// A task's stores and the directory they are in, locked.
pub struct OpenStores {
    /// The stores.
    pub stores: Box<TaskStores>,
    /// Keeps the task's directory ours; `None` where nothing is on disk.
    pub directory: Option<TaskDirectory>,
}

/// What it takes to open stores.
#[derive(Clone)]
pub struct Opening {
    /// Where tasks have their directories.
    pub directory: StateDirectory,
    /// The memory that all stores share.
    pub memory: StateMemory,
    /// When write sets move on to the engine.
    pub policy: ApplyPolicy,
    /// What happens to a store whose position is not in its changelog.
    pub out_of_range: ChangelogOutOfRange,
}

impl Opening {
    /// Opens the stores of tasks that do not come with theirs; the results are in the order asked.
    #[must_use]
    pub fn open_all(
        &self,
        wanted: Vec<(TaskId, Option<OpenStores>)>,
        plan: &Plan,
        shared: &Shared,
    ) -> Vec<(TaskId, Result<OpenStores, RuntimeError>)> {
        let open = |(task, stores): (TaskId, Option<OpenStores>)| {
            (task, stores.map_or_else(|| self.open(task, plan, shared), Ok))
        };
        if wanted.len() <= 1 {
            return wanted.into_iter().map(open).collect();
        }
        let share = wanted.len().div_ceil(SIDE_BY_SIDE);
        let mut wanted = wanted.into_iter();
        scope(|scope| {
            let mut openers: Vec<ScopedJoinHandle<'_, Vec<_>>> = Vec::new();
            loop {
                let part: Vec<_> = wanted.by_ref().take(share).collect();
                if part.is_empty() {
                    break;
                }
                let open = &open;
                openers.push(scope.spawn(move || part.into_iter().map(open).collect()));
            }
            let opened = openers.into_iter().map(|opener| {
                // A panic goes on where it would have without the thread.
                opener.join().unwrap_or_else(|panic| resume_unwind(panic))
            });
            opened.flatten().collect()
        })
    }

    fn open(&self, task: TaskId, plan: &Plan, shared: &Shared) -> Result<OpenStores, RuntimeError> {
        let specs = &plan.subtopology(task.subtopology).stores;
        let Self { directory, memory, policy, .. } = self;
        let name = task.to_string();
        let on_disk = specs.iter().any(|spec| spec.persistent);
        let locked = if on_disk { Some(directory.open_task(&name)?) } else { None };
        let path = locked.as_ref().map(TaskDirectory::path);
        let stores = match TaskStores::open(&name, specs, path, memory, *policy) {
            Err(error) if error.is_corrupt() => {
                // A damaged database costs its task a rebuild, and nobody else anything.
                if let Some(directory) = &locked {
                    let aside = directory.set_aside()?;
                    tracing::error!(%task, %error, aside = %aside.display(), "database moved aside; it is rebuilt");
                }
                for spec in specs {
                    shared.client().store_rebuilt(&spec.name, "corrupt");
                }
                TaskStores::open(&name, specs, path, memory, *policy)?
            }
            opened => opened?,
        };
        for index in stores.emptied() {
            let store = &specs[index.0].name;
            tracing::warn!(%task, store, "another layout than the topology's; it is rebuilt");
            shared.client().store_rebuilt(store, "layout");
        }
        Ok(OpenStores { stores: Box::new(stores), directory: locked })
    }
}
