//! `filter` and `filter_not`: keeps the records for which a predicate holds. Stateless.

use std::sync::Arc;

use crate::error::Result;
use crate::node::{Children, Context, Operator};
use crate::record::Record;

/// Pushes on the records for which `predicate` says `keep`.
pub(crate) struct Filter<F, K, V> {
    pub(crate) predicate: Arc<F>,
    pub(crate) keep: bool,
    pub(crate) children: Children<K, V>,
}

impl<F, K: 'static, V: 'static> Operator<K, V> for Filter<F, K, V>
where
    F: Fn(&K, &V) -> bool + Send + Sync,
{
    #[inline]
    fn process(&mut self, record: Record<'_, K, V>, ctx: &mut Context<'_>) -> Result {
        if (self.predicate)(record.key, record.value) == self.keep {
            self.children.forward(record, ctx)?;
        }
        Ok(())
    }
}
