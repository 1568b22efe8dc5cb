//! `table`: keeps the latest value of each key of a topic.
//!
//! Keeps: key -> timestamp and value, in the table's store, if any operator below needs it.
//! Changelog: compacted, or the source topic itself. An out-of-order update is applied like any
//! other. Drops, counted: records with a null key; records that cannot be deserialized where the
//! handler continues; negative timestamps.

use std::sync::Arc;

use crate::error::Result;
use crate::node::{Children, Context, DropReason, RawInput, TimeSlot};
use crate::operators::change::Change;
use crate::operators::source::{TimestampExtractor, event_time, read_part};
use crate::record::Record;
use crate::serde::SerdeRef;
use crate::store::key_value::TimestampedHandle;

/// Reads a topic as a table.
pub(crate) struct TableSource<K, V> {
    pub(crate) key: SerdeRef<K>,
    pub(crate) value: SerdeRef<V>,
    pub(crate) extractor: Option<Arc<TimestampExtractor<K, V>>>,
    pub(crate) times: Vec<(String, TimeSlot)>,
    pub(crate) store: Option<TimestampedHandle<K, V>>,
    pub(crate) send_old: bool,
    pub(crate) children: Children<K, Change<V>>,
}

impl<K: 'static, V: 'static> RawInput for TableSource<K, V> {
    fn receive(&mut self, ctx: &mut Context<'_>) -> Result {
        let source = ctx.source;
        let Some(key_bytes) = source.key else {
            ctx.drop_record(DropReason::NullKey);
            return Ok(());
        };
        let Some(key) = read_part("key", &self.key, ctx)? else { return Ok(()) };
        let new = match source.value {
            None => None,
            Some(_) => match read_part("value", &self.value, ctx)? {
                Some(value) => Some(value),
                None => return Ok(()),
            },
        };
        let timestamp = match &new {
            Some(value) => {
                let record =
                    Record { key: &key, value, timestamp: source.timestamp, headers: source.headers };
                event_time(self.extractor.as_ref(), &self.times, record, ctx)?
            }
            // An extractor reads values; a tombstone has none, and keeps its record's timestamp.
            None => event_time::<K, ()>(
                None,
                &[],
                Record { key: &key, value: &(), timestamp: source.timestamp, headers: source.headers },
                ctx,
            )?,
        };
        let Some(timestamp) = timestamp else { return Ok(()) };
        let mut old = None;
        if let Some(handle) = &self.store {
            let mut store = ctx.timestamped(handle);
            if self.send_old {
                old = store.get(key_bytes)?.map(|entry| entry.value);
            }
            store.put(key_bytes, new.as_ref(), timestamp)?;
        }
        let change = Change::latest(old, new);
        self.children.forward(Record { key: &key, value: &change, timestamp, headers: source.headers }, ctx)
    }
}
