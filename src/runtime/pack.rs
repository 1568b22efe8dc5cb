//! Packs: records of a repartition topic that travel together, as one of Kafka's records.
//!
//! A record costs the client library over a microsecond on its way out and in again, whatever its
//! size, and a repartition topic has no readers but the application's own tasks. So what a thread
//! sends to one partition of it is put into packs of some kilobytes. In a pack, records keep their
//! order, keys, values, timestamps and headers.
//!
//! A pack is the value of a record with a null key and the header `tidemill.pack`, whose value is the
//! version of this layout, one byte 1:
//!
//! | bytes | meaning |
//! |---|---|
//! | 8 | timestamp of the first record, ms, big-endian |
//! | a record: varint | its timestamp less that of the first, zigzag |
//! | a record: part | its key |
//! | a record: part | its value |
//! | a record: varint | how many headers it has |
//! | a header: part, part | its name and value |
//!
//! A varint has seven bits a byte, the lowest first; all bytes but its last have the highest bit set.
//! A part is a varint, 0 for null, otherwise the length plus one, and the bytes.

use tidemill_topology::handler::NamedError;
use tidemill_topology::record::Headers;
use tidemill_topology::time::Timestamp;

use crate::kafka::LEAST_MESSAGE_BYTES;

/// Bytes after which a pack is sent: large enough that what Kafka's record costs is shared by dozens,
/// small enough that a thread can have one open for each partition.
pub const PACK_BYTES: usize = 8 * 1024;
// The last record added may be almost as large itself.
const _: () = assert!(LEAST_MESSAGE_BYTES > 3 * PACK_BYTES as u64);
/// The header that tells a pack from a record that travels alone.
pub const HEADER: &str = "tidemill.pack";
const VERSION: u8 = 1;
const FIRST: usize = size_of::<i64>();

/// The headers of a pack.
#[must_use]
pub fn headers() -> Headers {
    let mut headers = Headers::new();
    headers.push(HEADER, Some(vec![VERSION]));
    headers
}

/// A record in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed<'a> {
    /// Its key, or null.
    pub key: Option<&'a [u8]>,
    /// Its value, or null.
    pub value: Option<&'a [u8]>,
    /// Its timestamp.
    pub timestamp: Timestamp,
}

/// How many bytes a key and a value have.
#[inline]
#[must_use]
pub fn bytes_of(key: Option<&[u8]>, value: Option<&[u8]>) -> u64 {
    (key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len)) as u64
}

/// A pack that is being filled.
#[derive(Debug, Default)]
pub struct Packer {
    bytes: Vec<u8>,
    first: Timestamp,
    latest: Timestamp,
}

impl Packer {
    /// Adds a record.
    pub fn push(&mut self, record: Packed<'_>, headers: &Headers) {
        let Packed { key, value, timestamp } = record;
        if self.bytes.is_empty() {
            self.bytes.extend_from_slice(&timestamp.millis().to_be_bytes());
            (self.first, self.latest) = (timestamp, timestamp);
        }
        self.latest = self.latest.max(timestamp);
        let out = &mut self.bytes;
        let later = timestamp.millis().wrapping_sub(self.first.millis());
        write_varint(((later << 1) ^ (later >> 63)).cast_unsigned(), out);
        write_part(key, out);
        write_part(value, out);
        write_varint(headers.len() as u64, out);
        for header in headers {
            write_part(Some(header.name.as_bytes()), out);
            write_part(header.value.as_deref(), out);
        }
    }

    /// What was added since the last [`clear`](Self::clear); empty if nothing was.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The highest timestamp in it.
    #[must_use]
    pub fn latest(&self) -> Timestamp {
        self.latest
    }

    /// Begins a new pack.
    pub fn clear(&mut self) {
        self.bytes.clear();
        // One large record is no reason to keep that much.
        self.bytes.shrink_to(2 * PACK_BYTES);
    }
}

/// What a pack holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// How many records.
    pub records: u32,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

/// Whether a record's headers say that it is a pack of this or of another version.
#[must_use]
pub fn is_pack(headers: &Headers) -> bool {
    headers.last(HEADER).is_some()
}

/// Why a record is refused that says it is a pack and cannot be read as one.
#[must_use]
pub fn unreadable() -> NamedError {
    NamedError {
        name: "tidemill.UnreadablePack".to_owned(),
        message: "the record says that it is a pack of records of a repartition topic and cannot be read \
                  as one; something else has written it, or a later version of Tidemill"
            .to_owned(),
    }
}

/// Goes through a pack whose record has these headers. `None` if it is not of this layout from its
/// first byte to its last.
#[must_use]
pub fn check(headers: &Headers, pack: &[u8]) -> Option<Contents> {
    if headers.last(HEADER)?.value.as_deref() != Some(&[VERSION]) {
        return None;
    }
    let mut contents = Contents { records: 0, bytes: 0 };
    let mut reader = Reader::new(pack)?;
    while !reader.is_at_end() {
        let record = reader.next(|_, _| ())?;
        contents.records = contents.records.checked_add(1)?;
        contents.bytes += bytes_of(record.key, record.value);
    }
    (contents.records > 0).then_some(contents)
}

