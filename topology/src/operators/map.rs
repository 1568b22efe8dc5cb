//! `map`, `map_values`, `flat_map`, `flat_map_values` and `select_key`: make records of a record.
//! Stateless; timestamp and headers are kept.

use std::sync::Arc;

use crate::error::Result;
use crate::node::{Children, Context, Operator};
use crate::record::Record;

/// A new key and value for each record.
pub(crate) struct Map<F, K, V> {
    pub(crate) mapper: Arc<F>,
    pub(crate) children: Children<K, V>,
}

impl<F, K, V, K2: 'static, V2: 'static> Operator<K, V> for Map<F, K2, V2>
where
    F: Fn(&K, &V) -> (K2, V2) + Send + Sync,
{
    #[inline]
    fn process(&mut self, record: Record<'_, K, V>, ctx: &mut Context<'_>) -> Result {
        let (key, value) = (self.mapper)(record.key, record.value);
        let Record { timestamp, headers, .. } = record;
        self.children.forward(Record { key: &key, value: &value, timestamp, headers }, ctx)
    }
}

/// A new value for each record; a failing mapper hands the record to the processing handler.
pub(crate) struct MapValues<F, K, V> {
    pub(crate) mapper: Arc<F>,
    pub(crate) children: Children<K, V>,
}

impl<F, K: 'static, V, V2: 'static> Operator<K, V> for MapValues<F, K, V2>
where
    F: Fn(&K, &V) -> Result<V2> + Send + Sync,
{
    #[inline]
    fn process(&mut self, record: Record<'_, K, V>, ctx: &mut Context<'_>) -> Result {
        let value = (self.mapper)(record.key, record.value)?;
        self.children.forward(record.with_value(&value), ctx)
    }
}

/// Any number of records for each.
pub(crate) struct FlatMap<F, K, V> {
    pub(crate) mapper: Arc<F>,
    pub(crate) children: Children<K, V>,
}

impl<F, I, K, V, K2: 'static, V2: 'static> Operator<K, V> for FlatMap<F, K2, V2>
where
    F: Fn(&K, &V) -> I + Send + Sync,
    I: IntoIterator<Item = (K2, V2)>,
{
    fn process(&mut self, record: Record<'_, K, V>, ctx: &mut Context<'_>) -> Result {
        let Record { timestamp, headers, .. } = record;
        for (key, value) in (self.mapper)(record.key, record.value) {
            self.children.forward(Record { key: &key, value: &value, timestamp, headers }, ctx)?;
        }
        Ok(())
    }
}

/// Any number of values for each record, under its key.
pub(crate) struct FlatMapValues<F, K, V> {
    pub(crate) mapper: Arc<F>,
    pub(crate) children: Children<K, V>,
}

impl<F, I, K: 'static, V, V2: 'static> Operator<K, V> for FlatMapValues<F, K, V2>
where
    F: Fn(&K, &V) -> I + Send + Sync,
    I: IntoIterator<Item = V2>,
{
    fn process(&mut self, record: Record<'_, K, V>, ctx: &mut Context<'_>) -> Result {
        for value in (self.mapper)(record.key, record.value) {
            self.children.forward(record.with_value(&value), ctx)?;
        }
        Ok(())
    }
}

/// A new key for each record; its value is passed on as it is.
pub(crate) struct SelectKey<F, K, V> {
    pub(crate) selector: Arc<F>,
    pub(crate) children: Children<K, V>,
}

impl<F, K, V: 'static, K2: 'static> Operator<K, V> for SelectKey<F, K2, V>
where
    F: Fn(&K, &V) -> K2 + Send + Sync,
{
    #[inline]
    fn process(&mut self, record: Record<'_, K, V>, ctx: &mut Context<'_>) -> Result {
        let key = (self.selector)(record.key, record.value);
        self.children.forward(record.with_key(&key), ctx)
    }
}
