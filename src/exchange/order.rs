//! An [`Order`]: one command to the exchange, as investors send it in JSON.
//!
//! | field | JSON | needed by |
//! |---|---|---|
//! | `order_id` | string | nobody: [`Order::identify`] fills it in |
//! | `investor_id` | string | NEW; of the others it asks that the order is this investor's |
//! | `asset_id` | string | every action |
//! | `current_shares`, also spelled `current_shared` | whole number, not negative | NEW |
//! | `shares` | whole number | NEW, REPLACE (the new open quantity) |
//! | `price` | number of at most 8 places | NEW LIMIT and REPLACE; without one they are rejected, not undecodable |
//! | `order_type` | `BUY` `SELL` | NEW; of a REPLACE it asks that the order is of this side |
//! | `action` | `NEW` (default) `CANCEL` `REPLACE` | |
//! | `kind` | `LIMIT` (default) `MARKET` | |
//! | `time_in_force` | `GTC` (default) `IOC` `FOK` | |
//!
//! `null` means absent, unknown fields are ignored, a field given twice is an error. A string
//! has 1 to [`MAX_TEXT_BYTES`] bytes: longer ids would come back several times over in a trade
//! and make it larger than a broker takes. A whole number is written without fraction or
//! exponent and fits 64 bits with sign.

use compact_str::CompactString;
use serde::Serialize;

use super::order_scan::scan_plain_order;
use super::price::Price;
use super::wire_enum::wire_enum;

/// Longest id in bytes of UTF-8.
pub const MAX_TEXT_BYTES: usize = 1024;

wire_enum! {
    /// Which way an order trades; `order_type` in JSON.
    pub enum Side("the side of an order") {
        /// Wants shares for money.
        Buy = "BUY",
        /// Wants money for shares.
        Sell = "SELL",
    }
}

impl Side {
    /// The side this one trades with.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }
}

wire_enum! {
    /// What an order asks for.
    pub enum Action("an action") {
        /// Enter the book, or trade with what is there.
        New = "NEW",
        /// Take the order of this id out of the book.
        Cancel = "CANCEL",
        /// Change open quantity and price of the order of this id.
        Replace = "REPLACE",
    }
}

wire_enum! {
    /// Whether a NEW order has a worst price.
    pub enum Kind("a kind of order") {
        /// Trades at its price or better.
        Limit = "LIMIT",
        /// Trades at any price and never rests.
        Market = "MARKET",
    }
}

wire_enum! {
    /// What becomes of the quantity of a NEW order that finds nobody to trade with.
    pub enum TimeInForce("a time in force") {
        /// Good till cancelled: it rests in the book.
        Gtc = "GTC",
        /// Immediate or cancel: it is given up.
        Ioc = "IOC",
        /// Fill or kill: unless all of it trades at once, none does.
        Fok = "FOK",
    }
}

/// One command to the exchange. The module page lists the fields and who needs them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Order {
    /// Names the order within its asset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_id: Option<CompactString>,
    /// Who sends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub investor_id: Option<CompactString>,
    /// What it trades.
    pub asset_id: CompactString,
    /// How many shares the investor owns: the most that a SELL may offer. Never negative.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_shares: Option<i64>,
    /// How many shares to trade; 0 where a CANCEL does not say. Any sign: validation judges it.
    pub shares: i64,
    /// The worst price to trade at. Any sign: validation judges it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// The side.
    #[serde(rename = "order_type", skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// What it asks for.
    pub action: Action,
    /// Whether it has a worst price.
    pub kind: Kind,
    /// What becomes of the quantity that does not trade.
    pub time_in_force: TimeInForce,
}

/// Why bytes are not an [`Order`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The text is not JSON, or a field has a value it cannot have; the reason begins with the
    /// field's name.
    #[error("not an order: {reason}; correct the sender")]
    Json {
        /// What is wrong, the field first, and where in the text.
        reason: String,
    },
    /// An order in its binary layout is cut short or was written by something else.
    #[error("not an order in binary layout {expected}: {reason}; was its topic written by another version?", expected = super::order_layout::VERSION)]
    Layout {
        /// What is wrong with the bytes.
        reason: &'static str,
    },
    /// The order lacks what its action needs.
    #[error("not an order: {field}: missing, but {action} needs it; correct the sender")]
    Missing {
        /// The absent field.
        field: &'static str,
        /// The action that needs it.
        action: Action,
    },
}

