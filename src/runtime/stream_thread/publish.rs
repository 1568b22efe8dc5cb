//! What a stream thread shows of itself: status, metrics, and answers to queries.

use tidemill_topology::node::DropReason;
use tidemill_topology::store::StoreIndex;
use tidemill_topology::time::Timestamp;

use super::{PUBLISH, PUBLISH_SHARE, StreamThread};
use crate::kafka::{Cluster, Consumer};
use crate::metrics::StoreSizes;
use crate::runtime::active_task::ActiveTask;
use crate::runtime::observe::{Shared, ThreadView};
use crate::runtime::plan::Plan;
use crate::status::{PartitionStatus, StoreStatus, TaskState, TaskStatus};

impl<C: Cluster> StreamThread<C> {
    /// Queries see committed state alone: they are answered when nothing is uncommitted.
    pub(super) fn answer_requests(&mut self) {
        if self.asked.is_none() {
            self.asked = self.links.requests.try_recv().ok();
        }
        let uncommitted = |task: &ActiveTask<_>| {
            task.stores.as_ref().is_some_and(|stores| stores.has_uncommitted())
        };
        if self.asked.is_none() || self.tasks.values().any(uncommitted) {
            return;
        }
        while let Some(request) = self.asked.take().or_else(|| self.links.requests.try_recv().ok())
        {
            let mut running = Vec::new();
            for task in self.tasks.values_mut().filter(|task| task.state == TaskState::Running) {
                let stores = &self.plan.subtopology(task.id.subtopology).stores;
                let at = stores.iter().position(|spec| spec.name == request.store);
                if let (Some(at), Some(stores)) = (at, &mut task.stores) {
                    running.push((StoreIndex(at), &mut **stores));
                }
            }
            request.answer(running);
        }
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
        self.read.records_out += std::mem::take(&mut self.collector.sent);
        self.read.bytes_out += std::mem::take(&mut self.collector.sent_bytes);
        self.read.publish(&self.read_metrics);
        self.metrics.set_tasks(self.tasks.len());
        let consumer = &self.consumer;
        let mut tasks = Vec::new();
        let mut write_set_bytes = 0;
        for task in self.tasks.values_mut() {
            write_set_bytes += task.stores.as_ref().map_or(0, |stores| stores.dirty_bytes() as u64);
            task.local.publish(&task.metrics);
            for reason in DropReason::ALL {
                let total = task.task.dropped(reason);
                let seen = self.dropped.entry((task.id, reason)).or_default();
                if total > *seen {
                    task.metrics.dropped(reason.name(), total - *seen);
                    if let Some(topic) = self.handlers.dead_letter_topic.as_ref()
                        && reason.has_dead_letter()
                    {
                        let client = self.shared.client();
                        client.dead_letter(&topic.name, reason.name(), total - *seen);
                    }
                }
                *seen = total;
            }
            tasks.push(status(task, consumer, &self.plan, &self.shared, &self.config.name));
        }
        let restoring = tasks.iter().any(|task| task.state != TaskState::Running);
        let state = match (self.assigned, restoring) {
            (false, _) => "joining",
            (true, true) => "restoring",
            (true, false) => "running",
        };
        self.shared.set_thread(
            &self.config.name,
            ThreadView { state, assigned: self.assigned, tasks, write_set_bytes },
        );
        // With many tasks it is done less often, so that its part of the time stays small.
        self.publish_interval = PUBLISH.max(self.clock.elapsed(started) * PUBLISH_SHARE);
    }
}

/// What a task shows of itself; publishes its gauges on the way.
fn status<C: Consumer>(
    task: &ActiveTask<C::Message>,
    consumer: &C,
    plan: &Plan,
    shared: &Shared,
    thread: &str,
) -> TaskStatus {
    let partitions = task
        .inputs
        .iter()
        .enumerate()
        .map(|(at, input)| {
            let position = input.next.map(|offset| offset.0);
            let end = consumer.known_end(&input.partition);
            let lag =
                end.zip(input.next).map(|(end, next)| u64::try_from(end.0 - next.0).unwrap_or(0));
            input.metrics.set_buffered(task.buffered_of(at));
            if let Some(lag) = lag {
                input.metrics.set_lag(lag);
            }
            if let Some(position) = position {
                input.metrics.set_position(position);
            }
            PartitionStatus {
                topic: input.partition.topic.to_string(),
                partition: input.partition.partition,
                position,
                lag,
            }
        })
        .collect();
    let specs = &plan.subtopology(task.id.subtopology).stores;
    let stores = specs
        .iter()
        .enumerate()
        .map(|(at, spec)| {
            let index = StoreIndex(at);
            let sizes = task.stores.as_ref().and_then(|stores| stores.statistics(index));
            if let Some(sizes) = &sizes {
                shared.store_metrics(task.id, &spec.name).set_sizes(&StoreSizes {
                    entries: sizes.entries,
                    bytes: sizes.file_bytes,
                    memtable_bytes: sizes.write_buffer_bytes,
                });
            }
            StoreStatus {
                name: spec.name.clone(),
                entries: sizes.map(|sizes| sizes.entries),
                restore: shared.restore(task.id, &spec.name),
            }
        })
        .collect();
    if let Some(stores) = &task.stores {
        task.metrics.set_write_set_bytes(stores.dirty_bytes() as u64);
    }
    let stream_time = task.task.stream_time();
    task.metrics.set_stream_time(stream_time.millis());
    TaskStatus {
        id: task.id.to_string(),
        state: task.state,
        thread: thread.to_owned(),
        partitions,
        stores,
        stream_time_ms: (stream_time != Timestamp::UNKNOWN).then_some(stream_time.millis()),
        processed: task.processed,
    }
}
