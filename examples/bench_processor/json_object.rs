//! Writes a JSON object field by field into a buffer, without a detour over a tree or a trait.

use std::fmt::Display;
use std::io::Write;

use serde::Serialize;
use tidemill::prelude::SerdeResult;

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
    #[inline]
    pub fn text(&mut self, name: &'static str, value: &str) -> SerdeResult<&mut Self> {
        self.name(name);
        if value.bytes().any(|byte| matches!(byte, ..b' ' | b'"' | b'\\')) {
            serde_json::to_writer(&mut *self.out, value)?;
        } else {
            self.out.push(b'"');
            self.out.extend_from_slice(value.as_bytes());
            self.out.push(b'"');
        }
        Ok(self)
    }

    /// A number of a primitive type.
    #[inline]
    pub fn number(&mut self, name: &'static str, value: impl Serialize) -> SerdeResult<&mut Self> {
        self.name(name);
        serde_json::to_writer(&mut *self.out, &value)?;
        Ok(self)
    }

    /// A number whose `Display` writes it as JSON does.
    #[inline]
    pub fn decimal(&mut self, name: &'static str, value: impl Display) -> SerdeResult<&mut Self> {
        self.name(name);
        write!(self.out, "{value}")?;
        Ok(self)
    }

    /// Closes the object.
    pub fn close(&mut self) -> SerdeResult {
        self.out.push(b'}');
        Ok(())
    }

    #[inline]
    fn name(&mut self, name: &'static str) {
        self.out.extend_from_slice(&[self.before, b'"']);
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.before = b',';
    }
}
