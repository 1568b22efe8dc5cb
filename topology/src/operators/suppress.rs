//! `suppress`: holds a table's changes back, one a key, until a time limit or their window's close.
//!
//! Keeps: the changes held back (see [`change_buffer`](crate::store::change_buffer)), as long as
//! they are. Changelog: compacted. A key's first change decides when it comes out, its last one what
//! comes out; stream time is the operator's own highest timestamp. A buffer that is full emits its
//! earliest changes early, or fails the task. Waiting for windows to close, it drops deletions: no
//! one saw the result that they delete. Drops nothing else.

use crate::dsl::suppress::{BufferConfig, WhenFull};
use crate::error::{Error, ErrorKind, Result};
use crate::node::{Children, Context, Operator, TimeSlot};
use crate::operators::change::Change;
use crate::operators::table_state::TableState;
use crate::record::Record;
use crate::serde::{SerdeRef, write};
use crate::store::change_buffer::{ChangeBuffer, HeldChange};
use crate::time::Timestamp;

/// Changes taken out of the buffer at a time.
const BATCH: usize = 1_024;

/// Holds changes back.
pub(crate) struct Suppress<K, V> {
    pub(crate) buffer: ChangeBuffer,
    pub(crate) key: SerdeRef<K>,
    pub(crate) value: SerdeRef<V>,
    /// The time that a change waits from.
    pub(crate) time_of: fn(&K, Timestamp) -> Timestamp,
    pub(crate) wait_ms: i64,
    /// Whether results come out once, so that deletions of earlier ones mean nothing.
    pub(crate) is_final: bool,
    pub(crate) bound: BufferConfig,
    pub(crate) stream_time: TimeSlot,
    /// What came out, if nodes below look it up.
    pub(crate) table: TableState<K, V>,
    pub(crate) bytes: ChangeBytes,
    pub(crate) taken: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) children: Children<K, Change<V>>,
}

/// Reused buffers for a change on its way into bytes.
#[derive(Default)]
pub(crate) struct ChangeBytes {
    key: Vec<u8>,
    old: Vec<u8>,
    new: Vec<u8>,
}

impl<K: 'static, V: 'static> Operator<K, Change<V>> for Suppress<K, V> {
    fn process(&mut self, record: Record<'_, K, Change<V>>, ctx: &mut Context<'_>) -> Result {
        let now = ctx.advance(self.stream_time, record.timestamp);
        self.hold(record, ctx)?;
        let due = now - self.wait_ms;
        while self.buffer.earliest() <= due {
            self.release(due, BATCH, ctx)?;
        }
        while self.is_full(ctx)? {
            self.release(Timestamp::MAX, 1, ctx)?;
        }
        Ok(())
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> Result {
        self.table.push_on(&self.children, ctx)
    }
}

impl<K: 'static, V: 'static> Suppress<K, V> {
    fn hold(&mut self, record: Record<'_, K, Change<V>>, ctx: &mut Context<'_>) -> Result {
        let unwritable = |part| {
            let target = format!("store {}", self.buffer.name());
            move |cause| Error::new(ErrorKind::Serialization { part, target, cause })
        };
        let ChangeBytes { key, old, new } = &mut self.bytes;
        key.clear();
        self.key.serialize(record.key, key).map_err(unwritable("key"))?;
        let Change { old: was, new: is, .. } = record.value;
        let new = match is {
            Some(value) => write(&*self.value, value, new).map_err(unwritable("value"))?,
            None => None,
        };
        if self.is_final && new.is_none() {
            return self.buffer.remove(key, record.timestamp, ctx);
        }
        let old = match was {
            Some(value) => write(&*self.value, value, old).map_err(unwritable("value"))?,
            None => None,
        };
        let time = (self.time_of)(record.key, record.timestamp);
        let change =
            HeldChange { old, new, timestamp: record.timestamp, headers: record.headers.clone() };
        self.buffer.put(key, time, change, ctx)
    }

    /// Pushes on at most `limit` changes that wait from no later than `until`.
    fn release(&mut self, until: Timestamp, limit: usize, ctx: &mut Context<'_>) -> Result {
        let mut taken = std::mem::take(&mut self.taken);
        taken.clear();
        let now = ctx.time(self.stream_time);
        self.buffer.take(until, limit, now, ctx, &mut taken)?;
        for (key_bytes, value) in taken.drain(..) {
            let unreadable = |cause| Error::store(self.buffer.name(), cause);
            let held = self.buffer.decode(&value)?;
            let key = self.key.deserialize(&key_bytes).map_err(unreadable)?;
            let read = |bytes: Option<&[u8]>| {
                bytes.map(|bytes| self.value.deserialize(bytes)).transpose().map_err(unreadable)
            };
            let (old, new) = (read(held.old)?, read(held.new)?);
            let Some(mut change) = self.table.update(&key_bytes, new, held.timestamp, ctx)? else {
                continue;
            };
            change.old = change.old.or(old);
            let record = Record {
                key: &key,
                value: &change,
                timestamp: held.timestamp,
                headers: &held.headers,
            };
            self.children.forward(record, ctx)?;
        }
        self.taken = taken;
        Ok(())
    }

    /// Whether the buffer holds more than it may.
    fn is_full(&mut self, ctx: &mut Context<'_>) -> Result<bool> {
        if self.bound.is_unbounded() {
            return Ok(false);
        }
        let size = self.buffer.size(ctx)?;
        if !self.bound.is_exceeded_by(size) {
            return Ok(false);
        }
        if self.bound.when_full == WhenFull::EmitEarly {
            return Ok(true);
        }
        let detail = format!("{} changes in {} bytes", size.records, size.bytes);
        Err(Error::new(ErrorKind::BufferFull { buffer: self.buffer.name().to_owned(), detail }))
    }
}
