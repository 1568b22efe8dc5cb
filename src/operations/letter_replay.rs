//! Replays dead letters: back to where their records came from, or to another topic, once each.
//!
//! ```text
//! 1  the writer's name is taken: an older run is fenced, what it left open is aborted
//! 2  the log of replayed letters is read to its end
//! 3  each letter that is meant and not in the log is written, and an entry of the log with it,
//!    in one transaction
//! ```
//!
//! The log is the compacted topic `<application.id>-dlq-replayed`. Since a letter and its entry
//! commit together, a run that crashes leaves neither or both; since 1 comes before 2, no entry of
//! an older run comes after the log was read. So a letter is replayed once, however often, and
//! with whatever filters and edits, the command is run.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::time::Duration;

use serde::Serialize;
use tidemill_topology::record::Headers;
use tidemill_topology::time::Timestamp;

use super::committed_range::RangeReader;
use super::dead_letters::{DeadLetter, DeadLetterTopic, LetterFilter, LetterPlace};
use super::error::OperationError;
use super::footprint::TIMEOUT;
use super::transaction::{TransactionalWriter, WrittenRecord};
use crate::kafka::{Admin, Cluster, ErrorClass, Message, NewTopic, TopicPartition};

/// The header that says of which letter a record is the replay.
pub const REPLAY_HEADER: &str = "tidemill.replay.of";
/// Letters in one transaction.
const LETTERS_A_TRANSACTION: u64 = 500;
/// Where the name of the log of replayed letters ends.
const LOG_SUFFIX: &str = "dlq-replayed";

/// Where letters go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayTarget {
    /// Back to the topic of their record, and its partition unless the key was edited.
    Source,
    /// To this topic, by key.
    Topic(String),
}

/// What to change of a letter; `None` keeps what it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterEdit {
    /// Another key, or null.
    pub key: Option<Option<Vec<u8>>>,
    /// Another value, or null.
    pub value: Option<Option<Vec<u8>>>,
    /// Another timestamp.
    pub timestamp: Option<i64>,
}

impl LetterEdit {
    fn apply(&self, letter: &mut DeadLetter) {
        if let Some(key) = &self.key {
            letter.key.clone_from(key);
        }
        if let Some(value) = &self.value {
            letter.value.clone_from(value);
        }
        letter.timestamp = self.timestamp.unwrap_or(letter.timestamp);
    }
}

/// Letters to replay.
#[derive(Clone, Debug)]
pub struct LetterReplay<'a> {
    /// `application.id`, whose log of replayed letters holds.
    pub application_id: &'a str,
    /// Where the letters lie.
    pub topic: &'a DeadLetterTopic,
    /// Which are meant.
    pub filter: LetterFilter,
    /// Where they go.
    pub target: ReplayTarget,
    /// Where there are edits, only the letters are meant that have one.
    pub edits: Option<HashMap<LetterPlace, LetterEdit>>,
}

/// What became of the letters that were meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReplayReport {
    /// Replayed, or to be replayed.
    pub replayed: u64,
    /// By the topic they went to.
    pub by_topic: std::collections::BTreeMap<String, u64>,
    /// Replayed by an earlier run.
    pub replayed_before: u64,
    /// Left alone, as they have neither key nor value: their headers say where the record is.
    pub without_bytes: u64,
    /// Left alone, as their headers do not say where the record came from.
    pub without_source: u64,
}

/// The letters that were replayed before.
pub struct ReplayLog(HashSet<LetterPlace>);

