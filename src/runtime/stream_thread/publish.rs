//! What a stream thread shows of itself: status, metrics, and its stores to those who ask.

use tidemill_topology::store::StoreIndex;
use tidemill_topology::time::Timestamp;

use super::{PUBLISH, PUBLISH_SHARE, StreamThread};
use crate::kafka::{Cluster, Consumer, Message};
use crate::metrics::{StoreSizes, StoreUse};
use crate::runtime::active_task::ActiveTask;
use crate::runtime::error::RuntimeError;
use crate::runtime::input::{Input, Place};
use crate::runtime::observe::{Shared, ThreadView};
use crate::runtime::plan::Plan;
use crate::status::{PartitionStatus, StoreStatus, TaskState, TaskStatus};

impl<C: Cluster> StreamThread<C> {
    /// Shows the stores to readers on other threads, once they have asked. They see committed
    /// state alone, so what is uncommitted is committed first; from then on each commit shows what
    /// it changed.
    pub(super) fn show_stores(&mut self) -> Result<(), RuntimeError> {
        if !self.links.asker.take() {
            return Ok(());
        }
        if !self.show_committed() {
            self.commit()?;
            self.show_committed();
        }
        Ok(())
    }

    /// False when something is uncommitted that must be committed first.
    fn show_committed(&mut self) -> bool {
        let mut all = true;
        for task in self.tasks.values_mut().filter(|task| task.state == TaskState::Running) {
            let Some(stores) = &mut task.stores else { continue };
            all &= stores.show();
            stores.show_times(|index| task.task.store_time(index));
        }
        all
    }

    pub(super) fn publish_if_due(&mut self) {
        if self.clock.elapsed(self.last_publish) >= self.publish_interval {
            self.publish();
        }
    }

    pub(super) fn publish(&mut self) {
        let started = self.clock.now();
        self.last_publish = started;
        self.local.publish(&self.metrics);
        self.meters.publish(&mut self.consumer, &mut self.collector);
        self.metrics.set_open_bytes(self.collector.open_bytes);
        self.metrics.set_tasks(self.tasks.len());
        let (consumer, wall) = (&self.consumer, self.clock.wall());
        let look_at_engine = self.meters.engine_look_is_due(started);
        let mut tasks = Vec::new();
        let mut write_set_bytes = 0;
        for task in self.tasks.values_mut() {
            write_set_bytes += task.stores.as_ref().map_or(0, |stores| stores.dirty_bytes() as u64);
            self.meters.take_counts(task);
            publish_inputs(task, consumer, wall);
            publish_stores(task, &self.plan, &self.shared, look_at_engine);
            tasks.push(status(task, consumer, &self.plan, &self.shared, &self.config.name));
        }
        let restoring = tasks.iter().any(|task| task.state != TaskState::Running);
        let state = match (self.assigned, restoring) {
            (false, _) => "joining",
            (true, true) => "restoring",
            (true, false) => "running",
        };
        self.metrics.set_state(state);
        self.shared.set_thread(
            &self.config.name,
            ThreadView { state, assigned: self.assigned, tasks, write_set_bytes },
        );
        // With many tasks it is done less often, so that its part of the time stays small.
        let took = self.clock.elapsed(started);
        self.publish_interval = PUBLISH.max(took * PUBLISH_SHARE);
        self.metrics.publish_seconds(took.as_secs_f64());
    }
}

/// How far a task is in its inputs.
fn publish_inputs<C: Consumer>(task: &ActiveTask<C::Message>, consumer: &C, wall: Timestamp) {
    for input in &task.inputs {
        input.metrics.set_buffered(input.waiting());
        if let Some(Place { offset, .. }) = input.committed {
            input.metrics.set_committed(offset.0);
        }
        let Some(Place { offset, .. }) = input.next else { continue };
        input.metrics.set_position(offset.0);
        let Some(lag) = lag(consumer, input) else { continue };
        input.metrics.set_lag(lag);
        let since = input.waiting_since().or(input.last_timestamp);
        let age = since.filter(|since| lag > 0 && *since != Timestamp::UNKNOWN);
        input.metrics.set_lag_ms(age.map_or(0, |since| wall - since));
    }
    let stream_time = task.task.stream_time();
    if stream_time != Timestamp::UNKNOWN {
        task.metrics.set_stream_time(stream_time.millis());
    }
}

/// Records between the position and the end of an input, where both are known.
fn lag<C: Consumer>(consumer: &C, input: &Input<C::Message>) -> Option<u64> {
    let end = consumer.known_end(&input.partition)?;
    Some(u64::try_from(end.0 - input.next?.offset.0).unwrap_or(0))
}

/// What a task's stores hold and how they are read.
fn publish_stores<M: Message>(
    task: &ActiveTask<M>,
    plan: &Plan,
    shared: &Shared,
    look_at_engine: bool,
) {
    let Some(stores) = &task.stores else { return };
    task.metrics.set_write_set_bytes(stores.dirty_bytes() as u64);
    task.metrics.set_refused_ratio(stores.refused_ratio());
    for (at, spec) in plan.subtopology(task.id.subtopology).stores.iter().enumerate() {
        let Some(holds) = stores.statistics(StoreIndex(at)) else { continue };
        let metrics = shared.store_metrics(task.id, &spec.name);
        metrics.set_sizes(&StoreSizes {
            entries: holds.entries,
            bytes: holds.file_bytes + holds.memory_bytes as u64,
            memtable_bytes: holds.write_buffer_bytes,
            write_set_entries: holds.write_set_entries as u64,
            write_set_bytes: holds.write_set_bytes as u64,
            cache_bytes: holds.cache_bytes as u64,
            pending_bytes: holds.pending_bytes as u64,
        });
        metrics.set_use(&StoreUse {
            cached: holds.reads_cached,
            backend: holds.reads_backend,
            scans: holds.scans,
            expired: holds.expired,
        });
        if look_at_engine && let Some(properties) = stores.engine_properties(StoreIndex(at)) {
            metrics.set_engine(&properties);
        }
    }
}

/// What a task shows of itself.
fn status<C: Consumer>(
    task: &ActiveTask<C::Message>,
    consumer: &C,
    plan: &Plan,
    shared: &Shared,
    thread: &str,
) -> TaskStatus {
    let partitions = task.inputs.iter().map(|input| PartitionStatus {
        topic: input.partition.topic.to_string(),
        partition: input.partition.partition,
        position: input.next.map(|next| next.offset.0),
        lag: lag(consumer, input),
    });
    let specs = &plan.subtopology(task.id.subtopology).stores;
    let stores = specs.iter().enumerate().map(|(at, spec)| {
        let holds = task.stores.as_ref().and_then(|stores| stores.statistics(StoreIndex(at)));
        StoreStatus {
            name: spec.name.clone(),
            entries: holds.map(|holds| holds.entries),
            restore: shared.restore(task.id, &spec.name),
        }
    });
    let stream_time = task.task.stream_time();
    TaskStatus {
        id: task.id.to_string(),
        state: task.state,
        thread: thread.to_owned(),
        partitions: partitions.collect(),
        stores: stores.collect(),
        stream_time_ms: (stream_time != Timestamp::UNKNOWN).then_some(stream_time.millis()),
        processed: task.processed,
    }
}
