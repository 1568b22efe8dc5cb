//! How a join reads a table: from its store, as latest values, versions or windows; or computed
//! from the tables that it is made of, where it is not kept.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::graph::Wiring;
use crate::node::{Children, Context, TimeSlot};
use crate::operators::read_values::ReadValues;
use crate::operators::table_transform::TableTransformer;
use crate::processor::{BoundStores, ProcessorContext};
use crate::serde::SerdeRef;
use crate::store::bytes::StoreIndex;
use crate::store::change_buffer::ChangeBuffer;
use crate::store::key_value::{TimestampedHandle, ValueAndTimestamp};
use crate::store::spec::{SEQUENCE_LEN, StoreKind, TIME_LEN, segment, split_timestamp};
use crate::store::versioned::VersionedHandle;
use crate::time::Timestamp;

/// As of when a table is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AsOf {
    /// Its latest values.
    Now,
    /// What held then, where versions are kept; otherwise the latest values.
    Time(Timestamp),
}

/// A table that is looked up by key.
pub(crate) trait LookUp<K, V>: Send {
    /// The value under a key, which is given with its bytes.
    fn get(
        &mut self,
        key: &K,
        bytes: &[u8],
        as_of: AsOf,
        ctx: &mut Context<'_>,
    ) -> Result<Option<ValueAndTimestamp<V>>>;

    /// Calls `found` with the value under a key, if there is one. It may be one of `known`, which
    /// were read before.
    fn visit(
        &mut self,
        (key, bytes): (&K, &[u8]),
        as_of: AsOf,
        known: &mut ReadValues<V>,
        found: &mut FoundValue<'_, V>,
        ctx: &mut Context<'_>,
    ) -> Result {
        let _ = known;
        let row = self.get(key, bytes, as_of, ctx)?;
        found(row.as_ref().map(|row| &row.value), ctx)
    }
}

/// What is called with the value of a look-up.
pub(crate) type FoundValue<'f, V> = dyn FnMut(Option<&V>, &mut Context<'_>) -> Result + 'f;

/// A table as a join sees it.
pub(crate) struct TableView<K, V> {
    /// The serde of its keys.
    pub(crate) key: SerdeRef<K>,
    /// What looks its values up.
    pub(crate) values: Box<dyn LookUp<K, V>>,
}

impl<K: 'static, V: 'static> TableView<K, V> {
    /// Writes a key's bytes.
    pub(crate) fn write_key(&self, key: &K, out: &mut Vec<u8>) -> Result {
        out.clear();
        self.key.serialize(key, out).map_err(Error::processing)
    }

    /// As [`LookUp::get`].
    pub(crate) fn get(
        &mut self,
        key: &K,
        bytes: &[u8],
        as_of: AsOf,
        ctx: &mut Context<'_>,
    ) -> Result<Option<ValueAndTimestamp<V>>> {
        self.values.get(key, bytes, as_of, ctx)
    }
}

/// The store of a table that is not kept by window.
pub(crate) enum StoredTable<K, V> {
    Latest(TimestampedHandle<K, V>),
    Versions(Box<VersionedHandle<K, V>>),
}

impl<K: 'static, V: 'static> StoredTable<K, V> {
    /// Binds the store of that name.
    ///
    /// # Errors
    /// When the task has no such store, it is of other types, or it is kept by window.
    pub(crate) fn bind(wiring: &mut Wiring<'_>, store: &str) -> Result<Self> {
        match wiring.store_spec(store)?.kind {
            StoreKind::TimestampedKeyValue => Ok(Self::Latest(wiring.timestamped(store)?)),
            StoreKind::Versioned { .. } => {
                Ok(Self::Versions(Box::new(VersionedHandle::bind(wiring, store)?)))
            }
            _ => {
                Err(Error::wiring(format!("table {store} is kept by window; look it up by window")))
            }
        }
    }

    /// The value under a key's bytes.
    pub(crate) fn get(
        &mut self,
        key: &[u8],
        as_of: AsOf,
        ctx: &mut Context<'_>,
    ) -> Result<Option<ValueAndTimestamp<V>>> {
        let version = match (self, as_of) {
            (Self::Latest(handle), _) => return ctx.timestamped(handle).get(key),
            (Self::Versions(handle), AsOf::Now) => handle.get(key, ctx)?,
            (Self::Versions(handle), AsOf::Time(at)) => handle.get_as_of(key, at, ctx)?,
        };
        Ok(version.map(|version| ValueAndTimestamp {
            value: version.value,
            timestamp: version.timestamp,
        }))
    }
}

