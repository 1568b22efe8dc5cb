//! How much the caching stores of a task hold back, and how much those of its thread may.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::store::bytes::StoreIndex;

/// What the caching stores of some tasks may hold back together, and do: the tasks of a stream
/// thread share one. Clones are the same.
#[derive(Clone, Debug)]
pub struct HeldLimit(Arc<Held>);

#[derive(Debug)]
struct Held {
    bytes: AtomicUsize,
    max_bytes: AtomicUsize,
}

impl HeldLimit {
    /// At most about this many bytes; a single record may add more.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self(Arc::new(Held { bytes: AtomicUsize::new(0), max_bytes: AtomicUsize::new(max_bytes) }))
    }

    /// Moves the limit.
    pub fn set_max_bytes(&self, max_bytes: usize) {
        self.0.max_bytes.store(max_bytes, Ordering::Relaxed);
    }

    /// What is held back now, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// What may be held back, in bytes.
    #[must_use]
    pub fn max_bytes(&self) -> usize {
        self.0.max_bytes.load(Ordering::Relaxed)
    }
}

/// What the stores of one task hold back.
#[derive(Debug)]
pub(crate) struct HeldBack {
    by_store: Box<[usize]>,
    limit: HeldLimit,
}

impl HeldBack {
    /// Nothing yet, of so many stores, without a limit.
    pub(crate) fn nothing(stores: usize) -> Self {
        Self { by_store: vec![0; stores].into(), limit: HeldLimit::new(usize::MAX) }
    }

    /// Shares a limit with other tasks.
    pub(crate) fn share(&mut self, limit: HeldLimit) {
        let bytes = self.by_store.iter().sum();
        self.limit.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
        limit.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.limit = limit;
    }

    /// A store holds back so much now.
    #[inline]
    pub(crate) fn note(&mut self, store: StoreIndex, bytes: usize) {
        let before = std::mem::replace(&mut self.by_store[store.0], bytes);
        if bytes > before {
            self.limit.0.bytes.fetch_add(bytes - before, Ordering::Relaxed);
        } else if before > bytes {
            self.limit.0.bytes.fetch_sub(before - bytes, Ordering::Relaxed);
        }
    }

    /// Whether there is too much, of all who share the limit.
    #[inline]
    pub(crate) fn is_too_much(&self) -> bool {
        self.limit.bytes() > self.limit.max_bytes()
    }
}

/// A task that is made anew holds nothing back: its stores have dropped what they did.
impl Drop for HeldBack {
    fn drop(&mut self) {
        let bytes = self.by_store.iter().sum();
        self.limit.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_share_a_limit_and_leave_nothing_behind() {
        let limit = HeldLimit::new(100);
        let (mut one, mut other) = (HeldBack::nothing(2), HeldBack::nothing(1));
        one.note(StoreIndex(1), 30);
        one.share(limit.clone());
        other.share(limit.clone());
        other.note(StoreIndex(0), 70);
        assert!(!one.is_too_much());
        one.note(StoreIndex(0), 1);
        assert!(one.is_too_much() && other.is_too_much());
        one.note(StoreIndex(1), 0);
        assert_eq!(limit.bytes(), 71);
        drop(other);
        assert_eq!(limit.bytes(), 1);
        limit.set_max_bytes(0);
        assert!(one.is_too_much());
    }
}
