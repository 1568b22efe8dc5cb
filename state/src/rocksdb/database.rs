//! The database of one task: its stores' column families and, in the default one, their positions.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::{
    ColumnFamilyDescriptor, DB, FlushOptions, IngestExternalFileOptions, ReadOptions,
    SstFileWriter, WriteBatch, WriteOptions, properties,
};

use super::column_family::{ColumnFamily, Owner, handle};
use super::engine::Engine;
use super::names;
use crate::backend::Batch;
use crate::error::{Result, StateError};
use crate::position::{INPUT, InputOffset, Position, layout_key, position_key};
use crate::sort_buffer::SortBuffer;
use crate::statistics::{EngineProperties, EngineProperty};

/// The column family of positions; RocksDB always has one of this name.
const POSITIONS: &str = "default";
/// What the name of a store's column family starts with.
const STORE_PREFIX: &str = "store.";
/// What the name of the column family starts with that has the order in which a store's entries
/// expire.
const EXPIRY_PREFIX: &str = "expiry.";
/// What the name of a file on its way into the database starts with.
const INGESTED_PREFIX: &str = "restored-";

/// A store as the database has to have it.
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a str,
    /// Its layout as text; entries of another layout are removed.
    pub(crate) layout: &'a str,
    /// Whether it has an order of expiry.
    pub(crate) expires: bool,
}

/// See the [module](self).
pub(crate) struct Database {
    database: Arc<DB>,
    owner: Arc<Owner>,
    engine: Engine,
    /// Names of all column families.
    families: Vec<String>,
}

/// What is written in one step.
pub(crate) struct DatabaseBatch<'db> {
    database: &'db Database,
    batch: WriteBatch,
}

/// What one store has in the database, in bytes but for the first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DatabaseStatistics {
    pub(crate) entries: u64,
    pub(crate) file_bytes: u64,
    pub(crate) write_buffer_bytes: u64,
}

fn family(store: &str) -> String {
    format!("{STORE_PREFIX}{store}")
}

fn expiry_family(store: &str) -> String {
    format!("{EXPIRY_PREFIX}{store}")
}

impl Database {
    /// Opens or creates the database of a task, with exactly the stores wanted: others are
    /// dropped. Also tells which stores were emptied because their layout is another one.
    pub(crate) fn open(
        engine: &Engine,
        task: &str,
        path: &Path,
        wanted: &[Wanted<'_>],
    ) -> Result<(Self, Vec<usize>)> {
        let owner = Arc::new(Owner::new(task, path));
        let fail = |error: rocksdb::Error| owner.error(&error);
        fs::create_dir_all(path).map_err(StateError::io("create", path))?;
        remove_leftovers(path)?;
        let options = engine.database_options();
        let is_new = !path.join("CURRENT").exists();
        let existing =
            if is_new { Vec::new() } else { DB::list_cf(&options, path).map_err(fail)? };
        let mut families: BTreeSet<String> =
            wanted.iter().map(|store| family(store.name)).collect();
        let expiring = wanted.iter().filter(|store| store.expires);
        families.extend(expiring.map(|store| expiry_family(store.name)));
        families.insert(POSITIONS.to_owned());
        let all: BTreeSet<String> = families.iter().cloned().chain(existing).collect();
        let descriptors =
            all.iter().map(|name| ColumnFamilyDescriptor::new(name, engine.store_options()));
        let mut database = DB::open_cf_descriptors(&options, path, descriptors).map_err(fail)?;
        for name in all.difference(&families) {
            let mut batch = WriteBatch::default();
            if let Some(store) = name.strip_prefix(STORE_PREFIX) {
                batch.delete(position_key(store));
                batch.delete(layout_key(store));
            }
            // Synced, like the drop: a store of that name may come back, and starts empty then.
            let mut synced = WriteOptions::default();
            synced.set_sync(true);
            database.write_opt(batch, &synced).map_err(fail)?;
            database.drop_cf(name).map_err(fail)?;
        }
        let database = Arc::new(database);
        let families = families.into_iter().collect();
        let opened = Self { database, owner, engine: engine.clone(), families };
        let emptied = opened.check_layouts(wanted)?;
        Ok((opened, emptied))
    }

    /// Empties the stores whose entries have another layout, and notes the layout of all.
    fn check_layouts(&self, wanted: &[Wanted<'_>]) -> Result<Vec<usize>> {
        let mut emptied = Vec::new();
        for (at, store) in wanted.iter().enumerate() {
            let key = layout_key(store.name);
            let found = self.database.get_pinned(&key).map_err(|error| self.owner.error(&error))?;
            if found.as_deref() == Some(store.layout.as_bytes()) {
                continue;
            }
            if found.is_some() {
                self.wipe(store.name)?;
                emptied.push(at);
            }
            self.database.put(&key, store.layout).map_err(|error| self.owner.error(&error))?;
        }
        Ok(emptied)
    }

    /// A store's column family, to read.
    pub(crate) fn column_family(&self, store: &str) -> ColumnFamily {
        ColumnFamily::new(Arc::clone(&self.database), Arc::clone(&self.owner), &family(store))
    }

    /// The column family of the order in which a store's entries expire.
    pub(crate) fn expiry(&self, store: &str) -> ColumnFamily {
        let family = expiry_family(store);
        ColumnFamily::new(Arc::clone(&self.database), Arc::clone(&self.owner), &family)
    }

    /// The position of a store's entries.
    pub(crate) fn position(&self, store: &str) -> Result<Option<Position>> {
        let bytes = self
            .database
            .get_pinned(position_key(store))
            .map_err(|error| self.owner.error(&error))?;
        let Some(bytes) = bytes else { return Ok(None) };
        match Position::from_bytes(&bytes) {
            Some(position) => Ok(Some(position)),
            None => Err(StateError::Corrupt {
                task: self.owner.task.clone(),
                path: self.owner.path.clone(),
                detail: format!("the position of store {store} cannot be read"),
            }),
        }
    }

    /// The inputs' offsets of the last commit that was applied.
    pub(crate) fn inputs(&self) -> Result<BTreeMap<(String, i32), i64>> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound([INPUT]);
        options.set_iterate_upper_bound([INPUT + 1]);
        let mut iterator = self.database.raw_iterator_opt(options);
        iterator.seek_to_first();
        let mut inputs = BTreeMap::new();
        while let Some((key, value)) = iterator.item() {
            if let Some(input) = InputOffset::from_bytes(key, value) {
                inputs.insert((input.topic, input.partition), input.offset);
            }
            iterator.next();
        }
        iterator.status().map_err(|error| self.owner.error(&error))?;
        Ok(inputs)
    }

    /// A batch to be filled and written.
    pub(crate) fn batch(&self) -> DatabaseBatch<'_> {
        DatabaseBatch { database: self, batch: WriteBatch::default() }
    }

