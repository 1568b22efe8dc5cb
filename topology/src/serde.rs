//! How keys and values become bytes and back.
//!
//! A null in a topic is a value of its own: a serde says with [`Serde::null`] what a null decodes
//! to, and with [`Serde::is_null`] which values are written as one. Wrap a serde in [`Nullable`] to
//! read nulls as `None`; without it a null is a deserialization error.

use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Cause;
use crate::time::{Timestamp, Window, Windowed};

/// What a serde's methods return.
pub type SerdeResult<T = ()> = Result<T, Cause>;

/// Reads and writes values of type `T`.
///
/// ```
/// use tidemill_topology::serde::{Serde, SerdeResult};
///
/// /// A flag in one byte.
/// struct Flag;
/// impl Serde<bool> for Flag {
///     fn serialize(&self, value: &bool, out: &mut Vec<u8>) -> SerdeResult {
///         out.push(u8::from(*value));
///         Ok(())
///     }
///     fn deserialize(&self, bytes: &[u8]) -> SerdeResult<bool> {
///         match bytes {
///             [0] => Ok(false),
///             [1] => Ok(true),
///             _ => Err("a flag is one byte, 0 or 1".into()),
///         }
///     }
/// }
/// let mut out = Vec::new();
/// Flag.serialize(&true, &mut out).unwrap();
/// assert_eq!(out, [1]);
/// assert!(Flag.deserialize(b"yes").is_err());
/// ```
pub trait Serde<T>: Send + Sync + 'static {
    /// Appends the bytes of a value that [`is_null`](Self::is_null) says is none.
    ///
    /// # Errors
    /// When the value has no form in bytes.
    fn serialize(&self, value: &T, out: &mut Vec<u8>) -> SerdeResult;

    /// Reads a value from borrowed bytes.
    ///
    /// # Errors
    /// When the bytes are not of this format.
    fn deserialize(&self, bytes: &[u8]) -> SerdeResult<T>;

    /// Whether the value is written as null.
    fn is_null(&self, value: &T) -> bool {
        let _ = value;
        false
    }

    /// What a null reads as; `None` where it is not a value of `T`.
    fn null(&self) -> Option<T> {
        None
    }

    /// The part of a key's bytes that chooses its partition: a window's key goes where its inner
    /// key goes.
    fn partition_bytes<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        bytes
    }

    /// The format's name: descriptions show it, and an upgrade is warned where it is another one.
    /// Without a name of its own it is that of the serde's type.
    fn format_name(&self) -> String {
        without_paths(std::any::type_name::<Self>())
    }

    /// The value as people and programs are shown it, such as by a query over HTTP; `None` where
    /// this serde knows no such form: they are shown its bytes.
    ///
    /// ```
    /// use tidemill_topology::serde::{I64, Json, Serde, Utf8};
    /// assert_eq!(I64.to_json(&7), Some(7.into()));
    /// assert_eq!(Utf8.to_json(&"a".to_owned()), Some("a".into()));
    /// assert_eq!(Json::<Vec<u8>>::new().to_json(&vec![1]).unwrap().to_string(), "[1]");
    /// ```
    fn to_json(&self, value: &T) -> Option<serde_json::Value> {
        let _ = value;
        None
    }

    /// Reads a value that somebody wrote by hand, such as a key in the address of a query.
    ///
    /// # Errors
    /// When the text is no such value, or this serde knows no such form.
    ///
    /// ```
    /// use tidemill_topology::serde::{I64, Json, Serde, Utf8};
    /// assert_eq!(I64.read_text("7").unwrap(), 7);
    /// assert_eq!(Utf8.read_text("7").unwrap(), "7");
    /// assert_eq!(Json::<(u8, u8)>::new().read_text("[1, 2]").unwrap(), (1, 2));
    /// ```
    fn read_text(&self, text: &str) -> SerdeResult<T> {
        let _ = text;
        Err("its serde does not read text; give the bytes as base64 instead".into())
    }
}

