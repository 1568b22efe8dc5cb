//! Records as JSON lines: [`LineReader`] and [`parse`] read them, [`write_record`] writes them.
//!
//! | field | meaning |
//! |---|---|
//! | `key` | a string, or null |
//! | `key_base64` | in the place of `key`: bytes that are not UTF-8 |
//! | `value` | any JSON; null is a tombstone |
//! | `value_base64` | in the place of `value`: bytes that are not JSON |
//! | `timestamp` | milliseconds since the epoch |
//! | `headers` | an object of strings, or nulls; written where there are any, not read |
//!
//! A line without `value` and `value_base64` is itself a value, whatever it holds.

use std::borrow::Cow;
use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::rc::Rc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::bufread::MultiGzDecoder;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tidemill_topology::node::Outgoing;

use super::failure::Failure;

const BUFFER_BYTES: usize = 1 << 18;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Reads the lines of a file or of standard input, unpacking gzip.
pub struct LineReader {
    lines: Box<dyn BufRead>,
    what: String,
    line: Vec<u8>,
    consumed: Rc<Cell<u64>>,
    length: Option<u64>,
}

/// Counts what is read, so that progress is known also of a packed file.
struct Counted<R> {
    inner: R,
    bytes: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes.set(self.bytes.get() + count as u64);
        Ok(count)
    }
}

impl LineReader {
    /// Opens a file; `-` is standard input.
    ///
    /// # Errors
    /// When it cannot be opened or read.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        if path.as_os_str() == "-" {
            return Self::of(io::stdin(), "standard input".to_owned(), None);
        }
        let what = path.display().to_string();
        let file = File::open(path).map_err(Failure::io(format!("open {what}")))?;
        let length = file.metadata().ok().map(|metadata| metadata.len());
        Self::of(file, what, length)
    }

    fn of(input: impl Read + 'static, what: String, length: Option<u64>) -> Result<Self, Failure> {
        let consumed = Rc::new(Cell::new(0));
        let counted = Counted { inner: input, bytes: Rc::clone(&consumed) };
        let mut plain = BufReader::with_capacity(BUFFER_BYTES, counted);
        let start = plain.fill_buf().map_err(Failure::io(format!("read {what}")))?;
        let lines: Box<dyn BufRead> = if start.starts_with(&GZIP_MAGIC) {
            let unpacked = MultiGzDecoder::new(plain);
            Box::new(BufReader::with_capacity(BUFFER_BYTES, unpacked))
        } else {
            Box::new(plain)
        };
        Ok(Self { lines, what, line: Vec::new(), consumed, length })
    }

    /// The next line that is not empty, without its end; `None` at the end.
    ///
    /// # Errors
    /// When it cannot be read, or the packing is damaged.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, Failure> {
        loop {
            self.line.clear();
            let read = self
                .lines
                .read_until(b'\n', &mut self.line)
                .map_err(Failure::io(format!("read {}", self.what)))?;
            if read == 0 {
                return Ok(None);
            }
            let length = self.line.trim_ascii_end().len();
            if length > 0 {
                return Ok(Some(&self.line[..length]));
            }
        }
    }

    /// Bytes of the file read so far.
    pub fn consumed(&self) -> u64 {
        self.consumed.get()
    }

    /// Bytes of the file, if it is one.
    pub fn length(&self) -> Option<u64> {
        self.length
    }
}

/// A line taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The record's key.
    pub key: Option<Cow<'a, [u8]>>,
    /// The record's value; `None` is a tombstone.
    pub value: Option<Cow<'a, [u8]>>,
    /// The record's timestamp, where it has one.
    pub timestamp: Option<i64>,
}

/// The fields of a record; a bare value has neither `value` nor `value_base64`.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    key_base64: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    value_base64: Option<Cow<'a, str>>,
    #[serde(default)]
    timestamp: Option<i64>,
}

/// A field that is there, null included: a tombstone is not the same as no value.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Takes a line apart. What is no record is a value: the topology judges it, as it would on Kafka.
pub fn parse(line: &[u8]) -> Line<'_> {
    let bare = Line { key: None, value: Some(Cow::Borrowed(line)), timestamp: None };
    let Ok(fields) = serde_json::from_slice::<Fields<'_>>(line) else {
        return bare;
    };
    let unpacked = |text: &str| BASE64_STANDARD.decode(text).ok().map(Cow::Owned);
    let value = match (fields.value, &fields.value_base64) {
        (Some(value), None) if value.get() == "null" => None,
        (Some(value), None) => Some(Cow::Borrowed(value.get().as_bytes())),
        (None, Some(text)) => match unpacked(text) {
            Some(bytes) => Some(bytes),
            None => return bare,
        },
        _ => return bare,
    };
    let key = match fields.key_base64 {
        Some(text) => unpacked(&text),
        None => fields.key.map(|key| match key {
            Cow::Borrowed(key) => Cow::Borrowed(key.as_bytes()),
            Cow::Owned(key) => Cow::Owned(key.into_bytes()),
        }),
    };
    Line { key, value, timestamp: fields.timestamp }
}

/// Whether the values of a topic need a look before they are written as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// They are JSON on one line: the topology wrote them.
    Json,
    /// They are bytes as somebody sent them.
    AnyBytes,
}

