//! The topics of a test: typed ends of a [`TopologyTestDriver`].

use tidemill_topology::record::Headers;
use tidemill_topology::serde::{SerdeRef, read, write};
use tidemill_topology::time::Timestamp;

use super::error::{DriverError, Result};
use super::local_runner::InputRecord;
use super::test_driver::{OutputRecord, TopologyTestDriver};

/// A record that a test pipes in or reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRecord<K, V> {
    /// Its key.
    pub key: K,
    /// Its value.
    pub value: V,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// Its headers.
    pub headers: Headers,
}

impl<K, V> TestRecord<K, V> {
    /// A record at a time in ms, without headers.
    pub fn new(key: impl Into<K>, value: impl Into<V>, timestamp_ms: i64) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
            timestamp: Timestamp::new(timestamp_ms),
            headers: Headers::new(),
        }
    }

    /// The same record with one more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push(name, Some(value.into()));
        self
    }
}

/// A topic that the topology reads; from [`TopologyTestDriver::input_topic`].
pub struct TestInputTopic<'d, K, V> {
    pub(crate) driver: &'d TopologyTestDriver,
    pub(crate) name: String,
    pub(crate) key: SerdeRef<K>,
    pub(crate) value: SerdeRef<V>,
}

impl<K: 'static, V: 'static> TestInputTopic<'_, K, V> {
    /// Takes a record at a time in ms through the topology, with all that it causes.
    ///
    /// # Errors
    /// When the record has no bytes, the topic is not read, or the topology stops at the record.
    pub fn pipe(&self, key: impl Into<K>, value: impl Into<V>, timestamp_ms: i64) -> Result {
        self.pipe_record(&TestRecord::new(key, value, timestamp_ms))
    }

    /// As [`pipe`](Self::pipe), with headers.
    ///
    /// # Errors
    /// As [`pipe`](Self::pipe).
    pub fn pipe_record(&self, record: &TestRecord<K, V>) -> Result {
        let unfit =
            |part| move |cause| DriverError::Serde { part, topic: self.name.clone(), cause };
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let key = write(&*self.key, &record.key, &mut key).map_err(unfit("key"))?;
        let value = write(&*self.value, &record.value, &mut value).map_err(unfit("value"))?;
        let TestRecord { timestamp, ref headers, .. } = *record;
        self.driver.pipe_bytes(&self.name, &InputRecord { key, value, timestamp, headers })
    }
}

/// A topic that the topology writes; from [`TopologyTestDriver::output_topic`].
pub struct TestOutputTopic<'d, K, V> {
    pub(crate) driver: &'d TopologyTestDriver,
    pub(crate) name: String,
    pub(crate) key: SerdeRef<K>,
    pub(crate) value: SerdeRef<V>,
}

impl<K: 'static, V: 'static> TestOutputTopic<'_, K, V> {
    /// Takes the topic's next record; `None` when there is none.
    ///
    /// # Errors
    /// When its bytes are not of these types.
    pub fn read(&self) -> Result<Option<TestRecord<K, V>>> {
        self.driver.take_output(&self.name).map(|record| self.typed(record)).transpose()
    }

    /// Takes all records of the topic that were not read yet.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_all(&self) -> Result<Vec<TestRecord<K, V>>> {
        std::iter::from_fn(|| self.read().transpose()).collect()
    }

    /// Takes the keys and values of all records of the topic that were not read yet.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_pairs(&self) -> Result<Vec<(K, V)>> {
        Ok(self.read_all()?.into_iter().map(|record| (record.key, record.value)).collect())
    }

    fn typed(&self, record: OutputRecord) -> Result<TestRecord<K, V>> {
        let unfit =
            |part| move |cause| DriverError::Serde { part, topic: self.name.clone(), cause };
        Ok(TestRecord {
            key: read(&*self.key, record.key.as_deref()).map_err(unfit("key"))?,
            value: read(&*self.value, record.value.as_deref()).map_err(unfit("value"))?,
            timestamp: record.timestamp,
            headers: record.headers,
        })
    }
}
