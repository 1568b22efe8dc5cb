//! `reset`: an application back to where its inputs are read anew, with nothing remembered.
//!
//! ```text
//! 1  the group must have no members
//! 2  its offsets are forgotten, then those of the inputs are set
//! 3  internal topics are deleted
//! 4  local state is deleted
//! ```
//!
//! The offsets go first: an instance that is started between two steps finds that its local state
//! is ahead of its offsets, and stops. A reset that did not come to its end is run again. Outputs
//! are never deleted: what is processed again is written again behind what is there.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use tidemill_state::StateDirectory;

use super::error::OperationError;
use super::footprint::{Footprint, TIMEOUT, require_idle};
use super::starting_point::StartingPoints;
use crate::kafka::{Admin, ErrorClass, Offset, TopicPartition};

/// How often it is looked whether deleted topics are gone.
const LOOK: Duration = Duration::from_millis(100);

/// What to reset.
#[derive(Clone, Debug)]
pub struct ResetRequest {
    /// Where to begin to read.
    pub points: StartingPoints,
    /// Topics to delete beside the internal ones of the topology: those of an older one.
    pub also_delete: Vec<String>,
    /// `state.dir`; `None` leaves local state alone.
    pub state_dir: Option<PathBuf>,
}

/// What a reset will do.
#[derive(Debug, Serialize)]
pub struct ResetPlan {
    /// `application.id`.
    pub application_id: String,
    /// The offsets of the inputs.
    pub offsets: Vec<OffsetChange>,
    /// Internal topics that are deleted.
    pub delete_topics: Vec<String>,
    /// Local state that is deleted.
    pub delete_state: Vec<PathBuf>,
    /// Outputs, which stay as they are.
    pub keep_outputs: Vec<String>,
    /// Topics that look like internal ones of the application, and stay since its topology does
    /// not have them.
    pub keep_unknown: Vec<String>,
    #[serde(skip)]
    directory: Option<StateDirectory>,
}

/// What becomes of the offset of an input partition.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct OffsetChange {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// What the group has committed.
    pub from: Option<i64>,
    /// What it will have.
    pub to: i64,
}

/// A step of a reset that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetStep {
    /// The offsets are set.
    Offsets,
    /// The internal topics are gone.
    Topics,
    /// The local state is gone.
    State,
}

impl ResetPlan {
    /// Finds out what there is to reset. Changes nothing, but takes the lock of the local state
    /// so that no instance starts with it meanwhile.
    ///
    /// # Errors
    /// When the cluster does not answer, a topic of the request is not the application's, or a
    /// process uses the local state.
    pub fn make<A: Admin>(
        admin: &A,
        footprint: &Footprint,
        request: &ResetRequest,
    ) -> Result<Self, OperationError> {
        let unknown = footprint.look_alikes(admin)?;
        if let Some(topic) = request.also_delete.iter().find(|topic| !unknown.contains(topic)) {
            return Err(OperationError::NotOurs {
                topic: topic.clone(),
                role: "a left-over internal topic of the application",
                known: if unknown.is_empty() { "none".to_owned() } else { unknown.join(", ") },
            });
        }
        let committed = admin.group_offsets(&footprint.application_id, TIMEOUT)?;
        let before = |partition: &TopicPartition| {
            let found = committed.iter().find(|found| found.partition == *partition);
            found.map(|found| found.offset.0)
        };
        let offsets = request.points.resolve(admin, footprint)?;
        let offsets = offsets.into_iter().map(|(partition, to)| OffsetChange {
            topic: partition.topic.to_string(),
            partition: partition.partition,
            from: before(&partition),
            to: to.0,
        });
        let internal = footprint.internal.iter().map(|topic| topic.topic.clone());
        let mut delete_topics: Vec<String> =
            internal.filter(|topic| footprint.exists(topic)).collect();
        delete_topics.extend(request.also_delete.iter().cloned());
        delete_topics.sort_unstable();
        let directory = match &request.state_dir {
            Some(root) => existing_state(root, &footprint.application_id)?,
            None => None,
        };
        let delete_state = match &directory {
            Some(directory) => {
                directory.tasks()?.iter().map(|task| directory.path().join(task)).collect()
            }
            None => Vec::new(),
        };
        Ok(Self {
            application_id: footprint.application_id.clone(),
            offsets: offsets.collect(),
            delete_topics,
            delete_state,
            keep_outputs: footprint.outputs.clone(),
            keep_unknown: unknown
                .into_iter()
                .filter(|topic| !request.also_delete.contains(topic))
                .collect(),
            directory,
        })
    }

