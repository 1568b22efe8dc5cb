//! One key of a store as the write set knows it.

use tidemill_topology::time::Timestamp;

/// What is known about an entry, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Flags(u16);

impl Flags {
    /// There is a value; otherwise the key is known to be absent.
    pub(super) const PRESENT: Self = Self(1);
    /// Changed since the last commit: it has to go to the changelog.
    pub(super) const UNLOGGED: Self = Self(1 << 1);
    /// Committed, and not in the backend yet.
    pub(super) const UNAPPLIED: Self = Self(1 << 2);
    /// The key is absent in the committed state: deleting it again takes back the whole change.
    pub(super) const FRESH: Self = Self(1 << 3);
    /// The change is held back for the operator of a caching store.
    pub(super) const PENDING: Self = Self(1 << 4);
    /// Stands in the list of what changed since the last commit.
    pub(super) const LISTED: Self = Self(1 << 5);
    /// Stands in the queue of what may be evicted.
    pub(super) const QUEUED: Self = Self(1 << 6);
    /// Read since eviction last passed by.
    pub(super) const REFERENCED: Self = Self(1 << 7);
    /// A slot that is free.
    pub(super) const VACANT: Self = Self(1 << 8);
    /// The backend does not have the key: it needs no word of a deletion.
    pub(super) const NEW: Self = Self(1 << 9);
    /// Not yet in the backend: must not be evicted, and ordered scans have to merge it in.
    pub(super) const DIRTY: Self = Self(Self::UNLOGGED.0 | Self::UNAPPLIED.0);
    /// Must not be evicted.
    pub(super) const KEPT: Self = Self(Self::DIRTY.0 | Self::PENDING.0);

    /// Whether any of the bits is set.
    pub(super) const fn any(self, bits: Self) -> bool {
        self.0 & bits.0 != 0
    }

    pub(super) const fn with(self, bits: Self) -> Self {
        Self(self.0 | bits.0)
    }

    pub(super) const fn without(self, bits: Self) -> Self {
        Self(self.0 & !bits.0)
    }
}

/// Key and value in one allocation, so that a look-up follows one pointer, and a value of the
/// same length is overwritten in place.
#[derive(Debug)]
pub(super) struct Entry {
    /// The key, then the value.
    bytes: Vec<u8>,
    /// Kept, so that the index grows without reading keys.
    pub(super) hash: u64,
    /// The timestamp given with the last write.
    pub(super) written: Timestamp,
    key_len: u32,
    /// Place in the list of pending updates, while [`Flags::PENDING`].
    pub(super) pending: u32,
    pub(super) flags: Flags,
}

/// What an entry costs beside its key and value: itself, its place in the index and the queue.
const OVERHEAD: usize = size_of::<Entry>() + 16;

impl Entry {
    pub(super) fn new(hash: u64, key: &[u8], value: Option<&[u8]>) -> Self {
        let mut bytes = Vec::with_capacity(key.len() + value.map_or(0, <[u8]>::len));
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value.unwrap_or_default());
        Self {
            // Keys are shorter than 4 GiB, as Kafka's records are.
            key_len: key.len() as u32,
            bytes,
            hash,
            written: Timestamp::UNKNOWN,
            pending: 0,
            flags: if value.is_some() { Flags::PRESENT } else { Flags::default() },
        }
    }

    /// A free slot.
    pub(super) fn vacant() -> Self {
        let mut vacant = Self::new(0, &[], None);
        vacant.set(Flags::VACANT);
        vacant
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.bytes[..self.key_len as usize]
    }

    pub(super) fn value(&self) -> Option<&[u8]> {
        self.flags.any(Flags::PRESENT).then(|| &self.bytes[self.key_len as usize..])
    }

    /// Puts a value in place of the one before, or takes it away.
    pub(super) fn set_value(&mut self, value: Option<&[u8]>) {
        self.bytes.truncate(self.key_len as usize);
        match value {
            Some(value) => {
                self.bytes.extend_from_slice(value);
                self.set(Flags::PRESENT);
            }
            None => self.unset(Flags::PRESENT),
        }
    }

    pub(super) fn is(&self, bits: Flags) -> bool {
        self.flags.any(bits)
    }

    pub(super) fn set(&mut self, bits: Flags) {
        self.flags = self.flags.with(bits);
    }

    pub(super) fn unset(&mut self, bits: Flags) {
        self.flags = self.flags.without(bits);
    }

    /// Memory that the entry takes, in bytes.
    pub(super) fn size_bytes(&self) -> usize {
        OVERHEAD + self.bytes.capacity()
    }
}
