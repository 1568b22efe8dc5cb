//! When to look for windows that have closed: the clock behind results that come out once.

use std::ops::Range;

use crate::node::{Context, TimeSlot};
use crate::time::Timestamp;

/// How far an operator's closed windows have been pushed on.
///
/// Looks are at most one each [`emit_interval_ms`](Context::emit_interval_ms) of wall clock, except
/// that a segment which has closed as a whole is looked through before the store may drop it: so no
/// result is lost, however short the store's retention.
pub(crate) struct Closing {
    /// Windows before this time, by what their store is ordered by, are done.
    done: TimeSlot,
    segment_ms: i64,
    next_look: Timestamp,
}

impl Closing {
    /// With a clock of the node's own, over a store of segments of that length.
    pub(crate) fn new(done: TimeSlot, segment_ms: i64) -> Self {
        Self { done, segment_ms: segment_ms.max(1), next_look: Timestamp::MIN }
    }

    /// Everything before a time has closed: the span to look through now, if it is time to look.
    pub(crate) fn due(
        &mut self,
        closed_before: Timestamp,
        ctx: &mut Context<'_>,
    ) -> Option<Range<Timestamp>> {
        let from = ctx.time(self.done).max(Timestamp::new(0));
        if closed_before <= from {
            return None;
        }
        let segment = |time: Timestamp| time.millis() / self.segment_ms;
        let now = ctx.wall_clock();
        if now < self.next_look && segment(closed_before) == segment(from) {
            return None;
        }
        self.next_look = now + ctx.emit_interval_ms();
        ctx.advance(self.done, closed_before);
        Some(from..closed_before)
    }
}
