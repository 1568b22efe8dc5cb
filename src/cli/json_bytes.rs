//! Keys and values as fields of a JSON line: as JSON where they are, else as text, else as base64.

use std::borrow::Cow;
use std::io::{self, Write};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::record_lines::is_json_line;

/// The fields in which a line may have its key and its value.
#[derive(Debug, Default, Deserialize)]
pub struct ByteFields<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    key: Option<&'a RawValue>,
    #[serde(borrow, default)]
    key_base64: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    value_text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    value_base64: Option<Cow<'a, str>>,
}

/// A field that is there, null included.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Bytes or null, where the line says either.
pub type Given = Option<Option<Vec<u8>>>;

impl ByteFields<'_> {
    /// The key.
    ///
    /// # Errors
    /// When it is no string, or said twice.
    pub fn key(&self) -> Result<Given, String> {
        match (self.key, &self.key_base64) {
            (None, None) => Ok(None),
            (None, Some(text)) => unpacked("key_base64", text).map(|bytes| Some(Some(bytes))),
            (Some(raw), None) => serde_json::from_str::<Option<String>>(raw.get())
                .map(|key| Some(key.map(String::into_bytes)))
                .map_err(|_| {
                    "`key` must be a string or null; other keys go into `key_base64`".into()
                }),
            (Some(_), Some(_)) => Err("it has both `key` and `key_base64`".to_owned()),
        }
    }

    /// The value.
    ///
    /// # Errors
    /// When it is no base64, or said twice.
    pub fn value(&self) -> Result<Given, String> {
        match (self.value, &self.value_text, &self.value_base64) {
            (None, None, None) => Ok(None),
            (Some(raw), None, None) if raw.get() == "null" => Ok(Some(None)),
            (Some(raw), None, None) => Ok(Some(Some(raw.get().as_bytes().to_vec()))),
            (None, Some(text), None) => Ok(Some(Some(text.as_bytes().to_vec()))),
            (None, None, Some(text)) => {
                unpacked("value_base64", text).map(|bytes| Some(Some(bytes)))
            }
            _ => Err("it has more than one of `value`, `value_text` and `value_base64`".to_owned()),
        }
    }
}

fn unpacked(field: &str, text: &str) -> Result<Vec<u8>, String> {
    BASE64_STANDARD.decode(text).map_err(|error| format!("`{field}` is no base64: {error}"))
}

/// Writes the field of a key, without a comma.
pub fn write_key(key: Option<&[u8]>, out: &mut impl Write) -> io::Result<()> {
    match key.map(|key| (key, std::str::from_utf8(key))) {
        None => out.write_all(b"\"key\":null"),
        Some((_, Ok(text))) => {
            out.write_all(b"\"key\":")?;
            Ok(serde_json::to_writer(out, text)?)
        }
        Some((key, Err(_))) => write!(out, "\"key_base64\":\"{}\"", BASE64_STANDARD.encode(key)),
    }
}

/// Writes the field of a value, without a comma.
pub fn write_value(value: Option<&[u8]>, out: &mut impl Write) -> io::Result<()> {
    match value.map(|value| (value, std::str::from_utf8(value))) {
        None => out.write_all(b"\"value\":null"),
        Some((value, _)) if is_json_line(value) => {
            out.write_all(b"\"value\":")?;
            out.write_all(value)
        }
        Some((_, Ok(text))) => {
            out.write_all(b"\"value_text\":")?;
            Ok(serde_json::to_writer(out, text)?)
        }
        Some((value, Err(_))) => {
            write!(out, "\"value_base64\":\"{}\"", BASE64_STANDARD.encode(value))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_and_value_is_read_back_as_it_was_written() {
        let all: [Option<&[u8]>; 8] = [
            None,
            Some(b""),
            Some(b"plain"),
            Some(b"null"),
            Some(br#"{"x": [1, "a"]}"#),
            Some(b"{\n}"),
            Some(b"\xff\x00"),
            Some("caf\u{e9}\"".as_bytes()),
        ];
        for bytes in all {
            let mut line = b"{".to_vec();
            write_key(bytes, &mut line).unwrap();
            line.push(b',');
            write_value(bytes, &mut line).unwrap();
            line.push(b'}');
            let fields: ByteFields<'_> = serde_json::from_slice(&line).unwrap();
            let bytes = bytes.map(<[u8]>::to_vec);
            let line = String::from_utf8_lossy(&line).into_owned();
            assert_eq!(fields.key().unwrap(), Some(bytes.clone()), "{line}");
            assert_eq!(fields.value().unwrap(), Some(bytes), "{line}");
        }
    }

    #[test]
    fn a_line_may_say_neither_and_must_not_say_twice() {
        let read = |line| serde_json::from_str::<ByteFields<'_>>(line).unwrap();
        assert_eq!(read("{}").key().unwrap(), None);
        assert_eq!(read("{}").value().unwrap(), None);
        assert!(read(r#"{"value":1,"value_text":"1"}"#).value().is_err());
        assert!(read(r#"{"key":"a","key_base64":"YQ=="}"#).key().is_err());
        assert!(read(r#"{"key":17}"#).key().unwrap_err().contains("key_base64"));
        assert!(read(r#"{"value_base64":"?"}"#).value().unwrap_err().contains("base64"));
    }
}
