//! A store's write set and read cache, which are one hash map from key bytes to value.
//!
//! | an entry is | meaning | leaves by |
//! |---|---|---|
//! | clean | what the backend holds, or that it holds nothing; the cache | eviction |
//! | unlogged | changed since the last commit | commit (or rollback) |
//! | unapplied | committed, not in the backend yet | apply (or rollback) |
//! | unlogged and unapplied | committed, and changed again since | commit |
//!
//! Two more marks ride along. *Fresh*: the committed state does not have the key, so deleting it
//! again before the commit leaves nothing to log. *Pending*: a caching store holds the update
//! back for its operator.
//!
//! Read [`entry`], then [`table`] (look-up and eviction), [`pending`], and [`ordered`] (scans).

mod entry;
mod ordered;
mod pending;
mod table;

use tidemill_topology::store::Pending;
use tidemill_topology::store::bytes::{KeyRange, Order, Visit};
use tidemill_topology::time::Timestamp;

use self::entry::{Entry, Flags};
use self::ordered::DirtyIndex;
pub(crate) use self::ordered::{Mask, merge};
use self::pending::PendingUpdates;
use self::table::{Slot, Table};
use crate::backend::Batch;
use crate::key_order::{leading, shared_start};
use crate::memory::bounds;
use crate::overlay::Changes;

/// What a look-up of a key knows without asking the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The write set has the key, or knows that it is absent.
    Found(Found),
    /// A range deletion hides whatever the backend holds.
    Hidden,
    /// The backend has to be asked.
    Unknown,
}

/// An entry that a look-up found; valid until the write set changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found(Slot);

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct WriteSet {
    table: Table,
    /// What changed since the last commit, in the order of first change.
    unlogged: Vec<Slot>,
    unapplied: Vec<Slot>,
    masks: Vec<Mask>,
    /// Whether a range was deleted since the last commit.
    masks_changed: bool,
    caching: bool,
    pending: PendingUpdates,
    index: Option<DirtyIndex>,
    /// How many keys more there are than in the backend, as far as known.
    growth: i64,
    /// Counts the writes, and what the count was when the changes were last handed out, and when
    /// they were last committed.
    writes: u64,
    writes_handed_out: u64,
    writes_committed: u64,
}

impl WriteSet {
    /// An empty write set; a caching one holds updates back until they are drained.
    pub(crate) fn new(caching: bool) -> Self {
        Self { caching, ..Self::default() }
    }

    pub(crate) fn look_up(&mut self, key: &[u8]) -> Lookup {
        match self.table.find(key) {
            Some(slot) => Lookup::Found(Found(slot)),
            None if self.masks.iter().any(|mask| mask.covers(key)) => Lookup::Hidden,
            None => Lookup::Unknown,
        }
    }

    /// The value of an entry, which counts as read.
    pub(crate) fn read(&mut self, Found(slot): Found) -> Option<&[u8]> {
        self.table.touch(slot);
        self.table.entry(slot).value()
    }

    pub(crate) fn value(&self, Found(slot): Found) -> Option<&[u8]> {
        self.table.entry(slot).value()
    }

    /// Remembers what the backend holds under a key that the write set does not have, evicting
    /// others to stay within `budget` bytes.
    pub(crate) fn cache(&mut self, key: &[u8], value: Option<&[u8]>, budget: usize) -> Found {
        self.table.evict(budget);
        let (slot, _) = self.table.find_or_add(key, value);
        self.table.make_evictable(slot);
        Found(slot)
    }

    /// Writes an entry that a look-up found.
    pub(crate) fn overwrite(
        &mut self,
        Found(slot): Found,
        value: Option<&[u8]>,
        written: Timestamp,
    ) {
        self.writes += 1;
        let entry = self.table.entry(slot);
        let before = entry.value().map(<[u8]>::len);
        self.growth += i64::from(value.is_some()) - i64::from(before.is_some());
        if self.caching {
            self.hold_back(slot, value);
        }
        let (was_listed, was_dirty) = self.table.change(slot, |entry| {
            let was = (entry.is(Flags::LISTED), entry.is(Flags::DIRTY));
            if !entry.is(Flags::UNLOGGED) && !entry.is(Flags::PRESENT) {
                // What the entry says is committed, and it says that there is nothing.
                entry.set(Flags::FRESH);
                if !entry.is(Flags::UNAPPLIED) {
                    entry.set(Flags::NEW);
                }
            }
            entry.set(Flags::UNLOGGED.with(Flags::LISTED));
            entry.set_value(value);
            entry.written = written;
            if value.is_none() && entry.is(Flags::FRESH) {
                entry.unset(Flags::FRESH.with(Flags::UNLOGGED));
            }
            was
        });
        if !was_listed {
            self.unlogged.push(slot);
        }
        self.follow(slot, was_dirty);
    }

