//! [`DemoCluster`]: the demo's broker, asked only for what it can answer.
//!
//! librdkafka's in-process broker has no controller, so an administrative request to it is not
//! refused but waits until it times out. Here such a request is refused at once.

use std::collections::BTreeMap;
use std::time::Duration;

use tidemill::kafka::{
    Admin, Cluster, Committed, ConsumerSettings, EndOffset, ErrorClass, GroupMember, Isolation,
    KafkaError, Librdkafka, NewTopic, Offset, OffsetSpec, ProducerSettings, TopicInfo,
    TopicPartition,
};

/// A cluster that reads, writes and describes its topics, and nothing else.
#[derive(Clone)]
pub struct DemoCluster(Librdkafka);

/// Describes topics and offsets.
pub struct DemoAdmin(<Librdkafka as Cluster>::Admin);

impl DemoCluster {
    /// The cluster that these properties of the client library lead to.
    ///
    /// # Errors
    /// When one of them is not the user's to set.
    pub fn new(properties: BTreeMap<String, String>) -> Result<Self, KafkaError> {
        Librdkafka::new(properties).map(Self)
    }
}

impl Cluster for DemoCluster {
    type Consumer = <Librdkafka as Cluster>::Consumer;
    type Producer = <Librdkafka as Cluster>::Producer;
    type Admin = DemoAdmin;

    fn consumer(&self, settings: &ConsumerSettings) -> Result<Self::Consumer, KafkaError> {
        self.0.consumer(settings)
    }

    fn producer(&self, settings: &ProducerSettings) -> Result<Self::Producer, KafkaError> {
        self.0.producer(settings)
    }

    fn admin(&self) -> Result<DemoAdmin, KafkaError> {
        self.0.admin().map(DemoAdmin)
    }
}

fn unsupported<T>(operation: &'static str) -> Result<T, KafkaError> {
    Err(KafkaError::new(
        ErrorClass::Unsupported,
        "UNSUPPORTED",
        operation,
        "the in-process broker does not answer this; use a Kafka cluster",
    ))
}

impl Admin for DemoAdmin {
    fn describe_topics(
        &self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Option<TopicInfo>>, KafkaError> {
        self.0.describe_topics(names, timeout)
    }

    fn list_topics(&self, timeout: Duration) -> Result<Vec<String>, KafkaError> {
        self.0.list_topics(timeout)
    }

    fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        spec: OffsetSpec,
        isolation: Isolation,
        timeout: Duration,
    ) -> Result<Vec<EndOffset>, KafkaError> {
        self.0.list_offsets(partitions, spec, isolation, timeout)
    }

    fn cluster_id(&self, timeout: Duration) -> Result<String, KafkaError> {
        self.0.cluster_id(timeout)
    }

    fn create_topics(
        &self,
        _: &[NewTopic],
        _: Duration,
    ) -> Result<Vec<Result<(), KafkaError>>, KafkaError> {
        unsupported("create topics")
    }

    fn delete_topics(
        &self,
        _: &[&str],
        _: Duration,
    ) -> Result<Vec<Result<(), KafkaError>>, KafkaError> {
        unsupported("delete topics")
    }

    fn topic_config(&self, _: &str, _: Duration) -> Result<BTreeMap<String, String>, KafkaError> {
        unsupported("describe topic settings")
    }

    fn delete_records(
        &self,
        _: &[(TopicPartition, Offset)],
        _: Duration,
    ) -> Result<(), KafkaError> {
        // What has been read may stay: the broker keeps little and is gone soon.
        Ok(())
    }

    fn group_members(&self, _: &str, _: Duration) -> Result<Vec<GroupMember>, KafkaError> {
        unsupported("describe groups")
    }

    fn group_offsets(&self, _: &str, _: Duration) -> Result<Vec<Committed>, KafkaError> {
        unsupported("list group offsets")
    }

    fn delete_group(&self, _: &str, _: Duration) -> Result<(), KafkaError> {
        unsupported("delete group")
    }

    fn alter_group_offsets(
        &self,
        _: &str,
        _: &[(TopicPartition, Offset)],
        _: Duration,
    ) -> Result<(), KafkaError> {
        unsupported("alter group offsets")
    }
}
