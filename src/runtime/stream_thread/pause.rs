//! An instance that is paused: it processes and punctuates nothing, and stays a member of its group
//! with its tasks, which it goes on to restore, and commits what it had processed.

use std::sync::atomic::Ordering;

use super::StreamThread;
use super::stalls::StallWatch;
use crate::kafka::{Cluster, Consumer, TopicPartition};
use crate::status::TaskState;

impl<C: Cluster> StreamThread<C> {
    /// Whether the instance was told to pause.
    pub(super) fn is_halted(&self) -> bool {
        self.links.paused.load(Ordering::Relaxed)
    }

    /// Fetches nothing more for the tasks that run; what has come already waits with them.
    pub(super) fn halt_tasks(&mut self) {
        let mut partitions: Vec<TopicPartition> = Vec::new();
        for task in self.tasks.values_mut() {
            if task.state == TaskState::Running && !task.halted {
                task.halted = true;
                partitions.extend(task.partitions().cloned());
            }
        }
        if !partitions.is_empty() {
            self.consumer.pause(&partitions);
        }
    }

    /// Fetches again, if it was paused, where it was not too much before.
    pub(super) fn go_on(&mut self) {
        let mut partitions: Vec<TopicPartition> = Vec::new();
        for task in self.tasks.values_mut().filter(|task| task.halted) {
            task.halted = false;
            let inputs = task.inputs.iter().filter(|input| !input.paused);
            partitions.extend(inputs.map(|input| input.partition.clone()));
        }
        if !partitions.is_empty() {
            self.consumer.resume(&partitions);
            // That they brought nothing meanwhile is no sign of a stall.
            self.stalls = StallWatch::new(self.clock.now());
        }
    }
}
