//! The admin client: topics, their settings and records, groups and their offsets.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{c_char, c_int};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka_sys::bindings::*;
use rdkafka_sys::rd_kafka_resp_err_t as Code;

use super::super::border::Admin;
use super::super::error::{ErrorClass, KafkaError};
use super::super::group::GroupMember;
use super::super::partition::{
    Committed, EndOffset, Isolation, Offset, OffsetSpec, TopicPartition,
};
use super::super::topic::{NewTopic, TopicInfo};
use super::codes::{self, check_object};
use super::described::{
    Metadata, described_members, described_topic, group_partitions, in_order, topic_info,
};
use super::log_offsets::{OffsetClients, list_offsets};
use super::native::{
    Client, PartitionList, c_string, committed_of, element_error, elements, millis, text,
};
use super::request::{self, Names, items, request};

/// How long to wait before a request is repeated.
const PAUSE: Duration = Duration::from_millis(100);

/// Repeats a request to a group's coordinator while it is refused in passing: a young cluster's
/// first answers are that it has no coordinator yet.
fn patiently<T>(
    timeout: Duration,
    mut attempt: impl FnMut(Duration) -> Result<T, KafkaError>,
) -> Result<T, KafkaError> {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match attempt(left.max(PAUSE)) {
            Err(error) if error.class() == ErrorClass::Retriable && left > PAUSE => {
                std::thread::sleep(PAUSE);
            }
            outcome => return outcome,
        }
    }
}

/// An admin client.
#[derive(Debug)]
pub struct LibrdkafkaAdmin {
    client: Client,
    offset_clients: Arc<OffsetClients>,
}

impl LibrdkafkaAdmin {
    pub(super) fn new(client: Client, offset_clients: Arc<OffsetClients>) -> Self {
        Self { client, offset_clients }
    }

    #[cfg(test)]
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Topics by the metadata request, which every cluster answers, but without their ids. Without
    /// a name, of all.
    fn metadata(&self, name: Option<&str>, timeout: Duration) -> Result<Metadata, KafkaError> {
        let operation = "fetch metadata";
        let name = name.map(|name| c_string(name, operation)).transpose()?;
        // SAFETY: the client and the name are live. A local topic handle is made for the call and
        // freed after it.
        unsafe {
            let topic = match &name {
                Some(name) => rd_kafka_topic_new(self.client.raw(), name.as_ptr(), ptr::null_mut()),
                None => ptr::null_mut(),
            };
            let mut metadata = ptr::null();
            let code = rd_kafka_metadata(
                self.client.raw(),
                c_int::from(topic.is_null()),
                topic,
                &raw mut metadata,
                millis(timeout),
            );
            if !topic.is_null() {
                rd_kafka_topic_destroy(topic);
            }
            codes::check(code, operation)?;
            Metadata::from_raw(metadata)
                .ok_or_else(|| codes::error(Code::RD_KAFKA_RESP_ERR__FAIL, operation))
        }
    }

    /// Whether the controller that the metadata names is one of its brokers. Where it is not (the
    /// in-process cluster), admin requests wait for it in vain.
    fn has_controller(&self, topic: &str, timeout: Duration) -> Result<bool, KafkaError> {
        let metadata = self.metadata(Some(topic), timeout)?;
        // SAFETY: the client is live; the id came with the metadata.
        let controller = unsafe { rd_kafka_controllerid(self.client.raw(), 0) };
        Ok(metadata.brokers().iter().any(|broker| broker.id == controller))
    }

    fn describe_by_metadata(
        &self,
        name: &str,
        timeout: Duration,
    ) -> Result<Option<TopicInfo>, KafkaError> {
        let metadata = self.metadata(Some(name), timeout)?;
        let Some(topic) = metadata.topics().first() else { return Ok(None) };
        // SAFETY: the metadata is live; its error field is initialised.
        match unsafe { codes::read_code(&raw const topic.err) } {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(Some(topic_info(name, topic))),
            Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => Ok(None),
            code => Err(codes::error(code, "describe topic").of_topic(name)),
        }
    }
}

