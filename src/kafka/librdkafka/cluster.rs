//! The real cluster: opens librdkafka clients with the user's properties.

use std::collections::BTreeMap;
use std::sync::Arc;

use rdkafka_sys::bindings::{rd_kafka_conf_set_log_cb, rd_kafka_type_t};

use super::super::border::Cluster;
use super::super::error::KafkaError;
use super::super::settings::{ConsumerSettings, ProducerSettings};
use super::admin::LibrdkafkaAdmin;
use super::config::Properties;
use super::consumer::LibrdkafkaConsumer;
use super::log;
use super::log_offsets::OffsetClients;
use super::native::{Client, Config};
use super::producer::LibrdkafkaProducer;

/// A Kafka cluster reached through librdkafka.
///
/// ```no_run
/// use tidemill::kafka::{Cluster, Librdkafka};
/// # fn main() -> Result<(), tidemill::kafka::KafkaError> {
/// let cluster = Librdkafka::new([("bootstrap.servers".into(), "127.0.0.1:9092".into())].into())?;
/// let admin = cluster.admin()?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Librdkafka {
    properties: Arc<Properties>,
    offset_clients: Arc<OffsetClients>,
}

impl Librdkafka {
    /// Takes any librdkafka properties, `bootstrap.servers` at least. A property under
    /// `consumer.`, `restore.consumer.`, `producer.` or `admin.` reaches those clients alone, and
    /// there beats the plain one.
    ///
    /// # Errors
    /// When a property is one of those that the application's own settings decide (such as
    /// `isolation.level`). Unknown properties and bad values are found when a client is opened.
    pub fn new(properties: BTreeMap<String, String>) -> Result<Self, KafkaError> {
        let properties = Arc::new(Properties::new(properties)?);
        let offset_clients = Arc::new(OffsetClients::new(Arc::clone(&properties)));
        Ok(Self { properties, offset_clients })
    }
}

impl Cluster for Librdkafka {
    type Consumer = LibrdkafkaConsumer;
    type Producer = LibrdkafkaProducer;
    type Admin = LibrdkafkaAdmin;

    fn consumer(&self, settings: &ConsumerSettings) -> Result<Self::Consumer, KafkaError> {
        let mut config = self.properties.consumer(settings)?;
        log_to_tracing(&mut config);
        LibrdkafkaConsumer::open(config, settings, Arc::clone(&self.offset_clients))
    }

    fn producer(&self, settings: &ProducerSettings) -> Result<Self::Producer, KafkaError> {
        let mut config = self.properties.producer(settings)?;
        log_to_tracing(&mut config);
        LibrdkafkaProducer::open(config, settings)
    }

    fn admin(&self) -> Result<Self::Admin, KafkaError> {
        let client = open_asking(self.properties.admin()?)?;
        Ok(LibrdkafkaAdmin::new(client, Arc::clone(&self.offset_clients)))
    }
}

/// Opens a client that only asks and administers.
pub(super) fn open_asking(mut config: Config) -> Result<Client, KafkaError> {
    log_to_tracing(&mut config);
    // A producer that produces nothing: it has no group and joins none.
    Client::new(rd_kafka_type_t::RD_KAFKA_PRODUCER, config)
}

/// Sends the log of the client that is opened with `config` where all logs go.
pub(super) fn log_to_tracing(config: &mut Config) {
    // SAFETY: the configuration is live and the callback has no state.
    unsafe { rd_kafka_conf_set_log_cb(config.raw(), Some(log::forward)) };
}
