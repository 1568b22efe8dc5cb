//! Questions to a store from outside: one key, a range, a prefix, windows, sessions, versions.
//!
//! They are asked in bytes, of any store alike, and answered in pages: [`Select`] says what is
//! wanted, [`select`] reads it. Which part of a question means what, by kind of store:
//!
//! | kind | an entry is | `times` |
//! |---|---|---|
//! | key-value | a key's value | nothing |
//! | window | a key's window | windows whose start lies within |
//! | session | a key's session | sessions that overlap it |
//! | versioned | a key's value | the value that was valid at its end |
//!
//! What a store's clock has left behind its retention is not shown, even while it is still there.

use std::ops::ControlFlow;

use crate::error::Result;
use crate::store::bytes::{KeyRange, Order, Visit, prefix_end};
use crate::store::spec::{SEQUENCE_LEN, StoreKind, TIME_LEN, split_timestamp};
use crate::time::{Timestamp, Window};

/// Entries that one page may look at, whether they are wanted or not: nobody waits long for one.
const LOOKED_AT_MAX: usize = 20_000;
/// Bytes that one page may hold, unless its first entry alone has more.
const PAGE_BYTES_MAX: usize = 4 << 20;
/// Entries read at once.
const CHUNK: usize = 256;

/// A store's entries, as bytes, that do not change while they are asked.
pub trait StoredEntries {
    /// Writes the value under a key into `value` (cleared first), and tells whether there is one.
    ///
    /// # Errors
    /// When the engine cannot be read.
    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool>;

    /// Visits a range of keys in order, until the end or until `visit` breaks.
    ///
    /// # Errors
    /// When the engine cannot be read.
    fn scan(&self, range: KeyRange<'_>, order: Order, visit: &mut Visit<'_>) -> Result;

    /// Highest time put into a store that keeps a clock; otherwise unknown.
    fn time(&self) -> Timestamp;
}

/// Which keys are wanted, as the bytes of the store's serde, without window or version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// This one.
    One(Vec<u8>),
    /// Those from the first (inclusive) up to the other (exclusive); `None` for the end.
    Range(Vec<u8>, Option<Vec<u8>>),
}

impl Keys {
    /// Every key.
    pub const ALL: Self = Self::Range(Vec::new(), None);

    /// Every key whose bytes start with these.
    #[must_use]
    pub fn prefix(prefix: Vec<u8>) -> Self {
        let end = prefix_end(&prefix);
        Self::Range(prefix, end)
    }

    fn hold(&self, key: &[u8]) -> bool {
        match self {
            Self::One(one) => one == key,
            Self::Range(from, to) => **from <= *key && to.as_ref().is_none_or(|to| *key < **to),
        }
    }
}

/// A question; see the [module](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Select {
    /// Which keys.
    pub keys: Keys,
    /// First and last time.
    pub times: (Timestamp, Timestamp),
    /// Ascending or descending by the store's bytes: by key, in windowed stores by segment first.
    pub order: Order,
    /// Where the page before ended.
    pub after: Option<Place>,
    /// Most entries of the page.
    pub limit: usize,
}

impl Select {
    /// Everything that the keys have, oldest first, in pages of `limit` entries.
    #[must_use]
    pub fn new(keys: Keys, limit: usize) -> Self {
        let times = (Timestamp::MIN, Timestamp::MAX);
        Self { keys, times, order: Order::Forward, after: None, limit }
    }
}

/// A place in a store's order, from which a page goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The bytes of an entry's key in the store.
    pub stored: Vec<u8>,
    /// Whether that entry is still to come.
    pub included: bool,
}

impl Place {
    /// Directly behind an entry.
    #[must_use]
    pub fn behind(stored: Vec<u8>) -> Self {
        Self { stored, included: false }
    }
}

/// An entry that was asked for, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// Its key in the store: a page can go on behind it.
    pub stored: Vec<u8>,
    /// The key, without window or version.
    pub key: Vec<u8>,
    /// The value, without timestamp.
    pub value: Vec<u8>,
    /// The value's timestamp, in stores that keep one; of a version, since when it is valid.
    pub timestamp: Option<Timestamp>,
    /// The window or session, in windowed stores.
    pub window: Option<Window>,
}

/// Some of the entries that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The entries, in the order asked for.
    pub entries: Vec<Selected>,
    /// How far it looked, in the store's bytes, if there may be more behind that.
    pub reached: Option<Vec<u8>>,
}

