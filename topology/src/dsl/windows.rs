//! Window definitions.

use std::time::Duration;

use crate::time::{Timestamp, Window};

/// Windows of one size: tumbling, or hopping when they advance by less than that.
///
/// ```
/// use std::time::Duration;
/// use tidemill_topology::prelude::*;
/// let windows = TimeWindows::of(Duration::from_secs(10)).advance_by(Duration::from_secs(5));
/// let starts: Vec<i64> = windows.of_time(Timestamp::new(12_000)).map(|w| w.start.millis()).collect();
/// assert_eq!(starts, [5_000, 10_000]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeWindows {
    size_ms: i64,
    advance_ms: i64,
    grace_ms: i64,
}

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl TimeWindows {
    /// Tumbling windows, without grace: a window takes nothing once stream time reaches its end.
    /// Sizes are whole milliseconds, at least one.
    #[must_use]
    pub fn of(size: Duration) -> Self {
        let size_ms = millis(size).max(1);
        Self { size_ms, advance_ms: size_ms, grace_ms: 0 }
    }

    /// How long after its end, in stream time, a window still takes records.
    #[must_use]
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace_ms: millis(grace), ..self }
    }

    /// Hopping windows: one starts every `advance`, which is at most the size.
    #[must_use]
    pub fn advance_by(self, advance: Duration) -> Self {
        Self { advance_ms: millis(advance).clamp(1, self.size_ms), ..self }
    }

    /// Size in ms.
    #[must_use]
    pub fn size_ms(&self) -> i64 {
        self.size_ms
    }

    /// Grace in ms.
    #[must_use]
    pub fn grace_ms(&self) -> i64 {
        self.grace_ms
    }

    /// The windows that a time falls into, in order of their start.
    pub fn of_time(&self, time: Timestamp) -> impl Iterator<Item = Window> + use<> {
        let Self { size_ms, advance_ms, .. } = *self;
        let time = time.millis();
        let first = (time.saturating_sub(size_ms).saturating_add(advance_ms)).max(0) / advance_ms * advance_ms;
        (0..).map(move |n| first + n * advance_ms).take_while(move |start| *start <= time).map(move |start| {
            Window { start: Timestamp::new(start), end: Timestamp::new(start) + size_ms }
        })
    }
}
