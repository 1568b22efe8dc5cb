//! `count`, `reduce` and `aggregate` over sliding windows.
//!
//! Keeps: (key, window start) -> timestamp and aggregate, for the store's retention. Changelog:
//! compacted, and purged of what has expired. Windows are `[start, start + difference]`,
//! both ends included; of a record at `t` come the window that ends at `t` (its left one) and, once
//! a later record lies in it, the one that starts at `t + 1` (its right one). Records before the
//! difference share the window that starts at 0. A window closes when its end is before stream time
//! less the grace, where stream time is the operator's own highest timestamp. The result's
//! timestamp is the highest of the records in the window. Drops, counted: records with a null key
//! or value; once for each window that has closed.
//!
//! The order of a record's updates is that of Kafka Streams' `KStreamSlidingWindowAggregate`.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::dsl::windows::SlidingWindows;
use crate::error::Result;
use crate::node::{Context, DropReason, Operator, TimeSlot};
use crate::operators::window_results::WindowResults;
use crate::record::Record;
use crate::serde::SerdeRef;
use crate::store::bytes::Order;
use crate::store::key_value::ValueAndTimestamp;
use crate::time::{Timestamp, Window};

/// A window that is in the store.
type Found<A> = (Timestamp, ValueAndTimestamp<A>);

/// Folds records into the windows around them.
pub(crate) struct SlidingAggregate<F, K, V, A> {
    pub(crate) fold: Arc<F>,
    pub(crate) windows: SlidingWindows,
    pub(crate) value: SerdeRef<V>,
    pub(crate) stream_time: TimeSlot,
    pub(crate) results: WindowResults<K, A>,
    pub(crate) key_bytes: Vec<u8>,
    pub(crate) found: Vec<Found<A>>,
}

