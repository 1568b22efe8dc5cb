//! The size of a store and the progress of its restore.

use super::family::{Counter, Gauge, Registrar, clamp};
use super::registry::{CounterFamily, GaugeFamily};

/// The families of all stores.
pub(super) struct StoreFamilies {
    entries: GaugeFamily,
    bytes: GaugeFamily,
    memtable: GaugeFamily,
    remaining: GaugeFamily,
    rate: GaugeFamily,
    restored: CounterFamily,
}

impl StoreFamilies {
    pub(super) fn new(registrar: &Registrar<'_>) -> prometheus::Result<Self> {
        let gauge = |name, help| registrar.gauges(name, help, &["task", "store"]);
        let counter = |name, help| registrar.counters(name, help, &["task", "store"]);
        Ok(Self {
            entries: gauge("store_entries", "Entries of a store; RocksDB's is an estimate.")?,
            bytes: gauge("store_bytes", "Live data of a store on disk, or in memory.")?,
            memtable: gauge("store_memtable_bytes", "RocksDB memtables of a store.")?,
            remaining: gauge(
                "restore_remaining_records",
                "Offsets between a store's position and the end of its changelog; 0 when restored.",
            )?,
            rate: gauge(
                "restore_records_per_second",
                "Rate of the running restore; 0 when none runs.",
            )?,
            restored: counter("restored_records_total", "Records read from the changelog.")?,
        })
    }

    pub(super) fn bundle(&self, task: &str, store: &str) -> StoreMetrics {
        let labels = &[task, store];
        StoreMetrics {
            entries: self.entries.series(labels),
            bytes: self.bytes.series(labels),
            memtable: self.memtable.series(labels),
            remaining: self.remaining.series(labels),
            rate: self.rate.series(labels),
            restored: self.restored.series(labels),
        }
    }
}

/// Metrics of one store of one task.
pub struct StoreMetrics {
    entries: Gauge,
    bytes: Gauge,
    memtable: Gauge,
    remaining: Gauge,
    rate: Gauge,
    restored: Counter,
}

/// The size of a store, as it says itself.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct StoreSizes {
    /// Entries; an estimate for RocksDB.
    pub entries: u64,
    /// Live bytes on disk, or in memory.
    pub bytes: u64,
    /// Bytes of memtables.
    pub memtable_bytes: u64,
}

impl StoreMetrics {
    /// The size of the store now.
    pub fn set_sizes(&self, sizes: &StoreSizes) {
        self.entries.set(clamp(sizes.entries));
        self.bytes.set(clamp(sizes.bytes));
        self.memtable.set(clamp(sizes.memtable_bytes));
    }

    /// Offsets yet to restore.
    pub fn set_restore_remaining(&self, records: u64) {
        self.remaining.set(clamp(records));
    }

    /// Records restored a second, at present.
    pub fn set_restore_rate(&self, records_per_second: u64) {
        self.rate.set(clamp(records_per_second));
    }

    /// Records read from the changelog.
    pub fn restored(&self, records: u64) {
        self.restored.inc_by(records);
    }
}
