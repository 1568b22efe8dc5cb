//! The consumer: batches from one queue, into which every partition's own queue is forwarded.
//!
//! Three things of librdkafka shape it. Batch reads from the consumer's main queue are unsafe with
//! a rebalance callback, so records have a queue of their own and the main queue brings events
//! only. Its pause throws away what was fetched, so [`Consumer::pause`] ends the forwarding instead
//! and the fetched records wait in their partition's queue. And a batch read takes an error that
//! carries an offset for a record read, so the position is put right after one.

mod ending;

use std::ffi::CString;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka_sys::bindings::*;
use rdkafka_sys::rd_kafka_resp_err_t as Code;
use rustc_hash::FxHashMap;

use super::super::border::{Consumer, Received};
use super::super::error::{ErrorClass, KafkaError};
use super::super::group::{Event, GroupMetadata};
use super::super::partition::{
    Committed, EndOffset, Isolation, Offset, OffsetSpec, Slot, StartAt, TopicPartition,
};
use super::super::settings::{ConsumerRole, ConsumerSettings};
use super::super::statistics::ClientStatistics;
use super::callbacks::{Callbacks, failed, identity, rebalanced, told};
use super::codes::{self, check_object, read_code};
use super::log_offsets::{OffsetClients, look_for_leaders, wake_fetchers};
use super::message::FetchedMessage;
use super::native::{
    Client, Config, PartitionList, Queue, Shared, UNASSIGNED, committed_of, element_error, millis,
    text,
};
use super::waker::ConsumerWaker;

/// A consumer of one thread: member of a group, or reader of what it is assigned.
#[derive(Debug)]
pub struct LibrdkafkaConsumer {
    /// Partitions by slot. Their queues go before the client.
    partitions: Vec<Tracked>,
    slots: FxHashMap<TopicPartition, Slot>,
    /// Slots by librdkafka's topic handle and partition. Handles are good for one assignment.
    by_handle: FxHashMap<(usize, i32), Slot>,
    /// The last of these, since records come in runs of one partition.
    recent: (usize, i32, Slot),
    /// Where all partition queues are forwarded to. Goes before the client.
    records: Arc<Queue>,
    /// The consumer's main queue, kept for as long as it wakes `records`.
    events: Option<Queue>,
    waker: ConsumerWaker,
    batch: Vec<*mut rd_kafka_message_t>,
    /// Partitions whose position an error has moved.
    displaced: Vec<Slot>,
    group_id: Arc<str>,
    role: ConsumerRole,
    isolation: Isolation,
    offset_clients: Arc<OffsetClients>,
    /// Whether the group was left, or an attempt made.
    left: bool,
    client: Client,
    shared: Shared<Callbacks>,
}

// SAFETY: all handles may be used from any thread. Callbacks run inside calls made through
// `&mut self`, on the thread that makes them. `batch` holds pointers only during a poll.
unsafe impl Send for LibrdkafkaConsumer {}

/// A partition that is or was assigned.
#[derive(Debug)]
struct Tracked {
    partition: TopicPartition,
    topic: CString,
    /// While assigned.
    queue: Option<Queue>,
    paused: bool,
    /// Whether it is not even fetched, for want of a position.
    held: bool,
    /// The next offset to hand out; negative where it is not known yet.
    next: i64,
}

