//! `join`, `left_join` and `outer_join` of two tables: one side of it.
//!
//! Keeps: its result, where that is to be kept (see `TableState`). A change of either table looks
//! up the other's value and gives the result's change, with the higher timestamp of the two. An inner
//! join says nothing while the other table has no value; then even a deletion of what never was
//! joined is told. A left or outer join says nothing only where neither the other table nor the
//! change has a value. Drops, counted: changes of a versioned table that come out of order.

use std::sync::Arc;

use crate::error::Result;
use crate::node::{Children, Context, DropReason, Operator};
use crate::operators::change::Change;
use crate::operators::table_state::TableState;
use crate::operators::table_view::{AsOf, TableView};
use crate::record::Record;

/// Joins one table's changes with the other's values.
pub(crate) struct TableJoin<F, K, O, R> {
    /// Given this side's value and the other's, of which one may be missing; `None` where the join
    /// has no result without it.
    pub(crate) joiner: Arc<F>,
    pub(crate) other: TableView<K, O>,
    /// Whether there are results without a value of the other table.
    pub(crate) outer: bool,
    /// Whether the nodes below want old values, and no store of the result tells them.
    pub(crate) computes_old: bool,
    pub(crate) result: TableState<K, R>,
    pub(crate) key_bytes: Vec<u8>,
    pub(crate) children: Children<K, Change<R>>,
}

impl<F, K, V, O, R> Operator<K, Change<V>> for TableJoin<F, K, O, R>
where
    F: Fn(&K, Option<&V>, Option<&O>) -> Option<R> + Send + Sync,
    K: 'static,
    V: 'static,
    O: 'static,
    R: 'static,
{
    fn process(&mut self, record: Record<'_, K, Change<V>>, ctx: &mut Context<'_>) -> Result {
        let change = record.value;
        if !change.is_latest {
            ctx.drop_record(DropReason::OutOfOrder);
            return Ok(());
        }
        self.other.write_key(record.key, &mut self.key_bytes)?;
        let other = self.other.get(record.key, &self.key_bytes, AsOf::Now, ctx)?;
        if other.is_none() && (!self.outer || change.new.is_none() && change.old.is_none()) {
            return Ok(());
        }
        let timestamp =
            other.as_ref().map_or(record.timestamp, |other| other.timestamp.max(record.timestamp));
        let other = other.as_ref().map(|other| &other.value);
        let joined = |value: Option<&V>| match (value, other) {
            (None, None) => None,
            (value, other) => (self.joiner)(record.key, value, other),
        };
        let new = joined(change.new.as_ref());
        let old = if self.computes_old { joined(change.old.as_ref()) } else { None };
        let Some(mut change) = self.result.update(&self.key_bytes, new, timestamp, ctx)? else {
            return Ok(());
        };
        if self.computes_old {
            change.old = old;
        }
        self.children.forward(record.with_value(&change).with_timestamp(timestamp), ctx)
    }
}
