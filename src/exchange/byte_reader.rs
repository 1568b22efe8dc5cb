//! Reading and writing the fixed parts of the exchange's binary layouts.

/// Bytes that end too early, go on too long, or hold text that is not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut(&'static str);

impl Cut {
    pub(super) fn reason(self) -> &'static str {
        self.0
    }
}

/// Takes a layout's parts from the front of its bytes.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Cut> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Cut("cut short"))?;
        self.0 = rest;
        Ok(*array)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Cut> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Cut> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, Cut> {
        self.array().map(i64::from_be_bytes)
    }

    /// A text behind its length.
    pub(super) fn text(&mut self) -> Result<&'a str, Cut> {
        let length = usize::from(u16::from_be_bytes(self.array()?));
        let (text, rest) = self.0.split_at_checked(length).ok_or(Cut("cut short"))?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| Cut("text that is not UTF-8"))
    }

    /// Makes sure that nothing is left.
    pub(super) fn end(self) -> Result<(), Cut> {
        if self.0.is_empty() { Ok(()) } else { Err(Cut("longer than it should be")) }
    }
}

/// Writes `text` behind its length. Ids are far shorter than the 65,535 bytes that fit
/// (see [`MAX_TEXT_BYTES`](super::order::MAX_TEXT_BYTES)).
pub(super) fn put_text(text: &str, out: &mut Vec<u8>) {
    debug_assert!(u16::try_from(text.len()).is_ok(), "an id of {} bytes", text.len());
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}
