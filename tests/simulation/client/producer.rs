//! The producer: what the runtime holds of a [`Sender`].

use std::sync::Arc;
use std::time::Duration;

use tidemill::kafka::{
    Committed, Deliveries, ErrorClass, GroupMetadata, KafkaError, Outgoing, ProduceError, Producer,
    TopicId, TopicPartition,
};
use tidemill_topology::partition::by_key;
use tidemill_topology::time::Timestamp;

use super::ProducerId;
use super::call::{Reply, timed_out};
use super::send::Sender;
use crate::cluster::Brokers;
use crate::cluster::log::Data;
use crate::cluster::transactions::Writer;
use crate::world::{Life, Micros, Sim, World, micros, note};

/// See the [module](self).
#[derive(Debug)]
pub struct SimProducer {
    sim: Sim,
    id: ProducerId,
    topics: Vec<Arc<str>>,
    deliveries: Deliveries,
}

impl SimProducer {
    pub(crate) fn new(sim: &Sim, id: ProducerId) -> Self {
        Self { sim: sim.clone(), id, topics: Vec::new(), deliveries: Deliveries::default() }
    }

    fn with<T>(&self, look: impl FnOnce(&mut Sender) -> T) -> Option<T> {
        self.sim.lock().clients.senders.get_mut(&self.id).map(look)
    }

    fn check(&self, operation: &'static str) -> Result<Writer, KafkaError> {
        if let Some(error) = self.fatal_error() {
            return Err(error);
        }
        let (class, code) = (ErrorClass::Fatal, "_STATE");
        let missing =
            || KafkaError::new(class, code, operation, "transactions are not initialised");
        self.with(|sender| sender.writer()).flatten().ok_or_else(missing)
    }

    fn requires_abort(&self, operation: &'static str) -> KafkaError {
        let (class, code) = (ErrorClass::Abortable, "_INCONSISTENT");
        KafkaError::new(class, code, operation, "a record was not delivered")
    }

    /// Remembers an error that ends this producer.
    fn noted<T>(&self, result: Result<T, KafkaError>) -> Result<T, KafkaError> {
        if let Err(error) = &result
            && error.class().is_fatal()
        {
            note!(self.sim.lock(), "a producer is finished: {error}");
            self.with(|sender| sender.fatal.get_or_insert((error.class(), "_FENCED")).1);
        }
        result
    }

    /// Waits until what was sent is answered.
    fn settle(&mut self, deadline: Micros, in_flight_only: bool) -> bool {
        loop {
            let (open, now) = {
                let mut world = self.sim.lock();
                if !in_flight_only {
                    world.pump_all(self.id);
                }
                let (now, current) = (world.now, world.current);
                let Some(sender) = world.clients.senders.get_mut(&self.id) else { return true };
                let stuck = sender.fatal.is_some() || sender.must_abort;
                let open = if in_flight_only || stuck {
                    sender.is_in_flight()
                } else {
                    sender.outstanding() > 0
                };
                sender.waiter = current.filter(|_| open);
                (open, now)
            };
            self.poll(Duration::ZERO);
            if !open || now >= deadline {
                return !open;
            }
            self.sim.wait_until(deadline);
        }
    }

    /// Lets time pass in which the client library's background goes on, now and then.
    fn take_long_over_some(&self) {
        let (stands_still, time) = {
            let mut world = self.sim.lock();
            let stands_still = world.strike_at_send();
            let slow = world.weather.slow_records;
            if !stands_still && !world.random.chance(slow) {
                return;
            }
            (stands_still, world.random.between(1_000, 400_000))
        };
        if stands_still {
            self.sim.pass(1);
        }
        self.sim.pass(time);
    }

    fn left(&self, deadline: Micros) -> Duration {
        Duration::from_micros(deadline.saturating_sub(self.sim.lock().now))
    }
}

