//! What a store has committed and its backend does not have yet, for readers on other threads.
//!
//! It is a copy: the write set itself belongs to the thread that runs the task, whose next record
//! may overwrite a committed value at any time. That thread only lists what a commit changed, in
//! [`Changes`]; whoever reads next folds the lists into the [`Overlay`].

use std::sync::OnceLock;

use hashbrown::HashMap;
use tidemill_topology::store::bytes::{KeyRange, Order, Visit};

use crate::backend::Backend;
use crate::error::Result;
use crate::write_set::{Mask, WriteSet, merge};

/// What one commit changed in one store.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Whether this is all there is, and not what came on top of it.
    is_whole: bool,
    masks: Vec<Mask>,
    growth: i64,
    /// Key and value of each change, one behind the other: a commit copies in one stride.
    bytes: Vec<u8>,
    changes: Vec<Change>,
}

/// How long a list of changes is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChangesSize {
    bytes: usize,
    changes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Change {
    key_len: u32,
    /// [`DELETED`] for none.
    value_len: u32,
}

/// The length of a value that there is none of; real ones are shorter, as Kafka's records are.
const DELETED: u32 = u32::MAX;

impl Changes {
    /// With room for as much as others had.
    pub(crate) fn with_room(size: ChangesSize) -> Self {
        Self {
            bytes: Vec::with_capacity(size.bytes),
            changes: Vec::with_capacity(size.changes),
            ..Self::default()
        }
    }

    /// How long it is.
    pub(crate) fn size(&self) -> ChangesSize {
        ChangesSize { bytes: self.bytes.len(), changes: self.changes.len() }
    }

    /// Everything that a write set has committed; nothing in it is uncommitted.
    pub(crate) fn whole(write_set: &WriteSet) -> Self {
        let mut changes = Self::default();
        write_set.for_each_unapplied(|key, value| changes.put(key, value));
        changes.is_whole = true;
        changes.masks.extend_from_slice(write_set.masks());
        changes.growth = write_set.growth();
        changes
    }

    /// Adds a change.
    pub(crate) fn put(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.changes.push(Change {
            key_len: key.len() as u32,
            value_len: value.map_or(DELETED, |value| value.len() as u32),
        });
    }

    /// How many keys more there are than in the backend, as far as known.
    pub(crate) fn set_growth(&mut self, growth: i64) {
        self.growth = growth;
    }

    /// Memory that it takes, in bytes.
    pub(crate) fn size_bytes(&self) -> usize {
        self.bytes.capacity() + self.changes.capacity() * size_of::<Change>()
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    /// The committed value, or that there is none any more.
    entries: HashMap<Box<[u8]>, Option<Box<[u8]>>>,
    /// The keys in order: made by the first scan after a change.
    sorted: OnceLock<Vec<Box<[u8]>>>,
    /// Ranges of the backend that are deleted.
    masks: Vec<Mask>,
    growth: i64,
}

impl Overlay {
    /// Takes the changes of a commit over.
    pub(crate) fn fold(&mut self, changes: &Changes) {
        if changes.is_whole {
            self.clear();
            self.masks.clone_from(&changes.masks);
        }
        self.growth = changes.growth;
        self.sorted.take();
        let mut rest = &changes.bytes[..];
        for change in &changes.changes {
            let (key, behind) = rest.split_at(change.key_len as usize);
            let is_deleted = change.value_len == DELETED;
            let value_len = if is_deleted { 0 } else { change.value_len as usize };
            let (value, behind) = behind.split_at(value_len);
            rest = behind;
            self.put(key, (!is_deleted).then_some(value));
        }
    }

    fn put(&mut self, key: &[u8], value: Option<&[u8]>) {
        match (self.entries.get_mut(key), value) {
            (Some(Some(entry)), Some(value)) if entry.len() == value.len() => {
                entry.copy_from_slice(value);
            }
            (Some(entry), value) => *entry = value.map(Box::from),
            (None, value) => {
                self.entries.insert(key.into(), value.map(Box::from));
            }
        }
    }

    /// The backend has everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn hides(&self, key: &[u8]) -> bool {
        self.masks.iter().any(|mask| mask.covers(key))
    }

    /// Writes the committed value of a key into `value`, and tells whether there is one.
    pub(crate) fn get(
        &self,
        backend: &impl Backend,
        key: &[u8],
        value: &mut Vec<u8>,
    ) -> Result<bool> {
        match self.entries.get(key) {
            Some(Some(found)) => {
                value.clear();
                value.extend_from_slice(found);
                Ok(true)
            }
            Some(None) => Ok(false),
            None if self.hides(key) => Ok(false),
            None => backend.get(key, value),
        }
    }

    /// Visits a range of committed entries in order.
    pub(crate) fn scan(
        &self,
        backend: &impl Backend,
        range: KeyRange<'_>,
        order: Order,
        visit: &mut Visit<'_>,
    ) -> Result {
        let sorted = self.sorted.get_or_init(|| {
            let mut keys: Vec<Box<[u8]>> = self.entries.keys().cloned().collect();
            keys.sort_unstable();
            keys
        });
        let place = |bound: &[u8]| sorted.partition_point(|key| **key < *bound);
        let (from, to) = (place(range.from), range.to.map_or(sorted.len(), place));
        let keys = sorted.get(from..to).unwrap_or_default().iter();
        let dirty = keys.map(|key| (&**key, self.entries.get(key).and_then(Option::as_deref)));
        merge(dirty, |key| self.hides(key), order, visit, |visit| backend.scan(range, order, visit))
    }

    /// About how many keys there are.
    pub(crate) fn approximate_entries(&self, backend: &impl Backend) -> u64 {
        backend.approximate_entries().saturating_add_signed(self.growth)
    }
}
