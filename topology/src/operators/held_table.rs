//! What a caching store of a table holds back, and how it goes on: one change a key, from what was
//! last pushed on to what is there now.

use crate::error::Result;
use crate::graph::Wiring;
use crate::node::{Children, Context, Operator};
use crate::operators::change::Change;
use crate::record::{Headers, Record};
use crate::store::bytes::{Pending, StoreIndex};
use crate::store::key_value::{Timestamped, TimestampedHandle};

/// A caching store's updates on their way to the nodes below. They have no headers, as several
/// records went into one; the timestamp is the value's, of a deletion that of the last change.
pub(crate) struct HeldTable<K, V> {
    store: TimestampedHandle<K, V>,
    send_old: bool,
    drained: Vec<Pending>,
}

impl<K: 'static, V: 'static> HeldTable<K, V> {
    /// Binds the store of that name; none if it holds nothing back.
    ///
    /// # Errors
    /// When the task has no such store, or it is of other types.
    pub(crate) fn bind(
        wiring: &Wiring<'_>,
        store: Option<&str>,
        send_old: bool,
    ) -> Result<Option<Self>> {
        let Some(store) = store else { return Ok(None) };
        if !wiring.store_spec(store)?.caching {
            return Ok(None);
        }
        let store = wiring.timestamped(store)?;
        Ok(Some(Self { store, send_old, drained: Vec::new() }))
    }

    /// Which store it is.
    pub(crate) fn index(&self) -> StoreIndex {
        self.store.0.index
    }

    /// Pushes everything on.
    ///
    /// # Errors
    /// When an entry cannot be read, or a child's.
    pub(crate) fn push_on(
        &mut self,
        children: &Children<K, Change<V>>,
        ctx: &mut Context<'_>,
    ) -> Result {
        let mut drained = std::mem::take(&mut self.drained);
        ctx.take_held(self.index(), &mut drained);
        let handle = &self.store.0;
        for Pending { key, old, new, written } in drained.drain(..) {
            let key = handle.read_key(&key)?;
            let read = |bytes: Option<Vec<u8>>| {
                bytes.map(|bytes| Timestamped::read(handle, &bytes)).transpose()
            };
            let old = read(old.filter(|_| self.send_old))?;
            let new = read(new)?;
            let timestamp = new.as_ref().map_or(written, |entry| entry.timestamp);
            let change = Change::latest(old.map(|entry| entry.value), new.map(|entry| entry.value));
            let record = Record { key: &key, value: &change, timestamp, headers: Headers::none() };
            children.forward(record, ctx)?;
        }
        self.drained = drained;
        Ok(())
    }
}

/// The node of a table that the nodes above it keep: it pushes their changes on, and what the
/// table's store holds back.
pub(crate) struct KeptTable<K, V> {
    held: Option<HeldTable<K, V>>,
    children: Children<K, Change<V>>,
}

impl<K: 'static, V: 'static> KeptTable<K, V> {
    /// Binds the store of that name, if the table is kept, and the node's children.
    ///
    /// # Errors
    /// When the task has no such store, or it is of other types.
    pub(crate) fn bind(wiring: &Wiring<'_>, store: Option<&str>, send_old: bool) -> Result<Self> {
        Ok(Self { held: HeldTable::bind(wiring, store, send_old)?, children: wiring.children() })
    }
}

impl<K: 'static, V: 'static> Operator<K, Change<V>> for KeptTable<K, V> {
    #[inline]
    fn process(&mut self, record: Record<'_, K, Change<V>>, ctx: &mut Context<'_>) -> Result {
        self.children.forward(record, ctx)
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> Result {
        match &mut self.held {
            Some(held) => held.push_on(&self.children, ctx),
            None => Ok(()),
        }
    }
}