/// Reads the records of a pack one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    first: Timestamp,
    pack: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// At the first record.
    #[must_use]
    pub fn new(pack: &'a [u8]) -> Option<Self> {
        Self::at(pack, FIRST)
    }

    /// Where [`place`](Self::place) was.
    #[must_use]
    pub fn at(pack: &'a [u8], at: usize) -> Option<Self> {
        let first = i64::from_be_bytes(*pack.first_chunk::<FIRST>()?);
        Some(Self { first: Timestamp::new(first), pack, at })
    }

    /// Where it stands.
    #[must_use]
    pub fn place(&self) -> usize {
        self.at
    }

    /// Whether there is no record left.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.at >= self.pack.len()
    }

    /// The timestamp of the next record.
    #[must_use]
    pub fn timestamp(&self) -> Option<Timestamp> {
        Self { ..*self }.read_timestamp()
    }

    /// The next record; its headers go to `header`, by name and value.
    #[inline]
    pub fn next(&mut self, mut header: impl FnMut(&str, Option<&[u8]>)) -> Option<Packed<'a>> {
        let timestamp = self.read_timestamp()?;
        let (key, value) = (self.part()?, self.part()?);
        for _ in 0..self.varint()? {
            let name = std::str::from_utf8(self.part()??).ok()?;
            header(name, self.part()?);
        }
        Some(Packed { key, value, timestamp })
    }

    #[inline]
    fn read_timestamp(&mut self) -> Option<Timestamp> {
        let later = self.varint()?;
        let later = (later >> 1).cast_signed() ^ -(later & 1).cast_signed();
        Some(Timestamp::new(self.first.millis().wrapping_add(later)))
    }

    #[inline]
    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = *self.pack.get(self.at)?;
            self.at += 1;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    #[inline]
    fn part(&mut self) -> Option<Option<&'a [u8]>> {
        let Some(len) = self.varint()?.checked_sub(1) else { return Some(None) };
        let end = self.at.checked_add(usize::try_from(len).ok()?)?;
        let part = self.pack.get(self.at..end)?;
        self.at = end;
        Some(Some(part))
    }
}

#[inline]
fn write_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        let [lowest, ..] = number.to_le_bytes();
        out.push(lowest | 0x80);
        number >>= 7;
    }
    let [last, ..] = number.to_le_bytes();
    out.push(last);
}

#[inline]
fn write_part(part: Option<&[u8]>, out: &mut Vec<u8>) {
    let Some(part) = part else { return out.push(0) };
    write_varint(part.len() as u64 + 1, out);
    out.extend_from_slice(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'a>(key: &'a [u8], value: Option<&'a [u8]>, ms: i64) -> Packed<'a> {
        Packed { key: Some(key), value, timestamp: Timestamp::new(ms) }
    }

    fn packed(records: &[(Packed<'_>, &Headers)]) -> Vec<u8> {
        let mut packer = Packer::default();
        records.iter().for_each(|(record, headers)| packer.push(*record, headers));
        packer.bytes().to_vec()
    }

    #[test]
    fn the_layout_is_what_the_page_says() {
        let mut traced = Headers::new();
        traced.push("t", Some(b"9".to_vec()));
        traced.push("n", None);
        let bytes = packed(&[
            (record(b"k", Some(b"value"), 1_000), Headers::none()),
            (record(b"", None, 936), &traced),
        ]);
        let want: &[u8] = b"\0\0\0\0\0\0\x03\xe8\
            \x00\x02k\x06value\x00\
            \x7f\x01\x00\x02\x02t\x029\x02n\x00";
        assert_eq!(bytes, want);
    }

    #[test]
    fn records_come_out_as_they_went_in() {
        let long = vec![7; 300];
        let mut traced = Headers::new();
        traced.push("trace", Some(b"abc".to_vec()));
        let records = [
            (record(b"a", Some(&long), 5), Headers::none()),
            (Packed { key: None, value: None, timestamp: Timestamp::new(i64::MAX) }, &traced),
            (record(b"b", Some(b""), 0), Headers::none()),
        ];
        let bytes = packed(&records);
        assert_eq!(check(&headers(), &bytes), Some(Contents { records: 3, bytes: 302 }));
        let mut reader = Reader::new(&bytes).unwrap();
        for (want, want_headers) in records {
            assert_eq!(reader.timestamp(), Some(want.timestamp));
            // From its place alone it goes on the same way.
            reader = Reader::at(&bytes, reader.place()).unwrap();
            let mut found = Headers::new();
            let read = reader.next(|name, value| found.push(name, value.map(<[u8]>::to_vec)));
            assert_eq!((read, &found), (Some(want), want_headers));
        }
        assert!(reader.is_at_end());
    }

    #[test]
    fn a_new_pack_has_a_time_of_its_own() {
        let mut packer = Packer::default();
        packer.push(record(b"a", None, 9), Headers::none());
        packer.push(record(b"b", None, 4), Headers::none());
        assert_eq!(packer.latest(), Timestamp::new(9));
        packer.clear();
        assert!(packer.bytes().is_empty());
        packer.push(record(b"c", None, 3), Headers::none());
        assert_eq!(packer.latest(), Timestamp::new(3));
        assert_eq!(Reader::new(packer.bytes()).unwrap().timestamp(), Some(Timestamp::new(3)));
    }

    #[test]
    fn what_is_cut_off_or_of_another_version_is_no_pack() {
        let bytes = packed(&[(record(b"key", Some(b"value"), 5), Headers::none())]);
        assert!(check(&headers(), &bytes).is_some());
        for len in 0..bytes.len() {
            assert_eq!(check(&headers(), &bytes[..len]), None, "{len} bytes");
        }
        let mut other = Headers::new();
        other.push(HEADER, Some(vec![2]));
        assert!(is_pack(&other) && check(&other, &bytes).is_none());
        assert!(!is_pack(Headers::none()));
    }
}