impl Admin for LibrdkafkaAdmin {
    fn describe_topics(
        &self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Option<TopicInfo>>, KafkaError> {
        let operation = "describe topics";
        if names.is_empty() {
            return Ok(Vec::new());
        }
        if !self.has_controller(names[0], timeout)? {
            let describe = |name: &&str| self.describe_by_metadata(name, timeout);
            return names.iter().map(describe).collect();
        }
        let mut pointers = Names::new(names)?;
        let call = rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let answer = request(&self.client, call, operation, timeout, |options, queue| {
            // SAFETY: everything passed is live; the collection is copied, then freed here.
            unsafe {
                let topics =
                    rd_kafka_TopicCollection_of_topic_names(pointers.pointers(), names.len());
                rd_kafka_DescribeTopics(self.client.raw(), topics, options.raw(), queue);
                rd_kafka_TopicCollection_destroy(topics);
            }
            Ok(())
        })?;
        let mut count = 0;
        // SAFETY: the results live as long as the answer.
        let described = unsafe {
            let result = rd_kafka_event_DescribeTopics_result(answer.raw());
            items(rd_kafka_DescribeTopics_result_topics(result, &raw mut count), count)
        };
        let mut found = HashMap::with_capacity(described.len());
        for &topic in described {
            // SAFETY: as above.
            if let Some(info) = unsafe { described_topic(topic, operation) }? {
                found.insert(info.name.clone(), info);
            }
        }
        Ok(names.iter().map(|&name| found.get(name).cloned()).collect())
    }

    fn list_topics(&self, timeout: Duration) -> Result<Vec<String>, KafkaError> {
        let metadata = self.metadata(None, timeout)?;
        // SAFETY: the metadata is live, and so are the names in it.
        Ok(metadata.topics().iter().map(|topic| unsafe { text(topic.topic) }).collect())
    }

    fn create_topics(
        &self,
        topics: &[NewTopic],
        timeout: Duration,
    ) -> Result<Vec<Result<(), KafkaError>>, KafkaError> {
        let operation = "create topics";
        let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let new = topics.iter().map(native_topic).collect::<Result<Vec<_>, _>>()?;
        let mut pointers: Vec<_> = new.iter().map(|topic| topic.0.as_ptr()).collect();
        let call = rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATETOPICS;
        let answer = request(&self.client, call, operation, timeout, |options, queue| {
            // SAFETY: everything passed is live and copied. Waiting for the topics to appear on
            // all brokers is bounded by the request's own timeout.
            unsafe {
                wait_for_brokers(options, timeout)?;
                let (first, count) = (pointers.as_mut_ptr(), pointers.len());
                rd_kafka_CreateTopics(self.client.raw(), first, count, options.raw(), queue);
            }
            Ok(())
        })?;
        let mut count = 0;
        // SAFETY: the results live as long as the answer.
        unsafe {
            let result = rd_kafka_event_CreateTopics_result(answer.raw());
            let results = items(rd_kafka_CreateTopics_result_topics(result, &raw mut count), count);
            Ok(in_order(&names, results, operation))
        }
    }

    fn delete_topics(
        &self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Result<(), KafkaError>>, KafkaError> {
        let operation = "delete topics";
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut pointers = Vec::with_capacity(names.len());
        for name in names {
            let name = c_string(name, operation)?;
            // SAFETY: the name is live and copied.
            pointers.push(unsafe { rd_kafka_DeleteTopic_new(name.as_ptr()) });
        }
        let call = rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DELETETOPICS;
        let answer = request(&self.client, call, operation, timeout, |options, queue| {
            // SAFETY: everything passed is live and copied.
            unsafe {
                wait_for_brokers(options, timeout)?;
                let (first, count) = (pointers.as_mut_ptr(), pointers.len());
                rd_kafka_DeleteTopics(self.client.raw(), first, count, options.raw(), queue);
            }
            Ok(())
        });
        // SAFETY: each is owned here and freed once.
        unsafe { rd_kafka_DeleteTopic_destroy_array(pointers.as_mut_ptr(), pointers.len()) };
        let answer = answer?;
        let mut count = 0;
        // SAFETY: the results live as long as the answer.
        unsafe {
            let result = rd_kafka_event_DeleteTopics_result(answer.raw());
            let results = items(rd_kafka_DeleteTopics_result_topics(result, &raw mut count), count);
            Ok(in_order(names, results, operation))
        }
    }

    fn topic_config(
        &self,
        name: &str,
        timeout: Duration,
    ) -> Result<BTreeMap<String, String>, KafkaError> {
        let operation = "describe topic settings";
        let topic = c_string(name, operation)?;
        let kind = rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
        // SAFETY: the name is live and copied.
        let mut resource = unsafe { rd_kafka_ConfigResource_new(kind, topic.as_ptr()) };
        let call = rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS;
        let answer = request(&self.client, call, operation, timeout, |options, queue| {
            // SAFETY: everything passed is live and copied.
            unsafe {
                let client = self.client.raw();
                rd_kafka_DescribeConfigs(client, &raw mut resource, 1, options.raw(), queue);
            }
            Ok(())
        });
        // SAFETY: owned here and freed once.
        unsafe { rd_kafka_ConfigResource_destroy(resource) };
        let answer = answer?;
        let mut count = 0;
        let mut settings = BTreeMap::new();
        // SAFETY: the results, and the texts in them, live as long as the answer.
        unsafe {
            let result = rd_kafka_event_DescribeConfigs_result(answer.raw());
            let all = rd_kafka_DescribeConfigs_result_resources(result, &raw mut count);
            for &resource in items(all, count) {
                let code = rd_kafka_ConfigResource_error(resource);
                codes::check(code, operation).map_err(|error| error.of_topic(name))?;
                let entries = rd_kafka_ConfigResource_configs(resource, &raw mut count);
                for &entry in items(entries, count) {
                    let value = text(rd_kafka_ConfigEntry_value(entry));
                    settings.insert(text(rd_kafka_ConfigEntry_name(entry)), value);
                }
            }
        }
        Ok(settings)
    }

    fn delete_records(
        &self,
        below: &[(TopicPartition, Offset)],
        timeout: Duration,
    ) -> Result<(), KafkaError> {
        let operation = "delete records";
        if below.is_empty() {
            return Ok(());
        }
        // Deletion looks for leaders as `log_offsets` says that it is not safe to. So that it has
        // none to look for, they are made known just before; who has no leader ends here.
        let partitions: Vec<_> = below.iter().map(|(partition, _)| partition.clone()).collect();
        list_offsets(&self.client, &partitions, OffsetSpec::Earliest, timeout)?;
        let mut list = PartitionList::with_capacity(below.len());
        for (partition, offset) in below {
            list.add(partition, offset.0)?;
        }
        // SAFETY: the list is live and copied.
        let mut wanted = unsafe { rd_kafka_DeleteRecords_new(list.raw()) };
        let call = rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DELETERECORDS;
        let answer = request(&self.client, call, operation, timeout, |options, queue| {
            // SAFETY: everything passed is live and copied.
            unsafe {
                let client = self.client.raw();
                rd_kafka_DeleteRecords(client, &raw mut wanted, 1, options.raw(), queue);
            }
            Ok(())
        });
        // SAFETY: owned here and freed once.
        unsafe { rd_kafka_DeleteRecords_destroy(wanted) };
        let answer = answer?;
        // SAFETY: the results live as long as the answer.
        let results = unsafe {
            let result = rd_kafka_event_DeleteRecords_result(answer.raw());
            elements(rd_kafka_DeleteRecords_result_offsets(result))
        };
        results.iter().try_for_each(|element| element_error(element, operation))
    }

    fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        spec: OffsetSpec,
        isolation: Isolation,
        timeout: Duration,
    ) -> Result<Vec<EndOffset>, KafkaError> {
        let own = (&self.client, Isolation::ReadCommitted);
        self.offset_clients.list(own, partitions, (spec, isolation), timeout)
    }

    fn group_members(
        &self,
        group: &str,
        timeout: Duration,
    ) -> Result<Vec<GroupMember>, KafkaError> {
        patiently(timeout, |timeout| {
            let operation = "describe group";
            let mut pointers = Names::new(&[group])?;
            let call = rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
            let answer = request(&self.client, call, operation, timeout, |options, queue| {
                // SAFETY: everything passed is live and copied.
                unsafe {
                    let client = self.client.raw();
                    let groups = pointers.pointers();
                    rd_kafka_DescribeConsumerGroups(client, groups, 1, options.raw(), queue);
                }
                Ok(())
            })?;
            // SAFETY: the results live as long as the answer.
            unsafe { described_members(&answer, operation) }
        })
    }

    fn group_offsets(&self, group: &str, timeout: Duration) -> Result<Vec<Committed>, KafkaError> {
        patiently(timeout, |timeout| {
            let operation = "list group offsets";
            let name = c_string(group, operation)?;
            // SAFETY: the name is live and copied; null asks for all partitions.
            let mut wanted =
                unsafe { rd_kafka_ListConsumerGroupOffsets_new(name.as_ptr(), ptr::null()) };
            let call = rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS;
            let answer = request(&self.client, call, operation, timeout, |options, queue| {
                // SAFETY: everything passed is live and copied.
                unsafe {
                    let client = self.client.raw();
                    let refused =
                        rd_kafka_AdminOptions_set_require_stable_offsets(options.raw(), 1);
                    check_object(refused, operation)?;
                    rd_kafka_ListConsumerGroupOffsets(
                        client,
                        &raw mut wanted,
                        1,
                        options.raw(),
                        queue,
                    );
                }
                Ok(())
            });
            // SAFETY: owned here and freed once.
            unsafe { rd_kafka_ListConsumerGroupOffsets_destroy(wanted) };
            let answer = answer?;
            let mut count = 0;
            // SAFETY: the results live as long as the answer.
            let found = unsafe {
                let result = rd_kafka_event_ListConsumerGroupOffsets_result(answer.raw());
                let groups =
                    rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count);
                group_partitions(items(groups, count), operation)?
            };
            Ok(found.iter().filter_map(committed_of).collect())
        })
    }

