//! Session stores: a value by key, session end and start, dropped when stream time has left it
//! behind.
//!
//! The key in the store is `segment | key | end | start` (see [`spec`](crate::store::spec)): the
//! sessions around a time are a short scan a segment, in order of their end, and expiry is one
//! range deletion of all segments before the first live one.

use std::ops::{ControlFlow, Range};

use crate::error::{Error, Result};
use crate::graph::Wiring;
use crate::node::{Context, DropReason, TimeSlot};
use crate::store::bytes::{KeyRange, Order};
use crate::store::key_value::KeyValueHandle;
use crate::store::spec::{StoreKind, TIME_LEN, segment, split_timestamp};
use crate::time::{Timestamp, Window};

/// A bound session store: what aggregates by session keep.
pub struct SessionHandle<K, V> {
    pub(crate) entries: KeyValueHandle<K, V>,
    retention_ms: i64,
    segment_ms: i64,
    /// Highest session end put so far.
    observed: TimeSlot,
    /// Number of the first segment that was not dropped yet.
    first_live: i64,
    key: Vec<u8>,
    range_end: Vec<u8>,
    value: Vec<u8>,
}

impl<K: 'static, V: 'static> SessionHandle<K, V> {
    /// Binds the store of that name.
    ///
    /// # Errors
    /// When the task has no such store, or it is of another kind or other types.
    pub fn bind(wiring: &mut Wiring<'_>, name: &str) -> Result<Self> {
        let kind = wiring.store_spec(name)?.kind;
        let entries = wiring.key_value(name)?;
        Self::new(entries, kind, wiring.store_time(name)?)
    }

    pub(crate) fn new(
        entries: KeyValueHandle<K, V>,
        kind: StoreKind,
        observed: TimeSlot,
    ) -> Result<Self> {
        let StoreKind::Session { retention_ms, segment_ms } = kind else {
            let name = &entries.name;
            return Err(Error::wiring(format!("store {name} is no session store")));
        };
        Ok(Self {
            entries,
            retention_ms,
            segment_ms: segment_ms.max(1),
            observed,
            first_live: 0,
            key: Vec::new(),
            range_end: Vec::new(),
            value: Vec::new(),
        })
    }

    fn number(&self, time: Timestamp) -> i64 {
        time.millis().max(0) / self.segment_ms
    }

    /// The number of the segment that a session with this end lies in.
    pub(crate) fn segment_of(&self, end: Timestamp) -> i64 {
        self.number(end)
    }

    /// The highest session end put so far.
    pub(crate) fn latest(&self, ctx: &Context<'_>) -> Timestamp {
        ctx.time(self.observed)
    }

    /// The first session end that retention still covers.
    pub(crate) fn oldest(&self, ctx: &Context<'_>) -> Timestamp {
        match self.latest(ctx) {
            Timestamp::UNKNOWN => Timestamp::MIN,
            latest => latest - self.retention_ms + 1,
        }
    }

    fn set_key(&mut self, key: &[u8], session: Window) {
        self.key.clear();
        self.key.extend_from_slice(&segment(session.end, self.segment_ms));
        self.key.extend_from_slice(key);
        self.key.extend_from_slice(&session.end.millis().to_be_bytes());
        self.key.extend_from_slice(&session.start.millis().to_be_bytes());
    }

