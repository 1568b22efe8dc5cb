//! A backend in memory: it survives a rollback, but not the process, which then restores it from
//! its changelog.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tidemill_topology::store::bytes::{KeyRange, Order, Visit};

use crate::backend::{Backend, Batch};
use crate::error::Result;

/// An ordered map of bytes on the heap.
#[derive(Debug, Default)]
pub struct MemoryBackend {
    entries: BTreeMap<Box<[u8]>, Box<[u8]>>,
    bytes: usize,
}

impl MemoryBackend {
    /// Bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// A backend in memory that readers on other threads share. Only its owner writes, in batches.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedMemory(Arc<RwLock<MemoryBackend>>);

impl SharedMemory {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, MemoryBackend> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, MemoryBackend> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for SharedMemory {
    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        self.read().get(key, value)
    }

    fn scan(&self, range: KeyRange<'_>, order: Order, visit: &mut Visit<'_>) -> Result {
        self.read().scan(range, order, visit)
    }

    fn approximate_entries(&self) -> u64 {
        self.read().approximate_entries()
    }
}

/// Where a range of keys begins and ends.
pub(crate) type Bounds<K> = (Bound<K>, Bound<K>);

/// The bounds of a range as the standard library's maps take them; `None` for an empty range,
/// on which they would panic.
pub(crate) fn bounds(range: KeyRange<'_>) -> Option<Bounds<&[u8]>> {
    match range.to {
        Some(to) if to <= range.from => None,
        Some(to) => Some((Bound::Included(range.from), Bound::Excluded(to))),
        None => Some((Bound::Included(range.from), Bound::Unbounded)),
    }
}

impl Backend for MemoryBackend {
    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let found = self.entries.get(key);
        if let Some(found) = found {
            value.extend_from_slice(found);
        }
        Ok(found.is_some())
    }

    fn scan(&self, range: KeyRange<'_>, order: Order, visit: &mut Visit<'_>) -> Result {
        let Some(bounds) = bounds(range) else { return Ok(()) };
        let mut entries = self.entries.range::<[u8], _>(bounds);
        let next = || match order {
            Order::Forward => entries.next(),
            Order::Backward => entries.next_back(),
        };
        for (key, value) in std::iter::from_fn(next) {
            if visit(key, value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn approximate_entries(&self) -> u64 {
        self.entries.len() as u64
    }
}

impl Batch for MemoryBackend {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.bytes += key.len() + value.len();
        if let Some(old) = self.entries.insert(key.into(), value.into()) {
            self.bytes -= key.len() + old.len();
        }
    }

    fn delete(&mut self, key: &[u8]) {
        if let Some(old) = self.entries.remove(key) {
            self.bytes -= key.len() + old.len();
        }
    }

    fn delete_range(&mut self, from: &[u8], to: &[u8]) {
        let Some(bounds) = bounds(KeyRange { from, to: Some(to) }) else { return };
        for (key, value) in self.entries.extract_if(bounds_owned(bounds), |_, _| true) {
            self.bytes -= key.len() + value.len();
        }
    }
}

fn bounds_owned((from, to): Bounds<&[u8]>) -> Bounds<Box<[u8]>> {
    (from.map(Box::from), to.map(Box::from))
}
