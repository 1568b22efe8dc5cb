//! What a store has committed and its backend does not have yet, for readers on other threads.
//!
//! It is a copy: the write set itself belongs to the thread that runs the task, whose next record
//! may overwrite a committed value at any time.

use std::collections::BTreeMap;

use tidemill_topology::store::bytes::{KeyRange, Order, Visit};

use crate::backend::Backend;
use crate::error::Result;
use crate::write_set::{Mask, WriteSet, merge};

/// What an entry costs beside its key and value: itself, and its place in the map.
const OVERHEAD: usize = 64;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    /// The committed value, or that there is none any more.
    entries: BTreeMap<Box<[u8]>, Option<Box<[u8]>>>,
    /// Ranges of the backend that are deleted.
    masks: Vec<Mask>,
    /// How many keys more there are than in the backend, as far as known.
    growth: i64,
    bytes: usize,
}

impl Overlay {
    /// Takes a committed change over.
    pub(crate) fn put(&mut self, key: &[u8], value: Option<&[u8]>) {
        let size = |value: Option<&[u8]>| value.map_or(0, <[u8]>::len);
        if let Some(entry) = self.entries.get_mut(key) {
            self.bytes = self.bytes + size(value) - size(entry.as_deref());
            *entry = value.map(Box::from);
            return;
        }
        self.bytes += OVERHEAD + key.len() + size(value);
        self.entries.insert(key.into(), value.map(Box::from));
    }

    /// Takes over how many keys more there are than in the backend.
    pub(crate) fn set_growth(&mut self, growth: i64) {
        self.growth = growth;
    }

    /// Becomes a copy of what a write set has committed; nothing in it is uncommitted.
    pub(crate) fn copy(&mut self, write_set: &WriteSet) {
        self.clear();
        write_set.for_each_unapplied(|key, value| self.put(key, value));
        self.masks.extend_from_slice(write_set.masks());
        self.growth = write_set.growth();
    }

    /// The backend has everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Memory that it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
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
        merge(
            &self.entries,
            |value| value.as_deref(),
            |key| self.hides(key),
            (range, order),
            visit,
            |visit| backend.scan(range, order, visit),
        )
    }

    /// About how many keys there are.
    pub(crate) fn approximate_entries(&self, backend: &impl Backend) -> u64 {
        backend.approximate_entries().saturating_add_signed(self.growth)
    }
}
