//! Shares that changed hands: [`Trade`], a record of the `trades` topic.

use std::fmt;

use compact_str::CompactString;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::order::Side;
use super::price::Price;

/// An order and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party<T = CompactString> {
    /// The order.
    pub order_id: T,
    /// Its investor.
    pub investor_id: T,
}

impl<T: Copy> Copy for Party<T> {}

impl Party<&str> {
    fn to_owned(self) -> Party {
        Party { order_id: self.order_id.into(), investor_id: self.investor_id.into() }
    }
}

/// One trade, borrowed from the book that makes it.
///
/// Serializes to the JSON of a [`Trade`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill<'a> {
    /// What is traded.
    pub asset_id: &'a str,
    /// The how-manieth trade of the asset this is, from 1.
    pub number: u64,
    /// The resting order's price.
    pub price: Price,
    /// How many shares; above 0.
    pub shares: i64,
    /// The order that rested.
    pub maker: Party<&'a str>,
    /// The order that came in.
    pub taker: Party<&'a str>,
    /// Which way the incoming order trades.
    pub taker_side: Side,
    /// Timestamp of the command that caused it, in milliseconds since the epoch.
    pub timestamp: i64,
}

impl<'a> Fill<'a> {
    /// Who gets the shares.
    #[must_use]
    pub fn buyer(&self) -> Party<&'a str> {
        match self.taker_side {
            Side::Buy => self.taker,
            Side::Sell => self.maker,
        }
    }

    /// Who gets the money.
    #[must_use]
    pub fn seller(&self) -> Party<&'a str> {
        match self.taker_side {
            Side::Buy => self.maker,
            Side::Sell => self.taker,
        }
    }

    /// The trade's id, `<asset_id>-<number>`, as something to print.
    #[must_use]
    pub fn trade_id(&self) -> impl fmt::Display + use<'a> {
        let (asset_id, number) = (self.asset_id, self.number);
        fmt::from_fn(move |f| write!(f, "{asset_id}-{number}"))
    }
}

impl Serialize for Fill<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (buyer, seller) = (self.buyer(), self.seller());
        let mut json = serializer.serialize_struct("Trade", 12)?;
        json.serialize_field("trade_id", &Shown(self.trade_id()))?;
        json.serialize_field("asset_id", self.asset_id)?;
        json.serialize_field("price", &self.price)?;
        json.serialize_field("shares", &self.shares)?;
        json.serialize_field("buyer_id", buyer.investor_id)?;
        json.serialize_field("seller_id", seller.investor_id)?;
        json.serialize_field("buy_order_id", buyer.order_id)?;
        json.serialize_field("sell_order_id", seller.order_id)?;
        json.serialize_field("maker_order_id", self.maker.order_id)?;
        json.serialize_field("taker_order_id", self.taker.order_id)?;
        json.serialize_field("taker_side", &self.taker_side)?;
        json.serialize_field("timestamp", &self.timestamp)?;
        json.end()
    }
}

/// Serializes what can be printed as a string, without making the string first.
struct Shown<T>(T);

impl<T: fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// One record of the `trades` topic. See [`Fill`] for the fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trade {
    /// What is traded.
    pub asset_id: CompactString,
    /// The how-manieth trade of the asset this is, from 1.
    pub number: u64,
    /// The resting order's price.
    pub price: Price,
    /// How many shares; above 0.
    pub shares: i64,
    /// The order that rested.
    pub maker: Party,
    /// The order that came in.
    pub taker: Party,
    /// Which way the incoming order trades.
    pub taker_side: Side,
    /// Timestamp of the command that caused it, in milliseconds since the epoch.
    pub timestamp: i64,
}

impl Trade {
    /// The same trade, borrowed: it knows buyer, seller and the trade's id.
    #[must_use]
    pub fn as_fill(&self) -> Fill<'_> {
        fn borrowed(party: &Party) -> Party<&str> {
            Party { order_id: &party.order_id, investor_id: &party.investor_id }
        }
        Fill {
            asset_id: &self.asset_id,
            number: self.number,
            price: self.price,
            shares: self.shares,
            maker: borrowed(&self.maker),
            taker: borrowed(&self.taker),
            taker_side: self.taker_side,
            timestamp: self.timestamp,
        }
    }
}

impl From<Fill<'_>> for Trade {
    fn from(fill: Fill<'_>) -> Self {
        Self {
            asset_id: fill.asset_id.into(),
            number: fill.number,
            price: fill.price,
            shares: fill.shares,
            maker: fill.maker.to_owned(),
            taker: fill.taker.to_owned(),
            taker_side: fill.taker_side,
            timestamp: fill.timestamp,
        }
    }
}

impl Serialize for Trade {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_fill().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Trade {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The fields as they come; maker and taker repeat two of them.
        #[derive(Deserialize)]
        struct Json {
            trade_id: CompactString,
            asset_id: CompactString,
            price: Price,
            shares: i64,
            buyer_id: CompactString,
            seller_id: CompactString,
            buy_order_id: CompactString,
            sell_order_id: CompactString,
            taker_side: Side,
            timestamp: i64,
        }

        let json = Json::deserialize(deserializer)?;
        let number = json
            .trade_id
            .strip_prefix(json.asset_id.as_str())
            .and_then(|rest| rest.strip_prefix('-'))
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| de::Error::custom("trade_id: expected <asset_id>-<number>"))?;
        let buyer = Party { order_id: json.buy_order_id, investor_id: json.buyer_id };
        let seller = Party { order_id: json.sell_order_id, investor_id: json.seller_id };
        let (maker, taker) = match json.taker_side {
            Side::Buy => (seller, buyer),
            Side::Sell => (buyer, seller),
        };
        Ok(Self {
            asset_id: json.asset_id,
            number,
            price: json.price,
            shares: json.shares,
            maker,
            taker,
            taker_side: json.taker_side,
            timestamp: json.timestamp,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trade_has_the_fields_of_its_topic() {
        let trade = Trade {
            asset_id: "asset\"1".into(),
            number: 7,
            price: Price::from_units(500_000_000),
            shares: 5,
            maker: Party { order_id: "1".into(), investor_id: "Mari".into() },
            taker: Party { order_id: "orders-0-1".into(), investor_id: "Celia".into() },
            taker_side: Side::Buy,
            timestamp: 1_340_285_399_004,
        };
        let json = r#"{"trade_id":"asset\"1-7","asset_id":"asset\"1","price":5.0,"shares":5,"buyer_id":"Celia","seller_id":"Mari","buy_order_id":"orders-0-1","sell_order_id":"1","maker_order_id":"1","taker_order_id":"orders-0-1","taker_side":"BUY","timestamp":1340285399004}"#;
        assert_eq!(serde_json::to_string(&trade).unwrap(), json);
        assert_eq!(serde_json::from_str::<Trade>(json).unwrap(), trade);

        let sold = Trade { taker_side: Side::Sell, ..trade };
        let json = serde_json::to_string(&sold).unwrap();
        assert!(json.contains(r#""buyer_id":"Mari","seller_id":"Celia","buy_order_id":"1","sell_order_id":"orders-0-1""#));
        assert_eq!(serde_json::from_str::<Trade>(&json).unwrap(), sold);
    }
}
