//! A store of a task, wherever it lives.

use tidemill_topology::store::StoreSpec;
use tidemill_topology::store::bytes::BytesStore;

use crate::backend::{Backend, Batch};
use crate::error::Result;
use crate::expiry::{timestamp_of, write_mark};
use crate::layered_store::{LayeredStore, Reads};
use crate::memory::SharedMemory;
use crate::position::Position;
use crate::rocksdb::{ColumnFamily, Database};
use crate::sort_buffer::SortBuffer;
use crate::task_disk::TaskDisk;
use crate::write_set::WriteSet;

/// Bytes of restored records from which on they go in as a file of their own.
const INGEST_FROM_BYTES: usize = 1 << 20;

/// A store in memory, or in the task's database.
pub(crate) enum Store {
    Memory(LayeredStore<SharedMemory>),
    Disk(LayeredStore<ColumnFamily>),
}

impl Store {
    pub(crate) fn write_set(&self) -> &WriteSet {
        match self {
            Self::Memory(store) => &store.write_set,
            Self::Disk(store) => &store.write_set,
        }
    }

    pub(crate) fn write_set_mut(&mut self) -> &mut WriteSet {
        match self {
            Self::Memory(store) => &mut store.write_set,
            Self::Disk(store) => &mut store.write_set,
        }
    }

    pub(crate) fn spec(&self) -> &StoreSpec {
        match self {
            Self::Memory(store) => store.spec(),
            Self::Disk(store) => store.spec(),
        }
    }

    pub(crate) fn bytes_store(&mut self) -> &mut dyn BytesStore {
        match self {
            Self::Memory(store) => store,
            Self::Disk(store) => store,
        }
    }

    /// Gives up what look-ups left open in the backend.
    pub(crate) fn rest(&mut self) {
        if let Self::Disk(store) = self {
            store.backend.rest();
            if let Some(expiry) = &mut store.expiry {
                expiry.backend.rest();
            }
        }
    }

    pub(crate) fn reads(&self) -> Reads {
        match self {
            Self::Memory(store) => store.reads,
            Self::Disk(store) => store.reads,
        }
    }

    /// How many entries have outlived their time since the store was opened.
    pub(crate) fn expired(&self) -> u64 {
        match self {
            Self::Memory(store) => store.expiry.as_ref().map_or(0, |expiry| expiry.expired),
            Self::Disk(store) => store.expiry.as_ref().map_or(0, |expiry| expiry.expired),
        }
    }

    /// Bytes of what the backend does not have.
    pub(crate) fn dirty_bytes(&self) -> usize {
        match self {
            Self::Memory(store) => store.dirty_bytes(),
            Self::Disk(store) => store.dirty_bytes(),
        }
    }

    /// Drops what the backend does not have, and the cache.
    pub(crate) fn clear(&mut self) {
        match self {
            Self::Memory(store) => store.clear(),
            Self::Disk(store) => store.clear(),
        }
    }

    /// Moves what is committed into the memory that it rests in, and takes note that the backend
    /// has everything; a database has been written before.
    pub(crate) fn applied(&mut self) {
        match self {
            Self::Memory(store) => {
                store.write_set.write_unapplied(&mut store.backend.write());
                if let Some(expiry) = &store.expiry {
                    expiry.write_changes(&mut expiry.backend.write());
                }
                store.applied();
            }
            Self::Disk(store) => store.applied(),
        }
    }

    /// Moves sorted records into the backend, and the position in the same step or after it.
    pub(crate) fn put_restored(
        &mut self,
        disk: Option<&TaskDisk>,
        buffer: &mut SortBuffer,
        next: Option<&Position>,
    ) -> Result {
        let mut marks = Marks::of(self.spec());
        match (self, disk) {
            (Self::Memory(store), _) => {
                drain_into(buffer, &mut marks, &mut store.backend.write())?;
                if let Some(expiry) = &store.expiry {
                    marks.put(&mut expiry.backend.write());
                }
                Ok(())
            }
            (Self::Disk(store), Some(disk)) => {
                let (name, database): (_, &Database) = (&store.spec().name, disk.database()?);
                let mut batch = database.batch();
                if buffer.bytes() >= INGEST_FROM_BYTES {
                    database.ingest(name, buffer, |key, value| marks.note(key, value))?;
                } else {
                    drain_into(buffer, &mut marks, &mut batch.store(name)?)?;
                }
                if store.expiry.is_some() {
                    marks.put(&mut batch.expiry(name)?);
                }
                if let Some(next) = next {
                    batch.position(name, next);
                }
                batch.write()
            }
            // A store on disk came with the disk.
            (Self::Disk(_), None) => Ok(()),
        }
    }
}

/// When restored entries expire; `None` where they do not.
struct Marks(Option<Vec<Vec<u8>>>);

impl Marks {
    fn of(spec: &StoreSpec) -> Self {
        Self(spec.time_to_live_ms.map(|_| Vec::new()))
    }

    fn note(&mut self, key: &[u8], value: Option<&[u8]>) {
        if let (Self(Some(marks)), Some(value)) = (self, value) {
            let mut mark = Vec::new();
            write_mark(key, timestamp_of(value), &mut mark);
            marks.push(mark);
        }
    }

    fn put(self, batch: &mut dyn Batch) {
        let mut marks = self.0.unwrap_or_default();
        marks.sort_unstable();
        for mark in &marks {
            batch.put(mark, &[]);
        }
    }
}

fn drain_into(buffer: &mut SortBuffer, marks: &mut Marks, batch: &mut dyn Batch) -> Result {
    buffer.drain_newest(|key, value| {
        marks.note(key, value);
        match value {
            Some(value) => batch.put(key, value),
            None => batch.delete(key),
        }
        Ok(())
    })
}