/// Writes a record as one line.
///
/// # Errors
/// When `out` cannot be written.
pub fn write_record(record: &Outgoing<'_>, values: Values, out: &mut impl Write) -> io::Result<()> {
    write_key(record.key, out)?;
    match record.value {
        None => out.write_all(b",\"value\":null")?,
        Some(value) if values == Values::Json || is_json_line(value) => {
            out.write_all(b",\"value\":")?;
            out.write_all(value)?;
        }
        Some(value) => write!(out, ",\"value_base64\":\"{}\"", BASE64_STANDARD.encode(value))?,
    }
    write!(out, ",\"timestamp\":{}", record.timestamp.millis())?;
    if !record.headers.is_empty() {
        write_headers(record, out)?;
    }
    out.write_all(b"}\n")
}

fn write_key(key: Option<&[u8]>, out: &mut impl Write) -> io::Result<()> {
    match key.map(|key| (key, std::str::from_utf8(key))) {
        None => out.write_all(b"{\"key\":null"),
        Some((_, Ok(text))) => {
            out.write_all(b"{\"key\":")?;
            Ok(serde_json::to_writer(out, text)?)
        }
        Some((key, Err(_))) => write!(out, "{{\"key_base64\":\"{}\"", BASE64_STANDARD.encode(key)),
    }
}

fn write_headers(record: &Outgoing<'_>, out: &mut impl Write) -> io::Result<()> {
    out.write_all(b",\"headers\":{")?;
    for (at, header) in record.headers.iter().enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        serde_json::to_writer(&mut *out, &header.name)?;
        out.write_all(b":")?;
        let text = header.value.as_deref().map(String::from_utf8_lossy);
        serde_json::to_writer(&mut *out, &text)?;
    }
    out.write_all(b"}")
}

/// Whether bytes can stand in a line as they are and be read back as the same bytes.
pub fn is_json_line(value: &[u8]) -> bool {
    let trimmed = value.trim_ascii();
    trimmed.len() == value.len()
        && value != b"null"
        && !value.contains(&b'\n')
        && std::str::from_utf8(value).is_ok()
        && serde_json::from_slice::<&RawValue>(value).is_ok()
}

#[cfg(test)]
mod tests {
    use tidemill_topology::node::{Route, SinkTopic};
    use tidemill_topology::prelude::{Headers, Timestamp};

    use super::*;

    fn bytes(text: &str) -> Option<Cow<'_, [u8]>> {
        Some(Cow::Borrowed(text.as_bytes()))
    }

    #[test]
    fn a_record_is_taken_apart() {
        let line = parse(br#"{"key":"a","value":{"x": 1},"timestamp":7,"note":[]}"#);
        assert_eq!(line, Line { key: bytes("a"), value: bytes(r#"{"x": 1}"#), timestamp: Some(7) });
        let line = parse(br#"{"value_base64":"/w=="}"#);
        assert_eq!(line.value.as_deref(), Some(&[0xff][..]));
        assert_eq!(parse(br#"{"key":"a","value":null}"#).value, None);
    }

    #[test]
    fn a_line_that_is_no_record_is_a_value() {
        for text in [
            r#"{"asset_id":"a","shares":5}"#,
            r#"{"value":{"x":"#,
            r#"{"value_base64":"?"}"#,
            r#"{"value":1,"value_base64":"/w=="}"#,
            "17",
            "\u{fffd}",
        ] {
            assert_eq!(parse(text.as_bytes()).value, bytes(text), "{text}");
        }
        assert_eq!(parse(b"\xff\xfe").value.as_deref(), Some(&b"\xff\xfe"[..]));
    }

    fn written(key: Option<&[u8]>, value: Option<&[u8]>, values: Values) -> String {
        let topic = SinkTopic { name: "t".into(), internal: false };
        let mut headers = Headers::new();
        headers.push("h", Some(b"\"x\"".to_vec()));
        let record = Outgoing {
            topic: &topic,
            route: Route::Key(None),
            key,
            value,
            timestamp: Timestamp::new(7),
            headers: &headers,
        };
        let mut out = Vec::new();
        write_record(&record, values, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let values: [Option<&[u8]>; 7] = [
            Some(br#"{"x":1}"#),
            Some(b"{\n}"),
            Some(b" 1"),
            Some(b"\xff"),
            Some(b"null"),
            Some(b""),
            None,
        ];
        for key in [None, Some(&b"k\"1"[..]), Some(&b"\xfe"[..])] {
            for value in values {
                let text = written(key, value, Values::AnyBytes);
                assert!(text.ends_with(",\"headers\":{\"h\":\"\\\"x\\\"\"}}\n"), "{text}");
                let line = parse(text.trim_end().as_bytes());
                assert_eq!(line.key.as_deref(), key, "{text}");
                assert_eq!(line.value.as_deref(), value, "{text}");
                assert_eq!(line.timestamp, Some(7));
            }
        }
    }

    #[test]
    fn packed_lines_are_unpacked_and_empty_ones_skipped() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(b"one\n\n  \ntwo\r\n").unwrap();
        let packed = packed.finish().unwrap();
        for input in [packed, b"one\n\ntwo".to_vec()] {
            let mut reader =
                LineReader::of(io::Cursor::new(input), "a test".to_owned(), None).unwrap();
            assert_eq!(reader.next_line().unwrap(), Some(&b"one"[..]));
            assert_eq!(reader.next_line().unwrap(), Some(&b"two"[..]));
            assert_eq!(reader.next_line().unwrap(), None);
        }
    }
}
