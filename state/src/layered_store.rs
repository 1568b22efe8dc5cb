//! A store of a task: its write set over its backend.

use tidemill_topology::error::Result as TopologyResult;
use tidemill_topology::store::bytes::{BytesStore, Expired, KeyRange, Order, Visit};
use tidemill_topology::store::{Pending, StoreSpec};
use tidemill_topology::time::Timestamp;

use crate::backend::Backend;
use crate::error::{Result, StateError};
use crate::expiry::{ExpiryIndex, timestamp_of};
use crate::memory_budget::CacheShare;
use crate::write_set::{Found, Lookup, WriteSet};

/// Reads ask the write set, which is also the cache, then the backend; writes stay in the write
/// set until the task's stores apply them together.
pub(crate) struct LayeredStore<B> {
    spec: StoreSpec,
    pub(crate) write_set: WriteSet,
    pub(crate) backend: B,
    /// For stores with a time to live.
    pub(crate) expiry: Option<Box<ExpiryIndex<B>>>,
    cache_share: CacheShare,
    /// A value on its way from the backend into the cache.
    scratch: Vec<u8>,
    pub(crate) reads: Reads,
    /// Highest timestamp of what the backend has got since the store was opened.
    newest_applied: Option<Timestamp>,
}

/// How a store was read since it was opened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reads {
    pub(crate) cached: u64,
    pub(crate) backend: u64,
    pub(crate) scans: u64,
}

impl<B: Backend> LayeredStore<B> {
    /// `marks` is where a store with a time to live keeps the order in which its entries expire.
    pub(crate) fn new(
        spec: StoreSpec,
        backend: B,
        marks: impl FnOnce() -> B,
        cache_share: CacheShare,
    ) -> Self {
        let write_set = WriteSet::new(spec.caching);
        let expiry =
            spec.time_to_live_ms.map(|live_ms| Box::new(ExpiryIndex::new(live_ms, marks())));
        let (scratch, reads) = (Vec::new(), Reads::default());
        let newest_applied = None;
        Self { spec, write_set, backend, expiry, cache_share, scratch, reads, newest_applied }
    }

    pub(crate) fn spec(&self) -> &StoreSpec {
        &self.spec
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

    /// Drops what the backend does not have, and the cache.
    pub(crate) fn clear(&mut self) {
        self.write_set.clear();
        if let Some(expiry) = &mut self.expiry {
            expiry.reset();
        }
    }

    /// Takes note that the backend has everything.
    pub(crate) fn applied(&mut self) {
        let newest = self.write_set.applied(self.cache_share.bytes());
        self.newest_applied = self.newest_applied.max(newest);
        if let Some(expiry) = &mut self.expiry {
            expiry.reset();
        }
    }

    /// Bytes of what the backend does not have.
    pub(crate) fn dirty_bytes(&self) -> usize {
        let marks = self.expiry.as_ref().map_or(0, |expiry| expiry.changed_bytes());
        self.write_set.dirty_bytes() + marks
    }

    /// Writes an entry of a store with a time to live, and moves its mark.
    fn overwrite_marked(&mut self, key: &[u8], value: Option<&[u8]>, written: Timestamp) -> Result {
        let found = self.load(key)?;
        let old = self.write_set.value(found).map(timestamp_of);
        if old.is_some() || value.is_some() {
            self.write_set.overwrite(found, value, written);
        }
        if let Some(expiry) = &mut self.expiry {
            expiry.moved(key, old, value.map(timestamp_of));
        }
        Ok(())
    }

    /// Writes without asking the backend, unless the old value is to be handed out, or its time is.
    fn write(&mut self, key: &[u8], value: &[u8], written: Timestamp, fresh: bool) -> Result {
        if self.expiry.is_some() {
            return self.overwrite_marked(key, Some(value), written);
        }
        if self.spec.caching && !fresh && self.write_set.look_up(key) == Lookup::Unknown {
            self.load(key)?;
        }
        self.write_set.put(key, value, written, fresh);
        Ok(())
    }

    fn take_first_expired(
        &mut self,
        now: Timestamp,
        looks: &mut usize,
        into: &mut Expired,
    ) -> Result<bool> {
        while *looks > 0 {
            let Some(expiry) = &mut self.expiry else { return Ok(false) };
            let Some((timestamp, key)) = expiry.due(now)? else { return Ok(false) };
            *looks -= 1;
            let at = expiry.end_of(timestamp);
            let found = self.load(&key)?;
            let value = self.write_set.value(found);
            // A restore leaves marks of older values behind.
            if let Some(value) = value.filter(|value| timestamp_of(value) == timestamp) {
                into.value.clear();
                into.value.extend_from_slice(value);
                self.overwrite_marked(&key, None, at)?;
                (into.key, into.at) = (key, at);
                if let Some(expiry) = &mut self.expiry {
                    expiry.expired += 1;
                }
                return Ok(true);
            }
            if let Some(expiry) = &mut self.expiry {
                expiry.done(&key, timestamp);
            }
        }
        Ok(false)
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
        if self.expiry.is_some() {
            return self
                .overwrite_marked(key, None, timestamp)
                .map_err(|error| error.into_topology(&self.spec.name));
        }
        let found = self.load(key).map_err(|error| error.into_topology(&self.spec.name))?;
        if self.write_set.value(found).is_some() {
            self.write_set.overwrite(found, None, timestamp);
        }
        Ok(())
    }

    fn remove(&mut self, key: &[u8], timestamp: Timestamp) -> TopologyResult {
        let found = match self.write_set.look_up(key) {
            // The mark is found by the old value.
            _ if self.expiry.is_some() => return self.delete(key, timestamp),
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

    fn probe_unapplied(&mut self, range: KeyRange<'_>, visit: &mut Visit<'_>) -> TopologyResult {
        self.reads.scans += 1;
        self.write_set
            .scan(range, Order::Forward, visit, |_| Ok(()))
            .map_err(|error: StateError| error.into_topology(&self.spec.name))
    }

    fn newest_applied(&self) -> Option<Timestamp> {
        self.newest_applied
    }

    fn delete_range(&mut self, from: &[u8], to: &[u8]) -> TopologyResult {
        self.write_set.delete_range(from, to);
        Ok(())
    }

    fn take_expired(
        &mut self,
        now: Timestamp,
        looks: &mut usize,
        into: &mut Expired,
    ) -> TopologyResult<bool> {
        self.take_first_expired(now, looks, into)
            .map_err(|error| error.into_topology(&self.spec.name))
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
