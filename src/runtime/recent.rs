//! How often something happened lately.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The times of something, within a span that ends now.
#[derive(Debug)]
pub struct Recent {
    span: Duration,
    times: VecDeque<Instant>,
}

impl Recent {
    /// Nothing yet.
    #[must_use]
    pub const fn within(span: Duration) -> Self {
        Self { span, times: VecDeque::new() }
    }

    /// Takes note of one more, and tells how many there are with it.
    pub fn note(&mut self, now: Instant) -> usize {
        self.times.retain(|at| now.saturating_duration_since(*at) < self.span);
        self.times.push_back(now);
        self.times.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_longer_ago_does_not_count() {
        let (mut recent, start) = (Recent::within(Duration::from_secs(60)), Instant::now());
        let counts =
            [0, 10, 59, 60, 100, 200].map(|at| recent.note(start + Duration::from_secs(at)));
        assert_eq!(counts, [1, 2, 3, 3, 3, 1]);
    }
}
