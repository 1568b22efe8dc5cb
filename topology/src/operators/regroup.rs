//! `group_by` of a table: sends each change to the groups that its old and new value belong to.
//!
//! Stateless. Old and new value of one group travel as one record, of different groups as two, the
//! old one first. Changes of values that are not the latest of a versioned table are left out, and
//! so is a half with a null key or value, uncounted.

use std::sync::Arc;

use crate::error::Result;
use crate::node::{Children, Context, Operator};
use crate::operators::change::Change;
use crate::record::Record;
use crate::serde::SerdeRef;

/// Puts changes under their groups' keys.
pub(crate) struct Regroup<F, K, V> {
    pub(crate) selector: Arc<F>,
    pub(crate) key: SerdeRef<K>,
    pub(crate) value: SerdeRef<V>,
    pub(crate) children: Children<K, Change<V>>,
}

impl<F, K, V, K2: PartialEq + 'static, V2: 'static> Operator<K, Change<V>> for Regroup<F, K2, V2>
where
    F: Fn(&K, &V) -> (K2, V2) + Send + Sync,
{
    fn process(&mut self, record: Record<'_, K, Change<V>>, ctx: &mut Context<'_>) -> Result {
        let Change { old, new, is_latest } = record.value;
        if !is_latest {
            return Ok(());
        }
        let select = |value: &Option<V>| {
            let (key, value) = (self.selector)(record.key, value.as_ref()?);
            (!self.key.is_null(&key) && !self.value.is_null(&value)).then_some((key, value))
        };
        let mut send = |key: &K2, change: Change<V2>| {
            let Record { timestamp, headers, .. } = record;
            self.children.forward(Record { key, value: &change, timestamp, headers }, ctx)
        };
        match (select(old), select(new)) {
            (Some((key, old)), Some((same, new))) if key == same => {
                send(&key, Change::latest(Some(old), Some(new)))
            }
            (old, new) => {
                if let Some((key, old)) = old {
                    send(&key, Change::latest(Some(old), None))?;
                }
                match new {
                    Some((key, new)) => send(&key, Change::latest(None, Some(new))),
                    None => Ok(()),
                }
            }
        }
    }
}
