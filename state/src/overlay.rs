//! What a store has committed and its backend does not have yet, for readers on other threads.
//!
//! It is a copy: the write set itself belongs to the thread that runs the task, whose next record
//! may overwrite a committed value at any time. That thread only lists what a commit changed, in
//! [`Changes`]; whoever reads next folds the lists into the [`Overlay`].

use std::sync::OnceLock;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};
use tidemill_topology::store::bytes::{KeyRange, Order, Visit};

use crate::backend::Backend;
use crate::error::Result;
use crate::key_hash::key_hash;
use crate::write_set::{Mask, WriteSet, merge};

/// What one commit changed in one store.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Whether this is all there is, and not what came on top of it.
    is_whole: bool,
    masks: Vec<Mask>,
    growth: i64,
    /// Key and value of each change, one behind the other: a commit copies in one stride.
    bytes: Vec<u8>,
    changes: Vec<Change>,
}

/// How long a list of changes is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChangesSize {
    bytes: usize,
    changes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Change {
    key_len: u32,
    /// [`DELETED`] for none.
    value_len: u32,
}

impl Change {
    fn value_len(self) -> Option<usize> {
        (self.value_len != DELETED).then_some(self.value_len as usize)
    }

    /// Of key and value together.
    fn len(self) -> usize {
        self.key_len as usize + self.value_len().unwrap_or_default()
    }
}

/// The length of a value that there is none of; real ones are shorter, as Kafka's records are.
const DELETED: u32 = u32::MAX;

impl Changes {
    /// With room for as much as others had.
    pub(crate) fn with_room(size: ChangesSize) -> Self {
        Self {
            bytes: Vec::with_capacity(size.bytes),
            changes: Vec::with_capacity(size.changes),
            ..Self::default()
        }
    }

    /// How long it is.
    pub(crate) fn size(&self) -> ChangesSize {
        ChangesSize { bytes: self.bytes.len(), changes: self.changes.len() }
    }

    /// Everything that a write set has committed; nothing in it is uncommitted.
    pub(crate) fn whole(write_set: &WriteSet) -> Self {
        let mut changes = Self::default();
        write_set.for_each_unapplied(|key, value| changes.put(key, value));
        changes.is_whole = true;
        changes.masks.extend_from_slice(write_set.masks());
        changes.growth = write_set.growth();
        changes
    }

    /// Adds a change.
    pub(crate) fn put(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.changes.push(Change {
            key_len: key.len() as u32,
            value_len: value.map_or(DELETED, |value| value.len() as u32),
        });
    }

    /// How many keys more there are than in the backend, as far as known.
    pub(crate) fn set_growth(&mut self, growth: i64) {
        self.growth = growth;
    }

    /// Memory that it takes, in bytes.
    pub(crate) fn size_bytes(&self) -> usize {
        self.bytes.capacity() + self.changes.capacity() * size_of::<Change>()
    }
}

/// See the [module](self).
///
/// Readers pay for what a busy task commits before they find anything: keys and values lie one
/// behind the other in one buffer, so that taking a change over allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    /// Where in `bytes` the committed value of a key is.
    index: HashTable<Place>,
    hasher: DefaultHashBuilder,
    bytes: Vec<u8>,
    /// How much of `bytes` nothing points to any more.
    waste: usize,
    /// The places in the order of their keys: made by the first scan after a change.
    sorted: OnceLock<Vec<Place>>,
    /// Ranges of the backend that are deleted.
    masks: Vec<Mask>,
    growth: i64,
}

/// A key, and behind it its value, in the bytes of an overlay.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: usize,
    /// How long they are.
    change: Change,
}

impl Place {
    fn key(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.at..self.at + self.change.key_len as usize]
    }

    fn value(self, bytes: &[u8]) -> Option<&[u8]> {
        let from = self.at + self.change.key_len as usize;
        self.change.value_len().map(|len| &bytes[from..from + len])
    }
}

/// Waste below this is left where it is.
const WASTE_MIN: usize = 64 << 10;

impl Overlay {
    /// Takes the changes of a commit over.
    pub(crate) fn fold(&mut self, changes: &Changes) {
        if changes.is_whole {
            self.clear();
            self.masks.clone_from(&changes.masks);
        }
        self.growth = changes.growth;
        self.sorted.take();
        let mut at = 0;
        for change in &changes.changes {
            let behind = at + change.len();
            self.put(*change, &changes.bytes[at..behind]);
            at = behind;
        }
        if self.waste > WASTE_MIN && self.waste > self.bytes.len() / 2 {
            self.compact();
        }
    }

    /// Takes one change over, which are these bytes.
    fn put(&mut self, change: Change, new: &[u8]) {
        let Self { index, hasher, bytes, waste, .. } = self;
        let key = &new[..change.key_len as usize];
        let found = index.entry(
            key_hash(hasher, key),
            |place| place.key(bytes) == key,
            |place| key_hash(hasher, place.key(bytes)),
        );
        let place = Place { at: bytes.len(), change };
        match found {
            Entry::Occupied(found) => {
                let old = found.into_mut();
                if old.change.value_len == change.value_len {
                    bytes[old.at..old.at + new.len()].copy_from_slice(new);
                    return;
                }
                *waste += old.change.len();
                *old = place;
            }
            Entry::Vacant(vacant) => {
                vacant.insert(place);
            }
        }
        bytes.extend_from_slice(new);
    }

