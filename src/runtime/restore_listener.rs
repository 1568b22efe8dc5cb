//! What an application is told of restores, and the functions of its own that the runtime calls.

use std::sync::Arc;

use tidemill_topology::graph::TaskId;
use tidemill_topology::handler::Handlers;

/// A store of a task that is being restored, and how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoringStore<'a> {
    /// The task.
    pub task: TaskId,
    /// The store's name.
    pub store: &'a str,
    /// Its changelog.
    pub topic: &'a str,
    /// The changelog's partition.
    pub partition: i32,
    /// The next offset that is read.
    pub position: i64,
    /// Where the restore ends: one past the last offset.
    pub end: i64,
}

/// Is told how restores go, as Kafka Streams' `StateRestoreListener` is: for each store of a task
/// that has something to restore `started` once, `progressed` with each batch, and at last `ended`, or
/// `suspended` when the task leaves first, its store does not fit its changelog, or something fails.
///
/// It is called on the thread that restores, one of each stream thread, which waits for it: do not
/// block, and do not panic. Copies of other instances' tasks are no restores.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use tidemill::config::Config;
/// use tidemill::runtime::{Hooks, RestoreListener, RestoringStore, Streams, handlers};
/// # use tidemill::prelude::Topology;
///
/// struct Report;
///
/// impl RestoreListener for Report {
///     fn started(&self, store: RestoringStore<'_>) {
///         println!("{} {}: {} records to read", store.task, store.store, store.end - store.position);
///     }
///
///     fn ended(&self, store: RestoringStore<'_>, restored: u64) {
///         println!("{} {}: {restored} records restored", store.task, store.store);
///     }
/// }
///
/// # fn start(topology: Topology, config: &Config) -> Result<(), Box<dyn std::error::Error>> {
/// let hooks = Hooks::from(handlers(config)).restore_listener(Arc::new(Report));
/// Streams::start_with(topology, config, hooks)?.join()?;
/// # Ok(())
/// # }
/// ```
pub trait RestoreListener: Send + Sync {
    /// A restore begins.
    fn started(&self, store: RestoringStore<'_>) {
        let _ = store;
    }

    /// A batch of so many records is in the store.
    fn progressed(&self, store: RestoringStore<'_>, records: u64) {
        let _ = (store, records);
    }

    /// The store is up to date, after so many records in all.
    fn ended(&self, store: RestoringStore<'_>, restored: u64) {
        let _ = (store, restored);
    }

    /// The restore ends early, after so many records in all; what they brought is kept, unless the
    /// store is rebuilt.
    fn suspended(&self, store: RestoringStore<'_>, restored: u64) {
        let _ = (store, restored);
    }
}

/// What an application has the runtime call besides its topology.
#[derive(Clone)]
pub struct Hooks {
    pub(crate) handlers: Handlers,
    pub(crate) restores: Option<Arc<dyn RestoreListener>>,
}

impl From<Handlers> for Hooks {
    /// With these error handlers alone.
    fn from(handlers: Handlers) -> Self {
        Self { handlers, restores: None }
    }
}

impl Hooks {
    /// Tells this listener of restores.
    #[must_use]
    pub fn restore_listener(mut self, listener: Arc<dyn RestoreListener>) -> Self {
        self.restores = Some(listener);
        self
    }
}
