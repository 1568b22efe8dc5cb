//! What can be said about an operation besides its function: serdes, names, stores.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Cause;
use crate::operators::sink::{Destination, Partitioner};
use crate::operators::source::TimestampExtractor;
use crate::record::Record;
use crate::serde::{Serde, SerdeRef};
use crate::time::Timestamp;

/// How a source reads its topic.
pub struct Consumed<K, V> {
    pub(crate) key: SerdeRef<K>,
    pub(crate) value: SerdeRef<V>,
    pub(crate) extractor: Option<Arc<TimestampExtractor<K, V>>>,
    pub(crate) name: Option<String>,
}

impl<K, V> Clone for Consumed<K, V> {
    fn clone(&self) -> Self {
        Self {
            key: self.key.clone(),
            value: self.value.clone(),
            extractor: self.extractor.clone(),
            name: self.name.clone(),
        }
    }
}

impl<K: 'static, V: 'static> Consumed<K, V> {
    /// With these serdes.
    pub fn with(key: impl Serde<K>, value: impl Serde<V>) -> Self {
        Self { key: Arc::new(key), value: Arc::new(value), extractor: None, name: None }
    }

    /// Takes each record's time from `extractor`, which gets the record and the partition's highest
    /// time so far. A negative time drops the record and counts it.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// /// The time that an order carries itself: `<ms since 1970>:<shares>`.
    /// fn time_of(order: Record<'_, String, String>, _so_far: Timestamp) -> Result<Timestamp, Cause> {
    ///     let (time, _) = order.value.split_once(':').ok_or("an order without a time")?;
    ///     Ok(Timestamp::new(time.parse()?))
    /// }
    ///
    /// let consumed = Consumed::with(Utf8, Utf8).timestamp_extractor(time_of);
    /// builder.stream("orders", consumed).to("timed", Produced::with(Utf8, Utf8));
    /// # builder.build().unwrap();
    /// ```
    #[must_use]
    pub fn timestamp_extractor(
        mut self,
        extractor: impl Fn(Record<'_, K, V>, Timestamp) -> Result<Timestamp, Cause>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.extractor = Some(Arc::new(extractor));
        self
    }

    /// Names the source.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

/// How a sink writes its topic.
pub struct Produced<K, V> {
    pub(crate) key: SerdeRef<K>,
    pub(crate) value: SerdeRef<V>,
    pub(crate) partitioner: Option<Partitioner<K, V>>,
    pub(crate) name: Option<String>,
}

impl<K: 'static, V: 'static> Produced<K, V> {
    /// With these serdes.
    pub fn with(key: impl Serde<K>, value: impl Serde<V>) -> Self {
        Self { key: Arc::new(key), value: Arc::new(value), partitioner: None, name: None }
    }

    /// Chooses partitions: given key, value and the number of partitions; `None` leaves it to the
    /// default partitioner. It is not asked for topics that each record chooses.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let orders = builder.stream("orders", Consumed::with(Utf8, I64));
    /// // Large orders have the first partition for themselves.
    /// let by_size = |key: &String, shares: &i64, count: i32| match shares {
    ///     10_000.. => Some(0),
    ///     _ => Some(1 + i32::try_from(key.len()).unwrap_or(0) % (count - 1).max(1)).filter(|_| count > 1),
    /// };
    /// orders.to("orders-by-size", Produced::with(Utf8, I64).partitioner(by_size));
    /// # builder.build().unwrap();
    /// ```
    #[must_use]
    pub fn partitioner(
        mut self,
        partitioner: impl Fn(&K, &V, i32) -> Option<i32> + Send + Sync + 'static,
    ) -> Self {
        self.partitioner = Some(Arc::new(move |key, value, partitions| {
            partitioner(key, value, partitions).into()
        }));
        self
    }

    /// Sends each record to several partitions, or to none: then it is dropped, and counted. Given
    /// the key, the value and how many partitions there are.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let notices = builder.stream("notices", Consumed::with(Utf8, Utf8));
    /// // Every reader hears of a halt, whichever partition it reads.
    /// let all_if_halt = |_: &String, notice: &String, count: i32| match notice.as_str() {
    ///     "halt" => (0..count).collect(),
    ///     _ => vec![0],
    /// };
    /// notices.to("notices-by-reader", Produced::with(Utf8, Utf8).multicast(all_if_halt));
    /// # builder.build().unwrap();
    /// ```
    #[must_use]
    pub fn multicast(
        mut self,
        partitions: impl Fn(&K, &V, i32) -> Vec<i32> + Send + Sync + 'static,
    ) -> Self {
        self.partitioner = Some(Arc::new(move |key, value, count| {
            Destination::Each(partitions(key, value, count))
        }));
        self
    }

    /// Names the sink.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

/// How a stream is written to, and read back from, a repartition topic.
pub struct Repartitioned<K, V> {
    pub(crate) key: SerdeRef<K>,
    pub(crate) value: SerdeRef<V>,
    pub(crate) partitions: Option<i32>,
    pub(crate) partitioner: Option<Partitioner<K, V>>,
    pub(crate) name: Option<String>,
}

impl<K: 'static, V: 'static> Repartitioned<K, V> {
    /// With these serdes.
    pub fn with(key: impl Serde<K>, value: impl Serde<V>) -> Self {
        Self {
            key: Arc::new(key),
            value: Arc::new(value),
            partitions: None,
            partitioner: None,
            name: None,
        }
    }

    /// The topic is `<application>-<name>-repartition`.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Chooses partitions, as [`Produced::partitioner`] does.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// let by_length = |_: &String, word: &String, count: i32| i32::try_from(word.len()).ok().map(|length| length % count);
    /// words
    ///     .repartition(Repartitioned::with(Utf8, Utf8).named("by-length").partitioner(by_length))
    ///     .to("words-by-length", Produced::with(Utf8, Utf8));
    /// # builder.build().unwrap();
    /// ```
    #[must_use]
    pub fn partitioner(
        mut self,
        partitioner: impl Fn(&K, &V, i32) -> Option<i32> + Send + Sync + 'static,
    ) -> Self {
        self.partitioner = Some(Arc::new(move |key, value, partitions| {
            partitioner(key, value, partitions).into()
        }));
        self
    }

    /// With this many partitions; otherwise as many as the inputs have.
    #[must_use]
    pub fn partitions(mut self, partitions: i32) -> Self {
        self.partitions = Some(partitions);
        self
    }
}

/// How a stream is grouped: the serdes for its repartition topic and stores.
pub struct Grouped<K, V> {
    pub(crate) key: SerdeRef<K>,
    pub(crate) value: SerdeRef<V>,
    pub(crate) name: Option<String>,
}

impl<K, V> Clone for Grouped<K, V> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), value: self.value.clone(), name: self.name.clone() }
    }
}

