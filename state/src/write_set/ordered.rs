//! Ordered scans over what a store has changed and what its backend holds.
//!
//! The write set is a hash map, so the order of its dirty keys is an index of its own. It is made
//! by the first scan that needs it, follows each change from then on, and is dropped when
//! everything is applied: a store that nobody scans never pays for it.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Deref};

use tidemill_topology::store::bytes::{Order, Visit};

use super::table::Slot;

/// The dirty keys of a store in order.
pub(super) type DirtyIndex = BTreeMap<IndexKey, Slot>;

/// Longest key that lies in the index itself.
const INLINE_BYTES: usize = 38;

/// A key of the index. A short one lies in it, so that comparing it follows no pointer.
#[derive(Debug)]
pub(super) enum IndexKey {
    Short { len: u8, bytes: [u8; INLINE_BYTES] },
    Long(Box<[u8]>),
}

impl From<&[u8]> for IndexKey {
    fn from(key: &[u8]) -> Self {
        let mut bytes = [0; INLINE_BYTES];
        match bytes.get_mut(..key.len()) {
            Some(room) => {
                room.copy_from_slice(key);
                Self::Short { len: key.len() as u8, bytes }
            }
            None => Self::Long(key.into()),
        }
    }
}

impl Deref for IndexKey {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => &bytes[..usize::from(*len)],
            Self::Long(key) => key,
        }
    }
}

impl Borrow<[u8]> for IndexKey {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl PartialEq for IndexKey {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for IndexKey {}

impl PartialOrd for IndexKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for IndexKey {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

/// A range of keys that was deleted and is not applied yet: it hides what the backend holds.
#[derive(Clone, Debug)]
pub(crate) struct Mask {
    pub(super) from: Box<[u8]>,
    pub(super) to: Box<[u8]>,
}

impl Mask {
    pub(crate) fn covers(&self, key: &[u8]) -> bool {
        *self.from <= *key && *key < *self.to
    }
}

/// Merges the dirty keys of a range, given in ascending order with what became of each, with those
/// of the backend: `hidden` tells which of its keys are not to be seen, and `scan` runs over it.
pub(crate) fn merge<'a, E>(
    mut dirty: impl DoubleEndedIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    hidden: impl Fn(&[u8]) -> bool,
    order: Order,
    visit: &mut Visit<'_>,
    scan: impl FnOnce(&mut Visit<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let next = || match order {
        Order::Forward => dirty.next(),
        Order::Backward => dirty.next_back(),
    };
    let mut dirty = std::iter::from_fn(next).peekable();
    let comes_first = |left: &[u8], right: &[u8]| match order {
        Order::Forward => left.cmp(right),
        Order::Backward => right.cmp(left),
    };
    let mut ended = false;
    scan(&mut |key, value| {
        let mut overridden = false;
        while let Some((dirty_key, dirty_value)) =
            dirty.next_if(|(dirty_key, _)| comes_first(dirty_key, key) != Ordering::Greater)
        {
            overridden = dirty_key == key;
            if let Some(dirty_value) = dirty_value
                && visit(dirty_key, dirty_value) == ControlFlow::Break(())
            {
                ended = true;
                return ControlFlow::Break(());
            }
        }
        if overridden || hidden(key) {
            return ControlFlow::Continue(());
        }
        let flow = visit(key, value);
        ended = flow == ControlFlow::Break(());
        flow
    })?;
    if ended {
        return Ok(());
    }
    for (key, value) in dirty {
        if let Some(value) = value
            && visit(key, value) == ControlFlow::Break(())
        {
            break;
        }
    }
    Ok(())
}
