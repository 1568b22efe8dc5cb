//! Offsets of logs: the first, the end, or the first of a time.
//!
//! Asked for by `rd_kafka_offsets_for_times`, which sends what the admin call `rd_kafka_ListOffsets`
//! sends. That call is not safe (2.12.1): while it looks for a leader that the client does not know,
//! the calling thread and the client's own share an operation, and metadata that arrive just then
//! have both of them end it; the process's memory is corrupt afterwards. So a call sees what its
//! client's isolation level sees, and [`OffsetClients`] has a client for the other level.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka_sys::bindings::*;
use rdkafka_sys::rd_kafka_resp_err_t as Code;

use super::super::error::KafkaError;
use super::super::partition::{EndOffset, Isolation, Offset, OffsetSpec, TopicPartition};
use super::cluster::open_asking;
use super::codes::{self, read_code};
use super::config::Properties;
use super::native::{
    Client, PartitionList, c_string, element_error, leader_epoch_of, millis, partition_of,
};

const OPERATION: &str = "list offsets";
/// Between two looks for a leader that was just elected.
const ELECTION_PAUSE: Duration = Duration::from_millis(50);
/// How long an answer is waited for that is only to wake who asks.
const WAKE_TIMEOUT: Duration = Duration::from_secs(1);

/// Clients that do nothing else, one for each isolation level, for those whose own client has the
/// other one. They are opened when first asked for, and shared by all clients of a cluster.
#[derive(Debug)]
pub(super) struct OffsetClients {
    properties: Arc<Properties>,
    uncommitted: Mutex<Option<Arc<Client>>>,
    committed: Mutex<Option<Arc<Client>>>,
}

impl OffsetClients {
    pub(super) fn new(properties: Arc<Properties>) -> Self {
        Self { properties, uncommitted: Mutex::default(), committed: Mutex::default() }
    }

    /// Asks the partitions' leaders for an offset each, by `client` where its level, which is `own`,
    /// makes no difference.
    pub(super) fn list(
        &self,
        (client, own): (&Client, Isolation),
        partitions: &[TopicPartition],
        (spec, isolation): (OffsetSpec, Isolation),
        timeout: Duration,
    ) -> Result<Vec<EndOffset>, KafkaError> {
        if isolation == own || spec == OffsetSpec::Earliest {
            return list_offsets(client, partitions, spec, timeout);
        }
        let started = Instant::now();
        let client = self.client(isolation, timeout)?;
        list_offsets(&client, partitions, spec, timeout.saturating_sub(started.elapsed()))
    }

    fn client(&self, isolation: Isolation, timeout: Duration) -> Result<Arc<Client>, KafkaError> {
        let slot = match isolation {
            Isolation::ReadUncommitted => &self.uncommitted,
            Isolation::ReadCommitted => &self.committed,
        };
        let client = {
            // A panic leaves it as it was.
            let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(client) = &*slot {
                return Ok(Arc::clone(client));
            }
            let client = open_asking(self.properties.offsets(isolation)?)?;
            Arc::clone(slot.insert(Arc::new(client)))
        };
        // Until there is a connection, librdkafka looks for leaders at growing intervals only. Who
        // asks for offsets will say why there is none.
        let _answered = client.ask_metadata(timeout);
        Ok(client)
    }
}

/// Asks the partitions' leaders for an offset each, in the order asked.
///
/// Where that fails in passing, it asks again with what the brokers then say of leaders: librdkafka by
/// itself goes by what it heard last until it looks for them anyway. The last look is for the next
/// call.
pub(super) fn list_offsets(
    client: &Client,
    partitions: &[TopicPartition],
    spec: OffsetSpec,
    timeout: Duration,
) -> Result<Vec<EndOffset>, KafkaError> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let deadline = Instant::now() + timeout;
    let left = || deadline.saturating_duration_since(Instant::now());
    loop {
        // A broker that froze takes all the time that it is given.
        let error = match ask(client, partitions, spec, left() / 2) {
            Err(error) if error.class().is_retriable() => error,
            outcome => return outcome,
        };
        let is_over = left() <= ELECTION_PAUSE;
        if !is_over {
            // The broker that says who leads may not have heard of an election either.
            thread::sleep(ELECTION_PAUSE);
        }
        let topics = partitions.iter().map(|partition| &*partition.topic);
        look_for_leaders(client, topics, left().max(ELECTION_PAUSE));
        if is_over {
            return Err(error);
        }
    }
}

/// Wakes the threads of the client that fetch from the partitions' leaders.
///
/// Such a thread sleeps for up to a second while it has nothing to fetch, and a partition that may be
/// fetched again does not wake it; a request that it has to send does.
pub(super) fn wake_fetchers(
    client: &Client,
    partitions: &[TopicPartition],
) -> Result<(), KafkaError> {
    list_offsets(client, partitions, OffsetSpec::Latest, WAKE_TIMEOUT).map(drop)
}

