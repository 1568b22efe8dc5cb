//! A table: the latest value of each key.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use crate::dsl::builder::PlanRef;
use crate::dsl::options::Materialized;
use crate::dsl::stream::KStream;
use crate::dsl::table_lookup::Computed;
use crate::error::{Error, Result};
use crate::graph::{Graph, Store};
use crate::node::Slot;
use crate::operators::to_stream::ToStream;
use crate::serde::{Missing, Serde, SerdeRef};
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
    /// How its values are looked up where it is not kept; `None` where it must be.
    pub(crate) computed: Option<Rc<dyn Computed<K, V>>>,
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
            computed: self.computed.clone(),
        }
    }
}

/// A table's store: written to the graph only if it has a name of its own or something below needs
/// it, which is known when the topology is built.
#[derive(Clone)]
pub(crate) struct TableStore {
    store: Rc<RefCell<Store>>,
    /// False where values have no serde yet: the table cannot be kept.
    writable: Rc<Cell<bool>>,
    required: Rc<Cell<bool>>,
    sends_old: Rc<Cell<bool>>,
    /// The tables that this one is computed from, which tell old values where this one is not kept.
    above: Rc<[TableStore]>,
    /// The number in the store's generated name, where the operation has generated one beforehand.
    index: Option<usize>,
}

