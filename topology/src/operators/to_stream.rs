//! `to_stream`: a table's changes as records of their new values. Stateless.

use crate::error::Result;
use crate::node::{Children, Context, Operator};
use crate::operators::change::Change;
use crate::record::Record;

/// Pushes each new value on; a deletion as `None`.
pub(crate) struct ToStream<K, V> {
    pub(crate) children: Children<K, Option<V>>,
}

impl<K: 'static, V: 'static> Operator<K, Change<V>> for ToStream<K, V> {
    #[inline]
    fn process(&mut self, record: Record<'_, K, Change<V>>, ctx: &mut Context<'_>) -> Result {
        self.children.forward(record.with_value(&record.value.new), ctx)
    }
}
