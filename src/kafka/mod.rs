//! The border to Kafka: everything the runtime knows of a cluster, and the one vendor behind it.
//!
//! Read in this order: [`border`] (the traits), the values they speak of ([`partition`],
//! [`group`], [`topic`], [`settings`], [`statistics`], [`error`]), then [`librdkafka`] (the adapter, and
//! librdkafka's in-process cluster for the demo).

pub mod border;
pub mod error;
pub mod group;
pub mod librdkafka;
pub mod partition;
pub mod settings;
pub mod statistics;
pub mod topic;

pub use border::{
    Admin, Cluster, Consumer, Message, Outgoing, ProduceError, Producer, Received, Waker,
};
pub use error::{ErrorClass, KafkaError};
pub use group::{Event, GroupMember, GroupMetadata};
pub use librdkafka::{LEAST_MESSAGE_BYTES, Librdkafka, MockCluster, PRODUCER_QUEUE_KIB};
pub use partition::{
    Committed, EndOffset, Isolation, Offset, OffsetSpec, Slot, StartAt, TopicPartition,
};
pub use settings::{ConsumerRole, ConsumerSettings, ProducerSettings};
pub use statistics::ClientStatistics;
pub use topic::{Deliveries, NewTopic, PartitionInfo, TopicId, TopicInfo, TopicUuid};
