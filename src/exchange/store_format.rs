//! The bytes of books in a store: what a changelog holds, and what brings the books back.
//!
//! Keys. In byte order they list an asset's header, then its bids, then its asks; within a side
//! the best price first, and within a price the oldest order. So one scan of an asset's prefix
//! yields its book as it must be rebuilt.
//!
//! | bytes of the key | meaning |
//! |---|---|
//! | 2 + n | `asset_id`: length, big-endian, and UTF-8: the asset's prefix |
//! | 1 | what the entry is: 0 the header (the key ends here), 1 a bid, 2 an ask |
//! | 8 | price in units of 0.00000001, big-endian, its sign bit turned; of a bid, all bits turned |
//! | 8 | sequence, big-endian |
//!
//! | bytes of a header's value | meaning |
//! |---|---|
//! | 1 | version, 1 |
//! | 8 | sequence of the next order to rest, big-endian |
//! | 8 | number of trades so far, big-endian |
//!
//! | bytes of an order's value | meaning |
//! |---|---|
//! | 1 | version, 1 |
//! | 8 | open shares, big-endian |
//! | 8 | filled shares, big-endian |
//! | 2 + n | `order_id`: length, big-endian, and UTF-8 |
//! | 2 + n | `investor_id`, likewise |
//!
//! The index from order id to order is not stored: it comes back with the orders, and would cost a
//! second record for each.

use super::book::{Header, RestingOrder};
use super::byte_reader::{Cut, Reader, put_text};
use super::order::Side;
use super::price::Price;

/// First byte of every value.
pub const VERSION: u8 = 1;

const HEADER: u8 = 0;
const BID: u8 = 1;
const ASK: u8 = 2;

/// One entry of a book store, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BookEntry<'a> {
    /// The counters of an asset's book.
    Header {
        /// The asset.
        asset_id: &'a str,
        /// Its counters.
        header: Header,
    },
    /// A resting order.
    Order {
        /// The asset.
        asset_id: &'a str,
        /// The order.
        order: RestingOrder,
    },
}

/// Bytes that are no entry of a book store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "book store entry in layout {VERSION}: {part} {reason}; was the store written by another version?"
)]
pub struct BookEntryError {
    /// Key or value.
    part: &'static str,
    /// What is wrong with it.
    reason: &'static str,
}

/// Writes the key prefix of all entries of an asset to the end of `out`.
pub fn put_asset_prefix(asset_id: &str, out: &mut Vec<u8>) {
    put_text(asset_id, out);
}

/// Writes the key of an asset's header to the end of `out`.
pub fn put_header_key(asset_id: &str, out: &mut Vec<u8>) {
    put_asset_prefix(asset_id, out);
    out.push(HEADER);
}

/// Writes the value of an asset's header to the end of `out`.
pub fn put_header(header: Header, out: &mut Vec<u8>) {
    out.push(VERSION);
    out.extend_from_slice(&header.next_sequence.to_be_bytes());
    out.extend_from_slice(&header.trades.to_be_bytes());
}

/// Writes the key of a resting order to the end of `out`.
pub fn put_order_key(asset_id: &str, order: &RestingOrder, out: &mut Vec<u8>) {
    put_asset_prefix(asset_id, out);
    out.push(match order.side {
        Side::Buy => BID,
        Side::Sell => ASK,
    });
    out.extend_from_slice(&ordered(order.side, order.price.units() as u64 ^ SIGN).to_be_bytes());
    out.extend_from_slice(&order.sequence.to_be_bytes());
}

/// Writes the value of a resting order to the end of `out`.
pub fn put_order(order: &RestingOrder, out: &mut Vec<u8>) {
    out.push(VERSION);
    out.extend_from_slice(&order.open_shares.to_be_bytes());
    out.extend_from_slice(&order.filled_shares.to_be_bytes());
    put_text(&order.order_id, out);
    put_text(&order.investor_id, out);
}

/// Reads one entry.
///
/// # Errors
/// [`BookEntryError`] for bytes that the functions of this module did not write.
pub fn read_entry<'a>(key: &'a [u8], value: &[u8]) -> Result<BookEntry<'a>, BookEntryError> {
    let in_key = |cut: Cut| BookEntryError { part: "key", reason: cut.reason() };
    let in_value = |cut: Cut| BookEntryError { part: "value", reason: cut.reason() };
    let mut key = Reader::new(key);
    let mut value = Reader::new(value);
    if value.byte().map_err(in_value)? != VERSION {
        return Err(BookEntryError { part: "value", reason: "of another version" });
    }
    let asset_id = key.text().map_err(in_key)?;
    let side = match key.byte().map_err(in_key)? {
        HEADER => {
            key.end().map_err(in_key)?;
            let header = read_header(value).map_err(in_value)?;
            return Ok(BookEntry::Header { asset_id, header });
        }
        BID => Side::Buy,
        ASK => Side::Sell,
        _ => {
            return Err(BookEntryError { part: "key", reason: "of an unknown kind" });
        }
    };
    let (price, sequence) = read_place(side, key).map_err(in_key)?;
    let order = read_order(side, price, sequence, value).map_err(in_value)?;
    Ok(BookEntry::Order { asset_id, order })
}

