//! Joins of two streams.

use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use crate::dsl::builder::RepartitionSettings;
use crate::dsl::join_windows::{JoinWindows, StreamJoined};
use crate::dsl::stream::KStream;
use crate::error::Result;
use crate::graph::{Factory, Graph, NodeKind, Store};
use crate::node::Slot;
use crate::operators::pass_through::PassThrough;
use crate::operators::stream_join::{JoinBuffers, StreamJoin, StreamSelfJoin};
use crate::operators::waiting_records::{Side, WaitingRecords};
use crate::serde::{Bytes, SerdeRef};
use crate::store::join_window::JoinStore;
use crate::store::spec::{StoreKind, StoreSpec};

/// Segments of join stores are at least this long, in ms, as Kafka Streams' are.
const SEGMENT_MIN_MS: i64 = 60_000;

impl<K: 'static, V: Send + 'static> KStream<K, V> {
    /// Each pair of records of one key, one of each stream, that lie within the window. A stream
    /// whose key has changed is repartitioned first.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// let clicks = builder.stream("clicks", Consumed::with(Utf8, Utf8));
    /// let buys = builder.stream("buys", Consumed::with(Utf8, I64));
    /// clicks
    ///     .join_stream(
    ///         &buys,
    ///         |_, page, price| format!("{page} sold for {price}"),
    ///         JoinWindows::of(Duration::from_secs(60)),
    ///         StreamJoined::with(Utf8, Utf8, I64).store_name("sales"),
    ///     )
    ///     .to("sales", Produced::with(Utf8, Utf8));
    /// # builder.build().unwrap();
    /// ```
    pub fn join_stream<O: Send + 'static, R: 'static>(
        &self,
        other: &KStream<K, O>,
        joiner: impl Fn(&K, &V, &O) -> R + Send + Sync + 'static,
        windows: JoinWindows,
        joined: StreamJoined<K, V, O>,
    ) -> KStream<K, R> {
        let joiner =
            move |key: &K, left: Option<&V>, right: Option<&O>| Some(joiner(key, left?, right?));
        StreamsJoin { windows, joined, left_outer: false, right_outer: false }
            .add(self, other, joiner)
    }

    /// As [`join_stream`](Self::join_stream), and each record of this stream that finds no match
    /// comes out alone when its window and the grace have passed.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let clicks = builder.stream("clicks", Consumed::with(Utf8, Utf8));
    /// # let buys = builder.stream("buys", Consumed::with(Utf8, I64));
    /// clicks
    ///     .left_join_stream(
    ///         &buys,
    ///         |_, page, price| format!("{page}: {price:?}"),
    ///         JoinWindows::of(Duration::from_secs(60)).grace(Duration::from_secs(5)),
    ///         StreamJoined::with(Utf8, Utf8, I64).store_name("sales"),
    ///     )
    ///     .to("sales", Produced::with(Utf8, Utf8));
    /// # builder.build().unwrap();
    /// ```
    pub fn left_join_stream<O: Send + 'static, R: 'static>(
        &self,
        other: &KStream<K, O>,
        joiner: impl Fn(&K, &V, Option<&O>) -> R + Send + Sync + 'static,
        windows: JoinWindows,
        joined: StreamJoined<K, V, O>,
    ) -> KStream<K, R> {
        let joiner =
            move |key: &K, left: Option<&V>, right: Option<&O>| Some(joiner(key, left?, right));
        StreamsJoin { windows, joined, left_outer: true, right_outer: false }
            .add(self, other, joiner)
    }