impl LibrdkafkaConsumer {
    pub(super) fn open(
        config: Config,
        settings: &ConsumerSettings,
        offset_clients: Arc<OffsetClients>,
    ) -> Result<Self, KafkaError> {
        let shared = Shared::new(Callbacks::default());
        // SAFETY: the configuration is live, and the opaque outlives the client.
        unsafe {
            rd_kafka_conf_set_rebalance_cb(config.raw(), Some(rebalanced));
            rd_kafka_conf_set_error_cb(config.raw(), Some(failed));
            rd_kafka_conf_set_stats_cb(config.raw(), Some(told));
            rd_kafka_conf_set_opaque(config.raw(), shared.raw().cast());
        }
        let client = Client::new(rd_kafka_type_t::RD_KAFKA_CONSUMER, config)?;
        // SAFETY: the client is live.
        codes::check(unsafe { rd_kafka_poll_set_consumer(client.raw()) }, "open consumer")?;
        let records = Arc::new(Queue::new(&client));
        let waker = ConsumerWaker::new(Arc::clone(&records));
        let events = Queue::of_consumer(&client);
        if let Some(events) = &events {
            waker.watch(events);
        }
        Ok(Self {
            partitions: Vec::new(),
            slots: FxHashMap::default(),
            by_handle: FxHashMap::default(),
            recent: (0, -1, Slot(0)),
            records,
            events,
            waker,
            batch: Vec::new(),
            displaced: Vec::new(),
            group_id: Arc::clone(&settings.group_id),
            role: settings.role.clone(),
            isolation: settings.isolation,
            offset_clients,
            left: false,
            client,
            shared,
        })
    }

    /// Reads up to `limit` messages, waiting up to `timeout` until there are as many.
    fn read(&mut self, limit: usize, timeout: Duration) -> usize {
        self.batch.resize(limit, ptr::null_mut());
        // SAFETY: the queue is live and the batch has room for `limit` pointers. It is not the
        // main queue, and no other read of it is under way.
        let count = unsafe {
            rd_kafka_consume_batch_queue(
                self.records.raw(),
                millis(timeout),
                self.batch.as_mut_ptr(),
                limit,
            )
        };
        usize::try_from(count).unwrap_or(0)
    }

    /// Sorts the first `count` messages of the batch into records and events.
    fn hand_out(
        &mut self,
        count: usize,
        records: &mut Vec<Received<FetchedMessage>>,
        events: &mut Vec<Event>,
    ) {
        records.reserve(count);
        for index in 0..count {
            // A batch read fills what it counts with messages that are not null.
            let Some(raw) = NonNull::new(self.batch[index]) else { continue };
            self.hand_out_one(raw, records, events);
        }
        self.put_positions_right();
    }

