//! The size of a store, how it is read, what RocksDB says of it, and the progress of its restore.

use std::sync::{Mutex, OnceLock, PoisonError};

use prometheus::IntGaugeVec;
use tidemill_state::EngineProperty;
use tidemill_state::statistics::EngineProperties;

use super::family::{About, Counter, Family, Gauge, Registrar, clamp};
use super::registry::{CounterFamily, GaugeFamily};

/// The families of all stores.
pub(super) struct StoreFamilies {
    entries: GaugeFamily,
    bytes: GaugeFamily,
    memtable: GaugeFamily,
    write_set_entries: GaugeFamily,
    write_set: GaugeFamily,
    cache: GaugeFamily,
    pending: GaugeFamily,
    reads: CounterFamily,
    scans: CounterFamily,
    expired: CounterFamily,
    properties: Vec<GaugeFamily>,
    remaining: GaugeFamily,
    rate: GaugeFamily,
    restored: CounterFamily,
    restored_bytes: CounterFamily,
}

const LABELS: &[&str] = &["task", "store"];

impl StoreFamilies {
    pub(super) fn new(registrar: &Registrar<'_>) -> prometheus::Result<Self> {
        let about = |name, help, streams| About { name, help, labels: LABELS, streams };
        let gauge = |name, help, streams| registrar.gauges(about(name, help, streams));
        let counter = |name, help, streams| registrar.counters(about(name, help, streams));
        registrar.level(
            "State store",
            "A store of a task: its write set, which is also its cache, and what lies below.",
        );
        let entries = gauge(
            "store_entries",
            "Entries of a store; RocksDB's is an estimate.",
            "num-keys estimate-num-keys suppression-buffer-count",
        )?;
        let bytes = gauge(
            "store_bytes",
            "Data of a store on disk, or in memory.",
            "total-sst-files-size suppression-buffer-size",
        )?;
        let write_set_entries = gauge(
            "store_write_set_entries",
            "Entries of a store's write set, those kept as a cache included.",
            "",
        )?;
        let write_set =
            gauge("store_write_set_bytes", "Writes of a store not yet applied to RocksDB.", "")?;
        let cache =
            gauge("store_cache_bytes", "Entries kept for reads alone.", "cache-size-bytes-total")?;
        let pending = gauge(
            "store_pending_bytes",
            "Updates that a caching store holds back until the commit.",
            "",
        )?;
        let reads = registrar.counters(About {
            labels: &["task", "store", "from"],
            ..about(
                "store_reads_total",
                "Look-ups by key that the write set answered (cache), and those that went below \
                 (backend).",
                "get-rate fetch-rate hit-ratio-avg hit-ratio-min hit-ratio-max",
            )
        })?;
        let scans = counter(
            "store_scans_total",
            "Scans of a range.",
            "range-rate all-rate prefix-scan-rate fetch-rate",
        )?;
        let expired = counter(
            "store_expired_entries_total",
            "Entries that outlived the time to live of their store, and were deleted.",
            "",
        )?;
        registrar.level("RocksDB, by store", "What RocksDB tells of the column family of a store.");
        let memtable = gauge(
            "store_memtable_bytes",
            "RocksDB memtables of a store, those included that were flushed and are still read.",
            "size-all-mem-tables",
        )?;
        let properties = EngineProperty::ALL
            .iter()
            .map(|property| {
                let (name, help, streams) = words(*property);
                gauge(name, help, streams)
            })
            .collect::<prometheus::Result<Vec<_>>>()?;
        registrar
            .level("Restore", "The way of a store from its position to the end of its changelog.");
        Ok(Self {
            entries,
            bytes,
            memtable,
            write_set_entries,
            write_set,
            cache,
            pending,
            reads,
            scans,
            expired,
            properties,
            remaining: gauge(
                "restore_remaining_records",
                "Offsets between a store's position and the end of its changelog; 0 when restored.",
                "restore-remaining-records-total",
            )?,
            rate: gauge(
                "restore_records_per_second",
                "Rate of the running restore; 0 when none runs.",
                "restore-rate restore-call-rate",
            )?,
            restored: counter(
                "restored_records_total",
                "Records read from the changelog.",
                "restore-total restore-records-rate",
            )?,
            restored_bytes: counter(
                "restored_bytes_total",
                "Keys and values read from the changelog.",
                "bytes-consumed-total",
            )?,
        })
    }

