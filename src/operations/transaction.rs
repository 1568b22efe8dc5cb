//! [`TransactionalWriter`]: records written all or nothing, by one process at a time.

use std::time::{Duration, Instant};

use tidemill_topology::record::Headers;
use tidemill_topology::time::Timestamp;

use super::error::OperationError;
use super::footprint::TIMEOUT;
use crate::kafka::{
    Cluster, ErrorClass, KafkaError, Outgoing, ProduceError, Producer, ProducerSettings,
};

/// How long a call is repeated whose outcome is not known.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a full send queue is waited for at a time.
const POLL: Duration = Duration::from_millis(10);

/// Writes records in transactions under a name that only one process has at a time.
pub struct TransactionalWriter<P> {
    producer: P,
    application_id: String,
}

/// A record to write.
#[derive(Clone, Copy, Debug)]
pub struct WrittenRecord<'a> {
    /// Where to.
    pub topic: &'a str,
    /// `None` goes by the key, as Java clients do.
    pub partition: Option<i32>,
    /// Key, or null.
    pub key: Option<&'a [u8]>,
    /// Value, or null.
    pub value: Option<&'a [u8]>,
    /// Event time.
    pub timestamp: Timestamp,
    /// Headers.
    pub headers: &'a Headers,
}

impl<P: Producer> TransactionalWriter<P> {
    /// Takes the name `<application.id>-<operation>`: whoever had it is fenced, and what they
    /// left open is aborted before this returns.
    ///
    /// # Errors
    /// When the cluster refuses or does not answer.
    pub fn open<C: Cluster<Producer = P>>(
        cluster: &C,
        application_id: &str,
        operation: &str,
    ) -> Result<Self, OperationError> {
        let name = format!("{application_id}-{operation}");
        let producer = cluster.producer(&ProducerSettings {
            client_id: name.as_str().into(),
            transactional_id: Some(name.into()),
            track_offsets: false,
        })?;
        let mut writer = Self { producer, application_id: application_id.to_owned() };
        writer.patiently(|producer| producer.init_transactions(TIMEOUT))?;
        Ok(writer)
    }

    /// Opens a transaction.
    ///
    /// # Errors
    /// When another process has taken the name.
    pub fn begin(&mut self) -> Result<(), OperationError> {
        self.patiently(Producer::begin)
    }

    /// Writes a record within the open transaction.
    ///
    /// # Errors
    /// When it is refused; the transaction is then to be [aborted](Self::abort).
    pub fn write(&mut self, record: &WrittenRecord<'_>) -> Result<(), OperationError> {
        let topic = self.producer.topic(record.topic)?;
        loop {
            let outgoing = Outgoing {
                topic,
                partition: record.partition,
                key: record.key,
                value: record.value,
                timestamp: record.timestamp,
                headers: record.headers,
            };
            match self.producer.produce(&outgoing) {
                Ok(()) => return Ok(()),
                Err(ProduceError::QueueFull) => self.producer.poll(POLL),
                Err(ProduceError::Refused(error)) => return Err(self.error(error)),
            }
        }
    }

    /// Commits what was written since [`begin`](Self::begin).
    ///
    /// # Errors
    /// When a record was not delivered or the transaction was not committed; nothing of it is
    /// then seen.
    pub fn commit(&mut self) -> Result<(), OperationError> {
        let committed = self.patiently(|producer| producer.commit(TIMEOUT));
        // Why a record was refused says more than that the transaction has to be aborted.
        match (committed, self.producer.deliveries().take_error()) {
            (Ok(()), _) => Ok(()),
            (Err(_), Some((partition, error))) => {
                self.abort();
                Err(self.error(error.of_partition(&partition)))
            }
            (Err(error), None) => {
                self.abort();
                Err(error)
            }
        }
    }

    /// Drops what was written since [`begin`](Self::begin).
    pub fn abort(&mut self) {
        // The brokers abort it by themselves if this cannot.
        let _ = self.patiently(|producer| producer.abort(TIMEOUT));
    }

    fn patiently(
        &mut self,
        mut call: impl FnMut(&mut P) -> Result<(), KafkaError>,
    ) -> Result<(), OperationError> {
        let started = Instant::now();
        loop {
            match call(&mut self.producer) {
                Err(error) if error.class().is_retriable() && started.elapsed() < PATIENCE => {
                    self.producer.poll(POLL);
                }
                Err(error) => return Err(self.error(error)),
                Ok(()) => return Ok(()),
            }
        }
    }

    fn error(&self, error: KafkaError) -> OperationError {
        if error.class() == ErrorClass::Fenced {
            return OperationError::TakenOver { application: self.application_id.clone() };
        }
        error.into()
    }
}
