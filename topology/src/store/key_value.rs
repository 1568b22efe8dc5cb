//! Key-value stores as an operator uses them: typed views over a store's bytes.
//!
//! An entry of a store with a time to live is there until stream time has come that much past its
//! timestamp. It is then taken out of the store within the same record; until that has happened, and
//! when so many expire at once that it takes several records, the views do not show it.

use crate::error::{Cause, Error, ErrorKind, Result};
use crate::serde::SerdeRef;
use crate::store::bytes::{BytesStore, KeyRange, Order, StoreIndex, prefix_end};
use crate::store::spec::split_timestamp;
use crate::time::Timestamp;
use std::ops::{Bound, ControlFlow, RangeBounds};

/// A bound key-value store: which one, and how its keys and values become bytes. Get the view that
/// reads and writes with [`ProcessorContext::store`](crate::processor::ProcessorContext::store).
pub struct KeyValueHandle<K, V> {
    pub(crate) index: StoreIndex,
    pub(crate) name: String,
    pub(crate) key: SerdeRef<K>,
    pub(crate) value: SerdeRef<V>,
    /// Whether values start with their timestamp.
    pub(crate) has_timestamps: bool,
    pub(crate) time_to_live_ms: Option<i64>,
}

impl<K, V> Clone for KeyValueHandle<K, V> {
    fn clone(&self) -> Self {
        Self {
            index: self.index,
            name: self.name.clone(),
            key: self.key.clone(),
            value: self.value.clone(),
            has_timestamps: self.has_timestamps,
            time_to_live_ms: self.time_to_live_ms,
        }
    }
}

/// Reused buffers for keys and values on their way into bytes.
#[derive(Default)]
pub struct StoreBuffers {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// A key-value store for the length of one call into an operator.
pub struct KeyValue<'a, K, V> {
    pub(crate) handle: &'a KeyValueHandle<K, V>,
    pub(crate) store: &'a mut dyn BytesStore,
    pub(crate) buffers: &'a mut StoreBuffers,
    pub(crate) timestamp: Timestamp,
    /// Stream time.
    pub(crate) now: Timestamp,
}

impl<K, V> KeyValueHandle<K, V> {
    /// Whether an entry of that timestamp has outlived its time.
    #[inline]
    pub(crate) fn has_expired(&self, timestamp: Timestamp, now: Timestamp) -> bool {
        self.time_to_live_ms.is_some_and(|live_ms| timestamp + live_ms <= now)
    }

    /// The value's own bytes of an entry; none if it has expired.
    fn live<'b>(&self, bytes: &'b [u8], now: Timestamp) -> Option<&'b [u8]> {
        if !self.has_timestamps {
            return Some(bytes);
        }
        let (timestamp, value) = split_timestamp(bytes);
        (!self.has_expired(timestamp, now)).then_some(value)
    }
}

impl<K: 'static, V: 'static> KeyValueHandle<K, V> {
    fn unreadable(&self, part: &str, cause: &Cause) -> Error {
        Error::store(&self.name, format!("its {part} cannot be read: {cause}"))
    }

    fn unwritable(&self, part: &'static str, cause: Cause) -> Error {
        Error::new(ErrorKind::Serialization { part, target: format!("store {}", self.name), cause })
    }

    pub(crate) fn write_key(&self, key: &K, out: &mut Vec<u8>) -> Result {
        out.clear();
        if self.key.is_null(key) {
            return Err(self.unwritable("key", "a store's key is never null".into()));
        }
        self.key.serialize(key, out).map_err(|cause| self.unwritable("key", cause))
    }

    pub(crate) fn write_value(&self, value: &V, out: &mut Vec<u8>) -> Result {
        self.value.serialize(value, out).map_err(|cause| self.unwritable("value", cause))
    }

    pub(crate) fn read_key(&self, bytes: &[u8]) -> Result<K> {
        self.key.deserialize(bytes).map_err(|cause| self.unreadable("key", &cause))
    }

    pub(crate) fn read_value(&self, bytes: &[u8]) -> Result<V> {
        self.value.deserialize(bytes).map_err(|cause| self.unreadable("value", &cause))
    }
}

