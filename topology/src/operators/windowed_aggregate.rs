//! `count`, `reduce` and `aggregate` over tumbling and hopping windows.
//!
//! Keeps: (key, window start) -> timestamp and aggregate, for the store's retention. Changelog:
//! compacted and deleted after the retention and a day. A window `[start, end)` takes a record
//! while `end > stream time - grace`, where stream time is the operator's own highest timestamp.
//! The result's timestamp is the highest of the records in the window. Drops, counted: records
//! with a null key; once for each window that has closed.

use std::sync::Arc;

use crate::dsl::windows::TimeWindows;
use crate::error::Result;
use crate::node::{Children, Context, DropReason, Operator, TimeSlot};
use crate::operators::aggregate::HeldUpdates;
use crate::operators::change::Change;
use crate::record::{Headers, Record};
use crate::store::bytes::Pending;
use crate::store::key_value::Timestamped;
use crate::store::window::{WindowHandle, split_window_key};
use crate::time::{Window, Windowed};

/// Folds records into the windows they fall into.
pub(crate) struct WindowedAggregate<F, K, A> {
    pub(crate) fold: Arc<F>,
    pub(crate) windows: TimeWindows,
    pub(crate) store: WindowHandle<K, A>,
    pub(crate) stream_time: TimeSlot,
    pub(crate) held: HeldUpdates,
    pub(crate) send_old: bool,
    pub(crate) key_bytes: Vec<u8>,
    pub(crate) children: Children<Windowed<K>, Change<A>>,
}

impl<F, K, V, A> Operator<K, V> for WindowedAggregate<F, K, A>
where
    F: Fn(&K, &V, Option<A>) -> Option<A> + Send + Sync,
    K: Clone + Send + 'static,
    A: Clone + Send + 'static,
{
    fn process(&mut self, record: Record<'_, K, V>, ctx: &mut Context<'_>) -> Result {
        if self.store.handle().key.is_null(record.key) {
            ctx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        let close = ctx.advance(self.stream_time, record.timestamp) - self.windows.grace_ms();
        self.store.entries.0.write_key(record.key, &mut self.key_bytes)?;
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
        if self.held.caching { self.forward_held(ctx) } else { Ok(()) }
    }
}

impl<F, K, A> WindowedAggregate<F, K, A>
where
    K: Clone + 'static,
    A: Clone + 'static,
{
    fn update<V>(&mut self, window: Window, record: Record<'_, K, V>, ctx: &mut Context<'_>) -> Result
    where
        F: Fn(&K, &V, Option<A>) -> Option<A>,
    {
        let (old, timestamp) = match self.store.get(&self.key_bytes, window.start, ctx)? {
            Some(entry) => (Some(entry.value), entry.timestamp.max(record.timestamp)),
            None => (None, record.timestamp),
        };
        let kept = (self.send_old && !self.held.caching).then(|| old.clone()).flatten();
        let new = (self.fold)(record.key, record.value, old);
        self.store.put(&self.key_bytes, window.start, new.as_ref(), timestamp, ctx)?;
        if self.held.caching {
            if ctx.bytes_store(self.store.handle().index).pending_bytes() > self.held.max_bytes {
                return self.forward_held(ctx);
            }
            return Ok(());
        }
        let key = Windowed { key: record.key.clone(), window };
        let change = Change::latest(kept, new);
        self.children.forward(Record { key: &key, value: &change, timestamp, headers: record.headers }, ctx)
    }

    fn forward_held(&mut self, ctx: &mut Context<'_>) -> Result {
        let mut drained = std::mem::take(&mut self.held.drained);
        ctx.bytes_store(self.store.handle().index).drain_pending(&mut drained);
        for Pending { key, old, new } in drained.drain(..) {
            let handle = self.store.handle();
            let Some((key, start)) = split_window_key(&key) else { continue };
            let window = Window { start, end: start + self.windows.size_ms() };
            let key = Windowed { key: handle.read_key(key)?, window };
            let old = match old {
                Some(bytes) if self.send_old => Some(Timestamped::read(handle, &bytes)?),
                _ => None,
            };
            let new = new.map(|bytes| Timestamped::read(handle, &bytes)).transpose()?;
            let at = new.as_ref().or(old.as_ref()).map(|entry| entry.timestamp);
            let timestamp = at.unwrap_or(start);
            let change = Change::latest(old.map(|entry| entry.value), new.map(|entry| entry.value));
            let record = Record { key: &key, value: &change, timestamp, headers: Headers::none() };
            self.children.forward(record, ctx)?;
        }
        self.held.drained = drained;
        Ok(())
    }
}
