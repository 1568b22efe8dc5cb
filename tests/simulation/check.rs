//! What must hold after a run, whatever went wrong in it.
//!
//! 1. Every input is done with: the group's offsets are the ends of all inputs, no transaction is
//!    open.
//! 2. What came out is what the scenario's sequential model says.
//! 3. The state that a process has on disk is its changelog: each entry is what the committed
//!    records below the store's position made of it, or what a later committed record did. Never
//!    an uncommitted byte.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use tidemill::kafka::TopicPartition;
use tidemill::runtime::plan::full_name;
use tidemill_state::{ApplyPolicy, StateMemory, TaskStores};
use tidemill_topology::graph::Topology;
use tidemill_topology::store::spec::{ChangelogEntry, Restored};
use tidemill_topology::store::{KeyRange, Order, StoreIndex, StoreSpec};

use crate::cluster::Brokers;
use crate::cluster::log::{Data, Log};
use crate::scenario::{Outputs, Scenario};

/// What the checks are about.
pub(crate) struct Checked<'w> {
    pub(crate) application_id: &'w str,
    pub(crate) topology: &'w Topology,
    pub(crate) scenario: &'w Scenario,
    pub(crate) brokers: &'w Brokers,
}

impl Checked<'_> {
    /// Check 1: why not everything is done yet; `None` when it is.
    pub(crate) fn unfinished(&self) -> Option<String> {
        let Some(group) = self.brokers.groups.get(self.application_id) else {
            return Some("nobody has joined the group yet".to_owned());
        };
        for subtopology in self.topology.subtopologies() {
            for source in &subtopology.sources {
                for partition in self.brokers.partitions(&full_name(self.application_id, source)) {
                    let end = self.brokers.log(&partition).map_or(0, Log::end);
                    let done = group.committed.get(&partition).map_or(0, |found| found.offset.0);
                    if done != end {
                        return Some(format!("{partition} is committed up to {done} of {end}"));
                    }
                }
            }
        }
        for topic in self.brokers.topics.keys() {
            for partition in self.brokers.partitions(topic) {
                if self.brokers.log(&partition).is_some_and(Log::has_open) {
                    return Some(format!("a transaction is open in {partition}"));
                }
            }
        }
        None
    }

    /// Check 2.
    pub(crate) fn outputs(&self) -> Result<(), String> {
        (self.scenario.check)(&Outputs { brokers: self.brokers })
    }

    /// Check 3, of one process's state directory.
    pub(crate) fn state(&self, directory: &Path) -> Result<(), String> {
        let memory = StateMemory::new(16 << 20);
        for subtopology in self.topology.subtopologies() {
            let specs = self.topology.stores(subtopology);
            let most = subtopology.sources.iter().map(|source| {
                self.brokers.partitions(&full_name(self.application_id, source)).len()
            });
            for partition in 0..most.max().unwrap_or(0) {
                let task = format!("{}_{partition}", subtopology.id.0);
                let path = directory.join(self.application_id).join(&task);
                if !path.join("CURRENT").exists() {
                    continue;
                }
                let fail = |error: tidemill_state::StateError| format!("task {task}: {error}");
                let mut stores =
                    TaskStores::open(&task, &specs, Some(&path), &memory, ApplyPolicy::default())
                        .map_err(fail)?;
                for (at, spec) in specs.iter().enumerate() {
                    let number = i32::try_from(partition).unwrap_or(0);
                    self.store(&mut stores, StoreIndex(at), spec, number)
                        .map_err(|error| format!("task {task}, store {}: {error}", spec.name))?;
                }
            }
        }
        Ok(())
    }

    fn store(
        &self,
        stores: &mut TaskStores,
        index: StoreIndex,
        spec: &StoreSpec,
        partition: i32,
    ) -> Result<(), String> {
        let topic = full_name(self.application_id, &Topology::changelog(spec));
        let Some(log) = self.brokers.log(&TopicPartition::new(topic, partition)) else {
            return Ok(());
        };
        let position = stores.position(index).map_or(0, |position| position.offset);
        let mut found: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let scanned = stores.bound(index).scan(
            KeyRange { from: &[], to: None },
            Order::Forward,
            &mut |key, value| {
                found.insert(key.to_vec(), value.to_vec());
                ControlFlow::Continue(())
            },
        );
        scanned.map_err(|error| error.to_string())?;
        let mut below: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
        let mut later: BTreeMap<Vec<u8>, Vec<Option<Vec<u8>>>> = BTreeMap::new();
        for (offset, data) in log.committed() {
            let Some((key, value)) = entry(spec, &data) else { continue };
            if offset < position {
                below.insert(key, value);
            } else {
                later.entry(key).or_default().push(value);
            }
        }
        let keys = found.keys().chain(below.keys()).cloned();
        for key in keys.collect::<std::collections::BTreeSet<_>>() {
            let has = found.get(&key);
            let wants = below.get(&key).and_then(Option::as_ref);
            let is_later = || {
                let later = later.get(&key).into_iter().flatten();
                later.map(Option::as_ref).any(|value| value == has)
            };
            if has != wants && !is_later() {
                let text = |bytes: Option<&Vec<u8>>| {
                    bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
                };
                return Err(format!(
                    "key {:?} is {:?} in the store; below its position {position} the changelog says {:?}",
                    text(Some(&key)),
                    text(has),
                    text(wants)
                ));
            }
        }
        Ok(())
    }
}

/// A changelog record as the store has it.
fn entry(spec: &StoreSpec, data: &Arc<Data>) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let (mut key, mut value) = (Vec::new(), Vec::new());
    let record = ChangelogEntry {
        key: data.key.as_deref().unwrap_or_default(),
        value: data.value.as_deref(),
        timestamp: data.timestamp,
    };
    match spec.kind.restore(record, &mut key, &mut value)? {
        Restored::Put => Some((key, Some(value))),
        Restored::Delete => Some((key, None)),
    }
}
