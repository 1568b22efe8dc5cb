//! Which entries of a store with a time to live expire next: an index by time, beside the store.
//!
//! ```text
//! in the index's part of the backend    8 B timestamp, key  ->  nothing
//! ```
//!
//! The timestamp, an entry's own, is big-endian with its sign turned, so that the order of the bytes
//! is that of time. A put reads the entry that it takes the place of, and moves its mark; so there is
//! a mark an entry, and finding what has expired is looking at the first mark: nothing is scanned,
//! and a record after which nothing expires costs a comparison.
//!
//! Marks are not logged, as they follow from the entries: a restore makes them anew. It does not
//! read what it replaces, so marks of older values may be left. Each mark is therefore held against
//! its entry when it is due, and one that is out of date is dropped then.
//!
//! Changes of marks wait here for as long as those of entries wait in the write set, and move on to
//! the backend, or are dropped, together with those.

use std::collections::{BTreeSet, VecDeque};
use std::ops::ControlFlow;

use tidemill_topology::store::bytes::{KeyRange, Order};
use tidemill_topology::time::Timestamp;

use crate::backend::{Backend, Batch};
use crate::error::Result;

/// Length of the time in a mark.
const TIME_LEN: usize = 8;
/// Marks of the backend that are read at once.
const CHUNK: usize = 256;
/// Memory of a mark besides its bytes, about.
const MARK_OVERHEAD_BYTES: usize = 32;

/// See the [module](self).
pub(crate) struct ExpiryIndex<B> {
    live_ms: i64,
    pub(crate) backend: B,
    /// Marks that the backend does not have.
    added: BTreeSet<Box<[u8]>>,
    /// Marks that the backend has no more, or was to have no more before they were added again.
    removed: BTreeSet<Box<[u8]>>,
    changed_bytes: usize,
    ahead: Ahead,
    /// How many entries have expired since the store was opened.
    pub(crate) expired: u64,
}

/// The first marks of the backend, read ahead.
#[derive(Default)]
struct Ahead {
    marks: VecDeque<Box<[u8]>>,
    /// Where reading goes on.
    from: Vec<u8>,
    is_at_end: bool,
}

/// The timestamp that an entry's value starts with.
pub(crate) fn timestamp_of(value: &[u8]) -> Timestamp {
    let millis = value.first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes));
    Timestamp::new(millis)
}

/// Writes the mark of an entry.
pub(crate) fn write_mark(key: &[u8], timestamp: Timestamp, into: &mut Vec<u8>) {
    into.clear();
    into.extend_from_slice(&(timestamp.millis() ^ i64::MIN).to_be_bytes());
    into.extend_from_slice(key);
}

fn split_mark(mark: &[u8]) -> (Timestamp, &[u8]) {
    match mark.split_first_chunk::<TIME_LEN>() {
        Some((time, key)) => (Timestamp::new(i64::from_be_bytes(*time) ^ i64::MIN), key),
        None => (Timestamp::MIN, mark),
    }
}

fn size_of_mark(mark: &[u8]) -> usize {
    mark.len() + MARK_OVERHEAD_BYTES
}

impl<B: Backend> ExpiryIndex<B> {
    pub(crate) fn new(live_ms: i64, backend: B) -> Self {
        Self {
            live_ms,
            backend,
            added: BTreeSet::new(),
            removed: BTreeSet::new(),
            changed_bytes: 0,
            ahead: Ahead::default(),
            expired: 0,
        }
    }

    /// When an entry of that timestamp expires.
    pub(crate) fn end_of(&self, timestamp: Timestamp) -> Timestamp {
        timestamp + self.live_ms
    }

    /// Follows a change of an entry, from one timestamp to another; none where there is no entry.
    pub(crate) fn moved(&mut self, key: &[u8], old: Option<Timestamp>, new: Option<Timestamp>) {
        if old == new {
            return;
        }
        let mut mark = Vec::with_capacity(TIME_LEN + key.len());
        if let Some(old) = old {
            write_mark(key, old, &mut mark);
            self.remove(&mark);
        }
        if let Some(new) = new {
            write_mark(key, new, &mut mark);
            self.changed_bytes += size_of_mark(&mark);
            if !self.added.insert(mark[..].into()) {
                self.changed_bytes -= size_of_mark(&mark);
            }
        }
    }

    fn remove(&mut self, mark: &[u8]) {
        if self.added.remove(mark) {
            self.changed_bytes -= size_of_mark(mark);
        } else if self.removed.insert(mark.into()) {
            self.changed_bytes += size_of_mark(mark);
        }
    }

    /// The first mark whose entry would have expired by `now`: the entry's timestamp and key.
    pub(crate) fn due(&mut self, now: Timestamp) -> Result<Option<(Timestamp, Vec<u8>)>> {
        self.read_ahead()?;
        let first = match (self.added.first(), self.ahead.marks.front()) {
            (Some(added), Some(below)) => added.min(below),
            (Some(mark), None) | (None, Some(mark)) => mark,
            (None, None) => return Ok(None),
        };
        let (timestamp, key) = split_mark(first);
        Ok((timestamp + self.live_ms <= now).then(|| (timestamp, key.to_vec())))
    }

