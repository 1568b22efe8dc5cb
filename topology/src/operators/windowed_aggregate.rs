//! `count`, `reduce` and `aggregate` over tumbling and hopping windows.
//!
//! Keeps: (key, window start) -> timestamp and aggregate, for the store's retention. Changelog:
//! compacted, and purged of what has expired. A window `[start, end)` takes a record
//! while `end > stream time - grace`, where stream time is the operator's own highest timestamp.
//! The result's timestamp is the highest of the records in the window. Results come out with each
//! update, or once when their window has closed. Drops, counted: records with a null key; once for
//! each window that has closed.

use std::sync::Arc;

use crate::dsl::windows::TimeWindows;
use crate::error::Result;
use crate::node::{Context, DropReason, Operator, TimeSlot};
use crate::operators::window_results::WindowResults;
use crate::record::Record;
use crate::time::Window;

/// Folds records into the windows they fall into.
pub(crate) struct WindowedAggregate<F, K, A> {
    pub(crate) fold: Arc<F>,
    pub(crate) windows: TimeWindows,
    pub(crate) stream_time: TimeSlot,
    pub(crate) results: WindowResults<K, A>,
    pub(crate) key_bytes: Vec<u8>,
}

impl<F, K, V, A> Operator<K, V> for WindowedAggregate<F, K, A>
where
    F: Fn(&K, &V, Option<A>) -> Option<A> + Send + Sync,
    K: Clone + Send + 'static,
    A: Clone + Send + 'static,
{
    fn process(&mut self, record: Record<'_, K, V>, ctx: &mut Context<'_>) -> Result {
        let handle = self.results.store.handle();
        if handle.key.is_null(record.key) {
            ctx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        handle.write_key(record.key, &mut self.key_bytes)?;
        let close = ctx.advance(self.stream_time, record.timestamp) - self.windows.grace_ms();
        // Closed are the windows whose end is not behind `close`.
        self.results.close(close - self.windows.size_ms() + 1, record.headers, ctx)?;
        for window in self.windows.of_time(record.timestamp) {
            if window.end <= close {
                ctx.drop_record(DropReason::LateRecord);
                continue;
            }
            self.update(window, record, ctx)?;
        }
        Ok(())
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> Result {
        self.results.flush(ctx)
    }
}

impl<F, K: Clone + 'static, A: Clone + 'static> WindowedAggregate<F, K, A> {
    fn update<V>(
        &mut self,
        window: Window,
        record: Record<'_, K, V>,
        ctx: &mut Context<'_>,
    ) -> Result
    where
        F: Fn(&K, &V, Option<A>) -> Option<A>,
    {
        let (old, timestamp) = match self.results.store.get(&self.key_bytes, window.start, ctx)? {
            Some(entry) => (Some(entry.value), entry.timestamp.max(record.timestamp)),
            None => (None, record.timestamp),
        };
        let kept = self.results.kept(old.as_ref());
        let new = (self.fold)(record.key, record.value, old);
        self.results.update(&self.key_bytes, window, kept, (new, timestamp), record, ctx)
    }
}
