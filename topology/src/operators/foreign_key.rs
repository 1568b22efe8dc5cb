//! The foreign-key join of two tables, as Kafka Streams does it (KIP-213): each change of a left row
//! subscribes the row to its foreign key, in the task that has the right row; that task answers with
//! the right row's value, then and whenever it changes; the left task joins an answer with its row,
//! if the row is still the one that asked.
//!
//! | node | takes | keeps |
//! |---|---|---|
//! | `Subscribe` | changes of the left table | nothing |
//! | `KeepSubscription` | subscriptions | foreign key and primary key -> subscription |
//! | `AnswerSubscription` | subscriptions | reads the right table |
//! | `AnswerForeignChange` | changes of the right table | reads the subscriptions |
//! | `ResolveAnswer` | answers | the result; reads the left table |
//!
//! The subscriptions' changelog is compacted. Keys travel as bytes: the subscription topic is keyed
//! by the foreign key, so that it shares its partitions with the right table; the answers carry the
//! partition that they are to come back to. Layouts are those of `SubscriptionSerde`,
//! `AnswerSerde` and `subscription_key`.
//!
//! Drops, counted: left rows without a foreign key, in an inner join (a row that had one before still
//! tells that its result is gone); changes of a versioned table that come out of order.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::error::{Cause, Result};
use crate::node::{Children, Context, DropReason, Operator};
use crate::operators::change::Change;
use crate::operators::table_state::TableState;
use crate::operators::table_view::{AsOf, TableView};
use crate::record::Record;
use crate::serde::{Serde, SerdeRef, SerdeResult};
use crate::store::bytes::{KeyRange, Order, prefix_end};
use crate::store::key_value::{Timestamped, TimestampedHandle};

/// What the right task is to do with a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Instruction {
    /// Forget it, and say nothing.
    Forget = 0,
    /// Forget it, and answer that there is nothing.
    ForgetAndAnswer = 1,
    /// Keep it, and answer whether there is a right row or not.
    Answer = 2,
    /// Keep it, and answer if there is a right row.
    AnswerIfFound = 3,
}

/// A left row's wish to hear of a right row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    /// Of the left row's value; `None` if the row is gone.
    pub(crate) hash: Option<u128>,
    pub(crate) instruction: Instruction,
    /// Partition of the left task.
    pub(crate) partition: i32,
    /// The left row's key.
    pub(crate) primary_key: Vec<u8>,
}

/// Reads and writes a subscription: 1 byte instruction, plus 128 if there is no hash; 4 bytes
/// partition; 16 bytes hash, if any; then the primary key.
pub(crate) struct SubscriptionSerde;

/// A right row's value, for a left row that asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The subscription's.
    pub(crate) hash: Option<u128>,
    /// The subscription's.
    pub(crate) partition: i32,
    pub(crate) value: Option<Vec<u8>>,
}

/// Reads and writes an answer: 1 byte, 1 if there is a value, plus 128 if there is no hash; 4 bytes
/// partition; 16 bytes hash, if any; then the value.
pub(crate) struct AnswerSerde;

const NO_HASH: u8 = 0x80;

fn write_head(flags: u8, partition: i32, hash: Option<u128>, out: &mut Vec<u8>) {
    out.push(if hash.is_none() { flags | NO_HASH } else { flags });
    out.extend_from_slice(&partition.to_be_bytes());
    out.extend_from_slice(hash.map(u128::to_be_bytes).as_ref().map_or(&[], |hash| &hash[..]));
}