fn ask(
    client: &Client,
    partitions: &[TopicPartition],
    spec: OffsetSpec,
    timeout: Duration,
) -> Result<Vec<EndOffset>, KafkaError> {
    let wanted = match spec {
        OffsetSpec::Earliest => rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST as i64,
        OffsetSpec::Latest => rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST as i64,
        OffsetSpec::AtTime(millis) => millis.max(0),
    };
    let mut list = PartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add(partition, wanted)?;
    }
    // SAFETY: the client and the list are live; librdkafka writes answers and errors into the list.
    let code = unsafe { rd_kafka_offsets_for_times(client.raw(), list.raw(), millis(timeout)) };
    for element in list.elements() {
        // SAFETY: the field is initialised.
        match unsafe { read_code(&raw const element.err) } {
            // Its leader was still looked for when the call ended: the call's own code says why.
            Code::RD_KAFKA_RESP_ERR__IN_PROGRESS => {}
            _ => element_error(element, OPERATION)?,
        }
    }
    // It does not say which of them failed.
    codes::check(code, OPERATION).map_err(|error| match partitions {
        [partition] => error.of_partition(partition),
        [first, rest @ ..] if rest.iter().all(|other| other.topic == first.topic) => {
            error.of_topic(&first.topic)
        }
        _ => error,
    })?;
    let answer = |element: &rd_kafka_topic_partition_t| EndOffset {
        partition: partition_of(element),
        offset: Offset::known(element.offset),
        leader_epoch: leader_epoch_of(element),
    };
    Ok(list.elements().iter().map(answer).collect())
}

/// Has the client hear of the leaders of topics, of as many as there is time for. It asks for these
/// alone: asked for all that it knows, librdkafka would have the brokers create those that were
/// deleted.
pub(super) fn look_for_leaders<'t>(
    client: &Client,
    topics: impl Iterator<Item = &'t str>,
    timeout: Duration,
) {
    let deadline = Instant::now() + timeout;
    let topics: BTreeSet<&str> = topics.collect();
    for topic in topics {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        // Every one of them is a name that librdkafka has taken before.
        let Ok(name) = c_string(topic, OPERATION) else { continue };
        client.ask_metadata_of(&name, left);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::super::border::{Admin, Cluster};
    use super::super::super::error::ErrorClass;
    use super::super::admin::LibrdkafkaAdmin;
    use super::super::{Librdkafka, MockCluster};
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn cluster_and_admin(mock: &MockCluster) -> (Librdkafka, LibrdkafkaAdmin) {
        let properties = [("bootstrap.servers".to_owned(), mock.bootstrap().to_owned())];
        let cluster = Librdkafka::new(properties.into()).unwrap();
        let admin = cluster.admin().unwrap();
        (cluster, admin)
    }

    /// `rd_kafka_ListOffsets`, called so, crashes a process within three seconds; and without the look
    /// for leaders before it, so does deletion, or it never returns.
    #[test]
    fn what_has_no_leader_can_be_asked_for_while_metadata_arrive() {
        let mock = MockCluster::start(3).unwrap();
        mock.create_topic("orders", 2).unwrap();
        mock.take_leader("orders", 1).unwrap();
        let (_cluster, admin) = cluster_and_admin(&mock);
        let partitions = [TopicPartition::new("orders", 0), TopicPartition::new("orders", 1)];
        // Too short to wait for an election.
        let limit = ELECTION_PAUSE;
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        admin.client().ask_metadata(LIMIT);
                    }
                });
            }
            let started = Instant::now();
            while started.elapsed() < Duration::from_secs(3) {
                let listed = list_offsets(admin.client(), &partitions, OffsetSpec::Latest, limit);
                let below =
                    [(partitions[0].clone(), Offset(0)), (partitions[1].clone(), Offset(0))];
                for error in [listed.map(drop), admin.delete_records(&below, limit)] {
                    let error = error.unwrap_err();
                    assert!(
                        ["LEADER_NOT_AVAILABLE", "_TIMED_OUT"].contains(&error.code()),
                        "{error}"
                    );
                }
            }
            is_over.store(true, Ordering::Relaxed);
        });
    }

    /// What a leader that was just elected answers, and what librdkafka says when a broker left.
    #[test]
    fn what_is_refused_in_passing_is_asked_for_again() {
        const LIST_OFFSETS: i16 = 2;
        let mock = MockCluster::start(1).unwrap();
        mock.create_topic("orders", 1).unwrap();
        let (_cluster, admin) = cluster_and_admin(&mock);
        let partitions = [TopicPartition::new("orders", 0)];
        let passing = [
            Code::RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE,
            Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            Code::RD_KAFKA_RESP_ERR__DESTROY_BROKER,
        ];
        mock.refuse(LIST_OFFSETS, &passing);
        let found = list_offsets(admin.client(), &partitions, OffsetSpec::Latest, LIMIT).unwrap();
        assert_eq!(found[0].offset, Some(Offset::ZERO));
        mock.refuse(LIST_OFFSETS, &[Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
        let error = list_offsets(admin.client(), &partitions, OffsetSpec::Latest, LIMIT);
        assert_eq!(error.unwrap_err().class(), ErrorClass::Authorization);
    }

    #[test]
    fn an_unknown_partition_is_named() {
        let mock = MockCluster::start(1).unwrap();
        mock.create_topic("orders", 1).unwrap();
        let (_cluster, admin) = cluster_and_admin(&mock);
        for isolation in [Isolation::ReadCommitted, Isolation::ReadUncommitted] {
            let partitions = [TopicPartition::new("orders", 0), TopicPartition::new("orders", 7)];
            let listed = admin.list_offsets(&partitions, OffsetSpec::Latest, isolation, LIMIT);
            let error = listed.unwrap_err();
            assert_eq!(error.class(), ErrorClass::UnknownTopicOrPartition, "{error}");
            assert_eq!((error.topic(), error.partition()), (Some("orders"), Some(7)), "{error}");
        }
    }
}
