//! What a left or outer join of streams keeps of records that may still come out unmatched.
//!
//! Keeps: one entry a record, gone as soon as it is matched or released; shared by both sides of
//! the join. Changelog: compacted; an entry that comes and goes between two commits never reaches it.
//!
//! | bytes | meaning |
//! |---|---|
//! | key: 1 | the record's side: 0 left, 1 right |
//! | key: 8 | its timestamp |
//! | key: 4 | its sequence number in its side's join store |
//! | key: rest | its key |
//! | value | its value |
//!
//! So what is due lies in front, by side, and each look reads only what has become due since the
//! last one.

use std::ops::ControlFlow;

use crate::error::Result;
use crate::graph::Wiring;
use crate::node::{Context, TimeSlot};
use crate::store::bytes::{KeyRange, Order, StoreIndex};
use crate::store::spec::{SEQUENCE_LEN, TIME_LEN, split_timestamp};
use crate::time::Timestamp;

/// Which side of a join a record came in on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Left,
    Right,
}

impl Side {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

/// A record that waited long enough, in bytes.
pub(crate) struct Due {
    pub(crate) side: Side,
    pub(crate) timestamp: Timestamp,
    entry: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

impl Due {
    /// Its key's bytes.
    pub(crate) fn key(&self) -> &[u8] {
        &self.entry[KEY_AT..]
    }
}

/// Where the record's key begins in an entry's key.
const KEY_AT: usize = 1 + TIME_LEN + SEQUENCE_LEN;

/// The records that wait, as one side's operator sees them.
pub(crate) struct WaitingRecords {
    store: StoreIndex,
    /// The join's stream time: the store's clock, as both sides share it.
    pub(crate) time: TimeSlot,
    /// How far behind stream time a record of either side is due, in ms.
    waits_ms: [i64; 2],
    /// Nothing before these times waits any more, a side each.
    released: [Timestamp; 2],
    /// When to look again, by the wall clock.
    next_look: Timestamp,
    key: Vec<u8>,
}

impl WaitingRecords {
    /// Binds the store of that name; `waits_ms` is how far stream time must be past a left and a
    /// right record.
    pub(crate) fn bind(wiring: &mut Wiring<'_>, name: &str, waits_ms: [i64; 2]) -> Result<Self> {
        Ok(Self {
            store: wiring.store_index(name)?,
            time: wiring.store_time(name)?,
            waits_ms,
            released: [Timestamp::new(0); 2],
            next_look: Timestamp::MIN,
            key: Vec::new(),
        })
    }

    /// Lets a record wait.
    pub(crate) fn put(
        &mut self,
        side: Side,
        timestamp: Timestamp,
        sequence: [u8; SEQUENCE_LEN],
        (key, value): (&[u8], &[u8]),
        ctx: &mut Context<'_>,
    ) -> Result {
        set_entry_key(&mut self.key, side, timestamp, sequence, key);
        ctx.bytes_store(self.store).insert(&self.key, value, timestamp)
    }

    /// A record was matched, and waits no more if it did.
    pub(crate) fn matched(
        &mut self,
        side: Side,
        timestamp: Timestamp,
        sequence: [u8; SEQUENCE_LEN],
        key: &[u8],
        ctx: &mut Context<'_>,
    ) -> Result {
        if timestamp < self.released[side as usize] {
            return Ok(());
        }
        set_entry_key(&mut self.key, side, timestamp, sequence, key);
        ctx.bytes_store(self.store).delete(&self.key, timestamp)
    }

    /// Takes out the records that are due, in the order of their times; none while the pause since
    /// the last look lasts.
    pub(crate) fn take_due(&mut self, ctx: &mut Context<'_>) -> Result<Vec<Due>> {
        let now = ctx.time(self.time);
        let mut due = Vec::new();
        let bounds = self.waits_ms.map(|wait_ms| now - wait_ms);
        if (0..2).all(|side| bounds[side] <= self.released[side]) {
            return Ok(due);
        }
        let pause_ms = ctx.emit_interval_ms();
        if pause_ms > 0 {
            let wall_clock = ctx.wall_clock();
            if wall_clock < self.next_look {
                return Ok(due);
            }
            self.next_look = wall_clock + pause_ms;
        }
        for side in [Side::Left, Side::Right] {
            let (from, to) = (self.released[side as usize], bounds[side as usize]);
            if to <= from {
                continue;
            }
            self.released[side as usize] = to;
            let bound = |time: Timestamp| {
                let mut bytes = [side as u8; 1 + TIME_LEN];
                bytes[1..].copy_from_slice(&time.millis().to_be_bytes());
                bytes
            };
            let (from, to) = (bound(from), bound(to));
            let range = KeyRange { from: &from, to: Some(&to) };
            ctx.bytes_store(self.store).scan(range, Order::Forward, &mut |entry, value| {
                let (timestamp, _) = split_timestamp(&entry[1..]);
                due.push(Due { side, timestamp, entry: entry.to_vec(), value: value.to_vec() });
                ControlFlow::Continue(())
            })?;
        }
        due.sort_by_key(|due| (due.timestamp, due.side));
        for due in &due {
            ctx.bytes_store(self.store).remove(&due.entry, due.timestamp)?;
        }
        Ok(due)
    }
}

fn set_entry_key(
    out: &mut Vec<u8>,
    side: Side,
    timestamp: Timestamp,
    sequence: [u8; SEQUENCE_LEN],
    key: &[u8],
) {
    out.clear();
    out.push(side as u8);
    out.extend_from_slice(&timestamp.millis().to_be_bytes());
    out.extend_from_slice(&sequence);
    out.extend_from_slice(key);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_either_side_has_its_golden_bytes() {
        let mut entry = vec![9];
        set_entry_key(&mut entry, Side::Left, Timestamp::new(258), [0, 0, 0, 7], b"k");
        assert_eq!(entry, b"\0\0\0\0\0\0\0\x01\x02\0\0\0\x07k");
        set_entry_key(&mut entry, Side::Right, Timestamp::new(1), [0, 0, 0, 1], b"");
        assert_eq!(entry, b"\x01\0\0\0\0\0\0\0\x01\0\0\0\x01");
    }
}
