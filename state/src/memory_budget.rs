//! One bound for the state's memory in the whole process, however many tasks run.
//!
//! | part | share | holds |
//! |---|---|---|
//! | cache | a quarter | clean entries of the write sets; each open store may use the same share |
//! | unapplied | a quarter | committed entries on their way to the backend; each open task may use the same share |
//! | engine | half | RocksDB's blocks, indexes and filters, with at most a third of it for its write buffers |
//!
//! What is uncommitted is bounded by the runtime, which commits sooner when it grows, and what
//! memory stores hold by nothing: they hold it all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::rocksdb::Engine;
use crate::statistics::EngineCounts;

/// The memory of all stores of a process; see the [module](self). Clones share it.
#[derive(Clone)]
pub struct StateMemory {
    counts: Arc<Counts>,
    engine: Engine,
}

struct Counts {
    cache_bytes: usize,
    unapplied_bytes: usize,
    stores: AtomicUsize,
    tasks: AtomicUsize,
}

/// One store's part of the cache; it counts as long as it lives.
pub(crate) struct CacheShare(Arc<Counts>);

/// One task's part of what may be unapplied; it counts as long as it lives.
pub(crate) struct TaskShare(Arc<Counts>);

impl StateMemory {
    /// A bound of `bytes` for the process.
    ///
    /// ```
    /// use tidemill_state::memory_budget::StateMemory;
    /// let memory = StateMemory::new(64 << 20);
    /// assert_eq!(memory.engine_statistics().block_cache_capacity_bytes, 32 << 20);
    /// ```
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let counts = Counts {
            cache_bytes: bytes / 4,
            unapplied_bytes: bytes / 4,
            stores: AtomicUsize::new(0),
            tasks: AtomicUsize::new(0),
        };
        Self { counts: Arc::new(counts), engine: Engine::new(bytes / 2) }
    }

    /// What the engine uses, over all tasks.
    #[must_use]
    pub fn engine_statistics(&self) -> EngineStatistics {
        self.engine.statistics()
    }

    /// What the engine has counted, over all tasks.
    #[must_use]
    pub fn engine_counts(&self) -> EngineCounts {
        self.engine.counts()
    }

    /// How much committed state may wait for the engine, all tasks together, in bytes.
    #[must_use]
    pub fn unapplied_bytes(&self) -> usize {
        self.counts.unapplied_bytes
    }

    /// How many tasks' stores are open, copies included.
    #[must_use]
    pub fn open_tasks(&self) -> usize {
        self.counts.tasks.load(Ordering::Relaxed)
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn open_store(&self) -> CacheShare {
        self.counts.stores.fetch_add(1, Ordering::Relaxed);
        CacheShare(Arc::clone(&self.counts))
    }

    pub(crate) fn open_task(&self) -> TaskShare {
        self.counts.tasks.fetch_add(1, Ordering::Relaxed);
        TaskShare(Arc::clone(&self.counts))
    }
}

/// Memory of the engine, over all tasks of the process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineStatistics {
    /// What the block cache may hold, write buffers included.
    pub block_cache_capacity_bytes: usize,
    /// What it holds.
    pub block_cache_used_bytes: usize,
    /// What of it is in use at this moment and cannot be evicted.
    pub block_cache_pinned_bytes: usize,
    /// What the write buffers hold.
    pub write_buffer_used_bytes: usize,
}

impl CacheShare {
    /// How much this store may keep now.
    pub(crate) fn bytes(&self) -> usize {
        self.0.cache_bytes / self.0.stores.load(Ordering::Relaxed).max(1)
    }
}

impl Drop for CacheShare {
    fn drop(&mut self) {
        self.0.stores.fetch_sub(1, Ordering::Relaxed);
    }
}

impl TaskShare {
    /// How much this task may leave unapplied now.
    pub(crate) fn bytes(&self) -> usize {
        self.0.unapplied_bytes / self.0.tasks.load(Ordering::Relaxed).max(1)
    }
}

impl Drop for TaskShare {
    fn drop(&mut self) {
        self.0.tasks.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_and_tasks_share_their_parts_as_long_as_they_are_open() {
        let memory = StateMemory::new(4 << 20);
        let first = memory.open_store();
        assert_eq!(first.bytes(), 1 << 20);
        let second = memory.open_store();
        assert_eq!(first.bytes(), 1 << 19);
        drop(second);
        assert_eq!(first.bytes(), 1 << 20);
        let tasks: Vec<_> = (0..4).map(|_| memory.open_task()).collect();
        assert_eq!(tasks[0].bytes(), 1 << 18);
    }
}
