//! A store's entries as a reader from outside sees them: queries, tests and dumps.

use std::any::type_name;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::graph::{StoreSerdes, Topology};
use crate::serde::SerdeRef;
use crate::store::bytes::{BytesStore, KeyRange, Order};
use crate::store::key_value::KeyValueHandle;
use crate::store::select::{Parts, Selected, split};
use crate::store::spec::{StoreKind, TIME_LEN, split_timestamp};
use crate::time::{Timestamp, Window};

/// One entry of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreEntry<K, V> {
    /// The key, without the window.
    pub key: K,
    /// The value.
    pub value: V,
    /// The value's timestamp, in stores that keep one; of a version, since when it is valid.
    pub timestamp: Option<Timestamp>,
    /// The window or session, in windowed stores.
    pub window: Option<Window>,
}

/// Reads a store's entries with the serdes that the topology declared.
pub struct StoreReader<K, V> {
    name: String,
    kind: StoreKind,
    key: SerdeRef<K>,
    value: SerdeRef<V>,
}

impl Topology {
    /// A reader of the store of that name.
    ///
    /// # Errors
    /// When there is no such store, or it holds other types.
    pub fn store_reader<K: 'static, V: 'static>(&self, name: &str) -> Result<StoreReader<K, V>> {
        let store =
            self.graph.stores.iter().find(|store| store.spec.name == name).ok_or_else(|| {
                let names: Vec<&str> =
                    self.graph.stores.iter().map(|store| &*store.spec.name).collect();
                Error::wiring(format!(
                    "the topology has no store named {name}; it has {}",
                    names.join(", ")
                ))
            })?;
        let serdes = Arc::clone(&store.serdes).downcast::<StoreSerdes<K, V>>().map_err(|_| {
            Error::wiring(format!(
                "store {name} does not hold ({}, {})",
                type_name::<K>(),
                type_name::<V>()
            ))
        })?;
        Ok(StoreReader {
            name: name.to_owned(),
            kind: store.spec.kind,
            key: serdes.key.clone(),
            value: serdes.value.clone(),
        })
    }
}

impl<K: 'static, V: 'static> StoreReader<K, V> {
    /// The value under a key of a key-value store, timestamped or not.
    ///
    /// # Errors
    /// When the store is of another kind or cannot be read.
    pub fn get(&self, store: &mut dyn BytesStore, key: &K) -> Result<Option<V>> {
        let mut bytes = Vec::new();
        let handle = self.handle();
        handle.write_key(key, &mut bytes)?;
        match (self.kind, store.get(&bytes)?) {
            (_, None) => Ok(None),
            (StoreKind::KeyValue, Some(value)) => handle.read_value(value).map(Some),
            (StoreKind::TimestampedKeyValue, Some(value)) => {
                handle.read_value(split_timestamp(value).1).map(Some)
            }
            _ => {
                Err(Error::store(&self.name, "it is no key-value store; read its entries instead"))
            }
        }
    }

    /// All entries, in the order of the store's bytes: windows that `observed`, the store's clock,
    /// has left behind its retention are left out, and of versions only the latest is shown.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn entries(
        &self,
        store: &mut dyn BytesStore,
        observed: Timestamp,
    ) -> Result<Vec<StoreEntry<K, V>>> {
        let mut raw = Vec::new();
        store.scan(KeyRange::ALL, Order::Forward, &mut |key, value| {
            raw.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })?;
        if let StoreKind::Versioned { .. } = self.kind {
            keep_latest_versions(&mut raw);
        }
        let oldest = match (self.kind.retention_ms(), observed) {
            (Some(retention_ms), observed) if observed != Timestamp::UNKNOWN => {
                observed - retention_ms + 1
            }
            _ => Timestamp::MIN,
        };
        raw.iter().filter_map(|(key, value)| self.read(key, value, oldest).transpose()).collect()
    }

    fn read(
        &self,
        key: &[u8],
        value: &[u8],
        oldest: Timestamp,
    ) -> Result<Option<StoreEntry<K, V>>> {
        let Some(parts) = split(self.kind, key, value) else { return Ok(None) };
        let Parts { key, value, timestamp, window } = parts;
        let is_session = matches!(self.kind, StoreKind::Session { .. });
        if window
            .is_some_and(|window| (if is_session { window.end } else { window.start }) < oldest)
        {
            return Ok(None);
        }
        let handle = self.handle();
        Ok(Some(StoreEntry {
            key: handle.read_key(key)?,
            value: handle.read_value(value)?,
            timestamp,
            window,
        }))
    }

    /// The store's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The store's layout.
    #[must_use]
    pub fn kind(&self) -> StoreKind {
        self.kind
    }

    /// A key as the store has it, without window or version.
    ///
    /// # Errors
    /// When the key has no bytes.
    pub fn key_bytes(&self, key: &K) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.handle().write_key(key, &mut bytes)?;
        Ok(bytes)
    }

    /// An entry that was asked for in bytes.
    ///
    /// # Errors
    /// When its key or value cannot be read.
    pub fn entry(&self, selected: &Selected) -> Result<StoreEntry<K, V>> {
        let handle = self.handle();
        Ok(StoreEntry {
            key: handle.read_key(&selected.key)?,
            value: handle.read_value(&selected.value)?,
            timestamp: selected.timestamp,
            window: selected.window,
        })
    }

    /// The serdes as the store's own nodes use them; its index is of no concern here.
    fn handle(&self) -> KeyValueHandle<K, V> {
        KeyValueHandle {
            index: crate::store::bytes::StoreIndex(0),
            name: self.name.clone(),
            key: self.key.clone(),
            value: self.value.clone(),
            has_timestamps: false,
            time_to_live_ms: None,
        }
    }
}

/// Of entries `key | timestamp` in order, the last of each key.
fn keep_latest_versions(entries: &mut Vec<(Vec<u8>, Vec<u8>)>) {
    let key =
        |entry: &(Vec<u8>, Vec<u8>)| entry.0[..entry.0.len().saturating_sub(TIME_LEN)].to_vec();
    let mut latest: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for entry in entries.drain(..) {
        match latest.last_mut() {
            Some(last) if key(last) == key(&entry) => *last = entry,
            _ => latest.push(entry),
        }
    }
    *entries = latest;
}
