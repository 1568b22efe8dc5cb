//! A store of a task: its write set over its backend.

use tidemill_topology::error::Result as TopologyResult;
use tidemill_topology::store::bytes::{BytesStore, KeyRange, Order, Visit};
use tidemill_topology::store::{Pending, StoreSpec};
use tidemill_topology::time::Timestamp;

use crate::backend::Backend;
use crate::error::Result;
use crate::memory_budget::CacheShare;
use crate::write_set::{Found, Lookup, WriteSet};

/// Reads ask the write set, which is also the cache, then the backend; writes stay in the write
/// set until the task's stores apply them together.
pub(crate) struct LayeredStore<B> {
    spec: StoreSpec,
    pub(crate) write_set: WriteSet,
    pub(crate) backend: B,
    cache_share: CacheShare,
    /// A value on its way from the backend into the cache.
    scratch: Vec<u8>,
    pub(crate) reads: Reads,
}

/// How a store was read since it was opened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reads {
    pub(crate) cached: u64,
    pub(crate) backend: u64,
    pub(crate) scans: u64,
}

impl<B: Backend> LayeredStore<B> {
    pub(crate) fn new(spec: StoreSpec, backend: B, cache_share: CacheShare) -> Self {
        let write_set = WriteSet::new(spec.caching);
        Self { spec, write_set, backend, cache_share, scratch: Vec::new(), reads: Reads::default() }
    }

    pub(crate) fn spec(&self) -> &StoreSpec {
        &self.spec
    }

    pub(crate) fn cache_budget(&self) -> usize {
        self.cache_share.bytes()
    }

    /// The entry of a key, read from the backend if need be.
    fn load(&mut self, key: &[u8]) -> Result<Found> {
        let value = match self.write_set.look_up(key) {
            Lookup::Found(found) => {
                self.reads.cached += 1;
                return Ok(found);
            }
            Lookup::Hidden => {
                self.reads.cached += 1;
                None
            }
            Lookup::Unknown => {
                self.reads.backend += 1;
                self.backend.get(key, &mut self.scratch)?.then_some(&*self.scratch)
            }
        };
        Ok(self.write_set.cache(key, value, self.cache_share.bytes()))
    }

    /// Writes without asking the backend, unless the old value is to be handed out.
    fn write(&mut self, key: &[u8], value: &[u8], written: Timestamp, fresh: bool) -> Result {
        if self.spec.caching && !fresh && self.write_set.look_up(key) == Lookup::Unknown {
            self.load(key)?;
        }
        self.write_set.put(key, value, written, fresh);
        Ok(())
    }

    fn scan_merged(&mut self, range: KeyRange<'_>, order: Order, visit: &mut Visit<'_>) -> Result {
        self.reads.scans += 1;
        let backend = &self.backend;
        self.write_set.scan(range, order, visit, |visit| backend.scan(range, order, visit))
    }
}

impl<B: Backend> BytesStore for LayeredStore<B> {
    fn get(&mut self, key: &[u8]) -> TopologyResult<Option<&[u8]>> {
        match self.load(key) {
            Ok(found) => Ok(self.write_set.read(found)),
            Err(error) => Err(error.into_topology(&self.spec.name)),
        }
    }

    fn put(&mut self, key: &[u8], value: &[u8], timestamp: Timestamp) -> TopologyResult {
        self.write(key, value, timestamp, false)
            .map_err(|error| error.into_topology(&self.spec.name))
    }

    fn insert(&mut self, key: &[u8], value: &[u8], timestamp: Timestamp) -> TopologyResult {
        self.write(key, value, timestamp, true)
            .map_err(|error| error.into_topology(&self.spec.name))
    }

    fn delete(&mut self, key: &[u8], timestamp: Timestamp) -> TopologyResult {
        let found = self.load(key).map_err(|error| error.into_topology(&self.spec.name))?;
        if self.write_set.value(found).is_some() {
            self.write_set.overwrite(found, None, timestamp);
        }
        Ok(())
    }

    fn remove(&mut self, key: &[u8], timestamp: Timestamp) -> TopologyResult {
        let found = match self.write_set.look_up(key) {
            Lookup::Found(found) => found,
            Lookup::Hidden => return Ok(()),
            // The old value would be handed out: it must be known.
            Lookup::Unknown if self.spec.caching => return self.delete(key, timestamp),
            // Nobody will see the value that the backend has, so none is fetched.
            Lookup::Unknown => self.write_set.cache(key, Some(&[]), self.cache_share.bytes()),
        };
        self.write_set.overwrite(found, None, timestamp);
        Ok(())
    }

    fn scan(&mut self, range: KeyRange<'_>, order: Order, visit: &mut Visit<'_>) -> TopologyResult {
        self.scan_merged(range, order, visit).map_err(|error| error.into_topology(&self.spec.name))
    }

    fn probe(&mut self, range: KeyRange<'_>, visit: &mut Visit<'_>) -> TopologyResult {
        self.reads.scans += 1;
        let backend = &mut self.backend;
        self.write_set
            .scan(range, Order::Forward, visit, |visit| backend.probe(range, visit))
            .map_err(|error| error.into_topology(&self.spec.name))
    }

    fn delete_range(&mut self, from: &[u8], to: &[u8]) -> TopologyResult {
        self.write_set.delete_range(from, to);
        Ok(())
    }

    fn drain_pending(&mut self, into: &mut Vec<Pending>) {
        self.write_set.drain_pending(into);
    }

    fn pending_bytes(&self) -> usize {
        self.write_set.pending_bytes()
    }

    fn approximate_entries(&self) -> u64 {
        self.backend.approximate_entries().saturating_add_signed(self.write_set.growth())
    }
}
