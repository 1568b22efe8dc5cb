//! `join` and `left_join` of a stream with a table: looks each record's key up in the table.
//!
//! Reads the table's store; a versioned one as of the record's timestamp. Keeps nothing of its own,
//! unless it has a grace period: then its `HeldRecords`. Only the stream side triggers. Drops,
//! counted: records with a null value; with a null key, unless it is a left join, which then joins
//! with nothing.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::node::{Children, Context, DropReason, Operator};
use crate::operators::held_records::HeldRecords;
use crate::operators::read_values::ReadValues;
use crate::operators::table_view::{AsOf, TableView};
use crate::record::Record;
use crate::serde::SerdeRef;

/// Joins each record with the table's value under its key.
pub(crate) struct StreamTableJoin<F, K, V, VT, VR> {
    pub(crate) joiner: Arc<F>,
    /// `None` where the stream's values have no serde: they are then never null.
    pub(crate) value: Option<SerdeRef<V>>,
    pub(crate) table: TableView<K, VT>,
    pub(crate) left: bool,
    /// `None` without a grace period.
    pub(crate) held: Option<(HeldRecords, SerdeRef<V>)>,
    pub(crate) key_bytes: Vec<u8>,
    pub(crate) known: ReadValues<VT>,
    pub(crate) children: Children<K, VR>,
}

impl<F, K: 'static, V: 'static, VT: Send + 'static, VR: 'static> Operator<K, V>
    for StreamTableJoin<F, K, V, VT, VR>
where
    F: Fn(&K, &V, Option<&VT>) -> Option<VR> + Send + Sync,
{
    fn process(&mut self, record: Record<'_, K, V>, ctx: &mut Context<'_>) -> Result {
        if self.value.as_ref().is_some_and(|serde| serde.is_null(record.value)) {
            ctx.drop_record(DropReason::NullValue);
            return Ok(());
        }
        if self.table.key.is_null(record.key) {
            if !self.left {
                ctx.drop_record(DropReason::NullKey);
                return Ok(());
            }
            return forward_joined(&*self.joiner, record, None, &self.children, ctx);
        }
        self.table.write_key(record.key, &mut self.key_bytes)?;
        match &mut self.held {
            Some((held, value)) if held.is_in_time(record.timestamp, ctx) => {
                let write = |out: &mut Vec<u8>| value.serialize(record.value, out);
                held.put(&self.key_bytes, record.timestamp, record.headers, write, ctx)?;
            }
            _ => self.join(record, ctx)?,
        }
        self.release(ctx)
    }
}

impl<F, K: 'static, V: 'static, VT: 'static, VR: 'static> StreamTableJoin<F, K, V, VT, VR>
where
    F: Fn(&K, &V, Option<&VT>) -> Option<VR>,
{
    /// Joins what has waited long enough.
    fn release(&mut self, ctx: &mut Context<'_>) -> Result {
        let Some((held, value)) = &mut self.held else { return Ok(()) };
        let value_serde = Arc::clone(value);
        for released in held.release(ctx)? {
            let key = self.table.key.deserialize(released.key()).map_err(Error::processing)?;
            let value = value_serde.deserialize(released.value()).map_err(Error::processing)?;
            self.key_bytes.clear();
            self.key_bytes.extend_from_slice(released.key());
            let (timestamp, headers) = (released.timestamp, &released.headers);
            self.join(Record { key: &key, value: &value, timestamp, headers }, ctx)?;
        }
        Ok(())
    }

    /// Joins a record whose key is in the buffer.
    fn join(&mut self, record: Record<'_, K, V>, ctx: &mut Context<'_>) -> Result {
        let as_of = AsOf::Time(record.timestamp);
        let Self { joiner, table, left, key_bytes, known, children, .. } = self;
        let mut forward = |found: Option<&VT>, ctx: &mut Context<'_>| {
            if found.is_none() && !*left {
                return Ok(());
            }
            forward_joined(&**joiner, record, found, children, ctx)
        };
        table.values.visit((record.key, key_bytes), as_of, known, &mut forward, ctx)
    }
}

fn forward_joined<F, K: 'static, V, VT, VR: 'static>(
    joiner: &F,
    record: Record<'_, K, V>,
    found: Option<&VT>,
    children: &Children<K, VR>,
    ctx: &mut Context<'_>,
) -> Result
where
    F: Fn(&K, &V, Option<&VT>) -> Option<VR>,
{
    match joiner(record.key, record.value, found) {
        Some(joined) => children.forward(record.with_value(&joined), ctx),
        None => Ok(()),
    }
}