/// Flags, partition and hash, and what follows them.
fn read_head(bytes: &[u8]) -> SerdeResult<(u8, i32, Option<u128>, &[u8])> {
    let short = || Cause::from("it is shorter than a foreign-key join's messages are");
    let (flags, rest) = bytes.split_first().ok_or_else(short)?;
    let (partition, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let (hash, rest) = if flags & NO_HASH != 0 {
        (None, rest)
    } else {
        let (hash, rest) = rest.split_first_chunk::<16>().ok_or_else(short)?;
        (Some(u128::from_be_bytes(*hash)), rest)
    };
    Ok((flags & !NO_HASH, i32::from_be_bytes(*partition), hash, rest))
}

impl Serde<Subscription> for SubscriptionSerde {
    fn serialize(&self, value: &Subscription, out: &mut Vec<u8>) -> SerdeResult {
        write_head(value.instruction as u8, value.partition, value.hash, out);
        out.extend_from_slice(&value.primary_key);
        Ok(())
    }
    fn deserialize(&self, bytes: &[u8]) -> SerdeResult<Subscription> {
        let (instruction, partition, hash, primary_key) = read_head(bytes)?;
        let instruction = match instruction {
            0 => Instruction::Forget,
            1 => Instruction::ForgetAndAnswer,
            2 => Instruction::Answer,
            3 => Instruction::AnswerIfFound,
            other => return Err(format!("{other} is no instruction of a foreign-key join").into()),
        };
        Ok(Subscription { hash, instruction, partition, primary_key: primary_key.to_vec() })
    }
}

impl Serde<Answer> for AnswerSerde {
    fn serialize(&self, answer: &Answer, out: &mut Vec<u8>) -> SerdeResult {
        write_head(u8::from(answer.value.is_some()), answer.partition, answer.hash, out);
        out.extend_from_slice(answer.value.as_deref().unwrap_or_default());
        Ok(())
    }
    fn deserialize(&self, bytes: &[u8]) -> SerdeResult<Answer> {
        let (has_value, partition, hash, value) = read_head(bytes)?;
        Ok(Answer { hash, partition, value: (has_value != 0).then(|| value.to_vec()) })
    }
}

/// A subscription's key in its store: 4 bytes length of the foreign key, the foreign key, and, but
/// for the prefix of all that subscribe to it, the primary key.
fn subscription_key(foreign: &[u8], primary: &[u8], out: &mut Vec<u8>) {
    out.clear();
    // No record's key is longer than 2^31 - 1 bytes.
    out.extend_from_slice(&u32::try_from(foreign.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(foreign);
    out.extend_from_slice(primary);
}

/// FNV-1a, 128 bits: tells one value of a row from the next.
fn hash_of(bytes: &[u8]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

/// Says which right row each left row is about.
pub(crate) struct Subscribe<F, K, V, FK> {
    /// The foreign key of a left row's value; `None` if it has none.
    pub(crate) extract: Arc<F>,
    pub(crate) key: SerdeRef<K>,
    pub(crate) value: SerdeRef<V>,
    pub(crate) foreign_key: SerdeRef<FK>,
    /// Whether left rows without a right one have results.
    pub(crate) left: bool,
    pub(crate) children: Children<Option<Vec<u8>>, Subscription>,
}

impl<F, K, V, FK> Operator<K, Change<V>> for Subscribe<F, K, V, FK>
where
    F: Fn(&K, &V) -> Option<FK> + Send + Sync,
    K: 'static,
    V: 'static,
    FK: 'static,
{
    fn process(&mut self, record: Record<'_, K, Change<V>>, ctx: &mut Context<'_>) -> Result {
        let Change { old, new, is_latest } = record.value;
        if !is_latest {
            ctx.drop_record(DropReason::OutOfOrder);
            return Ok(());
        }
        let old_key = self.foreign_key_of(record.key, old.as_ref())?;
        let new_key = self.foreign_key_of(record.key, new.as_ref())?;
        if self.left {
            if old.is_none() && new.is_none() {
                return Ok(());
            }
            if old_key.is_some() && old_key != new_key {
                self.send(old_key, Instruction::Forget, record, ctx)?;
            }
            return self.send(new_key, Instruction::Answer, record, ctx);
        }
        match (old_key, new_key) {
            (Some(old_key), Some(new_key)) if old_key != new_key => {
                self.send(Some(old_key), Instruction::Forget, record, ctx)?;
                self.send(Some(new_key), Instruction::Answer, record, ctx)
            }
            (_, Some(new_key)) => self.send(Some(new_key), Instruction::AnswerIfFound, record, ctx),
            (old_key, None) => {
                if new.is_some() {
                    ctx.drop_record(DropReason::NullJoinKey);
                }
                match old_key {
                    Some(old_key) => {
                        self.send(Some(old_key), Instruction::ForgetAndAnswer, record, ctx)
                    }
                    None => Ok(()),
                }
            }
        }
    }
}

impl<F, K, V, FK> Subscribe<F, K, V, FK>
where
    F: Fn(&K, &V) -> Option<FK>,
    K: 'static,
    V: 'static,
    FK: 'static,
{
    fn foreign_key_of(&self, key: &K, value: Option<&V>) -> Result<Option<Vec<u8>>> {
        let Some(foreign) = value.and_then(|value| (self.extract)(key, value)) else {
            return Ok(None);
        };
        if self.foreign_key.is_null(&foreign) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        self.foreign_key
            .serialize(&foreign, &mut bytes)
            .map_err(crate::error::Error::processing)?;
        Ok(Some(bytes))
    }

    fn send(
        &self,
        foreign_key: Option<Vec<u8>>,
        instruction: Instruction,
        record: Record<'_, K, Change<V>>,
        ctx: &mut Context<'_>,
    ) -> Result {
        let mut primary_key = Vec::new();
        self.key
            .serialize(record.key, &mut primary_key)
            .map_err(crate::error::Error::processing)?;
        let hash = match &record.value.new {
            Some(value) => {
                let mut bytes = Vec::new();
                self.value.serialize(value, &mut bytes).map_err(crate::error::Error::processing)?;
                Some(hash_of(&bytes))
            }
            None => None,
        };
        let subscription =
            Subscription { hash, instruction, partition: ctx.partition(), primary_key };
        let Record { timestamp, headers, .. } = record;
        self.children
            .forward(Record { key: &foreign_key, value: &subscription, timestamp, headers }, ctx)
    }
}

/// Keeps who asked for what.
pub(crate) struct KeepSubscription {
    pub(crate) store: TimestampedHandle<Vec<u8>, Subscription>,
    pub(crate) key: Vec<u8>,
    pub(crate) children: Children<Option<Vec<u8>>, Subscription>,
}

impl Operator<Option<Vec<u8>>, Subscription> for KeepSubscription {
    fn process(
        &mut self,
        record: Record<'_, Option<Vec<u8>>, Subscription>,
        ctx: &mut Context<'_>,
    ) -> Result {
        if let Some(foreign_key) = record.key {
            let subscription = record.value;
            subscription_key(foreign_key, &subscription.primary_key, &mut self.key);
            let kept = match subscription.instruction {
                Instruction::Forget | Instruction::ForgetAndAnswer => None,
                Instruction::Answer | Instruction::AnswerIfFound => Some(subscription),
            };
            ctx.timestamped(&self.store).put(&self.key, kept, record.timestamp)?;
        }
        self.children.forward(record, ctx)
    }
}

/// Answers a subscription with the right row's value.
pub(crate) struct AnswerSubscription<FK, FV> {
    pub(crate) table: TableView<FK, FV>,
    pub(crate) value: SerdeRef<FV>,
    pub(crate) children: Children<Vec<u8>, Answer>,
}

impl<FK: 'static, FV: 'static> Operator<Option<Vec<u8>>, Subscription>
    for AnswerSubscription<FK, FV>
{
    fn process(
        &mut self,
        record: Record<'_, Option<Vec<u8>>, Subscription>,
        ctx: &mut Context<'_>,
    ) -> Result {
        let Subscription { hash, instruction, partition, primary_key } = record.value;
        if *instruction == Instruction::Forget {
            return Ok(());
        }
        let row = match record.key {
            Some(bytes) => {
                let read = self.table.key.deserialize(bytes);
                let foreign_key = read.map_err(crate::error::Error::processing)?;
                self.table.get(&foreign_key, bytes, AsOf::Now, ctx)?
            }
            None => None,
        };
        if row.is_none() && *instruction == Instruction::AnswerIfFound {
            return Ok(());
        }
        let timestamp =
            row.as_ref().map_or(record.timestamp, |row| row.timestamp.max(record.timestamp));
        let value = match row {
            Some(row) if *instruction != Instruction::ForgetAndAnswer => {
                let mut bytes = Vec::new();
                self.value
                    .serialize(&row.value, &mut bytes)
                    .map_err(crate::error::Error::processing)?;
                Some(bytes)
            }
            _ => None,
        };
        let answer = Answer { hash: *hash, partition: *partition, value };
        self.children.forward(
            Record { key: primary_key, value: &answer, timestamp, headers: record.headers },
            ctx,
        )
    }
}

/// Tells those who asked that a right row has changed.
pub(crate) struct AnswerForeignChange<FK, FV> {
    pub(crate) key: SerdeRef<FK>,
    pub(crate) value: SerdeRef<FV>,
    pub(crate) store: TimestampedHandle<Vec<u8>, Subscription>,
    pub(crate) children: Children<Vec<u8>, Answer>,
}

impl<FK: 'static, FV: 'static> Operator<FK, Change<FV>> for AnswerForeignChange<FK, FV> {
    fn process(&mut self, record: Record<'_, FK, Change<FV>>, ctx: &mut Context<'_>) -> Result {
        if !record.value.is_latest {
            ctx.drop_record(DropReason::OutOfOrder);
            return Ok(());
        }
        let (mut foreign_key, mut prefix) = (Vec::new(), Vec::new());
        self.key
            .serialize(record.key, &mut foreign_key)
            .map_err(crate::error::Error::processing)?;
        subscription_key(&foreign_key, &[], &mut prefix);
        let end = prefix_end(&prefix);
        let handle = &self.store.0;
        let mut subscriptions = Vec::new();
        let range = KeyRange { from: &prefix, to: end.as_deref() };
        ctx.bytes_store(handle.index).scan(range, Order::Forward, &mut |_, value| {
            let subscription = Timestamped::read(handle, value);
            let is_bad = subscription.is_err();
            subscriptions.push(subscription);
            if is_bad { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if subscriptions.is_empty() {
            return Ok(());
        }
        let value = match &record.value.new {
            Some(value) => {
                let mut bytes = Vec::new();
                self.value.serialize(value, &mut bytes).map_err(crate::error::Error::processing)?;
                Some(bytes)
            }
            None => None,
        };
        let mut answer = Answer { hash: None, partition: 0, value };
        for subscription in subscriptions {
            let Subscription { hash, partition, primary_key, .. } = subscription?.value;
            (answer.hash, answer.partition) = (hash, partition);
            self.children.forward(record.with_key(&primary_key).with_value(&answer), ctx)?;
        }
        Ok(())
    }
}

/// Joins an answer with the left row that asked, and keeps the result.
pub(crate) struct ResolveAnswer<F, K, V, FV, R> {
    pub(crate) joiner: Arc<F>,
    pub(crate) left: bool,
    pub(crate) table: TableView<K, V>,
    pub(crate) value: SerdeRef<V>,
    pub(crate) foreign_value: SerdeRef<FV>,
    pub(crate) result: TableState<K, R>,
    pub(crate) key_bytes: Vec<u8>,
    pub(crate) value_bytes: Vec<u8>,
    pub(crate) children: Children<K, Change<R>>,
}

impl<F, K, V, FV, R> Operator<K, Answer> for ResolveAnswer<F, K, V, FV, R>
where
    F: Fn(&K, &V, Option<&FV>) -> Option<R> + Send + Sync,
    K: 'static,
    V: 'static,
    FV: 'static,
    R: 'static,
{
    fn process(&mut self, record: Record<'_, K, Answer>, ctx: &mut Context<'_>) -> Result {
        self.table.write_key(record.key, &mut self.key_bytes)?;
        let row = self.table.get(record.key, &self.key_bytes, AsOf::Now, ctx)?;
        let row = row.map(|row| row.value);
        self.value_bytes.clear();
        let hash = match &row {
            Some(row) => {
                self.value
                    .serialize(row, &mut self.value_bytes)
                    .map_err(crate::error::Error::processing)?;
                Some(hash_of(&self.value_bytes))
            }
            None => None,
        };
        if hash != record.value.hash {
            return Ok(());
        }
        let foreign = match &record.value.value {
            Some(bytes) => Some(
                self.foreign_value.deserialize(bytes).map_err(crate::error::Error::processing)?,
            ),
            None => None,
        };
        let joined = match &row {
            Some(row) if foreign.is_some() || self.left => {
                (self.joiner)(record.key, row, foreign.as_ref())
            }
            _ => None,
        };
        match self.result.update(&self.key_bytes, joined, record.timestamp, ctx)? {
            Some(change) => self.children.forward(record.with_value(&change), ctx),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_has_its_golden_bytes() {
        let subscription = Subscription {
            hash: Some(0x0102),
            instruction: Instruction::AnswerIfFound,
            partition: 7,
            primary_key: b"pk".to_vec(),
        };
        let mut bytes = Vec::new();
        SubscriptionSerde.serialize(&subscription, &mut bytes).unwrap();
        assert_eq!(
            bytes,
            [3, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, b'p', b'k']
        );
        assert_eq!(SubscriptionSerde.deserialize(&bytes).unwrap(), subscription);
        assert!(SubscriptionSerde.deserialize(&bytes[..4]).is_err());
    }

    #[test]
    fn an_answer_tells_no_value_from_an_empty_one() {
        for value in [None, Some(Vec::new()), Some(b"v".to_vec())] {
            let answer = Answer { hash: None, partition: 1, value };
            let mut bytes = Vec::new();
            AnswerSerde.serialize(&answer, &mut bytes).unwrap();
            assert_eq!(AnswerSerde.deserialize(&bytes).unwrap(), answer);
        }
    }

    #[test]
    fn subscriptions_of_a_foreign_key_are_told_from_those_of_a_longer_one() {
        let (mut short, mut long) = (Vec::new(), Vec::new());
        subscription_key(b"a", b"bc", &mut short);
        subscription_key(b"ab", b"c", &mut long);
        assert_eq!(short, b"\0\0\0\x01abc");
        assert_eq!(long, b"\0\0\0\x02abc");
    }
}
