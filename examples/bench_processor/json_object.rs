//! Writes a JSON object field by field into a buffer, without a detour over a tree or a trait.

use tidemill::exchange::{Amount, DecimalBuffer, LONGEST_DECIMAL, Price};
use tidemill::prelude::SerdeResult;

/// Bytes of the longest name.
const LONGEST_NAME: usize = 28;
/// Bytes of the longest whole number of 64 bits.
const LONGEST_WHOLE: usize = 20;
/// Bytes that an object begins with, and grows by.
const ROOM: usize = 512;

/// An object that is being written.
pub struct JsonObject<'o> {
    /// What is written, and room for more.
    out: &'o mut Vec<u8>,
    /// Where the next byte goes.
    end: usize,
    /// What comes before the next field.
    before: u8,
}

impl<'o> JsonObject<'o> {
    /// Opens an object at the end of `out`.
    pub fn open(out: &'o mut Vec<u8>) -> Self {
        let end = out.len();
        out.resize(end + ROOM, 0);
        Self { out, end, before: b'{' }
    }

    /// A string.
    #[inline(always)]
    pub fn text(&mut self, name: &'static str, value: &str) -> SerdeResult<&mut Self> {
        self.name(name, value.len() + 2);
        if is_plain(value.as_bytes()) {
            self.quoted(value.as_bytes());
        } else {
            let text = serde_json::to_vec(value)?;
            self.room(text.len());
            self.put(&text);
        }
        Ok(self)
    }

    /// One of a program's own words, which needs no escaping.
    #[inline(always)]
    pub fn word(&mut self, name: &'static str, word: &'static str) -> &mut Self {
        self.name(name, word.len() + 2);
        self.quoted(word.as_bytes());
        self
    }

    /// A whole number.
    #[inline(always)]
    pub fn number(&mut self, name: &'static str, value: impl itoa::Integer) -> &mut Self {
        self.name(name, LONGEST_WHOLE);
        self.put(itoa::Buffer::new().format(value).as_bytes());
        self
    }

    /// A price.
    #[inline(always)]
    pub fn price(&mut self, name: &'static str, value: Price) -> &mut Self {
        self.name(name, LONGEST_DECIMAL);
        self.end += value.write_to(self.decimal());
        self
    }

    /// A sum of prices.
    #[inline(always)]
    pub fn amount(&mut self, name: &'static str, value: Amount) -> &mut Self {
        self.name(name, LONGEST_DECIMAL);
        self.end += value.write_to(self.decimal());
        self
    }

    /// Closes the object.
    pub fn close(&mut self) -> SerdeResult {
        self.out.truncate(self.end);
        self.out.push(b'}');
        Ok(())
    }

    /// A field's name, with room for a value of so many bytes. Inlined, so that all of a known name
    /// is put together when this is compiled, and written at once.
    #[inline(always)]
    fn name(&mut self, name: &'static str, value_length: usize) {
        const LONGEST: usize = LONGEST_NAME + 4;
        let mut text = [0; LONGEST];
        let end = name.len() + 2;
        text[..2].copy_from_slice(&[self.before, b'"']);
        text[2..end].copy_from_slice(name.as_bytes());
        text[end..end + 2].copy_from_slice(b"\":");
        self.room(LONGEST + value_length);
        self.out[self.end..self.end + LONGEST].copy_from_slice(&text);
        self.end += end + 2;
        self.before = b',';
    }

    /// Where a decimal goes, for which there is room.
    #[inline(always)]
    fn decimal(&mut self) -> &mut DecimalBuffer {
        self.out[self.end..].first_chunk_mut().expect("its name made room for it")
    }

    /// Makes room for so many bytes.
    #[inline(always)]
    fn room(&mut self, bytes: usize) {
        if self.out.len() - self.end < bytes {
            self.out.resize(self.end + bytes + ROOM, 0);
        }
    }

    #[inline(always)]
    fn quoted(&mut self, text: &[u8]) {
        self.put(b"\"");
        self.put(text);
        self.put(b"\"");
    }

    /// Puts what is mostly short: as two pieces of a known length that overlap, without a call.
    #[inline(always)]
    fn put(&mut self, text: &[u8]) {
        let to = &mut self.out[self.end..self.end + text.len()];
        self.end += text.len();
        if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>())
            && text.len() <= 16
        {
            to[..8].copy_from_slice(first);
            to[text.len() - 8..].copy_from_slice(last);
        } else if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>())
            && text.len() <= 8
        {
            to[..4].copy_from_slice(first);
            to[text.len() - 4..].copy_from_slice(last);
        } else {
            to.copy_from_slice(text);
        }
    }
}

/// Whether a string needs no escaping. Most are short, and looked at as two words that overlap.
#[inline(always)]
fn is_plain(text: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);
    // The top bit of a byte below `limit` is set, perhaps those of others after it.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & TOPS;
    let special = |word: u64| {
        let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        below(word, 0x20) | equal(b'"') | equal(b'\\')
    };
    match (text.first_chunk(), text.last_chunk()) {
        (Some(first), Some(last)) if text.len() <= 16 => {
            special(u64::from_ne_bytes(*first)) | special(u64::from_ne_bytes(*last)) == 0
        }
        _ => match (text.first_chunk::<4>(), text.last_chunk::<4>()) {
            (Some(first), Some(last)) if text.len() <= 8 => {
                let (first, last) = (u32::from_ne_bytes(*first), u32::from_ne_bytes(*last));
                special(u64::from(first) << 32 | u64::from(last)) == 0
            }
            // Without an early end, so that the compiler can look at many bytes at a time.
            _ => !text
                .iter()
                .fold(false, |found, &byte| found | (byte < b' ' || byte == b'"' || byte == b'\\')),
        },
    }
}