    fn alter_group_offsets(
        &self,
        group: &str,
        offsets: &[(TopicPartition, Offset)],
        timeout: Duration,
    ) -> Result<(), KafkaError> {
        patiently(timeout, |timeout| {
            let operation = "set group offsets";
            if offsets.is_empty() {
                return Ok(());
            }
            let name = c_string(group, operation)?;
            let mut list = PartitionList::with_capacity(offsets.len());
            for (partition, offset) in offsets {
                list.add(partition, offset.0)?;
            }
            // SAFETY: the name and the list are live and copied.
            let mut wanted =
                unsafe { rd_kafka_AlterConsumerGroupOffsets_new(name.as_ptr(), list.raw()) };
            let call = rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS;
            let answer = request(&self.client, call, operation, timeout, |options, queue| {
                // SAFETY: everything passed is live and copied.
                unsafe {
                    let client = self.client.raw();
                    rd_kafka_AlterConsumerGroupOffsets(
                        client,
                        &raw mut wanted,
                        1,
                        options.raw(),
                        queue,
                    );
                }
                Ok(())
            });
            // SAFETY: owned here and freed once.
            unsafe { rd_kafka_AlterConsumerGroupOffsets_destroy(wanted) };
            let answer = answer?;
            let mut count = 0;
            // SAFETY: the results live as long as the answer.
            let altered = unsafe {
                let result = rd_kafka_event_AlterConsumerGroupOffsets_result(answer.raw());
                let groups =
                    rd_kafka_AlterConsumerGroupOffsets_result_groups(result, &raw mut count);
                group_partitions(items(groups, count), operation)?
            };
            altered.iter().try_for_each(|element| element_error(element, operation))
        })
    }