impl TableStore {
    /// The store of a table that is read, aggregated or joined.
    pub(crate) fn new<K: 'static, V: 'static>(
        name: String,
        materialized: &Materialized<V>,
        key: SerdeRef<K>,
        value: SerdeRef<V>,
    ) -> Self {
        let kind = match materialized.history_ms {
            Some(history_ms) => StoreKind::Versioned { history_ms },
            None => StoreKind::TimestampedKeyValue,
        };
        Self::of_kind(name, materialized, kind, key, value)
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
            // A version that is replaced stays: there is nothing to merge.
            caching: materialized.caching && materialized.history_ms.is_none(),
            logged: materialized.logged,
            changelog_config: materialized.changelog_config.clone(),
            time_to_live_ms: materialized.time_to_live_ms,
            ..StoreSpec::new(name, kind)
        };
        let is_required = materialized.name.is_some() || materialized.time_to_live_ms.is_some();
        Self {
            store: Rc::new(RefCell::new(Store::new(spec, key, value))),
            writable: Rc::new(Cell::new(true)),
            required: Rc::new(Cell::new(is_required)),
            sends_old: Rc::default(),
            above: Rc::new([]),
            index: None,
        }
    }

    /// The store of a table that is computed from another: kept only if asked for.
    pub(crate) fn derived<K: 'static, V: 'static>(
        name: &str,
        above: &Self,
        key: SerdeRef<K>,
        value: Option<SerdeRef<V>>,
    ) -> Self {
        Self::derived_from(name, vec![above.clone()], key, value)
    }

    /// The store of a join's result that, unless it is kept, nobody can look up or compute again.
    pub(crate) fn of_join<K: 'static, V: 'static>(
        name: String,
        index: usize,
        key: SerdeRef<K>,
    ) -> Self {
        let spec = StoreSpec::new(name, StoreKind::TimestampedKeyValue);
        Self { index: Some(index), ..Self::unkept::<K, V>(spec, Rc::new([]), key, None) }
    }

    /// The store of a table that is computed from several others: kept only if asked for.
    pub(crate) fn derived_from<K: 'static, V: 'static>(
        name: &str,
        above: Vec<Self>,
        key: SerdeRef<K>,
        value: Option<SerdeRef<V>>,
    ) -> Self {
        let spec = StoreSpec::new(format!("{name}-store"), StoreKind::TimestampedKeyValue);
        Self::unkept(spec, above.into(), key, value)
    }

    fn unkept<K: 'static, V: 'static>(
        spec: StoreSpec,
        above: Rc<[Self]>,
        key: SerdeRef<K>,
        value: Option<SerdeRef<V>>,
    ) -> Self {
        let writable = value.is_some();
        let value = value.unwrap_or_else(|| Arc::new(Missing));
        Self {
            store: Rc::new(RefCell::new(Store::new(spec, key, value))),
            writable: Rc::new(Cell::new(writable)),
            required: Rc::default(),
            sends_old: Rc::default(),
            above,
            index: None,
        }
    }

    /// Takes another's declaration, for a table that is to be kept after all.
    fn keep_as(&self, other: &Self) {
        self.store.replace(other.store.borrow().clone());
        self.writable.set(true);
        self.required.set(true);
    }

    /// Gives the values a serde, so that the table can be kept under its own name after all.
    fn set_serdes<K: 'static, V: 'static>(&self, key: SerdeRef<K>, value: SerdeRef<V>) {
        let spec = self.store.borrow().spec.clone();
        self.store.replace(Store::new(spec, key, value));
        self.writable.set(true);
    }

    /// Its name.
    pub(crate) fn name(&self) -> String {
        self.store.borrow().spec.name.clone()
    }

    /// Its layout.
    pub(crate) fn kind(&self) -> StoreKind {
        self.store.borrow().spec.kind
    }

    /// Whether it is kept, as far as is known yet.
    pub(crate) fn is_required(&self) -> bool {
        self.required.get()
    }

    /// Something needs the store.
    pub(crate) fn require(&self) {
        self.required.set(true);
    }

    /// Something below asks for old values: they come from the store, or from the table above; and
    /// `force` keeps what was not to be kept. Whether they will come.
    pub(crate) fn request_old(&self, force: bool) -> bool {
        let come = if self.above.is_empty() || self.required.get() {
            self.required.set(self.required.get() || force);
            self.required.get()
        } else {
            // Each is asked, whatever the others said.
            let mut come = true;
            for above in self.above.iter() {
                come &= above.request_old(force);
            }
            come
        };
        self.sends_old.set(self.sends_old.get() || come);
        come
    }

    /// Whether something below asked for old values.
    pub(crate) fn sends_old(&self) -> bool {
        self.sends_old.get()
    }

    /// Lets a source topic serve as the changelog, or none. A store that deletes by itself has to
    /// have a changelog of its own: the source topic does not have the deletions.
    pub(crate) fn log_to_source(&self, topic: Option<&Arc<str>>) {
        let spec = &mut self.store.borrow_mut().spec;
        let topic = topic.filter(|_| spec.time_to_live_ms.is_none());
        spec.changelog_source = topic.map(ToString::to_string);
    }

    /// Adds the store to the graph if it is needed; its name, for the node that keeps it.
    pub(crate) fn write(&self, graph: &mut Graph) -> Result<Vec<String>> {
        if !self.required.get() {
            return Ok(Vec::new());
        }
        if !self.writable.get() {
            return Err(Error::wiring(format!(
                "table {} has to be kept, and its values have no serde: call materialized(..) or \
                 with_values(..) on it",
                self.name()
            )));
        }
        graph.add_store(self.store.borrow().clone())?;
        Ok(vec![self.name()])
    }
}

/// Whether a name was generated: it ends with a ten-digit counter.
pub(crate) fn is_generated(name: &str) -> bool {
    name.rsplit_once('-')
        .is_some_and(|(_, digits)| digits.len() == 10 && digits.bytes().all(|b| b.is_ascii_digit()))
}

impl<K: 'static, V: 'static> KTable<K, V> {
    /// Keeps the table in a store of that name, where it can be queried; for tables that are
    /// computed from others, which otherwise keep nothing.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// let stock = builder.table("stock", Consumed::with(Utf8, I64), Materialized::with(I64));
    /// stock.filter(|_, count| *count > 0).materialized(Materialized::named("available", I64));
    /// # assert_eq!(builder.build().unwrap().describe().subtopologies[0].stores, ["available"]);
    /// ```
    #[must_use]
    pub fn materialized(mut self, materialized: Materialized<V>) -> Self {
        let name = match (&materialized.name, self.store.index) {
            (Some(name), Some(index)) => {
                self.plan.give_back(index);
                name.clone()
            }
            (None, Some(_)) => self.store.name(),
            (name, None) => self.plan.store_name(name.as_deref(), "KTABLE-"),
        };
        let value = materialized.value.clone();
        if materialized.time_to_live_ms.is_some() {
            self.plan.error(format!(
                "table {name} is computed from others and cannot have a time to live: set it on the \
                 table that is read or aggregated, whose deletions reach this one"
            ));
        }
        self.store.keep_as(&TableStore::new(name, &materialized, self.key.clone(), value.clone()));
        self.value = Some(value);
        self
    }

