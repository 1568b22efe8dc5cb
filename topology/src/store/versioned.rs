//! Versioned stores: the values that a key had, by the time from which each was valid.
//!
//! The key in the store is `key | timestamp` (see [`spec`](crate::store::spec)): the version that
//! was valid at a time is the first one met going backward from it. Versions live as long as the
//! store's history reaches, seen from the highest timestamp put so far; the one that was valid at
//! that horizon stays. A key's outlived versions are dropped together, some at a time, when it is
//! put again.

use std::ops::ControlFlow;

use crate::error::{Error, Result};
use crate::graph::Wiring;
use crate::node::{Context, DropReason, TimeSlot};
use crate::store::bytes::{KeyRange, Order};
use crate::store::key_value::KeyValueHandle;
use crate::store::spec::{StoreKind, TIME_LEN, split_timestamp};
use crate::time::Timestamp;

/// How many outlived versions of a key may pile up before they are dropped.
const OUTLIVED_MAX: usize = 32;

/// A version of a key's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version<V> {
    /// The value.
    pub value: V,
    /// Since when it is valid.
    pub timestamp: Timestamp,
}

/// What became of a version that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionPut {
    /// It is the key's latest.
    Latest,
    /// A later version took its place at that time.
    ValidTo(Timestamp),
    /// It is older than the store's history, and was dropped and counted.
    TooOld,
}

/// A bound versioned store.
pub struct VersionedHandle<K, V> {
    pub(crate) entries: KeyValueHandle<K, V>,
    history_ms: i64,
    /// Highest timestamp put so far.
    observed: TimeSlot,
    stored: Vec<u8>,
    bound: Vec<u8>,
    value: Vec<u8>,
}

impl<K: 'static, V: 'static> VersionedHandle<K, V> {
    /// Binds the store of that name.
    ///
    /// # Errors
    /// When the task has no such store, or it is of another kind or other types.
    pub fn bind(wiring: &mut Wiring<'_>, name: &str) -> Result<Self> {
        let kind = wiring.store_spec(name)?.kind;
        let observed = wiring.store_time(name)?;
        Self::new(wiring.key_value(name)?, kind, observed)
    }

    pub(crate) fn new(
        entries: KeyValueHandle<K, V>,
        kind: StoreKind,
        observed: TimeSlot,
    ) -> Result<Self> {
        let StoreKind::Versioned { history_ms } = kind else {
            return Err(Error::wiring(format!("store {} keeps no versions", entries.name)));
        };
        Ok(Self {
            entries,
            history_ms,
            observed,
            stored: Vec::new(),
            bound: Vec::new(),
            value: Vec::new(),
        })
    }

    /// Earliest time that the history reaches.
    fn horizon(&self, ctx: &Context<'_>) -> Timestamp {
        match ctx.time(self.observed) {
            Timestamp::UNKNOWN => Timestamp::MIN,
            observed => observed - self.history_ms,
        }
    }

    /// Puts the value that a key has from a time on; `None` says that it has none.
    ///
    /// # Errors
    /// When the value has no bytes or the store cannot be read or written.
    pub fn put(
        &mut self,
        key: &[u8],
        value: Option<&V>,
        from: Timestamp,
        ctx: &mut Context<'_>,
    ) -> Result<VersionPut> {
        if from < self.horizon(ctx) {
            ctx.drop_record(DropReason::ExpiredRecord);
            return Ok(VersionPut::TooOld);
        }
        ctx.advance(self.observed, from);
        let next = self.first_after(key, from, ctx)?;
        if next.is_none() {
            self.drop_outlived(key, ctx)?;
        }
        self.value.clear();
        match value.filter(|value| !self.entries.value.is_null(value)) {
            Some(value) => {
                self.value.push(1);
                self.entries.write_value(value, &mut self.value)?;
            }
            None => self.value.push(0),
        }
        stored_key(key, from, &mut self.stored);
        ctx.bytes_store(self.entries.index).put(&self.stored, &self.value, from)?;
        Ok(next.map_or(VersionPut::Latest, VersionPut::ValidTo))
    }

