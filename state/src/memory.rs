//! A backend in memory: it survives a rollback, but not the process, which then restores it from
//! its changelog.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tidemill_topology::store::bytes::{KeyRange, Order, Visit};
use tidemill_topology::store::{EngineFactory, StoreEngine, StoreSpec};

use crate::backend::{Backend, Batch};
use crate::error::Result;

/// An ordered map of bytes on the heap.
#[derive(Debug, Default)]
pub struct MemoryBackend {
    entries: BTreeMap<Box<[u8]>, Box<[u8]>>,
    bytes: usize,
}

/// A backend of this process that readers on other threads share: one in memory, or the engine of a
/// user. Only its owner writes, in batches.
#[derive(Clone)]
pub(crate) struct SharedMemory {
    engine: Arc<RwLock<Box<dyn StoreEngine>>>,
    make: EngineFactory,
}

type ReadEngine<'e> = RwLockReadGuard<'e, Box<dyn StoreEngine>>;

/// An engine that entries are applied to.
pub(crate) struct WriteEngine<'e>(RwLockWriteGuard<'e, Box<dyn StoreEngine>>);

impl SharedMemory {
    /// An empty one, of the engine that the store wants.
    pub(crate) fn new(spec: &StoreSpec) -> Self {
        spec.engine.clone().map_or_else(Self::of_a_map, Self::of_engine)
    }

    /// An empty one that keeps its entries in a map.
    pub(crate) fn of_a_map() -> Self {
        Self::of_engine(EngineFactory::new(MemoryBackend::default))
    }

    fn of_engine(make: EngineFactory) -> Self {
        Self { engine: Arc::new(RwLock::new(make.make())), make }
    }

    pub(crate) fn read(&self) -> ReadEngine<'_> {
        self.engine.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> WriteEngine<'_> {
        WriteEngine(self.engine.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Removes everything.
    pub(crate) fn clear(&self) {
        *self.write().0 = self.make.make();
    }
}

impl Backend for SharedMemory {
    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        Ok(self.read().get(key, value))
    }

    fn scan(&self, range: KeyRange<'_>, order: Order, visit: &mut Visit<'_>) -> Result {
        if range.to.is_none_or(|to| range.from < to) {
            self.read().scan(range, order, visit);
        }
        Ok(())
    }

    fn approximate_entries(&self) -> u64 {
        self.read().entries()
    }
}

impl Batch for WriteEngine<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.0.put(key, value);
    }

    fn delete(&mut self, key: &[u8]) {
        self.0.delete(key);
    }

    fn delete_range(&mut self, from: &[u8], to: &[u8]) {
        if from < to {
            self.0.delete_range(from, to);
        }
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

impl StoreEngine for MemoryBackend {
    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> bool {
        let found = self.entries.get(key);
        if let Some(found) = found {
            value.extend_from_slice(found);
        }
        found.is_some()
    }

    fn scan(&self, range: KeyRange<'_>, order: Order, visit: &mut Visit<'_>) {
        let Some(bounds) = bounds(range) else { return };
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
    }

    fn entries(&self) -> u64 {
        self.entries.len() as u64
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

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
