//! What becomes of a window's new result: it is put into the store, and pushed on at once, at the
//! commit (caching), or once when its window has closed.

use std::sync::Arc;

use crate::dsl::windowed::Initial;
use crate::dsl::windows::EmitStrategy;
use crate::error::{Error, Result};
use crate::graph::Wiring;
use crate::node::{Children, Context};
use crate::operators::aggregate::HeldUpdates;
use crate::operators::change::Change;
use crate::operators::closing::Closing;
use crate::record::{Headers, Record};
use crate::store::bytes::Pending;
use crate::store::key_value::Timestamped;
use crate::store::spec::StoreKind;
use crate::store::window::{WindowHandle, split_window_key};
use crate::time::{Timestamp, Window, Windowed};

/// The store and the children of an aggregate over windows of a fixed length.
pub(crate) struct WindowResults<K, A> {
    pub(crate) store: WindowHandle<K, A>,
    window_ms: i64,
    held: HeldUpdates,
    /// `None` where results come out with each update.
    closing: Option<Closing>,
    /// Entries whose windows have closed, on their way out.
    closed: Vec<(Vec<u8>, Vec<u8>)>,
    send_old: bool,
    initial: Initial<A>,
    children: Children<Windowed<K>, Change<A>>,
}

impl<K: Clone + 'static, A: Clone + 'static> WindowResults<K, A> {
    /// Binds the store of that name and the node's children.
    pub(crate) fn bind(wiring: &mut Wiring<'_>, store: &str, emit: EmitStrategy) -> Result<Self> {
        let caching = wiring.store_spec(store)?.caching;
        let StoreKind::TimestampedWindow { window_ms, segment_ms, .. } =
            wiring.store_spec(store)?.kind
        else {
            return Err(Error::wiring(format!("store {store} is no timestamped window store")));
        };
        Ok(Self {
            store: WindowHandle::bind(wiring, store)?,
            window_ms,
            held: HeldUpdates { caching, drained: Vec::new() },
            closing: match emit {
                EmitStrategy::OnWindowUpdate => None,
                EmitStrategy::OnWindowClose => Some(Closing::new(wiring.time_slot(), segment_ms)),
            },
            closed: Vec::new(),
            send_old: false,
            initial: Arc::new(|| None),
            children: wiring.children(),
        })
    }

    /// Sends old results along with the new ones, if the nodes below want them.
    pub(crate) fn sending_old(self, send_old: bool, initial: Initial<A>) -> Self {
        Self { send_old, initial, ..self }
    }

    /// The old result, if it has to go along with the new one.
    pub(crate) fn kept(&self, old: Option<&A>) -> Option<A> {
        let goes_along = self.send_old && !self.held.caching && self.closing.is_none();
        if goes_along { old.cloned().or_else(&*self.initial) } else { None }
    }

    /// Puts a window's result, and pushes it on unless it has to wait. `kept` is what
    /// [`kept`](Self::kept) said of the old one; `caused_by` the record that changed it.
    pub(crate) fn update<V>(
        &mut self,
        key: &[u8],
        window: Window,
        kept: Option<A>,
        (new, timestamp): (Option<A>, Timestamp),
        caused_by: Record<'_, K, V>,
        ctx: &mut Context<'_>,
    ) -> Result {
        self.store.put(key, window.start, new.as_ref(), timestamp, ctx)?;
        if self.held.caching {
            ctx.note_held(self.store.handle().index);
            return Ok(());
        }
        if self.closing.is_some() {
            return Ok(());
        }
        let key = Windowed { key: caused_by.key.clone(), window };
        let change = Change::latest(kept, new);
        self.children.forward(
            Record { key: &key, value: &change, timestamp, headers: caused_by.headers },
            ctx,
        )
    }

    /// Pushes on the results of the windows that start before a time, which have closed; to be
    /// called before the record that closed them is put, as that may expire them.
    pub(crate) fn close(
        &mut self,
        started_before: Timestamp,
        headers: &Headers,
        ctx: &mut Context<'_>,
    ) -> Result {
        let Some(starts) =
            self.closing.as_mut().and_then(|closing| closing.due(started_before, ctx))
        else {
            return Ok(());
        };
        let mut closed = std::mem::take(&mut self.closed);
        self.store.started_in(starts, ctx, &mut closed)?;
        for (key, value) in closed.drain(..) {
            let handle = self.store.handle();
            let Some(key) = self.read_key(&key)? else { continue };
            let entry = Timestamped::read(handle, &value)?;
            let change = Change::latest(None, Some(entry.value));
            let record = Record { key: &key, value: &change, timestamp: entry.timestamp, headers };
            self.children.forward(record, ctx)?;
        }
        self.closed = closed;
        Ok(())
    }

    /// Pushes on what a caching store held back.
    pub(crate) fn flush(&mut self, ctx: &mut Context<'_>) -> Result {
        if !self.held.caching {
            return Ok(());
        }
        let mut drained = std::mem::take(&mut self.held.drained);
        ctx.take_held(self.store.handle().index, &mut drained);
        for Pending { key, old, new, written } in drained.drain(..) {
            let handle = self.store.handle();
            let Some(key) = self.read_key(&key)? else { continue };
            let old = match old {
                Some(bytes) if self.send_old => Some(Timestamped::read(handle, &bytes)?),
                _ => None,
            };
            let new = new.map(|bytes| Timestamped::read(handle, &bytes)).transpose()?;
            let timestamp = new.as_ref().map_or(written, |entry| entry.timestamp);
            let change = Change::latest(old.map(|entry| entry.value), new.map(|entry| entry.value));
            let record = Record { key: &key, value: &change, timestamp, headers: Headers::none() };
            self.children.forward(record, ctx)?;
        }
        self.held.drained = drained;
        Ok(())
    }

    fn read_key(&self, stored: &[u8]) -> Result<Option<Windowed<K>>> {
        let Some((key, start)) = split_window_key(stored) else { return Ok(None) };
        let window = Window { start, end: start + self.window_ms };
        Ok(Some(Windowed { key: self.store.handle().read_key(key)?, window }))
    }
}
