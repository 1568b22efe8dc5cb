//! The signal by which an instance is told to stop, and how long stopping may take.
//!
//! What is not finished in time is given up as after a crash: the transaction is aborted by whoever
//! comes next, and the state is read from its changelogs. So every wait may be cut short.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long what is under way may take to be finished, from the moment of the signal: the last
/// commit, or its abort.
pub const FINISHING: Duration = Duration::from_secs(5);
/// How long the group may be waited for after that.
pub const LEAVING: Duration = Duration::from_secs(3);
/// How long the whole instance may take. What still works then is left to itself.
pub const STOPPING: Duration = Duration::from_secs(20);
/// What a call is given at least, however late it is.
const LAST_CHANCE: Duration = Duration::from_millis(50);

/// Tells threads to stop, and when that was.
#[derive(Debug, Default)]
pub struct StopSignal {
    told: OnceLock<Instant>,
}

impl StopSignal {
    /// Says that it is time to stop; the first word counts.
    pub fn tell(&self, now: Instant) {
        self.told.get_or_init(|| now);
    }

    /// Whether it was told.
    #[inline]
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.told.get().is_some()
    }

    /// When it was told.
    #[must_use]
    pub fn told_at(&self) -> Option<Instant> {
        self.told.get().copied()
    }
}

/// How long one more call may wait: `usual`, or what is left of `limit` after the signal.
#[must_use]
pub fn call_limit(
    told: Option<Instant>,
    now: Instant,
    limit: Duration,
    usual: Duration,
) -> Duration {
    let Some(told) = told else { return usual };
    limit.saturating_sub(now.saturating_duration_since(told)).clamp(LAST_CHANCE, usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_share_what_is_left_after_the_signal_and_the_first_signal_counts() {
        let (signal, start) = (StopSignal::default(), Instant::now());
        let usual = Duration::from_secs(4);
        let limit = |at: u64| {
            let now = start + Duration::from_secs(at);
            call_limit(signal.told_at(), now, FINISHING, usual)
        };
        assert_eq!((signal.is_told(), limit(100)), (false, usual));
        signal.tell(start);
        signal.tell(start + Duration::from_secs(9));
        assert_eq!(limit(0), usual);
        assert_eq!(limit(2), Duration::from_secs(3));
        assert_eq!(limit(100), LAST_CHANCE);
    }
}