    /// Moves restored entries into a store, as a sorted file of their own: that passes by log and
    /// write buffer, at half their price. `seen` is told of each.
    pub(crate) fn ingest(
        &self,
        store: &str,
        entries: &mut SortBuffer,
        mut seen: impl FnMut(&[u8], Option<&[u8]>),
    ) -> Result {
        let fail = |error: rocksdb::Error| self.owner.error(&error);
        let file = self.free_file_name();
        let options = self.engine.store_options();
        let mut writer = SstFileWriter::create(&options);
        writer.open(&file).map_err(fail)?;
        entries
            .drain_newest(|key, value| {
                seen(key, value);
                match value {
                    Some(value) => writer.put(key, value),
                    None => writer.delete(key),
                }
            })
            .and_then(|()| writer.finish())
            .map_err(fail)?;
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        let family = handle(&self.database, &self.owner, &family(store))?;
        self.database.ingest_external_file_cf_opts(family, &options, vec![file]).map_err(fail)
    }

    fn free_file_name(&self) -> PathBuf {
        let name = |number: u32| self.owner.path.join(format!("{INGESTED_PREFIX}{number}.sst"));
        (0..).map(name).find(|file| !file.exists()).unwrap_or_else(|| name(u32::MAX))
    }

    /// Removes all entries of a store and its position in one step, then gives the disk back.
    pub(crate) fn wipe(&self, store: &str) -> Result {
        let fail = |error: rocksdb::Error| self.owner.error(&error);
        let names = [family(store), expiry_family(store)];
        let mut filled = Vec::new();
        let mut batch = self.batch();
        batch.batch.delete(position_key(store));
        for name in names.iter().filter(|name| self.families.contains(name)) {
            let family = handle(&self.database, &self.owner, name)?;
            let mut last = self.database.raw_iterator_cf(family);
            last.seek_to_last();
            if let Some(key) = last.key() {
                let end = [key, &[0]].concat();
                batch.batch.delete_range_cf(family, &[][..], &end[..]);
                filled.push((family, end));
            }
            last.status().map_err(fail)?;
        }
        batch.write()?;
        if !filled.is_empty() {
            // Dropping files is not undone by losing the log, so the step above must not be either.
            self.flush()?;
        }
        for (family, end) in &filled {
            self.database.delete_file_in_range_cf(*family, &[][..], &end[..]).map_err(fail)?;
        }
        Ok(())
    }

