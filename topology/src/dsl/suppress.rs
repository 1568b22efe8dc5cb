//! `suppress`: holding a table's changes back.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::dsl::table::{KTable, TableStore};
use crate::dsl::table_lookup::SuppressedTable;
use crate::dsl::windows::millis;
use crate::graph::{NodeKind, Store};
use crate::node::Slot;
use crate::operators::suppress::{ChangeBytes, Suppress};
use crate::operators::table_state::TableState;
use crate::serde::{Bytes, SerdeRef};
use crate::store::change_buffer::{BufferSize, ChangeBuffer};
use crate::store::spec::{StoreKind, StoreSpec};
use crate::time::{Timestamp, Windowed};

/// What a buffer does when it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhenFull {
    EmitEarly,
    ShutDown,
}

/// How much a suppression may hold back, and what happens when that is too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferConfig {
    max_records: u64,
    max_bytes: u64,
    pub(crate) when_full: WhenFull,
}

impl BufferConfig {
    /// As much as there is. Unlike in Kafka Streams it need not fit into memory.
    #[must_use]
    pub fn unbounded() -> Self {
        Self { max_records: u64::MAX, max_bytes: u64::MAX, when_full: WhenFull::EmitEarly }
    }

    /// At most this many keys; with more, the earliest come out early.
    #[must_use]
    pub fn max_records(max_records: u64) -> Self {
        Self { max_records, ..Self::unbounded() }
    }

    /// At most this many bytes of keys and values; with more, the earliest come out early.
    #[must_use]
    pub fn max_bytes(max_bytes: u64) -> Self {
        Self { max_bytes, ..Self::unbounded() }
    }

    /// Stops the application when the buffer is full, rather than let anything out early.
    #[must_use]
    pub fn shut_down_when_full(self) -> Self {
        Self { when_full: WhenFull::ShutDown, ..self }
    }

    pub(crate) fn is_unbounded(&self) -> bool {
        self.max_records == u64::MAX && self.max_bytes == u64::MAX
    }

    pub(crate) fn is_exceeded_by(&self, size: BufferSize) -> bool {
        size.records > self.max_records || size.bytes > self.max_bytes
    }
}

/// What to hold back, and until when.
pub struct Suppressed<K> {
    name: Option<String>,
    /// `None` to wait as long as the table's windows may change.
    wait_ms: Option<i64>,
    time_of: fn(&K, Timestamp) -> Timestamp,
    buffer: BufferConfig,
}

impl<K> Suppressed<K> {
    /// Until stream time is `limit` further than a key's first change: the changes in between come
    /// out as one.
    #[must_use]
    pub fn until_time_limit(limit: Duration, buffer: BufferConfig) -> Self {
        Self { name: None, wait_ms: Some(millis(limit)), time_of: |_, timestamp| timestamp, buffer }
    }

    /// Names the operation; its buffer is called `<name>-store`.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

impl<K> Suppressed<Windowed<K>> {
    /// Until a window has closed: what comes out is final. The buffer may not emit early.
    #[must_use]
    pub fn until_window_closes(buffer: BufferConfig) -> Self {
        Self { name: None, wait_ms: None, time_of: |key, _| key.window.end, buffer }
    }
}

impl<K: 'static, V: 'static> KTable<K, V> {
    /// Holds changes back: until a time limit, so that fewer come out; or until a window has
    /// closed, so that only final results do.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// words
    ///     .group_by_key(Grouped::with(Utf8, Utf8))
    ///     .windowed_by(TimeWindows::of(Duration::from_secs(60)).grace(Duration::from_secs(5)))
    ///     .count(Materialized::named("per-minute", I64))
    ///     .suppress(Suppressed::until_window_closes(BufferConfig::unbounded()).named("final"))
    ///     .to_stream();
    /// # let stock = builder.table("stock", Consumed::with(Utf8, I64), Materialized::with(I64));
    /// let calmer = Suppressed::until_time_limit(Duration::from_secs(1), BufferConfig::max_records(1_000));
    /// stock.suppress(calmer.named("calmer"));
    /// # builder.build().unwrap();
    /// ```
    ///
    /// The topology does not build if the table's values have no serde, or if it has no windows to
    /// wait for.
    #[must_use]
    pub fn suppress(&self, suppressed: Suppressed<K>) -> Self {
        const PREFIX: &str = "KTABLE-SUPPRESS-";
        let Suppressed { name: given, wait_ms, time_of, buffer: bound } = suppressed;
        let plan = &self.plan;
        let is_final = wait_ms.is_none();
        let name = given.clone().unwrap_or_else(|| plan.name(None, PREFIX));
        let buffer_name =
            plan.store_name(given.map(|given| format!("{given}-store")).as_deref(), PREFIX);
        let wait_ms = wait_ms.or_else(|| plan.window_grace_ms(self.node)).unwrap_or_else(|| {
            plan.error(format!(
                "{name} waits for windows to close, and its table's keys come from no window"
            ));
            0
        });
        if is_final && !bound.is_unbounded() && bound.when_full == WhenFull::EmitEarly {
            plan.error(format!(
                "{name} promises final results: its buffer has to shut down when full"
            ));
        }
        let value: SerdeRef<V> = self.value.clone().unwrap_or_else(|| {
            plan.error(format!(
                "the values that {name} holds back have no serde; materialize its table"
            ));
            Arc::new(crate::serde::Missing)
        });
        // A look-up of what is held back finds the value before.
        self.store.request_old(true);
        let computed = SuppressedTable {
            above: self.look_up(),
            buffer: buffer_name.clone(),
            value: value.clone(),
        };
        let kept = TableStore::derived(
            &format!("{name}-latest"),
            &self.store,
            self.key.clone(),
            Some(value.clone()),
        );
        let spec = StoreSpec::new(buffer_name.clone(), StoreKind::KeyValue);
        let buffer = Store::new::<Vec<u8>, Vec<u8>>(spec, Arc::new(Bytes), Arc::new(Bytes));
        let (own, table, key, serde) =
            (name.clone(), kept.clone(), self.key.clone(), value.clone());
        let node = plan.add(
            &[self.node],
            &name,
            Box::new(move |parents, graph| {
                graph.add_store(buffer.clone())?;
                let latest = table.write(graph)?.pop();
                let stores: Vec<String> =
                    std::iter::once(buffer_name.clone()).chain(latest.clone()).collect();
                let (buffer_name, send_old) = (buffer_name.clone(), table.sends_old());
                let (key, value) = (key.clone(), serde.clone());
                graph.add(
                    &own,
                    NodeKind::Processor,
                    parents,
                    &stores,
                    Arc::new(move |wiring| {
                        Ok(Slot::new(Suppress {
                            buffer: ChangeBuffer::bind(wiring, &buffer_name)?,
                            key: key.clone(),
                            value: value.clone(),
                            time_of,
                            wait_ms,
                            is_final,
                            bound,
                            stream_time: wiring.time_slot(),
                            table: TableState::bind(wiring, latest.as_deref(), send_old)?,
                            bytes: ChangeBytes::default(),
                            taken: Vec::new(),
                            children: wiring.children(),
                        }))
                    }),
                )
            }),
        );
        Self {
            plan: plan.clone(),
            node,
            name,
            key: self.key.clone(),
            value: Some(value),
            store: kept,
            sources: self.sources.clone(),
            computed: Some(Rc::new(computed)),
        }
    }
}
