//! Owners of librdkafka's handles: each frees its handle once, when it is dropped.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka_sys::bindings::*;

use super::super::error::{ErrorClass, KafkaError};
use super::super::group::GroupMetadata;
use super::super::partition::{Committed, Offset, TopicPartition};
use super::codes::{self, read_code};

/// The partition number that stands for none: the partitioner is to choose one.
pub(super) const UNASSIGNED: i32 = -1;

/// A text librdkafka points to; empty for null.
///
/// # Safety
/// `pointer` is null or a null-terminated string that lives for the duration of the call.
pub(super) unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: not null, and null-terminated by the contract.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// A text for librdkafka.
pub(super) fn c_string(value: &str, operation: &'static str) -> Result<CString, KafkaError> {
    CString::new(value).map_err(|_| {
        KafkaError::new(
            ErrorClass::Configuration,
            "_INVALID_ARG",
            operation,
            "a name or value contains a zero byte",
        )
    })
}

/// A timeout as librdkafka takes it: whole milliseconds, rounded up, so that a short wait stays one.
pub(super) fn millis(timeout: Duration) -> c_int {
    c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX)
}

/// A client instance: its threads, connections and queues.
///
/// Dropping it ends it at once; a consumer that should leave its group is closed before.
#[derive(Debug)]
pub(super) struct Client(NonNull<rd_kafka_t>);

// SAFETY: an `rd_kafka_t` may be used from any thread, and from several at a time.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl Client {
    /// Creates a client and takes `config` over.
    pub(super) fn new(kind: rd_kafka_type_t, config: Config) -> Result<Self, KafkaError> {
        let mut reason = [0 as c_char; 512];
        // SAFETY: `config` is live; the client takes it over, but only when it is created.
        let raw =
            unsafe { rd_kafka_new(kind, config.0.as_ptr(), reason.as_mut_ptr(), reason.len()) };
        match NonNull::new(raw) {
            Some(raw) => {
                std::mem::forget(config);
                Ok(Self(raw))
            }
            None => Err(KafkaError::new(
                ErrorClass::Configuration,
                "_INVALID_ARG",
                "open client",
                // SAFETY: librdkafka wrote a null-terminated reason into the buffer.
                unsafe { text(reason.as_ptr()) },
            )),
        }
    }

    /// For calls into librdkafka.
    pub(super) fn raw(&self) -> *mut rd_kafka_t {
        self.0.as_ptr()
    }

    /// Asks for the brokers, and for the leaders of the topics that it knows. Says whether it was
    /// answered.
    pub(super) fn ask_metadata(&self, timeout: Duration) -> bool {
        // SAFETY: null stands for the topics that it knows.
        unsafe { self.metadata(std::ptr::null_mut(), timeout) }
    }

    /// Asks for the leaders of a topic.
    pub(super) fn ask_metadata_of(&self, topic: &CStr, timeout: Duration) {
        // SAFETY: the client and the name are live; the handle is made for the call and freed after
        // it.
        unsafe {
            let topic = rd_kafka_topic_new(self.raw(), topic.as_ptr(), std::ptr::null_mut());
            if !topic.is_null() {
                self.metadata(topic, timeout);
                rd_kafka_topic_destroy(topic);
            }
        }
    }

    /// # Safety
    /// `topic` is null or a live topic of this client.
    unsafe fn metadata(&self, topic: *mut rd_kafka_topic_t, timeout: Duration) -> bool {
        let mut metadata = std::ptr::null();
        // SAFETY: the client is live; what was answered is freed once.
        unsafe {
            let code = rd_kafka_metadata(self.raw(), 0, topic, &raw mut metadata, millis(timeout));
            if code != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return false;
            }
            rd_kafka_metadata_destroy(metadata);
        }
        true
    }

    /// How many records were produced and not yet reported or given up.
    pub(super) fn in_flight(&self) -> usize {
        // SAFETY: the client is live.
        usize::try_from(unsafe { rd_kafka_outq_len(self.raw()) }).unwrap_or(0)
    }

    /// The error that made it useless, if one did.
    pub(super) fn fatal_error(&self) -> Option<KafkaError> {
        let mut reason = [0 as c_char; 512];
        // SAFETY: the client is live and the buffer as long as said.
        unsafe {
            let code = rd_kafka_fatal_error(self.raw(), reason.as_mut_ptr(), reason.len());
            (code != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| {
                codes::error_with(code, "run client", text(reason.as_ptr()))
                    .with_class(codes::fatal_class(code))
            })
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: this is the only owner, and every handle made from it was dropped before.
        unsafe {
            rd_kafka_destroy_flags(self.raw(), RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE as c_int);
        };
    }
}

