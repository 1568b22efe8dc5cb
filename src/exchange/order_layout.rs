//! The bytes of an order on its way to the task of its asset (the repartition topic).
//!
//! Those records live for seconds, between two halves of one program, and each costs a decode:
//! so they are binary, which is read several times faster than JSON and is as exact.
//!
//! | bytes | meaning |
//! |---|---|
//! | 1 | version, 1 |
//! | 1 | codes: `action` (2 bits, lowest), `kind` (1), `time_in_force` (2), `order_type` (2; 3 is none) |
//! | 1 | which follow: `order_id` (bit 0), `investor_id` (1), `current_shares` (2), `price` (3) |
//! | 8 | `shares`, big-endian, signed; so are the next two |
//! | 8 | `current_shares`, if it follows |
//! | 8 | `price` in units of 0.00000001, if it follows |
//! | 2 + n | `asset_id`: length, big-endian, and UTF-8 |
//! | 2 + n | `order_id`, if it follows |
//! | 2 + n | `investor_id`, if it follows |
//!
//! Codes are the places in the lists of [`Action`], [`Kind`], [`TimeInForce`] and [`Side`].

use compact_str::CompactString;

use super::byte_reader::{Cut, Reader, put_text};
use super::order::{Action, DecodeError, Kind, Order, Side, TimeInForce};
use super::price::Price;

/// First byte of every order in this layout.
pub const VERSION: u8 = 1;

const NO_SIDE: u8 = 3;

const HAS_ORDER_ID: u8 = 1;
const HAS_INVESTOR_ID: u8 = 1 << 1;
const HAS_CURRENT_SHARES: u8 = 1 << 2;
const HAS_PRICE: u8 = 1 << 3;

/// Writes `order` to the end of `out`.
pub fn encode_order(order: &Order, out: &mut Vec<u8>) {
    let flag = |present: bool, flag: u8| if present { flag } else { 0 };
    out.push(VERSION);
    out.push(
        order.action as u8
            | (order.kind as u8) << 2
            | (order.time_in_force as u8) << 3
            | order.side.map_or(NO_SIDE, |side| side as u8) << 5,
    );
    out.push(
        flag(order.order_id.is_some(), HAS_ORDER_ID)
            | flag(order.investor_id.is_some(), HAS_INVESTOR_ID)
            | flag(order.current_shares.is_some(), HAS_CURRENT_SHARES)
            | flag(order.price.is_some(), HAS_PRICE),
    );
    out.extend_from_slice(&order.shares.to_be_bytes());
    for number in [order.current_shares, order.price.map(Price::units)].into_iter().flatten() {
        out.extend_from_slice(&number.to_be_bytes());
    }
    put_text(&order.asset_id, out);
    for text in [&order.order_id, &order.investor_id].into_iter().flatten() {
        put_text(text, out);
    }
}

/// Reads an order that [`encode_order`] wrote.
///
/// # Errors
/// [`DecodeError::Layout`] for bytes that it did not write; [`DecodeError::Missing`] for an order
/// without what its action needs.
pub fn decode_order(bytes: &[u8]) -> Result<Order, DecodeError> {
    let unknown = |reason| DecodeError::Layout { reason };
    let mut reader = Reader::new(bytes);
    if reader.byte()? != VERSION {
        return Err(unknown("another version"));
    }
    let codes = reader.byte()?;
    let flags = reader.byte()?;
    let has = |flag| flags & flag != 0;
    let shares = reader.i64()?;
    let current_shares = has(HAS_CURRENT_SHARES).then(|| reader.i64()).transpose()?;
    let price = has(HAS_PRICE).then(|| reader.i64()).transpose()?.map(Price::from_units);
    let asset_id = CompactString::new(reader.text()?);
    let order_id = has(HAS_ORDER_ID).then(|| reader.text()).transpose()?.map(CompactString::new);
    let investor_id =
        has(HAS_INVESTOR_ID).then(|| reader.text()).transpose()?.map(CompactString::new);
    reader.end()?;
    let side = match codes >> 5 & 3 {
        NO_SIDE => None,
        code => Some(of_code(Side::ALL, code)?),
    };
    let order = Order {
        order_id,
        investor_id,
        asset_id,
        current_shares,
        shares,
        price,
        side,
        action: of_code(Action::ALL, codes & 3)?,
        kind: of_code(Kind::ALL, codes >> 2 & 1)?,
        time_in_force: of_code(TimeInForce::ALL, codes >> 3 & 3)?,
    };
    order.check_complete()?;
    Ok(order)
}

