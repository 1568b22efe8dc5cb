//! Window stores: a value by key and window start, dropped when stream time has left it behind.
//!
//! The key in the store is `segment | key | start | sequence` (see [`spec`](crate::store::spec)):
//! a look-up of one window is one `get`, a range of windows of a key is a short scan a segment, and
//! expiry is one range deletion of all segments before the first live one.

use std::ops::{ControlFlow, Range};

use crate::error::{Error, Result};
use crate::graph::Wiring;
use crate::node::{Context, DropReason, TimeSlot};
use crate::store::bytes::{KeyRange, Order};
use crate::store::key_value::{KeyValueHandle, Timestamped, TimestampedHandle, ValueAndTimestamp};
use crate::store::spec::{SEQUENCE_LEN, StoreKind, TIME_LEN, segment, split_timestamp};
use crate::time::Timestamp;

/// A bound timestamped window store: what windowed aggregates keep.
pub struct WindowHandle<K, V> {
    pub(crate) entries: TimestampedHandle<K, V>,
    retention_ms: i64,
    segment_ms: i64,
    /// Highest window start put so far.
    observed: TimeSlot,
    /// Number of the first segment that was not dropped yet.
    first_live: i64,
    key: Vec<u8>,
}

impl<K: 'static, V: 'static> WindowHandle<K, V> {
    /// Binds the store of that name.
    ///
    /// # Errors
    /// When the task has no such store, or it is of another kind or other types.
    pub fn bind(wiring: &mut Wiring<'_>, name: &str) -> Result<Self> {
        let kind = wiring.store_spec(name)?.kind;
        let entries = wiring.timestamped(name)?;
        Self::new(entries, kind, wiring.store_time(name)?)
    }

    pub(crate) fn new(
        entries: TimestampedHandle<K, V>,
        kind: StoreKind,
        observed: TimeSlot,
    ) -> Result<Self> {
        let StoreKind::TimestampedWindow { retention_ms, segment_ms, .. } = kind else {
            let name = &entries.0.name;
            return Err(Error::wiring(format!("store {name} is no timestamped window store")));
        };
        Ok(Self { entries, retention_ms, segment_ms, observed, first_live: 0, key: Vec::new() })
    }

    /// The store's keys and values as bytes.
    pub(crate) fn handle(&self) -> &KeyValueHandle<K, V> {
        &self.entries.0
    }

    fn set_key(&mut self, key: &[u8], start: Timestamp) {
        self.key.clear();
        self.key.extend_from_slice(&segment(start, self.segment_ms));
        self.key.extend_from_slice(key);
        self.key.extend_from_slice(&start.millis().to_be_bytes());
        self.key.extend_from_slice(&[0; SEQUENCE_LEN]);
    }

    /// First window start that retention still covers.
    fn oldest(&self, ctx: &Context<'_>) -> Timestamp {
        match ctx.time(self.observed) {
            Timestamp::UNKNOWN => Timestamp::MIN,
            observed => observed - self.retention_ms + 1,
        }
    }

    /// The value of a key's window, by its start; none if retention does not cover it any more.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn get(
        &mut self,
        key: &[u8],
        start: Timestamp,
        ctx: &mut Context<'_>,
    ) -> Result<Option<ValueAndTimestamp<V>>> {
        if start < self.oldest(ctx) {
            return Ok(None);
        }
        self.set_key(key, start);
        ctx.timestamped(&self.entries).get(&self.key)
    }

    /// Puts a key's window, and drops the segments that stream time has left behind. A window in
    /// such a segment is refused and counted.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn put(
        &mut self,
        key: &[u8],
        start: Timestamp,
        value: Option<&V>,
        timestamp: Timestamp,
        ctx: &mut Context<'_>,
    ) -> Result {
        let observed = ctx.advance(self.observed, start);
        self.expire(observed, ctx)?;
        if start.millis().max(0) / self.segment_ms < self.first_live {
            ctx.drop_record(DropReason::ExpiredRecord);
            return Ok(());
        }
        self.set_key(key, start);
        ctx.timestamped(&self.entries).put(&self.key, value, timestamp)
    }

    fn expire(&mut self, observed: Timestamp, ctx: &mut Context<'_>) -> Result {
        let first_live = (observed - self.retention_ms).millis().max(0) / self.segment_ms;
        if first_live > self.first_live {
            self.first_live = first_live;
            let store = ctx.bytes_store(self.entries.0.index);
            store.delete_range(&[], &first_live.to_be_bytes())?;
        }
        Ok(())
    }

    /// Copies the entries of all keys whose windows start in a span of time, which should be about
    /// a segment's: it reads every segment that the span touches.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn started_in(
        &mut self,
        starts: Range<Timestamp>,
        ctx: &mut Context<'_>,
        into: &mut Vec<(Vec<u8>, Vec<u8>)>,
    ) -> Result {
        let number = |time: Timestamp| time.millis().max(0) / self.segment_ms;
        let (from, to) = (number(starts.start), number(starts.end - 1) + 1);
        let range = KeyRange { from: &from.to_be_bytes(), to: Some(&to.to_be_bytes()) };
        ctx.bytes_store(self.entries.0.index).scan(range, Order::Forward, &mut |key, value| {
            if split_window_key(key).is_some_and(|(_, start)| starts.contains(&start)) {
                into.push((key.to_vec(), value.to_vec()));
            }
            ControlFlow::Continue(())
        })
    }

    /// Visits a key's windows whose start lies in `from..=to`, in order of their start.
    ///
    /// # Errors
    /// When the store cannot be read, or what `visit` returned.
    pub fn fetch(
        &mut self,
        key: &[u8],
        from: Timestamp,
        to: Timestamp,
        order: Order,
        ctx: &mut Context<'_>,
        visit: &mut dyn FnMut(Timestamp, ValueAndTimestamp<V>) -> Result<ControlFlow<()>>,
    ) -> Result {
        let from = from.max(self.oldest(ctx)).max(Timestamp::new(0));
        if from > to {
            return Ok(());
        }
        let mut segments: Vec<i64> =
            (from.millis() / self.segment_ms..=to.millis() / self.segment_ms).collect();
        if order == Order::Backward {
            segments.reverse();
        }
        for number in segments {
            let bound = |start: Timestamp, end: bool| {
                let mut bytes = number.to_be_bytes().to_vec();
                bytes.extend_from_slice(key);
                bytes.extend_from_slice(&start.millis().to_be_bytes());
                if end {
                    bytes.extend_from_slice(&[u8::MAX; SEQUENCE_LEN + 1]);
                }
                bytes
            };
            let (first, last) = (bound(from, false), bound(to, true));
            let range = KeyRange { from: &first, to: Some(&last) };
            let handle = &self.entries.0;
            let mut stopped = false;
            let mut failed = None;
            ctx.bytes_store(handle.index).scan(range, order, &mut |found, value| {
                // A longer key may sort in between; its window is not this key's.
                if found.len() != TIME_LEN + key.len() + TIME_LEN + SEQUENCE_LEN {
                    return ControlFlow::Continue(());
                }
                let (start, _) = split_timestamp(&found[TIME_LEN + key.len()..]);
                let step = Timestamped::read(handle, value).and_then(|entry| visit(start, entry));
                step.map_or_else(
                    |error| {
                        failed = Some(error);
                        ControlFlow::Break(())
                    },
                    |step| {
                        stopped = step.is_break();
                        step
                    },
                )
            })?;
            if let Some(error) = failed {
                return Err(error);
            }
            if stopped {
                break;
            }
        }
        Ok(())
    }
}

