//! Kafka's default partitioner: murmur2 of the key's bytes.

const SEED: u32 = 0x9747_b28c;
const M: u32 = 0x5bd1_e995;
const R: u32 = 24;

/// The murmur2 hash that Kafka's Java clients use (`org.apache.kafka.common.utils.Utils.murmur2`).
#[must_use]
pub fn murmur2(bytes: &[u8]) -> u32 {
    // Kafka's hash takes the length as 32 bits; keys are far below that.
    #[allow(clippy::cast_possible_truncation)]
    let mut hash = SEED ^ bytes.len() as u32;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (at, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition, out of `partitions`, of a key with these bytes.
///
/// ```
/// use tidemill_topology::partition::by_key;
/// assert_eq!(by_key(b"kafka", 1), 0);
/// ```
#[must_use]
pub fn by_key(key: &[u8], partitions: i32) -> i32 {
    // Masked to 31 bits, the hash is no negative number.
    #[allow(clippy::cast_possible_wrap)]
    let hash = (murmur2(key) & 0x7fff_ffff) as i32;
    hash % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_java_clients() {
        // From the tests of Kafka's own Utils.murmur2.
        for (key, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }
}
