//! `to_table`: takes each record of a stream as an update of its key; null deletes.
//!
//! Keeps: what `TableState` keeps. Drops, counted: records with a null key. An entry that outlives
//! its time is told as a deletion.

use crate::error::Result;
use crate::node::{Children, Context, DropReason, Operator};
use crate::operators::change::Change;
use crate::operators::table_state::TableState;
use crate::record::{Headers, Record};
use crate::serde::{SerdeRef, write};
use crate::store::bytes::Expired;

/// Turns records into changes.
pub(crate) struct ToTable<K, V> {
    pub(crate) key: SerdeRef<K>,
    pub(crate) table: TableState<K, V>,
    pub(crate) key_bytes: Vec<u8>,
    pub(crate) children: Children<K, Change<V>>,
}

impl<K: 'static, V: Clone + 'static> Operator<K, Option<V>> for ToTable<K, V> {
    fn process(&mut self, record: Record<'_, K, Option<V>>, ctx: &mut Context<'_>) -> Result {
        let key = write(&*self.key, record.key, &mut self.key_bytes)
            .map_err(crate::error::Error::processing)?;
        let Some(key) = key else {
            ctx.drop_record(DropReason::NullKey);
            return Ok(());
        };
        let new = record.value.clone();
        let Some(change) = self.table.update(key, new, record.timestamp, ctx)? else {
            return Ok(());
        };
        self.children.forward(record.with_value(&change), ctx)
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> Result {
        self.table.push_on(&self.children, ctx)
    }

    fn expired(&mut self, entry: &Expired, ctx: &mut Context<'_>) -> Result {
        let Some((key, change)) = self.table.end_of(entry)? else { return Ok(()) };
        let headers = Headers::none();
        self.children
            .forward(Record { key: &key, value: &change, timestamp: entry.at, headers }, ctx)
    }
}