/// A window store for the length of one call into a processor; see
/// [`ProcessorContext::windows`](crate::processor::ProcessorContext::windows).
pub struct Windows<'s, 't, K, V> {
    pub(crate) handle: &'s mut WindowHandle<K, V>,
    pub(crate) ctx: &'s mut Context<'t>,
}

impl<K: 'static, V: 'static> Windows<'_, '_, K, V> {
    fn key(&self, key: &K) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.handle.handle().write_key(key, &mut bytes)?;
        Ok(bytes)
    }

    /// The value of a key's window, by its start; none if retention does not cover it any more.
    ///
    /// # Errors
    /// When the key has no bytes, or the store cannot be read.
    pub fn get(&mut self, key: &K, start: Timestamp) -> Result<Option<ValueAndTimestamp<V>>> {
        let key = self.key(key)?;
        self.handle.get(&key, start, self.ctx)
    }

    /// Puts a key's window, and drops what retention does not cover any more. A window that it
    /// does not cover is refused and counted. `timestamp` is when the value became so.
    ///
    /// # Errors
    /// When the key or value has no bytes, or the store cannot be written.
    pub fn put(
        &mut self,
        key: &K,
        start: Timestamp,
        value: Option<&V>,
        timestamp: Timestamp,
    ) -> Result {
        let key = self.key(key)?;
        self.handle.put(&key, start, value, timestamp, self.ctx)
    }

    /// Visits a key's windows whose start lies in `from..=to`, in order of their start.
    ///
    /// # Errors
    /// When the key has no bytes, the store cannot be read, or what `visit` returned.
    pub fn fetch(
        &mut self,
        key: &K,
        from: Timestamp,
        to: Timestamp,
        order: Order,
        visit: &mut dyn FnMut(Timestamp, ValueAndTimestamp<V>) -> Result<ControlFlow<()>>,
    ) -> Result {
        let key = self.key(key)?;
        self.handle.fetch(&key, from, to, order, self.ctx, visit)
    }

    /// Visits the windows of all keys whose start lies in `from..=to`: by segment of time, then by
    /// the keys' bytes and start. What is visited is copied first, so keep the span short.
    ///
    /// # Errors
    /// When the store cannot be read, or what `visit` returned.
    pub fn fetch_all(
        &mut self,
        from: Timestamp,
        to: Timestamp,
        mut visit: impl FnMut(K, Timestamp, ValueAndTimestamp<V>) -> Result<ControlFlow<()>>,
    ) -> Result {
        let from = from.max(self.handle.oldest(self.ctx)).max(Timestamp::new(0));
        let to = to.min(self.ctx.time(self.handle.observed));
        if from > to {
            return Ok(());
        }
        let mut found = Vec::new();
        self.handle.started_in(from..to + 1, self.ctx, &mut found)?;
        let handle = self.handle.handle();
        for (stored, value) in found {
            let Some((key, start)) = split_window_key(&stored) else { continue };
            let entry = Timestamped::read(handle, &value)?;
            if visit(handle.read_key(key)?, start, entry)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// The key, window start and sequence in a window store's key.
pub(crate) fn split_window_key(stored: &[u8]) -> Option<(&[u8], Timestamp)> {
    let at = stored.len().checked_sub(TIME_LEN + SEQUENCE_LEN)?;
    let (start, _) = split_timestamp(&stored[at..]);
    Some((stored.get(TIME_LEN..at)?, start))
}
