//! What travels between the nodes of a table: a change of one key.
//!
//! Through a repartition topic it travels as Kafka Streams writes it (KIP-904): old value, then 0;
//! new value, then 1; or both, as the new value's length (a varint), new value, old value, then 2.
//! A change that is not of the latest value has one more byte, 0, and 3, 4 or 5 for 0, 1 or 2.

use crate::serde::{Serde, SerdeRef, SerdeResult};

/// A key's old and new value. `None` is no value: a key that was not there, or a deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<V> {
    /// The value before, where the sender knows it and a receiver asked for it.
    pub old: Option<V>,
    /// The value now.
    pub new: Option<V>,
    /// Whether `new` is the key's latest value: an out-of-order update of a versioned table is not.
    pub is_latest: bool,
}

impl<V> Change<V> {
    /// A change of the latest value.
    pub fn latest(old: Option<V>, new: Option<V>) -> Self {
        Self { old, new, is_latest: true }
    }
}

/// Reads and writes changes as a repartition topic holds them; see the [module](self).
pub(crate) struct ChangeSerde<V>(pub(crate) SerdeRef<V>);

impl<V: 'static> Serde<Change<V>> for ChangeSerde<V> {
    fn format_name(&self) -> String {
        format!("Change<{}>", self.0.format_name())
    }
    fn serialize(&self, change: &Change<V>, out: &mut Vec<u8>) -> SerdeResult {
        let form = match change {
            Change { old: Some(old), new: Some(new), .. } => {
                let start = out.len();
                self.0.serialize(new, out)?;
                let mut length = Vec::new();
                write_varint(out.len() - start, &mut length);
                out.splice(start..start, length);
                self.0.serialize(old, out)?;
                2
            }
            Change { new: Some(new), .. } => {
                self.0.serialize(new, out)?;
                1
            }
            Change { old: Some(old), .. } => {
                self.0.serialize(old, out)?;
                0
            }
            Change { .. } => return Err("a change without an old or a new value".into()),
        };
        if change.is_latest {
            out.push(form);
        } else {
            out.extend_from_slice(&[0, form + 3]);
        }
        Ok(())
    }

    fn deserialize(&self, bytes: &[u8]) -> SerdeResult<Change<V>> {
        let short = "shorter than a change";
        let (form, mut rest) = bytes.split_last().ok_or(short)?;
        let mut is_latest = true;
        if *form >= 3 {
            let (flag, before) = rest.split_last().ok_or(short)?;
            (is_latest, rest) = (*flag != 0, before);
        }
        let (old, new) = match form % 3 {
            0 => (Some(rest), None),
            1 => (None, Some(rest)),
            _ => {
                let (length, rest) = read_varint(rest).ok_or(short)?;
                let (new, old) = rest.split_at_checked(length).ok_or(short)?;
                (Some(old), Some(new))
            }
        };
        let read = |bytes: Option<&[u8]>| bytes.map(|bytes| self.0.deserialize(bytes)).transpose();
        Ok(Change { old: read(old)?, new: read(new)?, is_latest })
    }
}

fn write_varint(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        // Seven bits at a time.
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn read_varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate().take(5) {
        number |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::serde::Utf8;

    #[test]
    fn every_form_of_a_change_has_its_golden_bytes_and_is_read_back() {
        let serde: ChangeSerde<String> = ChangeSerde(Arc::new(Utf8));
        let change = |old: Option<&str>, new: Option<&str>, is_latest| Change {
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
            is_latest,
        };
        let cases: [(Change<String>, &[u8]); 5] = [
            (change(Some("x1"), None, true), b"x1\0"),
            (change(None, Some("x1"), true), b"x1\x01"),
            (change(Some("old"), Some("n"), true), b"\x01nold\x02"),
            (change(None, Some("x1"), false), b"x1\0\x04"),
            (change(Some("old"), Some("n"), false), b"\x01nold\0\x05"),
        ];
        for (change, bytes) in cases {
            let mut out = Vec::new();
            serde.serialize(&change, &mut out).unwrap();
            assert_eq!(out, bytes, "{change:?}");
            assert_eq!(serde.deserialize(bytes).unwrap(), change);
        }
    }

    #[test]
    fn a_long_values_length_takes_two_bytes() {
        let serde: ChangeSerde<String> = ChangeSerde(Arc::new(Utf8));
        let change = Change::latest(Some("old".to_owned()), Some("n".repeat(300)));
        let mut out = Vec::new();
        serde.serialize(&change, &mut out).unwrap();
        assert_eq!(out[..2], [0xac, 2]);
        assert_eq!(serde.deserialize(&out).unwrap(), change);
    }
}
