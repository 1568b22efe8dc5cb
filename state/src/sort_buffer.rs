//! Records of a changelog on their way into a backend: sorted by key, the newest of each alone.

use crate::key_order::{leading, shared_start};

/// Collects entries in the order of the changelog and gives them back in the order of their keys.
#[derive(Debug, Default)]
pub(crate) struct SortBuffer {
    bytes: Vec<u8>,
    items: Vec<Item>,
}

/// An entry in the buffer: its key, then its value.
#[derive(Clone, Copy, Debug)]
struct Item {
    /// See [`leading`]; 0 until the buffer is drained.
    leading: u64,
    /// Place in the changelog: where the bytes start does not tell, for an entry may have none.
    order: u32,
    start: u32,
    key_len: u32,
    /// `u32::MAX` for a deletion.
    value_len: u32,
}

const DELETION: u32 = u32::MAX;

impl SortBuffer {
    pub(crate) fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        // The buffer is drained long before 4 GiB, or as many entries.
        let start = self.bytes.len() as u32;
        let order = self.items.len() as u32;
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.items.push(Item {
            leading: 0,
            order,
            start,
            // Keys and values come from records, which are shorter than 2 GiB.
            key_len: key.len() as u32,
            value_len: value.map_or(DELETION, |value| value.len() as u32),
        });
    }

    /// What the entries take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len() + self.items.len() * size_of::<Item>()
    }

    /// Hands out the newest entry of each key in ascending order, and empties the buffer.
    pub(crate) fn drain_newest<E>(
        &mut self,
        mut each: impl FnMut(&[u8], Option<&[u8]>) -> Result<(), E>,
    ) -> Result<(), E> {
        let bytes = &self.bytes;
        let key = |item: &Item| &bytes[item.start as usize..][..item.key_len as usize];
        let shared = shared_start(self.items.iter().map(key));
        for item in &mut self.items {
            item.leading = leading(key(item), shared);
        }
        self.items.sort_unstable_by(|left, right| {
            let by_leading = left.leading.cmp(&right.leading);
            by_leading
                .then_with(|| key(left).cmp(key(right)))
                .then_with(|| left.order.cmp(&right.order))
        });
        for (at, item) in self.items.iter().enumerate() {
            let is_older = self.items.get(at + 1).is_some_and(|next| key(next) == key(item));
            if is_older {
                continue;
            }
            let value_at = item.start as usize + item.key_len as usize;
            let value =
                (item.value_len != DELETION).then(|| &bytes[value_at..][..item.value_len as usize]);
            each(key(item), value)?;
        }
        self.items.clear();
        self.bytes.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_entries_without_any_bytes_the_last_one_counts() {
        let mut buffer = SortBuffer::default();
        for turn in 0..40 {
            buffer.push(b"", (turn % 2 == 0).then_some(b""));
        }
        let mut seen = Vec::new();
        let drained: Result<(), ()> = buffer.drain_newest(|_, value| {
            seen.push(value.is_some());
            Ok(())
        });
        assert_eq!(drained, Ok(()));
        assert_eq!(seen, [false]);
    }

    #[test]
    fn the_newest_of_each_key_comes_out_in_order() {
        let mut buffer = SortBuffer::default();
        buffer.push(b"long-key-b", Some(b"1"));
        buffer.push(b"a", Some(b"2"));
        buffer.push(b"long-key-a", Some(b"3"));
        buffer.push(b"long-key-b", None);
        buffer.push(b"a", Some(b""));
        let mut seen = Vec::new();
        let drained: Result<(), ()> = buffer.drain_newest(|key, value| {
            seen.push((key.to_vec(), value.map(<[u8]>::to_vec)));
            Ok(())
        });
        assert_eq!(drained, Ok(()));
        let expected =
            [(&b"a"[..], Some(&b""[..])), (b"long-key-a", Some(b"3")), (b"long-key-b", None)];
        assert_eq!(seen, expected.map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))));
        assert_eq!(buffer.bytes(), 0);
    }
}
