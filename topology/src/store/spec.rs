//! What a store is: its kind, its byte layout, and how its entries look in its changelog.
//!
//! | kind | key in the store | value in the store | changelog key | changelog value | changelog timestamp |
//! |---|---|---|---|---|---|
//! | `KeyValue` | key | value | key | value | the record's |
//! | `TimestampedKeyValue` | key | 8 B timestamp, value | key | value | the entry's |
//! | `Window` | 8 B segment, key, 8 B start, 4 B sequence | value | key, 8 B start, 4 B sequence | value | the record's |
//! | `TimestampedWindow` | as `Window` | 8 B timestamp, value | as `Window` | value | the entry's |
//! | `Session` | 8 B segment, key, 8 B end, 8 B start | value | key, 8 B end, 8 B start | value | the record's, at least the end |
//! | `Versioned` | key, 8 B timestamp | 1 B (0 a deletion, 1 a value), value | key | value | the version's |
//!
//! Numbers are big-endian. The changelog's form is Kafka Streams' own, so that Kafka's tools read
//! it. A segment is the start (of a session: the end) divided by the segment's length; expired
//! segments are dropped with one range deletion. A windowed record's timestamp is never before the
//! time that its entry expires by, so that a changelog is purged by the timestamps of its records.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::store::engine::EngineFactory;
use crate::time::Timestamp;

/// The byte layout of a store and of its changelog; see the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum StoreKind {
    /// A value under a key.
    KeyValue,
    /// A value and its timestamp under a key: what tables and aggregates keep.
    TimestampedKeyValue,
    /// Values by key and window start.
    Window {
        /// From a window's start to its end, in ms.
        window_ms: i64,
        /// How far behind stream time a window may be looked up, in ms.
        retention_ms: i64,
        /// Length of a segment in ms.
        segment_ms: i64,
    },
    /// Values and their timestamps by key and window start: what windowed aggregates keep.
    TimestampedWindow {
        /// From a window's start to its end, in ms.
        window_ms: i64,
        /// How far behind stream time a window may be looked up, in ms.
        retention_ms: i64,
        /// Length of a segment in ms.
        segment_ms: i64,
    },
    /// Values by key, session end and session start.
    Session {
        /// How far behind stream time a session may be looked up, in ms.
        retention_ms: i64,
        /// Length of a segment in ms.
        segment_ms: i64,
    },
    /// Versions of a value by key and timestamp.
    Versioned {
        /// How far behind stream time a version may be looked up, in ms.
        history_ms: i64,
    },
}

/// What a changelog record does to a store when it is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    /// Put the key and value that were written out.
    Put,
    /// Delete the key that was written out.
    Delete,
}

/// The changelog form of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangelogEntry<'a> {
    /// Key bytes.
    pub key: &'a [u8],
    /// Value bytes, or null for a deletion.
    pub value: Option<&'a [u8]>,
    /// Record timestamp.
    pub timestamp: Timestamp,
}

/// Length of a segment number or timestamp in a key.
pub(crate) const TIME_LEN: usize = 8;
/// Length of a sequence number in a window key.
pub(crate) const SEQUENCE_LEN: usize = 4;

/// The timestamp in the first eight bytes, and what follows. Short bytes read as time 0.
#[must_use]
pub(crate) fn split_timestamp(bytes: &[u8]) -> (Timestamp, &[u8]) {
    match bytes.split_first_chunk::<TIME_LEN>() {
        Some((head, rest)) => (Timestamp::new(i64::from_be_bytes(*head)), rest),
        None => (Timestamp::new(0), bytes),
    }
}

