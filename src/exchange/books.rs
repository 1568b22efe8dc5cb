//! The [`Books`] of a task: one for each asset that it met.

use compact_str::CompactString;
use hashbrown::HashMap;

use super::book::Book;
use super::store_format::{BookEntry, BookEntryError, read_entry};

/// Books by asset.
#[derive(Debug, Default)]
pub struct Books {
    by_asset: HashMap<CompactString, Book>,
}

/// Why the entries of a store are no books.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreBooksError {
    /// An entry is not in the layout of this version.
    #[error(transparent)]
    Entry(#[from] BookEntryError),
    /// Two entries hold an order of the same id, or one has no price or quantity: the store was
    /// written by something else, and must be rebuilt from its changelog.
    #[error(
        "book store: order {order_id} of asset {asset_id} cannot rest a second time, or has nothing to rest with; delete the store and let it restore"
    )]
    Order {
        /// The asset.
        asset_id: CompactString,
        /// The order.
        order_id: CompactString,
    },
}

impl Books {
    /// No books.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Brings the books back from a scan of their whole store, in key order.
    ///
    /// # Errors
    /// [`RestoreBooksError`] at the first entry that makes no sense.
    pub fn restore<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, RestoreBooksError> {
        let mut books = Self::new();
        for (key, value) in entries {
            books.restore_entry(key.as_ref(), value.as_ref())?;
        }
        Ok(books)
    }

    /// Takes one entry of such a scan.
    ///
    /// # Errors
    /// [`RestoreBooksError`] for an entry that makes no sense.
    pub fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreBooksError> {
        match read_entry(key, value)? {
            BookEntry::Header { asset_id, header } => {
                self.book_mut(asset_id).restore_header(header);
            }
            BookEntry::Order { asset_id, order } => {
                let order_id = order.order_id.clone();
                if !self.book_mut(asset_id).restore_order(order) {
                    return Err(RestoreBooksError::Order { asset_id: asset_id.into(), order_id });
                }
            }
        }
        Ok(())
    }

    /// The book of an asset, if the asset was met.
    #[must_use]
    pub fn book(&self, asset_id: &str) -> Option<&Book> {
        self.by_asset.get(asset_id)
    }

    /// The book of an asset; an empty one for an asset not met before.
    pub fn book_mut(&mut self, asset_id: &str) -> &mut Book {
        self.by_asset.entry_ref(asset_id).or_insert_with(|| Book::new(asset_id))
    }

    /// All books, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Book> {
        self.by_asset.values()
    }
}
