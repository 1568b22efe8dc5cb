//! Global stores as processors read them: stores that every instance has whole, fed by a topic of
//! their own.

use crate::error::{Error, Result};
use crate::node::Context;
use crate::serde::{SerdeRef, write};
use crate::store::spec::split_timestamp;

/// A global table or store, bound to its types; from
/// [`ProcessorContext::global`](crate::processor::ProcessorContext::global).
pub struct GlobalHandle<K, V> {
    pub(crate) name: String,
    pub(crate) key: SerdeRef<K>,
    pub(crate) value: SerdeRef<V>,
    /// Whether its values lie behind their timestamps.
    pub(crate) has_timestamps: bool,
}

impl<K: 'static, V: 'static> GlobalHandle<K, V> {
    /// The value under a key; a null key has none.
    pub(crate) fn get(&self, key: &K, ctx: &mut Context<'_>) -> Result<Option<V>> {
        let (mut key_bytes, mut found) = (Vec::new(), Vec::new());
        let key = write(&*self.key, key, &mut key_bytes).map_err(Error::processing)?;
        let Some(key) = key else { return Ok(None) };
        if !ctx.host.global_get(&self.name, key, &mut found)? {
            return Ok(None);
        }
        let value = if self.has_timestamps { split_timestamp(&found).1 } else { &found };
        self.value
            .deserialize(value)
            .map(Some)
            .map_err(|cause| Error::store(&self.name, format!("its value cannot be read: {cause}")))
    }
}