impl<K: 'static, V: 'static> Grouped<K, V> {
    /// With these serdes.
    pub fn with(key: impl Serde<K>, value: impl Serde<V>) -> Self {
        Self { key: Arc::new(key), value: Arc::new(value), name: None }
    }

    /// Names the repartition topic, if one is needed: `<application>-<name>-repartition`.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

/// How a stream joins a table: the serdes for the repartition topic, if the key has changed.
pub struct Joined<K, V> {
    pub(crate) key: Option<SerdeRef<K>>,
    pub(crate) value: Option<SerdeRef<V>>,
    pub(crate) name: Option<String>,
    pub(crate) grace_ms: Option<i64>,
}

impl<K: 'static, V: 'static> Joined<K, V> {
    /// With the stream's own serdes: enough where its key has not changed since it was read.
    #[must_use]
    pub fn new() -> Self {
        Self { key: None, value: None, name: None, grace_ms: None }
    }

    /// With these serdes for the stream.
    pub fn with(key: impl Serde<K>, value: impl Serde<V>) -> Self {
        Self { key: Some(Arc::new(key)), value: Some(Arc::new(value)), name: None, grace_ms: None }
    }

    /// Names the join, and its repartition topic.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Lets each record wait until the stream's time is that much past it, so that the table's late
    /// updates are in; the table must be [versioned](Materialized::versioned). Without it a record is
    /// joined at once.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace_ms = Some(super::windows::millis(grace));
        self
    }
}

