//! A record on its way through a task, typed or still in bytes.

use crate::time::Timestamp;

/// A typed record, borrowed from the operator that made it.
///
/// Operators push it by reference from parent to child: a fan-out copies four words, never a value.
#[derive(Debug)]
pub struct Record<'a, K, V> {
    /// Its key.
    pub key: &'a K,
    /// Its value.
    pub value: &'a V,
    /// Its event time.
    pub timestamp: Timestamp,
    /// Its headers.
    pub headers: &'a Headers,
}

impl<K, V> Clone for Record<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Record<'_, K, V> {}

impl<'a, K, V> Record<'a, K, V> {
    /// A record without headers.
    #[must_use]
    pub fn new(key: &'a K, value: &'a V, timestamp: Timestamp) -> Self {
        Self { key, value, timestamp, headers: Headers::none() }
    }

    /// The same record under another key.
    #[must_use]
    pub fn with_key<'b, K2>(self, key: &'b K2) -> Record<'b, K2, V>
    where
        'a: 'b,
    {
        Record { key, value: self.value, timestamp: self.timestamp, headers: self.headers }
    }

    /// The same record with another value.
    #[must_use]
    pub fn with_value<'b, V2>(self, value: &'b V2) -> Record<'b, K, V2>
    where
        'a: 'b,
    {
        Record { key: self.key, value, timestamp: self.timestamp, headers: self.headers }
    }

    /// The same record at another time.
    #[must_use]
    pub fn with_timestamp(self, timestamp: Timestamp) -> Self {
        Self { timestamp, ..self }
    }

    /// The same record with other headers.
    #[must_use]
    pub fn with_headers<'b>(self, headers: &'b Headers) -> Record<'b, K, V>
    where
        'a: 'b,
    {
        Record { key: self.key, value: self.value, timestamp: self.timestamp, headers }
    }
}

/// A record's headers, in order; names may repeat and values may be null.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<Header>);

/// One header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its bytes, or null.
    pub value: Option<Vec<u8>>,
}

static NO_HEADERS: Headers = Headers(Vec::new());

impl Headers {
    /// No headers at all.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The shared empty list, for records that carry none.
    #[must_use]
    pub fn none() -> &'static Self {
        &NO_HEADERS
    }

    /// Appends one.
    pub fn push(&mut self, name: impl Into<String>, value: Option<Vec<u8>>) {
        self.0.push(Header { name: name.into(), value });
    }

    /// The last header of that name, as Kafka's `lastHeader` does.
    #[must_use]
    pub fn last(&self, name: &str) -> Option<&Header> {
        self.0.iter().rev().find(|header| header.name == name)
    }

    /// Removes every header of that name.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|header| header.name != name);
    }

    /// Empties the list and keeps its allocation.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// In order.
    pub fn iter(&self) -> std::slice::Iter<'_, Header> {
        self.0.iter()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = &'a Header;
    type IntoIter = std::slice::Iter<'a, Header>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl FromIterator<Header> for Headers {
    fn from_iter<I: IntoIterator<Item = Header>>(headers: I) -> Self {
        Self(headers.into_iter().collect())
    }
}

/// A record as it came from a topic: bytes borrowed from the consumer, and where they stood.
#[derive(Clone, Copy, Debug)]
pub struct RawRecord<'a> {
    /// Topic it was read from; empty while a punctuation runs.
    pub topic: &'a str,
    /// Partition it was read from.
    pub partition: i32,
    /// Offset it was read at.
    pub offset: i64,
    /// Timestamp the broker or producer gave it.
    pub timestamp: Timestamp,
    /// Key bytes, or null.
    pub key: Option<&'a [u8]>,
    /// Value bytes, or null.
    pub value: Option<&'a [u8]>,
    /// Headers.
    pub headers: &'a Headers,
}

impl RawRecord<'static> {
    /// What a node sees as its source outside of any record: in punctuations and flushes.
    #[must_use]
    pub fn none() -> Self {
        RawRecord {
            topic: "",
            partition: -1,
            offset: -1,
            timestamp: Timestamp::UNKNOWN,
            key: None,
            value: None,
            headers: Headers::none(),
        }
    }
}