    /// Finds a key's sessions that overlap `[from, to]`, in order of their end; those that retention
    /// does not cover any more are not found.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn find(
        &mut self,
        key: &[u8],
        from: Timestamp,
        to: Timestamp,
        ctx: &mut Context<'_>,
        into: &mut Vec<(Window, V)>,
    ) -> Result {
        let observed = ctx.time(self.observed);
        let from = from.max(observed - self.retention_ms + 1).max(Timestamp::new(0));
        for number in self.number(from)..=self.number(observed) {
            let Self { entries: handle, key: first, range_end: last, .. } = self;
            for (bound, end) in [(&mut *first, from.millis()), (&mut *last, i64::MAX)] {
                bound.clear();
                bound.extend_from_slice(&number.to_be_bytes());
                bound.extend_from_slice(key);
                bound.extend_from_slice(&end.to_be_bytes());
            }
            let range = KeyRange { from: first, to: Some(last) };
            let (mut beyond, mut failed) = (false, None);
            ctx.bytes_store(handle.index).probe(range, &mut |found, value| {
                // A longer key may sort in between; its sessions are not this key's.
                if found.len() != TIME_LEN + key.len() + 2 * TIME_LEN {
                    return ControlFlow::Continue(());
                }
                let (end, rest) = split_timestamp(&found[TIME_LEN + key.len()..]);
                let (start, _) = split_timestamp(rest);
                if start > to {
                    // A key's sessions do not overlap: those that end later start later, too.
                    beyond = true;
                    return ControlFlow::Break(());
                }
                match handle.read_value(value) {
                    Ok(value) => into.push((Window { start, end }, value)),
                    Err(error) => {
                        failed = Some(error);
                        return ControlFlow::Break(());
                    }
                }
                ControlFlow::Continue(())
            })?;
            if let Some(error) = failed {
                return Err(error);
            }
            if beyond {
                break;
            }
        }
        Ok(())
    }

    /// Puts a key's session, or removes it where there is no value, and drops the segments that
    /// stream time has left behind. A session in such a segment is refused and counted. It is new if
    /// [`find`](Self::find) did not find it.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn put(
        &mut self,
        key: &[u8],
        (session, is_new): (Window, bool),
        value: Option<&V>,
        written: Timestamp,
        ctx: &mut Context<'_>,
    ) -> Result {
        let observed = ctx.advance(self.observed, session.end);
        let first_live = self.number(observed - self.retention_ms);
        if first_live > self.first_live {
            self.first_live = first_live;
            ctx.bytes_store(self.entries.index).delete_range(&[], &first_live.to_be_bytes())?;
        }
        if self.number(session.end) < self.first_live {
            ctx.drop_record(DropReason::ExpiredRecord);
            return Ok(());
        }
        self.set_key(key, session);
        let store = ctx.bytes_store(self.entries.index);
        let Some(value) = value.filter(|value| !self.entries.value.is_null(value)) else {
            return store.delete(&self.key, written);
        };
        self.value.clear();
        self.entries.write_value(value, &mut self.value)?;
        // Of an expired session that is not dropped yet it is not known whether it is there.
        if is_new && session.end > observed - self.retention_ms {
            store.insert(&self.key, &self.value, written)
        } else {
            store.put(&self.key, &self.value, written)
        }
    }

    /// Removes a key's session that was found.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn remove(
        &mut self,
        key: &[u8],
        session: Window,
        written: Timestamp,
        ctx: &mut Context<'_>,
    ) -> Result {
        self.set_key(key, session);
        ctx.bytes_store(self.entries.index).remove(&self.key, written)
    }

    /// Copies the entries of all keys whose sessions end in a span of time, which should be about a
    /// segment's: it reads every segment that the span touches.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn ended_in(
        &mut self,
        ends: Range<Timestamp>,
        ctx: &mut Context<'_>,
        into: &mut Vec<(Vec<u8>, Vec<u8>)>,
    ) -> Result {
        let (from, to) = (self.number(ends.start), self.number(ends.end - 1) + 1);
        let range = KeyRange { from: &from.to_be_bytes(), to: Some(&to.to_be_bytes()) };
        ctx.bytes_store(self.entries.index).scan(range, Order::Forward, &mut |key, value| {
            if split_session_key(key).is_some_and(|(_, session)| ends.contains(&session.end)) {
                into.push((key.to_vec(), value.to_vec()));
            }
            ControlFlow::Continue(())
        })
    }
}

/// The key and session in a session store's key.
pub(crate) fn split_session_key(stored: &[u8]) -> Option<(&[u8], Window)> {
    let at = stored.len().checked_sub(2 * TIME_LEN)?;
    let (end, rest) = split_timestamp(&stored[at..]);
    let (start, _) = split_timestamp(rest);
    Some((stored.get(TIME_LEN..at)?, Window { start, end }))
}