impl StoreKind {
    /// The changelog form of an entry of the store, or of a deletion where `value` is `None`;
    /// `written` is the timestamp that was given to the `put` or `delete`.
    #[must_use]
    pub fn to_changelog<'a>(
        &self,
        key: &'a [u8],
        value: Option<&'a [u8]>,
        written: Timestamp,
    ) -> ChangelogEntry<'a> {
        match self {
            Self::KeyValue => ChangelogEntry { key, value, timestamp: written },
            Self::TimestampedKeyValue => Self::timestamped_entry(key, value, written),
            Self::Window { .. } => ChangelogEntry {
                key: key.get(TIME_LEN..).unwrap_or_default(),
                value,
                timestamp: written,
            },
            Self::Session { .. } => {
                let key = key.get(TIME_LEN..).unwrap_or_default();
                let (end, _) = split_timestamp(&key[key.len().saturating_sub(2 * TIME_LEN)..]);
                // A late record may have changed a session that ends long after it.
                ChangelogEntry { key, value, timestamp: written.max(end) }
            }
            Self::TimestampedWindow { .. } => {
                Self::timestamped_entry(key.get(TIME_LEN..).unwrap_or_default(), value, written)
            }
            Self::Versioned { .. } => {
                let split = key.len().saturating_sub(TIME_LEN);
                let (timestamp, _) = split_timestamp(&key[split..]);
                let value = match value {
                    Some([1, value @ ..]) => Some(value),
                    _ => None,
                };
                ChangelogEntry { key: &key[..split], value, timestamp }
            }
        }
    }

    fn timestamped_entry<'a>(
        key: &'a [u8],
        value: Option<&'a [u8]>,
        written: Timestamp,
    ) -> ChangelogEntry<'a> {
        match value.map(split_timestamp) {
            Some((timestamp, value)) => ChangelogEntry { key, value: Some(value), timestamp },
            None => ChangelogEntry { key, value: None, timestamp: written },
        }
    }

    /// Writes the store's key and value of a changelog record into the buffers (cleared first).
    /// Returns `None` for a record that is not of this store's format.
    pub fn restore(
        &self,
        record: ChangelogEntry<'_>,
        key: &mut Vec<u8>,
        value: &mut Vec<u8>,
    ) -> Option<Restored> {
        key.clear();
        value.clear();
        match *self {
            Self::KeyValue | Self::TimestampedKeyValue => {}
            Self::Window { segment_ms, .. } | Self::TimestampedWindow { segment_ms, .. } => {
                let at = record.key.len().checked_sub(TIME_LEN + SEQUENCE_LEN)?;
                let (start, _) = split_timestamp(&record.key[at..]);
                key.extend_from_slice(&segment(start, segment_ms));
            }
            Self::Session { segment_ms, .. } => {
                let at = record.key.len().checked_sub(2 * TIME_LEN)?;
                let (end, _) = split_timestamp(&record.key[at..]);
                key.extend_from_slice(&segment(end, segment_ms));
            }
            Self::Versioned { .. } => {
                key.extend_from_slice(record.key);
                key.extend_from_slice(&record.timestamp.millis().to_be_bytes());
                value.push(u8::from(record.value.is_some()));
                value.extend_from_slice(record.value.unwrap_or_default());
                return Some(Restored::Put);
            }
        }
        key.extend_from_slice(record.key);
        let Some(bytes) = record.value else { return Some(Restored::Delete) };
        if self.has_timestamps() {
            value.extend_from_slice(&record.timestamp.millis().to_be_bytes());
        }
        value.extend_from_slice(bytes);
        Some(Restored::Put)
    }

    /// Whether values start with their timestamp.
    #[must_use]
    pub fn has_timestamps(&self) -> bool {
        matches!(self, Self::TimestampedKeyValue | Self::TimestampedWindow { .. })
    }

    /// The kind's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::KeyValue => "key-value",
            Self::TimestampedKeyValue => "timestamped-key-value",
            Self::Window { .. } => "window",
            Self::TimestampedWindow { .. } => "timestamped-window",
            Self::Session { .. } => "session",
            Self::Versioned { .. } => "versioned",
        }
    }

    /// How long the windows of a windowed aggregate are, in ms, where all are of one length.
    #[must_use]
    pub fn window_ms(&self) -> Option<i64> {
        match *self {
            Self::TimestampedWindow { window_ms, .. } => Some(window_ms),
            _ => None,
        }
    }

    /// The length of a windowed store's segments, in ms.
    #[must_use]
    pub fn segment_ms(&self) -> Option<i64> {
        match *self {
            Self::Window { segment_ms, .. }
            | Self::TimestampedWindow { segment_ms, .. }
            | Self::Session { segment_ms, .. } => Some(segment_ms),
            _ => None,
        }
    }

    /// How long a versioned store keeps replaced versions, in ms.
    #[must_use]
    pub fn history_ms(&self) -> Option<i64> {
        match *self {
            Self::Versioned { history_ms } => Some(history_ms),
            _ => None,
        }
    }

    /// How far behind the store's time, in ms, nothing of a windowed store lives any more; `None`
    /// for stores that keep all. Records of its changelog that are older may be deleted.
    #[must_use]
    pub fn gone_after_ms(&self) -> Option<i64> {
        // A segment is dropped as a whole, and with results on close looked through before.
        Some(self.retention_ms()?.saturating_add(self.segment_ms()?))
    }

    /// How long an entry of a windowed store lives, in ms; `None` for stores that keep all.
    #[must_use]
    pub fn retention_ms(&self) -> Option<i64> {
        match *self {
            Self::Window { retention_ms, .. }
            | Self::TimestampedWindow { retention_ms, .. }
            | Self::Session { retention_ms, .. } => Some(retention_ms),
            Self::KeyValue | Self::TimestampedKeyValue | Self::Versioned { .. } => None,
        }
    }
}