    /// Drops a mark.
    pub(crate) fn done(&mut self, key: &[u8], timestamp: Timestamp) {
        let mut mark = Vec::with_capacity(TIME_LEN + key.len());
        write_mark(key, timestamp, &mut mark);
        self.remove(&mark);
    }

    /// Brings the first mark that the backend has, and that was not removed, to the front.
    fn read_ahead(&mut self) -> Result {
        let Ahead { marks, from, is_at_end } = &mut self.ahead;
        loop {
            while marks.front().is_some_and(|mark| self.removed.contains(mark)) {
                marks.pop_front();
            }
            if !marks.is_empty() || *is_at_end {
                return Ok(());
            }
            let range = KeyRange { from, to: None };
            self.backend.scan(range, Order::Forward, &mut |mark, _| {
                marks.push_back(mark.into());
                if marks.len() == CHUNK {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })?;
            *is_at_end = marks.len() < CHUNK;
            if let Some(last) = marks.back() {
                from.clear();
                from.extend_from_slice(last);
                from.push(0);
            }
        }
    }

    /// Writes what changed into a batch.
    pub(crate) fn write_changes(&self, batch: &mut dyn Batch) {
        let mut added = self.added.iter().peekable();
        for removed in &self.removed {
            while let Some(mark) = added.next_if(|mark| *mark < removed) {
                batch.put(mark, &[]);
            }
            if added.peek() != Some(&removed) {
                batch.delete(removed);
            }
        }
        for mark in added {
            batch.put(mark, &[]);
        }
    }

    /// Whether the backend lacks anything.
    pub(crate) fn has_changes(&self) -> bool {
        !self.added.is_empty() || !self.removed.is_empty()
    }

    /// Memory of what changed, in bytes.
    pub(crate) fn changed_bytes(&self) -> usize {
        self.changed_bytes
    }

    /// Forgets what changed: the backend has it, or it is to be forgotten. Also after the backend was
    /// changed by others.
    pub(crate) fn reset(&mut self) {
        self.added.clear();
        self.removed.clear();
        self.changed_bytes = 0;
        self.ahead = Ahead::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::SharedMemory;

    fn at(millis: i64) -> Timestamp {
        Timestamp::new(millis)
    }

    fn apply(index: &mut ExpiryIndex<SharedMemory>) {
        index.write_changes(&mut index.backend.write());
        index.reset();
    }

    /// What is due by then, in order, each dropped.
    fn drained(index: &mut ExpiryIndex<SharedMemory>, now: i64) -> Vec<(i64, String)> {
        let mut all = Vec::new();
        while let Some((timestamp, key)) = index.due(at(now)).unwrap() {
            index.done(&key, timestamp);
            all.push((timestamp.millis(), String::from_utf8(key).unwrap()));
        }
        all
    }

    #[test]
    fn marks_come_out_by_time_wherever_they_lie() {
        let mut index = ExpiryIndex::new(10, SharedMemory::of_a_map());
        for (key, time) in [("late", 7), ("first", -3), ("middle", 2)] {
            index.moved(key.as_bytes(), None, Some(at(time)));
        }
        apply(&mut index);
        index.moved(b"between", None, Some(at(1)));
        index.moved(b"late", Some(at(7)), Some(at(0)));
        assert_eq!(drained(&mut index, 6), []);
        let expected = [(-3, "first"), (0, "late"), (1, "between"), (2, "middle")];
        assert_eq!(drained(&mut index, 12), expected.map(|(time, key)| (time, key.to_owned())));
        apply(&mut index);
        assert_eq!(drained(&mut index, i64::MAX), []);
        assert_eq!((index.backend.approximate_entries(), index.changed_bytes()), (0, 0));
    }

    #[test]
    fn a_mark_that_goes_and_comes_back_before_it_is_applied_is_kept() {
        let mut index = ExpiryIndex::new(10, SharedMemory::of_a_map());
        index.moved(b"a", None, Some(at(1)));
        apply(&mut index);
        index.moved(b"a", Some(at(1)), None);
        index.moved(b"a", None, Some(at(1)));
        apply(&mut index);
        assert_eq!(drained(&mut index, 11), [(1, "a".to_owned())]);
    }

    #[test]
    fn many_marks_are_read_in_parts() {
        let mut index = ExpiryIndex::new(1, SharedMemory::of_a_map());
        let count = 3 * CHUNK as i64 + 1;
        for time in 0..count {
            index.moved(format!("{time:05}").as_bytes(), None, Some(at(time)));
        }
        apply(&mut index);
        let times: Vec<i64> = drained(&mut index, count).iter().map(|(time, _)| *time).collect();
        assert_eq!(times, (0..count).collect::<Vec<_>>());
    }

    #[test]
    fn the_bytes_of_a_mark_are_pinned() {
        let mut mark = Vec::new();
        write_mark(b"k", at(5), &mut mark);
        assert_eq!(mark, [0x80, 0, 0, 0, 0, 0, 0, 5, b'k']);
        assert_eq!(split_mark(&mark), (at(5), &b"k"[..]));
    }
}
