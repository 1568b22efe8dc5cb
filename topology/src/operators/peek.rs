//! `peek` and `for_each`: looks at each record. Stateless.

use std::sync::Arc;

use crate::error::Result;
use crate::node::{Children, Context, Operator};
use crate::record::Record;

/// Shows each record to `action`, then pushes it on.
pub(crate) struct Peek<F, K, V> {
    pub(crate) action: Arc<F>,
    pub(crate) children: Children<K, V>,
}

impl<F, K: 'static, V: 'static> Operator<K, V> for Peek<F, K, V>
where
    F: Fn(&K, &V) + Send + Sync,
{
    #[inline]
    fn process(&mut self, record: Record<'_, K, V>, ctx: &mut Context<'_>) -> Result {
        (self.action)(record.key, record.value);
        self.children.forward(record, ctx)
    }
}
