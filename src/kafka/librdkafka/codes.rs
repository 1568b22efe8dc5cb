//! What librdkafka's error codes and objects mean, in the words of the border.

use std::borrow::Cow;
use std::ffi::CStr;

use rdkafka_sys::bindings::*;
use rdkafka_sys::rd_kafka_resp_err_t as Code;

use super::super::error::{ErrorClass, KafkaError};
use super::native::text;

/// Reads a code through a pointer. A broker can send codes that the bindings have no variant for,
/// and reading those as the enum would be undefined.
///
/// # Safety
/// `code` points to an initialised `rd_kafka_resp_err_t`.
pub(super) unsafe fn read_code(code: *const Code) -> Code {
    // SAFETY: the enum is `repr(i32)`, so it may be read as one.
    let raw = unsafe { code.cast::<i32>().read() };
    Code::try_from(raw).unwrap_or(Code::RD_KAFKA_RESP_ERR_UNKNOWN)
}

/// Kafka's name of a code, such as `_TIMED_OUT`.
pub(super) fn name(code: Code) -> Cow<'static, str> {
    // SAFETY: librdkafka returns a static, null-terminated string for every code.
    unsafe { CStr::from_ptr(rd_kafka_err2name(code)) }.to_string_lossy()
}

/// An error from a bare code.
pub(super) fn error(code: Code, operation: &'static str) -> KafkaError {
    // SAFETY: as in `name`.
    let message = unsafe { CStr::from_ptr(rd_kafka_err2str(code)) }.to_string_lossy();
    KafkaError::new(class(code), name(code), operation, message)
}

/// An error from a code and the words that came with it.
pub(super) fn error_with(
    code: Code,
    operation: &'static str,
    message: impl Into<String>,
) -> KafkaError {
    KafkaError::new(class(code), name(code), operation, message)
}

/// `Ok` for "no error".
pub(super) fn check(code: Code, operation: &'static str) -> Result<(), KafkaError> {
    match code {
        Code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(error(code, operation)),
    }
}

/// Takes an error object over; null is `Ok`.
///
/// # Safety
/// `object` is null or an `rd_kafka_error_t` that the caller owns.
pub(super) unsafe fn check_object(
    object: *mut rd_kafka_error_t,
    operation: &'static str,
) -> Result<(), KafkaError> {
    if object.is_null() {
        return Ok(());
    }
    // SAFETY: it is not null and owned, so it may be read, then destroyed once.
    unsafe {
        let error = read_object(object, operation);
        rd_kafka_error_destroy(object);
        Err(error)
    }
}

/// As `check_object`, for the outcome of a transactional call, whose object also says what is left
/// of the transaction.
///
/// # Safety
/// As `check_object`.
pub(super) unsafe fn check_transactional(
    object: *mut rd_kafka_error_t,
    operation: &'static str,
) -> Result<(), KafkaError> {
    if object.is_null() {
        return Ok(());
    }
    // SAFETY: it is not null and owned, so it may be read, then destroyed once.
    unsafe {
        let error = read_object(object, operation);
        let class = if rd_kafka_error_is_fatal(object) != 0 {
            fatal_class(rd_kafka_error_code(object))
        } else if rd_kafka_error_txn_requires_abort(object) != 0 {
            ErrorClass::Abortable
        } else if rd_kafka_error_is_retriable(object) != 0 {
            match rd_kafka_error_code(object) {
                Code::RD_KAFKA_RESP_ERR__TIMED_OUT => ErrorClass::TimedOut,
                _ => ErrorClass::Retriable,
            }
        } else {
            match error.class() {
                class @ (ErrorClass::Fenced | ErrorClass::Authorization) => class,
                // The state of the handle is unknown: only a new one is safe.
                _ => ErrorClass::Fatal,
            }
        };
        rd_kafka_error_destroy(object);
        Err(error.with_class(class))
    }
}

/// Reads an error object without taking it over.
///
/// # Safety
/// `object` points to a live `rd_kafka_error_t`.
pub(super) unsafe fn read_object(
    object: *const rd_kafka_error_t,
    operation: &'static str,
) -> KafkaError {
    // SAFETY: the object is live, and its string lives as long as it does.
    unsafe {
        let code = rd_kafka_error_code(object);
        let error = error_with(code, operation, text(rd_kafka_error_string(object)));
        match error.class() {
            ErrorClass::Other if rd_kafka_error_is_retriable(object) != 0 => {
                error.with_class(ErrorClass::Retriable)
            }
            _ => error,
        }
    }
}

