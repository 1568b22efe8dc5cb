//! The transaction coordinator.
//!
//! ```text
//! Empty --> Ongoing --> PrepareCommit --> Complete --> Ongoing ...
//!              |
//!              +--> PrepareAbort ---> Complete
//! ```
//!
//! The decision is made, and answered, before its markers are written. Each partition gets its
//! marker when it gets it; until the last one has, nothing new begins under the id.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidemill::kafka::{Committed, ErrorClass, KafkaError, TopicPartition};

use super::Brokers;
use super::log::Data;
use crate::client::call::Reply;
use crate::world::{Micros, World, note};

/// How far a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There was none yet.
    Empty,
    /// Records are being written.
    Ongoing,
    /// Decided: the markers are on their way.
    Prepared {
        /// How it was decided.
        commit: bool,
    },
    /// All markers are written.
    Complete {
        /// How it was decided.
        commit: bool,
    },
}

/// A transactional id.
#[derive(Debug)]
pub struct Transactional {
    pub(crate) producer: u64,
    pub(crate) epoch: i16,
    pub(crate) state: State,
    partitions: BTreeSet<TopicPartition>,
    groups: BTreeSet<Arc<str>>,
    timeout: Micros,
    /// Which transaction it is, counted over all epochs.
    pub(crate) number: u64,
    markers_left: usize,
}

/// Whose transaction a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// Transactional id.
    pub id: Arc<str>,
    /// Producer id.
    pub producer: u64,
    /// Its epoch.
    pub epoch: i16,
}

/// How long a client waits before it asks a coordinator again that is still busy.
const BUSY: Micros = 20_000;

fn fenced(operation: &'static str) -> KafkaError {
    let message = "a newer producer, or a timeout, fenced this one";
    KafkaError::new(ErrorClass::Fenced, "_FENCED", operation, message)
}

fn invalid_state(operation: &'static str) -> KafkaError {
    let message = "the transaction is in another state";
    KafkaError::new(ErrorClass::Fatal, "INVALID_TXN_STATE", operation, message)
}

fn busy(operation: &'static str) -> KafkaError {
    let message = "the last transaction is still being ended";
    KafkaError::new(ErrorClass::Retriable, "CONCURRENT_TRANSACTIONS", operation, message)
}

impl World {
    /// InitProducerId.
    pub(crate) fn init_producer(&mut self, id: &Arc<str>, timeout: Micros) -> Reply<(u64, i16)> {
        let Some(found) = self.brokers.transactions.get_mut(id) else {
            self.brokers.producers += 1;
            let new = Transactional {
                producer: self.brokers.producers,
                epoch: 0,
                state: State::Empty,
                partitions: BTreeSet::new(),
                groups: BTreeSet::new(),
                timeout,
                number: 0,
                markers_left: 0,
            };
            let identity = (new.producer, new.epoch);
            self.brokers.transactions.insert(Arc::clone(id), new);
            return Reply::Done(Ok(identity));
        };
        match found.state {
            State::Ongoing => {
                found.epoch += 1;
                note!(self, "coordinator: {id} begins anew; its open transaction is aborted");
                self.decide(id, false);
                Reply::Again(BUSY, busy("init transactions"))
            }
            State::Prepared { .. } => Reply::Again(BUSY, busy("init transactions")),
            State::Empty | State::Complete { .. } => {
                found.epoch += 1;
                found.timeout = timeout;
                Reply::Done(Ok((found.producer, found.epoch)))
            }
        }
    }

    fn of(&self, writer: &Writer, operation: &'static str) -> Result<&Transactional, KafkaError> {
        match self.brokers.transactions.get(&writer.id) {
            Some(found) if found.producer == writer.producer && found.epoch == writer.epoch => {
                Ok(found)
            }
            _ => Err(fenced(operation)),
        }
    }

    /// AddPartitionsToTxn or AddOffsetsToTxn: opens the transaction with its first. Says which
    /// one it is.
    pub(crate) fn add_to_transaction(
        &mut self,
        writer: &Writer,
        partition: Option<&TopicPartition>,
        group: Option<&Arc<str>>,
    ) -> Reply<u64> {
        let operation = "add to transaction";
        let found = match self.of(writer, operation) {
            Ok(found) => found,
            Err(error) => return Reply::Done(Err(error)),
        };
        if let State::Prepared { .. } = found.state {
            return Reply::Again(BUSY, busy(operation));
        }
        let begins = found.state != State::Ongoing;
        let Some(found) = self.brokers.transactions.get_mut(&writer.id) else {
            return Reply::Done(Err(fenced(operation)));
        };
        if begins {
            found.state = State::Ongoing;
            found.number += 1;
        }
        found.partitions.extend(partition.cloned());
        found.groups.extend(group.cloned());
        let (number, timeout) = (found.number, found.timeout);
        if begins {
            // The coordinator looks for transactions that are too old from time to time.
            let look = timeout + self.random.between(0, 2_000_000);
            let id = Arc::clone(&writer.id);
            self.after(look, move |world| world.time_out(&id, number));
        }
        Reply::Done(Ok(number))
    }

