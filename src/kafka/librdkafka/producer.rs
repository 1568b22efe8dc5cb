//! The producer: interned topics, `producev` a record, delivery reports on the caller's thread.
//!
//! A record's timestamp and headers need `rd_kafka_producev`; `rd_kafka_produce_batch` can send
//! neither. Delivery reports come by callback, since librdkafka's own flush and transaction calls
//! serve callbacks while they wait but not events.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka_sys::bindings::*;
use rdkafka_sys::rd_kafka_resp_err_t as Code;
use rustc_hash::FxHashMap;
use tidemill_topology::record::Headers;

use super::super::border::{Outgoing, ProduceError, Producer};
use super::super::error::{ErrorClass, KafkaError};
use super::super::group::GroupMetadata;
use super::super::partition::{Committed, TopicPartition};
use super::super::settings::ProducerSettings;
use super::super::statistics::ClientStatistics;
use super::super::topic::{Deliveries, TopicId};
use super::codes::{self, check_transactional, read_code};
use super::drain::Drain;
use super::native::{Client, Config, Shared, UNASSIGNED, c_string, millis, text};
use super::offsets_call::{OffsetsCalls, unanswered};
use super::statistics;

/// What is left at least for committing when the deliveries before it took all the time.
const SHORTEST_CALL: Duration = Duration::from_millis(100);

/// A producer of one thread, transactional or not.
#[derive(Debug)]
pub struct LibrdkafkaProducer {
    client: Arc<Handle>,
    offsets_calls: OffsetsCalls,
    /// By [`TopicId`]; freed before the client ends.
    topics: Vec<NonNull<rd_kafka_topic_t>>,
    ids: FxHashMap<Arc<str>, TopicId>,
}

/// A client and what belongs to it. A call that does not return keeps it beyond its producer.
#[derive(Debug)]
pub(super) struct Handle {
    client: Client,
    /// Written by the callbacks while a call of the producer into librdkafka runs.
    reports: Shared<Reports>,
}

impl Deref for Handle {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// What the callbacks of a producer write.
#[derive(Debug, Default)]
struct Reports {
    deliveries: Deliveries,
    statistics: Option<ClientStatistics>,
}

// SAFETY: topic handles may be used from any thread. The delivery callback runs only inside calls
// made through `&mut self` (poll, flush, commit, abort), on the thread that makes them.
unsafe impl Send for LibrdkafkaProducer {}

impl LibrdkafkaProducer {
    pub(super) fn open(config: Config, _settings: &ProducerSettings) -> Result<Self, KafkaError> {
        let reports = Shared::new(Reports::default());
        // SAFETY: the configuration is live, and the opaque outlives the client.
        unsafe {
            rd_kafka_conf_set_dr_msg_cb(config.raw(), Some(delivered));
            rd_kafka_conf_set_stats_cb(config.raw(), Some(told));
            rd_kafka_conf_set_opaque(config.raw(), reports.raw().cast());
        }
        let client = Client::new(rd_kafka_type_t::RD_KAFKA_PRODUCER, config)?;
        Ok(Self {
            client: Arc::new(Handle { client, reports }),
            offsets_calls: OffsetsCalls::default(),
            topics: Vec::new(),
            ids: FxHashMap::default(),
        })
    }

    /// Waits until a broker that will stay can be spoken to.
    ///
    /// Without one librdkafka looks for the transaction coordinator only half a second later. Its
    /// first metadata replaces the connection over which it came by those to the brokers that it
    /// names; the second one comes over one of these.
    fn connect(&mut self, timeout: Duration) {
        // Whoever waits for the coordinator will say why there is none.
        let _answered = self.client.ask_metadata(timeout) && self.client.ask_metadata(timeout);
    }

    /// Sends what waits at once, and waits until it is delivered.
    fn deliver(&mut self, timeout: Duration) -> Code {
        let deadline = Instant::now() + timeout;
        let mut drain = Drain::default();
        loop {
            let code = drain.step(&self.client);
            if code != Code::RD_KAFKA_RESP_ERR__TIMED_OUT || Instant::now() >= deadline {
                return code;
            }
        }
    }

