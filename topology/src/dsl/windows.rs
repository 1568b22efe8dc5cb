//! Window definitions: [`TimeWindows`], [`SlidingWindows`] and [`SessionWindows`], and when their
//! results come out.

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

    /// From one window's start to the next one's, in ms.
    #[must_use]
    pub fn advance_ms(&self) -> i64 {
        self.advance_ms
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
        let first = (time.saturating_sub(size_ms).saturating_add(advance_ms)).max(0) / advance_ms
            * advance_ms;
        (0..).map(move |n| first + n * advance_ms).take_while(move |start| *start <= time).map(
            move |start| Window {
                start: Timestamp::new(start),
                end: Timestamp::new(start) + size_ms,
            },
        )
    }
}

/// Windows of one size that slide with the records: a window ends at each record, and another
/// starts right behind it. Both ends belong to a window, `[start, start + difference]`, and only
/// those windows exist whose records differ from all others'.
///
/// ```
/// use std::time::Duration;
/// use tidemill_topology::prelude::*;
/// let windows = SlidingWindows::of(Duration::from_secs(10)).grace(Duration::from_secs(1));
/// assert_eq!(windows.difference_ms(), 10_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingWindows {
    difference_ms: i64,
    grace_ms: i64,
}

impl SlidingWindows {
    /// Records at most `difference` apart share a window. Without grace: a window takes nothing
    /// once stream time has passed its end.
    #[must_use]
    pub fn of(difference: Duration) -> Self {
        Self { difference_ms: millis(difference), grace_ms: 0 }
    }

    /// How long after its end, in stream time, a window still takes records.
    #[must_use]
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace_ms: millis(grace), ..self }
    }

    /// The largest difference of two records' timestamps in one window, in ms.
    #[must_use]
    pub fn difference_ms(&self) -> i64 {
        self.difference_ms
    }

    /// Grace in ms.
    #[must_use]
    pub fn grace_ms(&self) -> i64 {
        self.grace_ms
    }

    /// The window that starts at a time.
    pub(crate) fn starting(&self, start: Timestamp) -> Window {
        Window { start, end: start + self.difference_ms }
    }
}

/// Sessions: a key's records belong together while none is further than the gap from the next. A
/// session reaches from its first record to its last.
///
/// ```
/// use std::time::Duration;
/// use tidemill_topology::prelude::*;
/// let windows = SessionWindows::of(Duration::from_secs(30)).grace(Duration::from_secs(5));
/// assert_eq!((windows.gap_ms(), windows.grace_ms()), (30_000, 5_000));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionWindows {
    gap_ms: i64,
    grace_ms: i64,
}

impl SessionWindows {
    /// Sessions that end after `gap` without a record. Without grace: a session takes nothing once
    /// stream time is further than the gap from its end.
    #[must_use]
    pub fn of(gap: Duration) -> Self {
        Self { gap_ms: millis(gap), grace_ms: 0 }
    }

    /// How long after that, in stream time, a session still takes records.
    #[must_use]
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace_ms: millis(grace), ..self }
    }

    /// The inactivity gap in ms.
    #[must_use]
    pub fn gap_ms(&self) -> i64 {
        self.gap_ms
    }

    /// Grace in ms.
    #[must_use]
    pub fn grace_ms(&self) -> i64 {
        self.grace_ms
    }

    /// How far behind stream time a session's end may be, in ms, while it still takes records.
    #[must_use]
    pub fn closes_after_ms(&self) -> i64 {
        self.gap_ms.saturating_add(self.grace_ms)
    }
}

/// When a windowed aggregate's results come out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmitStrategy {
    /// With every record that changes them.
    #[default]
    OnWindowUpdate,
    /// Once, when stream time has passed the window's end and grace. Results are looked for at
    /// most once a second of wall clock, and whenever a segment of the store has closed.
    OnWindowClose,
}