    pub(super) fn bundle(&self, task: &str, store: &str) -> StoreMetrics {
        let labels = &[task, store];
        StoreMetrics {
            entries: self.entries.series(labels),
            bytes: self.bytes.series(labels),
            memtable: self.memtable.series(labels),
            write_set_entries: self.write_set_entries.series(labels),
            write_set: self.write_set.series(labels),
            cache: self.cache.series(labels),
            pending: self.pending.series(labels),
            reads_cached: self.reads.series(&[task, store, "cache"]),
            reads_backend: self.reads.series(&[task, store, "backend"]),
            scans: self.scans.series(labels),
            expired: self.expired.series(labels),
            published: Mutex::default(),
            engine: EngineGauges {
                families: self.properties.clone(),
                labels: labels.map(str::to_owned),
                gauges: OnceLock::new(),
            },
            remaining: self.remaining.series(labels),
            rate: self.rate.series(labels),
            restored: self.restored.series(labels),
            restored_bytes: self.restored_bytes.series(labels),
        }
    }
}

/// A property's metric, its help, and its name in Kafka Streams, which is RocksDB's.
fn words(property: EngineProperty) -> (&'static str, &'static str, &'static str) {
    use EngineProperty as P;
    match property {
        P::ActiveBufferBytes => (
            "rocksdb_active_memtable_bytes",
            "Size of the memtable that takes writes.",
            "cur-size-active-mem-table",
        ),
        P::UnflushedBufferBytes => (
            "rocksdb_unflushed_memtable_bytes",
            "Size of the memtables not yet flushed.",
            "cur-size-all-mem-tables",
        ),
        P::ImmutableBuffers => (
            "rocksdb_immutable_memtables",
            "Full memtables that wait for their flush.",
            "num-immutable-mem-table",
        ),
        P::ActiveBufferEntries => (
            "rocksdb_active_memtable_entries",
            "Entries in the active memtable.",
            "num-entries-active-mem-table",
        ),
        P::ImmutableBufferEntries => (
            "rocksdb_immutable_memtable_entries",
            "Entries in full memtables.",
            "num-entries-imm-mem-tables",
        ),
        P::ActiveBufferDeletes => (
            "rocksdb_active_memtable_deletes",
            "Deletions in the active memtable.",
            "num-deletes-active-mem-table",
        ),
        P::ImmutableBufferDeletes => (
            "rocksdb_immutable_memtable_deletes",
            "Deletions in full memtables.",
            "num-deletes-imm-mem-tables",
        ),
        P::FlushPending => {
            ("rocksdb_flush_pending", "1 while a flush is due.", "mem-table-flush-pending")
        }
        P::RunningFlushes => {
            ("rocksdb_running_flushes", "Flushes that run.", "num-running-flushes")
        }
        P::CompactionPending => {
            ("rocksdb_compaction_pending", "1 while a compaction is due.", "compaction-pending")
        }
        P::RunningCompactions => {
            ("rocksdb_running_compactions", "Compactions that run.", "num-running-compactions")
        }
        P::PendingCompactionBytes => (
            "rocksdb_pending_compaction_bytes",
            "What compactions are yet to rewrite, about.",
            "estimate-pending-compaction-bytes",
        ),
        P::LiveFileBytes => (
            "rocksdb_live_sst_bytes",
            "Size of the files of the newest version.",
            "live-sst-files-size",
        ),
        P::LiveVersions => (
            "rocksdb_live_versions",
            "Versions of the set of files that are still in use.",
            "num-live-versions",
        ),
        P::TableReaderBytes => (
            "rocksdb_table_reader_bytes",
            "What readers of files take outside of the block cache, about.",
            "estimate-table-readers-mem",
        ),
        P::BackgroundErrors => (
            "rocksdb_background_errors",
            "Failed flushes and compactions since the database was opened.",
            "background-errors",
        ),
        P::WriteStopped => (
            "rocksdb_write_stopped",
            "1 while RocksDB takes no writes.",
            "write-stall-duration-total",
        ),
    }
}

