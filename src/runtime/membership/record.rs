//! What an instance says of itself: its address, its tasks and its copies of others' state.
//!
//! The record's key is the instance's id. Its value is JSON, described in `docs/members.md`; readers
//! ignore fields that they do not know.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tidemill_topology::graph::TaskId;

/// The version of the form below. A reader takes any version: fields are added, never changed.
const VERSION: u32 = 1;

/// The value of an instance's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// The version of this form.
    pub version: u32,
    /// The instance; also the record's key.
    pub instance: String,
    /// Where it answers HTTP, `host:port`; `None` where it serves nothing.
    #[serde(default)]
    pub host: Option<String>,
    /// When the process started, in milliseconds since 1970: tells two lives of an instance apart.
    pub started_at_ms: i64,
    /// When it said so, in milliseconds since 1970.
    pub heartbeat_ms: i64,
    /// Its stream threads that are members of the group, by name.
    #[serde(default)]
    pub threads: BTreeSet<String>,
    /// The tasks that it was assigned, by id.
    #[serde(default, with = "by_task")]
    pub tasks: BTreeMap<TaskId, HeldTask>,
    /// The tasks whose state it keeps a copy of, by id.
    #[serde(default, with = "by_task")]
    pub standbys: BTreeMap<TaskId, StandbyCopy>,
}

/// A task that an instance was assigned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldTask {
    /// Its state in one word, as `/tasks` has it; `running` answers queries.
    pub state: String,
    /// The stream thread that has it; its transactional id is `<application.id>-<thread>`.
    pub thread: String,
}

impl HeldTask {
    /// Whether it processes records and answers queries.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state == "running"
    }
}

/// A copy of a task's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandbyCopy {
    /// Sum of its positions in the task's changelogs: the higher, the fresher.
    pub position: i64,
    /// Records of those changelogs that it has yet to read; -1 while that is not known.
    pub lag: i64,
}

impl MemberRecord {
    /// Of an instance that holds nothing yet.
    #[must_use]
    pub fn new(instance: &str, started_at_ms: i64) -> Self {
        Self {
            version: VERSION,
            instance: instance.to_owned(),
            host: None,
            started_at_ms,
            heartbeat_ms: started_at_ms,
            threads: BTreeSet::new(),
            tasks: BTreeMap::new(),
            standbys: BTreeMap::new(),
        }
    }

    /// Whether it says more than that its instance still lives, compared with an earlier one.
    #[must_use]
    pub fn is_news_after(&self, earlier: &Self) -> bool {
        // Copies move all the time: how far they are is worth a heartbeat, not a record each.
        let has_copies_of = |record: &Self| record.standbys.keys().copied().collect::<Vec<_>>();
        self.host != earlier.host
            || self.started_at_ms != earlier.started_at_ms
            || self.threads != earlier.threads
            || self.tasks != earlier.tasks
            || has_copies_of(self) != has_copies_of(earlier)
    }

    /// The record's value.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Strings and numbers under string keys: there is nothing that JSON could refuse.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The record of a value.
    ///
    /// # Errors
    /// When it is not of this form.
    pub fn from_json(value: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(value)
    }
}

/// Maps by task as JSON objects whose keys are task ids, such as `0_3`.
mod by_task {
    use std::collections::BTreeMap;

    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::{Serialize, Serializer};
    use tidemill_topology::graph::TaskId;

    pub fn serialize<V: Serialize, S: Serializer>(
        map: &BTreeMap<TaskId, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(map.iter().map(|(task, value)| (task.to_string(), value)))
    }

    pub fn deserialize<'de, V: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<TaskId, V>, D::Error> {
        let named = BTreeMap::<String, V>::deserialize(deserializer)?;
        let parsed = named.into_iter().map(|(name, value)| Ok((name.parse()?, value)));
        parsed
            .collect::<tidemill_topology::error::Result<_>>()
            .map_err(|error| Error::custom(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> MemberRecord {
        let mut record = MemberRecord::new("one", 1_000);
        record.host = Some("10.0.0.5:9464".to_owned());
        record.threads.insert("one-0".to_owned());
        record.tasks.insert(
            "0_3".parse().unwrap(),
            HeldTask { state: "running".to_owned(), thread: "one-0".to_owned() },
        );
        record.standbys.insert("1_0".parse().unwrap(), StandbyCopy { position: 40, lag: 2 });
        record
    }

    #[test]
    fn the_form_is_the_one_that_the_manual_shows() {
        let json: serde_json::Value = serde_json::from_slice(&record().to_json()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "version": 1, "instance": "one", "host": "10.0.0.5:9464",
                "started_at_ms": 1000, "heartbeat_ms": 1000, "threads": ["one-0"],
                "tasks": {"0_3": {"state": "running", "thread": "one-0"}},
                "standbys": {"1_0": {"position": 40, "lag": 2}},
            })
        );
    }

    #[test]
    fn what_is_written_is_read_and_unknown_fields_are_passed_over() {
        assert_eq!(MemberRecord::from_json(&record().to_json()).unwrap(), record());
        let newer = br#"{"version":9,"instance":"x","started_at_ms":1,"heartbeat_ms":2,"more":[]}"#;
        let read = MemberRecord::from_json(newer).unwrap();
        assert_eq!((read.instance.as_str(), read.tasks.len()), ("x", 0));
        assert!(MemberRecord::from_json(br#"{"tasks":{"nonsense":{}}}"#).is_err());
    }

    #[test]
    fn a_later_heartbeat_and_a_copy_that_moved_are_no_news() {
        let mut later = record();
        later.heartbeat_ms += 3_000;
        later.standbys.insert("1_0".parse().unwrap(), StandbyCopy { position: 90, lag: 0 });
        assert!(!later.is_news_after(&record()));
        later.tasks.clear();
        assert!(later.is_news_after(&record()));
    }
}
