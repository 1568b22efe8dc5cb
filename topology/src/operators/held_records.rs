//! What a join of a stream with a versioned table keeps of the stream: records that wait until the
//! table's late updates may be in.
//!
//! Keeps: one entry a record, until stream time, here the highest timestamp of the stream's records
//! that were not dropped, is at or past its timestamp and the grace. Changelog: compacted; an entry that comes and goes between
//! two commits never reaches it.
//!
//! | bytes | meaning |
//! |---|---|
//! | key: 8 | the record's timestamp |
//! | key: 4 | a sequence number, which runs over all records held and is saved as a clock is |
//! | key: rest | its key |
//! | value: 4 | how many headers it has |
//! | value: a header | 4 bytes length and name; 4 bytes length (-1 for null) and value |
//! | value: rest | its value |

use std::ops::ControlFlow;

use crate::error::{Cause, Error, Result};
use crate::graph::Wiring;
use crate::node::{Context, TimeSlot};
use crate::record::Headers;
use crate::serde::SerdeResult;
use crate::store::bytes::{KeyRange, Order, StoreIndex};
use crate::store::spec::{SEQUENCE_LEN, TIME_LEN, split_timestamp};
use crate::time::Timestamp;

/// The records held, in the order of their timestamps.
pub(crate) struct HeldRecords {
    name: String,
    store: StoreIndex,
    grace_ms: i64,
    /// Highest timestamp of the stream's side: the store's clock.
    observed: TimeSlot,
    sequence: TimeSlot,
    /// Nothing before this time is held any more.
    released: Timestamp,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// A record that is held no longer.
pub(crate) struct Released {
    entry: Vec<u8>,
    value: Vec<u8>,
    /// Where its value begins.
    value_at: usize,
    pub(crate) timestamp: Timestamp,
    pub(crate) headers: Headers,
}

impl Released {
    /// Its key's bytes.
    pub(crate) fn key(&self) -> &[u8] {
        &self.entry[TIME_LEN + SEQUENCE_LEN..]
    }

    /// Its value's bytes.
    pub(crate) fn value(&self) -> &[u8] {
        &self.value[self.value_at..]
    }
}

impl HeldRecords {
    /// Binds the store of that name.
    pub(crate) fn bind(wiring: &mut Wiring<'_>, name: &str, grace_ms: i64) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            store: wiring.store_index(name)?,
            grace_ms,
            observed: wiring.store_time(name)?,
            sequence: wiring.time_slot(),
            released: Timestamp::new(0),
            key: Vec::new(),
            value: Vec::new(),
        })
    }

    /// Highest timestamp that need not wait.
    fn due(&self, ctx: &Context<'_>) -> Timestamp {
        ctx.time(self.observed) - self.grace_ms
    }

    /// Moves stream time on to a record's, and says whether the record may still be held.
    pub(crate) fn is_in_time(&self, timestamp: Timestamp, ctx: &mut Context<'_>) -> bool {
        ctx.advance(self.observed, timestamp);
        timestamp >= self.due(ctx)
    }

    /// Holds a record, whose value `write` appends.
    pub(crate) fn put(
        &mut self,
        key: &[u8],
        timestamp: Timestamp,
        headers: &Headers,
        write: impl FnOnce(&mut Vec<u8>) -> SerdeResult,
        ctx: &mut Context<'_>,
    ) -> Result {
        let number = ctx.time(self.sequence).millis().max(0) + 1;
        ctx.advance(self.sequence, Timestamp::new(number));
        let [_, _, _, _, sequence @ ..] = number.to_be_bytes();
        self.key.clear();
        self.key.extend_from_slice(&timestamp.millis().to_be_bytes());
        self.key.extend_from_slice(&sequence);
        self.key.extend_from_slice(key);
        self.value.clear();
        write_headers(headers, &mut self.value);
        write(&mut self.value).map_err(Error::processing)?;
        ctx.bytes_store(self.store).insert(&self.key, &self.value, timestamp)
    }

    /// Takes out the records that need not wait any longer, in the order of their timestamps.
    pub(crate) fn release(&mut self, ctx: &mut Context<'_>) -> Result<Vec<Released>> {
        let due = self.due(ctx);
        let mut released = Vec::new();
        if due < self.released {
            return Ok(released);
        }
        // A record of the time that is just due may still come.
        let from = std::mem::replace(&mut self.released, due).millis().to_be_bytes();
        let to = (due + 1).millis().to_be_bytes();
        let mut failed = None;
        let range = KeyRange { from: &from, to: Some(&to) };
        ctx.bytes_store(self.store).scan(range, Order::Forward, &mut |entry, value| {
            let (timestamp, _) = split_timestamp(entry);
            match read_headers(value) {
                Ok((headers, rest)) => {
                    let value_at = value.len() - rest.len();
                    let (entry, value) = (entry.to_vec(), value.to_vec());
                    released.push(Released { entry, value, value_at, timestamp, headers });
                    ControlFlow::Continue(())
                }
                Err(cause) => {
                    failed = Some(cause);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(cause) = failed {
            return Err(Error::store(&self.name, cause));
        }
        for record in &released {
            ctx.bytes_store(self.store).remove(&record.entry, record.timestamp)?;
        }
        Ok(released)
    }
}

fn write_part(part: Option<&[u8]>, out: &mut Vec<u8>) {
    // Kafka bounds a header's length by 2^31 - 1.
    let len = part.map_or(-1, |part| i32::try_from(part.len()).unwrap_or(i32::MAX));
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(part.unwrap_or_default());
}

fn write_headers(headers: &Headers, out: &mut Vec<u8>) {
    out.extend_from_slice(&i32::try_from(headers.len()).unwrap_or(i32::MAX).to_be_bytes());
    for header in headers {
        write_part(Some(header.name.as_bytes()), out);
        write_part(header.value.as_deref(), out);
    }
}

fn read_headers(bytes: &[u8]) -> SerdeResult<(Headers, &[u8])> {
    fn number(bytes: &[u8]) -> SerdeResult<(i32, &[u8])> {
        let (number, rest) = bytes.split_first_chunk().ok_or_else(short)?;
        Ok((i32::from_be_bytes(*number), rest))
    }
    fn part(bytes: &[u8]) -> SerdeResult<(Option<&[u8]>, &[u8])> {
        let (len, rest) = number(bytes)?;
        let Ok(len) = usize::try_from(len) else { return Ok((None, rest)) };
        let (part, rest) = rest.split_at_checked(len).ok_or_else(short)?;
        Ok((Some(part), rest))
    }
    fn short() -> Cause {
        "a held record's headers end early".into()
    }
    let (count, mut rest) = number(bytes)?;
    let mut headers = Headers::new();
    for _ in 0..count {
        let (name, value);
        (name, rest) = part(rest)?;
        (value, rest) = part(rest)?;
        headers.push(String::from_utf8_lossy(name.unwrap_or_default()), value.map(<[u8]>::to_vec));
    }
    Ok((headers, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_in_order_with_their_nulls() {
        let mut headers = Headers::new();
        headers.push("a", Some(b"x".to_vec()));
        headers.push("a", None);
        let mut bytes = Vec::new();
        write_headers(&headers, &mut bytes);
        assert_eq!(bytes, b"\0\0\0\x02\0\0\0\x01a\0\0\0\x01x\0\0\0\x01a\xff\xff\xff\xff");
        bytes.extend_from_slice(b"rest");
        assert_eq!(read_headers(&bytes).unwrap(), (headers, &b"rest"[..]));
        assert!(read_headers(&bytes[..9]).is_err());
    }
}
