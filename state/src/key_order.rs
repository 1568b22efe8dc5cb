//! Sorting many keys that begin alike, as names and numbers do.
//!
//! Most comparisons of a sort need not follow a pointer to the keys if eight of their bytes lie with
//! what is sorted: the first eight in which they differ.

/// How many bytes all keys have in common at their beginning.
pub(crate) fn shared_start<'a>(mut keys: impl Iterator<Item = &'a [u8]>) -> usize {
    let Some(first) = keys.next() else { return 0 };
    keys.fold(first.len(), |shared, key| {
        if key.starts_with(&first[..shared]) {
            return shared;
        }
        first.iter().zip(key).take_while(|(left, right)| left == right).count()
    })
}

/// The eight bytes of a key behind its `shared_start`, as a number that sorts alike; equal ones say
/// nothing.
pub(crate) fn leading(key: &[u8], shared_start: usize) -> u64 {
    let rest = &key[shared_start..];
    let mut leading = [0; 8];
    let len = rest.len().min(leading.len());
    leading[..len].copy_from_slice(&rest[..len]);
    u64::from_be_bytes(leading)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(keys: &[&[u8]]) -> usize {
        shared_start(keys.iter().copied())
    }

    #[test]
    fn the_shared_start_is_that_of_all() {
        assert_eq!(shared(&[]), 0);
        assert_eq!(shared(&[b"alone"]), 5);
        assert_eq!(shared(&[b"investor-1", b"investor-22", b"investor-"]), 9);
        assert_eq!(shared(&[b"abc", b"abd", b"ab", b"xyz", b"abc"]), 0);
        assert_eq!(shared(&[b"abc", b""]), 0);
    }

    #[test]
    fn numbers_of_keys_sort_as_they_do_or_are_equal() {
        let keys: [&[u8]; 7] =
            [b"k-", b"k-\0", b"k-\0\0", b"k-123456789", b"k-12345678a", b"k-2", b"k-\xff"];
        let shared = shared(&keys);
        assert_eq!(shared, 2);
        for pair in keys.windows(2) {
            assert!(leading(pair[0], shared) <= leading(pair[1], shared), "{pair:?}");
        }
        assert_eq!(leading(b"k-1", shared), u64::from(b'1') << 56);
    }
}
