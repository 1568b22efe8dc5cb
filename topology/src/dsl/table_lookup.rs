//! Which stores a join needs to look a table up: the table's own, or, where it is not kept, those of
//! the tables that it is made of.

use std::rc::Rc;
use std::sync::Arc;

use crate::dsl::table::{KTable, TableStore};
use crate::error::Result;
use crate::graph::Wiring;
use crate::node::Children;
use crate::operators::table_transform::TableTransformer;
use crate::operators::table_view::{
    JoinedView, LookUp, MappedView, StoredTable, StoredWindows, SuppressedView, TableView,
    TransformedView,
};
use crate::processor::BoundStores;
use crate::serde::{Missing, SerdeRef};
use crate::store::change_buffer::ChangeBuffer;
use crate::store::spec::StoreKind;

/// Makes a task's view of a table.
pub(crate) type MakeView<K, V> =
    Arc<dyn Fn(&mut Wiring<'_>) -> Result<TableView<K, V>> + Send + Sync>;

/// A table as something to look values up in.
pub(crate) struct TableLookUp<K, V> {
    key: SerdeRef<K>,
    value: SerdeRef<V>,
    store: TableStore,
    computed: Option<Rc<dyn Computed<K, V>>>,
}

/// How the values of a table that is not kept are found.
pub(crate) trait Computed<K, V> {
    /// Demands what a look-up needs.
    fn require(&self);
    /// The names of the stores that a look-up reads, once all is declared.
    fn stores(&self) -> Vec<String>;
    /// What looks up, once all is declared.
    fn view(&self) -> MakeView<K, V>;
}

impl<K: 'static, V: 'static> KTable<K, V> {
    /// The table as something to look values up in.
    pub(crate) fn look_up(&self) -> TableLookUp<K, V> {
        TableLookUp {
            key: self.key.clone(),
            value: self.value.clone().unwrap_or_else(|| Arc::new(Missing)),
            store: self.store.clone(),
            computed: self.computed.clone(),
        }
    }
}

impl<K: 'static, V: 'static> TableLookUp<K, V> {
    /// The way to compute the values, unless the table is kept for other reasons.
    fn computed(&self) -> Option<&Rc<dyn Computed<K, V>>> {
        self.computed.as_ref().filter(|_| !self.store.is_required())
    }

    /// Demands what a look-up needs.
    pub(crate) fn require(&self) {
        match self.computed() {
            Some(computed) => computed.require(),
            None => self.store.require(),
        }
    }

    /// The names of the stores that a look-up reads, once all is declared.
    pub(crate) fn stores(&self) -> Vec<String> {
        match self.computed() {
            Some(computed) => computed.stores(),
            None => vec![self.store.name()],
        }
    }

    /// Its layout, where it is kept.
    pub(crate) fn kind(&self) -> Option<StoreKind> {
        self.computed().is_none().then(|| self.store.kind())
    }

    /// What looks up, once all is declared.
    pub(crate) fn view(&self) -> MakeView<K, V> {
        if let Some(computed) = self.computed() {
            return computed.view();
        }
        let (name, key, value) = (self.store.name(), self.key.clone(), self.value.clone());
        let windowed = self.store.kind().retention_ms().is_some();
        Arc::new(move |wiring| {
            let values: Box<dyn LookUp<K, V>> = match windowed {
                true => Box::new(StoredWindows::bind(wiring, &name, value.clone())?),
                false => Box::new(StoredTable::bind(wiring, &name)?),
            };
            Ok(TableView { key: key.clone(), values })
        })
    }
}

/// A table whose values are made of those of the table above.
pub(crate) struct MappedTable<K, U, F> {
    pub(crate) above: TableLookUp<K, U>,
    pub(crate) map: Arc<F>,
}

impl<K, U, V, F> Computed<K, V> for MappedTable<K, U, F>
where
    K: 'static,
    U: 'static,
    V: 'static,
    F: Fn(&K, U) -> Option<V> + Send + Sync + 'static,
{
    fn require(&self) {
        self.above.require();
    }

    fn stores(&self) -> Vec<String> {
        self.above.stores()
    }

    fn view(&self) -> MakeView<K, V> {
        let (above, map) = (self.above.view(), Arc::clone(&self.map));
        Arc::new(move |wiring| {
            let above = above(wiring)?;
            let key = above.key.clone();
            Ok(TableView { key, values: Box::new(MappedView { above, map: Arc::clone(&map) }) })
        })
    }
}

/// A table whose values a transformer makes of those of the table above. Each join that looks it up
/// has a transformer of its own.
pub(crate) struct TransformedTable<K, U, S> {
    pub(crate) above: TableLookUp<K, U>,
    pub(crate) supplier: Arc<S>,
    /// The stores that the transformer is connected to.
    pub(crate) stores: Vec<String>,
}

impl<K, U, T, S> Computed<K, T::Out> for TransformedTable<K, U, S>
where
    K: 'static,
    U: 'static,
    T: TableTransformer<K, U>,
    S: Fn() -> T + Send + Sync + 'static,
{
    fn require(&self) {
        self.above.require();
    }

    fn stores(&self) -> Vec<String> {
        let mut stores = self.above.stores();
        stores.extend(self.stores.iter().cloned());
        stores
    }

    fn view(&self) -> MakeView<K, T::Out> {
        let (above, supplier) = (self.above.view(), Arc::clone(&self.supplier));
        let stores = self.stores.clone();
        Arc::new(move |wiring| {
            let above = above(wiring)?;
            let key = above.key.clone();
            let values = TransformedView {
                above,
                transformer: supplier(),
                stores: BoundStores::new(wiring, &stores)?,
                nobody: Children::new(&[]),
                is_ready: false,
            };
            Ok(TableView { key, values: Box::new(values) })
        })
    }
}

/// A table whose changes are held back in a buffer.
pub(crate) struct SuppressedTable<K, V> {
    pub(crate) above: TableLookUp<K, V>,
    /// The buffer's store.
    pub(crate) buffer: String,
    pub(crate) value: SerdeRef<V>,
}

impl<K: 'static, V: 'static> Computed<K, V> for SuppressedTable<K, V> {
    fn require(&self) {
        self.above.require();
    }

    fn stores(&self) -> Vec<String> {
        let mut stores = self.above.stores();
        stores.push(self.buffer.clone());
        stores
    }

    fn view(&self) -> MakeView<K, V> {
        let (above, buffer) = (self.above.view(), self.buffer.clone());
        let value = self.value.clone();
        Arc::new(move |wiring| {
            let above = above(wiring)?;
            let key = above.key.clone();
            let buffer = ChangeBuffer::bind(wiring, &buffer)?;
            let values = SuppressedView { above, buffer, value: value.clone() };
            Ok(TableView { key, values: Box::new(values) })
        })
    }
}

/// A table that joins two others.
pub(crate) struct JoinedTables<K, A, B, F> {
    pub(crate) left: TableLookUp<K, A>,
    pub(crate) right: TableLookUp<K, B>,
    pub(crate) joiner: Arc<F>,
}

impl<K, A, B, R, F> Computed<K, R> for JoinedTables<K, A, B, F>
where
    K: 'static,
    A: 'static,
    B: 'static,
    R: 'static,
    F: Fn(&K, Option<&A>, Option<&B>) -> Option<R> + Send + Sync + 'static,
{
    // The join itself has demanded both.
    fn require(&self) {}

    fn stores(&self) -> Vec<String> {
        let mut stores = self.left.stores();
        stores.extend(self.right.stores());
        stores.sort_unstable();
        stores.dedup();
        stores
    }

    fn view(&self) -> MakeView<K, R> {
        let (left, right) = (self.left.view(), self.right.view());
        let joiner = Arc::clone(&self.joiner);
        Arc::new(move |wiring| {
            let (left, right) = (left(wiring)?, right(wiring)?);
            let key = left.key.clone();
            let joiner = Arc::clone(&joiner);
            Ok(TableView { key, values: Box::new(JoinedView { left, right, joiner }) })
        })
    }
}
