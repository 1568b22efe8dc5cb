//! Writes a JSON object field by field into a buffer, without a detour over a tree or a trait.

use serde::Serialize;
use tidemill::exchange::{Amount, Price};
use tidemill::prelude::SerdeResult;

/// Bytes of the longest name.
const LONGEST_NAME: usize = 28;
/// Bytes that most numbers stay below.
const LONGEST_NUMBER: usize = 24;

/// An object that is being written.
pub struct JsonObject<'o> {
    out: &'o mut Vec<u8>,
    /// What comes before the next field.
    before: u8,
}

impl<'o> JsonObject<'o> {
    /// Opens an object at the end of `out`.
    pub fn open(out: &'o mut Vec<u8>) -> Self {
        Self { out, before: b'{' }
    }

    /// A string.
    #[inline(always)]
    pub fn text(&mut self, name: &'static str, value: &str) -> SerdeResult<&mut Self> {
        self.name(name, value.len() + 2);
        // Without an early end, so that the compiler can look at many bytes at a time.
        let special = |byte| byte < b' ' || byte == b'"' || byte == b'\\';
        if value.bytes().fold(false, |found, byte| found | special(byte)) {
            serde_json::to_writer(&mut *self.out, value)?;
        } else {
            self.out.push(b'"');
            self.out.extend_from_slice(value.as_bytes());
            self.out.push(b'"');
        }
        Ok(self)
    }

    /// One of a program's own words, which needs no escaping.
    #[inline(always)]
    pub fn word(&mut self, name: &'static str, word: &'static str) -> &mut Self {
        self.name(name, word.len() + 2);
        self.out.push(b'"');
        self.out.extend_from_slice(word.as_bytes());
        self.out.push(b'"');
        self
    }

    /// A number of a primitive type.
    #[inline(always)]
    pub fn number(&mut self, name: &'static str, value: impl Serialize) -> SerdeResult<&mut Self> {
        self.name(name, LONGEST_NUMBER);
        serde_json::to_writer(&mut *self.out, &value)?;
        Ok(self)
    }

    /// A price.
    #[inline(always)]
    pub fn price(&mut self, name: &'static str, value: Price) -> &mut Self {
        self.name(name, LONGEST_NUMBER);
        value.append_to(self.out);
        self
    }

    /// A sum of prices.
    #[inline(always)]
    pub fn amount(&mut self, name: &'static str, value: Amount) -> &mut Self {
        self.name(name, LONGEST_NUMBER);
        value.append_to(self.out);
        self
    }

    /// Closes the object.
    pub fn close(&mut self) -> SerdeResult {
        self.out.push(b'}');
        Ok(())
    }

    /// A field's name, with room for a value of so many bytes. Inlined, so that all of a known name
    /// is put together when this is compiled, and written at once.
    #[inline(always)]
    fn name(&mut self, name: &'static str, value_length: usize) {
        let mut text = [0; LONGEST_NAME + 4];
        let end = name.len() + 2;
        text[..2].copy_from_slice(&[self.before, b'"']);
        text[2..end].copy_from_slice(name.as_bytes());
        text[end..end + 2].copy_from_slice(b"\":");
        self.out.reserve(end + value_length + 3);
        self.out.extend_from_slice(&text[..end + 2]);
        self.before = b',';
    }
}