/// A type's name without the modules that it and its arguments lie in, which may move.
fn without_paths(name: &str) -> String {
    let mut out = String::new();
    for part in name.split_inclusive(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
        out.push_str(part.rsplit_once("::").map_or(part, |(_, last)| last));
    }
    out
}

/// A serde shared by the nodes and stores that use it.
pub type SerdeRef<T> = Arc<dyn Serde<T>>;

impl<T: 'static> Serde<T> for SerdeRef<T> {
    fn serialize(&self, value: &T, out: &mut Vec<u8>) -> SerdeResult {
        (**self).serialize(value, out)
    }
    fn deserialize(&self, bytes: &[u8]) -> SerdeResult<T> {
        (**self).deserialize(bytes)
    }
    fn is_null(&self, value: &T) -> bool {
        (**self).is_null(value)
    }
    fn null(&self) -> Option<T> {
        (**self).null()
    }
    fn partition_bytes<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        (**self).partition_bytes(bytes)
    }
    fn format_name(&self) -> String {
        (**self).format_name()
    }
    fn to_json(&self, value: &T) -> Option<serde_json::Value> {
        (**self).to_json(value)
    }
    fn read_text(&self, text: &str) -> SerdeResult<T> {
        (**self).read_text(text)
    }
}

/// Reads bytes or null, as they come from a topic.
///
/// # Errors
/// When the bytes are not of the format, or null is no value of `T`.
pub fn read<T, S: Serde<T> + ?Sized>(serde: &S, bytes: Option<&[u8]>) -> SerdeResult<T> {
    match bytes {
        Some(bytes) => serde.deserialize(bytes),
        None => serde.null().ok_or_else(|| "it is null".into()),
    }
}

/// Writes a value into a reused buffer; `None` for a null.
///
/// # Errors
/// When the value has no form in bytes.
pub fn write<'b, T, S: Serde<T> + ?Sized>(
    serde: &S,
    value: &T,
    buffer: &'b mut Vec<u8>,
) -> SerdeResult<Option<&'b [u8]>> {
    buffer.clear();
    if serde.is_null(value) {
        return Ok(None);
    }
    serde.serialize(value, buffer)?;
    Ok(Some(buffer))
}

/// UTF-8 text, as Kafka's `StringSerializer` writes it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8;

impl Serde<String> for Utf8 {
    fn serialize(&self, value: &String, out: &mut Vec<u8>) -> SerdeResult {
        out.extend_from_slice(value.as_bytes());
        Ok(())
    }
    fn deserialize(&self, bytes: &[u8]) -> SerdeResult<String> {
        Ok(std::str::from_utf8(bytes)?.to_owned())
    }
    fn to_json(&self, value: &String) -> Option<serde_json::Value> {
        Some(value.as_str().into())
    }
    fn read_text(&self, text: &str) -> SerdeResult<String> {
        Ok(text.to_owned())
    }
}

/// Bytes as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bytes;

impl Serde<Vec<u8>> for Bytes {
    fn serialize(&self, value: &Vec<u8>, out: &mut Vec<u8>) -> SerdeResult {
        out.extend_from_slice(value);
        Ok(())
    }
    fn deserialize(&self, bytes: &[u8]) -> SerdeResult<Vec<u8>> {
        Ok(bytes.to_vec())
    }
}

macro_rules! big_endian {
    ($($serde:ident $number:ty, $like:literal;)*) => {$(
        #[doc = concat!("An `", stringify!($number), "` in big-endian bytes", $like, ".")]
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $serde;

        impl Serde<$number> for $serde {
            fn serialize(&self, value: &$number, out: &mut Vec<u8>) -> SerdeResult {
                out.extend_from_slice(&value.to_be_bytes());
                Ok(())
            }
            fn deserialize(&self, bytes: &[u8]) -> SerdeResult<$number> {
                let bytes = bytes.try_into().map_err(|_| {
                    format!("{} bytes where an {} has {}", bytes.len(), stringify!($number), size_of::<$number>())
                })?;
                Ok(<$number>::from_be_bytes(bytes))
            }
            fn to_json(&self, value: &$number) -> Option<serde_json::Value> {
                serde_json::to_value(value).ok()
            }
            fn read_text(&self, text: &str) -> SerdeResult<$number> {
                Ok(text.parse()?)
            }
        }
    )*};
}