    /// As [`left_join_stream`](Self::left_join_stream), for unmatched records of either stream.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let clicks = builder.stream("clicks", Consumed::with(Utf8, Utf8));
    /// # let buys = builder.stream("buys", Consumed::with(Utf8, I64));
    /// clicks
    ///     .outer_join_stream(
    ///         &buys,
    ///         |_, page, price| format!("{page:?}: {price:?}"),
    ///         JoinWindows::of(Duration::from_secs(60)).grace(Duration::from_secs(5)),
    ///         StreamJoined::with(Utf8, Utf8, I64).store_name("sales"),
    ///     )
    ///     .to("sales", Produced::with(Utf8, Utf8));
    /// # builder.build().unwrap();
    /// ```
    pub fn outer_join_stream<O: Send + 'static, R: 'static>(
        &self,
        other: &KStream<K, O>,
        joiner: impl Fn(&K, Option<&V>, Option<&O>) -> R + Send + Sync + 'static,
        windows: JoinWindows,
        joined: StreamJoined<K, V, O>,
    ) -> KStream<K, R> {
        let joiner =
            move |key: &K, left: Option<&V>, right: Option<&O>| Some(joiner(key, left, right));
        StreamsJoin { windows, joined, left_outer: true, right_outer: true }
            .add(self, other, joiner)
    }

    /// The stream by its key, for a join: repartitioned if its key has changed. A null key goes
    /// through, as it may come out unmatched.
    fn by_key_for_join(
        &self,
        name: Option<String>,
        key: &SerdeRef<K>,
        value: &SerdeRef<V>,
    ) -> Self {
        if !self.key_changed {
            return self.clone();
        }
        let settings = RepartitionSettings {
            key: key.clone(),
            value: value.clone(),
            partitions: None,
            partitioner: None,
            skips_null_keys: Rc::new(Cell::new(false)),
        };
        let generated = name.is_none();
        let prefix = name.unwrap_or_else(|| self.name.clone());
        self.through_for_join(&prefix, generated, key.clone(), value.clone(), settings)
    }
}

/// A join of two streams, as declared.
struct StreamsJoin<K, V, O> {
    windows: JoinWindows,
    joined: StreamJoined<K, V, O>,
    left_outer: bool,
    right_outer: bool,
}

/// The names of a join's nodes and stores.
struct Names {
    this_windowed: String,
    other_windowed: String,
    this_join: String,
    other_join: String,
    merge: String,
    this_store: String,
    other_store: String,
    shared_store: Option<String>,
}

