//! The background of a producer: what it sends while the thread goes on, batch by batch.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tidemill::kafka::{ErrorClass, KafkaError, TopicPartition};

use super::ProducerId;
use super::call::Reply;
use crate::cluster::Brokers;
use crate::cluster::log::Data;
use crate::cluster::transactions::Writer;
use crate::world::{ActorId, Life, Micros, World, note};

/// How long records are gathered.
const LINGER: Micros = 5_000;

/// A producer's queues, and what the brokers said of what was sent.
#[derive(Debug)]
pub struct Sender {
    pub(crate) life: Life,
    pub(crate) transactional_id: Option<Arc<str>>,
    pub(crate) identity: Option<(u64, i16)>,
    queues: BTreeMap<TopicPartition, VecDeque<Arc<Data>>>,
    in_flight: BTreeMap<TopicPartition, Batch>,
    /// What the transaction is known to be part of.
    added: BTreeSet<TopicPartition>,
    /// The transaction's number at its coordinator, once it has begun there.
    pub(crate) number: Option<u64>,
    batches: u64,
    /// Counts transactions, so that a late batch of one never becomes part of another.
    transaction: u64,
    /// Whether the outcome of a commit is open.
    pub(crate) committing: bool,
    pub(crate) reports: Vec<Report>,
    pub(crate) fatal: Option<(ErrorClass, &'static str)>,
    pub(crate) must_abort: bool,
    pub(crate) waiter: Option<ActorId>,
}

#[derive(Debug)]
struct Batch {
    id: u64,
    records: Vec<Arc<Data>>,
}

/// A delivery report of a batch.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) partition: TopicPartition,
    pub(crate) records: usize,
    /// The first offset; `None` where the broker did not say.
    pub(crate) first: Result<Option<i64>, &'static str>,
}

impl Sender {
    pub(crate) fn new(life: Life, transactional_id: Option<Arc<str>>) -> Self {
        Self {
            life,
            transactional_id,
            identity: None,
            queues: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            added: BTreeSet::new(),
            number: None,
            batches: 0,
            transaction: 0,
            committing: false,
            reports: Vec::new(),
            fatal: None,
            must_abort: false,
            waiter: None,
        }
    }

    pub(crate) fn writer(&self) -> Option<Writer> {
        let (producer, epoch) = self.identity?;
        Some(Writer { id: Arc::clone(self.transactional_id.as_ref()?), producer, epoch })
    }

    pub(crate) fn outstanding(&self) -> usize {
        let queued: usize = self.queues.values().map(VecDeque::len).sum();
        queued + self.in_flight.values().map(|batch| batch.records.len()).sum::<usize>()
    }

    pub(crate) fn is_in_flight(&self) -> bool {
        !self.in_flight.is_empty()
    }

    pub(crate) fn drop_queued(&mut self) {
        self.queues.clear();
    }

    pub(crate) fn drop_all(&mut self) {
        self.queues.clear();
        self.in_flight.clear();
    }

    /// Forgets the transaction that has ended.
    pub(crate) fn ended(&mut self) {
        self.added.clear();
        self.transaction += 1;
        self.committing = false;
        self.number = None;
        self.must_abort = false;
    }
}

impl World {
    /// Queues a record.
    pub(crate) fn produce(&mut self, id: ProducerId, partition: &TopicPartition, data: Data) {
        let Some(sender) = self.clients.senders.get_mut(&id) else { return };
        sender.queues.entry(partition.clone()).or_default().push_back(Arc::new(data));
        if !sender.in_flight.contains_key(partition) {
            let life = sender.life;
            // Gathered for a while; what makes this a batch is under way from then on.
            let at = self.now + LINGER;
            let partition = partition.clone();
            self.within(life, at, move |world| world.pump(id, &partition));
        }
    }

    /// Sends everything that is queued at once.
    pub(crate) fn pump_all(&mut self, id: ProducerId) {
        let Some(sender) = self.clients.senders.get(&id) else { return };
        for partition in sender.queues.keys().cloned().collect::<Vec<_>>() {
            self.pump(id, &partition);
        }
    }

    fn pump(&mut self, id: ProducerId, partition: &TopicPartition) {
        let most = usize::try_from(self.random.between(1, 60)).unwrap_or(1);
        let delivery = self.clients.timing.transaction * 2 / 3;
        let Some(sender) = self.clients.senders.get_mut(&id) else { return };
        if sender.in_flight.contains_key(partition) || sender.fatal.is_some() || sender.must_abort {
            return;
        }
        let Some(queue) = sender.queues.get_mut(partition).filter(|queue| !queue.is_empty()) else {
            return;
        };
        let records: Vec<Arc<Data>> = queue.drain(..most.min(queue.len())).collect();
        sender.batches += 1;
        let (batch, life) = (sender.batches, sender.life);
        sender.in_flight.insert(partition.clone(), Batch { id: batch, records });
        let late = partition.clone();
        self.within(life, self.now + delivery, move |world| {
            world.report(id, &late, batch, Err("_MSG_TIMED_OUT"));
        });
        self.send_batch(id, partition.clone(), batch, None);
    }