    fn delete_group(&self, group: &str, timeout: Duration) -> Result<(), KafkaError> {
        patiently(timeout, |timeout| {
            let operation = "delete group";
            let name = c_string(group, operation)?;
            // SAFETY: the name is live and copied.
            let mut wanted = unsafe { rd_kafka_DeleteGroup_new(name.as_ptr()) };
            let call = rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DELETEGROUPS;
            let answer = request(&self.client, call, operation, timeout, |options, queue| {
                // SAFETY: everything passed is live and copied.
                unsafe {
                    let client = self.client.raw();
                    rd_kafka_DeleteGroups(client, &raw mut wanted, 1, options.raw(), queue);
                }
                Ok(())
            });
            // SAFETY: owned here and freed once.
            unsafe { rd_kafka_DeleteGroup_destroy(wanted) };
            let answer = answer?;
            let mut count = 0;
            // SAFETY: the results live as long as the answer.
            unsafe {
                let result = rd_kafka_event_DeleteGroups_result(answer.raw());
                let groups = rd_kafka_DeleteGroups_result_groups(result, &raw mut count);
                group_partitions(items(groups, count), operation).map(drop)
            }
        })
    }

    fn cluster_id(&self, timeout: Duration) -> Result<String, KafkaError> {
        // SAFETY: the client is live; the text is owned here and freed with librdkafka's allocator.
        unsafe {
            let id = rd_kafka_clusterid(self.client.raw(), millis(timeout));
            if id.is_null() {
                let code = Code::RD_KAFKA_RESP_ERR__TIMED_OUT;
                return Err(codes::error(code, "fetch cluster id"));
            }
            let name = text(id);
            rd_kafka_mem_free(self.client.raw(), id.cast());
            Ok(name)
        }
    }
}

