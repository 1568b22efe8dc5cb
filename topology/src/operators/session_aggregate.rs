//! `count`, `reduce` and `aggregate` over sessions.
//!
//! Keeps: (key, session end, session start) -> aggregate, for the store's retention. Changelog:
//! compacted, and purged of what has expired. A record merges all sessions of its key
//! that are within the gap: for each a tombstone comes out, then the merged session. It is dropped
//! as late when the merged session's end is before stream time less grace and gap, where stream
//! time is the operator's own highest timestamp. The result's timestamp is the session's end.
//! Results come out with each update, or once when their session has closed. Drops, counted:
//! records with a null key, and late ones.

use std::sync::Arc;

use crate::dsl::windows::{EmitStrategy, SessionWindows};
use crate::error::{Error, Result};
use crate::graph::Wiring;
use crate::node::{Children, Context, DropReason, Operator, TimeSlot};
use crate::operators::aggregate::HeldUpdates;
use crate::operators::change::Change;
use crate::operators::closing::Closing;
use crate::record::{Headers, Record};
use crate::store::bytes::Pending;
use crate::store::session::{SessionHandle, split_session_key};
use crate::store::spec::StoreKind;
use crate::time::{Timestamp, Window, Windowed};

/// Folds records into sessions. `fold` gets what is there and says what shall be; `merge` joins
/// what was merged so far with the next session's aggregate.
pub(crate) struct SessionAggregate<F, M, K, A> {
    pub(crate) fold: Arc<F>,
    pub(crate) merge: Arc<M>,
    pub(crate) windows: SessionWindows,
    pub(crate) stream_time: TimeSlot,
    pub(crate) results: SessionResults<K, A>,
    pub(crate) key_bytes: Vec<u8>,
    pub(crate) found: Vec<(Window, A)>,
}

