//! What is counted for an instance as a whole.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::family::{Counter, Gauge, Registrar, clamp};
use super::registry::CounterFamily;

/// Metrics of the instance.
pub struct ClientMetrics {
    _info: Gauge,
    ready: Gauge,
    threads: Gauge,
    threads_failed: Counter,
    rebalances: Counter,
    last_rebalance: Gauge,
    rocksdb_memory: Gauge,
    rocksdb_memory_limit: Gauge,
    write_set_memory: Gauge,
    errors: CounterFamily,
    dead_letters: CounterFamily,
    rebuilds: CounterFamily,
    /// Series of rare events: family, then its one or two label values.
    kept: Mutex<HashMap<(&'static str, String, String), Counter>>,
}

impl ClientMetrics {
    pub(super) fn new(
        registrar: &Registrar<'_>,
        application_id: &str,
        instance_id: &str,
    ) -> prometheus::Result<Self> {
        let info = registrar
            .gauges(
                "info",
                "Always 1; its labels say what is running.",
                &["version", "application_id", "instance_id"],
            )?
            .series(&[env!("CARGO_PKG_VERSION"), application_id, instance_id]);
        info.set(1);
        let gauge = |name, help| registrar.gauges(name, help, &[]).map(|family| family.series(&[]));
        let counter =
            |name, help| registrar.counters(name, help, &[]).map(|family| family.series(&[]));
        Ok(Self {
            _info: info,
            ready: gauge("ready", "1 when every assigned task runs, else 0.")?,
            threads: gauge("threads", "Stream threads that are alive.")?,
            threads_failed: counter("threads_failed_total", "Stream threads that died.")?,
            rebalances: counter("rebalances_total", "Changes of this instance's assignment.")?,
            last_rebalance: gauge(
                "last_rebalance_timestamp_seconds",
                "When the assignment last changed, in Unix time; 0: never.",
            )?,
            rocksdb_memory: gauge(
                "rocksdb_memory_bytes",
                "Block cache and memtables of all stores together.",
            )?,
            rocksdb_memory_limit: gauge(
                "rocksdb_memory_limit_bytes",
                "The configured bound of tidemill_rocksdb_memory_bytes.",
            )?,
            write_set_memory: gauge(
                "write_set_bytes",
                "Writes not yet applied to RocksDB, all tasks together.",
            )?,
            errors: registrar.counters("errors_total", "Errors by class.", &["class"])?,
            dead_letters: registrar.counters(
                "dead_letter_records_total",
                "Records sent to a dead-letter topic.",
                &["topic", "reason"],
            )?,
            rebuilds: registrar.counters(
                "store_rebuilds_total",
                "Stores cleared and read anew from their changelog.",
                &["store", "reason"],
            )?,
            kept: Mutex::default(),
        })
    }

    /// Whether every assigned task runs.
    pub fn set_ready(&self, ready: bool) {
        self.ready.set(i64::from(ready));
    }

    /// Stream threads that are alive.
    pub fn set_threads(&self, alive: usize) {
        self.threads.set(clamp(alive as u64));
    }

    /// A stream thread died.
    pub fn thread_failed(&self) {
        self.threads_failed.inc();
    }

    /// The assignment changed, just now.
    pub fn rebalanced(&self) {
        self.rebalances.inc();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_rebalance.set(clamp(now.as_secs()));
    }

    /// RocksDB's memory and its bound, in bytes.
    pub fn set_rocksdb_memory(&self, used: u64, limit: u64) {
        self.rocksdb_memory.set(clamp(used));
        self.rocksdb_memory_limit.set(clamp(limit));
    }

    /// Bytes of all write sets together.
    pub fn set_write_set_bytes(&self, bytes: u64) {
        self.write_set_memory.set(clamp(bytes));
    }

    /// An error of this class, such as `retriable`, `abortable` or `fenced`.
    pub fn error(&self, class: &str) {
        self.count("error", &self.errors, &[class], 1);
    }

    /// Records sent to a dead-letter topic.
    pub fn dead_letter(&self, topic: &str, reason: &str, records: u64) {
        self.count("dead letter", &self.dead_letters, &[topic, reason], records);
    }

    /// A store was cleared, to be read anew.
    pub fn store_rebuilt(&self, store: &str, reason: &str) {
        self.count("rebuild", &self.rebuilds, &[store, reason], 1);
    }

    /// Counts an event too rare to keep a series for, and holds its series from then on: a
    /// counter that once counted must never disappear.
    fn count(&self, what: &'static str, family: &CounterFamily, labels: &[&str], by: u64) {
        let label = |n: usize| labels.get(n).copied().unwrap_or_default().to_owned();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entry((what, label(0), label(1))).or_insert_with(|| family.series(labels)).inc_by(by);
    }
}
