//! A fetched record, in place in librdkafka's buffers.

use std::ffi::{c_char, c_void};
use std::ptr::{self, NonNull};

use rdkafka_sys::bindings::*;
use tidemill_topology::record::Headers;
use tidemill_topology::time::Timestamp;

use super::super::border::Message;
use super::super::partition::Offset;
use super::native::text;

/// One record, owned: it keeps its part of a fetch alive until it is dropped.
///
/// Ending its consumer waits until all of its messages are gone, since their buffers hold on to
/// the connections they came over.
#[derive(Debug)]
#[repr(transparent)]
pub struct FetchedMessage(NonNull<rd_kafka_message_t>);

// SAFETY: a message is not tied to a thread; its buffers are counted atomically.
unsafe impl Send for FetchedMessage {}

impl FetchedMessage {
    /// Takes a message over.
    ///
    /// # Safety
    /// `raw` came from a consume call, is owned by the caller, and carries no error.
    pub(super) unsafe fn new(raw: NonNull<rd_kafka_message_t>) -> Self {
        Self(raw)
    }

    fn raw(&self) -> &rd_kafka_message_t {
        // SAFETY: live until the drop, and changed by nobody.
        unsafe { self.0.as_ref() }
    }

    /// Whether the record's bytes say at first sight that it has no headers, as most have none.
    ///
    /// librdkafka makes two objects to find that out. The bytes lie as they came, in the format of
    /// all batches that have a leader epoch (magic 2): key length, key, value length, value, number
    /// of headers, ...; lengths and numbers are zigzag varints, of which a zero is one zero byte.
    fn is_plainly_without_headers(&self) -> bool {
        if self.leader_epoch().is_none() {
            return false;
        }
        match (self.value(), self.key()) {
            // SAFETY: librdkafka copies neither value nor key, so the number of headers lies behind
            // the value, in the same buffer. Only empty ones do not point into it.
            (Some(value), _) if !value.is_empty() => unsafe {
                *value.as_ptr().add(value.len()) == 0
            },
            // SAFETY: as above. The length of a value that is null or empty, -1 or 0, comes first.
            (_, Some(key)) if !key.is_empty() => unsafe {
                let behind = key.as_ptr().add(key.len());
                *behind <= 1 && *behind.add(1) == 0
            },
            _ => false,
        }
    }
}

impl Drop for FetchedMessage {
    fn drop(&mut self) {
        // SAFETY: owned, dropped once.
        unsafe { rd_kafka_message_destroy(self.0.as_ptr()) };
    }
}

impl Message for FetchedMessage {
    fn partition(&self) -> i32 {
        self.raw().partition
    }

    fn offset(&self) -> Offset {
        Offset(self.raw().offset)
    }

    fn timestamp(&self) -> Timestamp {
        let mut kind = rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is live and `kind` may be written.
        Timestamp::new(unsafe { rd_kafka_message_timestamp(self.0.as_ptr(), &raw mut kind) })
    }

    fn key(&self) -> Option<&[u8]> {
        let raw = self.raw();
        // SAFETY: librdkafka keeps `key_len` bytes there while the message lives.
        unsafe { bytes(raw.key, raw.key_len) }
    }

    fn value(&self) -> Option<&[u8]> {
        let raw = self.raw();
        // SAFETY: librdkafka keeps `len` bytes there while the message lives.
        unsafe { bytes(raw.payload, raw.len) }
    }

    fn leader_epoch(&self) -> Option<i32> {
        // SAFETY: the message is live.
        let epoch = unsafe { rd_kafka_message_leader_epoch(self.0.as_ptr()) };
        (epoch >= 0).then_some(epoch)
    }

    fn read_headers(&self, headers: &mut Headers) {
        headers.clear();
        if self.is_plainly_without_headers() {
            return;
        }
        let mut list = ptr::null_mut();
        // SAFETY: the message is live; the list belongs to it, as do the names and values.
        unsafe {
            let code = rd_kafka_message_headers(self.0.as_ptr(), &raw mut list);
            if code != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return;
            }
            let (mut name, mut value, mut size) =
                (ptr::null::<c_char>(), ptr::null::<c_void>(), 0_usize);
            let mut index = 0;
            while rd_kafka_header_get_all(list, index, &raw mut name, &raw mut value, &raw mut size)
                == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                headers.push(text(name), bytes(value, size).map(<[u8]>::to_vec));
                index += 1;
            }
        }
    }
}

/// The bytes at a pointer; null is null.
///
/// # Safety
/// `pointer` is null or points to `len` bytes that live and stay unchanged for `'a`.
unsafe fn bytes<'a>(pointer: *const c_void, len: usize) -> Option<&'a [u8]> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: by the contract.
    Some(unsafe { std::slice::from_raw_parts(pointer.cast(), len) })
}
