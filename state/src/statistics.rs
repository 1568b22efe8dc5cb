//! What the stores hold, and where, and what the engine below them does, for metrics.

/// What one store holds, in bytes unless said otherwise. Cheap to ask.
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
    /// Look-ups by key that the write set answered, since the store was opened.
    pub reads_cached: u64,
    /// Look-ups by key that went to the backend.
    pub reads_backend: u64,
    /// Scans of a range.
    pub scans: u64,
    /// Entries that outlived their time.
    pub expired: u64,
}

/// A property that the engine tells of each store on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineProperty {
    /// Bytes of the write buffer that takes writes.
    ActiveBufferBytes,
    /// Bytes of the write buffers not yet flushed.
    UnflushedBufferBytes,
    /// Full write buffers that wait for their flush.
    ImmutableBuffers,
    /// Entries in the active write buffer.
    ActiveBufferEntries,
    /// Entries in full write buffers.
    ImmutableBufferEntries,
    /// Deletions in the active write buffer.
    ActiveBufferDeletes,
    /// Deletions in full write buffers.
    ImmutableBufferDeletes,
    /// 1 while a flush is due.
    FlushPending,
    /// Flushes that run.
    RunningFlushes,
    /// 1 while a compaction is due.
    CompactionPending,
    /// Compactions that run.
    RunningCompactions,
    /// About how many bytes compactions are yet to rewrite.
    PendingCompactionBytes,
    /// Bytes of the files of the newest version.
    LiveFileBytes,
    /// Versions of the set of files that readers still hold.
    LiveVersions,
    /// About how many bytes readers of files take outside of the block cache.
    TableReaderBytes,
    /// Errors of flushes and compactions since the database was opened.
    BackgroundErrors,
    /// 1 while writes are stopped.
    WriteStopped,
}

impl EngineProperty {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::ActiveBufferBytes,
        Self::UnflushedBufferBytes,
        Self::ImmutableBuffers,
        Self::ActiveBufferEntries,
        Self::ImmutableBufferEntries,
        Self::ActiveBufferDeletes,
        Self::ImmutableBufferDeletes,
        Self::FlushPending,
        Self::RunningFlushes,
        Self::CompactionPending,
        Self::RunningCompactions,
        Self::PendingCompactionBytes,
        Self::LiveFileBytes,
        Self::LiveVersions,
        Self::TableReaderBytes,
        Self::BackgroundErrors,
        Self::WriteStopped,
    ];
}

/// A property's value by its place in [`EngineProperty::ALL`].
pub type EngineProperties = [u64; EngineProperty::ALL.len()];

/// What the engine counts over all databases of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineCount {
    /// Bytes of keys and values written.
    BytesWritten,
    /// Bytes of values read.
    BytesRead,
    /// Bytes written by flushes.
    FlushWriteBytes,
    /// Bytes read by compactions.
    CompactionReadBytes,
    /// Bytes written by compactions.
    CompactionWriteBytes,
    /// Look-ups that a write buffer answered.
    BufferHits,
    /// Look-ups that no write buffer answered.
    BufferMisses,
    /// Data blocks found in the block cache.
    DataBlockHits,
    /// Data blocks read from files.
    DataBlockMisses,
    /// Index blocks found in the block cache.
    IndexBlockHits,
    /// Index blocks read from files.
    IndexBlockMisses,
    /// Filter blocks found in the block cache.
    FilterBlockHits,
    /// Filter blocks read from files.
    FilterBlockMisses,
    /// Look-ups in files that a filter spared.
    FilterSpared,
    /// Files opened.
    FileOpens,
    /// Errors in opening files.
    FileErrors,
    /// Microseconds that writers waited for flushes and compactions.
    StallMicros,
}

impl EngineCount {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::BytesWritten,
        Self::BytesRead,
        Self::FlushWriteBytes,
        Self::CompactionReadBytes,
        Self::CompactionWriteBytes,
        Self::BufferHits,
        Self::BufferMisses,
        Self::DataBlockHits,
        Self::DataBlockMisses,
        Self::IndexBlockHits,
        Self::IndexBlockMisses,
        Self::FilterBlockHits,
        Self::FilterBlockMisses,
        Self::FilterSpared,
        Self::FileOpens,
        Self::FileErrors,
        Self::StallMicros,
    ];
}

/// A count by its place in [`EngineCount::ALL`].
pub type EngineCounts = [u64; EngineCount::ALL.len()];