    /// Why `producev` did not take a record.
    #[cold]
    fn refused(&self, code: Code, topic: TopicId) -> ProduceError {
        if code == Code::RD_KAFKA_RESP_ERR__QUEUE_FULL {
            return ProduceError::QueueFull;
        }
        let operation = "produce";
        // SAFETY: the topic is live, as is its name.
        let name = unsafe { text(rd_kafka_topic_name(self.topics[topic.index()].as_ptr())) };
        let error = match self.client.fatal_error() {
            Some(fatal) => {
                codes::error_with(code, operation, fatal.message()).with_class(fatal.class())
            }
            None => {
                let is_of_state = code == Code::RD_KAFKA_RESP_ERR__STATE;
                if let Some(denied) = is_of_state.then(|| self.denied()).flatten() {
                    return ProduceError::Refused(denied);
                }
                codes::error(code, operation)
            }
        };
        ProduceError::Refused(error.of_topic(&name))
    }

    /// The error of a transaction that has failed for want of a right. Records are then refused for
    /// its state alone, and whoever only began anew would do so for ever.
    fn denied(&self) -> Option<KafkaError> {
        // SAFETY: the client is live, and the object owned. It begins nothing while a transaction is
        // open, and says what that one has failed of.
        let error = unsafe {
            codes::check_object(rd_kafka_begin_transaction(self.client.raw()), "produce").err()?
        };
        if error.class() != ErrorClass::Authorization {
            return None;
        }
        let mut topics: Vec<&str> = self.ids.keys().map(|name| &**name).collect();
        topics.sort_unstable();
        let text = format!("{}; this producer writes to {}", error.message(), topics.join(", "));
        Some(KafkaError::new(error.class(), error.code().to_owned(), "produce", text))
    }
}

impl Drop for LibrdkafkaProducer {
    fn drop(&mut self) {
        let everything = RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT;
        // SAFETY: the client is live, and so are the topics, each of which is freed once.
        unsafe {
            rd_kafka_purge(
                self.client.raw(),
                (everything | RD_KAFKA_PURGE_F_NON_BLOCKING) as c_int,
            );
            rd_kafka_poll(self.client.raw(), 0);
            for topic in self.topics.drain(..) {
                rd_kafka_topic_destroy(topic.as_ptr());
            }
        }
    }
}

impl Producer for LibrdkafkaProducer {
    fn init_transactions(&mut self, timeout: Duration) -> Result<(), KafkaError> {
        let started = Instant::now();
        // Two questions, so that most of the time is left.
        self.connect(timeout / 4);
        let left = timeout.saturating_sub(started.elapsed());
        // SAFETY: the client is live.
        unsafe {
            let outcome = rd_kafka_init_transactions(self.client.raw(), millis(left));
            check_transactional(outcome, "init transactions")
        }
    }

    fn begin(&mut self) -> Result<(), KafkaError> {
        // SAFETY: the client is live.
        unsafe {
            let outcome = rd_kafka_begin_transaction(self.client.raw());
            check_transactional(outcome, "begin transaction")
        }
    }

    fn send_offsets(
        &mut self,
        offsets: &[Committed],
        group: &GroupMetadata,
        timeout: Duration,
    ) -> Result<(), KafkaError> {
        let deadline = Instant::now() + timeout;
        self.offsets_calls.begin(&self.client, offsets, group, timeout)?;
        let mut drain = Drain::default();
        loop {
            // The commit waits for the deliveries; the brokers may do both at once.
            let is_delivered = drain.step(&self.client) != Code::RD_KAFKA_RESP_ERR__TIMED_OUT;
            let left = deadline.saturating_duration_since(Instant::now());
            match self.offsets_calls.outcome(if is_delivered { left } else { Duration::ZERO }) {
                Some(outcome) => return outcome,
                None if left.is_zero() => return Err(unanswered()),
                None => {}
            }
        }
    }