    #[inline]
    fn hand_out_one(
        &mut self,
        raw: NonNull<rd_kafka_message_t>,
        records: &mut Vec<Received<FetchedMessage>>,
        events: &mut Vec<Event>,
    ) {
        // SAFETY: the message is live, owned here, and its fields are initialised.
        let (code, message) = unsafe { (read_code(&raw const (*raw.as_ptr()).err), raw.as_ref()) };
        if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            self.note_error(code, message, events);
            // SAFETY: owned, destroyed once.
            unsafe { rd_kafka_message_destroy(raw.as_ptr()) };
            return;
        }
        let slot = self.slot_of(message);
        self.partitions[slot.index()].next = message.offset + 1;
        // SAFETY: from a consume call, owned, and without an error.
        let message = unsafe { FetchedMessage::new(raw) };
        records.push(Received { slot, message });
    }

    #[inline]
    fn slot_of(&mut self, message: &rd_kafka_message_t) -> Slot {
        let handle = message.rkt.addr();
        if self.recent.0 != handle || self.recent.1 != message.partition {
            self.recent = (handle, message.partition, self.slot_of_handle(message));
        }
        self.recent.2
    }

    fn slot_of_handle(&mut self, message: &rd_kafka_message_t) -> Slot {
        let key = (message.rkt.addr(), message.partition);
        if let Some(&slot) = self.by_handle.get(&key) {
            return slot;
        }
        let slot = self.slot(&named(message));
        self.by_handle.insert(key, slot);
        slot
    }

    /// Turns a message that carries an error into an event.
    #[cold]
    fn note_error(&mut self, code: Code, message: &rd_kafka_message_t, events: &mut Vec<Event>) {
        let partition = (!message.rkt.is_null()).then(|| named(message));
        if let (Code::RD_KAFKA_RESP_ERR__PARTITION_EOF, Some(partition)) = (code, &partition) {
            let slot = self.slot(partition);
            let next = &mut self.partitions[slot.index()].next;
            *next = (*next).max(message.offset);
            let (partition, offset) = (partition.clone(), Offset(message.offset));
            events.push(Event::EndOfPartition { partition, offset });
            return;
        }
        // SAFETY: the message is live, and so are its words.
        let reason = unsafe { text(rd_kafka_message_errstr(message)) };
        let mut error = codes::error_with(code, "consume", reason);
        if let Some(partition) = &partition {
            error = error.of_partition(partition);
        }
        if let Some(partition) = &partition
            && message.offset >= 0
            && error.class() != ErrorClass::OffsetOutOfRange
            && matches!(self.role, ConsumerRole::Member { .. })
        {
            let slot = self.slot(partition);
            let next = &mut self.partitions[slot.index()].next;
            if *next < 0 {
                *next = message.offset;
            }
            self.displaced.push(slot);
        }
        events.push(match (code, partition) {
            (Code::RD_KAFKA_RESP_ERR__LOG_TRUNCATION, Some(partition)) => {
                Event::Truncated { partition, error }
            }
            (_, Some(partition)) if error.class() == ErrorClass::OffsetOutOfRange => {
                Event::OutOfRange { partition, error }
            }
            (Code::RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED, _) => Event::MaxPollExceeded(error),
            (_, partition) => Event::Error { partition, error },
        });
    }

    /// A batch read counts an error that carries an offset as a record read. librdkafka resumes
    /// from that count after a rebalance, so it is set back before one can happen.
    fn put_positions_right(&mut self) {
        while let Some(slot) = self.displaced.pop() {
            let tracked = &self.partitions[slot.index()];
            let position = (tracked.partition.clone(), Offset(tracked.next));
            if let Err(error) = self.seek(&[position], Duration::ZERO) {
                tracing::warn!(%error, "could not set a position back after a fetch error");
            }
        }
    }

    /// Serves the main queue, and takes over what its callbacks noted.
    fn serve_events(
        &mut self,
        records: &mut Vec<Received<FetchedMessage>>,
        events: &mut Vec<Event>,
    ) {
        loop {
            // SAFETY: the client is live.
            let message = unsafe { rd_kafka_consumer_poll(self.client.raw(), 0) };
            let Some(message) = NonNull::new(message) else { break };
            self.hand_out_one(message, records, events);
        }
        self.put_positions_right();
        // SAFETY: no call into librdkafka is under way, so no callback writes.
        events.append(unsafe { &mut (*self.shared.raw()).events });
    }

    /// Readies the queues of partitions that are about to be assigned, and lists them.
    fn prepare(&mut self, partitions: &[StartAt]) -> Result<PartitionList, KafkaError> {
        self.forget_handles();
        let mut list = PartitionList::with_capacity(partitions.len());
        let mut changed = Vec::new();
        for start in partitions {
            let offset = match start.offset {
                // Its position comes with a seek, and until then it is held. Not at the log's end:
                // an answer about that which comes after the seek would have it asked for again,
                // and the position moved there, over records that nobody has read.
                _ if start.paused => 0,
                Some(offset) => offset.0,
                None => i64::from(RD_KAFKA_OFFSET_STORED),
            };
            let element = list.add(&start.partition, offset)?;
            if let Some(epoch) = start.leader_epoch {
                // SAFETY: the element is part of the live list.
                unsafe { rd_kafka_topic_partition_set_leader_epoch(element.as_ptr(), epoch) };
            }
            let slot = self.slot(&start.partition);
            let tracked = &mut self.partitions[slot.index()];
            let own =
                Queue::of_partition(&self.client, &tracked.topic, tracked.partition.partition);
            if let Some(own) = &own {
                own.forward((!start.paused).then_some(self.records.as_ref()));
            }
            tracked.queue = own;
            tracked.paused = start.paused;
            if start.paused || tracked.held {
                tracked.held = start.paused;
                changed.push((start.partition.clone(), start.paused));
            }
            tracked.next = start.offset.map_or(-1, |start| start.0);
        }
        for hold in [true, false] {
            let some = changed.iter().filter(|(_, held)| *held == hold);
            self.hold(some.map(|(partition, _)| partition), hold)?;
        }
        Ok(list)
    }

    /// Once they are assigned, sends what partitions fetch where [`Self::prepare`] did. If they were
    /// assigned before, librdkafka may have ended that in between: it does when it stops fetching,
    /// which it does some time after `incremental_unassign` came back, and before it answers the next
    /// assignment. What was fetched meanwhile goes along.
    fn forward(&self, partitions: &[StartAt]) {
        for start in partitions {
            if let Some(tracked) = self.tracked(&start.partition)
                && let Some(queue) = &tracked.queue
            {
                queue.forward((!tracked.paused).then_some(self.records.as_ref()));
            }
        }
    }

    /// Stops the fetching of partitions, or lets it begin. It is for those that have no position yet,
    /// since it drops what was fetched.
    fn hold<'p>(
        &self,
        partitions: impl Iterator<Item = &'p TopicPartition>,
        hold: bool,
    ) -> Result<(), KafkaError> {
        let partitions: Vec<TopicPartition> = partitions.cloned().collect();
        if partitions.is_empty() {
            return Ok(());
        }
        let list = PartitionList::of(&partitions)?;
        // SAFETY: the client and the list are live; librdkafka writes errors into the list.
        let code = unsafe {
            match hold {
                true => rd_kafka_pause_partitions(self.client.raw(), list.raw()),
                false => rd_kafka_resume_partitions(self.client.raw(), list.raw()),
            }
        };
        codes::check(code, "hold partitions")
    }

    /// Topic handles may be freed, and used again for other topics, when an assignment changes.
    fn forget_handles(&mut self) {
        self.by_handle.clear();
        self.recent = (0, -1, Slot(0));
    }

    fn tracked(&self, partition: &TopicPartition) -> Option<&Tracked> {
        self.slots.get(partition).map(|slot| &self.partitions[slot.index()])
    }

    fn tracked_mut(&mut self, partition: &TopicPartition) -> Option<&mut Tracked> {
        self.slots.get(partition).map(|slot| &mut self.partitions[slot.index()])
    }
}

