//! Event time: what a record's timestamp is, and how a task's stream time moves.

use std::fmt;
use std::ops::{Add, Sub};

/// A point in event time: milliseconds since the Unix epoch. Arithmetic saturates.
///
/// ```
/// use tidemill_topology::time::Timestamp;
/// assert_eq!(Timestamp::new(5) + 7, Timestamp::new(12));
/// assert_eq!(Timestamp::MIN - 1, Timestamp::MIN);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Before every other.
    pub const MIN: Self = Self(i64::MIN);
    /// After every other.
    pub const MAX: Self = Self(i64::MAX);
    /// Kafka's "no timestamp", and the stream time of a task that has seen no record.
    pub const UNKNOWN: Self = Self(-1);

    /// From milliseconds since the Unix epoch.
    #[must_use]
    pub const fn new(millis: i64) -> Self {
        Self(millis)
    }

    /// As milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }
}

impl Add<i64> for Timestamp {
    type Output = Self;
    fn add(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

impl Sub<i64> for Timestamp {
    type Output = Self;
    fn sub(self, millis: i64) -> Self {
        Self(self.0.saturating_sub(millis))
    }
}

impl Sub for Timestamp {
    type Output = i64;
    fn sub(self, other: Self) -> i64 {
        self.0.saturating_sub(other.0)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A window of event time: half-open `[start, end)`, but for sessions and sliding windows, whose
/// `end` is the last instant that belongs to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// First instant.
    pub start: Timestamp,
    /// See the type.
    pub end: Timestamp,
}

/// A key within a window.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Windowed<K> {
    /// The grouped key.
    pub key: K,
    /// Its window.
    pub window: Window,
}
