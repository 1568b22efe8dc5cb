//! How a join reads a table: its latest values, or its versions as of a time.

use crate::error::{Error, Result};
use crate::graph::Wiring;
use crate::node::Context;
use crate::serde::SerdeRef;
use crate::store::key_value::{KeyValueHandle, TimestampedHandle, ValueAndTimestamp};
use crate::store::spec::StoreKind;
use crate::store::versioned::VersionedHandle;
use crate::time::Timestamp;

/// The store of a table, of either kind, for look-ups.
pub(crate) enum TableView<K, V> {
    Latest(TimestampedHandle<K, V>),
    Versions(Box<VersionedHandle<K, V>>),
}

impl<K: 'static, V: 'static> TableView<K, V> {
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
            _ => Err(Error::wiring(format!(
                "table {store} is kept by window and cannot be joined; join its to_stream() instead"
            ))),
        }
    }

    fn handle(&self) -> &KeyValueHandle<K, V> {
        match self {
            Self::Latest(handle) => &handle.0,
            Self::Versions(handle) => &handle.entries,
        }
    }

    /// The serde of its keys.
    pub(crate) fn key(&self) -> &SerdeRef<K> {
        &self.handle().key
    }

    /// Writes a key's bytes.
    pub(crate) fn write_key(&self, key: &K, out: &mut Vec<u8>) -> Result {
        self.handle().write_key(key, out)
    }

    /// Writes a value's bytes.
    pub(crate) fn write_value(&self, value: &V, out: &mut Vec<u8>) -> Result {
        self.handle().write_value(value, out)
    }

    /// The latest value under a key.
    pub(crate) fn get(
        &mut self,
        key: &[u8],
        ctx: &mut Context<'_>,
    ) -> Result<Option<ValueAndTimestamp<V>>> {
        match self {
            Self::Latest(handle) => ctx.timestamped(handle).get(key),
            Self::Versions(handle) => {
                let version = handle.get(key, ctx)?;
                Ok(version.map(|version| ValueAndTimestamp {
                    value: version.value,
                    timestamp: version.timestamp,
                }))
            }
        }
    }

    /// The value under a key at a time; the latest one where no versions are kept.
    pub(crate) fn get_as_of(
        &mut self,
        key: &[u8],
        at: Timestamp,
        ctx: &mut Context<'_>,
    ) -> Result<Option<V>> {
        match self {
            Self::Latest(handle) => Ok(ctx.timestamped(handle).get(key)?.map(|entry| entry.value)),
            Self::Versions(handle) => {
                Ok(handle.get_as_of(key, at, ctx)?.map(|version| version.value))
            }
        }
    }
}
