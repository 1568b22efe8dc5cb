//! The consumer: what the runtime holds of a [`Reader`](super::fetch::Reader) and a
//! [`Membership`](super::member::Membership).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidemill::kafka::{
    Committed, Consumer, EndOffset, ErrorClass, Event, GroupMetadata, Isolation, KafkaError,
    Message, Offset, OffsetSpec, Received, Slot, StartAt, TopicPartition, Waker,
};
use tidemill::mistake::Mistake;
use tidemill_topology::record::Headers;
use tidemill_topology::time::Timestamp;

use super::ConsumerId;
use super::call::Reply;
use super::fetch::{Assigned, Item};
use crate::cluster::Brokers;
use crate::cluster::log::Data;
use crate::world::{Micros, Sim, World, micros};

/// A record that was fetched.
#[derive(Debug)]
pub struct SimMessage {
    partition: i32,
    offset: i64,
    data: Arc<Data>,
}

impl Message for SimMessage {
    fn partition(&self) -> i32 {
        self.partition
    }
    fn offset(&self) -> Offset {
        Offset(self.offset)
    }
    fn timestamp(&self) -> Timestamp {
        self.data.timestamp
    }
    fn key(&self) -> Option<&[u8]> {
        self.data.key.as_deref()
    }
    fn value(&self) -> Option<&[u8]> {
        self.data.value.as_deref()
    }
    fn leader_epoch(&self) -> Option<i32> {
        Some(0)
    }
    fn read_headers(&self, headers: &mut Headers) {
        headers.clone_from(&self.data.headers);
    }
}

/// Ends a poll that waits.
#[derive(Clone, Debug)]
pub struct SimWaker {
    sim: Sim,
    id: ConsumerId,
}

