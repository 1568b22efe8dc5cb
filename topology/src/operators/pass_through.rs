//! `merge`, and the named ends of branches: pushes each record on as it is. Stateless.

use crate::error::Result;
use crate::node::{Children, Context, Operator};
use crate::record::Record;

/// Pushes each record on.
pub(crate) struct PassThrough<K, V> {
    pub(crate) children: Children<K, V>,
}

impl<K: 'static, V: 'static> Operator<K, V> for PassThrough<K, V> {
    #[inline]
    fn process(&mut self, record: Record<'_, K, V>, ctx: &mut Context<'_>) -> Result {
        self.children.forward(record, ctx)
    }
}
