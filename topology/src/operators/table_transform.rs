//! `transform_values` of a table: user code with stores makes a new value of each, deletions included.
//!
//! Keeps what `DerivedTable` keeps, besides the stores of the transformer's own.

use crate::error::Result;
use crate::node::{Children, Context, Operator};
use crate::operators::change::Change;
use crate::operators::derived_table::DerivedTable;
use crate::processor::{BoundStores, ProcessorContext};
use crate::record::Record;

/// Makes a table's new values; it may read and write stores. See
/// [`KTable::transform_values`](crate::dsl::table::KTable::transform_values).
pub trait TableTransformer<K: 'static, V: 'static>: Send + 'static {
    /// Type of the values made.
    type Out: 'static;

    /// Called once, before any record: bind stores here.
    ///
    /// # Errors
    /// When it cannot start; the task stops.
    fn init(&mut self, ctx: &mut ProcessorContext<'_, '_, (), ()>) -> Result {
        let _ = ctx;
        Ok(())
    }

    /// The value for a key, from its value in the table above; `None` is no value, here and there.
    ///
    /// # Errors
    /// [`Error::processing`](crate::error::Error::processing) hands the record to the processing
    /// handler; errors of `ctx` are passed on with `?`.
    fn transform(
        &mut self,
        key: &K,
        value: Option<&V>,
        ctx: &mut ProcessorContext<'_, '_, (), ()>,
    ) -> Result<Option<Self::Out>>;
}

/// Runs a [`TableTransformer`] as a node.
pub(crate) struct TableTransformValues<T, K, V> {
    pub(crate) transformer: T,
    pub(crate) stores: BoundStores,
    /// A transformer forwards nothing of its own.
    pub(crate) nobody: Children<(), ()>,
    pub(crate) result: DerivedTable<K, V>,
    pub(crate) children: Children<K, Change<V>>,
}

impl<K: 'static, V: 'static, T: TableTransformer<K, V>> Operator<K, Change<V>>
    for TableTransformValues<T, K, T::Out>
{
    fn init(&mut self, ctx: &mut Context<'_>) -> Result {
        self.transformer.init(&mut ProcessorContext::new(ctx, &self.nobody, Some(&self.stores)))
    }

    fn process(&mut self, record: Record<'_, K, Change<V>>, ctx: &mut Context<'_>) -> Result {
        let Change { old, new, .. } = record.value;
        let needs_old = self.result.send_old && self.result.kept.is_none();
        let mut own = ProcessorContext::new(ctx, &self.nobody, Some(&self.stores));
        let new = self.transformer.transform(record.key, new.as_ref(), &mut own)?;
        let old = match needs_old {
            true => self.transformer.transform(record.key, old.as_ref(), &mut own)?,
            false => None,
        };
        match self.result.change(record, new, || old, ctx)? {
            Some(change) => self.children.forward(record.with_value(&change), ctx),
            None => Ok(()),
        }
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> Result {
        self.result.push_on(&self.children, ctx)
    }
}
