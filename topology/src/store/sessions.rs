//! A session store as a processor of one's own sees it.
//!
//! An aggregate's sessions of a key never overlap, which [`SessionHandle::find`] makes use of; a
//! processor may put what it likes, so its look-ups read every session that could matter.

use std::ops::ControlFlow;

use crate::error::Result;
use crate::node::Context;
use crate::store::bytes::{KeyRange, Order};
use crate::store::session::{SessionHandle, split_session_key};
use crate::time::{Timestamp, Window};

/// A session store for the length of one call into a processor; see
/// [`ProcessorContext::sessions`](crate::processor::ProcessorContext::sessions).
pub struct Sessions<'s, 't, K, V> {
    pub(crate) handle: &'s mut SessionHandle<K, V>,
    pub(crate) ctx: &'s mut Context<'t>,
}

impl<K: 'static, V: 'static> Sessions<'_, '_, K, V> {
    fn key(&self, key: &K) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.handle.entries.write_key(key, &mut bytes)?;
        Ok(bytes)
    }

    /// The value of a key's session; none if retention does not cover it any more.
    ///
    /// # Errors
    /// When the key has no bytes, or the store cannot be read.
    pub fn get(&mut self, key: &K, session: Window) -> Result<Option<V>> {
        if session.end < self.handle.oldest(self.ctx) {
            return Ok(None);
        }
        let mut stored = self.handle.segment_of(session.end).to_be_bytes().to_vec();
        stored.extend_from_slice(&self.key(key)?);
        stored.extend_from_slice(&session.end.millis().to_be_bytes());
        stored.extend_from_slice(&session.start.millis().to_be_bytes());
        let entries = &self.handle.entries;
        let found = self.ctx.bytes_store(entries.index).get(&stored)?;
        found.map(|value| entries.read_value(value)).transpose()
    }

    /// Puts a key's session, and drops what retention does not cover any more. A session that it
    /// does not cover is refused and counted. `timestamp` is what the changelog record carries.
    ///
    /// # Errors
    /// When the key or value has no bytes, or the store cannot be written.
    pub fn put(&mut self, key: &K, session: Window, value: &V, timestamp: Timestamp) -> Result {
        let key = self.key(key)?;
        self.handle.put(&key, (session, false), Some(value), timestamp, self.ctx)
    }

    /// Removes a key's session; nothing happens if it is not there.
    ///
    /// # Errors
    /// When the key has no bytes, or the store cannot be written.
    pub fn remove(&mut self, key: &K, session: Window, timestamp: Timestamp) -> Result {
        let key = self.key(key)?;
        self.handle.remove(&key, session, timestamp, self.ctx)
    }

    /// Visits a key's sessions that overlap `from..=to`, in order of their end: those that end at
    /// `from` or later and start at `to` or earlier.
    ///
    /// # Errors
    /// When the key has no bytes, the store cannot be read, or what `visit` returned.
    pub fn fetch(
        &mut self,
        key: &K,
        from: Timestamp,
        to: Timestamp,
        order: Order,
        mut visit: impl FnMut(Window, V) -> Result<ControlFlow<()>>,
    ) -> Result {
        let key = self.key(key)?;
        let from = from.max(self.handle.oldest(self.ctx)).max(Timestamp::new(0));
        let last = self.handle.segment_of(self.handle.latest(self.ctx));
        let mut segments: Vec<i64> = (self.handle.segment_of(from)..=last).collect();
        if order == Order::Backward {
            segments.reverse();
        }
        let entries = &self.handle.entries;
        for segment in segments {
            let bound = |end: i64| {
                let mut bytes = segment.to_be_bytes().to_vec();
                bytes.extend_from_slice(&key);
                bytes.extend_from_slice(&end.to_be_bytes());
                bytes
            };
            let (first, last) = (bound(from.millis()), bound(i64::MAX));
            let range = KeyRange { from: &first, to: Some(&last) };
            let mut outcome = Ok(ControlFlow::Continue(()));
            self.ctx.bytes_store(entries.index).scan(range, order, &mut |stored, value| {
                // A longer key may sort in between; its sessions are not this key's.
                match split_session_key(stored) {
                    Some((found, session)) if found == key && session.start <= to => {
                        outcome = entries.read_value(value).and_then(|value| visit(session, value));
                    }
                    _ => {}
                }
                match outcome {
                    Ok(ControlFlow::Continue(())) => ControlFlow::Continue(()),
                    _ => ControlFlow::Break(()),
                }
            })?;
            if outcome?.is_break() {
                break;
            }
        }
        Ok(())
    }
}