big_endian! {
    I16 i16, ", as Kafka's `ShortSerializer` writes it";
    I32 i32, ", as Kafka's `IntegerSerializer` writes it";
    I64 i64, ", as Kafka's `LongSerializer` writes it";
    U16 u16, "";
    U32 u32, "";
    U64 u64, "";
    F32 f32, ", as Kafka's `FloatSerializer` writes it";
    F64 f64, ", as Kafka's `DoubleSerializer` writes it";
}

/// JSON text of any type that `serde` knows.
pub struct Json<T>(PhantomData<fn() -> T>);

impl<T> Json<T> {
    /// A serde for `T`.
    #[must_use]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Default for Json<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Json<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<T: Serialize + DeserializeOwned + 'static> Serde<T> for Json<T> {
    fn serialize(&self, value: &T, out: &mut Vec<u8>) -> SerdeResult {
        Ok(serde_json::to_writer(out, value)?)
    }
    fn deserialize(&self, bytes: &[u8]) -> SerdeResult<T> {
        Ok(serde_json::from_slice(bytes)?)
    }
    fn to_json(&self, value: &T) -> Option<serde_json::Value> {
        serde_json::to_value(value).ok()
    }
    fn read_text(&self, text: &str) -> SerdeResult<T> {
        Ok(serde_json::from_str(text)?)
    }
}

/// Reads null as `None`, and writes `None` as null.
///
/// ```
/// use tidemill_topology::serde::{Nullable, Utf8, read};
/// let key: Option<String> = read(&Nullable(Utf8), None).unwrap();
/// assert_eq!(key, None);
/// assert!(read(&Utf8, None).is_err());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Nullable<S>(pub S);

impl<T, S: Serde<T>> Serde<Option<T>> for Nullable<S> {
    fn serialize(&self, value: &Option<T>, out: &mut Vec<u8>) -> SerdeResult {
        match value {
            Some(value) => self.0.serialize(value, out),
            None => Ok(()),
        }
    }
    fn deserialize(&self, bytes: &[u8]) -> SerdeResult<Option<T>> {
        self.0.deserialize(bytes).map(Some)
    }
    fn is_null(&self, value: &Option<T>) -> bool {
        value.as_ref().is_none_or(|value| self.0.is_null(value))
    }
    fn null(&self) -> Option<Option<T>> {
        Some(None)
    }
    fn format_name(&self) -> String {
        format!("Nullable<{}>", self.0.format_name())
    }
    fn to_json(&self, value: &Option<T>) -> Option<serde_json::Value> {
        match value {
            Some(value) => self.0.to_json(value),
            None => Some(serde_json::Value::Null),
        }
    }
    fn read_text(&self, text: &str) -> SerdeResult<Option<T>> {
        self.0.read_text(text).map(Some)
    }
}

/// Takes no notice of what is there: reads anything as `()`, writes null.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ignored;

impl Serde<()> for Ignored {
    fn serialize(&self, (): &(), _: &mut Vec<u8>) -> SerdeResult {
        Ok(())
    }
    fn deserialize(&self, _: &[u8]) -> SerdeResult<()> {
        Ok(())
    }
    fn is_null(&self, (): &()) -> bool {
        true
    }
    fn null(&self) -> Option<()> {
        Some(())
    }
}

/// Stands in for a serde that a topology lacks, which therefore does not build.
pub(crate) struct Missing;

impl<T> Serde<T> for Missing {
    fn serialize(&self, _: &T, _: &mut Vec<u8>) -> SerdeResult {
        Err("no serde was given".into())
    }
    fn deserialize(&self, _: &[u8]) -> SerdeResult<T> {
        Err("no serde was given".into())
    }
}

/// A key of a time window as Kafka's `TimeWindowedSerializer` writes it: the key's bytes, then the
/// window's start in 8 big-endian bytes. The end follows from the size.
#[derive(Clone, Debug)]
pub struct TimeWindowed<S> {
    inner: S,
    size_ms: i64,
}

