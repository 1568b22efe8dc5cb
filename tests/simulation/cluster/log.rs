//! The log of a partition: records, the transactions they are part of, and where these end.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_topology::record::Headers;
use tidemill_topology::time::Timestamp;

/// A record as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// Its key, or null.
    pub key: Option<Vec<u8>>,
    /// Its value, or null.
    pub value: Option<Vec<u8>>,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// Its headers.
    pub headers: Headers,
}

/// What became of the transaction that a record is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is not decided, or the decision has not reached this partition.
    Open,
    /// Committed, or never part of a transaction.
    Committed,
    /// Aborted.
    Aborted,
}

/// One offset of a log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its place.
    pub offset: i64,
    /// The record; `None` is the marker that ends a transaction.
    pub data: Option<Arc<Data>>,
    /// Whether readers of committed records see it.
    pub fate: Fate,
    /// Who wrote it.
    pub producer: Option<u64>,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Log {
    entries: Vec<Entry>,
    /// What compaction and purging took away: checks still want to see it.
    removed: Vec<Entry>,
    start: i64,
    end: i64,
    /// The first offset of each open transaction, by producer.
    open: BTreeMap<u64, i64>,
    /// The newest epoch that each producer wrote with.
    epochs: BTreeMap<u64, i16>,
}

impl Log {
    /// The lowest offset that can be read.
    #[must_use]
    pub fn start(&self) -> i64 {
        self.start
    }

    /// The high watermark.
    #[must_use]
    pub fn end(&self) -> i64 {
        self.end
    }

    /// The last stable offset: all before it is decided.
    #[must_use]
    pub fn stable(&self) -> i64 {
        self.open.values().copied().min().unwrap_or(self.end)
    }

    /// Whether a transaction is open in it.
    #[must_use]
    pub fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Appends records; of a transaction if there is a producer. Returns the first one's offset.
    pub(crate) fn append(&mut self, records: &[Arc<Data>], producer: Option<(u64, i16)>) -> i64 {
        let first = self.end;
        let fate = if producer.is_some() { Fate::Open } else { Fate::Committed };
        for data in records {
            self.entries.push(Entry {
                offset: self.end,
                data: Some(Arc::clone(data)),
                fate,
                producer: producer.map(|(id, _)| id),
            });
            self.end += 1;
        }
        if let Some((id, epoch)) = producer {
            self.open.entry(id).or_insert(first);
            let known = self.epochs.entry(id).or_insert(epoch);
            *known = epoch.max(*known);
        }
        first
    }

    /// The newest epoch that a producer wrote with here.
    #[must_use]
    pub fn epoch(&self, producer: u64) -> Option<i16> {
        self.epochs.get(&producer).copied()
    }

    /// Ends a producer's transaction, with a marker that is a record of its own.
    pub(crate) fn mark(&mut self, producer: u64, epoch: i16, commit: bool) {
        let fate = if commit { Fate::Committed } else { Fate::Aborted };
        if let Some(first) = self.open.remove(&producer) {
            let from = self.entries.partition_point(|entry| entry.offset < first);
            for entry in &mut self.entries[from..] {
                if entry.producer == Some(producer) && entry.fate == Fate::Open {
                    entry.fate = fate;
                }
            }
        }
        self.entries.push(Entry { offset: self.end, data: None, fate, producer: Some(producer) });
        self.end += 1;
        let known = self.epochs.entry(producer).or_insert(epoch);
        *known = epoch.max(*known);
    }

    /// The entries of `from..to`.
    pub(crate) fn read(&self, from: i64, to: i64) -> &[Entry] {
        let first = self.entries.partition_point(|entry| entry.offset < from);
        let last = self.entries.partition_point(|entry| entry.offset < to);
        &self.entries[first..last.max(first)]
    }

    /// Deletes the records below an offset.
    pub(crate) fn delete_below(&mut self, offset: i64) {
        self.start = self.start.max(offset.min(self.end));
        let gone = self.entries.partition_point(|entry| entry.offset < self.start);
        self.removed.extend(self.entries.drain(..gone));
    }

    /// Compaction: of the committed records of a key below the last stable offset only the newest
    /// stays, aborted records go.
    pub(crate) fn compact(&mut self) {
        let stable = self.stable();
        let mut newest: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        for entry in self.entries.iter().filter(|entry| entry.fate == Fate::Committed) {
            if let Some(key) = entry.data.as_ref().and_then(|data| data.key.as_ref())
                && entry.offset < stable
            {
                newest.insert(key.clone(), entry.offset);
            }
        }
        let stays = |entry: &Entry| match &entry.data {
            _ if entry.offset >= stable => true,
            // Markers are kept as long as tombstones are.
            None => true,
            Some(_) if entry.fate == Fate::Aborted => false,
            Some(data) => data.key.as_ref().is_none_or(|key| newest[key] == entry.offset),
        };
        let (stay, go) = std::mem::take(&mut self.entries).into_iter().partition(stays);
        self.entries = stay;
        self.removed.extend::<Vec<Entry>>(go);
    }

    /// Every entry there ever was, compacted and purged ones too, in the order of offsets.
    #[must_use]
    pub fn history(&self) -> Vec<&Entry> {
        let mut all: Vec<&Entry> = self.removed.iter().chain(&self.entries).collect();
        all.sort_unstable_by_key(|entry| entry.offset);
        all
    }

    /// Every committed record there ever was.
    #[must_use]
    pub fn committed(&self) -> Vec<(i64, Arc<Data>)> {
        let committed = self.history().into_iter().filter(|entry| entry.fate == Fate::Committed);
        committed
            .filter_map(|entry| Some((entry.offset, Arc::clone(entry.data.as_ref()?))))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &str) -> Arc<Data> {
        Arc::new(Data {
            key: Some(key.into()),
            value: Some(value.into()),
            timestamp: Timestamp::new(0),
            headers: Headers::new(),
        })
    }

    fn values(log: &Log) -> Vec<String> {
        let text = |data: Arc<Data>| String::from_utf8(data.value.clone().unwrap()).unwrap();
        log.committed().into_iter().map(|(_, data)| text(data)).collect()
    }

    #[test]
    fn what_lies_behind_an_open_transaction_is_not_stable() {
        let mut log = Log::default();
        log.append(&[record("a", "1")], Some((7, 0)));
        log.append(&[record("b", "2")], Some((8, 0)));
        log.mark(8, 0, true);
        assert_eq!((log.stable(), log.end()), (0, 3));
        log.mark(7, 0, false);
        assert_eq!((log.stable(), log.end()), (4, 4));
        assert_eq!(values(&log), ["2"]);
    }

    #[test]
    fn compaction_keeps_the_newest_of_a_key_and_what_is_undecided() {
        let mut log = Log::default();
        log.append(&[record("a", "1"), record("a", "2")], None);
        log.append(&[record("a", "3")], Some((7, 0)));
        log.append(&[record("b", "4")], None);
        log.compact();
        let offsets: Vec<i64> = log.read(0, 9).iter().map(|entry| entry.offset).collect();
        assert_eq!(offsets, [1, 2, 3]);
        assert_eq!(values(&log), ["1", "2", "4"], "history keeps everything");
    }
}
