//! `join_stream`, `left_join_stream` and `outer_join_stream`: one side of a join of two streams.
//!
//! Keeps: each side's records by key and time, for before + after + grace, in a join store; changelog
//! purged of what has expired. A left or outer join also keeps its `WaitingRecords`.
//!
//! A record is joined with the other side's records of its key in `[timestamp - before, timestamp +
//! after]`; the result has the higher timestamp. What finds none comes out unmatched, on an outer
//! side, when the join's stream time is past its timestamp + after + grace; at once if its window
//! has closed already. Stream time counts the records of both sides, dropped ones too, but only a
//! record that is not behind it makes the join look for what is due. Unmatched results have their
//! record's timestamp and the headers of the record that released them.
//!
//! Drops, counted: records with a null value; with a null key, unless their side is an outer one,
//! where they come out unmatched at once. A record older than the retention is joined but not kept,
//! which counts too.

use std::sync::Arc;

use crate::error::Result;
use crate::node::{Children, Context, DropReason, Operator, TimeSlot};
use crate::operators::waiting_records::{Side, WaitingRecords};
use crate::record::Record;
use crate::store::join_window::{Found, JoinStore};
use crate::time::Timestamp;

/// Joins one side's records with the other side's.
pub(crate) struct StreamJoin<F, K, V, O, R> {
    /// Given this side's value and the other's, of which one may be missing.
    pub(crate) joiner: Arc<F>,
    pub(crate) side: Side,
    /// How far a match may be before and after a record of this side, in ms.
    pub(crate) before_ms: i64,
    pub(crate) after_ms: i64,
    pub(crate) own: JoinStore<K, V>,
    /// Counts the records put into `own`.
    pub(crate) sequence: TimeSlot,
    pub(crate) other: JoinStore<K, O>,
    /// Whether this side's records, and the other's, come out unmatched.
    pub(crate) outer: bool,
    pub(crate) other_outer: bool,
    /// `None` in an inner join.
    pub(crate) waiting: Option<WaitingRecords>,
    pub(crate) buffers: JoinBuffers<O>,
    pub(crate) children: Children<K, R>,
}

/// Reused buffers of a join.
pub(crate) struct JoinBuffers<O> {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) found: Vec<Found<O>>,
}

impl<O> Default for JoinBuffers<O> {
    fn default() -> Self {
        Self { key: Vec::new(), value: Vec::new(), found: Vec::new() }
    }
}

impl<F, K, V, O, R> Operator<K, V> for StreamJoin<F, K, V, O, R>
where
    F: Fn(&K, Option<&V>, Option<&O>) -> Option<R> + Send + Sync,
    K: 'static,
    V: 'static,
    O: Send + 'static,
    R: 'static,
{
    fn process(&mut self, record: Record<'_, K, V>, ctx: &mut Context<'_>) -> Result {
        let now = match &self.waiting {
            Some(waiting) => ctx.advance(waiting.time, record.timestamp),
            None => record.timestamp,
        };
        let handle = &self.own.entries;
        let (no_key, no_value) =
            (handle.key.is_null(record.key), handle.value.is_null(record.value));
        if no_key && !no_value && self.outer {
            return self.forward(record, Some(record.value), None, ctx);
        }
        if no_key || no_value {
            ctx.drop_record(DropReason::NullJoinKey);
            return Ok(());
        }
        handle.write_key(record.key, &mut self.buffers.key)?;
        self.buffers.value.clear();
        handle.write_value(record.value, &mut self.buffers.value)?;
        let JoinBuffers { key, value, .. } = &self.buffers;
        let sequence = self.own.put(key, value, record.timestamp, self.sequence, ctx)?;
        if record.timestamp == now {
            self.release(record, ctx)?;
        }
        if self.join(record, ctx)? || !self.outer {
            return Ok(());
        }
        match &mut self.waiting {
            Some(waiting) if record.timestamp + self.after_ms >= now => {
                let JoinBuffers { key, value, .. } = &self.buffers;
                waiting.put(self.side, record.timestamp, sequence, (key, value), ctx)
            }
            _ => self.forward(record, Some(record.value), None, ctx),
        }
    }
}