impl Consumer for LibrdkafkaConsumer {
    type Message = FetchedMessage;
    type Waker = ConsumerWaker;

    fn subscribe(&mut self, topics: &[&str]) -> Result<(), KafkaError> {
        let mut list = PartitionList::with_capacity(topics.len());
        for &topic in topics {
            list.add(&TopicPartition::new(topic, UNASSIGNED), 0)?;
        }
        // SAFETY: the client and the list are live; the list is copied.
        codes::check(unsafe { rd_kafka_subscribe(self.client.raw(), list.raw()) }, "subscribe")
    }

    fn poll(
        &mut self,
        limit: usize,
        timeout: Duration,
        records: &mut Vec<Received<FetchedMessage>>,
        events: &mut Vec<Event>,
    ) {
        let (records_before, events_before) = (records.len(), events.len());
        let count = self.read(limit, Duration::ZERO);
        self.hand_out(count, records, events);
        self.serve_events(records, events);
        // An event that comes from here on wakes the queue; one that came before was just served.
        let idle = records.len() == records_before && events.len() == events_before;
        let woken = self.waker.was_woken();
        if !idle || woken || timeout.is_zero() || limit == 0 {
            return;
        }
        // A batch read waits until the batch is full, so one record is waited for, then the rest
        // is taken.
        let count = self.read(1, timeout);
        self.hand_out(count, records, events);
        if count == 1 && limit > 1 {
            let count = self.read(limit - 1, Duration::ZERO);
            self.hand_out(count, records, events);
        }
        self.serve_events(records, events);
    }

    fn waker(&self) -> ConsumerWaker {
        self.waker.clone()
    }

    fn slot(&mut self, partition: &TopicPartition) -> Slot {
        if let Some(&slot) = self.slots.get(partition) {
            return slot;
        }
        // A process cannot hold that many partitions.
        let slot = Slot(u32::try_from(self.partitions.len()).unwrap_or(u32::MAX));
        self.partitions.push(Tracked {
            partition: partition.clone(),
            // Names with a zero byte are refused where they are assigned.
            topic: CString::new(partition.topic.as_bytes()).unwrap_or_default(),
            queue: None,
            paused: false,
            held: false,
            next: -1,
        });
        self.slots.insert(partition.clone(), slot);
        slot
    }

