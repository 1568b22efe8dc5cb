//! What a table keeps of its changes: the latest value of each key, or its versions, if anything
//! below needs them.

use crate::error::Result;
use crate::graph::Wiring;
use crate::node::{Children, Context, DropReason};
use crate::operators::change::Change;
use crate::operators::held_table::HeldTable;
use crate::store::bytes::Expired;
use crate::store::key_value::{Timestamped, TimestampedHandle};
use crate::store::spec::StoreKind;
use crate::store::versioned::{VersionPut, VersionedHandle};
use crate::time::Timestamp;

/// The store of a table, if it has one.
///
/// Keeps: key -> timestamp and value, where an out-of-order update is applied like any other; or
/// (key, timestamp) -> value, where it finds its place. Changelog: compacted, or the source topic
/// itself. A caching store holds the changes back. Drops, counted: updates older than a versioned
/// store's history, or than a time to live.
pub(crate) struct TableState<K, V> {
    store: Kept<K, V>,
    /// Whether the nodes below want to know what was there before.
    send_old: bool,
    /// `None` where changes are told at once.
    held: Option<HeldTable<K, V>>,
}

enum Kept<K, V> {
    Nothing,
    Latest(TimestampedHandle<K, V>),
    Versions(Box<VersionedHandle<K, V>>),
}

impl<K: 'static, V: 'static> TableState<K, V> {
    /// Binds the store of that name, of whichever kind it is.
    ///
    /// # Errors
    /// When the task has no such store, or it is of other types.
    pub(crate) fn bind(
        wiring: &mut Wiring<'_>,
        store_name: Option<&str>,
        send_old: bool,
    ) -> Result<Self> {
        let store = match store_name {
            None => Kept::Nothing,
            Some(name) => match wiring.store_spec(name)?.kind {
                StoreKind::Versioned { .. } => {
                    Kept::Versions(Box::new(VersionedHandle::bind(wiring, name)?))
                }
                _ => {
                    wiring.keep_expiring(name)?;
                    Kept::Latest(wiring.timestamped(name)?)
                }
            },
        };
        let held = HeldTable::bind(wiring, store_name, send_old)?;
        Ok(Self { store, send_old, held })
    }

    /// Takes over a key's new value, and tells the change; none if it comes too late for the store,
    /// or is held back by it.
    pub(crate) fn update(
        &mut self,
        key: &[u8],
        new: Option<V>,
        timestamp: Timestamp,
        ctx: &mut Context<'_>,
    ) -> Result<Option<Change<V>>> {
        let mut old = None;
        match &mut self.store {
            Kept::Nothing => {}
            Kept::Latest(handle) => {
                if new.is_some() && handle.0.has_expired(timestamp, ctx.stream_time()) {
                    ctx.drop_record(DropReason::ExpiredRecord);
                    return Ok(None);
                }
                let mut store = ctx.timestamped(handle);
                if self.send_old && self.held.is_none() {
                    old = store.get_stored(key)?.map(|entry| entry.value);
                }
                store.put(key, new.as_ref(), timestamp)?;
                if let Some(held) = &self.held {
                    ctx.note_held(held.index());
                    return Ok(None);
                }
            }
            Kept::Versions(handle) => {
                if self.send_old {
                    old = handle.get(key, ctx)?.map(|version| version.value);
                }
                let put = handle.put(key, new.as_ref(), timestamp, ctx)?;
                if put == VersionPut::TooOld {
                    return Ok(None);
                }
                return Ok(Some(Change { old, new, is_latest: put == VersionPut::Latest }));
            }
        }
        Ok(Some(Change::latest(old, new)))
    }

    /// Pushes on what the store holds back, where no other node of the table does.
    pub(crate) fn push_on(
        &mut self,
        children: &Children<K, Change<V>>,
        ctx: &mut Context<'_>,
    ) -> Result {
        match &mut self.held {
            Some(held) => held.push_on(children, ctx),
            None => Ok(()),
        }
    }

    /// The key of an entry that expired, and its end as a change; none where that is held back.
    pub(crate) fn end_of(&self, entry: &Expired) -> Result<Option<(K, Change<V>)>> {
        if self.held.is_some() {
            return Ok(None);
        }
        let Kept::Latest(TimestampedHandle(handle)) = &self.store else { return Ok(None) };
        let old = match self.send_old {
            true => Some(Timestamped::read(handle, &entry.value)?.value),
            false => None,
        };
        Ok(Some((handle.read_key(&entry.key)?, Change::latest(old, None))))
    }
}