/// Makes creation and deletion wait until the brokers have done it.
fn wait_for_brokers(options: &request::Options, timeout: Duration) -> Result<(), KafkaError> {
    let mut reason = [0 as c_char; 256];
    // SAFETY: the options are live and the buffer as long as said.
    unsafe {
        let code = rd_kafka_AdminOptions_set_operation_timeout(
            options.raw(),
            millis(timeout),
            reason.as_mut_ptr(),
            reason.len(),
        );
        match code {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            code => Err(codes::error_with(code, "prepare admin request", text(reason.as_ptr()))),
        }
    }
}

/// A topic to create, as librdkafka takes it.
struct NativeTopic(NonNull<rd_kafka_NewTopic_t>);

impl Drop for NativeTopic {
    fn drop(&mut self) {
        // SAFETY: owned, dropped once.
        unsafe { rd_kafka_NewTopic_destroy(self.0.as_ptr()) };
    }
}

fn native_topic(topic: &NewTopic) -> Result<NativeTopic, KafkaError> {
    let operation = "create topics";
    let name = c_string(&topic.name, operation)?;
    let mut reason = [0 as c_char; 256];
    // SAFETY: all texts are live and copied; the buffer is as long as said.
    unsafe {
        let raw = rd_kafka_NewTopic_new(
            name.as_ptr(),
            topic.partitions,
            topic.replication.unwrap_or(-1),
            reason.as_mut_ptr(),
            reason.len(),
        );
        let Some(raw) = NonNull::new(raw) else {
            let code = Code::RD_KAFKA_RESP_ERR__INVALID_ARG;
            let error = codes::error_with(code, operation, text(reason.as_ptr()));
            return Err(error.of_topic(&topic.name));
        };
        let native = NativeTopic(raw);
        for (key, value) in &topic.config {
            let (key, value) = (c_string(key, operation)?, c_string(value, operation)?);
            let code = rd_kafka_NewTopic_set_config(raw.as_ptr(), key.as_ptr(), value.as_ptr());
            codes::check(code, operation)?;
        }
        Ok(native)
    }
}
