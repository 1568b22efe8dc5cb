//! `split`: sends each record down the first branch whose predicate holds. Stateless; a record that
//! no branch takes, where there is no default branch, ends here as the topology says.

use std::sync::Arc;

use crate::error::Result;
use crate::node::{Children, Context, Operator};
use crate::record::Record;

/// A branch's predicate.
pub(crate) type Predicate<K, V> = Arc<dyn Fn(&K, &V) -> bool + Send + Sync>;

/// One child a predicate, in their order.
pub(crate) struct Branch<K, V> {
    pub(crate) branches: Vec<(Predicate<K, V>, Children<K, V>)>,
}

impl<K: 'static, V: 'static> Operator<K, V> for Branch<K, V> {
    #[inline]
    fn process(&mut self, record: Record<'_, K, V>, ctx: &mut Context<'_>) -> Result {
        for (predicate, child) in &self.branches {
            if predicate(record.key, record.value) {
                return child.forward(record, ctx);
            }
        }
        Ok(())
    }
}
