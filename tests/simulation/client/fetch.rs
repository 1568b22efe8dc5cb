//! The background of a consumer that fetches: what it reads ahead of the thread that polls.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tidemill::kafka::{ErrorClass, Event, KafkaError, Offset, Slot, TopicPartition};

use crate::client::ConsumerId;
use crate::cluster::Brokers;
use crate::cluster::log::{Data, Fate};
use crate::world::{ActorId, Life, World, note};

/// Records that are fetched ahead of a partition.
const AHEAD: usize = 200;

/// A consumer's partitions, and what was fetched of them.
#[derive(Debug)]
pub struct Reader {
    pub(crate) life: Life,
    committed_only: bool,
    is_member: bool,
    pub(crate) partitions: BTreeMap<TopicPartition, Assigned>,
    pub(crate) events: VecDeque<Event>,
    /// The thread that waits for records or events.
    pub(crate) waiter: Option<ActorId>,
    pub(crate) woken: bool,
}

/// A partition that is assigned.
#[derive(Debug)]
pub(crate) struct Assigned {
    pub(crate) slot: Slot,
    pub(crate) paused: bool,
    /// The next offset to hand out.
    pub(crate) next: i64,
    pub(crate) known_end: Option<i64>,
    pub(crate) inbox: VecDeque<Item>,
    fetch_at: i64,
    /// Another one after each seek, so that what was fetched for an older place is dropped.
    version: u64,
    fetching: bool,
    /// Out of range, astray, or not told yet where to begin: read no further.
    broken: bool,
}

/// What was fetched.
#[derive(Debug)]
pub(crate) enum Item {
    Record(i64, Arc<Data>),
    /// Nothing to hand out before this offset.
    Skip(i64),
}

impl Reader {
    pub(crate) fn new(life: Life, committed_only: bool, is_member: bool) -> Self {
        Self {
            life,
            committed_only,
            is_member,
            partitions: BTreeMap::new(),
            events: VecDeque::new(),
            waiter: None,
            woken: false,
        }
    }
}

impl Assigned {
    pub(crate) fn at(slot: Slot, offset: i64, paused: bool, version: u64) -> Self {
        Self {
            slot,
            paused,
            next: offset,
            known_end: None,
            inbox: VecDeque::new(),
            fetch_at: offset,
            version,
            fetching: false,
            broken: offset < 0,
        }
    }

    pub(crate) fn seek(&mut self, offset: i64, version: u64) {
        let (slot, paused) = (self.slot, self.paused);
        *self = Self { known_end: self.known_end, ..Self::at(slot, offset, paused, version) };
    }
}

impl World {
    /// Lets the thread that polls see what has come.
    pub(crate) fn wake_reader(&mut self, id: ConsumerId) {
        let waiter = self.clients.readers.get_mut(&id).and_then(|reader| reader.waiter.take());
        if let Some(waiter) = waiter {
            self.wake(waiter);
        }
    }

    /// Fetches what follows, unless that is under way or there is no room.
    pub(crate) fn fetch(&mut self, id: ConsumerId, partition: &TopicPartition) {
        let Some(reader) = self.clients.readers.get_mut(&id) else { return };
        let life = reader.life;
        // Changelogs are read seldom, and in few steps.
        let astray = self.weather.astray * if reader.is_member { 1 } else { 5 };
        let astray = self.random.chance(astray);
        let Some(assigned) = reader.partitions.get_mut(partition) else { return };
        if assigned.fetching || assigned.broken || assigned.inbox.len() >= AHEAD {
            return;
        }
        if astray {
            assigned.broken = true;
            note!(self, "{:?}: {partition} is not read any more", life.process);
            return;
        }
        assigned.fetching = true;
        let version = assigned.version;
        let at = self.arrival(life.process, Brokers::leader(partition));
        let partition = partition.clone();
        self.at(at, move |world| world.serve_fetch(id, partition, version));
    }

    /// Fetch, at the broker.
    fn serve_fetch(&mut self, id: ConsumerId, partition: TopicPartition, version: u64) {
        let limit = self.random.between(1, 80);
        let Some(reader) = self.clients.readers.get_mut(&id) else { return };
        let (life, committed_only, is_member) =
            (reader.life, reader.committed_only, reader.is_member);
        let Some(assigned) = reader.partitions.get_mut(&partition) else { return };
        if assigned.version != version {
            return;
        }
        let from = assigned.fetch_at;
        let Some(log) = self.brokers.log(&partition) else { return };
        let bound = if committed_only { log.stable() } else { log.end() };
        let mut items = Vec::new();
        let mut next = from;
        let in_range = from >= log.start() && from <= log.end();
        let mut taken = 0;
        for entry in log.read(from, bound).iter().take_while(|_| in_range) {
            if taken == limit {
                break;
            }
            taken += 1;
            next = entry.offset + 1;
            match &entry.data {
                Some(data) if !committed_only || entry.fate == Fate::Committed => {
                    items.push(Item::Record(entry.offset, Arc::clone(data)));
                }
                Some(_) => {}
                None => items.push(Item::Skip(next)),
            }
        }
        let reached_end = in_range && taken < limit;
        if reached_end {
            next = bound.max(next);
            // Who reads what it is told is shown the end, past everything invisible before it.
            if !is_member && next > from {
                items.push(Item::Skip(next));
            }
        }
        let waits = reached_end && next == from;
        if waits && let Some(assigned) = reader.partitions.get_mut(&partition) {
            assigned.fetching = false;
            let number = usize::try_from(partition.partition).unwrap_or(0);
            if let Some(topic) = self.brokers.topics.get_mut(&partition.topic) {
                topic.readers[number].insert(id);
            }
        }
        let at = self.now + self.latency();
        self.within(life, at, move |world| {
            let Some(reader) = world.clients.readers.get_mut(&id) else { return };
            let assigned = reader.partitions.get_mut(&partition);
            if assigned.as_ref().is_some_and(|assigned| assigned.version != version) {
                return;
            }
            if !in_range {
                // librdkafka tells of it even when the partition is no longer assigned.
                let (class, code) = (ErrorClass::OffsetOutOfRange, "OFFSET_OUT_OF_RANGE");
                let error = KafkaError::new(class, code, "consume", format!("offset {from}"))
                    .of_partition(&partition);
                if let Some(assigned) = assigned {
                    assigned.known_end = Some(bound);
                    assigned.fetching = false;
                    assigned.broken = true;
                }
                reader.events.push_back(Event::OutOfRange { partition, error });
                return world.wake_reader(id);
            }
            let Some(assigned) = assigned else { return };
            assigned.known_end = Some(bound);
            if waits {
                return world.wake_reader(id);
            }
            assigned.fetching = false;
            assigned.fetch_at = next;
            assigned.inbox.extend(items);
            world.wake_reader(id);
            world.fetch(id, &partition);
        });
    }

    /// The position of a partition: `None` where it is not assigned.
    pub(crate) fn position(&self, id: ConsumerId, partition: &TopicPartition) -> Option<Offset> {
        let assigned = self.clients.readers.get(&id)?.partitions.get(partition)?;
        Offset::known(assigned.next)
    }
}
