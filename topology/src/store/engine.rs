//! Where a store's committed entries rest, written by oneself: an index of another kind, say, or one
//! that is laid out for the look-ups of an application.
//!
//! Everything else about the store stays as it is. What is uncommitted lies in front of the engine, in
//! the write set, and commits and aborts never reach it half done; the changelog is written, and the
//! engine is filled from it at each start, when a task moves, or when the store is rebuilt.
//!
//! ```
//! use std::ops::ControlFlow;
//!
//! use tidemill_topology::prelude::*;
//! use tidemill_topology::store::bytes::{KeyRange, Visit};
//!
//! /// Keys and values in one sorted vector: small, and quick to scan.
//! #[derive(Default)]
//! struct Sorted(Vec<(Vec<u8>, Vec<u8>)>);
//!
//! impl Sorted {
//!     fn find(&self, key: &[u8]) -> std::result::Result<usize, usize> {
//!         self.0.binary_search_by(|(known, _)| known.as_slice().cmp(key))
//!     }
//! }
//!
//! impl StoreEngine for Sorted {
//!     fn get(&self, key: &[u8], value: &mut Vec<u8>) -> bool {
//!         let Ok(at) = self.find(key) else { return false };
//!         value.extend_from_slice(&self.0[at].1);
//!         true
//!     }
//!     fn scan(&self, range: KeyRange<'_>, order: Order, visit: &mut Visit<'_>) {
//!         let place = |key: &[u8]| self.find(key).unwrap_or_else(|at| at);
//!         let (from, to) = (place(range.from), range.to.map_or(self.0.len(), place));
//!         let entries = self.0.get(from..to).unwrap_or_default();
//!         let visit = &mut |(key, value): &(Vec<u8>, Vec<u8>)| visit(key, value);
//!         let _: ControlFlow<()> = match order {
//!             Order::Forward => entries.iter().try_for_each(visit),
//!             Order::Backward => entries.iter().rev().try_for_each(visit),
//!         };
//!     }
//!     fn put(&mut self, key: &[u8], value: &[u8]) {
//!         match self.find(key) {
//!             Ok(at) => self.0[at].1 = value.to_vec(),
//!             Err(at) => self.0.insert(at, (key.to_vec(), value.to_vec())),
//!         }
//!     }
//!     fn delete(&mut self, key: &[u8]) {
//!         if let Ok(at) = self.find(key) {
//!             self.0.remove(at);
//!         }
//!     }
//!     fn entries(&self) -> u64 {
//!         self.0.len() as u64
//!     }
//! }
//!
//! let builder = StreamsBuilder::new();
//! builder.add_state_store(Stores::key_value("seen", Utf8, I64).with_engine(Sorted::default));
//! # builder.stream("words", Consumed::with(Utf8, Utf8));
//! # builder.build().unwrap();
//! ```

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::store::bytes::{KeyRange, Order, Visit};

/// An ordered map of bytes of one's own; see the [module](self).
///
/// Only one thread writes, and none reads meanwhile. It lives as long as its task is on this
/// instance.
pub trait StoreEngine: Send + Sync {
    /// Appends the value under a key to `value`, and tells whether there is one.
    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> bool;

    /// Visits a range of keys in the order of their bytes, until the end or until `visit` breaks.
    fn scan(&self, range: KeyRange<'_>, order: Order, visit: &mut Visit<'_>);

    /// Puts a value under a key.
    fn put(&mut self, key: &[u8], value: &[u8]);

    /// Removes a key, if it is there.
    fn delete(&mut self, key: &[u8]);

    /// Removes the keys of `[from, to)`; unless overridden, one after the other.
    fn delete_range(&mut self, from: &[u8], to: &[u8]) {
        let mut keys = Vec::new();
        self.scan(KeyRange { from, to: Some(to) }, Order::Forward, &mut |key, _| {
            keys.push(key.to_vec());
            ControlFlow::Continue(())
        });
        for key in keys {
            self.delete(&key);
        }
    }

    /// About how many keys there are.
    fn entries(&self) -> u64;

    /// Memory that it takes, in bytes, as far as it knows; for metrics.
    fn bytes(&self) -> usize {
        0
    }
}

/// Makes the engine of each task's store.
#[derive(Clone)]
pub struct EngineFactory(Arc<dyn Fn() -> Box<dyn StoreEngine> + Send + Sync>);

impl EngineFactory {
    /// Of engines that `make` makes, empty.
    pub fn new<E: StoreEngine + 'static>(make: impl Fn() -> E + Send + Sync + 'static) -> Self {
        Self(Arc::new(move || Box::new(make())))
    }

    /// An empty engine.
    #[must_use]
    pub fn make(&self) -> Box<dyn StoreEngine> {
        (self.0)()
    }
}

impl fmt::Debug for EngineFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EngineFactory")
    }
}

/// Two are the same if one is a clone of the other.
impl PartialEq for EngineFactory {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for EngineFactory {}