    fn commit(&mut self, timeout: Duration) -> Result<(), KafkaError> {
        let started = Instant::now();
        // What is not delivered by then, the call below says; the next one goes on from there.
        self.deliver(timeout);
        let left = timeout.saturating_sub(started.elapsed()).max(SHORTEST_CALL);
        // SAFETY: the client is live. The delivery callback runs on this thread meanwhile.
        unsafe {
            let outcome = rd_kafka_commit_transaction(self.client.raw(), millis(left));
            check_transactional(outcome, "commit transaction")
        }
    }

    fn abort(&mut self, timeout: Duration) -> Result<(), KafkaError> {
        self.offsets_calls.settle()?;
        // librdkafka purges its queues itself before it waits.
        // SAFETY: the client is live. The delivery callback runs on this thread meanwhile.
        unsafe {
            let outcome = rd_kafka_abort_transaction(self.client.raw(), millis(timeout));
            check_transactional(outcome, "abort transaction")
        }
    }

    fn flush(&mut self, timeout: Duration) -> Result<(), KafkaError> {
        codes::check(self.deliver(timeout), "flush")
    }

    fn topic(&mut self, name: &str) -> Result<TopicId, KafkaError> {
        if let Some(&id) = self.ids.get(name) {
            return Ok(id);
        }
        let text = c_string(name, "open topic")?;
        // SAFETY: the client and the name are live; null takes the client's topic defaults.
        let topic =
            unsafe { rd_kafka_topic_new(self.client.raw(), text.as_ptr(), ptr::null_mut()) };
        let Some(topic) = NonNull::new(topic) else {
            // SAFETY: no precondition.
            let code = unsafe { rd_kafka_last_error() };
            return Err(codes::error(code, "open topic").of_topic(name));
        };
        // A client has far fewer topics than that.
        let id = TopicId(u32::try_from(self.topics.len()).unwrap_or(u32::MAX));
        self.topics.push(topic);
        self.ids.insert(name.into(), id);
        Ok(id)
    }

    #[inline]
    fn produce(&mut self, record: &Outgoing<'_>) -> Result<(), ProduceError> {
        let topic = self.topics[record.topic.index()].as_ptr();
        let (key, key_len) = pointer(record.key);
        let (value, value_len) = pointer(record.value);
        let partition = record.partition.unwrap_or(UNASSIGNED);
        // librdkafka takes 0 for the present.
        let timestamp = record.timestamp.millis().max(0);
        // Where offsets are tracked, the report carries the topic's id in its opaque.
        let opaque = ptr::without_provenance_mut::<c_void>(record.topic.index());
        let headers = if record.headers.is_empty() {
            ptr::null_mut()
        } else {
            native_headers(record.headers)?
        };
        // SAFETY: every value follows its tag in the type librdkafka reads for it; key and value
        // are copied during the call, which MSG_F_COPY asks for; null headers are none.
        let code = unsafe {
            use rd_kafka_vtype_t::*;
            rd_kafka_producev(
                self.client.raw(),
                RD_KAFKA_VTYPE_RKT,
                topic,
                RD_KAFKA_VTYPE_PARTITION,
                partition,
                RD_KAFKA_VTYPE_MSGFLAGS,
                RD_KAFKA_MSG_F_COPY as c_int,
                RD_KAFKA_VTYPE_KEY,
                key,
                key_len,
                RD_KAFKA_VTYPE_VALUE,
                value,
                value_len,
                RD_KAFKA_VTYPE_TIMESTAMP,
                timestamp,
                RD_KAFKA_VTYPE_OPAQUE,
                opaque,
                RD_KAFKA_VTYPE_HEADERS,
                headers,
                RD_KAFKA_VTYPE_END,
            )
        };
        if code == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Ok(());
        }
        if !headers.is_null() {
            // SAFETY: librdkafka takes them over only with the record.
            unsafe { rd_kafka_headers_destroy(headers) };
        }
        Err(self.refused(code, record.topic))
    }

    fn poll(&mut self, timeout: Duration) {
        // SAFETY: the client is live. The delivery callback runs on this thread meanwhile.
        unsafe { rd_kafka_poll(self.client.raw(), millis(timeout)) };
    }

