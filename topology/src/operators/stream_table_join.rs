//! `join` and `left_join` of a stream with a table: looks each record's key up in the table.
//!
//! Keeps nothing of its own: it reads the table's store. Only the stream side triggers. Drops,
//! counted: records with a null value; with a null key, unless it is a left join, which then joins
//! with nothing.

use std::sync::Arc;

use crate::error::Result;
use crate::node::{Children, Context, DropReason, Operator};
use crate::record::Record;
use crate::serde::SerdeRef;
use crate::store::key_value::TimestampedHandle;

/// Joins each record with the table's value under its key.
pub(crate) struct StreamTableJoin<F, K, V, VT, VR> {
    pub(crate) joiner: Arc<F>,
    /// `None` where the stream's values have no serde: they are then never null.
    pub(crate) value: Option<SerdeRef<V>>,
    pub(crate) table: TimestampedHandle<K, VT>,
    pub(crate) left: bool,
    pub(crate) key_bytes: Vec<u8>,
    pub(crate) children: Children<K, VR>,
}

impl<F, K: 'static, V: 'static, VT: 'static, VR: 'static> Operator<K, V> for StreamTableJoin<F, K, V, VT, VR>
where
    F: Fn(&K, &V, Option<&VT>) -> Option<VR> + Send + Sync,
{
    fn process(&mut self, record: Record<'_, K, V>, ctx: &mut Context<'_>) -> Result {
        if self.value.as_ref().is_some_and(|serde| serde.is_null(record.value)) {
            ctx.drop_record(DropReason::NullValue);
            return Ok(());
        }
        let found = if self.table.0.key.is_null(record.key) {
            None
        } else {
            self.table.0.write_key(record.key, &mut self.key_bytes)?;
            ctx.timestamped(&self.table).get(&self.key_bytes)?.map(|entry| entry.value)
        };
        if found.is_none() && !self.left {
            if self.table.0.key.is_null(record.key) {
                ctx.drop_record(DropReason::NullKey);
            }
            return Ok(());
        }
        match (self.joiner)(record.key, record.value, found.as_ref()) {
            Some(joined) => self.children.forward(record.with_value(&joined), ctx),
            None => Ok(()),
        }
    }
}
