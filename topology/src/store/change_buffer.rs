//! A buffer of changes, one a key, in order of time: what `suppress` holds back.
//!
//! It is a key-value store with two entries a key, and so survives a crash as any store does:
//!
//! | entry | key | value |
//! |---|---|---|
//! | place | 1 B 0, key | 8 B time |
//! | change | 1 B 1, 8 B time, key | 8 B timestamp, old, new, 4 B number of headers, headers |
//!
//! Old, new, and each header's name and value are 4 B length (-1 for none) and the bytes. Numbers
//! are big-endian; times are never negative.

use std::ops::ControlFlow;

use crate::error::{Error, Result};
use crate::graph::Wiring;
use crate::node::Context;
use crate::record::Headers;
use crate::store::bytes::{KeyRange, Order, StoreIndex};
use crate::store::spec::{TIME_LEN, split_timestamp};
use crate::time::Timestamp;

const PLACE: u8 = 0;
const CHANGE: u8 = 1;

/// A change that is held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeldChange<V> {
    /// The key's value when its first change was held back.
    pub(crate) old: Option<V>,
    /// Its latest value.
    pub(crate) new: Option<V>,
    /// Timestamp of the latest change.
    pub(crate) timestamp: Timestamp,
    /// Headers of the latest change.
    pub(crate) headers: Headers,
}

/// A bound buffer.
pub(crate) struct ChangeBuffer {
    index: StoreIndex,
    name: String,
    /// No change has an earlier time than this.
    earliest: Timestamp,
    /// How much there is; `None` until somebody asks.
    size: Option<BufferSize>,
    place: Vec<u8>,
    change: Vec<u8>,
    value: Vec<u8>,
    old: Vec<u8>,
}

/// What a buffer holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BufferSize {
    /// How many changes.
    pub(crate) records: u64,
    /// Bytes of their keys and values.
    pub(crate) bytes: u64,
}

impl BufferSize {
    fn add(&mut self, key: usize, value: usize) {
        self.records += 1;
        self.bytes += (key + value) as u64;
    }

    fn subtract(&mut self, key: usize, value: usize) {
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub((key + value) as u64);
    }
}

impl ChangeBuffer {
    /// Binds the store of that name.
    ///
    /// # Errors
    /// When the task has no such store.
    pub(crate) fn bind(wiring: &Wiring<'_>, name: &str) -> Result<Self> {
        Ok(Self {
            index: wiring.store_index(name)?,
            name: name.to_owned(),
            earliest: Timestamp::new(0),
            size: None,
            place: Vec::new(),
            change: Vec::new(),
            value: Vec::new(),
            old: Vec::new(),
        })
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A time that no change is earlier than: nothing is due before it.
    pub(crate) fn earliest(&self) -> Timestamp {
        self.earliest
    }

    /// Holds a key's change back until `time`; a key that is there already keeps its time and its
    /// old value.
    pub(crate) fn put(
        &mut self,
        key: &[u8],
        time: Timestamp,
        change: HeldChange<&[u8]>,
        ctx: &mut Context<'_>,
    ) -> Result {
        set_place(&mut self.place, key);
        let store = ctx.bytes_store(self.index);
        let known = store.get(&self.place)?.map(|bytes| split_timestamp(bytes).0);
        let time = known.unwrap_or(time.max(Timestamp::new(0)));
        set_change(&mut self.change, time, key);
        let mut old = change.old;
        if known.is_some() {
            let held = store.get(&self.change)?.unwrap_or_default();
            if let Some(size) = &mut self.size {
                size.subtract(self.change.len(), held.len());
            }
            self.old.clear();
            let kept = Reader(held).skip_timestamp().bytes();
            old = kept.map(|kept| {
                self.old.extend_from_slice(kept);
                &*self.old
            });
        }
        encode(&HeldChange { old, ..change }, &mut self.value);
        if let Some(size) = &mut self.size {
            size.add(self.change.len(), self.value.len());
        }
        self.earliest = self.earliest.min(time);
        if known.is_some() {
            return store.put(&self.change, &self.value, change.timestamp);
        }
        store.put(&self.place, &time.millis().to_be_bytes(), change.timestamp)?;
        store.insert(&self.change, &self.value, change.timestamp)
    }

    /// Whether a key's change is held back; if so, the value that it had before, if any.
    pub(crate) fn prior(
        &self,
        key: &[u8],
        ctx: &mut Context<'_>,
    ) -> Result<Option<Option<Vec<u8>>>> {
        let (mut place, mut change) = (Vec::new(), Vec::new());
        set_place(&mut place, key);
        let store = ctx.bytes_store(self.index);
        let Some(time) = store.get(&place)?.map(|bytes| split_timestamp(bytes).0) else {
            return Ok(None);
        };
        set_change(&mut change, time, key);
        let held = store.get(&change)?.unwrap_or_default();
        Ok(Some(Reader(held).skip_timestamp().bytes().map(<[u8]>::to_vec)))
    }

    /// Forgets a key's change, if there is one.
    pub(crate) fn remove(
        &mut self,
        key: &[u8],
        written: Timestamp,
        ctx: &mut Context<'_>,
    ) -> Result {
        set_place(&mut self.place, key);
        let store = ctx.bytes_store(self.index);
        let Some(time) = store.get(&self.place)?.map(|bytes| split_timestamp(bytes).0) else {
            return Ok(());
        };
        set_change(&mut self.change, time, key);
        if let Some(size) = &mut self.size {
            let held = store.get(&self.change)?.map_or(0, <[u8]>::len);
            size.subtract(self.change.len(), held);
        }
        store.remove(&self.place, written)?;
        store.remove(&self.change, written)
    }

    /// Takes out, in order of time and key, at most `limit` changes whose time is not behind `until`.
    pub(crate) fn take(
        &mut self,
        until: Timestamp,
        limit: usize,
        written: Timestamp,
        ctx: &mut Context<'_>,
        into: &mut Vec<(Vec<u8>, Vec<u8>)>,
    ) -> Result {
        if self.earliest > until {
            return Ok(());
        }
        let mut from = vec![CHANGE];
        from.extend_from_slice(&self.earliest.millis().to_be_bytes());
        let mut next = Timestamp::MAX;
        let store = ctx.bytes_store(self.index);
        store.scan(KeyRange { from: &from, to: None }, Order::Forward, &mut |key, value| {
            let (time, key) = split_timestamp(&key[1..]);
            if time > until || into.len() == limit {
                next = time;
                return ControlFlow::Break(());
            }
            into.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })?;
        for (key, value) in &*into {
            set_place(&mut self.place, key);
            let time =
                store.get(&self.place)?.map_or(self.earliest, |bytes| split_timestamp(bytes).0);
            set_change(&mut self.change, time, key);
            if let Some(size) = &mut self.size {
                size.subtract(self.change.len(), value.len());
            }
            store.remove(&self.place, written)?;
            store.remove(&self.change, written)?;
        }
        self.earliest = next;
        Ok(())
    }

    /// How much there is. The first call counts it.
    pub(crate) fn size(&mut self, ctx: &mut Context<'_>) -> Result<BufferSize> {
        if let Some(size) = self.size {
            return Ok(size);
        }
        let mut size = BufferSize::default();
        ctx.bytes_store(self.index).scan(
            KeyRange { from: &[CHANGE], to: None },
            Order::Forward,
            &mut |key, value| {
                size.add(key.len(), value.len());
                ControlFlow::Continue(())
            },
        )?;
        self.size = Some(size);
        Ok(size)
    }

    /// Reads the value bytes of a change that was taken out.
    ///
    /// # Errors
    /// When they are not of this format.
    pub(crate) fn decode<'b>(&self, value: &'b [u8]) -> Result<HeldChange<&'b [u8]>> {
        decode(value).ok_or_else(|| Error::store(&self.name, "a change in it is cut short"))
    }
}