    fn deliveries(&mut self) -> &mut Deliveries {
        // SAFETY: live until the drop, and the callback cannot run while this borrow of `self`
        // lasts.
        let reports = unsafe { &mut *self.client.reports.raw() };
        &mut reports.deliveries
    }

    fn in_flight(&self) -> usize {
        self.client.in_flight()
    }

    fn purge(&mut self) {
        let everything = RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT;
        // SAFETY: the client is live. It fails only for flags it does not know.
        unsafe { rd_kafka_purge(self.client.raw(), everything as c_int) };
    }

    fn fatal_error(&self) -> Option<KafkaError> {
        self.client.fatal_error()
    }

    fn take_statistics(&mut self) -> Option<ClientStatistics> {
        // SAFETY: as in `deliveries`.
        let reports = unsafe { &mut *self.client.reports.raw() };
        reports.statistics.take()
    }
}

/// librdkafka's statistics callback of a producer.
unsafe extern "C" fn told(
    _client: *mut rd_kafka_t,
    json: *mut c_char,
    length: usize,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: as in `delivered`; the text has this length and lives during the callback.
    let (reports, json) = unsafe {
        (&mut *opaque.cast::<Reports>(), std::slice::from_raw_parts(json.cast::<u8>(), length))
    };
    reports.statistics = statistics::read(json).or(reports.statistics);
    0
}

/// librdkafka's delivery callback: one call a record, on the thread that polls.
unsafe extern "C" fn delivered(
    _client: *mut rd_kafka_t,
    message: *const rd_kafka_message_t,
    opaque: *mut c_void,
) {
    // SAFETY: the opaque is the producer's `Reports`, which nothing else borrows while a call
    // into librdkafka runs; the message lives during the callback.
    let (reports, message) = unsafe { (&mut *opaque.cast::<Reports>(), &*message) };
    let deliveries = &mut reports.deliveries;
    // SAFETY: the field is initialised.
    match unsafe { read_code(&raw const message.err) } {
        Code::RD_KAFKA_RESP_ERR_NO_ERROR => {
            // What `produce` put there: an id, so it fits.
            let topic = TopicId(u32::try_from(message._private.addr()).unwrap_or(u32::MAX));
            deliveries.note_delivered(topic, message.partition, message.offset);
        }
        // Dropped on our own wish, by an abort or a purge.
        Code::RD_KAFKA_RESP_ERR__PURGE_QUEUE | Code::RD_KAFKA_RESP_ERR__PURGE_INFLIGHT => {}
        code => deliveries.note_failed(|| {
            // SAFETY: the topic and its name live during the callback.
            let topic = unsafe { CStr::from_ptr(rd_kafka_topic_name(message.rkt)) };
            let partition = TopicPartition::new(topic.to_string_lossy(), message.partition);
            let mut error = codes::error(code, "deliver record").of_partition(&partition);
            // librdkafka has tried long enough: this record will not be delivered any more.
            if error.class().is_retriable() {
                error = error.with_class(ErrorClass::Abortable);
            }
            (partition, error)
        }),
    }
}

/// A slice as librdkafka takes it; null stays null, and empty is not null.
#[inline]
fn pointer(bytes: Option<&[u8]>) -> (*const c_void, usize) {
    bytes.map_or((ptr::null(), 0), |bytes| (bytes.as_ptr().cast(), bytes.len()))
}

/// A copy of headers that librdkafka can take over.
fn native_headers(headers: &Headers) -> Result<*mut rd_kafka_headers_t, KafkaError> {
    // SAFETY: librdkafka copies names and values, whose lengths are passed along; a negative
    // length is null. The list is freed here when it cannot be completed.
    unsafe {
        let list = rd_kafka_headers_new(headers.len());
        for header in headers {
            let (value, size) = match &header.value {
                Some(value) => (value.as_ptr().cast(), value.len().cast_signed()),
                None => (ptr::null(), -1),
            };
            let name = header.name.as_ptr().cast();
            let code =
                rd_kafka_header_add(list, name, header.name.len().cast_signed(), value, size);
            if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                rd_kafka_headers_destroy(list);
                return Err(codes::error(code, "add header"));
            }
        }
        Ok(list)
    }
}
