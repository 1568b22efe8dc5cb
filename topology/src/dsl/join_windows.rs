//! What can be said about a join of two streams: its window, serdes, names and stores.

use std::sync::Arc;
use std::time::Duration;

use crate::dsl::windows::millis;
use crate::serde::{Serde, SerdeRef};

/// How far apart in event time two records may be to be joined: the right one at most `before`
/// earlier and at most `after` later than the left one, both ends included.
///
/// ```
/// use std::time::Duration;
/// use tidemill_topology::prelude::*;
/// // A payment belongs to an order of the last hour; it may arrive a minute late.
/// let windows = JoinWindows::of(Duration::ZERO)
///     .after(Duration::from_secs(3600))
///     .grace(Duration::from_secs(60));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinWindows {
    pub(crate) before_ms: i64,
    pub(crate) after_ms: i64,
    pub(crate) grace_ms: i64,
}

impl JoinWindows {
    /// At most `difference` either way, in whole milliseconds, without grace.
    #[must_use]
    pub fn of(difference: Duration) -> Self {
        Self { before_ms: millis(difference), after_ms: millis(difference), grace_ms: 0 }
    }

    /// How much earlier than the left record the right one may be.
    #[must_use]
    pub fn before(self, before: Duration) -> Self {
        Self { before_ms: millis(before), ..self }
    }

    /// How much later than the left record the right one may be.
    #[must_use]
    pub fn after(self, after: Duration) -> Self {
        Self { after_ms: millis(after), ..self }
    }

    /// How long, in stream time, a left or outer join waits for late records before a result comes
    /// out unmatched; and how much longer records are kept.
    #[must_use]
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace_ms: millis(grace), ..self }
    }

    /// How long a record is kept, in ms.
    pub(crate) fn retention_ms(&self) -> i64 {
        self.size_ms().saturating_add(self.grace_ms)
    }

    /// From the earliest to the latest match, in ms.
    pub(crate) fn size_ms(&self) -> i64 {
        self.before_ms.saturating_add(self.after_ms)
    }
}

/// The serdes of a join of two streams, its name and its stores' name.
pub struct StreamJoined<K, V, O> {
    pub(crate) key: SerdeRef<K>,
    pub(crate) value: SerdeRef<V>,
    pub(crate) other: SerdeRef<O>,
    pub(crate) name: Option<String>,
    pub(crate) store_name: Option<String>,
    pub(crate) persistent: bool,
    pub(crate) logged: bool,
}

impl<K: 'static, V: 'static, O: 'static> StreamJoined<K, V, O> {
    /// With serdes for the key, the left and the right value: both sides are kept.
    pub fn with(key: impl Serde<K>, value: impl Serde<V>, other: impl Serde<O>) -> Self {
        Self {
            key: Arc::new(key),
            value: Arc::new(value),
            other: Arc::new(other),
            name: None,
            store_name: None,
            persistent: true,
            logged: true,
        }
    }

    /// Names the join, and its repartition topics.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Names the stores: `<name>-this-join-store` and so on. Give them a name: generated ones change
    /// when the topology does.
    #[must_use]
    pub fn store_name(mut self, name: impl Into<String>) -> Self {
        self.store_name = Some(name.into());
        self
    }

    /// Keeps the records in memory alone; restored from the changelogs at each start.
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.persistent = false;
        self
    }

    /// Without changelogs: what is lost with the disk is lost.
    #[must_use]
    pub fn without_logging(mut self) -> Self {
        self.logged = false;
        self
    }
}
