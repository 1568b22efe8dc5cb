//! What caching stores may hold back between commits: a bound for the instance, shared evenly by the
//! stream threads that there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The bound of an instance, `statestore.cache.max.bytes`. Clones share it.
#[derive(Clone, Debug)]
pub struct HeldBudget(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    max_bytes: usize,
    threads: AtomicUsize,
}

/// A stream thread's part of the bound; it counts as long as it lives.
#[derive(Debug)]
pub struct HeldShare(HeldBudget);

impl HeldBudget {
    /// A bound of so many bytes.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self(Arc::new(Budget { max_bytes, threads: AtomicUsize::new(0) }))
    }

    /// The part of one thread more.
    #[must_use]
    pub fn share(&self) -> HeldShare {
        self.0.threads.fetch_add(1, Ordering::Relaxed);
        HeldShare(self.clone())
    }
}

impl HeldShare {
    /// How much the thread's tasks may hold back now, in bytes: less once another thread comes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let Budget { max_bytes, threads } = &*self.0.0;
        max_bytes / threads.load(Ordering::Relaxed).max(1)
    }
}

impl Drop for HeldShare {
    fn drop(&mut self) {
        self.0.0.threads.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_share_evenly_as_they_come_and_go() {
        let budget = HeldBudget::new(90);
        let one = budget.share();
        assert_eq!(one.bytes(), 90);
        let (other, third) = (budget.share(), budget.share());
        assert_eq!((one.bytes(), other.bytes()), (30, 30));
        drop(third);
        assert_eq!(one.bytes(), 45);
    }
}
