//! `count`, `reduce` and `aggregate` of a grouped stream: one value a key, folded from its records.
//!
//! Keeps: key -> timestamp and aggregate, without end. Changelog: compacted. The result's timestamp
//! is the highest of the records that went in. With caching, updates of a key are held back until
//! the commit and forwarded as one. Drops, counted: records with a null key or value, and those whose
//! result a time to live would end at once. With one, an aggregate that outlives it is told as a
//! deletion, and the key's next record starts anew.

use std::sync::Arc;

use crate::error::Result;
use crate::node::{Children, Context, DropReason, Operator};
use crate::operators::change::Change;
use crate::operators::held_table::HeldTable;
use crate::record::{Headers, Record};
use crate::serde::SerdeRef;
use crate::store::bytes::{Expired, Pending};
use crate::store::key_value::{Timestamped, TimestampedHandle};

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
        let now = ctx.stream_time();
        let mut store = ctx.timestamped(&self.store);
        let entry = store.get_stored(&self.key_bytes)?;
        // Those below still have the value of an entry that has just expired.
        let (old, ended, timestamp) = match entry {
            Some(entry) if self.store.0.has_expired(entry.timestamp, now) => {
                (None, Some(entry.value), record.timestamp)
            }
            Some(entry) => (Some(entry.value), None, entry.timestamp.max(record.timestamp)),
            None => (None, None, record.timestamp),
        };
        if self.store.0.has_expired(timestamp, now) {
            ctx.drop_record(DropReason::ExpiredRecord);
            return Ok(());
        }
        let tells_old = self.send_old && self.held.is_none();
        let kept = tells_old.then(|| ended.or_else(|| old.clone())).flatten();
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

    fn expired(&mut self, entry: &Expired, ctx: &mut Context<'_>) -> Result {
        if self.held.is_some() {
            // The deletion is held back with the other updates.
            return Ok(());
        }
        let handle = &self.store.0;
        let key = handle.read_key(&entry.key)?;
        let old = match self.send_old {
            true => Some(Timestamped::read(handle, &entry.value)?.value),
            false => None,
        };
        let (change, headers) = (Change::latest(old, None), Headers::none());
        self.children
            .forward(Record { key: &key, value: &change, timestamp: entry.at, headers }, ctx)
    }
}
