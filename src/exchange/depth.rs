//! What books look like from outside: [`AssetDepth`] for one asset, [`books_csv`] for all.

use std::fmt::Write as _;

use serde::Serialize;

use super::book::{Book, DepthLevel};
use super::books::{Books, RestoreBooksError};
use super::order::Side;
use super::price::Price;
use super::store_format::put_asset_prefix;

/// The orders of one price, added up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Level {
    /// Their price.
    pub price: Price,
    /// Their open shares.
    pub shares: i128,
    /// How many they are.
    pub orders: usize,
}

impl From<DepthLevel> for Level {
    fn from(level: DepthLevel) -> Self {
        let DepthLevel { price, shares, orders } = level;
        Self { price, shares, orders }
    }
}

/// The best price levels of an asset's book.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AssetDepth {
    /// The asset.
    pub asset_id: String,
    /// Who buys, highest price first.
    pub bids: Vec<Level>,
    /// Who sells, lowest price first.
    pub asks: Vec<Level>,
}

impl AssetDepth {
    /// Start of the keys of an asset's entries in its store.
    #[must_use]
    pub fn prefix(asset_id: &str) -> Vec<u8> {
        let mut prefix = Vec::new();
        put_asset_prefix(asset_id, &mut prefix);
        prefix
    }

    /// The best `levels` of each side, from the asset's entries in key order. `None` for an asset
    /// without entries, which no order ever rested or traded for.
    ///
    /// # Errors
    /// [`RestoreBooksError`] for entries that make no book.
    pub fn read<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        asset_id: &str,
        levels: usize,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Option<Self>, RestoreBooksError> {
        let books = Books::restore(entries)?;
        Ok(books.book(asset_id).map(|book| Self {
            asset_id: asset_id.to_owned(),
            bids: best(book, Side::Buy, levels),
            asks: best(book, Side::Sell, levels),
        }))
    }
}

fn best(book: &Book, side: Side, levels: usize) -> Vec<Level> {
    book.depth(side).take(levels).map(Level::from).collect()
}

/// The price levels of all books as CSV with the columns
/// `asset_id,side,price,shares,orders`: assets by name, sellers before buyers, best price first.
#[must_use]
pub fn books_csv(books: &Books) -> String {
    let mut books: Vec<&Book> = books.iter().collect();
    books.sort_unstable_by_key(|book| book.asset_id());
    let mut csv = String::from("asset_id,side,price,shares,orders\n");
    for book in books {
        let asset_id = csv_field(book.asset_id());
        for side in [Side::Sell, Side::Buy] {
            for DepthLevel { price, shares, orders } in book.depth(side) {
                // Writing to a String cannot fail.
                let _ = writeln!(csv, "{asset_id},{side},{price},{shares},{orders}");
            }
        }
    }
    csv
}

/// A field as RFC 4180 writes it: quoted where it would end the field otherwise.
fn csv_field(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::book::RestingOrder;
    use super::super::store_format::{put_order, put_order_key};
    use super::*;

    fn order(order_id: &str, side: Side, price: &str, sequence: u64) -> RestingOrder {
        RestingOrder {
            order_id: order_id.into(),
            investor_id: "Mari".into(),
            side,
            price: price.parse().unwrap(),
            sequence,
            open_shares: 5,
            filled_shares: 0,
        }
    }

    fn entry(asset_id: &str, order: &RestingOrder) -> (Vec<u8>, Vec<u8>) {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        put_order_key(asset_id, order, &mut key);
        put_order(order, &mut value);
        (key, value)
    }

    #[test]
    fn depth_adds_up_the_orders_of_a_price_and_stops_at_its_limit() {
        let mut entries = vec![
            entry("a", &order("1", Side::Sell, "5.0", 0)),
            entry("a", &order("2", Side::Sell, "5.0", 1)),
            entry("a", &order("3", Side::Sell, "6.0", 2)),
            entry("a", &order("4", Side::Buy, "4.5", 3)),
        ];
        entries.sort();
        let depth = AssetDepth::read("a", 1, entries).unwrap().unwrap();
        assert_eq!(
            serde_json::to_string(&depth).unwrap(),
            r#"{"asset_id":"a","bids":[{"price":4.5,"shares":5,"orders":1}],"asks":[{"price":5.0,"shares":10,"orders":2}]}"#
        );
    }

    #[test]
    fn an_asset_that_nobody_traded_has_no_depth() {
        let entries: [(Vec<u8>, Vec<u8>); 0] = [];
        assert_eq!(AssetDepth::read("a", 10, entries), Ok(None));
    }

    #[test]
    fn a_name_with_a_comma_is_quoted() {
        let entries = [entry("a,\"b\"", &order("1", Side::Sell, "5.0", 0))];
        assert_eq!(
            books_csv(&Books::restore(entries).unwrap()),
            "asset_id,side,price,shares,orders\n\"a,\"\"b\"\"\",SELL,5.0,5,1\n"
        );
    }
}