impl<S> TimeWindowed<S> {
    /// For windows of `size_ms` milliseconds over keys that `inner` reads and writes.
    pub const fn new(inner: S, size_ms: i64) -> Self {
        Self { inner, size_ms }
    }
}

impl<K: 'static, S: Serde<K>> Serde<Windowed<K>> for TimeWindowed<S> {
    fn serialize(&self, value: &Windowed<K>, out: &mut Vec<u8>) -> SerdeResult {
        self.inner.serialize(&value.key, out)?;
        out.extend_from_slice(&value.window.start.millis().to_be_bytes());
        Ok(())
    }
    fn deserialize(&self, bytes: &[u8]) -> SerdeResult<Windowed<K>> {
        let (key, start) = bytes.split_last_chunk::<8>().ok_or("shorter than a window's start")?;
        let start = Timestamp::new(i64::from_be_bytes(*start));
        let key = self.inner.deserialize(key)?;
        Ok(Windowed { key, window: Window { start, end: start + self.size_ms } })
    }
    fn partition_bytes<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        &bytes[..bytes.len().saturating_sub(8)]
    }
    fn format_name(&self) -> String {
        format!("TimeWindowed<{}>", self.inner.format_name())
    }
}

/// A key of a session as Kafka's `SessionWindowedSerializer` writes it: the key's bytes, then the
/// session's end and start in 8 big-endian bytes each.
#[derive(Clone, Debug)]
pub struct SessionWindowed<S>(pub S);

impl<K: 'static, S: Serde<K>> Serde<Windowed<K>> for SessionWindowed<S> {
    fn serialize(&self, value: &Windowed<K>, out: &mut Vec<u8>) -> SerdeResult {
        self.0.serialize(&value.key, out)?;
        out.extend_from_slice(&value.window.end.millis().to_be_bytes());
        out.extend_from_slice(&value.window.start.millis().to_be_bytes());
        Ok(())
    }
    fn deserialize(&self, bytes: &[u8]) -> SerdeResult<Windowed<K>> {
        let short = "shorter than a session's end and start";
        let (rest, start) = bytes.split_last_chunk::<8>().ok_or(short)?;
        let (key, end) = rest.split_last_chunk::<8>().ok_or(short)?;
        let window = Window {
            start: Timestamp::new(i64::from_be_bytes(*start)),
            end: Timestamp::new(i64::from_be_bytes(*end)),
        };
        Ok(Windowed { key: self.0.deserialize(key)?, window })
    }
    fn partition_bytes<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        &bytes[..bytes.len().saturating_sub(16)]
    }
    fn format_name(&self) -> String {
        format!("SessionWindowed<{}>", self.0.format_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_is_eight_big_endian_bytes_and_nothing_else() {
        let mut out = Vec::new();
        I64.serialize(&258, &mut out).unwrap();
        assert_eq!(out, [0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(I64.deserialize(&out).unwrap(), 258);
        let short = I64.deserialize(&out[1..]).unwrap_err();
        assert_eq!(short.to_string(), "7 bytes where an i64 has 8");
    }

    #[test]
    fn a_format_is_named_by_its_types_without_their_modules() {
        let name = |serde: &dyn Serde<Option<Vec<String>>>| serde.format_name();
        assert_eq!(name(&Nullable(Json::<Vec<String>>::new())), "Nullable<Json<Vec<String>>>");
        let shared: SerdeRef<String> = Arc::new(Utf8);
        assert_eq!(TimeWindowed::new(shared, 10).format_name(), "TimeWindowed<Utf8>");
    }

    #[test]
    fn a_window_key_ends_with_its_start() {
        let serde = TimeWindowed::new(Utf8, 10);
        let window = Window { start: Timestamp::new(256), end: Timestamp::new(266) };
        let key = Windowed { key: "k".to_owned(), window };
        let mut out = Vec::new();
        serde.serialize(&key, &mut out).unwrap();
        assert_eq!(out, [b'k', 0, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(serde.deserialize(&out).unwrap(), key);
    }
}
