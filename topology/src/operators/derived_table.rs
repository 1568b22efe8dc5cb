//! What a table that is computed from another keeps of its results, and tells of old ones.

use crate::error::{Error, Result};
use crate::node::{Children, Context};
use crate::operators::change::Change;
use crate::operators::table_state::TableState;
use crate::record::Record;
use crate::serde::{SerdeRef, write};

/// The results of `filter`, `map_values` or `transform_values`.
///
/// Keeps: nothing, or, once materialized, what [`TableState`] keeps. An old value comes from there,
/// or is computed again from the old value of the table above.
pub(crate) struct DerivedTable<K, V> {
    pub(crate) kept: Option<TableState<K, V>>,
    pub(crate) send_old: bool,
    pub(crate) key: SerdeRef<K>,
    pub(crate) key_bytes: Vec<u8>,
}

impl<K: 'static, V: 'static> DerivedTable<K, V> {
    /// The change that a new value makes; none if it comes too late for the store, or is held back
    /// by it.
    pub(crate) fn change<U>(
        &mut self,
        record: Record<'_, K, Change<U>>,
        new: Option<V>,
        old: impl FnOnce() -> Option<V>,
        ctx: &mut Context<'_>,
    ) -> Result<Option<Change<V>>> {
        let is_latest = record.value.is_latest;
        let Some(kept) = &mut self.kept else {
            return Ok(Some(Change {
                old: if self.send_old { old() } else { None },
                new,
                is_latest,
            }));
        };
        let key = write(&*self.key, record.key, &mut self.key_bytes).map_err(Error::processing)?;
        // The table above dropped null keys.
        let Some(key) = key else { return Ok(None) };
        let change = kept.update(key, new, record.timestamp, ctx)?;
        Ok(change.map(|change| Change { is_latest: change.is_latest && is_latest, ..change }))
    }

    /// Pushes on what the store holds back, if there is one.
    pub(crate) fn push_on(
        &mut self,
        children: &Children<K, Change<V>>,
        ctx: &mut Context<'_>,
    ) -> Result {
        match &mut self.kept {
            Some(kept) => kept.push_on(children, ctx),
            None => Ok(()),
        }
    }
}