impl<K: 'static, V: 'static> Default for Joined<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

/// How a table or an aggregate is kept.
pub struct Materialized<V> {
    pub(crate) value: SerdeRef<V>,
    pub(crate) name: Option<String>,
    pub(crate) persistent: bool,
    pub(crate) caching: bool,
    pub(crate) logged: bool,
    pub(crate) retention_ms: Option<i64>,
    pub(crate) history_ms: Option<i64>,
    pub(crate) time_to_live_ms: Option<i64>,
    pub(crate) changelog_config: BTreeMap<String, String>,
}

impl<V: 'static> Materialized<V> {
    /// A store of this name, in RocksDB, with a changelog, without caching; its values are read and
    /// written by `value`.
    pub fn named(name: impl Into<String>, value: impl Serde<V>) -> Self {
        Self { name: Some(name.into()), ..Self::with(value) }
    }

    /// As [`named`](Self::named), under a generated name. Give stores of your own a name: generated
    /// ones change when the topology does.
    pub fn with(value: impl Serde<V>) -> Self {
        Self {
            value: Arc::new(value),
            name: None,
            persistent: true,
            caching: false,
            logged: true,
            retention_ms: None,
            history_ms: None,
            time_to_live_ms: None,
            changelog_config: BTreeMap::new(),
        }
    }

    /// Kept in memory alone; restored from its changelog at each start.
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.persistent = false;
        self
    }

    /// Holds updates back until the commit, so that several of one key go on as one.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// words
    ///     .group_by_key(Grouped::with(Utf8, Utf8))
    ///     .count(Materialized::named("counts", I64).caching(true));
    /// # builder.build().unwrap();
    /// ```
    #[must_use]
    pub fn caching(mut self, caching: bool) -> Self {
        self.caching = caching;
        self
    }

    /// Without a changelog: what is lost with the disk is lost.
    #[must_use]
    pub fn without_logging(mut self) -> Self {
        self.logged = false;
        self
    }

    /// How far behind stream time a window may be looked up; at least its size and grace, which is
    /// the default.
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention_ms = Some(super::windows::millis(retention));
        self
    }

    /// Keeps versions of each value, by timestamp, for as long as `history` behind the store's
    /// highest timestamp: joins then see a table as it was at their record's time, and updates that
    /// come out of order find their place.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// let prices = Materialized::named("prices", F64).versioned(Duration::from_secs(3_600));
    /// builder.table("prices", Consumed::with(Utf8, F64), prices);
    /// # builder.build().unwrap();
    /// ```
    #[must_use]
    pub fn versioned(mut self, history: Duration) -> Self {
        self.history_ms = Some(super::windows::millis(history));
        self
    }

    /// Lets each entry live for that long past its timestamp, by the task's stream time, which is the
    /// highest timestamp of its records. It is then deleted, from the changelog as well, and those
    /// below are told of the deletion; an aggregate starts anew with its key's next record. A record
    /// that is as old is dropped and counted as `expired_record`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// let online = Materialized::named("online", Utf8).time_to_live(Duration::from_secs(300));
    /// builder
    ///     .table("heartbeats", Consumed::with(Utf8, Utf8), online)
    ///     .to_stream()
    ///     .to("online", Produced::with(Utf8, Nullable(Utf8)));
    /// # builder.build().unwrap();
    /// ```
    ///
    /// For `table`, `to_table`, and `count`, `reduce` and `aggregate` of a grouped stream. Tables
    /// that are computed from others follow those; windowed stores have a
    /// [retention](Self::retention), versioned ones a history.
    #[must_use]
    pub fn time_to_live(mut self, time_to_live: Duration) -> Self {
        self.time_to_live_ms = Some(super::windows::millis(time_to_live));
        self
    }

    /// A topic setting of the changelog.
    #[must_use]
    pub fn changelog_config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.changelog_config.insert(name.into(), value.into());
        self
    }
}