    /// Puts a value under a key, of which the write set knows or not. `fresh`: the backend does not.
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8], written: Timestamp, fresh: bool) {
        let (slot, is_new) = self.table.find_or_add(key, Some(value));
        if !is_new {
            return self.overwrite(Found(slot), Some(value), written);
        }
        self.writes += 1;
        self.growth += 1;
        if self.caching {
            let place = self.pending.add(slot, key, None);
            self.pending.resize(0, value.len());
            self.table.change(slot, |entry| {
                entry.pending = place;
                entry.set(Flags::PENDING);
            });
        }
        self.table.change(slot, |entry| {
            entry.written = written;
            entry.set(Flags::UNLOGGED.with(Flags::LISTED));
            if fresh {
                entry.set(Flags::FRESH.with(Flags::NEW));
            }
        });
        self.unlogged.push(slot);
        self.follow(slot, false);
    }

    /// Holds the update of an entry back, before it is written.
    fn hold_back(&mut self, slot: Slot, value: Option<&[u8]>) {
        let entry = self.table.entry(slot);
        let after = value.map_or(0, <[u8]>::len);
        if entry.is(Flags::PENDING) {
            self.pending.resize(entry.value().map_or(0, <[u8]>::len), after);
            return;
        }
        let place = self.pending.add(slot, entry.key(), entry.value());
        self.pending.resize(0, after);
        self.table.change(slot, |entry| {
            entry.pending = place;
            entry.set(Flags::PENDING);
        });
    }

    /// Keeps the ordered index and the eviction queue in step with an entry's marks.
    fn follow(&mut self, slot: Slot, was_dirty: bool) {
        let entry = self.table.entry(slot);
        let is_dirty = entry.is(Flags::DIRTY);
        if is_dirty != was_dirty
            && let Some(index) = &mut self.index
        {
            if is_dirty {
                index.insert(entry.key().into(), slot);
            } else {
                index.remove(entry.key());
            }
        }
        // One that came and went since the last commit is no use to the cache; the commit drops it.
        let is_passing = entry.is(Flags::LISTED) && !entry.is(Flags::PRESENT);
        if !is_dirty && !is_passing {
            self.table.make_evictable(slot);
        }
    }

    /// Forgets the keys of `[from, to)`, here at once and in the backend when it is applied.
    ///
    /// It walks the whole map, as expiry does once a segment.
    pub(crate) fn delete_range(&mut self, from: &[u8], to: &[u8]) {
        let mask = Mask { from: from.into(), to: to.into() };
        if to <= from {
            return;
        }
        self.writes += 1;
        for slot in self.table.slots() {
            let entry = self.table.entry(slot);
            if entry.is(Flags::VACANT) || !mask.covers(entry.key()) {
                continue;
            }
            if entry.is(Flags::PENDING) {
                self.pending.detach(entry.pending, entry.key(), entry.value(), entry.written);
            }
            self.growth -= i64::from(entry.is(Flags::PRESENT));
            let was_dirty = entry.is(Flags::DIRTY);
            self.table.change(slot, |entry| {
                // A committed change that is not applied stays in the batch, as a deletion.
                entry.unset(Flags::PENDING.with(Flags::UNLOGGED).with(Flags::FRESH));
                entry.set_value(None);
            });
            self.follow(slot, was_dirty);
        }
        match self.masks.last_mut() {
            // Expiry moves on from segment to segment: one mask grows instead of many piling up.
            Some(last) if *last.to == *from => last.to = mask.to,
            _ => self.masks.push(mask),
        }
        self.masks_changed = true;
    }

    /// Visits a range of keys in order; `scan` runs over the backend.
    pub(crate) fn scan<E>(
        &mut self,
        range: KeyRange<'_>,
        order: Order,
        visit: &mut Visit<'_>,
        scan: impl FnOnce(&mut Visit<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.table.dirty_bytes() == 0 && self.masks.is_empty() {
            return scan(visit);
        }
        let table = &self.table;
        let masks = &self.masks;
        let index = self.index.get_or_insert_with(|| {
            let changed = self.unlogged.iter().chain(&self.unapplied);
            changed
                .filter(|slot| table.entry(**slot).is(Flags::DIRTY))
                .map(|slot| (table.entry(*slot).key().into(), *slot))
                .collect()
        });
        let Some(bounds) = bounds(range) else { return Ok(()) };
        let dirty = index.range::<[u8], _>(bounds);
        let dirty = dirty.map(|(key, slot)| (&**key, table.entry(*slot).value()));
        merge(dirty, |key| masks.iter().any(|mask| mask.covers(key)), order, visit, scan)
    }

    /// Hands out what changed since the last commit, each key once, in the order of first change.
    pub(crate) fn for_each_unlogged<E>(
        &mut self,
        mut each: impl FnMut(&[u8], Option<&[u8]>, Timestamp) -> Result<(), E>,
    ) -> Result<(), E> {
        for entry in self.unlogged.iter().map(|slot| self.table.entry(*slot)) {
            if entry.is(Flags::UNLOGGED) {
                each(entry.key(), entry.value(), entry.written)?;
            }
        }
        self.writes_handed_out = self.writes;
        Ok(())
    }

    /// Whether nothing was written since the changes were handed out.
    pub(crate) fn all_handed_out(&self) -> bool {
        self.writes == self.writes_handed_out
    }

    /// Declares what changed as committed, and lists it for readers, if there are any.
    pub(crate) fn committed(&mut self, mut shown: Option<&mut Changes>) {
        for slot in std::mem::take(&mut self.unlogged) {
            let list = self.table.change(slot, |entry| {
                entry.unset(Flags::LISTED);
                let changed = entry.is(Flags::UNLOGGED);
                let list = changed && !entry.is(Flags::UNAPPLIED);
                entry.unset(Flags::UNLOGGED.with(Flags::FRESH));
                if changed {
                    entry.set(Flags::UNAPPLIED);
                    if let Some(shown) = &mut shown {
                        shown.put(entry.key(), entry.value());
                    }
                }
                list
            });
            if list {
                self.unapplied.push(slot);
            } else {
                self.table.settle(slot);
            }
        }
        self.writes_handed_out = self.writes;
        self.writes_committed = self.writes;
        let masks_changed = std::mem::take(&mut self.masks_changed);
        match shown {
            // What a range deletion took away is in no list of changes.
            Some(shown) if masks_changed => *shown = Changes::whole(self),
            Some(shown) => shown.set_growth(self.growth),
            None => {}
        }
    }

    /// Visits everything that is committed and not in the backend, deleted ranges apart.
    /// To be called only while nothing is uncommitted.
    pub(crate) fn for_each_unapplied(&self, mut each: impl FnMut(&[u8], Option<&[u8]>)) {
        debug_assert!(!self.has_uncommitted());
        for entry in self.unapplied.iter().map(|slot| self.table.entry(*slot)) {
            each(entry.key(), entry.value());
        }
    }

    /// The deleted ranges that the backend still has.
    pub(crate) fn masks(&self) -> &[Mask] {
        &self.masks
    }

    /// Whether anything was written since the last commit.
    pub(crate) fn has_uncommitted(&self) -> bool {
        self.writes != self.writes_committed
    }

    /// Whether there is anything for the backend.
    pub(crate) fn has_unapplied(&self) -> bool {
        !self.unapplied.is_empty() || !self.masks.is_empty()
    }

    /// Writes everything committed into a batch, sorted by key, as the engines like it.
    /// To be called only while nothing is uncommitted.
    pub(crate) fn write_unapplied(&self, batch: &mut dyn Batch) {
        debug_assert!(!self.has_uncommitted());
        for mask in &self.masks {
            batch.delete_range(&mask.from, &mask.to);
        }
        let wanted = |entry: &&Entry| entry.is(Flags::PRESENT) || !entry.is(Flags::NEW);
        let entries = || self.unapplied.iter().map(|slot| self.table.entry(*slot)).filter(wanted);
        let shared = shared_start(entries().map(Entry::key));
        let mut sorted: Vec<(u64, &Entry)> =
            entries().map(|entry| (leading(entry.key(), shared), entry)).collect();
        sorted.sort_unstable_by(|left, right| {
            left.0.cmp(&right.0).then_with(|| left.1.key().cmp(right.1.key()))
        });
        for (_, entry) in sorted {
            match entry.value() {
                Some(value) => batch.put(entry.key(), value),
                None => batch.delete(entry.key()),
            }
        }
    }

    /// Takes note that the backend has everything; the entries become the cache. Returns the highest
    /// timestamp with which one of them was written.
    pub(crate) fn applied(&mut self, budget: usize) -> Option<Timestamp> {
        let mut newest = None;
        for slot in std::mem::take(&mut self.unapplied) {
            newest = newest.max(Some(self.table.entry(slot).written));
            self.table.change(slot, |entry| entry.unset(Flags::UNAPPLIED.with(Flags::NEW)));
            self.table.settle(slot);
        }
        self.masks.clear();
        self.index = None;
        self.growth = 0;
        self.table.evict(budget);
        newest
    }

    /// Drops everything, cache included.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.caching);
    }

    pub(crate) fn drain_pending(&mut self, into: &mut Vec<Pending>) {
        let table = &mut self.table;
        self.pending.drain(into, |slot| {
            let entry = table.entry(slot);
            let value = entry.value().map(<[u8]>::to_vec);
            let update = (entry.key().to_vec(), value, entry.written);
            table.change(slot, |entry| entry.unset(Flags::PENDING));
            table.make_evictable(slot);
            update
        });
    }

    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending.bytes()
    }

    pub(crate) fn growth(&self) -> i64 {
        self.growth
    }

    pub(crate) fn clean_bytes(&self) -> usize {
        self.table.clean_bytes()
    }

    pub(crate) fn dirty_bytes(&self) -> usize {
        self.table.dirty_bytes()
    }

    pub(crate) fn entries(&self) -> usize {
        self.table.len()
    }
}