/// The class of an error that made a handle useless.
pub(super) fn fatal_class(code: Code) -> ErrorClass {
    match class(code) {
        class @ (ErrorClass::Fenced | ErrorClass::Authorization) => class,
        _ => ErrorClass::Fatal,
    }
}

/// What a code means on its own.
pub(super) fn class(code: Code) -> ErrorClass {
    use Code::*;
    match code {
        RD_KAFKA_RESP_ERR__FENCED
        | RD_KAFKA_RESP_ERR_PRODUCER_FENCED
        | RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH
        | RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID => ErrorClass::Fenced,

        RD_KAFKA_RESP_ERR__FATAL
        | RD_KAFKA_RESP_ERR_INVALID_TXN_STATE
        | RD_KAFKA_RESP_ERR__DESTROY => ErrorClass::Fatal,

        RD_KAFKA_RESP_ERR__TIMED_OUT
        | RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE
        | RD_KAFKA_RESP_ERR__MSG_TIMED_OUT
        | RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT => ErrorClass::TimedOut,

        RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID
        | RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION
        | RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS
        | RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST
        | RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED => ErrorClass::NotAMember,

        RD_KAFKA_RESP_ERR__AUTHENTICATION
        | RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED
        | RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED
        | RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED
        | RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED
        | RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED => ErrorClass::Authorization,

        // What a request for several partitions says when none has a leader, as after their creation.
        RD_KAFKA_RESP_ERR__NOENT => ErrorClass::Retriable,

        RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
        | RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
        | RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
        | RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID => ErrorClass::UnknownTopicOrPartition,

        RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS => ErrorClass::AlreadyExists,

        RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE
        | RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET
        | RD_KAFKA_RESP_ERR__NO_OFFSET
        | RD_KAFKA_RESP_ERR__LOG_TRUNCATION => ErrorClass::OffsetOutOfRange,

        RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE => ErrorClass::RecordTooLarge,

        RD_KAFKA_RESP_ERR__INVALID_ARG
        | RD_KAFKA_RESP_ERR_INVALID_CONFIG
        | RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR
        | RD_KAFKA_RESP_ERR_INVALID_PARTITIONS
        | RD_KAFKA_RESP_ERR_POLICY_VIOLATION => ErrorClass::Configuration,

        RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE
        | RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED
        | RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION => ErrorClass::Unsupported,

        RD_KAFKA_RESP_ERR__TRANSPORT
        | RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN
        | RD_KAFKA_RESP_ERR__RESOLVE
        | RD_KAFKA_RESP_ERR__WAIT_COORD
        | RD_KAFKA_RESP_ERR__RETRY
        | RD_KAFKA_RESP_ERR__QUEUE_FULL
        | RD_KAFKA_RESP_ERR__IN_PROGRESS
        // A broker left the cluster's metadata with requests on their way.
        | RD_KAFKA_RESP_ERR__DESTROY_BROKER
        | RD_KAFKA_RESP_ERR__NODE_UPDATE
        | RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE
        | RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE
        | RD_KAFKA_RESP_ERR_LISTENER_NOT_FOUND
        // A leader that was elected anew does not know its high watermark yet (KIP-207).
        | RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE
        | RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT
        | RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS
        | RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE
        | RD_KAFKA_RESP_ERR_NOT_COORDINATOR
        | RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS
        | RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE
        | RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION
        | RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS
        | RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND
        | RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION
        | RD_KAFKA_RESP_ERR_NOT_CONTROLLER
        | RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH
        | RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH
        | RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR
        | RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED => ErrorClass::Retriable,

        _ => ErrorClass::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_the_bindings_do_not_know_reads_as_unknown() {
        let raw: i32 = 32_000;
        // SAFETY: the pointer is valid for reading an i32, which is all that is read.
        let code = unsafe { read_code((&raw const raw).cast()) };
        assert_eq!(code, Code::RD_KAFKA_RESP_ERR_UNKNOWN);
    }

    #[test]
    fn fencing_is_told_apart_from_other_fatal_errors() {
        assert_eq!(fatal_class(Code::RD_KAFKA_RESP_ERR__FENCED), ErrorClass::Fenced);
        assert_eq!(fatal_class(Code::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE), ErrorClass::Fatal);
        assert_eq!(fatal_class(Code::RD_KAFKA_RESP_ERR_UNKNOWN), ErrorClass::Fatal);
        let error = error(Code::RD_KAFKA_RESP_ERR__TIMED_OUT, "commit transaction");
        assert_eq!(error.code(), "_TIMED_OUT");
        assert_eq!(error.class(), ErrorClass::TimedOut);
    }
}
