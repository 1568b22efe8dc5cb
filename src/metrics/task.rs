//! What a task counts, its state, and the lag of its partitions.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use prometheus::{CounterVec, GaugeVec};

use super::family::{About, Counter, Family, FloatCounter, FloatGauge, Gauge, Registrar, clamp};
use super::registry::{CounterFamily, GaugeFamily};

pub use crate::status::TaskState;

/// The families of all tasks.
pub(super) struct TaskFamilies {
    state: GaugeFamily,
    processed: CounterFamily,
    busy: Family<CounterVec>,
    dropped: CounterFamily,
    write_set: GaugeFamily,
    refused: Family<GaugeVec>,
    stream_time: GaugeFamily,
    lag: GaugeFamily,
    lag_seconds: Family<GaugeVec>,
    buffered: GaugeFamily,
    position: GaugeFamily,
    committed: GaugeFamily,
}

impl TaskFamilies {
    pub(super) fn new(registrar: &Registrar<'_>) -> prometheus::Result<Self> {
        let by_task = |name, help, streams| About { name, help, labels: &["task"], streams };
        let by_partition = |name, help, streams| About {
            name,
            help,
            labels: &["task", "topic", "partition"],
            streams,
        };
        registrar.level("Task", "One subtopology at work on one partition of each of its inputs.");
        let state = registrar.gauges(About {
            labels: &["task", "state"],
            ..by_task("task_state", "1 for the state a task is in, 0 for the others.", "")
        })?;
        let processed = registrar.counters(by_task(
            "task_records_processed_total",
            "Records that went through a task.",
            "process-total process-rate",
        ))?;
        let busy = registrar.float_counters(by_task(
            "task_process_seconds_total",
            "Time that a thread spent in a task's operators.",
            "process-latency-avg active-process-ratio",
        ))?;
        let dropped = registrar.counters(About {
            labels: &["task", "reason"],
            ..by_task(
                "task_dropped_records_total",
                "Records that had no effect, by reason.",
                "dropped-records-total dropped-records-rate",
            )
        })?;
        let write_set = registrar.gauges(by_task(
            "task_write_set_bytes",
            "Writes of a task not yet applied to RocksDB.",
            "cache-size-bytes-total",
        ))?;
        let refused = registrar.float_gauges(by_task(
            "task_refused_writes_ratio",
            "Committed writes of a task that RocksDB refuses, as a part of what may wait; 0 while it \
             takes them. At 1 the task reads no more.",
            "",
        ))?;
        let stream_time = registrar.gauges(by_task(
            "task_stream_time_seconds",
            "Highest timestamp a task has seen, in Unix time.",
            "",
        ))?;
        registrar.level("Partition", "An input partition of a task.");
        Ok(Self {
            state,
            processed,
            busy,
            dropped,
            write_set,
            refused,
            stream_time,
            lag: registrar.gauges(by_partition(
                "partition_lag_records",
                "Records between a task's position and the end of the partition; of a repartition \
                 topic packs, of dozens of records each.",
                "records-lag",
            ))?,
            lag_seconds: registrar.float_gauges(by_partition(
                "partition_lag_seconds",
                "Age of the oldest record that waits, by its timestamp; of the last one processed \
                 where none was fetched yet; 0 without lag.",
                "",
            ))?,
            buffered: registrar.gauges(by_partition(
                "partition_buffered_records",
                "Records fetched and waiting in the task.",
                "active-buffer-count input-buffer-bytes-total",
            ))?,
            position: registrar.gauges(by_partition(
                "partition_position_offset",
                "Offset of the next record to process.",
                "",
            ))?,
            committed: registrar.gauges(by_partition(
                "partition_committed_offset",
                "Offset that the group last committed.",
                "",
            ))?,
        })
    }

    pub(super) fn bundle(&self, task: &str) -> TaskMetrics {
        TaskMetrics {
            task: task.to_owned(),
            states: TaskState::ALL.map(|state| (state, self.state.series(&[task, state.word()]))),
            processed: self.processed.series(&[task]),
            busy: self.busy.series(&[task]),
            write_set: self.write_set.series(&[task]),
            refused: self.refused.series(&[task]),
            stream_time: self.stream_time.series(&[task]),
            dropped: self.dropped.clone(),
            drops: Mutex::default(),
            lag: self.lag.clone(),
            lag_seconds: self.lag_seconds.clone(),
            buffered: self.buffered.clone(),
            position: self.position.clone(),
            committed: self.committed.clone(),
        }
    }
}

