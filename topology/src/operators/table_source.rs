//! `table`: keeps the latest value of each key of a topic.
//!
//! Keeps: what `TableState` keeps. Drops, counted: records with a null key; records that cannot be
//! deserialized where the handler continues; negative timestamps. An entry that outlives its time is
//! told as a deletion.

use std::sync::Arc;

use crate::error::Result;
use crate::node::{Children, Context, DropReason, RawInput, TimeSlot};
use crate::operators::change::Change;
use crate::operators::source::{TimestampExtractor, event_time, read_part};
use crate::operators::table_state::TableState;
use crate::record::{Headers, Record};
use crate::serde::SerdeRef;
use crate::store::bytes::Expired;

/// Reads a topic as a table.
pub(crate) struct TableSource<K, V> {
    pub(crate) key: SerdeRef<K>,
    pub(crate) value: SerdeRef<V>,
    pub(crate) extractor: Option<Arc<TimestampExtractor<K, V>>>,
    pub(crate) times: Vec<(String, TimeSlot)>,
    pub(crate) table: TableState<K, V>,
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
                let record = Record {
                    key: &key,
                    value,
                    timestamp: source.timestamp,
                    headers: source.headers,
                };
                event_time(self.extractor.as_ref(), &self.times, record, ctx)?
            }
            // An extractor reads values; a tombstone has none, and keeps its record's timestamp.
            None => event_time::<K, ()>(
                None,
                &[],
                Record {
                    key: &key,
                    value: &(),
                    timestamp: source.timestamp,
                    headers: source.headers,
                },
                ctx,
            )?,
        };
        let Some(timestamp) = timestamp else { return Ok(()) };
        let Some(change) = self.table.update(key_bytes, new, timestamp, ctx)? else {
            return Ok(());
        };
        self.children
            .forward(Record { key: &key, value: &change, timestamp, headers: source.headers }, ctx)
    }

    fn expired(&mut self, entry: &Expired, ctx: &mut Context<'_>) -> Result {
        let Some((key, change)) = self.table.end_of(entry)? else { return Ok(()) };
        let headers = Headers::none();
        self.children
            .forward(Record { key: &key, value: &change, timestamp: entry.at, headers }, ctx)
    }
}