    /// Drops what nothing points to.
    fn compact(&mut self) {
        let old = std::mem::take(&mut self.bytes);
        self.bytes.reserve(old.len() - self.waste);
        self.waste = 0;
        for place in &mut self.index {
            let at = self.bytes.len();
            self.bytes.extend_from_slice(&old[place.at..place.at + place.change.len()]);
            place.at = at;
        }
    }

    fn find(&self, key: &[u8]) -> Option<Place> {
        let hash = key_hash(&self.hasher, key);
        self.index.find(hash, |place| place.key(&self.bytes) == key).copied()
    }

    /// The backend has everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn hides(&self, key: &[u8]) -> bool {
        self.masks.iter().any(|mask| mask.covers(key))
    }

    /// Writes the committed value of a key into `value`, and tells whether there is one.
    pub(crate) fn get(
        &self,
        backend: &impl Backend,
        key: &[u8],
        value: &mut Vec<u8>,
    ) -> Result<bool> {
        match self.find(key).map(|place| place.value(&self.bytes)) {
            Some(Some(found)) => {
                value.clear();
                value.extend_from_slice(found);
                Ok(true)
            }
            Some(None) => Ok(false),
            None if self.hides(key) => Ok(false),
            None => backend.get(key, value),
        }
    }

    /// Visits a range of committed entries in order.
    pub(crate) fn scan(
        &self,
        backend: &impl Backend,
        range: KeyRange<'_>,
        order: Order,
        visit: &mut Visit<'_>,
    ) -> Result {
        let sorted = self.sorted.get_or_init(|| {
            let mut places: Vec<Place> = self.index.iter().copied().collect();
            places.sort_unstable_by_key(|place| place.key(&self.bytes));
            places
        });
        let below = |bound: &[u8]| sorted.partition_point(|place| place.key(&self.bytes) < bound);
        let (from, to) = (below(range.from), range.to.map_or(sorted.len(), below));
        let places = sorted.get(from..to).unwrap_or_default().iter();
        let dirty = places.map(|place| (place.key(&self.bytes), place.value(&self.bytes)));
        merge(dirty, |key| self.hides(key), order, visit, |visit| backend.scan(range, order, visit))
    }

    /// About how many keys there are.
    pub(crate) fn approximate_entries(&self, backend: &impl Backend) -> u64 {
        backend.approximate_entries().saturating_add_signed(self.growth)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ops::ControlFlow;

    use proptest::prelude::*;

    use super::*;
    use crate::memory::SharedMemory;

    type Write = (u8, Option<Vec<u8>>);

    fn writes() -> impl Strategy<Value = Vec<Write>> {
        let value = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..4));
        proptest::collection::vec((0_u8..40, value), 0..60)
    }

    proptest! {
        /// The changes of commits, and after which of them the waste goes.
        #[test]
        fn it_is_what_a_map_is(commits in proptest::collection::vec((writes(), any::<bool>()), 0..8)) {
            let (mut overlay, mut map) = (Overlay::default(), BTreeMap::new());
            let backend = SharedMemory::of_a_map();
            for (writes, compacts) in commits {
                let mut changes = Changes::default();
                for (key, value) in writes {
                    changes.put(&[key], value.as_deref());
                    map.insert(vec![key], value);
                }
                overlay.fold(&changes);
                if compacts {
                    overlay.compact();
                }
                let used: usize = overlay.index.iter().map(|place| place.change.len()).sum();
                prop_assert_eq!(used + overlay.waste, overlay.bytes.len());
                prop_assert!(!compacts || overlay.waste == 0);
                for key in 0..40 {
                    let (key, mut value) = (vec![key], Vec::new());
                    let found = overlay.get(&backend, &key, &mut value).expect("memory");
                    let expected = map.get(&key).cloned().flatten();
                    prop_assert_eq!(found.then_some(value), expected);
                }
                let mut seen = Vec::new();
                overlay
                    .scan(&backend, KeyRange::ALL, Order::Forward, &mut |key, value| {
                        seen.push((key.to_vec(), value.to_vec()));
                        ControlFlow::Continue(())
                    })
                    .expect("memory");
                let expected = map.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?)));
                prop_assert_eq!(seen, expected.collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn values_that_change_their_length_do_not_pile_up() {
        let mut overlay = Overlay::default();
        for n in 0..100_000_usize {
            let mut changes = Changes::default();
            changes.put(b"key", Some(&vec![0; n % 100]));
            overlay.fold(&changes);
        }
        assert!(overlay.bytes.len() <= 2 * WASTE_MIN, "{}", overlay.bytes.len());
    }
}
