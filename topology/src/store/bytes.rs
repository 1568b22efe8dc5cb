//! An ordered map of bytes: all that a topology asks of a store's engine.

use std::ops::ControlFlow;

use crate::error::Result;
use crate::time::Timestamp;

/// Which of a task's stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreIndex(pub usize);

/// Keys from `from` (inclusive) up to `to` (exclusive), in byte order.
#[derive(Clone, Copy, Debug)]
pub struct KeyRange<'a> {
    /// First key; empty for the beginning.
    pub from: &'a [u8],
    /// Key behind the last one; `None` for the end.
    pub to: Option<&'a [u8]>,
}

impl KeyRange<'static> {
    /// Every key.
    pub const ALL: Self = KeyRange { from: &[], to: None };
}

/// In which order a scan visits its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Ascending.
    Forward,
    /// Descending.
    Backward,
}

/// An update that a caching store held back, for its operator to forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The key.
    pub key: Vec<u8>,
    /// What was there when updates were last drained.
    pub old: Option<Vec<u8>>,
    /// What is there now.
    pub new: Option<Vec<u8>>,
    /// The timestamp that its last change was given.
    pub written: Timestamp,
}

/// An entry that has outlived its time, taken out of its store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// The key.
    pub key: Vec<u8>,
    /// What was there.
    pub value: Vec<u8>,
    /// When it expired, by stream time: its deletion's timestamp.
    pub at: Timestamp,
}

/// What a scan calls for each entry; it ends the scan with [`ControlFlow::Break`].
pub type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'v;

/// An ordered map of bytes that sees its own uncommitted writes.
///
/// Reads borrow from the store, so that a look-up that hits the write set or the cache copies
/// nothing. Every `put` and `delete` is part of the open commit and goes to the changelog with the
/// `timestamp` given; [`delete_range`](Self::delete_range) is not logged.
pub trait BytesStore: Send {
    /// The value under a key.
    ///
    /// # Errors
    /// When the engine cannot be read.
    fn get(&mut self, key: &[u8]) -> Result<Option<&[u8]>>;

    /// Puts a value under a key.
    ///
    /// # Errors
    /// When the engine cannot be read or written.
    fn put(&mut self, key: &[u8], value: &[u8], timestamp: Timestamp) -> Result;

    /// Puts a value under a key that the caller knows is not there, as a sequence number makes
    /// sure. If it is deleted before the next commit, neither ever reaches the changelog.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    fn insert(&mut self, key: &[u8], value: &[u8], timestamp: Timestamp) -> Result {
        self.put(key, value, timestamp)
    }

    /// Removes a key; nothing happens if it is not there.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    fn delete(&mut self, key: &[u8], timestamp: Timestamp) -> Result;

    /// Removes a key that the caller knows is there: the store need not look for it.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    fn remove(&mut self, key: &[u8], timestamp: Timestamp) -> Result {
        self.delete(key, timestamp)
    }

    /// Visits a range of keys in order, until the end or until `visit` breaks.
    ///
    /// # Errors
    /// When the engine cannot be read.
    fn scan(&mut self, range: KeyRange<'_>, order: Order, visit: &mut Visit<'_>) -> Result;

    /// As [`scan`](Self::scan) in ascending order, for a range of a few keys like those that are
    /// asked for again and again, such as a key's records around a time: it may keep what that takes
    /// open. Not among keys that are deleted one by one, over which it might have to step.
    ///
    /// # Errors
    /// When the engine cannot be read.
    fn probe(&mut self, range: KeyRange<'_>, visit: &mut Visit<'_>) -> Result {
        self.scan(range, Order::Forward, visit)
    }

    /// As [`probe`](Self::probe), of a range in which the engine is known to have nothing: what was
    /// written since the engine last got its share is all there is.
    ///
    /// # Errors
    /// As [`probe`](Self::probe).
    fn probe_unapplied(&mut self, range: KeyRange<'_>, visit: &mut Visit<'_>) -> Result {
        self.probe(range, visit)
    }

    /// The highest timestamp of a write that the engine has got since the store was opened; `None` if
    /// it has got none. A store that does not know says [`Timestamp::MAX`].
    fn newest_applied(&self) -> Option<Timestamp> {
        Some(Timestamp::MAX)
    }

    /// Forgets the keys of a range, without a word in the changelog: for what has expired, which a
    /// restore would expire again.
    ///
    /// # Errors
    /// When the engine cannot be written.
    fn delete_range(&mut self, from: &[u8], to: &[u8]) -> Result;

    /// Hands out, in the order of their first change, the updates that a caching store has held
    /// back since the last call. A store without caching holds none back.
    fn drain_pending(&mut self, into: &mut Vec<Pending>);

    /// Bytes of the updates held back, which the task pushes on before they are too many.
    fn pending_bytes(&self) -> usize;

    /// Takes out, with a deletion in the changelog, the entry that expired first, if one has by
    /// `now`; false when there is none. Every entry looked at costs one of `looks`, as does one that
    /// turns out to have been written again; when none is left, the rest waits for the next call.
    ///
    /// A store without a time to live never has one.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    fn take_expired(
        &mut self,
        now: Timestamp,
        looks: &mut usize,
        into: &mut Expired,
    ) -> Result<bool> {
        let _ = (now, looks, into);
        Ok(false)
    }

    /// About how many keys there are.
    fn approximate_entries(&self) -> u64;
}

/// The first key behind every key that starts with `prefix`; `None` when there is none.
///
/// ```
/// use tidemill_topology::store::bytes::prefix_end;
/// assert_eq!(prefix_end(b"ab"), Some(b"ac".to_vec()));
/// assert_eq!(prefix_end(&[1, 255]), Some(vec![2]));
/// assert_eq!(prefix_end(&[255]), None);
/// ```
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    Some(end)
}
