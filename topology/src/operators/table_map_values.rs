//! `map_values` of a table: a new value for each, none for a deletion.
//!
//! Keeps what `DerivedTable` keeps. The mapper is not called for a deletion, which stays one.

use std::sync::Arc;

use crate::error::Result;
use crate::node::{Children, Context, Operator};
use crate::operators::change::Change;
use crate::operators::derived_table::DerivedTable;
use crate::record::Record;

/// Maps the values of changes.
pub(crate) struct TableMapValues<F, K, V> {
    pub(crate) mapper: Arc<F>,
    pub(crate) result: DerivedTable<K, V>,
    pub(crate) children: Children<K, Change<V>>,
}

impl<F, K: 'static, V: 'static, V2: 'static> Operator<K, Change<V>> for TableMapValues<F, K, V2>
where
    F: Fn(&K, &V) -> Option<V2> + Send + Sync,
{
    fn process(&mut self, record: Record<'_, K, Change<V>>, ctx: &mut Context<'_>) -> Result {
        let map =
            |value: &Option<V>| value.as_ref().and_then(|value| (self.mapper)(record.key, value));
        let change =
            self.result.change(record, map(&record.value.new), || map(&record.value.old), ctx)?;
        match change {
            Some(change) => self.children.forward(record.with_value(&change), ctx),
            None => Ok(()),
        }
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> Result {
        self.result.push_on(&self.children, ctx)
    }
}
