//! What RocksDB holds and counts over all stores of the process: one engine, whose memory and
//! threads they share.

use std::sync::{Mutex, PoisonError};
use tidemill_state::EngineCount;
use tidemill_state::memory_budget::EngineStatistics;
use tidemill_state::statistics::EngineCounts;

use super::family::{About, FloatCounter, Gauge, Registrar, clamp};

/// Metrics of the engine.
pub struct EngineMetrics {
    memory: Gauge,
    memory_limit: Gauge,
    pinned: Gauge,
    memtables: Gauge,
    counts: [FloatCounter; EngineCount::ALL.len()],
    /// What the counters stand for: the engine tells totals.
    published: Mutex<EngineCounts>,
}

impl EngineMetrics {
    pub(super) fn new(registrar: &Registrar<'_>) -> prometheus::Result<Self> {
        registrar.level("RocksDB", "The engine below all stores of the process.");
        let gauge = |name, help, streams| {
            let about = About { name, help, labels: &[], streams };
            registrar.gauges(about).map(|family| family.series(&[]))
        };
        let memory = gauge(
            "rocksdb_memory_bytes",
            "Block cache and memtables of all stores together.",
            "block-cache-usage",
        )?;
        let memory_limit = gauge(
            "rocksdb_memory_limit_bytes",
            "The configured bound of tidemill_rocksdb_memory_bytes.",
            "block-cache-capacity",
        )?;
        let pinned = gauge(
            "rocksdb_pinned_bytes",
            "What of the block cache is in use and cannot be evicted.",
            "block-cache-pinned-usage",
        )?;
        let memtables = gauge("rocksdb_memtable_bytes", "Memtables of all stores together.", "")?;
        let written = |name, help, streams, labels| {
            registrar.float_counters(About { name, help, labels, streams })
        };
        let bytes_written = written(
            "rocksdb_written_bytes_total",
            "Keys and values written.",
            "bytes-written-total",
            &[],
        )?;
        let bytes_read =
            written("rocksdb_read_bytes_total", "Values read.", "bytes-read-total", &[])?;
        let flushed = written(
            "rocksdb_flushed_bytes_total",
            "Written by flushes.",
            "memtable-bytes-flushed-total",
            &[],
        )?;
        let compacted = written(
            "rocksdb_compaction_bytes_total",
            "Read and written by compactions.",
            "bytes-read-compaction-rate bytes-written-compaction-rate",
            &["direction"],
        )?;
        let memtable = written(
            "rocksdb_memtable_lookups_total",
            "Look-ups in memtables, by result (hit, miss).",
            "memtable-hit-ratio",
            &["result"],
        )?;
        let blocks = written(
            "rocksdb_block_cache_lookups_total",
            "Look-ups in the block cache, by kind of block (data, index, filter) and result.",
            "block-cache-data-hit-ratio block-cache-index-hit-ratio block-cache-filter-hit-ratio",
            &["block", "result"],
        )?;
        let spared = written(
            "rocksdb_filter_spared_lookups_total",
            "Look-ups in files that a filter spared.",
            "",
            &[],
        )?;
        let opens = written("rocksdb_file_opens_total", "Files opened.", "number-open-files", &[])?;
        let errors = written(
            "rocksdb_file_errors_total",
            "Errors in opening files.",
            "number-file-errors-total",
            &[],
        )?;
        let stalled = written(
            "rocksdb_stalled_seconds_total",
            "Time that writers waited for flushes and compactions.",
            "write-stall-duration-total",
            &[],
        )?;
        let counts = EngineCount::ALL.map(|count| match count {
            EngineCount::BytesWritten => bytes_written.series(&[]),
            EngineCount::BytesRead => bytes_read.series(&[]),
            EngineCount::FlushWriteBytes => flushed.series(&[]),
            EngineCount::CompactionReadBytes => compacted.series(&["read"]),
            EngineCount::CompactionWriteBytes => compacted.series(&["write"]),
            EngineCount::BufferHits => memtable.series(&["hit"]),
            EngineCount::BufferMisses => memtable.series(&["miss"]),
            EngineCount::DataBlockHits => blocks.series(&["data", "hit"]),
            EngineCount::DataBlockMisses => blocks.series(&["data", "miss"]),
            EngineCount::IndexBlockHits => blocks.series(&["index", "hit"]),
            EngineCount::IndexBlockMisses => blocks.series(&["index", "miss"]),
            EngineCount::FilterBlockHits => blocks.series(&["filter", "hit"]),
            EngineCount::FilterBlockMisses => blocks.series(&["filter", "miss"]),
            EngineCount::FilterSpared => spared.series(&[]),
            EngineCount::FileOpens => opens.series(&[]),
            EngineCount::FileErrors => errors.series(&[]),
            EngineCount::StallMicros => stalled.series(&[]),
        });
        let published = Mutex::default();
        Ok(Self { memory, memory_limit, pinned, memtables, counts, published })
    }

    /// Takes over what the engine holds and has counted.
    pub fn publish(&self, holds: &EngineStatistics, counted: &EngineCounts) {
        // Write buffers are charged to the block cache, so its use is all of RocksDB's.
        self.memory.set(clamp(holds.block_cache_used_bytes as u64));
        self.memory_limit.set(clamp(holds.block_cache_capacity_bytes as u64));
        self.pinned.set(clamp(holds.block_cache_pinned_bytes as u64));
        self.memtables.set(clamp(holds.write_buffer_used_bytes as u64));
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, count) in EngineCount::ALL.into_iter().enumerate() {
            let unit = if count == EngineCount::StallMicros { 1e-6 } else { 1.0 };
            let more = counted[at].saturating_sub(published[at]);
            self.counts[at].inc_by(more as f64 * unit);
        }
        *published = *counted;
    }
}
