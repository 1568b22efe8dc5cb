//! Admin calls, made synchronous: each waits on a queue of its own for the one event it brings.

use std::ffi::c_char;
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka_sys::bindings::*;

use super::super::error::{ErrorClass, KafkaError};
use super::codes;
use super::native::{Client, Queue, millis, text};

/// How much longer than the request's own timeout its event is waited for: librdkafka reports the
/// timeout itself, and better.
const GRACE: Duration = Duration::from_secs(2);
/// The least time that a request is given. When it is over, librdkafka frees what it deletes records
/// with, even if the thread that makes the call is still at it
/// (`rd_kafka_topic_partition_list_query_leaders_async`, 2.12.1); so it must not be over before that
/// thread is through.
const SHORTEST: Duration = Duration::from_secs(1);

/// The event a call brought; its results are borrowed from it.
#[derive(Debug)]
pub(super) struct Answer(NonNull<rd_kafka_event_t>);

impl Answer {
    /// For librdkafka's accessors.
    pub(super) fn raw(&self) -> *mut rd_kafka_event_t {
        self.0.as_ptr()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: owned, dropped once.
        unsafe { rd_kafka_event_destroy(self.raw()) };
    }
}

/// The options of a call.
#[derive(Debug)]
pub(super) struct Options(NonNull<rd_kafka_AdminOptions_t>);

impl Options {
    pub(super) fn new(
        client: &Client,
        call: rd_kafka_admin_op_t,
        timeout: Duration,
    ) -> Result<Self, KafkaError> {
        let operation = "prepare admin request";
        // SAFETY: the client is live.
        let raw = unsafe { rd_kafka_AdminOptions_new(client.raw(), call) };
        let Some(raw) = NonNull::new(raw) else {
            return Err(codes::error(
                rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE,
                operation,
            ));
        };
        let options = Self(raw);
        let mut reason = [0 as c_char; 256];
        // SAFETY: the options are live and the buffer as long as said.
        let code = unsafe {
            rd_kafka_AdminOptions_set_request_timeout(
                options.raw(),
                millis(timeout.max(SHORTEST)),
                reason.as_mut_ptr(),
                reason.len(),
            )
        };
        if code != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            // SAFETY: librdkafka wrote a null-terminated reason into the buffer.
            return Err(codes::error_with(code, operation, unsafe { text(reason.as_ptr()) }));
        }
        Ok(options)
    }

    /// For calls into librdkafka.
    pub(super) fn raw(&self) -> *mut rd_kafka_AdminOptions_t {
        self.0.as_ptr()
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: owned, dropped once.
        unsafe { rd_kafka_AdminOptions_destroy(self.raw()) };
    }
}

/// Makes one admin call and waits for its answer. `send` starts the call with the options and the
/// queue it is given.
pub(super) fn request(
    client: &Client,
    call: rd_kafka_admin_op_t,
    operation: &'static str,
    timeout: Duration,
    send: impl FnOnce(&Options, *mut rd_kafka_queue_t) -> Result<(), KafkaError>,
) -> Result<Answer, KafkaError> {
    let options = Options::new(client, call, timeout)?;
    let queue = Queue::new(client);
    send(&options, queue.raw())?;
    // SAFETY: the queue is live; the event is owned by the caller of the poll.
    let event = unsafe { rd_kafka_queue_poll(queue.raw(), millis(timeout.saturating_add(GRACE))) };
    let Some(event) = NonNull::new(event) else {
        return Err(KafkaError::new(
            ErrorClass::TimedOut,
            "_TIMED_OUT",
            operation,
            format!("no answer within {} ms", millis(timeout)),
        ));
    };
    let answer = Answer(event);
    // SAFETY: the event is live; its string lives as long.
    unsafe {
        let code = rd_kafka_event_error(answer.raw());
        if code != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            let reason = text(rd_kafka_event_error_string(answer.raw()));
            return Err(codes::error_with(code, operation, reason));
        }
    }
    Ok(answer)
}

/// The items of a result array.
///
/// # Safety
/// `items` points to `count` live pointers that stay so for `'a`, or `count` is 0.
pub(super) unsafe fn items<'a, T>(items: *mut *const T, count: usize) -> &'a [*const T] {
    if items.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: by the contract.
    unsafe { std::slice::from_raw_parts(items.cast_const(), count) }
}

/// Null-terminated copies of names, and the array of pointers that calls take.
#[derive(Debug)]
pub(super) struct Names {
    /// Keeps the texts alive.
    _texts: Vec<std::ffi::CString>,
    pointers: Vec<*const c_char>,
}

impl Names {
    pub(super) fn new(names: &[&str]) -> Result<Self, KafkaError> {
        let texts = names
            .iter()
            .map(|name| super::native::c_string(name, "prepare admin request"))
            .collect::<Result<Vec<_>, _>>()?;
        let pointers = texts.iter().map(|text| text.as_ptr()).collect();
        Ok(Self { _texts: texts, pointers })
    }

    pub(super) fn pointers(&mut self) -> *mut *const c_char {
        if self.pointers.is_empty() { ptr::null_mut() } else { self.pointers.as_mut_ptr() }
    }
}
