//! `filter` and `filter_not` of a table: a value for which the predicate does not hold is none.
//!
//! Keeps what `DerivedTable` keeps. A value that fails is told as a deletion; where old values are
//! known, only if the old one had passed.

use std::sync::Arc;

use crate::error::Result;
use crate::node::{Children, Context, Operator};
use crate::operators::change::Change;
use crate::operators::derived_table::DerivedTable;
use crate::record::Record;

/// Lets the values through for which `predicate` says `keep`.
pub(crate) struct TableFilter<F, K, V> {
    pub(crate) predicate: Arc<F>,
    pub(crate) keep: bool,
    /// Whether changes tell what was there before.
    pub(crate) knows_old: bool,
    pub(crate) result: DerivedTable<K, V>,
    pub(crate) children: Children<K, Change<V>>,
}

impl<F, K: 'static, V: Clone + 'static> Operator<K, Change<V>> for TableFilter<F, K, V>
where
    F: Fn(&K, &V) -> bool + Send + Sync,
{
    fn process(&mut self, record: Record<'_, K, Change<V>>, ctx: &mut Context<'_>) -> Result {
        let Change { old, new, .. } = record.value;
        let passes = |value: &Option<V>| {
            value.as_ref().is_some_and(|value| (self.predicate)(record.key, value) == self.keep)
        };
        let new_passes = passes(new);
        if self.result.kept.is_none() {
            let old_passes = passes(old);
            if self.knows_old && !new_passes && !old_passes {
                return Ok(());
            }
            if new_passes == new.is_some() && old_passes == old.is_some() {
                return self.children.forward(record, ctx);
            }
        }
        let filtered = if new_passes { new.clone() } else { None };
        let old = || if passes(old) { old.clone() } else { None };
        let Some(change) = self.result.change(record, filtered, old, ctx)? else { return Ok(()) };
        if self.knows_old && change.new.is_none() && change.old.is_none() {
            return Ok(());
        }
        self.children.forward(record.with_value(&change), ctx)
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> Result {
        self.result.push_on(&self.children, ctx)
    }
}
