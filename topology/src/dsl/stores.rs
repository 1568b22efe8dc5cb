//! Stores for processors of the user's own.

use std::sync::Arc;

use crate::graph::Store;
use crate::serde::Serde;
use crate::store::spec::{StoreKind, StoreSpec};

/// Declares stores for [`add_state_store`](super::builder::StreamsBuilder::add_state_store).
pub struct Stores;

impl Stores {
    /// A persistent key-value store with a changelog.
    pub fn key_value<K: 'static, V: 'static>(
        name: impl Into<String>,
        key: impl Serde<K>,
        value: impl Serde<V>,
    ) -> Store {
        Store::new(StoreSpec::new(name, StoreKind::KeyValue), Arc::new(key), Arc::new(value))
    }
}

impl Store {
    /// Kept in memory alone; restored from its changelog at each start.
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.spec.persistent = false;
        self
    }

    /// Without a changelog: what is lost with the disk is lost.
    #[must_use]
    pub fn without_logging(mut self) -> Self {
        self.spec.logged = false;
        self
    }
}