impl<F, K, V, O, R> StreamJoin<F, K, V, O, R>
where
    F: Fn(&K, Option<&V>, Option<&O>) -> Option<R>,
    K: 'static,
    V: 'static,
    O: 'static,
    R: 'static,
{
    /// Joins a record with what the other side has; whether there was anything.
    fn join(&mut self, record: Record<'_, K, V>, ctx: &mut Context<'_>) -> Result<bool> {
        let (from, to) = (record.timestamp - self.before_ms, record.timestamp + self.after_ms);
        let mut found = std::mem::take(&mut self.buffers.found);
        found.clear();
        self.other.fetch(&self.buffers.key, from, to, ctx, &mut found)?;
        let is_matched = !found.is_empty();
        for Found { timestamp, sequence, value } in found.drain(..) {
            if let Some(waiting) = self.waiting.as_mut().filter(|_| self.other_outer) {
                waiting.matched(self.side.other(), timestamp, sequence, &self.buffers.key, ctx)?;
            }
            let at = record.with_timestamp(record.timestamp.max(timestamp));
            self.forward(at, Some(record.value), Some(&value), ctx)?;
        }
        self.buffers.found = found;
        Ok(is_matched)
    }

    /// Pushes on what has waited long enough, of both sides.
    fn release<W>(&mut self, record: Record<'_, K, W>, ctx: &mut Context<'_>) -> Result {
        let Some(waiting) = &mut self.waiting else { return Ok(()) };
        for due in waiting.take_due(ctx)? {
            let key = self.own.entries.read_key(due.key())?;
            let at =
                Record { key: &key, value: &(), timestamp: due.timestamp, headers: record.headers };
            if due.side == self.side {
                let value = self.own.entries.read_value(&due.value)?;
                self.forward(at, Some(&value), None, ctx)?;
            } else {
                let value = self.other.entries.read_value(&due.value)?;
                self.forward(at, None, Some(&value), ctx)?;
            }
        }
        Ok(())
    }

    fn forward<W>(
        &self,
        at: Record<'_, K, W>,
        value: Option<&V>,
        other: Option<&O>,
        ctx: &mut Context<'_>,
    ) -> Result {
        match (self.joiner)(at.key, value, other) {
            Some(joined) => self.children.forward(at.with_value(&joined), ctx),
            None => Ok(()),
        }
    }
}

/// Joins a stream with itself over one join store: what [`StreamJoin`] makes of two equal sides, in
/// another order. A record meets itself once, as long as it is not too old to be kept, and drops count
/// once.
pub(crate) struct StreamSelfJoin<F, K, V, R> {
    pub(crate) joiner: Arc<F>,
    /// How far a right record may be before and after a left one, in ms.
    pub(crate) before_ms: i64,
    pub(crate) after_ms: i64,
    pub(crate) store: JoinStore<K, V>,
    pub(crate) sequence: TimeSlot,
    pub(crate) buffers: JoinBuffers<V>,
    pub(crate) children: Children<K, R>,
}

impl<F, K, V, R> Operator<K, V> for StreamSelfJoin<F, K, V, R>
where
    F: Fn(&K, Option<&V>, Option<&V>) -> Option<R> + Send + Sync,
    K: 'static,
    V: Send + 'static,
    R: 'static,
{
    fn process(&mut self, record: Record<'_, K, V>, ctx: &mut Context<'_>) -> Result {
        let handle = &self.store.entries;
        if handle.key.is_null(record.key) || handle.value.is_null(record.value) {
            ctx.drop_record(DropReason::NullJoinKey);
            return Ok(());
        }
        handle.write_key(record.key, &mut self.buffers.key)?;
        self.buffers.value.clear();
        handle.write_value(record.value, &mut self.buffers.value)?;
        let JoinBuffers { key, value, .. } = &self.buffers;
        let own = self.store.put(key, value, record.timestamp, self.sequence, ctx)?;
        let at = record.timestamp;
        let mut found = self.found(at - self.before_ms, at + self.after_ms, ctx)?;
        for other in found.drain(..).filter(|other| other.sequence != own) {
            self.forward(record, record.value, &other.value, at.max(other.timestamp), ctx)?;
        }
        self.buffers.found = found;
        // The record as the right one, where it meets itself, too: the window from the other end.
        // At the very end of the retention it meets others, but itself no more.
        let meets_itself = at > self.store.oldest(ctx);
        let mut found = self.found(at - self.after_ms, at + self.before_ms, ctx)?;
        for other in found.drain(..).filter(|other| other.sequence != own || meets_itself) {
            self.forward(record, &other.value, record.value, at.max(other.timestamp), ctx)?;
        }
        self.buffers.found = found;
        Ok(())
    }
}

impl<F, K, V, R> StreamSelfJoin<F, K, V, R>
where
    F: Fn(&K, Option<&V>, Option<&V>) -> Option<R>,
    K: 'static,
    V: 'static,
    R: 'static,
{
    /// The records of the key in the buffer in a range of times.
    fn found(
        &mut self,
        from: Timestamp,
        to: Timestamp,
        ctx: &mut Context<'_>,
    ) -> Result<Vec<Found<V>>> {
        let mut found = std::mem::take(&mut self.buffers.found);
        found.clear();
        self.store.fetch(&self.buffers.key, from, to, ctx, &mut found)?;
        Ok(found)
    }

    fn forward(
        &self,
        record: Record<'_, K, V>,
        left: &V,
        right: &V,
        timestamp: Timestamp,
        ctx: &mut Context<'_>,
    ) -> Result {
        match (self.joiner)(record.key, Some(left), Some(right)) {
            Some(joined) => {
                self.children.forward(record.with_value(&joined).with_timestamp(timestamp), ctx)
            }
            None => Ok(()),
        }
    }
}