/// Metrics of one store of one task.
pub struct StoreMetrics {
    entries: Gauge,
    bytes: Gauge,
    memtable: Gauge,
    write_set_entries: Gauge,
    write_set: Gauge,
    cache: Gauge,
    pending: Gauge,
    reads_cached: Counter,
    reads_backend: Counter,
    scans: Counter,
    expired: Counter,
    /// What the counters above stand for.
    published: Mutex<StoreUse>,
    engine: EngineGauges,
    remaining: Gauge,
    rate: Gauge,
    restored: Counter,
    restored_bytes: Counter,
}

/// The series of a store on disk; one in memory never has them.
struct EngineGauges {
    families: Vec<Family<IntGaugeVec>>,
    labels: [String; LABELS.len()],
    gauges: OnceLock<Vec<Gauge>>,
}

/// The size of a store, as it says itself; bytes unless said otherwise.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct StoreSizes {
    /// Entries; an estimate for RocksDB.
    pub entries: u64,
    /// On disk, or in memory.
    pub bytes: u64,
    /// Memtables.
    pub memtable_bytes: u64,
    /// Entries of the write set, clean ones included.
    pub write_set_entries: u64,
    /// Writes not yet applied.
    pub write_set_bytes: u64,
    /// Entries kept for reads.
    pub cache_bytes: u64,
    /// Updates held back.
    pub pending_bytes: u64,
}

/// How a store was used since it was opened.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct StoreUse {
    /// Look-ups that the write set answered.
    pub cached: u64,
    /// Look-ups that went to the backend.
    pub backend: u64,
    /// Scans of a range.
    pub scans: u64,
    /// Entries that outlived their time.
    pub expired: u64,
}

impl StoreMetrics {
    /// The size of the store now.
    pub fn set_sizes(&self, sizes: &StoreSizes) {
        self.entries.set(clamp(sizes.entries));
        self.bytes.set(clamp(sizes.bytes));
        self.memtable.set(clamp(sizes.memtable_bytes));
        self.write_set_entries.set(clamp(sizes.write_set_entries));
        self.write_set.set(clamp(sizes.write_set_bytes));
        self.cache.set(clamp(sizes.cache_bytes));
        self.pending.set(clamp(sizes.pending_bytes));
    }

    /// How the store was used since it was opened. Counts that fell are those of a store that
    /// was opened anew.
    pub fn set_use(&self, counts: &StoreUse) {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        let fell = counts.cached < published.cached || counts.backend < published.backend;
        let before = if fell { StoreUse::default() } else { *published };
        self.reads_cached.inc_by(counts.cached.saturating_sub(before.cached));
        self.reads_backend.inc_by(counts.backend.saturating_sub(before.backend));
        self.scans.inc_by(counts.scans.saturating_sub(before.scans));
        self.expired.inc_by(counts.expired.saturating_sub(before.expired));
        *published = *counts;
    }

    /// What RocksDB says of the store.
    pub fn set_engine(&self, properties: &EngineProperties) {
        let EngineGauges { families, labels, gauges } = &self.engine;
        let gauges = gauges.get_or_init(|| {
            let labels = [&*labels[0], &*labels[1]];
            families.iter().map(|family| family.series(&labels)).collect()
        });
        for (gauge, value) in gauges.iter().zip(properties) {
            gauge.set(clamp(*value));
        }
    }

    /// Offsets yet to restore.
    pub fn set_restore_remaining(&self, records: u64) {
        self.remaining.set(clamp(records));
    }

    /// Records restored a second, at present.
    pub fn set_restore_rate(&self, records_per_second: u64) {
        self.rate.set(clamp(records_per_second));
    }

    /// Records read from the changelog, and the bytes of their keys and values.
    pub fn restored(&self, records: u64, bytes: u64) {
        self.restored.inc_by(records);
        self.restored_bytes.inc_by(bytes);
    }
}
