//! What is counted for an instance as a whole.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::family::{About, Counter, Gauge, Registrar, clamp};
use super::registry::{CounterFamily, GaugeFamily};
use crate::status::InstanceState;

/// Metrics of the instance.
pub struct ClientMetrics {
    _info: Gauge,
    states: [(InstanceState, Gauge); InstanceState::ALL.len()],
    ready: Gauge,
    threads: Gauge,
    threads_failed: Counter,
    rebalances: Counter,
    last_rebalance: Gauge,
    errors: CounterFamily,
    dead_letters: CounterFamily,
    memory_bound: GaugeFamily,
    /// Their series, from when they are first known.
    memory_bounds: OnceLock<Vec<Gauge>>,
    write_set_memory: Gauge,
    disk_size: Gauge,
    disk_free: Gauge,
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
        registrar.level("Instance", "One process: Kafka Streams' client.");
        let about = |name, help, streams| About { name, help, labels: &[], streams };
        let gauge = |name, help, streams| {
            registrar.gauges(about(name, help, streams)).map(|family| family.series(&[]))
        };
        let counter = |name, help, streams| {
            registrar.counters(about(name, help, streams)).map(|family| family.series(&[]))
        };
        let info = registrar
            .gauges(About {
                labels: &["version", "application_id", "instance_id"],
                ..about(
                    "info",
                    "Always 1; its labels say what is running.",
                    "version application-id process-id",
                )
            })?
            .series(&[env!("CARGO_PKG_VERSION"), application_id, instance_id]);
        info.set(1);
        let state = registrar.gauges(About {
            labels: &["state"],
            ..about(
                "state",
                "1 for the state the instance is in, 0 for the others.",
                "state client-state",
            )
        })?;
        Ok(Self {
            _info: info,
            states: InstanceState::ALL.map(|known| (known, state.series(&[known.word()]))),
            ready: gauge("ready", "1 when every assigned task runs, else 0.", "")?,
            threads: gauge("threads", "Stream threads that are alive.", "alive-stream-threads")?,
            threads_failed: counter(
                "threads_failed_total",
                "Stream threads that died.",
                "failed-stream-threads",
            )?,
            rebalances: counter(
                "rebalances_total",
                "Changes of this instance's assignment.",
                "rebalance-total",
            )?,
            last_rebalance: gauge(
                "last_rebalance_timestamp_seconds",
                "When the assignment last changed, in Unix time; 0: never.",
                "last-rebalance-seconds-ago",
            )?,
            errors: registrar.counters(About {
                labels: &["class"],
                ..about("errors_total", "Errors by class.", "")
            })?,
            dead_letters: registrar.counters(About {
                labels: &["topic", "reason"],
                ..about("dead_letter_records_total", "Records sent to a dead-letter topic.", "")
            })?,
            memory_bounds: OnceLock::new(),
            memory_bound: registrar.gauges(About {
                labels: &["part"],
                ..about(
                    "memory_bound_bytes",
                    "What the parts of the memory add up to at most, by configuration and tasks.",
                    "",
                )
            })?,
            write_set_memory: gauge(
                "write_set_bytes",
                "Writes not yet applied to RocksDB, all tasks together.",
                "",
            )?,
            disk_size: gauge(
                "state_disk_size_bytes",
                "Size of the file system that holds the state directory.",
                "",
            )?,
            disk_free: gauge(
                "state_disk_free_bytes",
                "What is free for this process on the state directory's file system.",
                "",
            )?,
            rebuilds: registrar.counters(About {
                labels: &["store", "reason"],
                ..about(
                    "store_rebuilds_total",
                    "Stores cleared and read anew from their changelog.",
                    "",
                )
            })?,
            kept: Mutex::default(),
        })
    }

    /// The state the instance is in.
    pub fn set_state(&self, current: InstanceState) {
        for (state, gauge) in &self.states {
            gauge.set(i64::from(*state == current));
        }
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

    /// The parts that the memory is made of, always the same ones, and their bounds in bytes.
    pub fn set_memory_bound(&self, parts: &[(&str, u64)]) {
        let series = || parts.iter().map(|(part, _)| self.memory_bound.series(&[part])).collect();
        for (gauge, (_, bytes)) in self.memory_bounds.get_or_init(series).iter().zip(parts) {
            gauge.set(clamp(*bytes));
        }
    }

    /// Bytes of all write sets together.
    pub fn set_write_set_bytes(&self, bytes: u64) {
        self.write_set_memory.set(clamp(bytes));
    }

    /// The file system of the state directory: its size, and what is free of it, in bytes.
    pub fn set_state_disk(&self, size: u64, free: u64) {
        self.disk_size.set(clamp(size));
        self.disk_free.set(clamp(free));
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
