//! A store's keys and values as text, for those who do not know their types: queries over HTTP,
//! dumps, command lines.

use std::sync::Arc;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::graph::{StoreSerdes, Topology};
use crate::serde::SerdeRef;

/// What the serdes of a store make of its keys and values.
pub trait StoreText: Send + Sync {
    /// The bytes of a key that somebody wrote by hand.
    ///
    /// # Errors
    /// When the text is no key of this store.
    fn key_bytes(&self, text: &str) -> Result<Vec<u8>>;

    /// A key as JSON; `None` if its serde knows no such form, or the bytes are no key.
    fn key_json(&self, bytes: &[u8]) -> Option<Value>;

    /// A value as JSON; `None` if its serde knows no such form, or the bytes are no value.
    fn value_json(&self, bytes: &[u8]) -> Option<Value>;
}

impl<K: 'static, V: 'static> StoreText for StoreSerdes<K, V> {
    fn key_bytes(&self, text: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.key
            .read_text(text)
            .and_then(|key| self.key.serialize(&key, &mut bytes))
            .map_err(|cause| Error::wiring(format!("{text:?} is no key of the store: {cause}")))?;
        Ok(bytes)
    }

    fn key_json(&self, bytes: &[u8]) -> Option<Value> {
        json(&self.key, bytes)
    }

    fn value_json(&self, bytes: &[u8]) -> Option<Value> {
        json(&self.value, bytes)
    }
}

fn json<T: 'static>(serde: &SerdeRef<T>, bytes: &[u8]) -> Option<Value> {
    serde.to_json(&serde.deserialize(bytes).ok()?)
}

impl Topology {
    /// The serdes of a store, for those who do not know its types; `None` if there is no such
    /// store.
    #[must_use]
    pub fn store_text(&self, name: &str) -> Option<Arc<dyn StoreText>> {
        let store = self.graph.stores.iter().find(|store| store.spec.name == name)?;
        Some(Arc::clone(&store.text))
    }
}