impl<K: 'static, V: 'static> KeyValue<'_, K, V> {
    /// The value under a key.
    ///
    /// # Errors
    /// When the store cannot be read, or its bytes are not the serde's.
    pub fn get(&mut self, key: &K) -> Result<Option<V>> {
        self.handle.write_key(key, &mut self.buffers.key)?;
        let bytes = self.store.get(&self.buffers.key)?;
        let value = bytes.and_then(|bytes| self.handle.live(bytes, self.now));
        value.map(|value| self.handle.read_value(value)).transpose()
    }

    /// Puts a value under a key; a value that its serde writes as null removes the key.
    ///
    /// # Errors
    /// When the value has no bytes or the store cannot be written.
    pub fn put(&mut self, key: &K, value: &V) -> Result {
        if self.handle.value.is_null(value) {
            return self.delete(key);
        }
        self.write(key, value)?;
        self.store.put(&self.buffers.key, &self.buffers.value, self.timestamp)
    }

    /// Puts a value under a key that is not there, as the caller knows: a key put and deleted
    /// between two commits then leaves no trace in the changelog.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn insert(&mut self, key: &K, value: &V) -> Result {
        self.write(key, value)?;
        self.store.insert(&self.buffers.key, &self.buffers.value, self.timestamp)
    }

    /// Writes key and value into the buffers.
    fn write(&mut self, key: &K, value: &V) -> Result {
        let StoreBuffers { key: key_bytes, value: value_bytes } = &mut *self.buffers;
        self.handle.write_key(key, key_bytes)?;
        value_bytes.clear();
        if self.handle.has_timestamps {
            value_bytes.extend_from_slice(&self.timestamp.millis().to_be_bytes());
        }
        self.handle.write_value(value, value_bytes)
    }

    /// Removes a key.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn delete(&mut self, key: &K) -> Result {
        self.handle.write_key(key, &mut self.buffers.key)?;
        self.store.delete(&self.buffers.key, self.timestamp)
    }

    /// Visits the entries of a range of keys, in the order of the keys' bytes.
    ///
    /// # Errors
    /// When the store cannot be read, or what `visit` returned.
    pub fn range(
        &mut self,
        keys: impl RangeBounds<K>,
        order: Order,
        mut visit: impl FnMut(K, V) -> Result<ControlFlow<()>>,
    ) -> Result {
        let (mut from, mut to) = (Vec::new(), Vec::new());
        match keys.start_bound() {
            Bound::Included(key) => self.handle.write_key(key, &mut from)?,
            Bound::Excluded(key) => {
                self.handle.write_key(key, &mut from)?;
                from.push(0);
            }
            Bound::Unbounded => {}
        }
        let to = match keys.end_bound() {
            Bound::Included(key) => {
                self.handle.write_key(key, &mut to)?;
                to.push(0);
                Some(&to[..])
            }
            Bound::Excluded(key) => {
                self.handle.write_key(key, &mut to)?;
                Some(&to[..])
            }
            Bound::Unbounded => None,
        };
        self.scan(KeyRange { from: &from, to }, order, &mut visit)
    }

    /// Visits the entries whose keys' bytes start with `prefix`.
    ///
    /// # Errors
    /// When the store cannot be read, or what `visit` returned.
    pub fn prefix(
        &mut self,
        prefix: &[u8],
        mut visit: impl FnMut(K, V) -> Result<ControlFlow<()>>,
    ) -> Result {
        let end = prefix_end(prefix);
        self.scan(KeyRange { from: prefix, to: end.as_deref() }, Order::Forward, &mut visit)
    }

    fn scan(
        &mut self,
        range: KeyRange<'_>,
        order: Order,
        visit: &mut dyn FnMut(K, V) -> Result<ControlFlow<()>>,
    ) -> Result {
        let (handle, now) = (self.handle, self.now);
        let mut failed = None;
        self.store.scan(range, order, &mut |key, value| {
            let Some(value) = handle.live(value, now) else { return ControlFlow::Continue(()) };
            handle
                .read_key(key)
                .and_then(|key| visit(key, handle.read_value(value)?))
                .unwrap_or_else(|error| {
                    failed = Some(error);
                    ControlFlow::Break(())
                })
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// About how many keys there are.
    #[must_use]
    pub fn approximate_entries(&self) -> u64 {
        self.store.approximate_entries()
    }
}

/// A value and the time of the record that it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueAndTimestamp<V> {
    /// The value.
    pub value: V,
    /// When it became so, in event time.
    pub timestamp: Timestamp,
}

/// A bound timestamped key-value store: what tables and aggregates keep.
pub struct TimestampedHandle<K, V>(pub(crate) KeyValueHandle<K, V>);

impl<K, V> Clone for TimestampedHandle<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// A table's store, bound to be read by a processor; see
/// [`ProcessorContext::table`](crate::processor::ProcessorContext::table).
pub struct TableHandle<K, V>(pub(crate) TimestampedHandle<K, V>);

/// A timestamped key-value store for the length of one call into an operator. Its keys are given in
/// bytes, so that an operator that looks up and then writes serializes its key once.
pub struct Timestamped<'a, K, V> {
    pub(crate) handle: &'a KeyValueHandle<K, V>,
    pub(crate) store: &'a mut dyn BytesStore,
    pub(crate) value: &'a mut Vec<u8>,
    /// Stream time.
    pub(crate) now: Timestamp,
}

impl<K: 'static, V: 'static> Timestamped<'_, K, V> {
    /// The value and timestamp under a key.
    ///
    /// # Errors
    /// When the store cannot be read, or its bytes are not the serde's.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<ValueAndTimestamp<V>>> {
        let (handle, now) = (self.handle, self.now);
        let entry = self.get_stored(key)?;
        Ok(entry.filter(|entry| !handle.has_expired(entry.timestamp, now)))
    }

    /// As [`get`](Self::get), also if the entry has expired and is still to be taken out: those
    /// below have not been told of its end.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(crate) fn get_stored(&mut self, key: &[u8]) -> Result<Option<ValueAndTimestamp<V>>> {
        let handle = self.handle;
        self.store.get(key)?.map(|bytes| Self::read(handle, bytes)).transpose()
    }

    /// Reads an entry's value bytes.
    ///
    /// # Errors
    /// When the bytes are not the serde's.
    pub fn read(handle: &KeyValueHandle<K, V>, bytes: &[u8]) -> Result<ValueAndTimestamp<V>> {
        let (timestamp, bytes) = split_timestamp(bytes);
        Ok(ValueAndTimestamp { value: handle.read_value(bytes)?, timestamp })
    }

    /// Puts a value with its timestamp; `None` removes the key.
    ///
    /// # Errors
    /// When the value has no bytes or the store cannot be written.
    pub fn put(&mut self, key: &[u8], value: Option<&V>, timestamp: Timestamp) -> Result {
        match value {
            Some(value) if !self.handle.value.is_null(value) => {
                self.value.clear();
                self.value.extend_from_slice(&timestamp.millis().to_be_bytes());
                self.handle.write_value(value, self.value)?;
                self.store.put(key, self.value, timestamp)
            }
            _ => self.store.delete(key, timestamp),
        }
    }
}