/// A client's configuration, before the client exists.
#[derive(Debug)]
pub(super) struct Config(NonNull<rd_kafka_conf_t>);

impl Config {
    pub(super) fn new() -> Self {
        // SAFETY: no precondition.
        let raw = unsafe { rd_kafka_conf_new() };
        // librdkafka aborts the process when it cannot allocate, so this is never null.
        Self(NonNull::new(raw).unwrap_or_else(|| unreachable!("rd_kafka_conf_new gave null")))
    }

    /// For setting callbacks.
    pub(super) fn raw(&self) -> *mut rd_kafka_conf_t {
        self.0.as_ptr()
    }

    /// Sets one property. The error names the property and never its value, which may be secret.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), KafkaError> {
        let operation = "set property";
        let (key, text_value) = (c_string(name, operation)?, c_string(value, operation)?);
        let mut reason = [0 as c_char; 512];
        // SAFETY: all pointers are live and the buffer is as long as said.
        let outcome = unsafe {
            rd_kafka_conf_set(
                self.raw(),
                key.as_ptr(),
                text_value.as_ptr(),
                reason.as_mut_ptr(),
                reason.len(),
            )
        };
        let message = match outcome {
            rd_kafka_conf_res_t::RD_KAFKA_CONF_OK => return Ok(()),
            rd_kafka_conf_res_t::RD_KAFKA_CONF_UNKNOWN => {
                format!("librdkafka knows no property {name:?}")
            }
            rd_kafka_conf_res_t::RD_KAFKA_CONF_INVALID => {
                format!("librdkafka refuses the value of {name:?} (not shown here)")
            }
        };
        Err(KafkaError::new(ErrorClass::Configuration, "_INVALID_ARG", operation, message))
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        // SAFETY: still owned: `Client::new` forgets the configurations that it gave away.
        unsafe { rd_kafka_conf_destroy(self.raw()) };
    }
}

/// State that a client's callbacks write to. It must outlive the client: declare the field that
/// holds it after the client's.
#[derive(Debug)]
pub(super) struct Shared<T>(NonNull<T>);

// SAFETY: it owns its value as a box does.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: by itself it gives a pointer away, nothing more.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(super) fn new(value: T) -> Self {
        Self(NonNull::from(Box::leak(Box::new(value))))
    }

    /// What the callbacks are given, and cast back to `*mut T`.
    pub(super) fn raw(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: it came from a box, and is dropped once.
        drop(unsafe { Box::from_raw(self.raw()) });
    }
}

/// A queue of messages and events.
#[derive(Debug)]
pub(super) struct Queue(NonNull<rd_kafka_queue_t>);

