//! What a task counts, its state, and the lag of its partitions.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::family::{Counter, Gauge, Registrar, clamp};
use super::registry::{CounterFamily, GaugeFamily};

pub use crate::status::TaskState;

/// The families of all tasks.
pub(super) struct TaskFamilies {
    state: GaugeFamily,
    processed: CounterFamily,
    dropped: CounterFamily,
    write_set: GaugeFamily,
    stream_time: GaugeFamily,
    lag: GaugeFamily,
    buffered: GaugeFamily,
    position: GaugeFamily,
}

impl TaskFamilies {
    pub(super) fn new(registrar: &Registrar<'_>) -> prometheus::Result<Self> {
        let partition = &["task", "topic", "partition"];
        Ok(Self {
            state: registrar.gauges(
                "task_state",
                "1 for the state a task is in, 0 for the others.",
                &["task", "state"],
            )?,
            processed: registrar.counters(
                "task_records_processed_total",
                "Records that went through a task.",
                &["task"],
            )?,
            dropped: registrar.counters(
                "task_dropped_records_total",
                "Records that had no effect, by reason.",
                &["task", "reason"],
            )?,
            write_set: registrar.gauges(
                "task_write_set_bytes",
                "Writes of a task not yet applied to RocksDB.",
                &["task"],
            )?,
            stream_time: registrar.gauges(
                "task_stream_time_seconds",
                "Highest timestamp a task has seen, in Unix time.",
                &["task"],
            )?,
            lag: registrar.gauges(
                "partition_lag_records",
                "Records between a task's position and the end of the partition.",
                partition,
            )?,
            buffered: registrar.gauges(
                "partition_buffered_records",
                "Records fetched and waiting in the task.",
                partition,
            )?,
            position: registrar.gauges(
                "partition_position_offset",
                "Offset of the next record to process.",
                partition,
            )?,
        })
    }

    pub(super) fn bundle(&self, task: &str) -> TaskMetrics {
        TaskMetrics {
            task: task.to_owned(),
            states: TaskState::ALL.map(|state| (state, self.state.series(&[task, state.word()]))),
            processed: self.processed.series(&[task]),
            write_set: self.write_set.series(&[task]),
            stream_time: self.stream_time.series(&[task]),
            dropped: self.dropped.clone(),
            drops: Mutex::default(),
            lag: self.lag.clone(),
            buffered: self.buffered.clone(),
            position: self.position.clone(),
        }
    }
}

/// Metrics of one task.
pub struct TaskMetrics {
    task: String,
    states: [(TaskState, Gauge); TaskState::ALL.len()],
    processed: Counter,
    write_set: Gauge,
    stream_time: Gauge,
    dropped: CounterFamily,
    /// Series by reason, made when the reason first occurs.
    drops: Mutex<HashMap<String, Counter>>,
    lag: GaugeFamily,
    buffered: GaugeFamily,
    position: GaugeFamily,
}

impl TaskMetrics {
    /// The state the task is in from now on.
    pub fn set_state(&self, current: TaskState) {
        for (state, gauge) in &self.states {
            gauge.set(i64::from(*state == current));
        }
    }

    /// Records dropped for a reason such as `late` or `null-key`.
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
            buffered: self.buffered.series(labels),
            position: self.position.series(labels),
        }
    }
}

/// What a task counts between two publications, in plain integers.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct LocalTask {
    /// Records that went through the task.
    pub processed: u64,
}

impl LocalTask {
    /// Adds the counts to the task's metrics and starts anew.
    pub fn publish(&mut self, metrics: &TaskMetrics) {
        let Self { processed } = std::mem::take(self);
        metrics.processed.inc_by(processed);
    }
}

/// Metrics of one input partition of a task.
pub struct PartitionMetrics {
    lag: Gauge,
    buffered: Gauge,
    position: Gauge,
}

impl PartitionMetrics {
    /// Records between the position and the end of the partition.
    pub fn set_lag(&self, records: u64) {
        self.lag.set(clamp(records));
    }

    /// Records waiting in the task.
    pub fn set_buffered(&self, records: usize) {
        self.buffered.set(clamp(records as u64));
    }

    /// Offset of the next record to process.
    pub fn set_position(&self, offset: i64) {
        self.position.set(offset);
    }
}