impl<K: 'static, V: 'static> LookUp<K, V> for StoredTable<K, V> {
    fn get(
        &mut self,
        _: &K,
        bytes: &[u8],
        as_of: AsOf,
        ctx: &mut Context<'_>,
    ) -> Result<Option<ValueAndTimestamp<V>>> {
        Self::get(self, bytes, as_of, ctx)
    }

    fn visit(
        &mut self,
        (_, bytes): (&K, &[u8]),
        as_of: AsOf,
        known: &mut ReadValues<V>,
        found: &mut FoundValue<'_, V>,
        ctx: &mut Context<'_>,
    ) -> Result {
        let Self::Latest(handle) = self else {
            let row = Self::get(self, bytes, as_of, ctx)?;
            return found(row.as_ref().map(|row| &row.value), ctx);
        };
        let Some(stored) = ctx.bytes_store(handle.0.index).get(bytes)? else {
            return found(None, ctx);
        };
        let (_, stored) = split_timestamp(stored);
        let value = known.get(bytes, stored, |stored| handle.0.read_value(stored))?;
        found(Some(value), ctx)
    }
}

/// The store of a windowed aggregate, looked up by key and window. What retention does not cover
/// any more is not found.
pub(crate) struct StoredWindows<V> {
    name: String,
    index: StoreIndex,
    value: SerdeRef<V>,
    kind: StoreKind,
    observed: TimeSlot,
    store_key: Vec<u8>,
}

impl<V: 'static> StoredWindows<V> {
    /// Binds the store of that name.
    ///
    /// # Errors
    /// When the task has no such store.
    pub(crate) fn bind(wiring: &mut Wiring<'_>, name: &str, value: SerdeRef<V>) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            index: wiring.store_index(name)?,
            value,
            kind: wiring.store_spec(name)?.kind,
            observed: wiring.store_time(name)?,
            store_key: Vec::new(),
        })
    }

    /// Makes the store's key of a windowed key's bytes, and gives the time by which it expires:
    /// `key, start` becomes `segment, key, start, sequence`, and `key, end, start` becomes
    /// `segment, key, end, start`. `None` for bytes that are no windowed key.
    fn set_key(&mut self, bytes: &[u8]) -> Option<Timestamp> {
        let times = if matches!(self.kind, StoreKind::Session { .. }) { 2 } else { 1 };
        let at = bytes.len().checked_sub(times * TIME_LEN)?;
        let (time, _) = split_timestamp(&bytes[at..]);
        self.store_key.clear();
        self.store_key.extend_from_slice(&segment(time, self.kind.segment_ms()?));
        self.store_key.extend_from_slice(bytes);
        if times == 1 {
            self.store_key.extend_from_slice(&[0; SEQUENCE_LEN]);
        }
        Some(time)
    }
}

impl<K: 'static, V: 'static> LookUp<K, V> for StoredWindows<V> {
    fn get(
        &mut self,
        _: &K,
        bytes: &[u8],
        _: AsOf,
        ctx: &mut Context<'_>,
    ) -> Result<Option<ValueAndTimestamp<V>>> {
        let (Some(time), Some(retention_ms)) = (self.set_key(bytes), self.kind.retention_ms())
        else {
            return Ok(None);
        };
        let observed = ctx.time(self.observed);
        if observed == Timestamp::UNKNOWN || time < observed - retention_ms + 1 {
            return Ok(None);
        }
        let Some(found) = ctx.bytes_store(self.index).get(&self.store_key)? else {
            return Ok(None);
        };
        let (timestamp, bytes) =
            if self.kind.has_timestamps() { split_timestamp(found) } else { (time, found) };
        let value = self.value.deserialize(bytes).map_err(|cause| {
            Error::store(&self.name, format!("its value cannot be read: {cause}"))
        })?;
        Ok(Some(ValueAndTimestamp { value, timestamp }))
    }
}

/// A table whose values are made of another's, with each look-up anew.
pub(crate) struct MappedView<K, U, F> {
    pub(crate) above: TableView<K, U>,
    /// `None` where there is no entry.
    pub(crate) map: Arc<F>,
}