// SAFETY: an `rd_kafka_queue_t` locks itself and may be used from any thread.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Queue {
    /// An empty queue of the application's own.
    pub(super) fn new(client: &Client) -> Self {
        // SAFETY: the client is live. librdkafka aborts when it cannot allocate.
        let raw = unsafe { rd_kafka_queue_new(client.raw()) };
        Self(NonNull::new(raw).unwrap_or_else(|| unreachable!("rd_kafka_queue_new gave null")))
    }

    /// The consumer's main queue, which brings events.
    pub(super) fn of_consumer(client: &Client) -> Option<Self> {
        // SAFETY: the client is live.
        NonNull::new(unsafe { rd_kafka_queue_get_consumer(client.raw()) }).map(Self)
    }

    /// The queue fetched records of one partition go into.
    pub(super) fn of_partition(client: &Client, topic: &CStr, partition: i32) -> Option<Self> {
        // SAFETY: the client and the name are live.
        let raw = unsafe { rd_kafka_queue_get_partition(client.raw(), topic.as_ptr(), partition) };
        NonNull::new(raw).map(Self)
    }

    /// Sends everything that arrives here on to `target`; `None` keeps it here.
    pub(super) fn forward(&self, target: Option<&Queue>) {
        let target = target.map_or(std::ptr::null_mut(), Queue::raw);
        // SAFETY: both queues are live.
        unsafe { rd_kafka_queue_forward(self.raw(), target) };
    }

    /// For calls into librdkafka.
    pub(super) fn raw(&self) -> *mut rd_kafka_queue_t {
        self.0.as_ptr()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: owned, dropped once.
        unsafe { rd_kafka_queue_destroy(self.raw()) };
    }
}

/// A list of partitions with offsets, as librdkafka's calls take and give it.
#[derive(Debug)]
pub(super) struct PartitionList(NonNull<rd_kafka_topic_partition_list_t>);

// SAFETY: it owns what it points to, and nothing else does.
unsafe impl Send for PartitionList {}

impl PartitionList {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        let capacity = c_int::try_from(capacity).unwrap_or(c_int::MAX);
        // SAFETY: no precondition. librdkafka aborts when it cannot allocate.
        let raw = unsafe { rd_kafka_topic_partition_list_new(capacity) };
        Self(NonNull::new(raw).unwrap_or_else(|| unreachable!("a partition list cannot be null")))
    }

    /// A list without offsets.
    pub(super) fn of(partitions: &[TopicPartition]) -> Result<Self, KafkaError> {
        let mut list = Self::with_capacity(partitions.len());
        for partition in partitions {
            list.add(partition, i64::from(RD_KAFKA_OFFSET_INVALID))?;
        }
        Ok(list)
    }

    /// A list of offsets to commit.
    pub(super) fn of_commits(offsets: &[Committed]) -> Result<Self, KafkaError> {
        let mut list = Self::with_capacity(offsets.len());
        for offset in offsets {
            let mut element = list.add(&offset.partition, offset.offset.0)?;
            // SAFETY: the element is part of the live list. The metadata is allocated with the
            // allocator the list frees it with.
            unsafe {
                if let Some(epoch) = offset.leader_epoch {
                    rd_kafka_topic_partition_set_leader_epoch(element.as_ptr(), epoch);
                }
                if !offset.metadata.is_empty() {
                    let size = offset.metadata.len();
                    let copy = rd_kafka_mem_malloc(std::ptr::null_mut(), size);
                    copy.cast::<u8>().copy_from_nonoverlapping(offset.metadata.as_ptr(), size);
                    element.as_mut().metadata = copy;
                    element.as_mut().metadata_size = size;
                }
            }
        }
        Ok(list)
    }

    /// Appends a partition.
    pub(super) fn add(
        &mut self,
        partition: &TopicPartition,
        offset: i64,
    ) -> Result<NonNull<rd_kafka_topic_partition_t>, KafkaError> {
        let topic = c_string(&partition.topic, "name topic")?;
        // SAFETY: the list and the name are live; the new element belongs to the list.
        unsafe {
            let element =
                rd_kafka_topic_partition_list_add(self.raw(), topic.as_ptr(), partition.partition);
            let Some(element) = NonNull::new(element) else {
                unreachable!("librdkafka aborts when it cannot allocate")
            };
            (*element.as_ptr()).offset = offset;
            Ok(element)
        }
    }

    /// For calls into librdkafka.
    pub(super) fn raw(&self) -> *mut rd_kafka_topic_partition_list_t {
        self.0.as_ptr()
    }

    /// The elements, in order.
    pub(super) fn elements(&self) -> &[rd_kafka_topic_partition_t] {
        // SAFETY: the list is live for as long as the borrow.
        unsafe { elements(self.raw()) }
    }
}

