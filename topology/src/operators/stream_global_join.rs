//! `join_global` and `left_join_global` of a stream: looks a key made of each record up in a global
//! table.
//!
//! Keeps nothing: it reads the table's store, by name. Only the stream side triggers. Drops, counted:
//! records with a null value; in an inner join, records for which no key is made.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::node::{Children, Context, DropReason, Operator};
use crate::record::Record;
use crate::serde::SerdeRef;
use crate::store::spec::split_timestamp;

/// Joins each record with the global table's value under the key that is made of it.
pub(crate) struct StreamGlobalJoin<S, F, V, K2, VT, K, VR> {
    /// Makes the table's key; `None` finds nothing.
    pub(crate) selector: Arc<S>,
    pub(crate) joiner: Arc<F>,
    /// `None` where the stream's values have no serde: they are then never null.
    pub(crate) value: Option<SerdeRef<V>>,
    pub(crate) store: String,
    pub(crate) table_key: SerdeRef<K2>,
    pub(crate) table_value: SerdeRef<VT>,
    pub(crate) left: bool,
    /// Reused buffers.
    pub(crate) key_bytes: Vec<u8>,
    pub(crate) found: Vec<u8>,
    pub(crate) children: Children<K, VR>,
}

impl<S, F, K, V, K2, VT, VR> Operator<K, V> for StreamGlobalJoin<S, F, V, K2, VT, K, VR>
where
    S: Fn(&K, &V) -> Option<K2> + Send + Sync,
    F: Fn(&K, &V, Option<&VT>) -> Option<VR> + Send + Sync,
    K: 'static,
    V: 'static,
    K2: 'static,
    VT: 'static,
    VR: 'static,
{
    fn process(&mut self, record: Record<'_, K, V>, ctx: &mut Context<'_>) -> Result {
        if self.value.as_ref().is_some_and(|serde| serde.is_null(record.value)) {
            ctx.drop_record(DropReason::NullValue);
            return Ok(());
        }
        let key =
            (self.selector)(record.key, record.value).filter(|key| !self.table_key.is_null(key));
        let found = match key {
            Some(key) => {
                self.key_bytes.clear();
                self.table_key.serialize(&key, &mut self.key_bytes).map_err(Error::processing)?;
                match ctx.host.global_get(&self.store, &self.key_bytes, &mut self.found)? {
                    true => Some(self.read()?),
                    false => None,
                }
            }
            None if self.left => None,
            None => {
                ctx.drop_record(DropReason::NullKey);
                return Ok(());
            }
        };
        if found.is_none() && !self.left {
            return Ok(());
        }
        match (self.joiner)(record.key, record.value, found.as_ref()) {
            Some(joined) => self.children.forward(record.with_value(&joined), ctx),
            None => Ok(()),
        }
    }
}

impl<S, F, V, K2, VT: 'static, K, VR> StreamGlobalJoin<S, F, V, K2, VT, K, VR> {
    /// The value found: a global table's store keeps it behind its timestamp.
    fn read(&self) -> Result<VT> {
        let (_, bytes) = split_timestamp(&self.found);
        self.table_value.deserialize(bytes).map_err(|cause| {
            Error::store(&self.store, format!("its value cannot be read: {cause}"))
        })
    }
}
