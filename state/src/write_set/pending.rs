//! Updates that a caching store holds back, so that several of one key go downstream as one.

use tidemill_topology::store::Pending;
use tidemill_topology::time::Timestamp;

use super::table::Slot;

/// What a pending update costs beside its bytes.
const OVERHEAD: usize = size_of::<Update>();

#[derive(Debug)]
enum Update {
    /// The new value is that of the entry.
    Live { slot: Slot, old: Option<Box<[u8]>> },
    /// The entry expired before the update was handed out, which is still to be forwarded.
    Detached(Pending),
}

/// The updates held back, in the order of each key's first change.
#[derive(Debug, Default)]
pub(super) struct PendingUpdates {
    updates: Vec<Update>,
    bytes: usize,
}

impl PendingUpdates {
    /// Adds the first change of a key and returns its place.
    pub(super) fn add(&mut self, slot: Slot, key: &[u8], old: Option<&[u8]>) -> u32 {
        let place = self.updates.len() as u32;
        self.bytes += OVERHEAD + key.len() + old.map_or(0, <[u8]>::len);
        self.updates.push(Update::Live { slot, old: old.map(Box::from) });
        place
    }

    /// Takes note that the new value of a pending update changed its length.
    pub(super) fn resize(&mut self, before: usize, after: usize) {
        self.bytes = (self.bytes + after).saturating_sub(before);
    }

    /// Fixes an update at what the entry holds now.
    pub(super) fn detach(
        &mut self,
        place: u32,
        key: &[u8],
        new: Option<&[u8]>,
        written: Timestamp,
    ) {
        let update = &mut self.updates[place as usize];
        if let Update::Live { old, .. } = update {
            let old = old.take().map(Vec::from);
            let new = new.map(<[u8]>::to_vec);
            *update = Update::Detached(Pending { key: key.to_vec(), old, new, written });
        }
    }

    /// Hands all updates out, leaving none; `live` reads an entry and marks it as no longer
    /// pending. An update from nothing to nothing is none.
    pub(super) fn drain(
        &mut self,
        into: &mut Vec<Pending>,
        mut live: impl FnMut(Slot) -> (Vec<u8>, Option<Vec<u8>>, Timestamp),
    ) {
        self.bytes = 0;
        for update in self.updates.drain(..) {
            let pending = match update {
                Update::Live { slot, old } => {
                    let (key, new, written) = live(slot);
                    Pending { key, old: old.map(Vec::from), new, written }
                }
                Update::Detached(pending) => pending,
            };
            if pending.old.is_some() || pending.new.is_some() {
                into.push(pending);
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
