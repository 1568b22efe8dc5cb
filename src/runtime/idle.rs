//! How long a task waits for an input that is empty before it goes on with its other inputs:
//! `max.task.idle.ms`, as in Kafka Streams (KIP-353, KIP-695).
//!
//! A task takes its records in the order of their timestamps, which an empty input makes a guess:
//! its next record may be older than those that wait. What the broker is known to have is waited
//! for in any case, unless idling is off; what may yet be written only so long.

use std::time::{Duration, Instant};

/// What a task goes by while it looks for its next record.
#[derive(Clone, Copy, Debug)]
pub struct TaskIdle {
    /// How long an input that has caught up is waited for; `None` waits for no input at all.
    pub max: Option<Duration>,
    /// The time of the look.
    pub now: Instant,
}

/// Since when an empty input has nothing more on its broker.
#[derive(Clone, Copy, Debug, Default)]
pub struct CaughtUp(Option<Instant>);

impl CaughtUp {
    /// Whether the task waits for this empty input; `is_at_end` says whether all that its broker
    /// has was handed out.
    pub fn is_waited_for(&mut self, idle: TaskIdle, is_at_end: impl FnOnce() -> bool) -> bool {
        let Some(max) = idle.max else { return false };
        if !is_at_end() {
            self.0 = None;
            return true;
        }
        let since = *self.0.get_or_insert(idle.now);
        idle.now.saturating_duration_since(since) < max
    }

    /// A record came.
    pub fn end(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, max_ms: Option<u64>, ms: u64) -> TaskIdle {
        let max = max_ms.map(Duration::from_millis);
        TaskIdle { max, now: start + Duration::from_millis(ms) }
    }

    #[test]
    fn below_zero_no_input_is_waited_for() {
        let start = Instant::now();
        assert!(!CaughtUp::default().is_waited_for(after(start, None, 0), || false));
    }

    #[test]
    fn at_zero_an_input_is_waited_for_as_long_as_its_broker_has_more() {
        let (start, mut input) = (Instant::now(), CaughtUp::default());
        assert!(input.is_waited_for(after(start, Some(0), 0), || false));
        assert!(input.is_waited_for(after(start, Some(0), 100_000), || false));
        assert!(!input.is_waited_for(after(start, Some(0), 100_000), || true));
    }

    #[test]
    fn above_zero_an_input_that_caught_up_is_waited_for_that_long() {
        let (start, mut input) = (Instant::now(), CaughtUp::default());
        assert!(input.is_waited_for(after(start, Some(50), 1_000), || true));
        assert!(input.is_waited_for(after(start, Some(50), 1_049), || true));
        assert!(!input.is_waited_for(after(start, Some(50), 1_050), || true));
        // Nor with the next look, until it has had a record, or its broker has.
        assert!(!input.is_waited_for(after(start, Some(50), 1_051), || true));
        input.end();
        assert!(input.is_waited_for(after(start, Some(50), 2_000), || true));
        assert!(input.is_waited_for(after(start, Some(50), 2_060), || false));
        assert!(input.is_waited_for(after(start, Some(50), 2_070), || true));
    }
}