    /// The latest version of a key's value; none if it was deleted.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn get(&mut self, key: &[u8], ctx: &mut Context<'_>) -> Result<Option<Version<V>>> {
        self.newest_until(key, Timestamp::MAX, ctx)
    }

    /// The version of a key's value that was valid at a time; none if there was none, or if the
    /// history does not reach back so far, unless it is the latest, which never expires.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn get_as_of(
        &mut self,
        key: &[u8],
        at: Timestamp,
        ctx: &mut Context<'_>,
    ) -> Result<Option<Version<V>>> {
        if at < self.horizon(ctx) {
            return Ok(self.get(key, ctx)?.filter(|latest| latest.timestamp <= at));
        }
        self.newest_until(key, at, ctx)
    }

    /// Says that a key has no value from a time on, and tells what was valid there before.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn delete(
        &mut self,
        key: &[u8],
        from: Timestamp,
        ctx: &mut Context<'_>,
    ) -> Result<Option<Version<V>>> {
        if from < self.horizon(ctx) {
            ctx.drop_record(DropReason::ExpiredRecord);
            return Ok(None);
        }
        ctx.advance(self.observed, from);
        let before = self.get_as_of(key, from, ctx)?;
        self.put(key, None, from, ctx)?;
        Ok(before)
    }

    fn newest_until(
        &mut self,
        key: &[u8],
        until: Timestamp,
        ctx: &mut Context<'_>,
    ) -> Result<Option<Version<V>>> {
        stored_key(key, Timestamp::new(0), &mut self.stored);
        stored_key(key, until, &mut self.bound);
        self.bound.push(0);
        let range = KeyRange { from: &self.stored, to: Some(&self.bound) };
        let entries = &self.entries;
        let mut found = Ok(None);
        ctx.bytes_store(entries.index).scan(range, Order::Backward, &mut |stored, value| {
            let Some(timestamp) = version_of(stored, key) else { return ControlFlow::Continue(()) };
            if let Some((1, value)) = value.split_first() {
                found = entries.read_value(value).map(|value| Some(Version { value, timestamp }));
            }
            ControlFlow::Break(())
        })?;
        found
    }

    /// When the next version after a time began.
    fn first_after(
        &mut self,
        key: &[u8],
        after: Timestamp,
        ctx: &mut Context<'_>,
    ) -> Result<Option<Timestamp>> {
        stored_key(key, after, &mut self.stored);
        self.stored.push(0);
        stored_key(key, Timestamp::MAX, &mut self.bound);
        self.bound.push(0);
        let range = KeyRange { from: &self.stored, to: Some(&self.bound) };
        let mut next = None;
        ctx.bytes_store(self.entries.index).scan(range, Order::Forward, &mut |stored, _| {
            next = version_of(stored, key);
            if next.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(next)
    }

    /// Drops a key's versions whose successors are at or before the horizon, once they are many.
    fn drop_outlived(&mut self, key: &[u8], ctx: &mut Context<'_>) -> Result {
        let horizon = self.horizon(ctx);
        if horizon < Timestamp::new(0) {
            return Ok(());
        }
        stored_key(key, Timestamp::new(0), &mut self.stored);
        stored_key(key, horizon, &mut self.bound);
        self.bound.push(0);
        let range = KeyRange { from: &self.stored, to: Some(&self.bound) };
        // Longer keys may sort in between: the ranges to drop end before them.
        let mut runs: Vec<Vec<Timestamp>> = vec![Vec::new()];
        let mut outlived = 0;
        ctx.bytes_store(self.entries.index).scan(range, Order::Forward, &mut |stored, _| {
            match version_of(stored, key) {
                Some(timestamp) => {
                    outlived += 1;
                    if let Some(run) = runs.last_mut() {
                        run.push(timestamp);
                    }
                }
                None => runs.push(Vec::new()),
            }
            ControlFlow::Continue(())
        })?;
        if outlived <= OUTLIVED_MAX {
            return Ok(());
        }
        // The last one is what was valid at the horizon.
        if let Some(run) = runs.iter_mut().rev().find(|run| !run.is_empty()) {
            run.pop();
        }
        for run in &runs {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            stored_key(key, *first, &mut self.stored);
            stored_key(key, *last, &mut self.bound);
            self.bound.push(0);
            ctx.bytes_store(self.entries.index).delete_range(&self.stored, &self.bound)?;
        }
        Ok(())
    }
}

/// A versioned store for the length of one call into a processor; see
/// [`ProcessorContext::versions`](crate::processor::ProcessorContext::versions).
pub struct Versions<'s, 't, K, V> {
    pub(crate) handle: &'s mut VersionedHandle<K, V>,
    pub(crate) ctx: &'s mut Context<'t>,
}

impl<K: 'static, V: 'static> Versions<'_, '_, K, V> {
    fn key(&self, key: &K) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.handle.entries.write_key(key, &mut bytes)?;
        Ok(bytes)
    }

    /// Puts the value that a key has from a time on; `None` says that it has none.
    ///
    /// # Errors
    /// When the key or value has no bytes, or the store cannot be read or written.
    pub fn put(&mut self, key: &K, value: Option<&V>, from: Timestamp) -> Result<VersionPut> {
        let key = self.key(key)?;
        self.handle.put(&key, value, from, self.ctx)
    }

    /// The latest version of a key's value; none if it was deleted.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn get(&mut self, key: &K) -> Result<Option<Version<V>>> {
        let key = self.key(key)?;
        self.handle.get(&key, self.ctx)
    }

    /// The version of a key's value that was valid at a time; none if there was none, or if the
    /// history does not reach back so far, unless it is the latest, which never expires.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn get_as_of(&mut self, key: &K, at: Timestamp) -> Result<Option<Version<V>>> {
        let key = self.key(key)?;
        self.handle.get_as_of(&key, at, self.ctx)
    }

    /// Says that a key has no value from a time on, and tells what was valid there before.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn delete(&mut self, key: &K, from: Timestamp) -> Result<Option<Version<V>>> {
        let key = self.key(key)?;
        self.handle.delete(&key, from, self.ctx)
    }
}

fn stored_key(key: &[u8], timestamp: Timestamp, into: &mut Vec<u8>) {
    into.clear();
    into.extend_from_slice(key);
    into.extend_from_slice(&timestamp.millis().to_be_bytes());
}

/// The timestamp of a stored version, if it is one of that key: longer keys may sort in between.
fn version_of(stored: &[u8], key: &[u8]) -> Option<Timestamp> {
    let time = stored.strip_prefix(key)?;
    (time.len() == TIME_LEN).then(|| split_timestamp(time).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_key_that_sorts_among_a_keys_versions_is_not_taken_for_one() {
        let (mut short, mut long) = (Vec::new(), Vec::new());
        stored_key(b"a", Timestamp::new(7), &mut short);
        stored_key(b"a\0\0", Timestamp::new(7), &mut long);
        assert_eq!(version_of(&short, b"a"), Some(Timestamp::new(7)));
        assert_eq!(version_of(&long, b"a"), None);
    }
}