impl Order {
    /// Reads an order from JSON.
    ///
    /// # Errors
    /// [`DecodeError::Json`] or [`DecodeError::Missing`], naming the field.
    ///
    /// ```
    /// # use tidemill::exchange::Order;
    /// let order = Order::from_json(
    ///     br#"{"investor_id":"Celia","asset_id":"asset1","current_shared":0,"shares":5,"price":5.0,"order_type":"BUY"}"#,
    /// )?;
    /// assert_eq!(order.shares, 5);
    ///
    /// let error = Order::from_json(br#"{"asset_id":"asset1","shares":5.5}"#).unwrap_err();
    /// assert!(error.to_string().contains("shares: invalid type: floating point `5.5`"));
    /// # Ok::<(), tidemill::exchange::DecodeError>(())
    /// ```
    pub fn from_json(bytes: &[u8]) -> Result<Self, DecodeError> {
        let order = match scan_plain_order(bytes) {
            Some(order) => order,
            None => serde_json::from_slice(bytes)
                .map_err(|error| DecodeError::Json { reason: error.to_string() })?,
        };
        order.check_complete()?;
        Ok(order)
    }

    /// Writes the order as JSON to the end of `out`, defaults spelled out.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        // Every key is a string and a Vec takes every byte, so serde_json has nothing to refuse.
        let written = serde_json::to_writer(out, self);
        debug_assert!(written.is_ok());
    }

    /// The order's id; empty until [`Order::identify`] gave one to an order that came without.
    #[must_use]
    pub fn id(&self) -> &str {
        self.order_id.as_deref().unwrap_or_default()
    }

    /// Names an order that came without an id after the record it came in:
    /// `<topic>-<partition>-<offset>`, the same whenever the record is read again.
    pub fn identify(&mut self, topic: &str, partition: i32, offset: i64) {
        if self.order_id.is_none() {
            self.order_id = Some(compact_str::format_compact!("{topic}-{partition}-{offset}"));
        }
    }

    /// Whether the order has what its action needs.
    pub(super) fn check_complete(&self) -> Result<(), DecodeError> {
        let missing = |field| Err(DecodeError::Missing { field, action: self.action });
        if self.action != Action::New {
            Ok(())
        } else if self.investor_id.is_none() {
            missing("investor_id")
        } else if self.current_shares.is_none() {
            missing("current_shares")
        } else if self.side.is_none() {
            missing("order_type")
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MARI: &str = r#"{"order_id":"1","investor_id":"Mari","asset_id":"asset1","current_shared":10,"shares":5,"price":5.0,"order_type":"SELL"}"#;

    fn reason(json: &str) -> String {
        Order::from_json(json.as_bytes()).unwrap_err().to_string()
    }

    /// Mari's order with the text of one field's value changed.
    fn mari_with(field: &str, value: &str) -> String {
        let mut fields: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(MARI).unwrap();
        fields.remove(field);
        let rest = serde_json::to_string(&fields).unwrap();
        format!("{{\"{field}\":{value},{}", &rest[1..])
    }

    #[test]
    fn an_order_is_read_with_its_defaults() {
        let order = Order::from_json(MARI.as_bytes()).unwrap();
        assert_eq!(
            order,
            Order {
                order_id: Some("1".into()),
                investor_id: Some("Mari".into()),
                asset_id: "asset1".into(),
                current_shares: Some(10),
                shares: 5,
                price: Some(Price::from_units(500_000_000)),
                side: Some(Side::Sell),
                action: Action::New,
                kind: Kind::Limit,
                time_in_force: TimeInForce::Gtc,
            }
        );
    }

    #[test]
    fn an_order_without_an_id_is_named_after_its_record() {
        for json in [mari_with("order_id", "null"), MARI.replace(r#""order_id":"1","#, "")] {
            let mut order = Order::from_json(json.as_bytes()).unwrap();
            assert_eq!(order.id(), "");
            order.identify("orders", 3, 17);
            assert_eq!(order.id(), "orders-3-17");
            order.identify("orders", 0, 0);
            assert_eq!(order.id(), "orders-3-17");
        }
    }

    #[test]
    fn unknown_fields_are_ignored_whatever_they_hold() {
        let json = MARI.replacen('{', r#"{"note":{"price":[1,{"shares":null}]},"x":1e999,"#, 1);
        assert_eq!(Order::from_json(json.as_bytes()), Order::from_json(MARI.as_bytes()));
    }

    #[test]
    fn escapes_in_names_and_values_are_understood() {
        let json = MARI
            .replace("\"asset1\"", r#""as\u0073et\n""#)
            .replace("\"shares\"", r#""sh\u0061res""#);
        let order = Order::from_json(json.as_bytes()).unwrap();
        assert_eq!((order.asset_id.as_str(), order.shares), ("asset\n", 5));
    }

    #[test]
    fn a_bad_value_names_its_field() {
        for (field, value) in [
            ("order_id", "17"),
            ("order_id", "\"\""),
            ("investor_id", "\"\""),
            ("asset_id", "[]"),
            ("asset_id", "\"\\ud800\""),
            ("current_shares", "-1"),
            ("current_shares", "1.5"),
            ("shares", "5.5"),
            ("shares", "5.0"),
            ("shares", "9223372036854775808"),
            ("shares", "1e400"),
            ("shares", "\"5\""),
            ("shares", "NaN"),
            ("shares", "true"),
            ("price", "\"5.0\""),
            ("price", "NaN"),
            ("price", "1e11"),
            ("price", "0.123456789"),
            ("price", "[5]"),
            ("order_type", "\"buy\""),
            ("order_type", "{\"BUY\":null}"),
            ("action", "\"AMEND\""),
            ("kind", "1"),
            ("time_in_force", "\"DAY\""),
        ] {
            let json = match field {
                "current_shares" => {
                    MARI.replace("\"current_shared\":10", &format!("\"{field}\":{value}"))
                }
                _ => mari_with(field, value),
            };
            let reason = reason(&json);
            assert!(reason.starts_with(&format!("not an order: {field}: ")), "{json}: {reason}");
        }
    }

    #[test]
    fn an_id_longer_than_the_limit_is_refused() {
        let longest = format!("\"{}\"", "x".repeat(MAX_TEXT_BYTES));
        assert!(Order::from_json(mari_with("asset_id", &longest).as_bytes()).is_ok());
        let longer = format!("\"{}\"", "x".repeat(MAX_TEXT_BYTES + 1));
        assert!(reason(&mari_with("asset_id", &longer)).contains("asset_id: invalid length 1025"));
    }

    #[test]
    fn both_spellings_at_once_are_a_field_given_twice() {
        let json = MARI.replacen('{', "{\"current_shares\":10,", 1);
        assert!(reason(&json).contains("current_shares: given twice"));
    }

    #[test]
    fn a_new_order_needs_who_what_how_many_and_which_way() {
        for field in ["investor_id", "asset_id", "current_shared", "shares", "order_type"] {
            let reason = reason(&mari_with(field, "null"));
            let name = field.replace("shared", "shares");
            assert!(reason.contains(&format!("{name}: missing")), "{field}: {reason}");
        }
    }

    #[test]
    fn a_cancel_needs_but_its_order_and_asset_and_a_replace_its_shares() {
        let cancel =
            Order::from_json(br#"{"order_id":"1","asset_id":"a","action":"CANCEL"}"#).unwrap();
        assert_eq!((cancel.action, cancel.shares, cancel.investor_id), (Action::Cancel, 0, None));
        assert!(
            Order::from_json(
                br#"{"order_id":"1","asset_id":"a","action":"REPLACE","shares":5,"price":1}"#
            )
            .is_ok()
        );
        assert!(
            reason(r#"{"order_id":"1","asset_id":"a","action":"REPLACE","price":1}"#)
                .contains("shares: missing")
        );
    }

    #[test]
    fn negative_shares_and_prices_are_left_to_validation() {
        let order = Order::from_json(mari_with("shares", "-5").as_bytes()).unwrap();
        assert_eq!(order.shares, -5);
        let order = Order::from_json(mari_with("price", "-5.25").as_bytes()).unwrap();
        assert_eq!(order.price, Some(Price::from_units(-525_000_000)));
    }

    #[test]
    fn what_is_not_one_json_object_is_refused() {
        for bytes in
            [&b""[..], b"null", b"[]", b"5", b"\"x\"", b"{", b"\xff\xfe", &MARI.as_bytes()[..40]]
        {
            assert!(Order::from_json(bytes).is_err(), "{bytes:?}");
        }
        assert!(Order::from_json(format!("{MARI}{MARI}").as_bytes()).is_err());
        assert!(Order::from_json(MARI.replace("Mari", "Mar\u{1}").as_bytes()).is_err());
        let deep = format!("{{\"x\":{}", "[".repeat(1 << 20));
        assert!(Order::from_json(deep.as_bytes()).is_err());
    }

    #[test]
    fn an_order_written_as_json_spells_its_defaults_out() {
        let order = Order::from_json(MARI.as_bytes()).unwrap();
        let mut json = Vec::new();
        order.write_json(&mut json);
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"{"order_id":"1","investor_id":"Mari","asset_id":"asset1","current_shares":10,"shares":5,"price":5.0,"order_type":"SELL","action":"NEW","kind":"LIMIT","time_in_force":"GTC"}"#
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Order::from_json(&bytes);
        }

        #[test]
        fn an_order_with_a_byte_changed_is_decoded_or_refused_without_a_panic(at in 0..MARI.len(), byte: u8) {
            let mut bytes = MARI.as_bytes().to_vec();
            bytes[at] = byte;
            if let Ok(order) = Order::from_json(&bytes) {
                let mut json = Vec::new();
                order.write_json(&mut json);
                prop_assert_eq!(Order::from_json(&json), Ok(order));
            }
        }
    }
}
