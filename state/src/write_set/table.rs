//! Entries by key: a hash index over a slab, and the eviction of clean entries.
//!
//! The slab gives every entry a number that stays while it lives, so that lists of changed
//! entries are lists of numbers. Clean entries wait in a queue; when they take more than the
//! budget, the one at the front goes, unless it was read since it joined: then it joins again
//! (the "clock" or "second chance" rule). Entries that became dirty leave the queue when it is
//! their turn, so no step ever searches for something to evict.

use std::collections::VecDeque;

use hashbrown::hash_table::Entry as IndexEntry;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::entry::{Entry, Flags};
use crate::key_hash::key_hash;

/// Number of an entry in the slab.
pub(super) type Slot = u32;

const NONE: Slot = Slot::MAX;

#[derive(Debug)]
pub(super) struct Table {
    entries: Vec<Entry>,
    free: Vec<Slot>,
    index: HashTable<Slot>,
    hasher: DefaultHashBuilder,
    /// The entry of the last look-up: a `get` followed by a `put` of one key hashes once.
    last: Slot,
    evictable: VecDeque<Slot>,
    /// How many vacant slots stand in that queue.
    stale: usize,
    clean_bytes: usize,
    dirty_bytes: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            last: NONE,
            evictable: VecDeque::new(),
            stale: 0,
            clean_bytes: 0,
            dirty_bytes: 0,
        }
    }
}

impl Table {
    pub(super) fn find(&mut self, key: &[u8]) -> Option<Slot> {
        if self.is_last(key) {
            return Some(self.last);
        }
        let hash = self.hash(key);
        let entries = &self.entries;
        let slot = *self.index.find(hash, |slot| entries[*slot as usize].key() == key)?;
        self.last = slot;
        Some(slot)
    }

    fn is_last(&self, key: &[u8]) -> bool {
        self.entries.get(self.last as usize).is_some_and(|last| last.key() == key)
    }

    /// The entry of a key: the one there is, or one made of the value given, clean.
    pub(super) fn find_or_add(&mut self, key: &[u8], value: Option<&[u8]>) -> (Slot, bool) {
        if self.is_last(key) {
            return (self.last, false);
        }
        let hash = self.hash(key);
        let entries = &self.entries;
        let found = self.index.entry(
            hash,
            |slot| entries[*slot as usize].key() == key,
            |slot| entries[*slot as usize].hash,
        );
        let vacant = match found {
            IndexEntry::Occupied(found) => {
                self.last = *found.get();
                return (self.last, false);
            }
            IndexEntry::Vacant(vacant) => vacant,
        };
        let entry = Entry::new(hash, key, value);
        self.clean_bytes += entry.size_bytes();
        let slot = match self.free.pop() {
            Some(slot) => {
                vacant.insert(slot);
                self.entries[slot as usize] = entry;
                slot
            }
            None => {
                // A slot a number: four billion entries would be 400 GB of them.
                let slot = self.entries.len() as Slot;
                vacant.insert(slot);
                self.entries.push(entry);
                slot
            }
        };
        self.last = slot;
        (slot, true)
    }

    pub(super) fn entry(&self, slot: Slot) -> &Entry {
        &self.entries[slot as usize]
    }

    /// Changes an entry, keeping account of its size and of whether it is dirty.
    pub(super) fn change<T>(&mut self, slot: Slot, change: impl FnOnce(&mut Entry) -> T) -> T {
        let entry = &mut self.entries[slot as usize];
        let (size_before, dirty_before) = (entry.size_bytes(), entry.is(Flags::DIRTY));
        let result = change(entry);
        let (size, dirty) = (entry.size_bytes(), entry.is(Flags::DIRTY));
        if dirty_before {
            self.dirty_bytes -= size_before;
        } else {
            self.clean_bytes -= size_before;
        }
        if dirty {
            self.dirty_bytes += size;
        } else {
            self.clean_bytes += size;
        }
        result
    }

    /// Marks an entry as read.
    pub(super) fn touch(&mut self, slot: Slot) {
        let entry = &mut self.entries[slot as usize];
        if !entry.is(Flags::REFERENCED) {
            entry.set(Flags::REFERENCED);
        }
    }

    /// Lets an entry be evicted from now on, as far as nothing else keeps it.
    pub(super) fn make_evictable(&mut self, slot: Slot) {
        let entry = &mut self.entries[slot as usize];
        if !entry.is(Flags::QUEUED) && !entry.is(Flags::KEPT) {
            entry.set(Flags::QUEUED);
            self.evictable.push_back(slot);
        }
    }

    /// Leaves an entry that may have become clean to eviction; one of a deleted key that nobody has
    /// read goes at once, for it would only stand in the way of those that are read.
    pub(super) fn settle(&mut self, slot: Slot) {
        let entry = &self.entries[slot as usize];
        let stays = Flags::KEPT.with(Flags::PRESENT).with(Flags::REFERENCED);
        if entry.is(stays) {
            self.make_evictable(slot);
        } else {
            self.remove(slot);
            self.sweep();
        }
    }

    /// Frees the slots that were vacated while they waited in the queue, once they are most of it.
    fn sweep(&mut self) {
        if self.stale * 2 <= self.evictable.len() {
            return;
        }
        let Self { entries, evictable, free, .. } = self;
        evictable.retain(|slot| {
            let entry = &mut entries[*slot as usize];
            let is_vacant = entry.is(Flags::VACANT);
            if is_vacant {
                entry.unset(Flags::QUEUED);
                free.push(*slot);
            }
            !is_vacant
        });
        self.stale = 0;
    }

    /// Evicts clean entries until they take at most `budget` bytes.
    pub(super) fn evict(&mut self, budget: usize) {
        while self.clean_bytes > budget {
            let Some(slot) = self.evictable.pop_front() else { return };
            let entry = &mut self.entries[slot as usize];
            entry.unset(Flags::QUEUED);
            if entry.is(Flags::VACANT) {
                self.stale -= 1;
                self.free.push(slot);
                continue;
            }
            if entry.is(Flags::KEPT) {
                continue;
            }
            if entry.is(Flags::REFERENCED) {
                entry.unset(Flags::REFERENCED);
                self.make_evictable(slot);
                continue;
            }
            self.remove(slot);
        }
    }

    fn remove(&mut self, slot: Slot) {
        let entry = std::mem::replace(&mut self.entries[slot as usize], Entry::vacant());
        self.clean_bytes -= entry.size_bytes();
        if let Ok(found) = self.index.find_entry(entry.hash, |other| *other == slot) {
            found.remove();
        }
        if entry.is(Flags::QUEUED) {
            // The queue still names the slot, so nobody else gets it yet.
            self.entries[slot as usize].set(Flags::QUEUED);
            self.stale += 1;
        } else {
            self.free.push(slot);
        }
        self.last = NONE;
    }

    /// All slots, vacant ones too.
    pub(super) fn slots(&self) -> std::ops::Range<Slot> {
        0..self.entries.len() as Slot
    }

    pub(super) fn clean_bytes(&self) -> usize {
        self.clean_bytes
    }

    pub(super) fn dirty_bytes(&self) -> usize {
        self.dirty_bytes
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    fn hash(&self, key: &[u8]) -> u64 {
        key_hash(&self.hasher, key)
    }
}
