//! What the answers to admin calls say, in the border's words.

use std::collections::HashMap;
use std::ffi::c_int;
use std::ptr::{self, NonNull};

use rdkafka_sys::bindings::*;
use rdkafka_sys::rd_kafka_resp_err_t as Code;

use super::super::error::KafkaError;
use super::super::group::GroupMember;
use super::super::topic::{PartitionInfo, TopicInfo, TopicUuid};
use super::codes::{self, read_object};
use super::native::{elements, partition_of, text};
use super::request::{Answer, items};

/// The answer to a metadata request.
pub(super) struct Metadata(NonNull<rd_kafka_metadata>);

impl Metadata {
    /// Takes over what librdkafka answered; `None` for null.
    ///
    /// # Safety
    /// The caller owns `raw`.
    pub(super) unsafe fn from_raw(raw: *const rd_kafka_metadata) -> Option<Self> {
        NonNull::new(raw.cast_mut()).map(Self)
    }

    pub(super) fn brokers(&self) -> &[rd_kafka_metadata_broker] {
        // SAFETY: live until the drop; `brokers` points to `broker_cnt` of them.
        unsafe {
            let raw = self.0.as_ref();
            slice(raw.brokers, raw.broker_cnt)
        }
    }

    pub(super) fn topics(&self) -> &[rd_kafka_metadata_topic] {
        // SAFETY: live until the drop; `topics` points to `topic_cnt` of them.
        unsafe {
            let raw = self.0.as_ref();
            slice(raw.topics, raw.topic_cnt)
        }
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        // SAFETY: owned, dropped once.
        unsafe { rd_kafka_metadata_destroy(self.0.as_ptr()) };
    }
}

/// A C array.
///
/// # Safety
/// `first` points to `count` values that live for `'a`, or `count` is 0.
unsafe fn slice<'a, T>(first: *const T, count: c_int) -> &'a [T] {
    let count = usize::try_from(count).unwrap_or(0);
    if count == 0 || first.is_null() {
        return &[];
    }
    // SAFETY: by the contract.
    unsafe { std::slice::from_raw_parts(first, count) }
}

pub(super) fn topic_info(name: &str, topic: &rd_kafka_metadata_topic) -> TopicInfo {
    // SAFETY: the metadata the topic is part of is live, and so are its arrays.
    let partitions = unsafe { slice(topic.partitions, topic.partition_cnt) };
    let mut partitions: Vec<_> = partitions
        .iter()
        .map(|partition| {
            // SAFETY: as above.
            let (replicas, in_sync) = unsafe {
                let replicas = slice(partition.replicas, partition.replica_cnt);
                (replicas, slice(partition.isrs, partition.isr_cnt))
            };
            let info = PartitionInfo {
                leader: (partition.leader >= 0).then_some(partition.leader),
                replicas: replicas.to_vec(),
                in_sync: in_sync.to_vec(),
            };
            (partition.id, info)
        })
        .collect();
    partitions.sort_by_key(|(id, _)| *id);
    let partitions = partitions.into_iter().map(|(_, info)| info).collect();
    TopicInfo { name: name.into(), id: None, partitions }
}

/// One described topic; `None` when there is none of that name.
///
/// # Safety
/// `topic` is part of a live answer.
pub(super) unsafe fn described_topic(
    topic: *const rd_kafka_TopicDescription_t,
    operation: &'static str,
) -> Result<Option<TopicInfo>, KafkaError> {
    // SAFETY: everything read is part of the live answer.
    unsafe {
        let name = text(rd_kafka_TopicDescription_name(topic));
        let error = rd_kafka_TopicDescription_error(topic);
        if !error.is_null() {
            match rd_kafka_error_code(error) {
                Code::RD_KAFKA_RESP_ERR_NO_ERROR => {}
                Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => return Ok(None),
                _ => return Err(read_object(error, operation).of_topic(&name)),
            }
        }
        let mut count = 0;
        let all = rd_kafka_TopicDescription_partitions(topic, &raw mut count);
        let mut partitions = Vec::with_capacity(count);
        for &partition in items(all, count) {
            let leader = rd_kafka_TopicPartitionInfo_leader(partition);
            let leader = (!leader.is_null()).then(|| rd_kafka_Node_id(leader));
            let replicas = rd_kafka_TopicPartitionInfo_replicas(partition, &raw mut count);
            let replicas = node_ids(items(replicas, count));
            let in_sync = rd_kafka_TopicPartitionInfo_isr(partition, &raw mut count);
            let in_sync = node_ids(items(in_sync, count));
            let info = PartitionInfo { leader: leader.filter(|id| *id >= 0), replicas, in_sync };
            partitions.push((rd_kafka_TopicPartitionInfo_partition(partition), info));
        }
        partitions.sort_by_key(|(id, _)| *id);
        let partitions = partitions.into_iter().map(|(_, info)| info).collect();
        let id = topic_uuid(rd_kafka_TopicDescription_topic_id(topic));
        Ok(Some(TopicInfo { name: name.into(), id, partitions }))
    }
}