    fn assign(&mut self, partitions: &[StartAt]) -> Result<(), KafkaError> {
        for tracked in &mut self.partitions {
            tracked.queue = None;
        }
        let list = self.prepare(partitions)?;
        // SAFETY: the client and the list are live; the list is copied. The first call has librdkafka
        // stop what it fetches before it answers the second.
        unsafe {
            codes::check(rd_kafka_assign(self.client.raw(), ptr::null()), "assign")?;
            codes::check(rd_kafka_assign(self.client.raw(), list.raw()), "assign")?;
        }
        self.forward(partitions);
        Ok(())
    }

    fn incremental_assign(&mut self, partitions: &[StartAt]) -> Result<(), KafkaError> {
        let list = self.prepare(partitions)?;
        // SAFETY: the client and the list are live; the list is copied. No callback runs between
        // calls.
        unsafe {
            let outcome = rd_kafka_incremental_assign(self.client.raw(), list.raw());
            (*self.shared.raw()).unanswered = false;
            check_object(outcome, "incremental assign")?;
        }
        self.forward(partitions);
        Ok(())
    }

    fn incremental_unassign(&mut self, partitions: &[TopicPartition]) -> Result<(), KafkaError> {
        let list = PartitionList::of(partitions)?;
        // SAFETY: the client and the list are live; the list is copied. No callback runs between
        // calls.
        unsafe {
            let outcome = rd_kafka_incremental_unassign(self.client.raw(), list.raw());
            (*self.shared.raw()).unanswered = false;
            check_object(outcome, "incremental unassign")?;
        }
        for partition in partitions {
            if let Some(tracked) = self.tracked_mut(partition) {
                tracked.queue = None;
                tracked.next = -1;
            }
        }
        self.forget_handles();
        Ok(())
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            if let Some(tracked) = self.tracked_mut(partition)
                && !tracked.paused
                && let Some(queue) = &tracked.queue
            {
                queue.forward(None);
                tracked.paused = true;
            }
        }
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        let mut held = Vec::new();
        for partition in partitions {
            let Some(&slot) = self.slots.get(partition) else { continue };
            let tracked = &mut self.partitions[slot.index()];
            if std::mem::replace(&mut tracked.held, false) {
                held.push(partition.clone());
            }
            if tracked.paused
                && let Some(queue) = &tracked.queue
            {
                queue.forward(Some(&self.records));
                tracked.paused = false;
            }
        }
        if held.is_empty() {
            return;
        }
        let fetched =
            self.hold(held.iter(), false).and_then(|()| wake_fetchers(&self.client, &held));
        if let Err(error) = fetched {
            tracing::warn!(%error, "letting partitions be fetched");
        }
    }

    fn seek(
        &mut self,
        positions: &[(TopicPartition, Offset)],
        timeout: Duration,
    ) -> Result<(), KafkaError> {
        let mut list = PartitionList::with_capacity(positions.len());
        for (partition, offset) in positions {
            list.add(partition, offset.0)?;
        }
        // SAFETY: the client and the list are live; librdkafka writes errors into the list.
        unsafe {
            let outcome = rd_kafka_seek_partitions(self.client.raw(), list.raw(), millis(timeout));
            check_object(outcome, "seek")?;
        }
        for element in list.elements() {
            element_error(element, "seek")?;
        }
        for (partition, offset) in positions {
            if let Some(tracked) = self.tracked_mut(partition) {
                tracked.next = offset.0;
            }
        }
        Ok(())
    }

    fn refetch(
        &mut self,
        positions: &[(TopicPartition, Offset)],
        timeout: Duration,
    ) -> Result<(), KafkaError> {
        for (partition, _) in positions {
            let Some(&slot) = self.slots.get(partition) else { continue };
            let tracked = &mut self.partitions[slot.index()];
            if let Some(queue) = &tracked.queue {
                queue.forward(Some(&self.records));
            }
            (tracked.paused, tracked.held) = (false, false);
        }
        self.hold(positions.iter().map(|(partition, _)| partition), false)?;
        self.seek(positions, timeout)?;
        // A position is not fetched before its leader is known, and librdkafka takes it up with the
        // next metadata only, which it asks for every few minutes.
        let topics = positions.iter().map(|(partition, _)| &*partition.topic);
        look_for_leaders(&self.client, topics, timeout);
        Ok(())
    }

    fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        let next = self.tracked(partition)?.next;
        if matches!(self.role, ConsumerRole::Assigned) {
            // librdkafka's own position is one too far after an end of partition.
            return Offset::known(next);
        }
        let mut list = PartitionList::with_capacity(1);
        list.add(partition, i64::from(RD_KAFKA_OFFSET_INVALID)).ok()?;
        // SAFETY: the client and the list are live; librdkafka writes the position into it.
        let code = unsafe { rd_kafka_position(self.client.raw(), list.raw()) };
        let known = match code {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => list.elements().first().map_or(-1, |e| e.offset),
            _ => -1,
        };
        Offset::known(next.max(known))
    }

    fn known_end(&self, partition: &TopicPartition) -> Option<Offset> {
        let tracked = self.tracked(partition)?;
        let (mut low, mut high) = (-1, -1);
        // SAFETY: the client and the name are live, and both offsets may be written.
        let code = unsafe {
            rd_kafka_get_watermark_offsets(
                self.client.raw(),
                tracked.topic.as_ptr(),
                partition.partition,
                &raw mut low,
                &raw mut high,
            )
        };
        if code == Code::RD_KAFKA_RESP_ERR_NO_ERROR { Offset::known(high) } else { None }
    }

    fn committed(
        &self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<Option<Committed>>, KafkaError> {
        let operation = "fetch committed offsets";
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let list = PartitionList::of(partitions)?;
        // SAFETY: the client and the list are live; librdkafka writes the answers into it.
        let code = unsafe { rd_kafka_committed(self.client.raw(), list.raw(), millis(timeout)) };
        codes::check(code, operation)?;
        let answer = |element| element_error(element, operation).map(|()| committed_of(element));
        list.elements().iter().map(answer).collect()
    }

    fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        spec: OffsetSpec,
        isolation: Isolation,
        timeout: Duration,
    ) -> Result<Vec<EndOffset>, KafkaError> {
        let own = (&self.client, self.isolation);
        self.offset_clients.list(own, partitions, (spec, isolation), timeout)
    }

    fn commit(&mut self, offsets: &[Committed]) -> Result<(), KafkaError> {
        let operation = "commit offsets";
        if offsets.is_empty() {
            return Ok(());
        }
        let list = PartitionList::of_commits(offsets)?;
        // SAFETY: the client and the list are live; 0 waits for the answer.
        codes::check(unsafe { rd_kafka_commit(self.client.raw(), list.raw(), 0) }, operation)?;
        list.elements().iter().try_for_each(|element| element_error(element, operation))
    }

    fn group_metadata(&self) -> GroupMetadata {
        // SAFETY: the client is live.
        unsafe { identity(self.client.raw(), &self.group_id) }
    }

    fn assignment_lost(&self) -> bool {
        // SAFETY: the client is live.
        unsafe { rd_kafka_assignment_lost(self.client.raw()) != 0 }
    }

    fn fatal_error(&self) -> Option<KafkaError> {
        self.client.fatal_error()
    }

    fn take_statistics(&mut self) -> Option<ClientStatistics> {
        // SAFETY: live until the drop, and no callback runs while this borrow of `self` lasts.
        let callbacks = unsafe { &mut *self.shared.raw() };
        callbacks.statistics.take()
    }

    fn close(self, timeout: Duration, leave: bool) -> Result<(), KafkaError> {
        self.end(timeout, leave)
    }
}

/// The partition a message belongs to.
fn named(message: &rd_kafka_message_t) -> TopicPartition {
    // SAFETY: the handle is live with its message, and not null where this is called.
    TopicPartition::new(unsafe { text(rd_kafka_topic_name(message.rkt)) }, message.partition)
}