impl World {
    /// Lets the process that runs stand still, if that is to happen when it sends a record.
    fn strike_at_send(&mut self) -> bool {
        let Some(Life { process, .. }) = self.current_life() else { return false };
        let state = self.processes.get_mut(&process);
        let Some(time) = state.and_then(|state| state.at_send.take()) else { return false };
        note!(self, "{process} stands still within a batch for {} s", time as f64 / 1e6);
        self.pause(process, self.now + time);
        true
    }
}

impl Drop for SimProducer {
    fn drop(&mut self) {
        self.sim.lock().clients.senders.remove(&self.id);
    }
}

impl Producer for SimProducer {
    fn init_transactions(&mut self, timeout: Duration) -> Result<(), KafkaError> {
        let Some(id) = self.with(|sender| sender.transactional_id.clone()).flatten() else {
            let (class, code) = (ErrorClass::Configuration, "_NOT_CONFIGURED");
            return Err(KafkaError::new(class, code, "init transactions", "no transactional.id"));
        };
        let transaction = self.sim.lock().clients.timing.transaction;
        let broker = Brokers::coordinator(&id);
        let identity = self.sim.call(broker, timeout, "init transactions", move |world| {
            world.init_producer(&id, transaction)
        })?;
        self.with(|sender| sender.identity = Some(identity));
        Ok(())
    }

    fn begin(&mut self) -> Result<(), KafkaError> {
        self.check("begin transaction")?;
        self.with(Sender::ended);
        Ok(())
    }

    fn send_offsets(
        &mut self,
        offsets: &[Committed],
        group: &GroupMetadata,
        timeout: Duration,
    ) -> Result<(), KafkaError> {
        let operation = "send offsets to transaction";
        let deadline = self.sim.lock().now + micros(timeout);
        let writer = self.check(operation)?;
        if self.with(|sender| sender.must_abort) == Some(true) {
            return Err(self.requires_abort(operation));
        }
        let (adder, name) = (writer.clone(), Arc::clone(&group.group_id));
        let coordinator = Brokers::coordinator(&writer.id);
        let added = self.sim.call(coordinator, timeout, operation, move |world| {
            world.add_to_transaction(&adder, None, Some(&name))
        });
        let number = self.noted(added)?;
        self.with(|sender| sender.number = Some(number));
        let (group, offsets) = (group.clone(), offsets.to_vec());
        let broker = Brokers::coordinator(&group.group_id);
        let sent = self.sim.call(broker, self.left(deadline), operation, move |world| {
            let found = world.brokers.groups.entry(Arc::clone(&group.group_id)).or_default();
            if let Err(refusal) = found.validate(&group, true) {
                note!(world, "group: offsets of {} refused with {refusal:?}", group.member_id);
                return Reply::Done(Err(refusal.error(operation, ErrorClass::Abortable)));
            }
            Reply::Done(world.offer_offsets(&writer, number, &group.group_id, &offsets))
        });
        let sent = self.noted(sent);
        if sent.as_ref().is_err_and(|error| error.class() == ErrorClass::Abortable) {
            self.with(|sender| sender.must_abort = true);
        }
        sent
    }

    fn commit(&mut self, timeout: Duration) -> Result<(), KafkaError> {
        let operation = "commit transaction";
        let deadline = self.sim.lock().now + micros(timeout);
        let writer = self.check(operation)?;
        if !self.settle(deadline, false) {
            return Err(timed_out(operation));
        }
        self.check(operation)?;
        if self.with(|sender| sender.must_abort) == Some(true) {
            return Err(self.requires_abort(operation));
        }
        if self.with(|sender| sender.number.is_none()) == Some(true) {
            // Nothing was sent: the coordinator knows of no transaction.
            return Ok(());
        }
        let number = self.with(|sender| {
            sender.committing = true;
            sender.number
        });
        let broker = Brokers::coordinator(&writer.id);
        let left = self.left(deadline);
        let ended = self.sim.call(broker, left, operation, move |world| {
            world.end_transaction(&writer, number.flatten(), true)
        });
        self.noted(ended)?;
        self.with(Sender::ended);
        Ok(())
    }