impl ReplayLog {
    /// Reads the log of an application as far as it concerns `letters`.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn read<C: Cluster>(
        reader: &mut RangeReader<C>,
        admin: &C::Admin,
        application_id: &str,
        letters: &DeadLetterTopic,
    ) -> Result<Self, OperationError> {
        let name = log_topic(application_id);
        let mut found = HashSet::new();
        let known = admin.describe_topics(&[&name], TIMEOUT)?.into_iter().flatten().next();
        if known.is_some() {
            let ranges = reader.ranges(&[TopicPartition::new(name, 0)])?;
            reader.read(&ranges, |_, message| {
                let key = message.key().and_then(|key| std::str::from_utf8(key).ok());
                if message.value().is_some() {
                    found.extend(key.and_then(|key| place_of(key, &letters.identity())));
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(Self(found))
    }

    /// Whether the letter at a place was replayed.
    #[must_use]
    pub fn contains(&self, place: LetterPlace) -> bool {
        self.0.contains(&place)
    }
}

fn log_topic(application_id: &str) -> String {
    format!("{application_id}-{LOG_SUFFIX}")
}

/// `<identity of the dead-letter topic>/<partition>/<offset>`.
fn log_key(identity: &str, place: LetterPlace) -> String {
    format!("{identity}/{}/{}", place.partition, place.offset)
}

fn place_of(key: &str, identity: &str) -> Option<LetterPlace> {
    let (partition, offset) = key.strip_prefix(identity)?.strip_prefix('/')?.split_once('/')?;
    Some(LetterPlace { partition: partition.parse().ok()?, offset: offset.parse().ok()? })
}

/// Makes the log, compacted and kept for ever, unless it is there.
fn ensure_log<A: Admin>(
    admin: &A,
    application_id: &str,
    replication: Option<i32>,
) -> Result<(), OperationError> {
    let name = log_topic(application_id);
    let topic = NewTopic { replication, ..NewTopic::new(name.clone(), 1) };
    for result in admin.create_topics(&[topic.with("cleanup.policy", "compact")], TIMEOUT)? {
        match result {
            Err(error) if error.class() != ErrorClass::AlreadyExists => return Err(error.into()),
            _ => {}
        }
    }
    let is_led = || -> Result<bool, OperationError> {
        let found = admin.describe_topics(&[&name], TIMEOUT)?.into_iter().flatten().next();
        Ok(found.is_some_and(|info| {
            !info.partitions.is_empty() && info.partitions.iter().all(|part| part.leader.is_some())
        }))
    };
    for wait_ms in [0, 20, 50, 100, 200, 400, 800, 1_600, 3_200] {
        std::thread::sleep(Duration::from_millis(wait_ms));
        if is_led()? {
            return Ok(());
        }
    }
    let next = "it was created and has no leader yet: run this again";
    Err(OperationError::NoTopic { topic: name, next })
}

impl LetterReplay<'_> {
    /// What [`execute`](Self::execute) would do now. Writes nothing.
    ///
    /// # Errors
    /// When an edit is of no letter, a target does not exist, or the cluster does not answer.
    pub fn survey<C: Cluster>(
        &self,
        cluster: &C,
        admin: &C::Admin,
    ) -> Result<ReplayReport, OperationError> {
        let mut reader = RangeReader::open(cluster, self.application_id)?;
        let log = ReplayLog::read(&mut reader, admin, self.application_id, self.topic)?;
        let mut run = Run::new(self, admin, log);
        self.each(&mut reader, |letter| run.take(letter).map(drop))?;
        self.check_edits(&run.seen)?;
        Ok(run.report)
    }

    /// Replays; `shown` hears how many letters were replayed so far. The log is created with
    /// `replication` replicas, where that is given.
    ///
    /// # Errors
    /// As [`survey`](Self::survey), and when a letter cannot be written. What was committed
    /// before stays replayed, and the log has it.
    pub fn execute<C: Cluster>(
        &self,
        cluster: &C,
        admin: &C::Admin,
        replication: Option<i32>,
        mut shown: impl FnMut(u64),
    ) -> Result<ReplayReport, OperationError> {
        if self.edits.is_some() {
            // An edit of no letter is found before anything is written.
            self.survey(cluster, admin)?;
        }
        ensure_log(admin, self.application_id, replication)?;
        // 1
        let mut writer = TransactionalWriter::open(cluster, self.application_id, "dlq-replay")?;
        // 2
        let mut reader = RangeReader::open(cluster, self.application_id)?;
        let log = ReplayLog::read(&mut reader, admin, self.application_id, self.topic)?;
        // 3
        let mut run = Run::new(self, admin, log);
        let mut open = 0;
        let written = self.each(&mut reader, |letter| {
            let Some(replayed) = run.take(letter)? else { return Ok(()) };
            if open == 0 {
                writer.begin()?;
            }
            self.write(&mut writer, &replayed)?;
            open += 1;
            if open == LETTERS_A_TRANSACTION {
                open = 0;
                writer.commit()?;
                shown(run.report.replayed);
            }
            Ok(())
        });
        if written.is_err() && open > 0 {
            writer.abort();
        }
        written?;
        if open > 0 {
            writer.commit()?;
        }
        shown(run.report.replayed);
        Ok(run.report)
    }

    fn each<C: Cluster>(
        &self,
        reader: &mut RangeReader<C>,
        mut take: impl FnMut(DeadLetter) -> Result<(), OperationError>,
    ) -> Result<(), OperationError> {
        self.topic.read(reader, &self.filter, |letter| {
            take(letter)?;
            Ok(ControlFlow::Continue(()))
        })
    }

    fn check_edits(&self, seen: &HashSet<LetterPlace>) -> Result<(), OperationError> {
        let edits = self.edits.iter().flat_map(HashMap::keys);
        let mut missing: Vec<&LetterPlace> = edits.filter(|place| !seen.contains(place)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        missing.sort_unstable();
        let named: Vec<String> =
            missing.iter().map(|place| format!("{}:{}", place.partition, place.offset)).collect();
        Err(OperationError::NoLetters {
            topic: self.topic.name().to_owned(),
            letters: named.join(", "),
        })
    }

    /// Writes a letter, and with it that it was replayed.
    fn write<P: crate::kafka::Producer>(
        &self,
        writer: &mut TransactionalWriter<P>,
        replayed: &Replayed,
    ) -> Result<(), OperationError> {
        let Replayed { letter, topic, partition } = replayed;
        let place = letter.place;
        let mut headers = letter.headers.clone();
        headers.remove(REPLAY_HEADER);
        let of = format!("{}-{}@{}", self.topic.name(), place.partition, place.offset);
        headers.push(REPLAY_HEADER, Some(of.into_bytes()));
        writer.write(&WrittenRecord {
            topic,
            partition: *partition,
            key: letter.key.as_deref(),
            value: letter.value.as_deref(),
            timestamp: Timestamp::new(letter.timestamp),
            headers: &headers,
        })?;
        let entry = serde_json::json!({ "letters": self.topic.name(), "to": topic }).to_string();
        writer.write(&WrittenRecord {
            topic: &log_topic(self.application_id),
            partition: Some(0),
            key: Some(log_key(&self.topic.identity(), place).as_bytes()),
            value: Some(entry.as_bytes()),
            timestamp: Timestamp::UNKNOWN,
            headers: Headers::none(),
        })
    }
}

/// A letter that is to be written, and where.
struct Replayed {
    letter: DeadLetter,
    topic: String,
    partition: Option<i32>,
}

/// The decisions of one run, letter by letter.
struct Run<'r, A> {
    replay: &'r LetterReplay<'r>,
    admin: &'r A,
    log: ReplayLog,
    report: ReplayReport,
    /// Letters that were meant.
    seen: HashSet<LetterPlace>,
    /// Partitions of the targets.
    targets: HashMap<String, i32>,
}

impl<'r, A: Admin> Run<'r, A> {
    fn new(replay: &'r LetterReplay<'r>, admin: &'r A, log: ReplayLog) -> Self {
        Self {
            replay,
            admin,
            log,
            report: ReplayReport::default(),
            seen: HashSet::new(),
            targets: HashMap::new(),
        }
    }

    /// What to write of a letter, if anything; counts it.
    fn take(&mut self, mut letter: DeadLetter) -> Result<Option<Replayed>, OperationError> {
        let mut edited_key = false;
        if let Some(edits) = &self.replay.edits {
            let Some(edit) = edits.get(&letter.place) else { return Ok(None) };
            let key = letter.key.clone();
            edit.apply(&mut letter);
            edited_key = key != letter.key;
            self.seen.insert(letter.place);
        }
        if self.log.contains(letter.place) {
            self.report.replayed_before += 1;
            return Ok(None);
        }
        if letter.key.is_none() && letter.value.is_none() {
            self.report.without_bytes += 1;
            return Ok(None);
        }
        let (topic, partition) = match (&self.replay.target, &letter.source.topic) {
            (ReplayTarget::Topic(topic), _) => (topic.clone(), None),
            (ReplayTarget::Source, Some(topic)) => {
                (topic.clone(), letter.source.partition.filter(|_| !edited_key))
            }
            (ReplayTarget::Source, None) => {
                self.report.without_source += 1;
                return Ok(None);
            }
        };
        let partitions = self.partitions(&topic)?;
        let partition = partition.filter(|partition| (0..partitions).contains(partition));
        self.report.replayed += 1;
        *self.report.by_topic.entry(topic.clone()).or_default() += 1;
        Ok(Some(Replayed { letter, topic, partition }))
    }

    fn partitions(&mut self, topic: &str) -> Result<i32, OperationError> {
        if let Some(count) = self.targets.get(topic) {
            return Ok(*count);
        }
        let found = self.admin.describe_topics(&[topic], TIMEOUT)?.into_iter().flatten().next();
        let info = found.ok_or_else(|| OperationError::NoTopic {
            topic: topic.to_owned(),
            next: "create it, or name another one with --to",
        })?;
        let count = i32::try_from(info.partitions.len()).unwrap_or(i32::MAX);
        self.targets.insert(topic.to_owned(), count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_the_log_tells_its_letter_and_no_letter_of_another_topic() {
        let place = LetterPlace { partition: 3, offset: 41 };
        let key = log_key("00ff", place);
        assert_eq!(key, "00ff/3/41");
        assert_eq!(place_of(&key, "00ff"), Some(place));
        assert_eq!(place_of(&key, "00fe"), None);
        assert_eq!(place_of(&key, "00f"), None);
        assert_eq!(place_of("00ff/3", "00ff"), None);
    }
}