/// # Safety
/// The nodes are part of a live answer.
unsafe fn node_ids(nodes: &[*const rd_kafka_Node_t]) -> Vec<i32> {
    // SAFETY: by the contract.
    nodes.iter().map(|&node| unsafe { rd_kafka_Node_id(node) }).collect()
}

/// The id as one number; `None` for null and for all zeros, which stand for no id.
///
/// # Safety
/// `uuid` is null or live.
unsafe fn topic_uuid(uuid: *const rd_kafka_Uuid_t) -> Option<TopicUuid> {
    if uuid.is_null() {
        return None;
    }
    // SAFETY: by the contract.
    let (high, low) = unsafe {
        let high = rd_kafka_Uuid_most_significant_bits(uuid).cast_unsigned();
        (high, rd_kafka_Uuid_least_significant_bits(uuid).cast_unsigned())
    };
    let id = (u128::from(high) << 64) | u128::from(low);
    (id != 0).then_some(TopicUuid(id))
}

/// Results by name, in the order of `names`.
///
/// # Safety
/// The results are part of a live answer.
pub(super) unsafe fn in_order(
    names: &[&str],
    results: &[*const rd_kafka_topic_result_t],
    operation: &'static str,
) -> Vec<Result<(), KafkaError>> {
    let mut found = HashMap::with_capacity(results.len());
    for &result in results {
        // SAFETY: by the contract.
        unsafe {
            let name = text(rd_kafka_topic_result_name(result));
            let outcome = match rd_kafka_topic_result_error(result) {
                Code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
                code => {
                    let reason = text(rd_kafka_topic_result_error_string(result));
                    Err(codes::error_with(code, operation, reason).of_topic(&name))
                }
            };
            found.insert(name, outcome);
        }
    }
    let missing =
        |name: &str| Err(codes::error(Code::RD_KAFKA_RESP_ERR__PARTIAL, operation).of_topic(name));
    names.iter().map(|name| found.remove(*name).unwrap_or_else(|| missing(name))).collect()
}

/// # Safety
/// `answer` is that of a group description.
pub(super) unsafe fn described_members(
    answer: &Answer,
    operation: &'static str,
) -> Result<Vec<GroupMember>, KafkaError> {
    let mut count = 0;
    let mut members = Vec::new();
    // SAFETY: everything read is part of the live answer.
    unsafe {
        let result = rd_kafka_event_DescribeConsumerGroups_result(answer.raw());
        let groups = rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
        for &group in items(groups, count) {
            let error = rd_kafka_ConsumerGroupDescription_error(group);
            if !error.is_null() {
                match rd_kafka_error_code(error) {
                    Code::RD_KAFKA_RESP_ERR_NO_ERROR => {}
                    Code::RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND => continue,
                    _ => return Err(read_object(error, operation)),
                }
            }
            for index in 0..rd_kafka_ConsumerGroupDescription_member_count(group) {
                let member = rd_kafka_ConsumerGroupDescription_member(group, index);
                let instance = rd_kafka_MemberDescription_group_instance_id(member);
                let assignment = rd_kafka_MemberDescription_assignment(member);
                let partitions = if assignment.is_null() {
                    ptr::null()
                } else {
                    rd_kafka_MemberAssignment_partitions(assignment)
                };
                members.push(GroupMember {
                    client_id: text(rd_kafka_MemberDescription_client_id(member)),
                    member_id: text(rd_kafka_MemberDescription_consumer_id(member)),
                    group_instance_id: (!instance.is_null()).then(|| text(instance)),
                    host: text(rd_kafka_MemberDescription_host(member)),
                    assignment: elements(partitions).iter().map(partition_of).collect(),
                });
            }
        }
    }
    Ok(members)
}

/// The partitions of the one group asked about.
///
/// # Safety
/// The groups are part of an answer that lives for `'a`.
pub(super) unsafe fn group_partitions<'a>(
    groups: &[*const rd_kafka_group_result_t],
    operation: &'static str,
) -> Result<&'a [rd_kafka_topic_partition_t], KafkaError> {
    let Some(&group) = groups.first() else { return Ok(&[]) };
    // SAFETY: by the contract.
    unsafe {
        let error = rd_kafka_group_result_error(group);
        if !error.is_null() && rd_kafka_error_code(error) != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(read_object(error, operation));
        }
        Ok(elements(rd_kafka_group_result_partitions(group)))
    }
}