    /// A batch leaves. `known` is where an earlier try put it, the answer to which was lost.
    fn send_batch(
        &mut self,
        id: ProducerId,
        partition: TopicPartition,
        batch: u64,
        known: Option<i64>,
    ) {
        let Some(sender) = self.clients.senders.get(&id) else { return };
        let Some(found) = sender.in_flight.get(&partition).filter(|found| found.id == batch) else {
            return;
        };
        let (life, writer) = (sender.life, sender.writer());
        let (records, added) = (found.records.clone(), sender.added.contains(&partition));
        let (number, transaction) = (sender.number, sender.transaction);
        let at = self.arrival(life.process, Brokers::leader(&partition));
        let again = at + self.random.between(100_000, 800_000);
        let lost_request = self.weather.lost_requests;
        if self.random.chance(lost_request) {
            self.within(life, again, move |world| world.send_batch(id, partition, batch, known));
            return;
        }
        let lost_answers = self.weather.lost_answers;
        let lost_answer = self.random.chance(lost_answers);
        self.at(at, move |world| {
            if world.clients.senders.get(&id).is_some_and(|now| now.transaction != transaction) {
                return;
            }
            let reply = world.write(
                writer.as_ref(),
                added.then_some(number).flatten(),
                &partition,
                &records,
                known,
            );
            // Records leave only after the partition's addition was answered: the client knows of the
            // transaction whatever becomes of them.
            if let Reply::Done(Ok((_, number))) = &reply
                && let Some(sender) = world.clients.senders.get_mut(&id)
            {
                sender.added.insert(partition.clone());
                sender.number = number.or(sender.number);
            }
            let at = world.now + world.latency();
            match reply {
                Reply::Again(wait, _) => {
                    world.within(life, at + wait, move |world| {
                        world.send_batch(id, partition, batch, known);
                    });
                }
                Reply::Done(Ok((first, _))) if lost_answer => {
                    note!(world, "the answer to a batch for {partition}@{first} is lost");
                    world.within(life, again, move |world| {
                        world.send_batch(id, partition, batch, Some(first));
                    });
                }
                Reply::Done(Ok((first, _))) => {
                    // Of a batch that it knew already, a broker may not know the offset any more.
                    let told = known.is_none() || world.random.chance(500);
                    world.within(life, at, move |world| {
                        world.report(id, &partition, batch, Ok(told.then_some(first)));
                    });
                }
                Reply::Done(Err(error)) => {
                    world.within(life, at, move |world| {
                        world.refuse_batch(id, &partition, batch, &error);
                    });
                }
            }
        });
    }

    /// AddPartitionsToTxn where it is needed, then Produce.
    fn write(
        &mut self,
        writer: Option<&Writer>,
        number: Option<u64>,
        partition: &TopicPartition,
        records: &[Arc<Data>],
        known: Option<i64>,
    ) -> Reply<(i64, Option<u64>)> {
        let Some(writer) = writer else {
            let Some(log) = self.brokers.log_mut(partition) else {
                return Reply::Done(Err(Brokers::unknown(partition, "produce")));
            };
            let first = known.unwrap_or_else(|| log.append(records, None));
            self.grown(partition);
            return Reply::Done(Ok((first, None)));
        };
        let number = match number {
            Some(number) => number,
            None => match self.add_to_transaction(writer, Some(partition), None) {
                Reply::Done(Ok(number)) => number,
                Reply::Done(Err(error)) => return Reply::Done(Err(error)),
                Reply::Again(wait, error) => return Reply::Again(wait, error),
            },
        };
        if let Some(first) = known {
            let verified = self.verify(writer, number, "produce");
            return Reply::Done(verified.map(|()| (first, Some(number))));
        }
        let first = self.append(writer, number, partition, records);
        Reply::Done(first.map(|first| (first, Some(number))))
    }

    fn refuse_batch(
        &mut self,
        id: ProducerId,
        partition: &TopicPartition,
        batch: u64,
        error: &KafkaError,
    ) {
        let Some(sender) = self.clients.senders.get_mut(&id) else { return };
        note!(self, "a batch for {partition} is refused: {}", error.code());
        if error.class().is_fatal() {
            sender.fatal.get_or_insert((error.class(), "_FENCED"));
        }
        self.report(id, partition, batch, Err("refused"));
    }

    fn report(
        &mut self,
        id: ProducerId,
        partition: &TopicPartition,
        batch: u64,
        first: Result<Option<i64>, &'static str>,
    ) {
        let Some(sender) = self.clients.senders.get_mut(&id) else { return };
        if sender.in_flight.get(partition).is_none_or(|found| found.id != batch) {
            return;
        }
        let Some(done) = sender.in_flight.remove(partition) else { return };
        if first.is_err() {
            sender.must_abort = true;
        }
        sender.reports.push(Report {
            partition: partition.clone(),
            records: done.records.len(),
            first,
        });
        let waiter = sender.waiter.take();
        if let Some(waiter) = waiter {
            self.wake(waiter);
        }
        self.pump(id, partition);
    }
}
