//! What the stores hold, and where, for metrics.

/// What one store holds, in bytes unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStatistics {
    /// Entries of the store, about.
    pub entries: u64,
    /// Entries of the write set, clean ones included.
    pub write_set_entries: usize,
    /// What the write set has and the backend does not.
    pub write_set_bytes: usize,
    /// Clean entries kept for reads.
    pub cache_bytes: usize,
    /// Updates held back by a caching store.
    pub pending_bytes: usize,
    /// A memory store's keys and values.
    pub memory_bytes: usize,
    /// Files on disk.
    pub file_bytes: u64,
    /// Write buffers in memory.
    pub write_buffer_bytes: u64,
}
