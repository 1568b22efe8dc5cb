//! What a table keeps of its changes: the latest value of each key, if anything below needs it.

use crate::error::Result;
use crate::node::Context;
use crate::operators::change::Change;
use crate::store::key_value::TimestampedHandle;
use crate::time::Timestamp;

/// The store of a table, if it has one.
///
/// Keeps: key -> timestamp and value. Changelog: compacted, or the source topic itself. An
/// out-of-order update is applied like any other.
pub(crate) struct TableState<K, V> {
    pub(crate) store: Option<TimestampedHandle<K, V>>,
    /// Whether the nodes below want to know what was there before.
    pub(crate) send_old: bool,
}

impl<K: 'static, V: 'static> TableState<K, V> {
    /// Takes over a key's new value, and tells the change.
    pub(crate) fn update(
        &self,
        key: &[u8],
        new: Option<V>,
        timestamp: Timestamp,
        ctx: &mut Context<'_>,
    ) -> Result<Change<V>> {
        let mut old = None;
        if let Some(handle) = &self.store {
            let mut store = ctx.timestamped(handle);
            if self.send_old {
                old = store.get(key)?.map(|entry| entry.value);
            }
            store.put(key, new.as_ref(), timestamp)?;
        }
        Ok(Change::latest(old, new))
    }
}