/// A page of what is asked for.
///
/// # Errors
/// When the engine cannot be read.
pub fn select(kind: StoreKind, store: &dyn StoredEntries, select: &Select) -> Result<Page> {
    let reader = Reader { kind, store, select };
    match (&select.keys, kind) {
        (Keys::One(key), StoreKind::KeyValue | StoreKind::TimestampedKeyValue) => {
            let mut value = Vec::new();
            let found = store.get(key, &mut value)?;
            Ok(Page::of_one(found.then(|| reader.read(key, &value)).flatten()))
        }
        (Keys::One(key), StoreKind::Versioned { .. }) => Ok(Page::of_one(reader.version(key)?)),
        _ => reader.page(),
    }
}

impl Page {
    fn of_one(entry: Option<Selected>) -> Self {
        Self { entries: entry.into_iter().collect(), reached: None }
    }
}

struct Reader<'s> {
    kind: StoreKind,
    store: &'s dyn StoredEntries,
    select: &'s Select,
}

/// A part of the store to read: from (inclusive), to (exclusive).
type Span = (Vec<u8>, Option<Vec<u8>>);

impl Reader<'_> {
    fn page(&self) -> Result<Page> {
        let order = self.select.order;
        let mut spans = self.spans()?;
        if order == Order::Backward {
            spans.reverse();
        }
        let (mut page, mut looked_at, mut bytes) = (Page::default(), 0, 0);
        for mut span in spans {
            if let Some(after) = &self.select.after
                && !go_on_from(&mut span, after, order)
            {
                continue;
            }
            loop {
                let chunk = self.chunk(&span)?;
                let is_last = chunk.len() < CHUNK;
                for (stored, value) in &chunk {
                    looked_at += 1;
                    if let Some(entry) = self.wanted(stored, value)? {
                        bytes += entry.stored.len() + entry.value.len();
                        page.entries.push(entry);
                    }
                    let full = page.entries.len() >= self.select.limit || bytes >= PAGE_BYTES_MAX;
                    if full || looked_at >= LOOKED_AT_MAX {
                        page.reached = Some(stored.clone());
                        return Ok(page);
                    }
                }
                match chunk.last() {
                    Some((stored, _)) if !is_last => {
                        go_on_from(&mut span, &Place::behind(stored.clone()), order);
                    }
                    _ => break,
                }
            }
        }
        Ok(page)
    }

    fn chunk(&self, (from, to): &Span) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut chunk = Vec::new();
        let range = KeyRange { from, to: to.as_deref() };
        self.store.scan(range, self.select.order, &mut |key, value| {
            chunk.push((key.to_vec(), value.to_vec()));
            if chunk.len() == CHUNK { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(chunk)
    }

    /// The parts of the store in which wanted entries are, in ascending order.
    fn spans(&self) -> Result<Vec<Span>> {
        let segment_ms = match self.kind {
            StoreKind::Window { segment_ms, .. }
            | StoreKind::TimestampedWindow { segment_ms, .. }
            | StoreKind::Session { segment_ms, .. } => segment_ms.max(1),
            StoreKind::KeyValue | StoreKind::TimestampedKeyValue => {
                return Ok(vec![match &self.select.keys {
                    Keys::One(key) => (key.clone(), Some([key, &[0][..]].concat())),
                    Keys::Range(from, to) => (from.clone(), to.clone()),
                }]);
            }
            StoreKind::Versioned { .. } => {
                return Ok(vec![match &self.select.keys {
                    Keys::One(key) => (key.clone(), prefix_end(key)),
                    Keys::Range(from, to) => (from.clone(), to.as_deref().and_then(behind)),
                }]);
            }
        };
        let (Some(first), Some(last)) = (self.end(Order::Forward)?, self.end(Order::Backward)?)
        else {
            return Ok(Vec::new());
        };
        let number = |time: Timestamp| time.millis().max(0) / segment_ms;
        let (from, to) = (self.select.times.0.max(self.oldest()), self.select.times.1);
        let low = number(from).max(first);
        let high = match self.kind {
            // A session that overlaps the time may end at any time after it.
            StoreKind::Session { .. } => last,
            _ => number(to).min(last),
        };
        let bytes =
            |number: i64, key: &[u8], rest: &[u8]| [&number.to_be_bytes()[..], key, rest].concat();
        Ok(match &self.select.keys {
            Keys::One(key) => (low..=high)
                .map(|number| {
                    let end = [u8::MAX; TIME_LEN + TIME_LEN];
                    (bytes(number, key, &[]), Some(bytes(number, key, &end)))
                })
                .collect(),
            Keys::Range(..) if low > high => Vec::new(),
            Keys::Range(..) => {
                vec![(bytes(low, &[], &[]), high.checked_add(1).map(|end| bytes(end, &[], &[])))]
            }
        })
    }

    /// The segment of the store's first or last entry.
    fn end(&self, order: Order) -> Result<Option<i64>> {
        let mut number = None;
        self.store.scan(KeyRange::ALL, order, &mut |key, _| {
            number = Some(split_timestamp(key).0.millis());
            ControlFlow::Break(())
        })?;
        Ok(number)
    }

    /// The first time that retention still covers.
    fn oldest(&self) -> Timestamp {
        match (self.kind.retention_ms(), self.store.time()) {
            (Some(retention_ms), time) if time != Timestamp::UNKNOWN => time - retention_ms + 1,
            _ => Timestamp::MIN,
        }
    }

    /// An entry of the store, if it is asked for.
    fn wanted(&self, stored: &[u8], value: &[u8]) -> Result<Option<Selected>> {
        let Some(entry) = self.read(stored, value) else { return Ok(None) };
        if !self.select.keys.hold(&entry.key) {
            return Ok(None);
        }
        let (from, to) = self.select.times;
        let wanted = match (self.kind, entry.window) {
            (StoreKind::Session { .. }, Some(session)) => {
                session.end >= from.max(self.oldest()) && session.start <= to
            }
            (_, Some(window)) => window.start >= from.max(self.oldest()) && window.start <= to,
            (StoreKind::Versioned { .. }, None) => {
                self.version(&entry.key)?.is_some_and(|valid| valid.stored == entry.stored)
            }
            _ => true,
        };
        Ok(wanted.then_some(entry))
    }

    /// The version of a key that was valid at the end of the times asked for; of what history does
    /// not reach any more, only what is valid still.
    fn version(&self, key: &[u8]) -> Result<Option<Selected>> {
        let StoreKind::Versioned { history_ms } = self.kind else { return Ok(None) };
        let at = self.select.times.1;
        let is_beyond = match self.store.time() {
            Timestamp::UNKNOWN => false,
            time => at < time - history_ms,
        };
        let newest = self.newest_until(key, if is_beyond { Timestamp::MAX } else { at })?;
        Ok(newest.filter(|version| version.timestamp <= Some(at)))
    }

    fn newest_until(&self, key: &[u8], until: Timestamp) -> Result<Option<Selected>> {
        let bound = |time: Timestamp| [key, &time.millis().max(0).to_be_bytes()].concat();
        let (first, mut last) = (bound(Timestamp::new(0)), bound(until));
        last.push(0);
        let range = KeyRange { from: &first, to: Some(&last) };
        let mut found = None;
        self.store.scan(range, Order::Backward, &mut |stored, value| {
            // Those of longer keys may lie in between.
            if stored.len() != key.len() + TIME_LEN {
                return ControlFlow::Continue(());
            }
            found = self.read(stored, value);
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    fn read(&self, stored: &[u8], value: &[u8]) -> Option<Selected> {
        let parts = split(self.kind, stored, value)?;
        Some(Selected {
            stored: stored.to_vec(),
            key: parts.key.to_vec(),
            value: parts.value.to_vec(),
            timestamp: parts.timestamp,
            window: parts.window,
        })
    }
}

/// A place behind the versions of all keys before `to`. Where `to` is such a key followed by zeros,
/// as the end of a range that includes the key, the key's versions lie behind `to`.
fn behind(to: &[u8]) -> Option<Vec<u8>> {
    match to.iter().rposition(|byte| *byte != 0) {
        Some(last) if last + 1 < to.len() => prefix_end(&to[..=last]),
        Some(_) => Some(to.to_vec()),
        None => None,
    }
}

/// Leaves out what lies before a place. False when nothing is left.
fn go_on_from((from, to): &mut Span, place: &Place, order: Order) -> bool {
    let mut bound = place.stored.clone();
    // The first bytes behind an entry are its own and a zero.
    if place.included == (order == Order::Backward) {
        bound.push(0);
    }
    match order {
        Order::Forward if bound > *from => *from = bound,
        Order::Backward if to.as_ref().is_none_or(|to| bound < *to) => *to = Some(bound),
        _ => {}
    }
    to.as_ref().is_none_or(|to| *from < *to)
}

/// An entry of a store taken apart.
pub(crate) struct Parts<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) timestamp: Option<Timestamp>,
    pub(crate) window: Option<Window>,
}

/// Takes an entry of a store apart; `None` for a deletion among versions.
pub(crate) fn split<'a>(kind: StoreKind, stored: &'a [u8], value: &'a [u8]) -> Option<Parts<'a>> {
    let time_at = |at: usize| split_timestamp(&stored[at.min(stored.len())..]).0;
    let (mut timestamp, mut window) = (None, None);
    let (mut key, mut value) = (stored, value);
    if kind.has_timestamps() {
        let (time, rest) = split_timestamp(value);
        (timestamp, value) = (Some(time), rest);
    }
    match kind {
        StoreKind::KeyValue | StoreKind::TimestampedKeyValue => {}
        StoreKind::Window { window_ms, .. } | StoreKind::TimestampedWindow { window_ms, .. } => {
            let at = stored.len().checked_sub(TIME_LEN + SEQUENCE_LEN)?;
            let start = time_at(at);
            key = stored.get(TIME_LEN..at)?;
            window = Some(Window { start, end: start + window_ms });
        }
        StoreKind::Session { .. } => {
            let at = stored.len().checked_sub(2 * TIME_LEN)?;
            key = stored.get(TIME_LEN..at)?;
            window = Some(Window { start: time_at(at + TIME_LEN), end: time_at(at) });
        }
        StoreKind::Versioned { .. } => {
            let at = stored.len().checked_sub(TIME_LEN)?;
            let (1, rest) = value.split_first()? else { return None };
            (key, value, timestamp) = (&stored[..at], rest, Some(time_at(at)));
        }
    }
    Some(Parts { key, value, timestamp, window })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::store::spec::ChangelogEntry;

    /// A store in a map.
    struct Map(StoreKind, BTreeMap<Vec<u8>, Vec<u8>>, Timestamp);

    impl Map {
        fn new(kind: StoreKind) -> Self {
            Self(kind, BTreeMap::new(), Timestamp::UNKNOWN)
        }

        /// Puts an entry as its changelog has it.
        fn put(&mut self, key: &[u8], value: Option<&str>, time: i64) {
            let (mut stored, mut bytes) = (Vec::new(), Vec::new());
            let timestamp = Timestamp::new(time);
            let record = ChangelogEntry { key, value: value.map(str::as_bytes), timestamp };
            self.0.restore(record, &mut stored, &mut bytes).unwrap();
            self.1.insert(stored, bytes);
        }

        fn put_window(&mut self, key: &str, start: i64) {
            let logged = [key.as_bytes(), &start.to_be_bytes(), &[0; 4]].concat();
            self.put(&logged, Some(&format!("{key}{start}")), start);
        }

        fn put_session(&mut self, key: &str, start: i64, end: i64) {
            let logged = [key.as_bytes(), &end.to_be_bytes(), &start.to_be_bytes()].concat();
            self.put(&logged, Some(&format!("{key}{start}-{end}")), end);
        }

        /// All pages of an answer, as text.
        fn ask(&self, mut question: Select) -> Vec<String> {
            let mut found = Vec::new();
            loop {
                let page = select(self.0, self, &question).unwrap();
                assert!(page.entries.len() <= question.limit);
                found.extend(page.entries.into_iter().map(|entry| {
                    let key = String::from_utf8(entry.key).unwrap();
                    format!("{key}={}", String::from_utf8(entry.value).unwrap())
                }));
                let Some(reached) = page.reached else { return found };
                question.after = Some(Place::behind(reached));
            }
        }
    }

    impl StoredEntries for Map {
        fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
            value.clear();
            value.extend_from_slice(self.1.get(key).map_or(&[][..], |value| value));
            Ok(self.1.contains_key(key))
        }

        fn scan(&self, range: KeyRange<'_>, order: Order, visit: &mut Visit<'_>) -> Result {
            let inside = |key: &[u8]| key >= range.from && range.to.is_none_or(|to| key < to);
            let mut entries: Vec<_> = self.1.iter().filter(|(key, _)| inside(key)).collect();
            if order == Order::Backward {
                entries.reverse();
            }
            for (key, value) in entries {
                if visit(key, value).is_break() {
                    break;
                }
            }
            Ok(())
        }

        fn time(&self) -> Timestamp {
            self.2
        }
    }

    fn all(limit: usize) -> Select {
        Select::new(Keys::ALL, limit)
    }

    fn one(key: &str) -> Select {
        Select::new(Keys::One(key.into()), 2)
    }

    fn backward(question: Select) -> Select {
        Select { order: Order::Backward, ..question }
    }

    fn within(question: Select, from: i64, to: i64) -> Select {
        Select { times: (Timestamp::new(from), Timestamp::new(to)), ..question }
    }

    #[test]
    fn pages_of_any_size_make_the_whole_in_either_order() {
        let mut store = Map::new(StoreKind::TimestampedKeyValue);
        for n in 0..600 {
            store.put(format!("k{n:03}").as_bytes(), Some(&n.to_string()), n);
        }
        let expected: Vec<String> = (0..600).map(|n| format!("k{n:03}={n}")).collect();
        for limit in [1, 7, 256, 600, 601] {
            assert_eq!(store.ask(all(limit)), expected, "{limit}");
        }
        let mut reversed = expected.clone();
        reversed.reverse();
        assert_eq!(store.ask(backward(all(7))), reversed);
        let range = Keys::Range(b"k010".to_vec(), Some(b"k013".to_vec()));
        assert_eq!(store.ask(Select::new(range, 2)), expected[10..13]);
        assert_eq!(store.ask(Select::new(Keys::prefix(b"k59".to_vec()), 4)), expected[590..]);
        assert_eq!(store.ask(one("k042")), ["k042=42"]);
        assert_eq!(store.ask(one("k04")), Vec::<String>::new());
    }

    #[test]
    fn windows_are_found_by_key_and_start_as_far_as_retention_goes() {
        let kind = StoreKind::TimestampedWindow { window_ms: 10, retention_ms: 60, segment_ms: 20 };
        let mut store = Map::new(kind);
        for start in (0..100).step_by(10) {
            store.put_window("a", start);
            store.put_window("ab", start);
        }
        assert_eq!(store.ask(within(one("a"), 30, 50)), ["a=a30", "a=a40", "a=a50"]);
        assert_eq!(store.ask(backward(within(one("a"), 30, 49))), ["a=a40", "a=a30"]);
        assert_eq!(store.ask(within(all(3), 20, 30)), ["a=a20", "a=a30", "ab=ab20", "ab=ab30"]);
        store.2 = Timestamp::new(90);
        assert_eq!(store.ask(one("ab")).first().map(String::as_str), Some("ab=ab40"));
        assert_eq!(store.ask(all(100)).len(), 12);
    }

    #[test]
    fn sessions_are_found_by_what_they_overlap() {
        let mut store = Map::new(StoreKind::Session { retention_ms: 1000, segment_ms: 50 });
        store.put_session("a", 0, 10);
        store.put_session("a", 30, 120);
        store.put_session("a", 200, 210);
        store.put_session("b", 5, 5);
        assert_eq!(store.ask(one("a")), ["a=a0-10", "a=a30-120", "a=a200-210"]);
        assert_eq!(store.ask(within(one("a"), 10, 40)), ["a=a0-10", "a=a30-120"]);
        assert_eq!(store.ask(within(one("a"), 60, 70)), ["a=a30-120"]);
        assert_eq!(store.ask(within(all(1), 0, 5)), ["a=a0-10", "b=b5-5"]);
    }

    #[test]
    fn a_version_is_shown_if_it_was_valid_at_the_time_and_never_a_longer_keys() {
        let mut store = Map::new(StoreKind::Versioned { history_ms: 50 });
        for (key, value, time) in
            [("a", Some("1"), 10), ("a", None, 20), ("a", Some("3"), 30), ("b", Some("b"), 15)]
        {
            store.put(key.as_bytes(), value, time);
        }
        // Its versions lie among those of "a".
        store.put(b"a\0\0", Some("long"), 12);
        let at = |question, time| within(question, 0, time);
        assert_eq!(store.ask(one("a")), ["a=3"]);
        assert_eq!(store.ask(at(one("a"), 19)), ["a=1"]);
        assert_eq!(store.ask(at(one("a"), 25)), Vec::<String>::new());
        assert_eq!(store.ask(at(all(1), 19)), ["a\0\0=long", "a=1", "b=b"]);
        assert_eq!(store.ask(all(10)), ["a\0\0=long", "a=3", "b=b"]);
        let until_a = Keys::Range(Vec::new(), Some(b"a\0".to_vec()));
        assert_eq!(store.ask(Select::new(until_a, 10)), ["a=3"]);
        store.2 = Timestamp::new(100);
        assert_eq!(store.ask(at(one("a"), 19)), Vec::<String>::new());
        assert_eq!(store.ask(at(one("b"), 19)), ["b=b"]);
    }
}
