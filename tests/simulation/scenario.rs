//! What an application does in a run, what it is given, and what must come out.
//!
//! A scenario's model is sequential and knows nothing of processes, partitions or faults: it folds
//! the inputs. Where the order of the outputs depends on how threads meet, it compares sets, or the
//! last value of each key.

mod counts;
mod joins;
mod tables;

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_topology::graph::Topology;

use crate::cluster::Brokers;
use crate::cluster::log::{Data, Log};
use crate::random::Random;

/// A scenario of the simulation.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    /// Builds the topology.
    pub topology: fn() -> Topology,
    /// Its input and output topics.
    pub topics: &'static [&'static str],
    /// Draws one input: the number is its place among all inputs.
    pub input: fn(&mut Random, u64) -> Input,
    /// Says what is wrong with what came out.
    pub check: fn(&Outputs<'_>) -> Result<(), String>,
}

/// A record that the application is given.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its topic.
    pub topic: &'static str,
    /// Its key.
    pub key: String,
    /// Its value; `None` deletes.
    pub value: Option<String>,
    /// Its timestamp, in ms after the start.
    pub at_ms: i64,
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// All scenarios.
pub const SCENARIOS: [Scenario; 4] =
    [counts::SCENARIO, counts::REPARTITIONED, joins::SCENARIO, tables::SCENARIO];

/// What is in the topics after a run, as a reader of committed records sees it.
#[derive(Debug)]
pub struct Outputs<'w> {
    pub(crate) brokers: &'w Brokers,
}

/// A key and its values, in the order in which they came.
pub type ByKey<V> = BTreeMap<Vec<u8>, Vec<V>>;

impl Outputs<'_> {
    /// The committed records of a topic, partition by partition.
    #[must_use]
    pub fn records(&self, topic: &str) -> Vec<Arc<Data>> {
        let partitions = self.brokers.partitions(topic);
        let logs = partitions.iter().filter_map(|partition| self.brokers.log(partition));
        logs.flat_map(Log::committed).map(|(_, data)| data).collect()
    }

    /// The committed records of a topic by key; a key's records are all in one partition.
    #[must_use]
    pub fn by_key(&self, topic: &str) -> ByKey<Option<String>> {
        let mut by_key = ByKey::new();
        for data in self.records(topic) {
            let value =
                data.value.as_deref().map(|value| String::from_utf8_lossy(value).into_owned());
            by_key.entry(data.key.clone().unwrap_or_default()).or_default().push(value);
        }
        by_key
    }
}

/// A key as text, for messages.
pub(crate) fn shown(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

/// Where two lists of a key differ first, for messages.
pub(crate) fn compare<V: PartialEq + std::fmt::Debug>(
    topic: &str,
    key: &[u8],
    got: &[V],
    want: &[V],
) -> Result<(), String> {
    if got == want {
        return Ok(());
    }
    let at = got.iter().zip(want).position(|(got, want)| got != want);
    let at = at.unwrap_or_else(|| got.len().min(want.len()));
    Err(format!(
        "{topic}: key {} has {} records, the model {}; at {at} there is {:?} instead of {:?}",
        shown(key),
        got.len(),
        want.len(),
        got.get(at),
        want.get(at)
    ))
}