const SIGN: u64 = 1 << 63;

/// The bits of a price in the sort order of its side, and back.
fn ordered(side: Side, bits: u64) -> u64 {
    match side {
        Side::Buy => !bits,
        Side::Sell => bits,
    }
}

fn read_header(mut value: Reader<'_>) -> Result<Header, Cut> {
    let header = Header { next_sequence: value.u64()?, trades: value.u64()? };
    value.end()?;
    Ok(header)
}

fn read_place(side: Side, mut key: Reader<'_>) -> Result<(Price, u64), Cut> {
    let price = Price::from_units((ordered(side, key.u64()?) ^ SIGN) as i64);
    let sequence = key.u64()?;
    key.end()?;
    Ok((price, sequence))
}

fn read_order(
    side: Side,
    price: Price,
    sequence: u64,
    mut value: Reader<'_>,
) -> Result<RestingOrder, Cut> {
    let open_shares = value.i64()?;
    let filled_shares = value.i64()?;
    let order_id = value.text()?.into();
    let investor_id = value.text()?.into();
    value.end()?;
    Ok(RestingOrder { order_id, investor_id, side, price, sequence, open_shares, filled_shares })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order(side: Side, units: i64, sequence: u64) -> RestingOrder {
        RestingOrder {
            order_id: "17".into(),
            investor_id: "Mari".into(),
            side,
            price: Price::from_units(units),
            sequence,
            open_shares: 5,
            filled_shares: 3,
        }
    }

    fn key(asset_id: &str, order: &RestingOrder) -> Vec<u8> {
        let mut key = Vec::new();
        put_order_key(asset_id, order, &mut key);
        key
    }

    fn value(order: &RestingOrder) -> Vec<u8> {
        let mut value = Vec::new();
        put_order(order, &mut value);
        value
    }

    #[test]
    fn the_layout_of_an_order_is_what_the_tables_say() {
        let ask = order(Side::Sell, 500_000_000, 9);
        let golden_key = [
            &[0, 2, b'a', b'1', 2][..],
            &[0x80, 0, 0, 0, 0x1d, 0xcd, 0x65, 0],
            &[0, 0, 0, 0, 0, 0, 0, 9],
        ]
        .concat();
        assert_eq!(key("a1", &ask), golden_key);
        let golden_value = [
            &[1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 3, 0, 2][..],
            b"17",
            &[0, 4],
            b"Mari",
        ]
        .concat();
        assert_eq!(value(&ask), golden_value);

        let bid = order(Side::Buy, 500_000_000, 9);
        let golden_key = [
            &[0, 2, b'a', b'1', 1][..],
            &[0x7f, 0xff, 0xff, 0xff, 0xe2, 0x32, 0x9a, 0xff],
            &[0, 0, 0, 0, 0, 0, 0, 9],
        ]
        .concat();
        assert_eq!(key("a1", &bid), golden_key);
    }

    #[test]
    fn the_layout_of_a_header_is_what_the_tables_say() {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        put_header_key("a1", &mut key);
        let header = Header { next_sequence: 258, trades: 7 };
        put_header(header, &mut value);
        assert_eq!(key, [0, 2, b'a', b'1', 0]);
        assert_eq!(value, [1, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(read_entry(&key, &value), Ok(BookEntry::Header { asset_id: "a1", header }));
    }

    #[test]
    fn keys_sort_the_header_first_then_each_side_best_price_and_oldest_order_first() {
        let mut header = Vec::new();
        put_header_key("a1", &mut header);
        let keys = [
            header,
            key("a1", &order(Side::Buy, 300, 0)),
            key("a1", &order(Side::Buy, 200, 1)),
            key("a1", &order(Side::Buy, 200, 256)),
            key("a1", &order(Side::Sell, 301, 7)),
            key("a1", &order(Side::Sell, i64::MAX, 0)),
            key("a2", &order(Side::Buy, 300, 0)),
            key("a10", &order(Side::Buy, 300, 0)),
        ];
        assert!(keys.is_sorted());
    }

    #[test]
    fn another_version_is_refused() {
        let order = order(Side::Buy, 1, 1);
        let mut value = value(&order);
        value[0] = 2;
        assert_eq!(
            read_entry(&key("a1", &order), &value).unwrap_err().to_string(),
            "book store entry in layout 1: value of another version; was the store written by another version?"
        );
    }

    proptest! {
        #[test]
        fn an_order_comes_back_equal(asset_id in ".{1,30}", order_id in ".{1,30}", buys: bool, units: i64, sequence: u64, open_shares: i64, filled_shares: i64) {
            let side = if buys { Side::Buy } else { Side::Sell };
            let order = RestingOrder { order_id: order_id.into(), open_shares, filled_shares, ..order(side, units, sequence) };
            let (key, value) = (key(&asset_id, &order), value(&order));
            prop_assert_eq!(read_entry(&key, &value), Ok(BookEntry::Order { asset_id: &asset_id, order }));
        }

        #[test]
        fn any_bytes_are_read_or_refused_without_a_panic(key in proptest::collection::vec(0..4_u8, 0..30), value in proptest::collection::vec(0..4_u8, 0..40)) {
            let _ = read_entry(&key, &value);
        }
    }
}