    fn abort(&mut self, timeout: Duration) -> Result<(), KafkaError> {
        let operation = "abort transaction";
        let deadline = self.sim.lock().now + micros(timeout);
        let writer = self.check(operation)?;
        if self.with(|sender| sender.committing) == Some(true) {
            let (class, code) = (ErrorClass::Fatal, "_CONFLICT");
            return Err(KafkaError::new(class, code, operation, "a commit is under way"));
        }
        self.with(Sender::drop_queued);
        if !self.settle(deadline, true) {
            return Err(timed_out(operation));
        }
        self.check(operation)?;
        let number = self.with(|sender| sender.number).flatten();
        if number.is_some() {
            let broker = Brokers::coordinator(&writer.id);
            let left = self.left(deadline);
            let ended = self.sim.call(broker, left, operation, move |world| {
                world.end_transaction(&writer, number, false)
            });
            self.noted(ended)?;
        }
        self.with(Sender::ended);
        Ok(())
    }

    fn flush(&mut self, timeout: Duration) -> Result<(), KafkaError> {
        let deadline = self.sim.lock().now + micros(timeout);
        if self.settle(deadline, false) { Ok(()) } else { Err(timed_out("flush")) }
    }

    fn topic(&mut self, name: &str) -> Result<TopicId, KafkaError> {
        let found = self.topics.iter().position(|topic| **topic == *name);
        let at = found.unwrap_or_else(|| {
            self.topics.push(name.into());
            self.topics.len() - 1
        });
        Ok(TopicId(u32::try_from(at).unwrap_or(u32::MAX)))
    }

    fn produce(&mut self, record: &Outgoing<'_>) -> Result<(), ProduceError> {
        if let Some(error) = self.fatal_error() {
            return Err(error.into());
        }
        self.take_long_over_some();
        let topic = Arc::clone(&self.topics[record.topic.index()]);
        let mut world = self.sim.lock();
        let count = world.brokers.topics.get(&topic).map_or(0, |topic| topic.partitions.len());
        let count = i32::try_from(count).unwrap_or(1);
        let partition =
            record.partition.unwrap_or_else(|| by_key(record.key.unwrap_or(b""), count));
        let is_past = record.timestamp != Timestamp::UNKNOWN && record.timestamp.millis() >= 0;
        let data = Data {
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            timestamp: if is_past { record.timestamp } else { world.wall() },
            headers: record.headers.clone(),
        };
        world.produce(self.id, &TopicPartition::new(topic, partition), data);
        Ok(())
    }

    fn poll(&mut self, _: Duration) {
        let reports = self.with(|sender| std::mem::take(&mut sender.reports)).unwrap_or_default();
        for report in reports {
            let partition = report.partition;
            let at = self.topics.iter().position(|topic| *topic == partition.topic);
            let topic = TopicId(u32::try_from(at.unwrap_or(0)).unwrap_or(u32::MAX));
            match report.first {
                Ok(first) => {
                    for number in 0..report.records as i64 {
                        let offset = first.map_or(-1, |first| first + number);
                        self.deliveries.note_delivered(topic, partition.partition, offset);
                    }
                }
                Err(code) => self.deliveries.note_failed(|| {
                    let class = ErrorClass::Abortable;
                    let error = KafkaError::new(class, code, "deliver record", "not delivered");
                    (partition.clone(), error.of_partition(&partition))
                }),
            }
        }
    }

    fn deliveries(&mut self) -> &mut Deliveries {
        &mut self.deliveries
    }

    fn in_flight(&self) -> usize {
        self.with(|sender| sender.outstanding()).unwrap_or(0)
    }

    fn purge(&mut self) {
        self.with(Sender::drop_all);
    }

    fn fatal_error(&self) -> Option<KafkaError> {
        let (class, code) = self.with(|sender| sender.fatal).flatten()?;
        Some(KafkaError::new(class, code, "run producer", "this producer is finished"))
    }
}
