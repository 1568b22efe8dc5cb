//! Join stores: the records of one side of a stream-stream join, by key and time, duplicates kept.
//!
//! A window store ([`StoreKind::Window`]) whose windows start at their record's timestamp and whose
//! sequence number tells records of one key and timestamp apart. It runs from 1 over all puts of the
//! store, and is saved with each commit as a clock is, so that no record overwrites another after a
//! crash.

use std::ops::ControlFlow;

use crate::error::{Error, Result};
use crate::graph::Wiring;
use crate::node::{Context, DropReason, TimeSlot};
use crate::store::bytes::KeyRange;
use crate::store::key_value::KeyValueHandle;
use crate::store::spec::{SEQUENCE_LEN, StoreKind, TIME_LEN, segment, split_timestamp};
use crate::time::Timestamp;

/// Sequence numbers have 31 bits, as Kafka Streams' have.
const SEQUENCE_MASK: i64 = 0x7fff_ffff;

/// A record found in a join store.
pub(crate) struct Found<V> {
    pub(crate) timestamp: Timestamp,
    pub(crate) sequence: [u8; SEQUENCE_LEN],
    pub(crate) value: V,
}

/// A bound join store.
pub(crate) struct JoinStore<K, V> {
    pub(crate) entries: KeyValueHandle<K, V>,
    retention_ms: i64,
    segment_ms: i64,
    /// Highest timestamp put so far.
    observed: TimeSlot,
    /// What the engine had when this was bound has no higher timestamp; set at the first use.
    newest_at_bind: Option<Timestamp>,
    /// Number of the first segment that was not dropped yet.
    first_live: i64,
    /// Reused buffers: a key of the store, and the bound of a range.
    key: Vec<u8>,
    bound: Vec<u8>,
}

impl<K: 'static, V: 'static> JoinStore<K, V> {
    /// Binds the store of that name.
    ///
    /// # Errors
    /// When the task has no such store, or it is of another kind or other types.
    pub(crate) fn bind(wiring: &mut Wiring<'_>, name: &str) -> Result<Self> {
        let StoreKind::Window { retention_ms, segment_ms, .. } = wiring.store_spec(name)?.kind
        else {
            return Err(Error::wiring(format!("store {name} is no window store")));
        };
        Ok(Self {
            entries: wiring.key_value(name)?,
            retention_ms,
            segment_ms,
            observed: wiring.store_time(name)?,
            newest_at_bind: None,
            first_live: 0,
            key: Vec::new(),
            bound: Vec::new(),
        })
    }

    /// Puts a record in bytes, and drops the segments that time has left behind. A record in such a
    /// segment is refused and counted. Returns the record's sequence number, which `sequence` counts.
    pub(crate) fn put(
        &mut self,
        key: &[u8],
        value: &[u8],
        timestamp: Timestamp,
        sequence: TimeSlot,
        ctx: &mut Context<'_>,
    ) -> Result<[u8; SEQUENCE_LEN]> {
        let number = ctx.time(sequence).millis().max(0) + 1;
        ctx.advance(sequence, Timestamp::new(number));
        let [_, _, _, _, number @ ..] = (number & SEQUENCE_MASK).to_be_bytes();
        self.newest_in_engine(ctx);
        let observed = ctx.advance(self.observed, timestamp);
        self.expire(observed, ctx)?;
        if timestamp.millis().max(0) / self.segment_ms < self.first_live {
            ctx.drop_record(DropReason::ExpiredRecord);
            return Ok(number);
        }
        self.key.clear();
        self.key.extend_from_slice(&segment(timestamp, self.segment_ms));
        self.key.extend_from_slice(key);
        self.key.extend_from_slice(&timestamp.millis().to_be_bytes());
        self.key.extend_from_slice(&number);
        ctx.bytes_store(self.entries.index).insert(&self.key, value, timestamp)?;
        Ok(number)
    }

    /// The highest timestamp that a record in the engine may have; `None` if it has none.
    fn newest_in_engine(&mut self, ctx: &mut Context<'_>) -> Option<Timestamp> {
        let observed = ctx.time(self.observed);
        let store = ctx.bytes_store(self.entries.index);
        let at_bind = self.newest_at_bind.get_or_insert_with(|| match observed {
            // The clock is lost, though the records are not.
            Timestamp::UNKNOWN if store.approximate_entries() > 0 => Timestamp::MAX,
            observed => observed,
        });
        let at_bind = Some(*at_bind).filter(|newest| *newest != Timestamp::UNKNOWN);
        at_bind.max(store.newest_applied())
    }

    fn expire(&mut self, observed: Timestamp, ctx: &mut Context<'_>) -> Result {
        let first_live = (observed - self.retention_ms).millis().max(0) / self.segment_ms;
        if first_live > self.first_live {
            self.first_live = first_live;
            ctx.bytes_store(self.entries.index).delete_range(&[], &first_live.to_be_bytes())?;
        }
        Ok(())
    }

    /// The earliest time that retention covers.
    pub(crate) fn oldest(&self, ctx: &Context<'_>) -> Timestamp {
        match ctx.time(self.observed) {
            Timestamp::UNKNOWN => Timestamp::MIN,
            observed => observed - self.retention_ms + 1,
        }
    }

    /// Collects a key's records of `from..=to`, in the order of their timestamps and arrival, as far
    /// as retention covers them.
    pub(crate) fn fetch(
        &mut self,
        key: &[u8],
        from: Timestamp,
        to: Timestamp,
        ctx: &mut Context<'_>,
        found: &mut Vec<Found<V>>,
    ) -> Result {
        // Nothing is later than the highest timestamp.
        let (from, to) =
            (from.max(self.oldest(ctx)).max(Timestamp::new(0)), to.min(ctx.time(self.observed)));
        if from > to {
            return Ok(());
        }
        // Most windows begin behind what the engine got last, and then it is not asked.
        let is_asked = self.newest_in_engine(ctx).is_some_and(|newest| from <= newest);
        let stored_len = TIME_LEN + key.len() + TIME_LEN + SEQUENCE_LEN;
        for number in from.millis() / self.segment_ms..=to.millis() / self.segment_ms {
            set_bound(&mut self.key, number, key, from);
            // Timestamps end below the greatest number, so there is one behind `to`.
            set_bound(&mut self.bound, number, key, to + 1);
            let range = KeyRange { from: &self.key, to: Some(&self.bound) };
            let handle = &self.entries;
            let mut failed = None;
            let store = ctx.bytes_store(handle.index);
            let mut visit = |stored: &[u8], value: &[u8]| {
                // A longer key may sort in between; its records are not this key's.
                if stored.len() != stored_len {
                    return ControlFlow::Continue(());
                }
                let (timestamp, rest) = split_timestamp(&stored[TIME_LEN + key.len()..]);
                let mut sequence = [0; SEQUENCE_LEN];
                sequence.copy_from_slice(rest);
                match handle.read_value(value) {
                    Ok(value) => found.push(Found { timestamp, sequence, value }),
                    Err(error) => {
                        failed = Some(error);
                        return ControlFlow::Break(());
                    }
                }
                ControlFlow::Continue(())
            };
            if is_asked {
                store.probe(range, &mut visit)?;
            } else {
                store.probe_unapplied(range, &mut visit)?;
            }
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(())
    }
}

fn set_bound(bound: &mut Vec<u8>, segment: i64, key: &[u8], start: Timestamp) {
    bound.clear();
    bound.extend_from_slice(&segment.to_be_bytes());
    bound.extend_from_slice(key);
    bound.extend_from_slice(&start.millis().to_be_bytes());
}
