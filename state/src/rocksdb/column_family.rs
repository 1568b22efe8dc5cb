//! How a store reads its column family.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use rocksdb::{DB, DBRawIteratorWithThreadMode, ErrorKind, ReadOptions, properties};
use self_cell::self_cell;
use tidemill_topology::store::bytes::{KeyRange, Order, Visit};

use crate::backend::Backend;
use crate::error::{Result, StateError};

/// Who a database belongs to, for its errors.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) task: String,
    pub(super) path: std::path::PathBuf,
}

impl Owner {
    pub(super) fn new(task: &str, path: &Path) -> Self {
        Self { task: task.to_owned(), path: path.to_owned() }
    }

    /// What the engine said, in terms of what to do about it.
    pub(super) fn error(&self, error: &rocksdb::Error) -> StateError {
        let (task, path, detail) = (self.task.clone(), self.path.clone(), error.to_string());
        // RocksDB hands errors over as text; these are its words for ENOSPC.
        if detail.contains("No space left") || detail.contains("Max allowed space") {
            return StateError::DiskFull { task, path, detail };
        }
        let file_is_gone = error.kind() == ErrorKind::IOError && detail.contains("No such file");
        if error.kind() == ErrorKind::Corruption || file_is_gone {
            return StateError::Corrupt { task, path, detail };
        }
        StateError::Engine { task, path, detail }
    }
}

type RawIterator<'db> = DBRawIteratorWithThreadMode<'db, DB>;

self_cell!(
    /// An iterator together with the database that it reads.
    struct Cursor {
        owner: Arc<DB>,
        #[covariant]
        dependent: RawIterator,
    }
);

/// A column family of a task's database, read by one store.
pub(crate) struct ColumnFamily {
    /// What probes read with: to make an iterator costs as much as to move it. It keeps files and
    /// write buffers alive, so it never stays for long.
    cursor: Option<Cursor>,
    /// `None` while the database is being opened again.
    database: Option<Arc<DB>>,
    owner: Arc<Owner>,
    name: Box<str>,
    read: ReadOptions,
}

impl ColumnFamily {
    pub(super) fn new(database: Arc<DB>, owner: Arc<Owner>, name: &str) -> Self {
        let (database, name, read) = (Some(database), name.into(), ReadOptions::default());
        Self { cursor: None, database, owner, name, read }
    }

    /// Lets go of the database, so that it can be closed; nothing can be read from here on.
    pub(crate) fn let_go(&mut self) {
        self.cursor = None;
        self.database = None;
    }

    fn open_cursor(&self) -> Result<Cursor> {
        let database = self.database.as_ref().ok_or_else(|| self.closed())?;
        Cursor::try_new(Arc::clone(database), |database| {
            let handle = handle(database, &self.owner, &self.name)?;
            Ok(database.raw_iterator_cf_opt(handle, ReadOptions::default()))
        })
    }

    fn closed(&self) -> StateError {
        StateError::DiskFull {
            task: self.owner.task.clone(),
            path: self.owner.path.clone(),
            detail: "the database is closed since a write failed".to_owned(),
        }
    }

    fn handle(&self) -> Result<(&DB, &rocksdb::ColumnFamily)> {
        let database = self.database.as_deref().ok_or_else(|| self.closed())?;
        Ok((database, handle(database, &self.owner, &self.name)?))
    }
}

/// The handle of a column family.
pub(super) fn handle<'db>(
    database: &'db DB,
    owner: &Owner,
    name: &str,
) -> Result<&'db rocksdb::ColumnFamily> {
    database.cf_handle(name).ok_or_else(|| StateError::Corrupt {
        task: owner.task.clone(),
        path: owner.path.clone(),
        detail: format!("column family {name} is missing"),
    })
}

impl Backend for ColumnFamily {
    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let (database, handle) = self.handle()?;
        let found = database
            .get_pinned_cf_opt(handle, key, &self.read)
            .map_err(|error| self.owner.error(&error))?;
        if let Some(found) = &found {
            value.extend_from_slice(found);
        }
        Ok(found.is_some())
    }

    fn scan(&self, range: KeyRange<'_>, order: Order, visit: &mut Visit<'_>) -> Result {
        if range.to.is_some_and(|to| to <= range.from) {
            return Ok(());
        }
        let mut options = ReadOptions::default();
        if !range.from.is_empty() {
            options.set_iterate_lower_bound(range.from);
        }
        if let Some(to) = range.to {
            options.set_iterate_upper_bound(to);
        }
        let (database, handle) = self.handle()?;
        let mut iterator = database.raw_iterator_cf_opt(handle, options);
        match order {
            Order::Forward => iterator.seek_to_first(),
            Order::Backward => iterator.seek_to_last(),
        }
        while let Some((key, value)) = iterator.item() {
            if visit(key, value) == ControlFlow::Break(()) {
                return Ok(());
            }
            match order {
                Order::Forward => iterator.next(),
                Order::Backward => iterator.prev(),
            }
        }
        iterator.status().map_err(|error| self.owner.error(&error))
    }

    fn probe(&mut self, range: KeyRange<'_>, visit: &mut Visit<'_>) -> Result {
        let mut cursor = match self.cursor.take() {
            Some(cursor) => cursor,
            None => self.open_cursor()?,
        };
        let status = cursor.with_dependent_mut(|_, iterator| {
            iterator.seek(range.from);
            while let Some((key, value)) = iterator.item() {
                if range.to.is_some_and(|to| key >= to)
                    || visit(key, value) == ControlFlow::Break(())
                {
                    return Ok(());
                }
                iterator.next();
            }
            iterator.status()
        });
        // One that failed stays so until it is moved, and is not kept.
        status.map_err(|error| self.owner.error(&error))?;
        self.cursor = Some(cursor);
        Ok(())
    }

    fn rest(&mut self) {
        self.cursor = None;
    }

    fn approximate_entries(&self) -> u64 {
        let Ok((database, handle)) = self.handle() else { return 0 };
        // An estimate that cannot be had is no error.
        let estimate = database.property_int_value_cf(handle, properties::ESTIMATE_NUM_KEYS);
        estimate.ok().flatten().unwrap_or(0)
    }
}