impl<K, U, V, F> LookUp<K, V> for MappedView<K, U, F>
where
    K: 'static,
    U: 'static,
    F: Fn(&K, U) -> Option<V> + Send + Sync,
{
    fn get(
        &mut self,
        key: &K,
        bytes: &[u8],
        as_of: AsOf,
        ctx: &mut Context<'_>,
    ) -> Result<Option<ValueAndTimestamp<V>>> {
        let Some(found) = self.above.get(key, bytes, as_of, ctx)? else { return Ok(None) };
        let timestamp = found.timestamp;
        Ok((self.map)(key, found.value).map(|value| ValueAndTimestamp { value, timestamp }))
    }
}

/// A table whose values a transformer of its own makes of another's, with each look-up anew: also
/// where the other has none, which is no change that a record could tell.
pub(crate) struct TransformedView<K, U, T> {
    pub(crate) above: TableView<K, U>,
    pub(crate) transformer: T,
    pub(crate) stores: BoundStores,
    /// A transformer forwards nothing of its own.
    pub(crate) nobody: Children<(), ()>,
    pub(crate) is_ready: bool,
}

impl<K, U, T> LookUp<K, T::Out> for TransformedView<K, U, T>
where
    K: 'static,
    U: 'static,
    T: TableTransformer<K, U>,
{
    fn get(
        &mut self,
        key: &K,
        bytes: &[u8],
        as_of: AsOf,
        ctx: &mut Context<'_>,
    ) -> Result<Option<ValueAndTimestamp<T::Out>>> {
        let found = self.above.get(key, bytes, as_of, ctx)?;
        let timestamp = found.as_ref().map_or(Timestamp::UNKNOWN, |found| found.timestamp);
        let mut own = ProcessorContext::new(ctx, &self.nobody, Some(&self.stores));
        if !self.is_ready {
            self.transformer.init(&mut own)?;
            self.is_ready = true;
        }
        let found = found.map(|found| found.value);
        let made = self.transformer.transform(key, found.as_ref(), &mut own)?;
        Ok(made.map(|value| ValueAndTimestamp { value, timestamp }))
    }
}

/// A table whose changes are held back: what is held back has its value from before.
pub(crate) struct SuppressedView<K, V> {
    pub(crate) above: TableView<K, V>,
    pub(crate) buffer: ChangeBuffer,
    pub(crate) value: SerdeRef<V>,
}

impl<K: 'static, V: 'static> LookUp<K, V> for SuppressedView<K, V> {
    fn get(
        &mut self,
        key: &K,
        bytes: &[u8],
        as_of: AsOf,
        ctx: &mut Context<'_>,
    ) -> Result<Option<ValueAndTimestamp<V>>> {
        let Some(prior) = self.buffer.prior(bytes, ctx)? else {
            return self.above.get(key, bytes, as_of, ctx);
        };
        let Some(prior) = prior else { return Ok(None) };
        let read = self.value.deserialize(&prior);
        let value = read.map_err(|cause| Error::store(self.buffer.name(), cause))?;
        // The buffer does not know when the value became so.
        Ok(Some(ValueAndTimestamp { value, timestamp: Timestamp::UNKNOWN }))
    }
}

/// A table that joins two others, with each look-up anew: as old as the newer of the two values.
pub(crate) struct JoinedView<K, A, B, F> {
    pub(crate) left: TableView<K, A>,
    pub(crate) right: TableView<K, B>,
    /// Given both values, of which one may be missing; `None` where the join has no result.
    pub(crate) joiner: Arc<F>,
}

impl<K, A, B, R, F> LookUp<K, R> for JoinedView<K, A, B, F>
where
    K: 'static,
    A: 'static,
    B: 'static,
    F: Fn(&K, Option<&A>, Option<&B>) -> Option<R> + Send + Sync,
{
    fn get(
        &mut self,
        key: &K,
        bytes: &[u8],
        as_of: AsOf,
        ctx: &mut Context<'_>,
    ) -> Result<Option<ValueAndTimestamp<R>>> {
        let left = self.left.get(key, bytes, as_of, ctx)?;
        let right = self.right.get(key, bytes, as_of, ctx)?;
        let times =
            [left.as_ref().map(|row| row.timestamp), right.as_ref().map(|row| row.timestamp)];
        let Some(timestamp) = times.into_iter().flatten().max() else { return Ok(None) };
        let (left, right) = (left.map(|row| row.value), right.map(|row| row.value));
        let joined = (self.joiner)(key, left.as_ref(), right.as_ref());
        Ok(joined.map(|value| ValueAndTimestamp { value, timestamp }))
    }
}