fn set_place(buffer: &mut Vec<u8>, key: &[u8]) {
    buffer.clear();
    buffer.push(PLACE);
    buffer.extend_from_slice(key);
}

fn set_change(buffer: &mut Vec<u8>, time: Timestamp, key: &[u8]) {
    buffer.clear();
    buffer.push(CHANGE);
    buffer.extend_from_slice(&time.millis().to_be_bytes());
    buffer.extend_from_slice(key);
}

fn encode(change: &HeldChange<&[u8]>, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&change.timestamp.millis().to_be_bytes());
    push_bytes(change.old, out);
    push_bytes(change.new, out);
    push_length(change.headers.len(), out);
    for header in &change.headers {
        push_bytes(Some(header.name.as_bytes()), out);
        push_bytes(header.value.as_deref(), out);
    }
}

fn push_length(length: usize, out: &mut Vec<u8>) {
    // A record is far below 2 GiB: Kafka's own lengths are of 4 bytes.
    out.extend_from_slice(&i32::try_from(length).unwrap_or(i32::MAX).to_be_bytes());
}

fn push_bytes(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes {
        Some(bytes) => {
            push_length(bytes.len(), out);
            out.extend_from_slice(bytes);
        }
        None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
    }
}

fn decode(bytes: &[u8]) -> Option<HeldChange<&[u8]>> {
    let (timestamp, _) = split_timestamp(bytes.get(..TIME_LEN)?);
    let mut reader = Reader(bytes).skip_timestamp();
    let (old, new) = (reader.field()?, reader.field()?);
    let mut headers = Headers::new();
    for _ in 0..reader.length()? {
        let name = String::from_utf8_lossy(reader.field()??).into_owned();
        headers.push(name, reader.field()?.map(<[u8]>::to_vec));
    }
    Some(HeldChange { old, new, timestamp, headers })
}

/// What is left to read of a change.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn skip_timestamp(self) -> Self {
        Self(self.0.get(TIME_LEN..).unwrap_or_default())
    }

    fn length(&mut self) -> Option<i32> {
        let (length, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(i32::from_be_bytes(*length))
    }

    /// A length and that many bytes; the outer `None` where they are cut short.
    fn field(&mut self) -> Option<Option<&'b [u8]>> {
        let Ok(length) = usize::try_from(self.length()?) else { return Some(None) };
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(Some(bytes))
    }

    fn bytes(mut self) -> Option<&'b [u8]> {
        self.field().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> HeldChange<&'static [u8]> {
        let mut headers = Headers::new();
        headers.push("h", None);
        HeldChange { old: None, new: Some(b"v"), timestamp: Timestamp::new(5), headers }
    }

    #[test]
    fn a_change_has_its_golden_bytes_and_comes_back_from_them() {
        let mut bytes = vec![1];
        encode(&held(), &mut bytes);
        #[rustfmt::skip]
        assert_eq!(bytes, [
            0, 0, 0, 0, 0, 0, 0, 5,
            255, 255, 255, 255,
            0, 0, 0, 1, b'v',
            0, 0, 0, 1,
            0, 0, 0, 1, b'h', 255, 255, 255, 255,
        ]);
        assert_eq!(decode(&bytes), Some(held()));
    }

    #[test]
    fn a_change_that_is_cut_short_is_refused() {
        let mut bytes = Vec::new();
        encode(&held(), &mut bytes);
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]), None, "{length} bytes");
        }
    }
}
