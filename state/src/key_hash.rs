//! The hash of a key, for every index of keys in memory.

use std::hash::{BuildHasher, Hasher};

use hashbrown::DefaultHashBuilder;

/// Without the length prefix of `hash_one`: keys are whole inputs, never parts of one.
pub(crate) fn key_hash(hasher: &DefaultHashBuilder, key: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(key);
    hasher.finish()
}