fn of_code<T: Copy>(all: &[T], code: u8) -> Result<T, DecodeError> {
    all.get(usize::from(code))
        .copied()
        .ok_or(DecodeError::Layout { reason: "a code that stands for nothing" })
}

impl From<Cut> for DecodeError {
    fn from(cut: Cut) -> Self {
        Self::Layout { reason: cut.reason() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(order: &Order) -> Vec<u8> {
        let mut out = Vec::new();
        encode_order(order, &mut out);
        out
    }

    #[test]
    fn the_layout_is_what_the_table_says() {
        let order = Order::from_json(
            br#"{"order_id":"17","investor_id":"Mari","asset_id":"a1","current_shares":10,"shares":5,"price":5.0,"order_type":"SELL","time_in_force":"IOC"}"#,
        )
        .unwrap();
        let golden = [
            &[1, 0b0010_1000, 0b1111][..],
            &[0, 0, 0, 0, 0, 0, 0, 5],
            &[0, 0, 0, 0, 0, 0, 0, 10],
            &[0, 0, 0, 0, 0x1d, 0xcd, 0x65, 0],
            &[0, 2, b'a', b'1'],
            &[0, 2, b'1', b'7'],
            &[0, 4, b'M', b'a', b'r', b'i'],
        ]
        .concat();
        assert_eq!(bytes(&order), golden);
    }

    #[test]
    fn a_bare_cancel_takes_few_bytes() {
        let order =
            Order::from_json(br#"{"order_id":"17","asset_id":"a1","action":"CANCEL"}"#).unwrap();
        let golden =
            [&[1, 0b0110_0001, 1][..], &[0; 8], &[0, 2, b'a', b'1', 0, 2, b'1', b'7']].concat();
        assert_eq!(bytes(&order), golden);
        assert_eq!(decode_order(&golden), Ok(order));
    }

    #[test]
    fn another_version_is_refused() {
        let mut order = bytes(
            &Order::from_json(br#"{"order_id":"1","asset_id":"a","action":"CANCEL"}"#).unwrap(),
        );
        order[0] = 2;
        assert_eq!(decode_order(&order), Err(DecodeError::Layout { reason: "another version" }));
    }

    fn any_id() -> impl Strategy<Value = CompactString> {
        ".{1,40}".prop_map(CompactString::from)
    }

    prop_compose! {
        fn any_order()(
            order_id in proptest::option::of(any_id()),
            investor_id in any_id(),
            asset_id in any_id(),
            current_shares in 0..i64::MAX,
            shares: i64,
            price in proptest::option::of(any::<i64>().prop_map(Price::from_units)),
            side in 0..2_usize, action in 0..3_usize, kind in 0..2_usize, time_in_force in 0..3_usize,
            bare: bool,
        ) -> Order {
            let bare = bare && action != 0;
            Order {
                order_id,
                investor_id: (!bare).then_some(investor_id),
                asset_id,
                current_shares: (!bare).then_some(current_shares),
                shares,
                price,
                side: (!bare).then_some(Side::ALL[side]),
                action: Action::ALL[action],
                kind: Kind::ALL[kind],
                time_in_force: TimeInForce::ALL[time_in_force],
            }
        }
    }

    proptest! {
        #[test]
        fn an_order_comes_back_equal_and_no_part_of_it_passes_for_one(order in any_order(), cut: prop::sample::Index) {
            let whole = bytes(&order);
            prop_assert_eq!(decode_order(&whole), Ok(order));
            prop_assert!(decode_order(&whole[..cut.index(whole.len())]).is_err());
        }

        #[test]
        fn any_bytes_are_decoded_or_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode_order(&bytes);
            let _ = decode_order(&[&[1][..], &bytes].concat());
        }
    }
}