impl Waker for SimWaker {
    fn wake(&self) {
        let mut world = self.sim.lock();
        if let Some(reader) = world.clients.readers.get_mut(&self.id) {
            reader.woken = true;
        }
        world.wake_reader(self.id);
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct SimConsumer {
    sim: Sim,
    id: ConsumerId,
    group: Arc<str>,
    slots: BTreeMap<TopicPartition, Slot>,
}

impl SimConsumer {
    pub(crate) fn new(sim: &Sim, id: ConsumerId, group: &Arc<str>) -> Self {
        Self { sim: sim.clone(), id, group: Arc::clone(group), slots: BTreeMap::new() }
    }

    /// Takes what is there; says whether there was anything.
    fn take(
        &self,
        world: &mut World,
        limit: usize,
        records: &mut Vec<Received<SimMessage>>,
        events: &mut Vec<Event>,
    ) -> bool {
        let before = (records.len(), events.len());
        let most = records.len() + limit;
        let Some(reader) = world.clients.readers.get_mut(&self.id) else { return true };
        let woken = std::mem::take(&mut reader.woken);
        events.extend(reader.events.drain(..));
        let mut drained = Vec::new();
        for (partition, assigned) in &mut reader.partitions {
            if assigned.paused {
                continue;
            }
            while records.len() < most {
                let Some(item) = assigned.inbox.pop_front() else { break };
                match item {
                    Item::Skip(next) => assigned.next = next.max(assigned.next),
                    Item::Record(offset, data) => {
                        assigned.next = offset + 1;
                        let message = SimMessage { partition: partition.partition, offset, data };
                        records.push(Received { slot: assigned.slot, message });
                    }
                }
                if assigned.inbox.is_empty() {
                    drained.push(partition.clone());
                }
            }
        }
        for partition in drained {
            world.fetch(self.id, &partition);
        }
        woken || (records.len(), events.len()) != before
    }

    fn assign_all(&mut self, partitions: &[StartAt]) {
        let mut committed = None;
        for start in partitions {
            let slot = self.slot(&start.partition);
            let mut world = self.sim.lock();
            let offset = match start.offset {
                // Not read before a seek says from where.
                _ if start.paused => -1,
                Some(offset) => offset.0,
                None => {
                    let committed = committed.get_or_insert_with(|| {
                        let group = world.brokers.groups.get(&self.group);
                        group.map(|group| group.committed.clone()).unwrap_or_default()
                    });
                    committed.get(&start.partition).map_or(-1, |found| found.offset.0)
                }
            };
            let version = world.clients.next();
            if let Some(reader) = world.clients.readers.get_mut(&self.id) {
                let assigned = Assigned::at(slot, offset, start.paused, version);
                reader.partitions.insert(start.partition.clone(), assigned);
            }
            world.fetch(self.id, &start.partition);
        }
    }
}

impl Drop for SimConsumer {
    fn drop(&mut self) {
        let mut world = self.sim.lock();
        world.clients.readers.remove(&self.id);
        world.clients.members.remove(&self.id);
    }
}

impl Consumer for SimConsumer {
    type Message = SimMessage;
    type Waker = SimWaker;

    fn subscribe(&mut self, topics: &[&str]) -> Result<(), KafkaError> {
        self.sim.lock().subscribe(self.id, topics);
        Ok(())
    }

    fn poll(
        &mut self,
        limit: usize,
        timeout: Duration,
        records: &mut Vec<Received<SimMessage>>,
        events: &mut Vec<Event>,
    ) {
        // What the thread did since its last poll took some time, and so does this.
        let work = self.sim.lock().random.between(20, 400);
        self.sim.pass(work);
        let deadline = self.sim.lock().now + micros(timeout);
        loop {
            {
                let mut world = self.sim.lock();
                let now = world.now;
                if let Some(member) = world.clients.members.get_mut(&self.id) {
                    member.last_poll = now;
                }
                if self.take(&mut world, limit, records, events) || now >= deadline {
                    return;
                }
                let current = world.current;
                if let Some(reader) = world.clients.readers.get_mut(&self.id) {
                    reader.waiter = current;
                }
            }
            self.sim.wait_until(deadline);
        }
    }

    fn waker(&self) -> SimWaker {
        SimWaker { sim: self.sim.clone(), id: self.id }
    }

    fn slot(&mut self, partition: &TopicPartition) -> Slot {
        let next = Slot(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
        *self.slots.entry(partition.clone()).or_insert(next)
    }

    fn assign(&mut self, partitions: &[StartAt]) -> Result<(), KafkaError> {
        if let Some(reader) = self.sim.lock().clients.readers.get_mut(&self.id) {
            reader.partitions.clear();
        }
        self.assign_all(partitions);
        Ok(())
    }

    fn incremental_assign(&mut self, partitions: &[StartAt]) -> Result<(), KafkaError> {
        {
            let world = self.sim.lock();
            let reader = world.clients.readers.get(&self.id);
            let taken = |start: &&StartAt| {
                reader.is_some_and(|reader| reader.partitions.contains_key(&start.partition))
            };
            if let Some(start) = partitions.iter().find(taken) {
                let (class, code) = (ErrorClass::Other, "_CONFLICT");
                let message = "it is assigned already";
                return Err(KafkaError::new(class, code, "incremental assign", message)
                    .of_partition(&start.partition));
            }
        }
        self.assign_all(partitions);
        self.sim.lock().answered(self.id);
        Ok(())
    }

    fn incremental_unassign(&mut self, partitions: &[TopicPartition]) -> Result<(), KafkaError> {
        let mut world = self.sim.lock();
        if let Some(reader) = world.clients.readers.get_mut(&self.id) {
            if let Some(unknown) =
                partitions.iter().find(|partition| !reader.partitions.contains_key(partition))
            {
                let (class, code) = (ErrorClass::Other, "_INVALID_ARG");
                let message = "it is not assigned";
                return Err(KafkaError::new(class, code, "incremental unassign", message)
                    .of_partition(unknown));
            }
            for partition in partitions {
                reader.partitions.remove(partition);
            }
        }
        world.answered(self.id);
        Ok(())
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        let mut world = self.sim.lock();
        let Some(reader) = world.clients.readers.get_mut(&self.id) else { return };
        for partition in partitions {
            if let Some(assigned) = reader.partitions.get_mut(partition) {
                assigned.paused = true;
            }
        }
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        let mut world = self.sim.lock();
        let Some(reader) = world.clients.readers.get_mut(&self.id) else { return };
        for partition in partitions {
            if let Some(assigned) = reader.partitions.get_mut(partition) {
                assigned.paused = false;
            }
        }
    }

    fn seek(
        &mut self,
        positions: &[(TopicPartition, Offset)],
        _: Duration,
    ) -> Result<(), KafkaError> {
        let mut world = self.sim.lock();
        for (partition, offset) in positions {
            let version = world.clients.next();
            let reader = world.clients.readers.get_mut(&self.id);
            let assigned = reader.and_then(|reader| reader.partitions.get_mut(partition));
            let Some(assigned) = assigned else {
                let (class, code) = (ErrorClass::Other, "_STATE");
                let message = "it is not assigned";
                return Err(KafkaError::new(class, code, "seek", message).of_partition(partition));
            };
            assigned.seek(offset.0, version);
            world.fetch(self.id, partition);
        }
        Ok(())
    }

    fn refetch(
        &mut self,
        positions: &[(TopicPartition, Offset)],
        timeout: Duration,
    ) -> Result<(), KafkaError> {
        if self.sim.lock().mistake == Mistake::NeverFetchesAnew {
            return Ok(());
        }
        let partitions: Vec<_> = positions.iter().map(|(partition, _)| partition.clone()).collect();
        self.resume(&partitions);
        self.seek(positions, timeout)
    }

    fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.sim.lock().position(self.id, partition)
    }

    fn known_end(&self, partition: &TopicPartition) -> Option<Offset> {
        let world = self.sim.lock();
        let assigned = world.clients.readers.get(&self.id)?.partitions.get(partition)?;
        assigned.known_end.and_then(Offset::known)
    }

    fn committed(
        &self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<Option<Committed>>, KafkaError> {
        let (group, wanted) = (Arc::clone(&self.group), partitions.to_vec());
        let broker = Brokers::coordinator(&self.group);
        self.sim.call(broker, timeout, "fetch committed offsets", move |world| {
            world.group_offsets(&group, &wanted)
        })
    }

    fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        spec: OffsetSpec,
        isolation: Isolation,
        timeout: Duration,
    ) -> Result<Vec<EndOffset>, KafkaError> {
        list_offsets(&self.sim, partitions, spec, isolation, timeout)
    }

    fn commit(&mut self, offsets: &[Committed]) -> Result<(), KafkaError> {
        let (identity, wanted) = (self.group_metadata(), offsets.to_vec());
        let broker = Brokers::coordinator(&self.group);
        self.sim.call(broker, COMMIT, "commit offsets", move |world| {
            let group = world.brokers.groups.entry(Arc::clone(&identity.group_id)).or_default();
            Reply::Done(match group.validate(&identity, false) {
                Ok(()) => {
                    let offsets = wanted.iter().map(|at| (at.partition.clone(), at.clone()));
                    group.committed.extend(offsets);
                    Ok(())
                }
                Err(refusal) => Err(refusal.error("commit offsets", ErrorClass::NotAMember)),
            })
        })
    }

    fn group_metadata(&self) -> GroupMetadata {
        let world = self.sim.lock();
        world.clients.members.get(&self.id).map_or_else(
            || GroupMetadata {
                group_id: Arc::clone(&self.group),
                generation: -1,
                member_id: "".into(),
                group_instance_id: None,
            },
            super::member::Membership::identity,
        )
    }

    fn assignment_lost(&self) -> bool {
        self.sim.lock().clients.members.get(&self.id).is_some_and(|member| member.lost)
    }

    fn fatal_error(&self) -> Option<KafkaError> {
        let world = self.sim.lock();
        let fatal = world.clients.members.get(&self.id).is_some_and(|member| member.fatal);
        let (class, code) = (ErrorClass::Fenced, "FENCED_INSTANCE_ID");
        fatal.then(|| KafkaError::new(class, code, "run consumer", "another has its name"))
    }

    fn close(self, timeout: Duration, leave: bool) -> Result<(), KafkaError> {
        let farewell = self.sim.lock().farewell(self.id);
        let Some((group, member_id)) = farewell.filter(|_| leave) else { return Ok(()) };
        let broker = Brokers::coordinator(&group);
        self.sim.call(broker, timeout, "leave group", move |world| {
            world.group_leave(&group, &member_id, "leaves");
            Reply::Done(Ok(()))
        })
    }
}

/// How long a commit outside of transactions waits for its answer.
const COMMIT: Duration = Duration::from_secs(60);
/// How long it takes to ask all leaders, at least.
const SPREAD: Micros = 500;

/// Asks all leaders at once: the answers are of slightly different times.
pub(crate) fn list_offsets(
    sim: &Sim,
    partitions: &[TopicPartition],
    spec: OffsetSpec,
    isolation: Isolation,
    timeout: Duration,
) -> Result<Vec<EndOffset>, KafkaError> {
    let mut found = Vec::new();
    let deadline = sim.lock().now + micros(timeout);
    for partition in partitions {
        let timeout = Duration::from_micros(deadline.saturating_sub(sim.lock().now));
        let wanted = partition.clone();
        let broker = Brokers::leader(partition);
        let offset = sim.call(broker, timeout, "list offsets", move |world| {
            let Some(log) = world.brokers.log(&wanted) else {
                return Reply::Done(Err(Brokers::unknown(&wanted, "list offsets")));
            };
            Reply::Done(Ok(match (spec, isolation) {
                (OffsetSpec::Earliest, _) => Some(log.start()),
                (OffsetSpec::Latest, Isolation::ReadCommitted) => Some(log.stable()),
                (OffsetSpec::Latest, Isolation::ReadUncommitted) => Some(log.end()),
                (OffsetSpec::AtTime(time), _) => log
                    .read(log.start(), log.end())
                    .iter()
                    .find(|entry| {
                        entry.data.as_ref().is_some_and(|at| at.timestamp.millis() >= time)
                    })
                    .map(|entry| entry.offset),
            }))
        })?;
        found.push(EndOffset {
            partition: partition.clone(),
            offset: offset.map(Offset),
            leader_epoch: None,
        });
    }
    sim.pass(SPREAD);
    Ok(found)
}