/// Metrics of one task.
pub struct TaskMetrics {
    task: String,
    states: [(TaskState, Gauge); TaskState::ALL.len()],
    processed: Counter,
    busy: FloatCounter,
    write_set: Gauge,
    refused: FloatGauge,
    stream_time: Gauge,
    dropped: CounterFamily,
    /// Series by reason, made when the reason first occurs.
    drops: Mutex<HashMap<String, Counter>>,
    lag: GaugeFamily,
    lag_seconds: Family<GaugeVec>,
    buffered: GaugeFamily,
    position: GaugeFamily,
    committed: GaugeFamily,
}

impl TaskMetrics {
    /// The state the task is in from now on.
    pub fn set_state(&self, current: TaskState) {
        for (state, gauge) in &self.states {
            gauge.set(i64::from(*state == current));
        }
    }

    /// Records dropped for a reason such as `late_record` or `null_key`.
    pub fn dropped(&self, reason: &str, records: u64) {
        let mut drops = self.drops.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = drops.get(reason) {
            series.inc_by(records);
        } else {
            let series = self.dropped.series(&[&self.task, reason]);
            series.inc_by(records);
            drops.insert(reason.to_owned(), series);
        }
    }

    /// Bytes of writes not yet applied.
    pub fn set_write_set_bytes(&self, bytes: u64) {
        self.write_set.set(clamp(bytes));
    }

    /// What the store engine refuses, as a part of what may wait for it.
    pub fn set_refused_ratio(&self, ratio: f64) {
        self.refused.set(ratio);
    }

    /// Stream time, in milliseconds since 1970.
    pub fn set_stream_time(&self, timestamp_ms: i64) {
        self.stream_time.set(timestamp_ms.div_euclid(1000));
    }

    /// The metrics of one input partition, for as long as they are held.
    #[must_use]
    pub fn partition(&self, topic: &str, partition: i32) -> PartitionMetrics {
        let number = partition.to_string();
        let labels = &[self.task.as_str(), topic, number.as_str()];
        PartitionMetrics {
            lag: self.lag.series(labels),
            lag_seconds: self.lag_seconds.series(labels),
            buffered: self.buffered.series(labels),
            position: self.position.series(labels),
            committed: self.committed.series(labels),
        }
    }
}

/// What a task counts between two publications, in plain numbers.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct LocalTask {
    /// Records that went through the task.
    pub processed: u64,
    /// Seconds that they took.
    pub busy_seconds: f64,
}

impl LocalTask {
    /// Adds the counts to the task's metrics and starts anew.
    pub fn publish(&mut self, metrics: &TaskMetrics) {
        let Self { processed, busy_seconds } = std::mem::take(self);
        metrics.processed.inc_by(processed);
        metrics.busy.inc_by(busy_seconds);
    }
}

/// Metrics of one input partition of a task.
pub struct PartitionMetrics {
    lag: Gauge,
    lag_seconds: FloatGauge,
    buffered: Gauge,
    position: Gauge,
    committed: Gauge,
}

impl PartitionMetrics {
    /// Records between the position and the end of the partition.
    pub fn set_lag(&self, records: u64) {
        self.lag.set(clamp(records));
    }

    /// How old what waits is, in ms. Clocks may differ: no lag is negative.
    pub fn set_lag_ms(&self, age_ms: i64) {
        self.lag_seconds.set(age_ms.max(0) as f64 / 1000.0);
    }

    /// Records waiting in the task.
    pub fn set_buffered(&self, records: usize) {
        self.buffered.set(clamp(records as u64));
    }

    /// Offset of the next record to process.
    pub fn set_position(&self, offset: i64) {
        self.position.set(offset);
    }

    /// Offset that the group last committed.
    pub fn set_committed(&self, offset: i64) {
        self.committed.set(offset);
    }
}