    /// Does it. `done` hears of each step.
    ///
    /// # Errors
    /// When the group has members, or the cluster or the disk refuses a step; running it again
    /// does the rest.
    pub fn execute<A: Admin>(
        &self,
        admin: &A,
        mut done: impl FnMut(ResetStep),
    ) -> Result<(), OperationError> {
        // 1: the brokers check it once more in 2, for a member that joins just now.
        require_idle(admin, &self.application_id, Duration::ZERO)?;
        // 2: forgets the offsets of repartition topics too, which begin at 0 again.
        match admin.delete_group(&self.application_id, TIMEOUT) {
            Err(error) if error.code() != "GROUP_ID_NOT_FOUND" => return Err(error.into()),
            _ => {}
        }
        let offsets: Vec<(TopicPartition, Offset)> = self
            .offsets
            .iter()
            .map(|change| {
                let partition = TopicPartition::new(change.topic.as_str(), change.partition);
                (partition, Offset(change.to))
            })
            .collect();
        admin.alter_group_offsets(&self.application_id, &offsets, TIMEOUT)?;
        done(ResetStep::Offsets);
        // 3
        let names: Vec<&str> = self.delete_topics.iter().map(String::as_str).collect();
        for result in admin.delete_topics(&names, TIMEOUT)? {
            match result {
                Err(error) if error.class() != ErrorClass::UnknownTopicOrPartition => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
        await_gone(admin, &names)?;
        done(ResetStep::Topics);
        // 4
        if let Some(directory) = &self.directory {
            directory.remove_unused(Duration::ZERO)?;
        }
        done(ResetStep::State);
        Ok(())
    }
}

/// The local state of an application, if there is any.
fn existing_state(
    root: &Path,
    application_id: &str,
) -> Result<Option<StateDirectory>, OperationError> {
    // Opening it would create it.
    if !root.join(application_id).is_dir() {
        return Ok(None);
    }
    Ok(Some(StateDirectory::open(root, application_id)?))
}

/// Deletes the local state of an application and nothing else: for the other machines of a reset
/// application. Returns what was there; deletes it only if `execute`.
///
/// # Errors
/// When a process uses it, or it cannot be deleted.
pub fn reset_local_state(
    root: &Path,
    application_id: &str,
    execute: bool,
) -> Result<Vec<PathBuf>, OperationError> {
    let Some(directory) = existing_state(root, application_id)? else { return Ok(Vec::new()) };
    let tasks = directory.tasks()?;
    if execute {
        directory.remove_unused(Duration::ZERO)?;
    }
    Ok(tasks.iter().map(|task| directory.path().join(task)).collect())
}

/// Brokers hear of a deletion a moment after it was answered: an instance that is started before
/// would find the old topic.
fn await_gone<A: Admin>(admin: &A, names: &[&str]) -> Result<(), OperationError> {
    let started = Instant::now();
    while !names.is_empty() {
        if admin.describe_topics(names, TIMEOUT)?.iter().all(Option::is_none) {
            return Ok(());
        }
        if started.elapsed() > TIMEOUT {
            return Err(OperationError::Kafka(crate::kafka::KafkaError::new(
                ErrorClass::TimedOut,
                "TOPIC_DELETION",
                "delete topics",
                "brokers still show topics whose deletion they accepted; run the reset again",
            )));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}