/// The first bytes of a windowed key: which segment its time falls into.
#[must_use]
pub(crate) fn segment(time: Timestamp, segment_ms: i64) -> [u8; TIME_LEN] {
    time.millis().max(0).div_euclid(segment_ms.max(1)).to_be_bytes()
}

/// A store as a topology declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSpec {
    /// Its name, unique in the topology.
    pub name: String,
    /// Its layout.
    pub kind: StoreKind,
    /// Whether it lives on disk (RocksDB) or in memory alone.
    pub persistent: bool,
    /// Whether updates are held back until the commit, so that several of one key are forwarded
    /// and logged as one.
    pub caching: bool,
    /// Whether it has a changelog.
    pub logged: bool,
    /// Topic settings of the changelog that differ from the kind's own.
    pub changelog_config: BTreeMap<String, String>,
    /// A source topic that serves as the changelog; `None` for a topic of its own.
    pub changelog_source: Option<String>,
    /// Where committed entries rest, if not in RocksDB or in a map in memory.
    pub engine: Option<EngineFactory>,
    /// How long an entry lives past its timestamp, by stream time, in ms; `None` for ever. Only for
    /// `TimestampedKeyValue`.
    pub time_to_live_ms: Option<i64>,
}

impl StoreSpec {
    /// A persistent, logged store without caching.
    #[must_use]
    pub fn new(name: impl Into<String>, kind: StoreKind) -> Self {
        Self {
            name: name.into(),
            kind,
            persistent: true,
            caching: false,
            logged: true,
            changelog_config: BTreeMap::new(),
            changelog_source: None,
            engine: None,
            time_to_live_ms: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<'a>(key: &'a [u8], value: Option<&'a [u8]>, timestamp: i64) -> ChangelogEntry<'a> {
        ChangelogEntry { key, value, timestamp: Timestamp::new(timestamp) }
    }

    fn round_trip(
        kind: StoreKind,
        key: &[u8],
        value: Option<&[u8]>,
        written: i64,
        form: ChangelogEntry<'_>,
    ) {
        assert_eq!(kind.to_changelog(key, value, Timestamp::new(written)), form, "{kind:?}");
        let (mut restored_key, mut restored_value) = (vec![9], vec![9]);
        let restored = kind.restore(form, &mut restored_key, &mut restored_value);
        assert_eq!(restored_key, key, "{kind:?}");
        match value {
            Some(value) => {
                assert_eq!(restored, Some(Restored::Put));
                assert_eq!(restored_value, value, "{kind:?}");
            }
            None => assert_eq!(restored, Some(Restored::Delete)),
        }
    }

    #[test]
    fn every_layout_has_its_golden_bytes_and_comes_back_from_its_changelog() {
        let window =
            StoreKind::TimestampedWindow { window_ms: 10, retention_ms: 100, segment_ms: 16 };
        let session = StoreKind::Session { retention_ms: 100, segment_ms: 16 };
        let time = |n: u8| [0, 0, 0, 0, 0, 0, 0, n];
        round_trip(StoreKind::KeyValue, b"k", Some(b"v"), 7, entry(b"k", Some(b"v"), 7));
        round_trip(StoreKind::KeyValue, b"k", None, 7, entry(b"k", None, 7));
        let stamped = [&time(5)[..], b"v"].concat();
        round_trip(
            StoreKind::TimestampedKeyValue,
            b"k",
            Some(&stamped),
            7,
            entry(b"k", Some(b"v"), 5),
        );
        let logged = [b"k", &time(40)[..], &[0, 0, 0, 0]].concat();
        let stored = [&time(2)[..], &logged].concat();
        round_trip(window, &stored, Some(&stamped), 7, entry(&logged, Some(b"v"), 5));
        let logged = [b"k", &time(40)[..], &time(33)].concat();
        let stored = [&time(2)[..], &logged].concat();
        round_trip(session, &stored, Some(b"v"), 7, entry(&logged, Some(b"v"), 40));
        round_trip(session, &stored, Some(b"v"), 50, entry(&logged, Some(b"v"), 50));
        round_trip(session, &stored, None, 7, entry(&logged, None, 40));
        let versioned = StoreKind::Versioned { history_ms: 100 };
        let stored = [b"k", &time(40)[..]].concat();
        round_trip(versioned, &stored, Some(b"\x01v"), 7, entry(b"k", Some(b"v"), 40));
        round_trip(versioned, &stored, Some(b"\x00"), 7, entry(b"k", None, 40));
    }

    #[test]
    fn a_changelog_record_too_short_for_its_layout_is_refused() {
        let window = StoreKind::Window { window_ms: 1, retention_ms: 1, segment_ms: 1 };
        let (mut key, mut value) = (Vec::new(), Vec::new());
        assert_eq!(window.restore(entry(b"short", Some(b"v"), 1), &mut key, &mut value), None);
    }
}
