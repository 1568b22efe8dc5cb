//! What travels between the nodes of a table: a change of one key.

/// A key's old and new value. `None` is no value: a key that was not there, or a deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<V> {
    /// The value before, where the sender knows it and a receiver asked for it.
    pub old: Option<V>,
    /// The value now.
    pub new: Option<V>,
    /// Whether `new` is the key's latest value: an out-of-order update of a versioned table is not.
    pub is_latest: bool,
}

impl<V> Change<V> {
    /// A change of the latest value.
    pub fn latest(old: Option<V>, new: Option<V>) -> Self {
        Self { old, new, is_latest: true }
    }
}