    /// Brings everything to the disk.
    pub(crate) fn flush(&self) -> Result {
        self.flush_write_buffers(true)
    }

    fn flush_write_buffers(&self, wait: bool) -> Result {
        let families = self.families.iter().map(|name| handle(&self.database, &self.owner, name));
        let mut options = FlushOptions::default();
        options.set_wait(wait);
        self.database
            .flush_cfs_opt(&families.collect::<Result<Vec<_>>>()?, &options)
            .map_err(|error| self.owner.error(&error))
    }

    pub(crate) fn statistics(&self, store: &str) -> DatabaseStatistics {
        let number = |family: &str, property| {
            let family = self.database.cf_handle(family)?;
            self.database.property_int_value_cf(family, property).ok().flatten()
        };
        let (entries, expiry) = (family(store), expiry_family(store));
        let sum = |property| {
            [&entries, &expiry].into_iter().filter_map(|family| number(family, property)).sum()
        };
        DatabaseStatistics {
            entries: number(&entries, properties::ESTIMATE_NUM_KEYS).unwrap_or(0),
            file_bytes: sum(properties::TOTAL_SST_FILES_SIZE),
            write_buffer_bytes: sum(properties::SIZE_ALL_MEM_TABLES),
        }
    }

    /// What RocksDB tells of a store; 0 for what it does not know.
    pub(crate) fn properties(&self, store: &str) -> EngineProperties {
        let Some(family) = self.database.cf_handle(&family(store)) else {
            return EngineProperties::default();
        };
        EngineProperty::ALL.map(|property| {
            let value = self.database.property_int_value_cf(family, names::property(property));
            value.ok().flatten().unwrap_or(0)
        })
    }
}

/// Removes files that a crash left between being written and being moved into the database.
fn remove_leftovers(path: &Path) -> Result {
    for entry in fs::read_dir(path).map_err(StateError::io("read", path))? {
        let entry = entry.map_err(StateError::io("read", path))?;
        if entry.file_name().to_string_lossy().starts_with(INGESTED_PREFIX) {
            fs::remove_file(entry.path()).map_err(StateError::io("remove", &entry.path()))?;
        }
    }
    Ok(())
}

impl DatabaseBatch<'_> {
    /// The batch as one store's entries see it.
    pub(crate) fn store(&mut self, store: &str) -> Result<StoreBatch<'_>> {
        let Database { database, owner, .. } = self.database;
        Ok(StoreBatch { family: handle(database, owner, &family(store))?, batch: &mut self.batch })
    }

    /// The batch as the order in which a store's entries expire sees it.
    pub(crate) fn expiry(&mut self, store: &str) -> Result<StoreBatch<'_>> {
        let Database { database, owner, .. } = self.database;
        let family = handle(database, owner, &expiry_family(store))?;
        Ok(StoreBatch { family, batch: &mut self.batch })
    }

    pub(crate) fn position(&mut self, store: &str, position: &Position) {
        self.batch.put(position_key(store), position.to_bytes());
    }

    pub(crate) fn input(&mut self, input: &InputOffset) {
        self.batch.put(input.key(), input.value());
    }

    /// Writes all of it, or nothing.
    pub(crate) fn write(self) -> Result {
        let Database { database, owner, engine, .. } = self.database;
        // To the log, which the system writes back when it likes: a killed process loses nothing,
        // a machine that loses power replays a little more of the changelog.
        database.write(self.batch).map_err(|error| owner.error(&error))?;
        // RocksDB looks at the bound when a database is written the next time, which for one of
        // many tasks may be never.
        if engine.write_buffers_are_full() {
            self.database.flush_write_buffers(false)?;
        }
        Ok(())
    }
}

/// One store's part of a batch.
pub(crate) struct StoreBatch<'a> {
    family: &'a rocksdb::ColumnFamily,
    batch: &'a mut WriteBatch,
}

impl Batch for StoreBatch<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.batch.put_cf(self.family, key, value);
    }

    fn delete(&mut self, key: &[u8]) {
        self.batch.delete_cf(self.family, key);
    }

    fn delete_range(&mut self, from: &[u8], to: &[u8]) {
        self.batch.delete_range_cf(self.family, from, to);
    }
}
