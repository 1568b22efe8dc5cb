//! What can go wrong with a task's state, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use tidemill_topology::error::Error as TopologyError;

/// The result of everything in this crate.
pub type Result<T = (), E = StateError> = std::result::Result<T, E>;

/// What happened, to which directory, task or store, and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Another process holds the state directory.
    #[error(
        "state directory {directory} is in use by process {holder}; stop that process, \
         or give this one a state.dir of its own"
    )]
    DirectoryInUse {
        /// The application's directory.
        directory: PathBuf,
        /// Process id of the holder, as far as its lock file tells.
        holder: String,
    },
    /// Another thread of this process has the task open.
    #[error(
        "task {task} is still open in this process ({directory}); wait until it is closed and try again"
    )]
    TaskInUse {
        /// The task.
        task: String,
        /// Its directory.
        directory: PathBuf,
    },
    /// The directory was written by a newer release.
    #[error(
        "{file} says format {found}, this release knows up to {known}; \
         run the newer release again, or start with another state.dir to restore from Kafka"
    )]
    NewerFormat {
        /// The file that holds the version.
        file: PathBuf,
        /// The version found.
        found: String,
        /// The newest version known here.
        known: u32,
    },
    /// A name that cannot be a directory below the state directory.
    #[error("{name:?} cannot name a directory of state; use letters, digits, '.', '_' and '-'")]
    Name {
        /// The name given.
        name: String,
    },
    /// A file or directory could not be read or written.
    #[error(
        "cannot {action} {path}: {cause}; check that the directory exists, is writable, and has room"
    )]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// No room is left. What was committed stays in memory, and the call may be repeated.
    #[error(
        "no room for the state of task {task} in {path} ({detail}); free some, nothing is lost meanwhile"
    )]
    DiskFull {
        /// The task.
        task: String,
        /// Its database.
        path: PathBuf,
        /// What the engine said.
        detail: String,
    },
    /// The database is damaged: it is moved aside and the task rebuilt from its changelogs.
    #[error(
        "the database of task {task} in {path} is damaged ({detail}); the task is rebuilt from its changelogs"
    )]
    Corrupt {
        /// The task.
        task: String,
        /// Its database.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The engine failed in another way.
    #[error(
        "the database of task {task} in {path} failed ({detail}); close the task and open it again"
    )]
    Engine {
        /// The task.
        task: String,
        /// Its database.
        path: PathBuf,
        /// What the engine said.
        detail: String,
    },
    /// A record of a changelog does not have the store's layout.
    #[error(
        "store {store}: a changelog record with a key of {key_bytes} bytes is not of this store's layout; \
         the topic belongs to another store or another version of the topology, reset the application"
    )]
    ForeignRecord {
        /// The store.
        store: String,
        /// Length of the record's key.
        key_bytes: usize,
    },
    /// A store that has uncommitted changes was to be restored.
    #[error(
        "store {store} has uncommitted changes; commit them or roll the task back before restoring it"
    )]
    NotIdle {
        /// The store.
        store: String,
    },
    /// Something was written between handing the changes out and declaring them committed.
    #[error("store {store} changed while its commit was under way; roll the task back")]
    ChangedDuringCommit {
        /// The store.
        store: String,
    },
}

impl StateError {
    /// For `map_err`: an I/O error with what was tried on which path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io { action, path, cause }
    }

    /// Whether the same call may succeed later, nothing being lost meanwhile.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::DiskFull { .. } | Self::TaskInUse { .. })
    }

    /// Whether the task's database has to be moved aside and rebuilt.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Self::Corrupt { .. })
    }

    /// As an error of the record path.
    pub(crate) fn into_topology(self, store: &str) -> TopologyError {
        TopologyError::store(store, self)
    }
}
