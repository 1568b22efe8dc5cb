//! RocksDB's names of what the engine tells and counts.

use rocksdb::properties::{self, PropName};
use rocksdb::statistics::Ticker;

use crate::statistics::{EngineCount, EngineProperty};

/// RocksDB's property behind one of ours.
pub(super) fn property(property: EngineProperty) -> &'static PropName {
    match property {
        EngineProperty::ActiveBufferBytes => properties::CUR_SIZE_ACTIVE_MEM_TABLE,
        EngineProperty::UnflushedBufferBytes => properties::CUR_SIZE_ALL_MEM_TABLES,
        EngineProperty::ImmutableBuffers => properties::NUM_IMMUTABLE_MEM_TABLE,
        EngineProperty::ActiveBufferEntries => properties::NUM_ENTRIES_ACTIVE_MEM_TABLE,
        EngineProperty::ImmutableBufferEntries => properties::NUM_ENTRIES_IMM_MEM_TABLES,
        EngineProperty::ActiveBufferDeletes => properties::NUM_DELETES_ACTIVE_MEM_TABLE,
        EngineProperty::ImmutableBufferDeletes => properties::NUM_DELETES_IMM_MEM_TABLES,
        EngineProperty::FlushPending => properties::MEM_TABLE_FLUSH_PENDING,
        EngineProperty::RunningFlushes => properties::NUM_RUNNING_FLUSHES,
        EngineProperty::CompactionPending => properties::COMPACTION_PENDING,
        EngineProperty::RunningCompactions => properties::NUM_RUNNING_COMPACTIONS,
        EngineProperty::PendingCompactionBytes => properties::ESTIMATE_PENDING_COMPACTION_BYTES,
        EngineProperty::LiveFileBytes => properties::LIVE_SST_FILES_SIZE,
        EngineProperty::LiveVersions => properties::NUM_LIVE_VERSIONS,
        EngineProperty::TableReaderBytes => properties::ESTIMATE_TABLE_READERS_MEM,
        EngineProperty::BackgroundErrors => properties::BACKGROUND_ERRORS,
        EngineProperty::WriteStopped => properties::IS_WRITE_STOPPED,
    }
}

/// RocksDB's ticker behind one of our counts.
pub(super) fn ticker(count: EngineCount) -> Ticker {
    match count {
        EngineCount::BytesWritten => Ticker::BytesWritten,
        EngineCount::BytesRead => Ticker::BytesRead,
        EngineCount::FlushWriteBytes => Ticker::FlushWriteBytes,
        EngineCount::CompactionReadBytes => Ticker::CompactReadBytes,
        EngineCount::CompactionWriteBytes => Ticker::CompactWriteBytes,
        EngineCount::BufferHits => Ticker::MemtableHit,
        EngineCount::BufferMisses => Ticker::MemtableMiss,
        EngineCount::DataBlockHits => Ticker::BlockCacheDataHit,
        EngineCount::DataBlockMisses => Ticker::BlockCacheDataMiss,
        EngineCount::IndexBlockHits => Ticker::BlockCacheIndexHit,
        EngineCount::IndexBlockMisses => Ticker::BlockCacheIndexMiss,
        EngineCount::FilterBlockHits => Ticker::BlockCacheFilterHit,
        EngineCount::FilterBlockMisses => Ticker::BlockCacheFilterMiss,
        EngineCount::FilterSpared => Ticker::BloomFilterUseful,
        EngineCount::FileOpens => Ticker::NoFileOpens,
        EngineCount::FileErrors => Ticker::NoFileErrors,
        EngineCount::StallMicros => Ticker::StallMicros,
    }
}
