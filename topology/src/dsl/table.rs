//! A table: the latest value of each key.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use crate::dsl::builder::PlanRef;
use crate::dsl::options::Materialized;
use crate::dsl::stream::KStream;
use crate::error::Result;
use crate::graph::{Graph, Store};
use crate::node::Slot;
use crate::operators::to_stream::ToStream;
use crate::serde::SerdeRef;
use crate::store::spec::{StoreKind, StoreSpec};

/// The latest value of each key: an update replaces what was there, a deletion removes it.
pub struct KTable<K, V> {
    pub(crate) plan: PlanRef,
    pub(crate) node: usize,
    pub(crate) name: String,
    pub(crate) key: SerdeRef<K>,
    pub(crate) value: Option<SerdeRef<V>>,
    pub(crate) store: TableStore,
    pub(crate) sources: BTreeSet<Arc<str>>,
}

impl<K, V> Clone for KTable<K, V> {
    fn clone(&self) -> Self {
        Self {
            plan: self.plan.clone(),
            node: self.node,
            name: self.name.clone(),
            key: self.key.clone(),
            value: self.value.clone(),
            store: self.store.clone(),
            sources: self.sources.clone(),
        }
    }
}

/// A table's store: written to the graph only if it has a name of its own or something below needs
/// it, which is known when the topology is built.
#[derive(Clone)]
pub(crate) struct TableStore {
    store: Rc<Store>,
    required: Rc<Cell<bool>>,
    sends_old: Rc<Cell<bool>>,
}

impl TableStore {
    pub(crate) fn new<K: 'static, V: 'static, M>(
        name: String,
        materialized: &Materialized<M>,
        key: SerdeRef<K>,
        value: SerdeRef<V>,
    ) -> Self {
        Self::of_kind(name, materialized, StoreKind::TimestampedKeyValue, key, value)
    }

    pub(crate) fn of_kind<K: 'static, V: 'static, M>(
        name: String,
        materialized: &Materialized<M>,
        kind: StoreKind,
        key: SerdeRef<K>,
        value: SerdeRef<V>,
    ) -> Self {
        let spec = StoreSpec {
            persistent: materialized.persistent,
            caching: materialized.caching,
            logged: materialized.logged,
            changelog_config: materialized.changelog_config.clone(),
            ..StoreSpec::new(name, kind)
        };
        Self {
            store: Rc::new(Store::new(spec, key, value)),
            required: Rc::new(Cell::new(materialized.name.is_some())),
            sends_old: Rc::default(),
        }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.store.spec.name
    }

    /// Something needs the store.
    pub(crate) fn require(&self) {
        self.required.set(true);
    }

    /// Whether something below asked for old values.
    pub(crate) fn sends_old(&self) -> bool {
        self.sends_old.get()
    }

    /// Adds the store to the graph if it is needed; its name, for the node that keeps it.
    pub(crate) fn write(&self, graph: &mut Graph) -> Result<Vec<String>> {
        if !self.required.get() {
            return Ok(Vec::new());
        }
        graph.add_store((*self.store).clone())?;
        Ok(vec![self.name().to_owned()])
    }
}

/// Whether a name was generated: it ends with a ten-digit counter.
pub(crate) fn is_generated(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(_, digits)| digits.len() == 10 && digits.bytes().all(|b| b.is_ascii_digit()))
}

impl<K: 'static, V: 'static> KTable<K, V> {
    /// The table's changes as a stream; a deletion is `None`.
    pub fn to_stream(&self) -> KStream<K, Option<V>> {
        let name = self.plan.name(None, "KTABLE-TOSTREAM-");
        let node = self.plan.processor(
            &[self.node],
            &name,
            &[],
            Arc::new(|wiring| Ok(Slot::new(ToStream { children: wiring.children::<K, Option<V>>() }))),
        );
        let value = self.value.clone().map(|serde| Arc::new(crate::serde::Nullable(serde)) as SerdeRef<Option<V>>);
        KStream {
            plan: self.plan.clone(),
            node,
            name,
            key: Some(self.key.clone()),
            value,
            key_changed: false,
            sources: self.sources.clone(),
        }
    }
}
