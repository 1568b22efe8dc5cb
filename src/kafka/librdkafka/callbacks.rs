//! A consumer's callbacks: they note what happened, for the poll during which they run.

use std::ffi::{c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rdkafka_sys::bindings::*;
use rdkafka_sys::rd_kafka_resp_err_t as Code;

use super::super::group::{Event, GroupMetadata};
use super::super::statistics::ClientStatistics;
use super::codes;
use super::native::{elements, partition_of, text};
use super::statistics;

/// What the callbacks write, read between calls into librdkafka.
#[derive(Debug, Default)]
pub(super) struct Callbacks {
    pub(super) events: Vec<Event>,
    pub(super) stage: Stage,
    /// Whether the group waits for the answer to a rebalance that an event told of.
    pub(super) unanswered: bool,
    /// What the client last said of itself.
    pub(super) statistics: Option<ClientStatistics>,
}

/// Who answers a rebalance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// The caller of the poll, by an event.
    #[default]
    Polling,
    /// The callback, by giving everything up, since the subscription was ended.
    Leaving,
    /// The same, since the consumer is being closed.
    Closing,
}

/// librdkafka's rebalance callback: notes the change, and leaves the answer to the caller of the
/// poll. While closing, there is no caller any more.
pub(super) unsafe extern "C" fn rebalanced(
    client: *mut rd_kafka_t,
    code: Code,
    partitions: *mut rd_kafka_topic_partition_list_t,
    opaque: *mut c_void,
) {
    // SAFETY: the opaque is the consumer's `Callbacks`, which nothing else borrows while a call
    // into librdkafka runs; the list lives during the callback.
    let (callbacks, changed) = unsafe { (&mut *opaque.cast::<Callbacks>(), elements(partitions)) };
    let changed: Vec<_> = changed.iter().map(partition_of).collect();
    // SAFETY: the client is live: it calls us.
    unsafe {
        match callbacks.stage {
            Stage::Polling => {}
            Stage::Leaving if code == Code::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                return take_nothing(client);
            }
            Stage::Leaving => return give_up_one_by_one(client),
            Stage::Closing => {
                rd_kafka_assign(client, ptr::null());
                return;
            }
        }
        callbacks.unanswered = true;
        callbacks.events.push(match code {
            Code::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                let group_id = Arc::from("");
                Event::Assigned { partitions: changed, identity: identity(client, &group_id) }
            }
            Code::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => {
                if rd_kafka_assignment_lost(client) != 0 {
                    Event::Lost(changed)
                } else {
                    Event::Revoked(changed)
                }
            }
            code => Event::Error { partition: None, error: codes::error(code, "rebalance") },
        });
    }
}

/// Answers an assignment that was under way when the subscription was ended: the end of the
/// subscription waits for that answer, and for no other.
///
/// # Safety
/// `client` is live.
unsafe fn take_nothing(client: *mut rd_kafka_t) {
    // SAFETY: the client is live; the list is owned here and freed once.
    unsafe {
        let nothing = rd_kafka_topic_partition_list_new(0);
        let outcome = rd_kafka_incremental_assign(client, nothing);
        rd_kafka_topic_partition_list_destroy(nothing);
        if let Err(error) = codes::check_object(outcome, "answer a rebalance") {
            tracing::warn!(%error, "a consumer leaves its group with a rebalance unanswered");
        }
    }
}

/// Unassigns all there is, co-partitions too, which the group knows nothing of. Before a consumer
/// is closing, the cooperative protocol allows no other way.
///
/// # Safety
/// `client` is live.
unsafe fn give_up_one_by_one(client: *mut rd_kafka_t) {
    let mut assigned = ptr::null_mut();
    // SAFETY: the client is live; the list is owned here and freed once.
    unsafe {
        if rd_kafka_assignment(client, &raw mut assigned) == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            let outcome = rd_kafka_incremental_unassign(client, assigned);
            rd_kafka_topic_partition_list_destroy(assigned);
            if let Err(error) = codes::check_object(outcome, "give partitions up") {
                tracing::warn!(%error, "a consumer leaves its group with partitions assigned");
            }
        }
    }
}

/// librdkafka's error callback, for errors that belong to no partition.
pub(super) unsafe extern "C" fn failed(
    client: *mut rd_kafka_t,
    code: c_int,
    reason: *const c_char,
    opaque: *mut c_void,
) {
    let code = Code::try_from(code).unwrap_or(Code::RD_KAFKA_RESP_ERR_UNKNOWN);
    // SAFETY: as in `rebalanced`; the reason lives during the callback.
    let (callbacks, mut error) = unsafe {
        let error = codes::error_with(code, "run consumer", text(reason));
        (&mut *opaque.cast::<Callbacks>(), error)
    };
    if code == Code::RD_KAFKA_RESP_ERR__FATAL {
        let mut buffer = [0 as c_char; 512];
        // SAFETY: the client is live and the buffer as long as said.
        let (code, reason) = unsafe {
            let code = rd_kafka_fatal_error(client, buffer.as_mut_ptr(), buffer.len());
            (code, text(buffer.as_ptr()))
        };
        error =
            codes::error_with(code, "run consumer", reason).with_class(codes::fatal_class(code));
    }
    callbacks.events.push(match code {
        Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN => {
            // Said again with every attempt to connect: once is enough until it was taken.
            if callbacks.events.iter().any(|event| matches!(event, Event::AllBrokersDown(_))) {
                return;
            }
            Event::AllBrokersDown(error)
        }
        _ => Event::Error { partition: None, error },
    });
}

/// librdkafka's statistics callback of a consumer.
pub(super) unsafe extern "C" fn told(
    _client: *mut rd_kafka_t,
    json: *mut c_char,
    length: usize,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: as in `rebalanced`; the text has this length and lives during the callback.
    let (callbacks, json) = unsafe {
        (&mut *opaque.cast::<Callbacks>(), std::slice::from_raw_parts(json.cast::<u8>(), length))
    };
    callbacks.statistics = statistics::read(json).or(callbacks.statistics);
    0
}

/// The member's identity now.
///
/// # Safety
/// `client` is live.
pub(super) unsafe fn identity(client: *mut rd_kafka_t, group_id: &Arc<str>) -> GroupMetadata {
    // SAFETY: the client is live; the metadata is owned here and its texts live as long as it.
    unsafe {
        let Some(raw) = NonNull::new(rd_kafka_consumer_group_metadata(client)) else {
            return GroupMetadata {
                group_id: Arc::clone(group_id),
                generation: -1,
                member_id: Arc::from(""),
                group_instance_id: None,
            };
        };
        let raw = raw.as_ptr();
        let instance = rd_kafka_consumer_group_metadata_group_instance_id(raw);
        let metadata = GroupMetadata {
            group_id: text(rd_kafka_consumer_group_metadata_group_id(raw)).into(),
            generation: rd_kafka_consumer_group_metadata_generation_id(raw),
            member_id: text(rd_kafka_consumer_group_metadata_member_id(raw)).into(),
            group_instance_id: (!instance.is_null()).then(|| text(instance).into()),
        };
        rd_kafka_consumer_group_metadata_destroy(raw);
        metadata
    }
}