    /// Says how the table's values are read and written, without keeping the table: for one that is
    /// computed from others, where its values travel or what is below has to keep them.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let customers = builder.table("customers", Consumed::with(Utf8, Utf8), Materialized::named("customers", Utf8));
    /// let orders = builder.table("orders", Consumed::with(Utf8, Utf8), Materialized::named("orders", Utf8));
    /// let owners = orders.map_values(|order| order.split(' ').next().map(str::to_owned));
    /// owners
    ///     .with_values(Nullable(Utf8))
    ///     .join_by_foreign_key(
    ///         &customers,
    ///         |_, owner| owner.clone(),
    ///         |_, _, customer| customer.clone(),
    ///         TableJoined::new().named("owner"),
    ///     )
    ///     .to_stream()
    ///     .to("owners", Produced::with(Utf8, Nullable(Utf8)));
    /// # builder.build().unwrap();
    /// ```
    #[must_use]
    pub fn with_values(mut self, value: impl Serde<V>) -> Self {
        let value: SerdeRef<V> = Arc::new(value);
        self.store.set_serdes(self.key.clone(), value.clone());
        self.value = Some(value);
        self
    }

    /// Gives the operation that made this table a name, in descriptions, errors and metrics: the
    /// `Named` of Kafka Streams. Its store is named by [`materialized`](Self::materialized).
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// let stock = builder.table("stock", Consumed::with(Utf8, I64), Materialized::with(I64));
    /// let available = stock.filter(|_, count| *count > 0).named("available");
    /// available.to_stream().named("changes").to("available", Produced::with(Utf8, Nullable(I64)));
    /// let described = builder.build().unwrap().describe().to_string();
    /// assert!(described.contains("Processor: available (stores: [])"));
    /// assert!(described.contains("Processor: changes (stores: [])"));
    /// ```
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.plan.rename(&self.name, &name);
        self.name = name;
        self
    }

    /// The table's changes as a stream under keys of another kind; a deletion is `None`.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// let stock = builder.table("stock", Consumed::with(Utf8, I64), Materialized::with(I64));
    /// stock
    ///     .to_stream_by(|item, count| format!("{item}:{}", count.is_some()))
    ///     .to("changes", Produced::with(Utf8, Nullable(I64)));
    /// # builder.build().unwrap();
    /// ```
    pub fn to_stream_by<K2: 'static>(
        &self,
        selector: impl Fn(&K, Option<&V>) -> K2 + Send + Sync + 'static,
    ) -> KStream<K2, Option<V>> {
        self.to_stream().select_key(move |key, value: &Option<V>| selector(key, value.as_ref()))
    }

    /// The table's changes as a stream; a deletion is `None`.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// let stock = builder.table("stock", Consumed::with(Utf8, I64), Materialized::with(I64));
    /// stock.to_stream().to("changes", Produced::with(Utf8, Nullable(I64)));
    /// # builder.build().unwrap();
    /// ```
    pub fn to_stream(&self) -> KStream<K, Option<V>> {
        let name = self.plan.name(None, "KTABLE-TOSTREAM-");
        let node = self.plan.processor(
            &[self.node],
            &name,
            &[],
            Arc::new(|wiring| {
                Ok(Slot::new(ToStream { children: wiring.children::<K, Option<V>>() }))
            }),
        );
        let value = self
            .value
            .clone()
            .map(|serde| Arc::new(crate::serde::Nullable(serde)) as SerdeRef<Option<V>>);
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