impl<K: 'static, V: Send + 'static, O: Send + 'static> StreamsJoin<K, V, O> {
    fn names(&self, stream: &KStream<K, V>) -> Names {
        let (this_suffix, this_prefix, shared_suffix) = match self.right_outer {
            true => ("-outer-this-join", "KSTREAM-OUTERTHIS-", "-outer-shared-join"),
            false => ("-this-join", "KSTREAM-JOINTHIS-", "-left-shared-join"),
        };
        let (other_suffix, other_prefix) = match self.left_outer {
            true => ("-outer-other-join", "KSTREAM-OUTEROTHER-"),
            false => ("-other-join", "KSTREAM-JOINOTHER-"),
        };
        let [this_windowed, other_windowed, this, other, merge] =
            ["KSTREAM-WINDOWED-", "KSTREAM-WINDOWED-", this_prefix, other_prefix, "KSTREAM-MERGE-"]
                .map(|prefix| stream.plan.name(None, prefix));
        let node = |suffix: &str, generated: &str| match &self.joined.name {
            Some(name) => format!("{name}{suffix}"),
            None => generated.to_owned(),
        };
        let store = |suffix: &str, generated: &str| match &self.joined.store_name {
            Some(name) => format!("{name}{suffix}-store"),
            None => format!("{generated}-store"),
        };
        let shared = format!("KSTREAM-OUTERSHARED-{}", this.trim_start_matches(this_prefix));
        Names {
            this_windowed: node("-this-windowed", &this_windowed),
            other_windowed: node("-other-windowed", &other_windowed),
            this_join: node(this_suffix, &this),
            other_join: node(other_suffix, &other),
            merge: node("-merge", &merge),
            this_store: store(this_suffix, &this),
            other_store: store(other_suffix, &other),
            shared_store: self.left_outer.then(|| store(shared_suffix, &shared)),
        }
    }

    fn store<T: 'static>(&self, name: &str, value: SerdeRef<T>) -> Store {
        let retention_ms = self.windows.retention_ms();
        let kind = StoreKind::Window {
            window_ms: self.windows.size_ms(),
            retention_ms,
            segment_ms: (retention_ms / 2).max(SEGMENT_MIN_MS),
        };
        Store::new(self.spec(name, kind), self.joined.key.clone(), value)
    }

    fn spec(&self, name: &str, kind: StoreKind) -> StoreSpec {
        StoreSpec {
            persistent: self.joined.persistent,
            logged: self.joined.logged,
            ..StoreSpec::new(name, kind)
        }
    }

    fn add<R: 'static>(
        self,
        left: &KStream<K, V>,
        right: &KStream<K, O>,
        joiner: impl Fn(&K, Option<&V>, Option<&O>) -> Option<R> + Send + Sync + 'static,
    ) -> KStream<K, R> {
        let StreamJoined { key, value, other, name, .. } = &self.joined;
        let side = |side: &str| name.as_ref().map(|name| format!("{name}-{side}"));
        let left = left.by_key_for_join(side("left"), key, value);
        let right = right.by_key_for_join(side("right"), key, other);
        let together = left.sources.iter().chain(&right.sources).cloned().collect();
        let names = self.names(&left);
        let stores = [
            self.store(&names.this_store, value.clone()),
            self.store(&names.other_store, other.clone()),
        ];
        let shared = names.shared_store.as_ref().map(|name| {
            Store::new(self.spec(name, StoreKind::KeyValue), Arc::new(Bytes), Arc::new(Bytes))
        });
        let merge = names.merge.clone();
        let joiner = Arc::new(joiner);
        let key_serde = key.clone();
        let node = left.plan.add(
            &[left.node, right.node],
            &merge,
            Box::new(move |parents, graph| {
                graph.copartition(Clone::clone(&together));
                graph.add_store(stores[0].clone())?;
                if graph.single_store_self_joins && !self.left_outer && parents[0] == parents[1] {
                    return self.write_self_join(&names, &parents[0], graph, &joiner);
                }
                for store in stores[1..].iter().chain(&shared) {
                    graph.add_store(store.clone())?;
                }
                self.write(&names, parents, graph, &joiner)
            }),
        );
        let mut result = left.below(node, merge, Some(key_serde), None, false);
        result.sources.extend(right.sources.iter().cloned());
        result
    }

    /// The physical nodes. A join's node puts its own side's records, too, whose sequence it needs;
    /// the windowed nodes stand for that in the graph, with the stores.
    fn write<F, R>(
        &self,
        names: &Names,
        parents: &[String],
        graph: &mut Graph,
        joiner: &Arc<F>,
    ) -> Result
    where
        F: Fn(&K, Option<&V>, Option<&O>) -> Option<R> + Send + Sync + 'static,
        R: 'static,
    {
        let Names { this_store, other_store, shared_store, .. } = names;
        let windowed =
            |graph: &mut Graph, name: &str, parent: &String, store: &String, factory: Factory| {
                graph.add(
                    name,
                    NodeKind::Processor,
                    std::slice::from_ref(parent),
                    std::slice::from_ref(store),
                    factory,
                )
            };
        windowed(graph, &names.this_windowed, &parents[0], this_store, passing::<K, V>())?;
        windowed(graph, &names.other_windowed, &parents[1], other_store, passing::<K, O>())?;
        let join =
            |graph: &mut Graph, name: &str, parent: &String, store: &String, factory: Factory| {
                let stores: Vec<String> =
                    std::iter::once(store).chain(shared_store).cloned().collect();
                graph.add(name, NodeKind::Processor, std::slice::from_ref(parent), &stores, factory)
            };
        let this = self.side(names, Side::Left, Arc::clone(joiner));
        join(graph, &names.this_join, &names.this_windowed, other_store, this)?;
        let joiner = Arc::clone(joiner);
        let reversed =
            Arc::new(move |key: &K, right: Option<&O>, left: Option<&V>| joiner(key, left, right));
        let other = self.side(names, Side::Right, reversed);
        join(graph, &names.other_join, &names.other_windowed, this_store, other)?;
        let joins = [names.this_join.clone(), names.other_join.clone()];
        graph.add(&names.merge, NodeKind::Processor, &joins, &[], passing::<K, R>())
    }

    /// The physical nodes of a join of a stream with itself, over one store.
    fn write_self_join<F, R>(
        &self,
        names: &Names,
        parent: &String,
        graph: &mut Graph,
        joiner: &Arc<F>,
    ) -> Result
    where
        F: Fn(&K, Option<&V>, Option<&O>) -> Option<R> + Send + Sync + 'static,
        R: 'static,
    {
        let Names { this_windowed, this_join, this_store, merge, .. } = names;
        let stores = std::slice::from_ref(this_store);
        let one = std::slice::from_ref;
        graph.add(this_windowed, NodeKind::Processor, one(parent), stores, passing::<K, V>())?;
        // Both sides are one stream, so `V` and `O` are one type.
        let joiner = Arc::clone(joiner);
        let joiner = Arc::new(move |key: &K, left: Option<&V>, right: Option<&V>| {
            joiner(key, left, right.and_then(|right| (right as &dyn Any).downcast_ref::<O>()))
        });
        let JoinWindows { before_ms, after_ms, .. } = self.windows;
        let store = this_store.clone();
        let factory: Factory = Arc::new(move |wiring| {
            Ok(Slot::new(StreamSelfJoin::<_, K, V, R> {
                joiner: Arc::clone(&joiner),
                before_ms,
                after_ms,
                store: JoinStore::bind(wiring, &store)?,
                sequence: wiring.time_slot(),
                buffers: JoinBuffers::default(),
                children: wiring.children(),
            }))
        });
        graph.add(this_join, NodeKind::Processor, one(this_windowed), stores, factory)?;
        graph.add(merge, NodeKind::Processor, one(this_join), &[], passing::<K, R>())
    }

    /// One side's operator: `A` are its values, `B` the other side's.
    fn side<F, A, B, R>(&self, names: &Names, side: Side, joiner: Arc<F>) -> Factory
    where
        F: Fn(&K, Option<&A>, Option<&B>) -> Option<R> + Send + Sync + 'static,
        A: Send + 'static,
        B: Send + 'static,
        R: 'static,
    {
        let JoinWindows { before_ms, after_ms, grace_ms } = self.windows;
        let waits_ms = [after_ms, before_ms].map(|reach_ms| reach_ms.saturating_add(grace_ms));
        let (this_store, other_store) = (names.this_store.clone(), names.other_store.clone());
        let ((own, other), (before_ms, after_ms), (outer, other_outer)) = match side {
            Side::Left => (
                (this_store, other_store),
                (before_ms, after_ms),
                (self.left_outer, self.right_outer),
            ),
            Side::Right => (
                (other_store, this_store),
                (after_ms, before_ms),
                (self.right_outer, self.left_outer),
            ),
        };
        let shared = names.shared_store.clone();
        Arc::new(move |wiring| {
            let waiting = shared
                .as_deref()
                .map(|name| WaitingRecords::bind(wiring, name, waits_ms))
                .transpose()?;
            Ok(Slot::new(StreamJoin::<F, K, A, B, R> {
                joiner: Arc::clone(&joiner),
                side,
                before_ms,
                after_ms,
                own: JoinStore::bind(wiring, &own)?,
                sequence: wiring.time_slot(),
                other: JoinStore::bind(wiring, &other)?,
                outer,
                other_outer,
                waiting,
                buffers: JoinBuffers::default(),
                children: wiring.children(),
            }))
        })
    }
}

/// A node that only stands for something in the graph.
fn passing<K: 'static, V: 'static>() -> Factory {
    Arc::new(|wiring| Ok(Slot::new(PassThrough { children: wiring.children::<K, V>() })))
}
