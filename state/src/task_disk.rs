//! A task's database as its stores hold it: opened once, and opened again after it failed.
//!
//! RocksDB refuses all writes once one of them failed, be there room again or not, until it is
//! opened anew. Nothing is lost by that: what it lacks is still in the write sets.

use std::path::{Path, PathBuf};

use tidemill_topology::store::StoreSpec;

use crate::error::{Result, StateError};
use crate::layout::layout_text;
use crate::rocksdb::{Database, Engine, Wanted};

/// What opening a database takes besides its log's contents, with a margin, in bytes.
const ROOM_TO_OPEN: u64 = 2 << 20;

pub(crate) struct TaskDisk {
    task: String,
    path: PathBuf,
    engine: Engine,
    /// `None` after an attempt to open it again has failed.
    database: Option<Database>,
    has_failed: bool,
}

impl TaskDisk {
    /// Opens the database; also tells which of the stores, by their place in `specs`, were
    /// emptied because their layout is another one.
    pub(crate) fn open(
        task: &str,
        path: &Path,
        engine: &Engine,
        specs: &[&StoreSpec],
    ) -> Result<(Self, Vec<usize>)> {
        let (database, emptied) = open(task, path, engine, specs)?;
        let disk = Self {
            task: task.to_owned(),
            path: path.to_owned(),
            engine: engine.clone(),
            database: Some(database),
            has_failed: false,
        };
        Ok((disk, emptied))
    }

    pub(crate) fn database(&self) -> Result<&Database> {
        self.database.as_ref().ok_or_else(|| StateError::DiskFull {
            task: self.task.clone(),
            path: self.path.clone(),
            detail: "the database is closed since a write failed".to_owned(),
        })
    }

    /// Takes note of whether a write failed.
    pub(crate) fn note(&mut self, written: &Result) {
        self.has_failed = written.is_err();
    }

    /// Whether the database has to be opened again before it is written.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Fails while there is no room to open the database again: that turns its log into tables, and
    /// a database that could not be opened could not be read either.
    pub(crate) fn look_for_room(&self) -> Result {
        // What cannot be asked is no reason to wait; the attempt will tell.
        let Ok(disk) = rustix::fs::statvfs(&self.path) else { return Ok(()) };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let files = std::fs::read_dir(&self.path).into_iter().flatten().flatten();
        let logs = files.filter(|file| file.path().extension().is_some_and(|end| end == "log"));
        let logged: u64 = logs.filter_map(|log| log.metadata().ok()).map(|log| log.len()).sum();
        let needed = logged + ROOM_TO_OPEN;
        if free >= needed {
            return Ok(());
        }
        Err(StateError::DiskFull {
            task: self.task.clone(),
            path: self.path.clone(),
            detail: format!("{free} bytes free, {needed} needed to write again"),
        })
    }

    /// Opens the database again. The stores have let go of it.
    pub(crate) fn reopen(&mut self, specs: &[&StoreSpec]) -> Result {
        self.database = None;
        self.database = Some(open(&self.task, &self.path, &self.engine, specs)?.0);
        self.has_failed = false;
        Ok(())
    }
}

fn open(
    task: &str,
    path: &Path,
    engine: &Engine,
    specs: &[&StoreSpec],
) -> Result<(Database, Vec<usize>)> {
    let layouts: Vec<String> = specs.iter().map(|spec| layout_text(spec)).collect();
    let wanted = specs.iter().zip(&layouts).map(|(spec, layout)| Wanted {
        name: &spec.name,
        layout,
        expires: spec.time_to_live_ms.is_some(),
    });
    Database::open(engine, task, path, &wanted.collect::<Vec<_>>())
}
