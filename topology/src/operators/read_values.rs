//! Values that were read from a table's bytes a short while ago: a value that is looked up again
//! and again is read once.

use std::hash::Hasher;

use rustc_hash::FxHasher;

use crate::error::Result;

/// How many values are remembered; a power of two.
const PLACES: usize = 512;

/// Values of at most so many bytes, such as numbers, are read in less time than they are compared.
const SHORT_BYTES: usize = 16;

/// Reads values and remembers some, each in the place that its key has. A value counts as the one
/// remembered if its bytes are the same.
pub(crate) struct ReadValues<V> {
    /// Empty until the first value is remembered.
    places: Box<[Option<Place<V>>]>,
    short: Option<V>,
}

struct Place<V> {
    bytes: Box<[u8]>,
    value: V,
}

impl<V> Default for ReadValues<V> {
    fn default() -> Self {
        Self { places: Box::default(), short: None }
    }
}

impl<V> ReadValues<V> {
    /// The value that `bytes` spell, which are found under `key`.
    ///
    /// # Errors
    /// Those of `read`.
    pub(crate) fn get(
        &mut self,
        key: &[u8],
        bytes: &[u8],
        read: impl FnOnce(&[u8]) -> Result<V>,
    ) -> Result<&V> {
        if bytes.len() <= SHORT_BYTES {
            return Ok(self.short.insert(read(bytes)?));
        }
        if self.places.is_empty() {
            self.places = (0..PLACES).map(|_| None).collect();
        }
        let mut hasher = FxHasher::default();
        hasher.write(key);
        // The number of places does not reach beyond 32 bits.
        let place = &mut self.places[hasher.finish() as usize % PLACES];
        let found = match place.take().filter(|found| *found.bytes == *bytes) {
            Some(found) => found,
            None => Place { bytes: bytes.into(), value: read(bytes)? },
        };
        Ok(&place.insert(found).value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    /// Reads a text that is longer than a short one, and counts how often it is asked to.
    fn get<'v>(
        values: &'v mut ReadValues<String>,
        key: &str,
        text: &str,
        reads: &mut u32,
    ) -> &'v str {
        let bytes = format!("{text:>20}");
        let read = |bytes: &[u8]| {
            *reads += 1;
            Ok(String::from_utf8_lossy(bytes).trim().to_owned())
        };
        values.get(key.as_bytes(), bytes.as_bytes(), read).unwrap()
    }

    #[test]
    fn a_value_is_read_once_until_its_bytes_change() {
        let (mut values, mut reads) = (ReadValues::default(), 0);
        assert_eq!(get(&mut values, "k", "old", &mut reads), "old");
        assert_eq!(get(&mut values, "k", "old", &mut reads), "old");
        assert_eq!(reads, 1);
        assert_eq!(get(&mut values, "k", "new", &mut reads), "new");
        assert_eq!(get(&mut values, "k", "old", &mut reads), "old");
        assert_eq!(reads, 3);
    }

    #[test]
    fn keys_that_share_a_place_never_get_each_others_values() {
        let (mut values, mut reads) = (ReadValues::default(), 0);
        for _ in 0..2 {
            for number in 0..PLACES * 2 {
                let text = number.to_string();
                assert_eq!(get(&mut values, &text, &text, &mut reads), text);
            }
        }
    }

    #[test]
    fn a_short_value_is_read_each_time() {
        let mut values = ReadValues::default();
        let mut reads = 0;
        for _ in 0..2 {
            let read = |bytes: &[u8]| {
                reads += 1;
                Ok(bytes.len())
            };
            assert_eq!(values.get(b"k", b"short", read).unwrap(), &5);
        }
        assert_eq!(reads, 2);
    }

    #[test]
    fn what_cannot_be_read_is_not_remembered() {
        let mut values = ReadValues::default();
        let bytes = [b'x'; SHORT_BYTES + 1];
        assert!(values.get(b"k", &bytes, |_| Err(Error::wiring("no"))).is_err());
        assert_eq!(values.get(b"k", &bytes, |bytes| Ok(bytes.len())).unwrap(), &17);
    }
}