impl<F, M, K, V, A> Operator<K, V> for SessionAggregate<F, M, K, A>
where
    F: Fn(&K, &V, Option<A>) -> Option<A> + Send + Sync,
    M: Fn(&K, Option<A>, &A) -> Option<A> + Send + Sync,
    K: Clone + Send + 'static,
    A: Clone + Send + 'static,
{
    fn process(&mut self, record: Record<'_, K, V>, ctx: &mut Context<'_>) -> Result {
        let handle = &self.results.store.entries;
        if handle.key.is_null(record.key) {
            ctx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        handle.write_key(record.key, &mut self.key_bytes)?;
        let close =
            ctx.advance(self.stream_time, record.timestamp) - self.windows.closes_after_ms();
        self.results.close(close, record.headers, ctx)?;
        let mut found = std::mem::take(&mut self.found);
        found.clear();
        let gap_ms = self.windows.gap_ms();
        let around = (record.timestamp - gap_ms, record.timestamp + gap_ms);
        self.results.store.find(&self.key_bytes, around.0, around.1, ctx, &mut found)?;

        let alone = Window { start: record.timestamp, end: record.timestamp };
        let mut session = alone;
        let mut merged = None;
        for (other, aggregate) in &found {
            merged = (self.merge)(record.key, merged, aggregate);
            session =
                Window { start: session.start.min(other.start), end: session.end.max(other.end) };
        }
        if session.end < close {
            ctx.drop_record(DropReason::LateRecord);
            self.found = found;
            return Ok(());
        }
        let is_new = found.iter().all(|(other, _)| *other != session);
        let mut replaced = None;
        for (other, aggregate) in found.drain(..) {
            if session == alone {
                replaced = Some(aggregate);
            } else {
                self.results.store.remove(&self.key_bytes, other, record.timestamp, ctx)?;
                self.results.forward(other, (Some(aggregate), None), record, ctx)?;
            }
        }
        self.found = found;
        let new = (self.fold)(record.key, record.value, merged);
        let (key, written) = (&self.key_bytes, record.timestamp);
        self.results.store.put(key, (session, is_new), new.as_ref(), written, ctx)?;
        self.results.forward(session, (replaced, new), record, ctx)
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> Result {
        self.results.flush(ctx)
    }
}

/// The store and the children of an aggregate over sessions.
pub(crate) struct SessionResults<K, A> {
    store: SessionHandle<K, A>,
    held: HeldUpdates,
    /// `None` where results come out with each update.
    closing: Option<Closing>,
    /// Entries whose sessions have closed, on their way out.
    closed: Vec<(Vec<u8>, Vec<u8>)>,
    send_old: bool,
    children: Children<Windowed<K>, Change<A>>,
}

impl<K: Clone + 'static, A: 'static> SessionResults<K, A> {
    /// Binds the store of that name and the node's children.
    pub(crate) fn bind(
        wiring: &mut Wiring<'_>,
        store: &str,
        emit: EmitStrategy,
        send_old: bool,
    ) -> Result<Self> {
        let caching = wiring.store_spec(store)?.caching;
        let StoreKind::Session { segment_ms, .. } = wiring.store_spec(store)?.kind else {
            return Err(Error::wiring(format!("store {store} is no session store")));
        };
        Ok(Self {
            store: SessionHandle::bind(wiring, store)?,
            held: HeldUpdates { caching, drained: Vec::new() },
            closing: match emit {
                EmitStrategy::OnWindowUpdate => None,
                EmitStrategy::OnWindowClose => Some(Closing::new(wiring.time_slot(), segment_ms)),
            },
            closed: Vec::new(),
            send_old,
            children: wiring.children(),
        })
    }

    /// Pushes a session's change on, from old to new, unless it has to wait.
    fn forward<V>(
        &mut self,
        session: Window,
        (old, new): (Option<A>, Option<A>),
        caused_by: Record<'_, K, V>,
        ctx: &mut Context<'_>,
    ) -> Result {
        if self.held.caching {
            ctx.note_held(self.store.entries.index);
            return Ok(());
        }
        if self.closing.is_some() {
            return Ok(());
        }
        let key = Windowed { key: caused_by.key.clone(), window: session };
        let change = Change::latest(old.filter(|_| self.send_old), new);
        let record = Record {
            key: &key,
            value: &change,
            timestamp: session.end,
            headers: caused_by.headers,
        };
        self.children.forward(record, ctx)
    }

    /// Pushes on the results of the sessions that end before a time, which have closed; to be
    /// called before the record that closed them is put, as that may expire them.
    fn close(
        &mut self,
        ended_before: Timestamp,
        headers: &Headers,
        ctx: &mut Context<'_>,
    ) -> Result {
        let Some(ends) = self.closing.as_mut().and_then(|closing| closing.due(ended_before, ctx))
        else {
            return Ok(());
        };
        let mut closed = std::mem::take(&mut self.closed);
        self.store.ended_in(ends, ctx, &mut closed)?;
        for (key, value) in closed.drain(..) {
            let handle = &self.store.entries;
            let Some((key, window)) = split_session_key(&key) else { continue };
            let key = Windowed { key: handle.read_key(key)?, window };
            let change = Change::latest(None, Some(handle.read_value(&value)?));
            let record = Record { key: &key, value: &change, timestamp: window.end, headers };
            self.children.forward(record, ctx)?;
        }
        self.closed = closed;
        Ok(())
    }

    /// Pushes on what a caching store held back.
    fn flush(&mut self, ctx: &mut Context<'_>) -> Result {
        if !self.held.caching {
            return Ok(());
        }
        let mut drained = std::mem::take(&mut self.held.drained);
        ctx.take_held(self.store.entries.index, &mut drained);
        for Pending { key, old, new, .. } in drained.drain(..) {
            let handle = &self.store.entries;
            let Some((key, window)) = split_session_key(&key) else { continue };
            let key = Windowed { key: handle.read_key(key)?, window };
            let old =
                old.filter(|_| self.send_old).map(|bytes| handle.read_value(&bytes)).transpose()?;
            let new = new.map(|bytes| handle.read_value(&bytes)).transpose()?;
            let change = Change::latest(old, new);
            let record = Record {
                key: &key,
                value: &change,
                timestamp: window.end,
                headers: Headers::none(),
            };
            self.children.forward(record, ctx)?;
        }
        self.held.drained = drained;
        Ok(())
    }
}
