//! `count`, `reduce` and `aggregate` of a grouped stream: one value a key, folded from its records.
//!
//! Keeps: key -> timestamp and aggregate, without end. Changelog: compacted. The result's timestamp
//! is the highest of the records that went in. With caching, updates of a key are held back until
//! the commit and forwarded as one. Drops, counted: records with a null key or value.

use std::sync::Arc;

use crate::error::Result;
use crate::node::{Children, Context, DropReason, Operator};
use crate::operators::change::Change;
use crate::operators::held_table::HeldTable;
use crate::record::Record;
use crate::serde::SerdeRef;
use crate::store::bytes::Pending;
use crate::store::key_value::TimestampedHandle;

/// Folds records into their key's value. `fold` gets what is there and says what shall be.
pub(crate) struct Aggregate<F, K, V, A> {
    pub(crate) fold: Arc<F>,
    /// `None` where the stream's values have no serde: they are then never null.
    pub(crate) value: Option<SerdeRef<V>>,
    pub(crate) store: TimestampedHandle<K, A>,
    /// `None` where updates are pushed on at once.
    pub(crate) held: Option<HeldTable<K, A>>,
    pub(crate) send_old: bool,
    pub(crate) key_bytes: Vec<u8>,
    pub(crate) children: Children<K, Change<A>>,
}

/// Whether a windowed operator holds updates back, and room for them on their way on.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeldUpdates {
    pub(crate) caching: bool,
    pub(crate) drained: Vec<Pending>,
}

impl<F, K: 'static, V: 'static, A: Clone + 'static> Operator<K, V> for Aggregate<F, K, V, A>
where
    F: Fn(&K, &V, Option<A>) -> Option<A> + Send + Sync,
{
    fn process(&mut self, record: Record<'_, K, V>, ctx: &mut Context<'_>) -> Result {
        if self.store.0.key.is_null(record.key) {
            ctx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        if self.value.as_ref().is_some_and(|serde| serde.is_null(record.value)) {
            ctx.drop_record(DropReason::NullValue);
            return Ok(());
        }
        self.store.0.write_key(record.key, &mut self.key_bytes)?;
        let mut store = ctx.timestamped(&self.store);
        let entry = store.get(&self.key_bytes)?;
        let (old, timestamp) = match entry {
            Some(entry) => (Some(entry.value), entry.timestamp.max(record.timestamp)),
            None => (None, record.timestamp),
        };
        let kept = (self.send_old && self.held.is_none()).then(|| old.clone()).flatten();
        let new = (self.fold)(record.key, record.value, old);
        store.put(&self.key_bytes, new.as_ref(), timestamp)?;
        if self.held.is_some() {
            ctx.note_held(self.store.0.index);
            return Ok(());
        }
        let change = Change::latest(kept, new);
        let headers = record.headers;
        self.children.forward(Record { key: record.key, value: &change, timestamp, headers }, ctx)
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> Result {
        match &mut self.held {
            Some(held) => held.push_on(&self.children, ctx),
            None => Ok(()),
        }
    }
}
