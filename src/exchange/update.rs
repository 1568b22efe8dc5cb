//! What became of an order: [`OrderUpdate`], a record of the `order-updates` topic.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::wire_enum::wire_enum;

wire_enum! {
    /// What became of an order.
    pub enum Status("the status of an order") {
        /// It rests in the book and has not traded.
        Accepted = "ACCEPTED",
        /// It traded, and what is left rests.
        PartiallyFilled = "PARTIALLY_FILLED",
        /// All of it traded.
        Filled = "FILLED",
        /// What was open is given up: by a CANCEL (no reason), or for the reason given.
        Cancelled = "CANCELLED",
        /// It rests with the quantity and price that a REPLACE gave it.
        Replaced = "REPLACED",
        /// The command was refused and changed nothing. Where the order already rested, it still
        /// does.
        Rejected = "REJECTED",
    }
}

wire_enum! {
    /// Why a command was refused, or why an order gave quantity up.
    pub enum Reason("a reason") {
        /// `shares` is zero or less.
        NonPositiveShares = "NON_POSITIVE_SHARES",
        /// The price of a LIMIT order is missing, zero or less.
        NonPositivePrice = "NON_POSITIVE_PRICE",
        /// The price is no multiple of the asset's tick.
        OffTick = "OFF_TICK",
        /// `shares` is no multiple of the asset's lot.
        OffLot = "OFF_LOT",
        /// A SELL of more than `current_shares`.
        InsufficientShares = "INSUFFICIENT_SHARES",
        /// The asset does not trade now.
        Halted = "HALTED",
        /// The asset has no record, and only listed assets trade.
        Unlisted = "UNLISTED",
        /// An order of this id rests in the book, or came within the window that the exchange
        /// remembers.
        DuplicateOrderId = "DUPLICATE_ORDER_ID",
        /// No order of this id rests in the book.
        UnknownOrder = "UNKNOWN_ORDER",
        /// A REPLACE of a BUY by a SELL or the other way round.
        SideMismatch = "SIDE_MISMATCH",
        /// The order of this id is another investor's.
        NotOwner = "NOT_OWNER",
        /// A FOK order that would not trade in full.
        FokUnfilled = "FOK_UNFILLED",
        /// What an IOC order found nobody for.
        IocRemainder = "IOC_REMAINDER",
        /// What a MARKET order found nobody for.
        NoLiquidity = "NO_LIQUIDITY",
        /// The order met one of its own investor's, and the exchange prevents self-trades.
        SelfTrade = "SELF_TRADE",
    }
}

/// What became of one order, borrowed from the book that says so.
///
/// Serializes to the JSON of an [`OrderUpdate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Outcome<'a> {
    /// The order.
    pub order_id: &'a str,
    /// Whose it is; absent where a command for an unknown order did not say.
    pub investor_id: Option<&'a str>,
    /// Its asset.
    pub asset_id: &'a str,
    /// What became of it.
    pub status: Status,
    /// Shares that rest in the book from now on. 0 for [`Status::Rejected`].
    pub open_shares: i64,
    /// Shares that traded since the order came in, replacements included. 0 for
    /// [`Status::Rejected`].
    pub filled_shares: i64,
    /// Shares that were open and are given up; above 0 for [`Status::Cancelled`] alone.
    #[serde(skip)]
    pub cancelled_shares: i64,
    /// Why, where the status does not say it all.
    pub reason: Option<Reason>,
}

impl<'a> Outcome<'a> {
    /// A refused command.
    #[must_use]
    pub fn rejected(
        asset_id: &'a str,
        order_id: &'a str,
        investor_id: Option<&'a str>,
        reason: Reason,
    ) -> Self {
        Self {
            order_id,
            investor_id,
            asset_id,
            status: Status::Rejected,
            open_shares: 0,
            filled_shares: 0,
            cancelled_shares: 0,
            reason: Some(reason),
        }
    }
}

/// One record of the `order-updates` topic. See [`Outcome`] for the fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderUpdate {
    /// The order.
    pub order_id: CompactString,
    /// Whose it is; absent where a command for an unknown order did not say.
    pub investor_id: Option<CompactString>,
    /// Its asset.
    pub asset_id: CompactString,
    /// What became of it.
    pub status: Status,
    /// Shares that rest in the book from now on.
    pub open_shares: i64,
    /// Shares that traded since the order came in.
    pub filled_shares: i64,
    /// Why, where the status does not say it all.
    pub reason: Option<Reason>,
}

impl From<Outcome<'_>> for OrderUpdate {
    fn from(outcome: Outcome<'_>) -> Self {
        Self {
            order_id: outcome.order_id.into(),
            investor_id: outcome.investor_id.map(CompactString::from),
            asset_id: outcome.asset_id.into(),
            status: outcome.status,
            open_shares: outcome.open_shares,
            filled_shares: outcome.filled_shares,
            reason: outcome.reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_has_the_fields_of_its_topic() {
        let outcome = Outcome {
            order_id: "1",
            investor_id: Some("Mari"),
            asset_id: "asset1",
            status: Status::PartiallyFilled,
            open_shares: 2,
            filled_shares: 3,
            cancelled_shares: 0,
            reason: None,
        };
        let json = r#"{"order_id":"1","investor_id":"Mari","asset_id":"asset1","status":"PARTIALLY_FILLED","open_shares":2,"filled_shares":3,"reason":null}"#;
        assert_eq!(serde_json::to_string(&outcome).unwrap(), json);
        let update = OrderUpdate::from(outcome);
        assert_eq!(serde_json::to_string(&update).unwrap(), json);
        assert_eq!(serde_json::from_str::<OrderUpdate>(json).unwrap(), update);
    }

    #[test]
    fn a_rejection_gives_its_reason() {
        let outcome = Outcome::rejected("asset1", "1", None, Reason::UnknownOrder);
        assert_eq!(
            serde_json::to_string(&outcome).unwrap(),
            r#"{"order_id":"1","investor_id":null,"asset_id":"asset1","status":"REJECTED","open_shares":0,"filled_shares":0,"reason":"UNKNOWN_ORDER"}"#
        );
    }
}
