//! Where committed entries rest: an ordered map of bytes below the write set.
//!
//! A backend never sees an uncommitted byte. It changes only when a batch of committed entries is
//! applied, or when records of a changelog are restored.

use tidemill_topology::store::bytes::{KeyRange, Order, Visit};

use crate::error::Result;

/// An ordered map of bytes, read by one store.
pub trait Backend: Send {
    /// Writes the value under a key into `value` (cleared first) and tells whether there is one.
    ///
    /// # Errors
    /// When the engine cannot be read.
    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool>;

    /// Visits a range of keys in order, until the end or until `visit` breaks.
    ///
    /// # Errors
    /// When the engine cannot be read.
    fn scan(&self, range: KeyRange<'_>, order: Order, visit: &mut Visit<'_>) -> Result;

    /// As [`scan`](Self::scan) in ascending order, for who asks for a few keys again and again: what
    /// that takes may stay open until [`rest`](Self::rest).
    ///
    /// # Errors
    /// When the engine cannot be read.
    fn probe(&mut self, range: KeyRange<'_>, visit: &mut Visit<'_>) -> Result {
        self.scan(range, Order::Forward, visit)
    }

    /// Gives up what probes left open, which keeps seeing what there was then. Called with each
    /// commit and before each change.
    fn rest(&mut self) {}

    /// About how many keys there are.
    fn approximate_entries(&self) -> u64;
}

/// What takes the entries of a store that are to be applied. Range deletions come first, then
/// each key once, in ascending order.
pub trait Batch {
    /// Puts a value under a key.
    fn put(&mut self, key: &[u8], value: &[u8]);
    /// Removes a key.
    fn delete(&mut self, key: &[u8]);
    /// Removes the keys of `[from, to)`.
    fn delete_range(&mut self, from: &[u8], to: &[u8]);
}