    fn time_out(&mut self, id: &Arc<str>, number: u64) {
        let Some(found) = self.brokers.transactions.get_mut(id) else { return };
        if found.number == number && found.state == State::Ongoing {
            found.epoch += 1;
            note!(
                self,
                "coordinator: transaction {number} of {id} took too long; aborted, its producer fenced"
            );
            self.decide(id, false);
        }
    }

    /// Whether a transaction may still be written to.
    pub(crate) fn verify(
        &self,
        writer: &Writer,
        number: u64,
        operation: &'static str,
    ) -> Result<(), KafkaError> {
        let found = self.of(writer, operation)?;
        if found.state == State::Ongoing && found.number == number {
            Ok(())
        } else {
            Err(invalid_state(operation))
        }
    }

    /// Produce: appends records of a transaction. Returns the first one's offset.
    pub(crate) fn append(
        &mut self,
        writer: &Writer,
        number: u64,
        partition: &TopicPartition,
        records: &[Arc<Data>],
    ) -> Result<i64, KafkaError> {
        self.verify(writer, number, "produce")?;
        let Some(log) = self.brokers.log_mut(partition) else {
            return Err(Brokers::unknown(partition, "produce"));
        };
        if log.epoch(writer.producer).is_some_and(|known| known > writer.epoch) {
            return Err(fenced("produce"));
        }
        let first = log.append(records, Some((writer.producer, writer.epoch)));
        note!(self, "broker: {} records of {} at {partition}@{first}", records.len(), writer.id);
        self.grown(partition);
        Ok(first)
    }

    /// TxnOffsetCommit, after the group has agreed.
    pub(crate) fn offer_offsets(
        &mut self,
        writer: &Writer,
        number: u64,
        group: &Arc<str>,
        offsets: &[Committed],
    ) -> Result<(), KafkaError> {
        self.verify(writer, number, "send offsets")?;
        let group = self.brokers.groups.entry(Arc::clone(group)).or_default();
        group.pending.entry(writer.producer).or_default().extend(offsets.iter().cloned());
        Ok(())
    }

    /// EndTxn.
    pub(crate) fn end_transaction(
        &mut self,
        writer: &Writer,
        number: Option<u64>,
        commit: bool,
    ) -> Reply<()> {
        let operation = if commit { "commit transaction" } else { "abort transaction" };
        let state = match self.of(writer, operation) {
            Ok(found) if number.is_some_and(|number| number != found.number) => State::Empty,
            Ok(found) => found.state,
            Err(error) => return Reply::Done(Err(error)),
        };
        match state {
            State::Ongoing => {
                self.decide(&writer.id, commit);
                Reply::Done(Ok(()))
            }
            State::Prepared { commit: decided } if decided == commit => {
                Reply::Again(BUSY, busy(operation))
            }
            State::Complete { commit: decided } if decided == commit => Reply::Done(Ok(())),
            State::Empty | State::Prepared { .. } | State::Complete { .. } => {
                Reply::Done(Err(invalid_state(operation)))
            }
        }
    }

    /// Decides a transaction, and sends its markers on their way.
    fn decide(&mut self, id: &Arc<str>, commit: bool) {
        let Some(found) = self.brokers.transactions.get_mut(id) else { return };
        found.state = State::Prepared { commit };
        let (producer, epoch, number) = (found.producer, found.epoch, found.number);
        let partitions = std::mem::take(&mut found.partitions);
        let groups = std::mem::take(&mut found.groups);
        found.markers_left = partitions.len() + groups.len();
        let verdict = if commit { "committed" } else { "aborted" };
        note!(self, "coordinator: transaction {number} of {id} is {verdict}");
        for partition in partitions {
            let at = self.marker_at(Brokers::leader(&partition));
            let id = Arc::clone(id);
            self.at(at, move |world| {
                if let Some(log) = world.brokers.log_mut(&partition) {
                    log.mark(producer, epoch, commit);
                    world.grown(&partition);
                }
                world.marked(&id, number, commit);
            });
        }
        for group in groups {
            let at = self.marker_at(Brokers::coordinator(&group));
            let id = Arc::clone(id);
            self.at(at, move |world| {
                world.end_offsets(&group, producer, commit);
                world.marked(&id, number, commit);
            });
        }
        self.marked_if_done(id, commit);
    }

    fn marker_at(&mut self, broker: usize) -> Micros {
        let wait = if self.random.chance(self.weather.slow_markers) {
            self.random.between(50_000, 3_000_000)
        } else {
            self.random.between(200, 4_000)
        };
        (self.now + wait).max(self.brokers.up_at(broker))
    }

    fn marked(&mut self, id: &Arc<str>, number: u64, commit: bool) {
        if let Some(found) = self.brokers.transactions.get_mut(id)
            && found.number == number
        {
            found.markers_left -= 1;
        }
        self.marked_if_done(id, commit);
    }

    fn marked_if_done(&mut self, id: &Arc<str>, commit: bool) {
        if let Some(found) = self.brokers.transactions.get_mut(id)
            && found.markers_left == 0
        {
            found.state = State::Complete { commit };
        }
    }

    fn end_offsets(&mut self, group: &Arc<str>, producer: u64, commit: bool) {
        let Some(group) = self.brokers.groups.get_mut(group) else { return };
        for offset in group.pending.remove(&producer).unwrap_or_default() {
            if commit {
                group.committed.insert(offset.partition.clone(), offset);
            }
        }
    }
}
