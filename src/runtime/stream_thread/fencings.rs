//! Tells a thread that was fenced from one whose name another process has as well.
//!
//! A thread that others took for dead is fenced by each of them that ends its transaction, and by one
//! of them twice: the coordinator aborts at the first request, and lets only a later one have the id.
//! If it is back by then, it has opened a producer in between. Of two processes with one name, each
//! fences the other for as long as they run.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// So many fencings within this time no takeover brings about.
const TOO_MANY: usize = 8;
const WITHIN: Duration = Duration::from_secs(60);

/// When a thread was fenced lately.
#[derive(Debug, Default)]
pub(super) struct Fencings(VecDeque<Instant>);

impl Fencings {
    /// Takes note of one, and says whether they are too many by now.
    pub(super) fn note(&mut self, now: Instant) -> bool {
        self.0.push_back(now);
        self.0.retain(|at| now.saturating_duration_since(*at) < WITHIN);
        self.0.len() >= TOO_MANY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_in_a_row_are_too_many_and_those_of_a_takeover_are_not() {
        let (mut fencings, start) = (Fencings::default(), Instant::now());
        let mut note = |at: u64| fencings.note(start + Duration::from_secs(at));
        assert!((0..7).all(|at| !note(at)));
        assert!((60..65).all(|at| !note(at)), "what is a minute ago does not count");
        assert!(!note(66));
        assert!(!note(67));
        assert!(note(68));
    }
}