impl Drop for PartitionList {
    fn drop(&mut self) {
        // SAFETY: owned, dropped once.
        unsafe { rd_kafka_topic_partition_list_destroy(self.raw()) };
    }
}

/// The elements of a list that librdkafka owns.
///
/// # Safety
/// `list` is null or stays live and unchanged for `'a`.
pub(super) unsafe fn elements<'a>(
    list: *const rd_kafka_topic_partition_list_t,
) -> &'a [rd_kafka_topic_partition_t] {
    // SAFETY: `elems` points to `cnt` elements; both may be zero.
    unsafe {
        if list.is_null() || (*list).elems.is_null() {
            return &[];
        }
        std::slice::from_raw_parts((*list).elems, usize::try_from((*list).cnt).unwrap_or(0))
    }
}

/// The partition an element names.
pub(super) fn partition_of(element: &rd_kafka_topic_partition_t) -> TopicPartition {
    // SAFETY: an element's topic is a live, null-terminated string.
    TopicPartition::new(unsafe { text(element.topic) }, element.partition)
}

/// An element's own error, if it has one.
pub(super) fn element_error(
    element: &rd_kafka_topic_partition_t,
    operation: &'static str,
) -> Result<(), KafkaError> {
    // SAFETY: the field is initialised.
    let code = unsafe { read_code(&raw const element.err) };
    codes::check(code, operation).map_err(|error| error.of_partition(&partition_of(element)))
}

/// The leader epoch an element carries, where known.
pub(super) fn leader_epoch_of(element: &rd_kafka_topic_partition_t) -> Option<i32> {
    // SAFETY: the element is live.
    let epoch = unsafe { rd_kafka_topic_partition_get_leader_epoch(element) };
    (epoch >= 0).then_some(epoch)
}

/// The committed offset an element carries, if any.
pub(super) fn committed_of(element: &rd_kafka_topic_partition_t) -> Option<Committed> {
    let metadata = if element.metadata.is_null() {
        String::new()
    } else {
        // SAFETY: librdkafka keeps `metadata_size` bytes there for as long as the element lives.
        let bytes = unsafe {
            std::slice::from_raw_parts(element.metadata.cast::<u8>(), element.metadata_size)
        };
        String::from_utf8_lossy(bytes).into_owned()
    };
    Some(Committed {
        partition: partition_of(element),
        offset: Offset::known(element.offset)?,
        leader_epoch: leader_epoch_of(element),
        metadata,
    })
}

/// A group identity as the transaction calls take it.
#[derive(Debug)]
pub(super) struct GroupIdentity(NonNull<rd_kafka_consumer_group_metadata_t>);

// SAFETY: it owns what it points to, and nothing else does.
unsafe impl Send for GroupIdentity {}

impl GroupIdentity {
    pub(super) fn new(group: &GroupMetadata) -> Result<Self, KafkaError> {
        let operation = "name group";
        let id = c_string(&group.group_id, operation)?;
        let member = c_string(&group.member_id, operation)?;
        let instance = match &group.group_instance_id {
            Some(instance) => Some(c_string(instance, operation)?),
            None => None,
        };
        // SAFETY: all names are live and copied.
        let raw = unsafe {
            rd_kafka_consumer_group_metadata_new_with_genid(
                id.as_ptr(),
                group.generation,
                member.as_ptr(),
                instance.as_ref().map_or(std::ptr::null(), |instance| instance.as_ptr()),
            )
        };
        NonNull::new(raw).map(Self).ok_or_else(|| {
            codes::error(rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__INVALID_ARG, operation)
        })
    }

    /// For calls into librdkafka.
    pub(super) fn raw(&self) -> *const rd_kafka_consumer_group_metadata_t {
        self.0.as_ptr()
    }
}

impl Drop for GroupIdentity {
    fn drop(&mut self) {
        // SAFETY: owned, dropped once.
        unsafe { rd_kafka_consumer_group_metadata_destroy(self.0.as_ptr()) };
    }
}