impl<F, K, V, A> Operator<K, V> for SlidingAggregate<F, K, V, A>
where
    F: Fn(&K, &V, Option<A>) -> Option<A> + Send + Sync,
    K: Clone + Send + 'static,
    V: 'static,
    A: Clone + Send + 'static,
{
    fn process(&mut self, record: Record<'_, K, V>, ctx: &mut Context<'_>) -> Result {
        let handle = self.results.store.handle();
        if handle.key.is_null(record.key) {
            ctx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        if self.value.is_null(record.value) {
            ctx.drop_record(DropReason::NullValue);
            return Ok(());
        }
        handle.write_key(record.key, &mut self.key_bytes)?;
        let difference_ms = self.windows.difference_ms();
        let close = ctx.advance(self.stream_time, record.timestamp) - self.windows.grace_ms();
        self.results.close(close - difference_ms, record.headers, ctx)?;
        if self.windows.starting(record.timestamp + 1).end <= close {
            ctx.drop_record(DropReason::LateRecord);
            return Ok(());
        }
        let mut found = std::mem::take(&mut self.found);
        found.clear();
        let result = if record.timestamp.millis() < difference_ms {
            self.process_early(record, close, &mut found, ctx)
        } else {
            self.process_among(record, close, &mut found, ctx)
        };
        self.found = found;
        result
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> Result {
        self.results.flush(ctx)
    }
}

impl<F, K, V, A> SlidingAggregate<F, K, V, A>
where
    F: Fn(&K, &V, Option<A>) -> Option<A>,
    K: Clone + 'static,
    V: 'static,
    A: Clone + 'static,
{
    /// A record whose left window starts at 0 or later.
    fn process_among(
        &mut self,
        record: Record<'_, K, V>,
        close: Timestamp,
        found: &mut Vec<Found<A>>,
        ctx: &mut Context<'_>,
    ) -> Result {
        let (time, difference_ms) = (record.timestamp, self.windows.difference_ms());
        self.fetch(time - 2 * difference_ms, time + 1, Order::Backward, found, ctx)?;
        // The nearest window before the record's own, the latest window that holds it, and whether
        // its own windows are there already.
        let mut before = None;
        let mut around = None;
        let (mut left_exists, mut right_exists) = (false, false);
        let mut previous = None;
        for (start, entry) in found.iter() {
            let window = self.windows.starting(*start);
            if *start == time + 1 {
                right_exists = true;
            } else if window.end > time {
                around.get_or_insert(entry);
                self.update(window, Some(entry), record, close, ctx)?;
            } else if window.end == time {
                left_exists = true;
                self.update(window, Some(entry), record, close, ctx)?;
                if entry.timestamp == time {
                    // A record of this very time made every window that this one would.
                    return Ok(());
                }
                previous = Some(entry.timestamp);
            } else {
                before = Some(entry);
                previous = Some(entry.timestamp);
                break;
            }
        }
        if let Some(previous) = previous {
            let window = self.windows.starting(previous + 1);
            if window.end >= time && !contains(found, window.start) {
                self.update(window, None, record, close, ctx)?;
            }
        }
        if !left_exists {
            let start = time - difference_ms;
            let reaches = previous.is_some_and(|previous| previous >= start);
            let entry = before.filter(|_| reaches);
            self.update(self.windows.starting(start), entry, record, close, ctx)?;
        }
        match around {
            Some(entry) if !right_exists => self.create_right(entry, record, ctx),
            _ => Ok(()),
        }
    }

    /// A record earlier than the difference: its left window would start before 0, and is the one
    /// that starts at 0.
    fn process_early(
        &mut self,
        record: Record<'_, K, V>,
        close: Timestamp,
        found: &mut Vec<Found<A>>,
        ctx: &mut Context<'_>,
    ) -> Result {
        let (zero, time) = (Timestamp::new(0), record.timestamp);
        self.fetch(zero, time + 1, Order::Forward, found, ctx)?;
        let mut first = None;
        let mut around = None;
        let mut right_exists = false;
        for (start, entry) in found.iter() {
            if *start == zero {
                first = Some(entry);
            } else if *start <= time {
                around = Some(entry);
                self.update(self.windows.starting(*start), Some(entry), record, close, ctx)?;
            } else {
                right_exists = true;
            }
        }
        // Without a window between them, all that the first window holds of later records lies in
        // the new record's right window.
        if let Some(entry) = around.or(first).filter(|_| !right_exists) {
            self.create_right(entry, record, ctx)?;
        }
        let previous = first.map(|entry| entry.timestamp).filter(|previous| *previous < time);
        if let Some(previous) = previous.filter(|previous| !contains(found, *previous + 1)) {
            self.update(self.windows.starting(previous + 1), None, record, close, ctx)?;
        }
        self.update(self.windows.starting(zero), first, record, close, ctx)
    }

    fn fetch(
        &mut self,
        from: Timestamp,
        to: Timestamp,
        order: Order,
        found: &mut Vec<Found<A>>,
        ctx: &mut Context<'_>,
    ) -> Result {
        self.results.store.fetch(&self.key_bytes, from, to, order, ctx, &mut |start, entry| {
            found.push((start, entry));
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Folds the record into a window that holds `entry` so far, unless the window has closed.
    fn update(
        &mut self,
        window: Window,
        entry: Option<&ValueAndTimestamp<A>>,
        record: Record<'_, K, V>,
        close: Timestamp,
        ctx: &mut Context<'_>,
    ) -> Result {
        if window.end < close {
            ctx.drop_record(DropReason::LateRecord);
            return Ok(());
        }
        let timestamp =
            entry.map_or(record.timestamp, |entry| entry.timestamp.max(record.timestamp));
        let old = entry.map(|entry| &entry.value);
        let new = (self.fold)(record.key, record.value, old.cloned());
        let kept = self.results.kept(old);
        self.results.update(&self.key_bytes, window, kept, (new, timestamp), record, ctx)
    }

    /// Makes the record's right window, if later records lie in it: `around` holds just those.
    fn create_right(
        &mut self,
        around: &ValueAndTimestamp<A>,
        record: Record<'_, K, V>,
        ctx: &mut Context<'_>,
    ) -> Result {
        if around.timestamp <= record.timestamp {
            return Ok(());
        }
        let window = self.windows.starting(record.timestamp + 1);
        let result = (Some(around.value.clone()), around.timestamp);
        self.results.update(&self.key_bytes, window, None, result, record, ctx)
    }
}

fn contains<A>(found: &[Found<A>], start: Timestamp) -> bool {
    found.iter().any(|(known, _)| *known == start)
}
