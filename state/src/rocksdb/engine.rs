//! What all databases of a process share, and how each of them is set up.

use rocksdb::statistics::StatsLevel;
use rocksdb::{
    BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, LogLevel, Options,
    WriteBufferManager,
};

use super::names::ticker;
use crate::memory_budget::EngineStatistics;
use crate::statistics::{EngineCount, EngineCounts};

/// The part of the shared memory that write buffers may fill before they are flushed.
const WRITE_BUFFER_PART: usize = 3;
/// The largest write buffer of a store; it is also about the size of its youngest files.
const WRITE_BUFFER_BYTES: usize = 16 << 20;
/// The step in which a write buffer takes memory: small, for a thousand tasks have some thousand
/// write buffers that hold next to nothing.
const ARENA_BLOCK_BYTES: usize = 32 << 10;
/// Blocks of 8 KiB: half the index of the default, at little more to decompress a read.
const BLOCK_BYTES: usize = 8 << 10;
/// Bits a key in the filters: one in a hundred look-ups of an absent key reads a block in vain.
const FILTER_BITS: f64 = 10.0;
/// Files a database keeps open.
const MAX_OPEN_FILES: i32 = 128;
/// Size at which the log of a database is given up by flushing what it covers; it bounds what
/// opening after a crash reads again.
const MAX_LOG_BYTES: u64 = 64 << 20;

/// Block cache and write buffer manager of the process. Clones share them.
#[derive(Clone)]
pub(crate) struct Engine {
    cache: Cache,
    cache_bytes: usize,
    write_buffers: WriteBufferManager,
    /// What every database's options are copied from: the copies share its counters.
    base: Options,
}

impl Engine {
    /// An engine that keeps blocks, indexes, filters and write buffers within `bytes`.
    pub(crate) fn new(bytes: usize) -> Self {
        let cache = Cache::new_hyper_clock_cache(bytes, 0);
        // Charged to the cache, so that the one bound holds for both. Writers are never stalled:
        // they flush.
        let write_buffers = WriteBufferManager::new_write_buffer_manager_with_cache(
            bytes / WRITE_BUFFER_PART,
            false,
            cache.clone(),
        );
        let mut base = Options::default();
        base.enable_statistics();
        // Plain counters: timing each call would cost more than most calls.
        base.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
        Self { cache, cache_bytes: bytes, write_buffers, base }
    }

    pub(crate) fn statistics(&self) -> EngineStatistics {
        EngineStatistics {
            block_cache_capacity_bytes: self.cache_bytes,
            block_cache_used_bytes: self.cache.get_usage(),
            block_cache_pinned_bytes: self.cache.get_pinned_usage(),
            write_buffer_used_bytes: self.write_buffers.get_usage(),
        }
    }

    /// What all databases have counted since the process started.
    pub(crate) fn counts(&self) -> EngineCounts {
        EngineCount::ALL.map(|count| self.base.get_ticker_count(ticker(count)))
    }

    /// Whether the write buffers of all databases hold more than their part.
    pub(super) fn write_buffers_are_full(&self) -> bool {
        self.write_buffers.get_usage() > self.write_buffers.get_buffer_size()
    }

    /// Options of a database.
    pub(super) fn database_options(&self) -> Options {
        let mut options = self.store_options();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        // All stores of a task and their positions reach the disk together or not at all, even if
        // the machine loses the log.
        options.set_atomic_flush(true);
        options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        options.set_max_total_wal_size(MAX_LOG_BYTES);
        options.set_write_buffer_manager(&self.write_buffers);
        options.set_max_open_files(MAX_OPEN_FILES);
        options.set_max_file_opening_threads(1);
        options.set_skip_stats_update_on_db_open(true);
        options.set_bytes_per_sync(1 << 20);
        // Threads are the process's: all databases use the default environment's pools.
        options.set_max_background_jobs(2);
        options.set_log_level(LogLevel::Warn);
        options.set_keep_log_file_num(2);
        options.set_max_log_file_size(1 << 20);
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        options
    }

    /// Options of a store's column family.
    pub(super) fn store_options(&self) -> Options {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&self.cache);
        table.set_block_size(BLOCK_BYTES);
        // Indexes and filters count against the bound as well, and stay as long as they are used.
        table.set_cache_index_and_filter_blocks(true);
        table.set_cache_index_and_filter_blocks_with_high_priority(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table.set_bloom_filter(FILTER_BITS, false);
        table.set_optimize_filters_for_memory(true);
        let mut options = self.base.clone();
        options.set_block_based_table_factory(&table);
        // The budget is CPU rather than disk: LZ4 on every level.
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_write_buffer_size(WRITE_BUFFER_BYTES);
        options.set_arena_block_size(ARENA_BLOCK_BYTES);
        options.set_target_file_size_base(WRITE_BUFFER_BYTES as u64);
        options.set_max_bytes_for_level_base(4 * WRITE_BUFFER_BYTES as u64);
        options
    }
}
